//! A file that a command writes for its owner: new, private, and on the disk before it is said to be there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// One that is being written. Dropped before [`NewFile::finish`], it is removed.
pub struct NewFile {
    file: File,
    path: PathBuf,
    is_whole: bool,
}

impl NewFile {
    /// Makes it, with mode 0600.
    ///
    /// # Errors
    /// Something has this name, be it a link; the system refuses.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        Ok(Self {
            file: options.open(path)?,
            path: path.to_owned(),
            is_whole: false,
        })
    }

    /// Brings what was written, and its name, to the disk: whoever is told that it is done may throw away what it was made from.
    ///
    /// # Errors
    /// It cannot be.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        self.is_whole = true;
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
        if !self.is_whole {
            // Half of it is none; what cannot be removed is named by the error that led here.
            let _ = fs::remove_file(&self.path);
        }
    }
}
