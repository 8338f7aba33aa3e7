//! Values as private files in memory.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat, statfs};

use super::DeliverError;

/// statfs(2), `f_type`: what lives in memory and is gone with it.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];
/// Where tmpfs is mounted on every Linux with POSIX shared memory (shm_overview(7)).
const SHARED_MEMORY: &str = "/dev/shm";
/// Names that are tried: others are left by a run that was killed, or are somebody's nuisance.
const TRIES: u32 = 1024;

/// A 0700 folder of 0600 files on tmpfs. Dropped, the files are overwritten and the folder is removed with all that is in it.
pub(super) struct PrivateFiles {
    folder: PathBuf,
    handle: OwnedFd,
    files: Vec<File>,
}

impl PrivateFiles {
    /// A new folder in `runtime` (`$XDG_RUNTIME_DIR`) when that is in memory, else in `/dev/shm`.
    pub fn new(runtime: Option<&Path>) -> Result<Self, DeliverError> {
        let place = runtime
            .into_iter()
            .chain([Path::new(SHARED_MEMORY)])
            .find(|path| statfs(*path).is_ok_and(|fs| IN_MEMORY.contains(&fs.f_type)))
            .ok_or(DeliverError::NoMemoryFolder)?;
        Self::within(place).map_err(DeliverError::PrivateFile)
    }

    fn within(place: &Path) -> io::Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700);
        for number in 0..TRIES {
            let folder = place.join(format!("touchlease-run-{}-{number}", std::process::id()));
            match builder.create(&folder) {
                Ok(()) => {
                    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let handle = rustix::fs::open(&folder, flags, Mode::empty())?;
                    return Ok(Self {
                        folder,
                        handle,
                        files: Vec::new(),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Writes a value and returns where. The name says nothing: a folder's listing is no place for names of secrets.
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
    fn a_runtime_folder_on_disk_is_not_used() {
        let mut files = PrivateFiles::new(Some(Path::new("/proc"))).unwrap();
        assert!(files.add(b"v").unwrap().starts_with(SHARED_MEMORY));
    }
}
