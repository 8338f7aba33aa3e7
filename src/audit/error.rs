//! Why the log cannot be opened or written.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use super::record::LineError;
use crate::encoding::Digest;
use crate::finding::quoted;

/// Why the log cannot be opened or written. No lease is issued then; ending and revoking go on.
#[derive(Debug, Error)]
pub enum AuditError {
    /// Another daemon has it.
    #[error("another process has the audit log open")]
    Locked,
    /// Not a file that we made.
    #[error("the audit log {} {why}", path.display())]
    Unsafe {
        /// Where it lies.
        path: PathBuf,
        /// What about it.
        why: Unsafe,
    },
    /// It belongs to another vault: the state folder was copied or mixed up.
    #[error("the audit log is that of the vault {0}")]
    OtherVault(Digest),
    /// Its end does not hold together: changed by hand, restored in part, or a file system that lost its middle in a power cut.
    #[error("the audit log is damaged: {0}")]
    Damaged(Damage),
    /// Something else wrote to it while we had it open, or it was cut.
    #[error("the audit log was changed by another program")]
    Changed,
    /// Deleted or moved while we had it open, or the disk went away.
    #[error("the audit log is gone")]
    Gone,
    /// No space left, or the quota is used up.
    #[error("no space left for the audit log")]
    Full,
    /// The file system is read-only, or the permission was taken away.
    #[error("the audit log may not be written")]
    ReadOnly,
    /// A write failed before; what is on the disk is unknown until [`Log::reopen`](super::Log::reopen) has looked.
    #[error("the audit log has to be opened again after an error")]
    Poisoned,
    /// More text than a line may have: a change that names too many records at once.
    #[error("an event too long for the audit log")]
    TooLong,
    /// Anything else that the system reports; mostly a failing disk (EIO).
    #[error("the audit log: {0}")]
    Io(io::Error),
}

/// Why a file is not taken for one of ours.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Unsafe {
    /// Somebody put a link in its place.
    #[error("is a symbolic link")]
    Link,
    /// A device, a pipe, a folder.
    #[error("is not a regular file")]
    NotPlain,
    /// Another user made it, or was given it.
    #[error("belongs to another user")]
    NotOurs,
    /// Copied under another umask, or opened up by hand.
    #[error("can be read or written by others")]
    Open,
    /// Somebody holds on to it under another name.
    #[error("has a second name (a hard link)")]
    SecondName,
}

/// What is wrong with the end of a log, or its start.
#[derive(Debug, Error)]
pub enum Damage {
    /// The last line, or the one before, is not a line at all.
    #[error("a line at its end is {0}")]
    Line(#[from] LineError),
    /// The last line does not hold the hash and the number that follow from the line before.
    #[error("its last line does not follow from the line before")]
    Chain,
    /// The first line does not name the vault.
    #[error("its first line does not say whose log it is")]
    Start,
}

impl Unsafe {
    /// What a person does about the file at `path`. Nothing of what the log holds is lost by it.
    #[must_use]
    pub fn remedy(self, path: &Path) -> String {
        let path = quoted(path);
        match self {
            Self::Open => format!("chmod 600 {path}"),
            Self::NotOurs => format!("sudo chown \"$(id -u)\" {path}"),
            Self::Link | Self::NotPlain | Self::SecondName => format!("mv {path} {path}.old"),
        }
    }
}

impl From<Errno> for AuditError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT => Self::Full,
            Errno::ROFS | Errno::ACCESS | Errno::PERM => Self::ReadOnly,
            Errno::NOENT | Errno::STALE | Errno::NODEV | Errno::NXIO => Self::Gone,
            Errno::WOULDBLOCK => Self::Locked,
            other => Self::Io(other.into()),
        }
    }
}

impl From<LineError> for AuditError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Long => Self::TooLong,
            other => Self::Io(io::Error::other(other)),
        }
    }
}
