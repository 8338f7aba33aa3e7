//! Values as private files in memory.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, open, openat, statfs};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::DeliverError;

/// statfs(2), `f_type`: what lives in memory and is gone with it.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];
/// Where tmpfs is mounted on every Linux with POSIX shared memory (shm_overview(7)).
const SHARED_MEMORY: &str = "/dev/shm";
/// What a folder's name begins with; then come our process id and a number.
const PREFIX: &str = "touchlease-run-";
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Names that are tried: others are left by a run that was killed, or are somebody's nuisance.
const TRIES: u32 = 1024;

/// A 0700 folder of 0600 files on tmpfs, locked (flock(2)) as long as its process lives. Dropped, the files are overwritten and the
/// folder is removed with all that is in it.
pub struct PrivateFiles {
    folder: PathBuf,
    handle: OwnedFd,
    files: Vec<File>,
}

impl PrivateFiles {
    /// A new folder in `runtime` (`$XDG_RUNTIME_DIR`) when that is in memory, else in `/dev/shm`.
    ///
    /// # Errors
    /// Neither is in memory; there is no room in it.
    pub fn new(runtime: Option<&Path>) -> Result<Self, DeliverError> {
        let place = places(runtime).next().ok_or(DeliverError::NoMemoryFolder)?;
        Self::within(place).map_err(DeliverError::PrivateFile)
    }

    fn within(place: &Path) -> io::Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700);
        for number in 0..TRIES {
            let folder = place.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match builder.create(&folder) {
                Ok(()) => {
                    if let Some(handle) = hold(&folder)? {
                        return Ok(Self {
                            folder,
                            handle,
                            files: Vec::new(),
                        });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Writes a value and returns where. The name says nothing: a folder's listing is no place for names of secrets.
    ///
    /// # Errors
    /// There is no room.
    pub fn add(&mut self, value: &[u8]) -> Result<PathBuf, DeliverError> {
        let name = self.files.len().to_string();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDWR | OFlags::CLOEXEC;
        let write = || -> io::Result<File> {
            let mut file = File::from(openat(&self.handle, &name, flags, Mode::RUSR | Mode::WUSR)?);
            file.write_all(value)?;
            Ok(file)
        };
        self.files.push(write().map_err(DeliverError::PrivateFile)?);
        Ok(self.folder.join(name))
    }
}

impl Drop for PrivateFiles {
    /// Overwrites through the descriptors of the start: whatever the child put under these names is not written to.
    fn drop(&mut self) {
        for file in &self.files {
            // Nothing can be done about a failure here; the pages are freed with the last descriptor.
            let _ = overwrite(file);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Folders of private files that runs left behind which were killed.
#[must_use]
pub fn left_behind(runtime: Option<&Path>) -> Vec<PathBuf> {
    abandoned(runtime).into_iter().map(|(folder, _)| folder).collect()
}

/// Overwrites and removes what runs left behind which were killed.
pub(super) fn sweep(runtime: Option<&Path>) {
    for (folder, handle) in abandoned(runtime) {
        for name in names(&folder) {
            let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let Ok(file) = openat(&handle, name, flags, Mode::empty()) else {
                continue;
            };
            // What a child linked here from elsewhere is none of ours.
            if fstat(&file).is_ok_and(|stat| stat.st_nlink == 1 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile) {
                // As when one is dropped.
                let _ = overwrite(&File::from(file));
            }
        }
        // The next run tries again, and `doctor` says so.
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// Those whose process is gone, held: nobody else takes them for abandoned meanwhile.
fn abandoned(runtime: Option<&Path>) -> Vec<(PathBuf, OwnedFd)> {
    let folders = places(runtime).flat_map(|place| {
        let ours = names(place).filter(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
        ours.map(|name| place.join(name)).collect::<Vec<_>>()
    });
    folders
        .filter_map(|folder| hold(&folder).ok().flatten().map(|handle| (folder, handle)))
        .collect()
}

fn places(runtime: Option<&Path>) -> impl Iterator<Item = &Path> {
    let places = runtime.into_iter().chain([Path::new(SHARED_MEMORY)]);
    places.filter(|path| statfs(*path).is_ok_and(|fs| IN_MEMORY.contains(&fs.f_type)))
}

fn names(folder: &Path) -> impl Iterator<Item = OsString> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name())
}

/// Opens and locks a folder of ours; none when another process has it, or has just removed it.
fn hold(folder: &Path) -> io::Result<Option<OwnedFd>> {
    let handle = match open(folder, FOLDER, Mode::empty()) {
        Ok(handle) => handle,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match flock(&handle, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let stat = fstat(&handle)?;
    Ok((stat.st_uid == geteuid().as_raw() && stat.st_nlink > 0).then_some(handle))
}

fn overwrite(file: &File) -> io::Result<()> {
    let (zeros, len) = ([0; 4096], file.metadata()?.len());
    let mut at = 0;
    while at < len {
        let count = zeros.len().min(usize::try_from(len - at).unwrap_or(zeros.len()));
        file.write_all_at(&zeros[..count], at)?;
        at += count as u64;
    }
    file.set_len(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn files_are_private_and_gone_with_their_folder_whatever_the_child_did() {
        let mut files = PrivateFiles::new(None).unwrap();
        let path = files.add(b"value").unwrap();
        let folder = path.parent().unwrap().to_owned();
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let kept = File::open(&path).unwrap();
        std::fs::write(folder.join("left"), "x").unwrap();
        std::fs::remove_file(files.add(b"other").unwrap()).unwrap();
        drop(files);
        assert!(!folder.exists());
        assert_eq!(kept.metadata().unwrap().len(), 0);
    }

    #[test]
    fn t45_what_a_killed_run_left_is_removed_and_what_a_live_one_has_is_not() {
        // Not where other runs look.
        let memory = tempfile::tempdir_in(SHARED_MEMORY).unwrap();
        let place = Some(memory.path());
        let mut live = PrivateFiles::new(place).unwrap();
        let value = live.add(b"in use").unwrap();
        let mut killed = PrivateFiles::new(place).unwrap();
        let left = killed.add(b"value").unwrap();
        let folder = left.parent().unwrap().to_owned();
        assert!(!left_behind(place).contains(&folder));
        let kept = File::open(&left).unwrap();
        let elsewhere = tempfile::tempdir_in(SHARED_MEMORY).unwrap();
        let other = elsewhere.path().join("other");
        std::fs::write(&other, "not ours").unwrap();
        std::fs::hard_link(&other, folder.join("link")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.join("symlink")).unwrap();
        // What the kernel does at SIGKILL: the descriptors are closed, and nothing else.
        let mut killed = std::mem::ManuallyDrop::new(killed);
        killed.files.clear();
        flock(&killed.handle, FlockOperation::Unlock).unwrap();
        assert!(left_behind(place).contains(&folder));
        sweep(place);
        assert!(!folder.exists() && !left_behind(place).contains(&folder));
        assert_eq!(kept.metadata().unwrap().len(), 0);
        assert_eq!(std::fs::read(&other).unwrap(), b"not ours");
        assert_eq!(std::fs::read(&value).unwrap(), b"in use");
    }

    #[test]
    fn a_runtime_folder_on_disk_is_not_used() {
        let mut files = PrivateFiles::new(Some(Path::new("/proc"))).unwrap();
        assert!(files.add(b"v").unwrap().starts_with(SHARED_MEMORY));
    }
}
