//! The log's file: opened so that nobody else's can stand in for it, locked, appended to.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat, fdatasync, flock, fstat, fsync, ftruncate, open, stat as stat_path};
use rustix::io::{Errno, pread, write};
use rustix::process::geteuid;

use super::error::{AuditError, Damage, Unsafe};
use super::record::{LONGEST_LINE, LineError};

const CHUNK: usize = 64 << 10;

pub(super) struct LogFile {
    file: File,
    path: PathBuf,
    /// Device and inode, which nothing else has for as long as it is open.
    place: (u64, u64),
}

/// An error that a test has in store.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The write stops after so many bytes.
    Write(usize, Errno),
    /// The bytes are written, and lost on the way to the disk.
    Sync(Errno),
}

#[cfg(test)]
thread_local! {
    /// What happens to the files of this test, which runs on its own thread.
    pub(super) static FAULT: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

impl LogFile {
    /// Opens or makes the file, 0600, and locks it against other processes.
    pub(super) fn open_or_make(path: &Path) -> Result<Self, AuditError> {
        let file = Self::open_with(path, OFlags::CREATE)?;
        if file.len()? == 0 {
            file.sync_folder()?;
        }
        Ok(file)
    }

    /// Opens and locks a file that has to be there.
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        Self::open_with(path, OFlags::empty())
    }

    fn open_with(path: &Path, more: OFlags) -> Result<Self, AuditError> {
        let flags = more | OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        let not_ours = |why| AuditError::Unsafe {
            path: path.to_owned(),
            why,
        };
        let file = match open(path, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::LOOP) => return Err(not_ours(Unsafe::Link)),
            file => File::from(file?),
        };
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let stat = fstat(&file)?;
        if stat.st_nlink == 0 {
            return Err(AuditError::Gone);
        }
        check_ours(&stat).map_err(not_ours)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            place: (stat.st_dev, stat.st_ino),
        })
    }

    pub(super) fn len(&self) -> Result<u64, AuditError> {
        Ok(u64::try_from(fstat(&self.file)?.st_size).unwrap_or(0))
    }

    /// Is the file still the one under its name, and as long as we left it? A deleted file takes writes without an error.
    pub(super) fn check(&self, len: u64) -> Result<(), AuditError> {
        let named = stat_path(&self.path)?;
        if self.place != (named.st_dev, named.st_ino) {
            Err(AuditError::Gone)
        } else if u64::try_from(named.st_size) != Ok(len) {
            Err(AuditError::Changed)
        } else {
            Ok(())
        }
    }

    pub(super) fn append(&mut self, mut bytes: &[u8]) -> Result<(), AuditError> {
        #[cfg(test)]
        if let Some(Fault::Write(len, errno)) = FAULT.get() {
            write(&self.file, &bytes[..len])?;
            return Err(errno.into());
        }
        while !bytes.is_empty() {
            match write(&self.file, bytes) {
                Ok(done) => bytes = &bytes[done..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Data and length; the times of the file may come later.
    pub(super) fn sync(&mut self) -> Result<(), AuditError> {
        #[cfg(test)]
        if let Some(Fault::Sync(errno)) = FAULT.get() {
            return Err(errno.into());
        }
        Ok(fdatasync(&self.file)?)
    }

    pub(super) fn cut(&self, len: u64) -> Result<(), AuditError> {
        Ok(ftruncate(&self.file, len)?)
    }

    /// The line that ends right before `end`, newline included, without reading what is before it. None at the start of the file.
    pub(super) fn line_before(&self, end: u64) -> Result<Option<Vec<u8>>, AuditError> {
        if end == 0 {
            return Ok(None);
        }
        let start = self.line_start(end - 1)?;
        self.read(start, end).map(Some)
    }

    /// Where the line starts to which the byte before `end` belongs, or would.
    pub(super) fn line_start(&self, end: u64) -> Result<u64, AuditError> {
        let mut to = end;
        while to > 0 {
            if end - to > LONGEST_LINE as u64 {
                return Err(too_long());
            }
            let from = to.saturating_sub(CHUNK as u64);
            if let Some(newline) = self.read(from, to)?.iter().rposition(|b| *b == b'\n') {
                return Ok(from + newline as u64 + 1);
            }
            to = from;
        }
        Ok(0)
    }

    /// The first line, newline included, or as much of it as there is.
    pub(super) fn first_line(&self) -> Result<Vec<u8>, AuditError> {
        let len = self.len()?.min(LONGEST_LINE as u64);
        let mut line = Vec::new();
        while (line.len() as u64) < len {
            let from = line.len() as u64;
            line.extend(self.read(from, len.min(from + CHUNK as u64))?);
            if let Some(newline) = line.iter().position(|b| *b == b'\n') {
                line.truncate(newline + 1);
                break;
            }
        }
        Ok(line)
    }

    /// What stands from `from` on, if it is the start of `expected`.
    pub(super) fn rest(&self, from: u64, expected: &[u8]) -> Result<Vec<u8>, AuditError> {
        let len = self.len()?.checked_sub(from).ok_or(AuditError::Changed)?;
        if len > expected.len() as u64 {
            return Err(AuditError::Changed);
        }
        let rest = self.read(from, from + len)?;
        if expected.starts_with(&rest) {
            Ok(rest)
        } else {
            Err(AuditError::Changed)
        }
    }

    pub(super) fn read(&self, from: u64, to: u64) -> Result<Vec<u8>, AuditError> {
        let len = usize::try_from(to - from).map_err(|_| too_long())?;
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            match pread(&self.file, &mut bytes[done..], from + done as u64) {
                Ok(0) => return Err(AuditError::Changed),
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(bytes)
    }

    /// The new name itself has to reach the disk.
    fn sync_folder(&self) -> Result<(), AuditError> {
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fsync(open(folder.unwrap_or(Path::new(".")), flags, Mode::empty())?)?)
    }
}

impl Drop for LogFile {
    /// Closing is not enough: a child that was forked and has not yet come to its `exec` holds the lock too.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn too_long() -> AuditError {
    AuditError::Damaged(Damage::Line(LineError::Long))
}

/// Whether a file is one that we made, and that nobody else can change or read.
pub(super) fn check_ours(stat: &Stat) -> Result<(), Unsafe> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        Err(Unsafe::NotPlain)
    } else if stat.st_uid != geteuid().as_raw() {
        Err(Unsafe::NotOurs)
    } else if stat.st_mode & 0o077 != 0 {
        Err(Unsafe::Open)
    } else if stat.st_nlink > 1 {
        Err(Unsafe::SecondName)
    } else {
        Ok(())
    }
}
