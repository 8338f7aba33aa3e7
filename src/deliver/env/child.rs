//! The child itself: its command, how it is told something, how it ended.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, pidfd_open, pidfd_send_signal, waitid,
};

use super::{DeliverError, Delivery, How, PrivateFiles};
use crate::sys::wait::is_readable;

/// How the child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It exited with this code, 0 to 255.
    Exited(u8),
    /// It died by this signal's number.
    Killed(i32),
}

impl Status {
    /// The code a shell reports: the child's own, or 128 and the signal's number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }

    /// From what `waitid` tells of an ended child.
    pub(super) fn of(status: &WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Exited((code & 0xff) as u8),
            (None, Some(signal)) => Self::Killed(signal),
            (None, None) => Self::Exited(u8::MAX),
        }
    }
}

/// The child, by a descriptor that never means another process.
pub(super) struct Child {
    pub pid: Pid,
    pidfd: OwnedFd,
}

impl Child {
    /// `pid` is a child that nobody has waited for yet, so the number is still its own.
    pub fn of(pid: Pid) -> io::Result<Self> {
        Ok(Self {
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
        })
    }

    /// Sends a signal; to a child that is gone already it goes nowhere.
    pub fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// To its process group. Only while nobody has waited for it: a zombie keeps the number of its group.
    pub fn signal_group(&self, signal: Signal) {
        let _ = kill_process_group(self.pid, signal);
    }

    /// Whether it has ended, waited for or not.
    pub fn is_over(&self) -> bool {
        is_readable(&self.pidfd).unwrap_or(false)
    }

    /// Waits for its end, which [`Child`] polls as readable.
    pub fn wait(&self) -> io::Result<Status> {
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Ok(Some(status)) => return Ok(Status::of(&status)),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// The command of a delivery, with its environment, and the files that have to outlive it.
///
/// `Command` and the child's environment block are copies of the values that nobody wipes: a value that is delivered
/// by environment is in unlocked memory by its nature.
pub(super) fn command(delivery: &Delivery) -> Result<(Command, Option<PrivateFiles>), DeliverError> {
    let (program, arguments) = delivery.command.split_first().ok_or(DeliverError::NoCommand)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(delivery.plain.iter().map(|(name, value)| (name, value)));
    let mut files = None;
    for var in &delivery.vars {
        let bytes = var.name.as_encoded_bytes();
        if bytes.is_empty() || bytes.contains(&b'=') || bytes.contains(&0) {
            return Err(DeliverError::BadName { name: var.name.clone() });
        }
        let value = var.value.expose();
        match how(var.how, value) {
            Ok(How::Env) => command.env(&var.name, OsString::from_vec(value.to_vec())),
            Ok(How::File) => {
                let folder = match &mut files {
                    Some(folder) => folder,
                    none => none.insert(PrivateFiles::new(delivery.runtime_dir.as_deref())?),
                };
                command.env(&var.name, folder.add(value)?)
            }
            Err(()) => return Err(DeliverError::NulInValue { name: var.name.clone() }),
        };
    }
    Ok((command, files))
}

/// A C string ends at NUL: such a value has no place in an environment.
fn how(how: How, value: &[u8]) -> Result<How, ()> {
    if how == How::Env && value.contains(&0) { Err(()) } else { Ok(how) }
}
