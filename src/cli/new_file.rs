//! A file that a command writes for its owner: new, private, there when it is whole, and on the disk before it is said to be there.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open, openat, statat, unlinkat};
use rustix::io::Errno;

/// One that is being written. Until [`NewFile::finish`] it has no name, so that nothing is left of it, however the writing ends. Where a
/// file system has no such files it has its name from the start, and loses it when it is dropped before.
pub struct NewFile {
    file: File,
    folder: File,
    name: OsString,
    has_name: bool,
}

impl NewFile {
    /// Makes it, with mode 0600.
    ///
    /// # Errors
    /// Something has this name, be it a link; the system refuses.
    pub fn create(path: &Path) -> io::Result<Self> {
        let (folder, name) = place(path)?;
        // Said before anything is asked for, and not when it is whole.
        if statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(Errno::EXIST.into());
        }
        match nameless(&folder)? {
            Some(file) => Ok(Self {
                file,
                folder,
                name,
                has_name: false,
            }),
            None => Self::named(folder, name),
        }
    }

    fn named(folder: File, name: OsString) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&folder, &name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self {
            file: file.into(),
            folder,
            name,
            has_name: true,
        })
    }

    /// Brings what was written, and its name, to the disk: whoever is told that it is done may throw away what it was made from.
    ///
    /// # Errors
    /// It cannot be; something has got its name in the meantime ([`io::ErrorKind::AlreadyExists`]).
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if !self.has_name {
            linkat(CWD, behind(&self.file), &self.folder, &self.name, AtFlags::SYMLINK_FOLLOW)?;
            self.has_name = true;
        }
        self.folder.sync_all()?;
        // It is whole, and stays.
        self.has_name = false;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.has_name {
            // Half of it is none; what cannot be removed is named by the error that led here.
            let _ = unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

/// The folder of a path, and the name in it.
fn place(path: &Path) -> io::Result<(File, OsString)> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok((File::open(folder.unwrap_or(Path::new(".")))?, name))
}

/// A file without a name in this folder; nothing where there is no such thing, or no way to give it a name later.
fn nameless(folder: &File) -> io::Result<Option<File>> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    match openat(folder, ".", flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => {
            let file = File::from(file);
            // By its descriptor alone (AT_EMPTY_PATH) only root may name it.
            let can_be_named = open(behind(&file), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).is_ok();
            Ok(can_be_named.then_some(file))
        }
        // A file system that has none, and a kernel or file system that takes the flag for its other half, O_DIRECTORY (open(2)).
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Where the kernel shows what is open (proc(5)).
fn behind(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    fn with_a_name(path: &Path) -> NewFile {
        let (folder, name) = place(path).unwrap();
        NewFile::named(folder, name).unwrap()
    }

    #[test]
    fn p9_a_file_is_there_once_it_is_whole_and_nothing_of_it_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"in the clear").unwrap();
        assert!(names(folder.path()).is_empty());
        // As a process that is killed leaves it: without its end.
        std::mem::forget(file);
        assert!(names(folder.path()).is_empty());
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"in the clear").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"in the clear");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn without_nameless_files_half_of_one_is_removed_and_a_whole_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut file = with_a_name(&path);
        file.write_all(b"half").unwrap();
        drop(file);
        assert!(names(folder.path()).is_empty());
        let mut file = with_a_name(&path);
        file.write_all(b"whole").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn what_has_the_name_already_or_gets_it_in_between_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("out"), folder.path().join("link"));
        let early = NewFile::create(&path).unwrap();
        fs::write(&path, "somebody's").unwrap();
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let taken = |result: io::Result<()>| assert_eq!(result.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        taken(early.finish());
        taken(NewFile::create(&path).map(drop));
        taken(NewFile::create(&link).map(drop));
        assert_eq!(fs::read(&path).unwrap(), b"somebody's");
        assert_eq!(names(folder.path()).len(), 2);
    }
}
