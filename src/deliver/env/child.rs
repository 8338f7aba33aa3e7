//! The child itself: its program, how it is told something, how it ended.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, pidfd_open, pidfd_send_signal, waitid,
};

use super::{DeliverError, Delivery, How, PrivateFiles, Var, find};
use crate::sys::spawn::Program;
use crate::sys::wait::is_readable;
use crate::sys::walls::Brought;

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
    /// `pidfd` is of the child `pid`.
    pub fn held(pid: Pid, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd }
    }

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

/// The program of a delivery, with its environment, and the files that have to outlive it.
///
/// The child's environment block is a copy of the values that nobody wipes: a value that is delivered by environment is in unlocked
/// memory by its nature. Ours is wiped when it was started.
pub(super) fn program(delivery: &Delivery) -> Result<(Program, Vec<PrivateFiles>), DeliverError> {
    let name = delivery.command.first().ok_or(DeliverError::NoCommand)?;
    let (mut files, mut paths) = (None, Vec::new());
    for var in &delivery.vars {
        check(var)?;
        if var.how == How::File {
            let folder = match &mut files {
                Some(folder) => folder,
                none => none.insert(PrivateFiles::new(delivery.runtime_dir.as_deref())?),
            };
            let file = folder.add(var.value.expose())?;
            paths.push(seen(delivery, folder).join(file.file_name().unwrap_or_default()));
        }
    }
    let ours: Vec<_> = std::env::vars_os().collect();
    let mut environment: BTreeMap<&OsStr, &[u8]> = ours.iter().chain(&delivery.plain).map(text).collect();
    let trusted = delivery.certificates.as_ref().map(|trusted| -> Result<_, DeliverError> {
        let mut folder = PrivateFiles::new(delivery.runtime_dir.as_deref())?;
        let file = folder.add(&trusted.pem)?;
        let place = seen(delivery, &folder);
        let file = place.join(file.file_name().unwrap_or_default());
        Ok((trusted, folder, place, file))
    });
    let trusted = trusted.transpose()?;
    if let Some((trusted, _, place, file)) = &trusted {
        let file = trusted.files.iter().map(|name| (name.as_os_str(), file.as_os_str().as_bytes()));
        let folder = place.as_os_str().as_bytes();
        environment.extend(file.chain(trusted.folders.iter().map(|name| (name.as_os_str(), folder))));
    }
    let mut paths = paths.iter().map(|path| path.as_os_str().as_bytes());
    environment.extend(delivery.vars.iter().filter_map(|var| {
        let value = match var.how {
            How::Env => Some(var.value.expose()),
            How::File => paths.next(),
        };
        Some((var.name.as_os_str(), value?))
    }));
    let path = environment.get(OsStr::new("PATH")).map(|path| OsStr::from_bytes(path));
    let found = delivery.found.clone().or_else(|| find(name, path));
    let found = found.ok_or(io::ErrorKind::NotFound.into());
    let program = found.and_then(|file| Program::new(&file, &delivery.command, environment));
    let program = program.map_err(|source| DeliverError::Start {
        program: name.clone(),
        source,
    })?;
    let files: Vec<_> = files.into_iter().chain(trusted.map(|(_, folder, ..)| folder)).collect();
    let mut walls = delivery.walls.clone();
    if let Some(walls) = &mut walls {
        let folders = files.iter().map(|folder| (folder.path().to_owned(), seen(delivery, folder)));
        match &mut walls.fence {
            Some(fence) => fence.readable.extend(folders.map(|(folder, _)| folder)),
            None => walls.brought.extend(folders.map(|(from, to)| Brought { from, to })),
        }
    }
    Ok((program.behind(walls).without_cores(!delivery.vars.is_empty()), files))
}

/// Where the child sees a folder of ours.
fn seen(delivery: &Delivery, folder: &PrivateFiles) -> PathBuf {
    let walls = delivery.walls.as_ref();
    walls.map_or_else(|| folder.path().to_owned(), |walls| walls.within(folder.path()))
}

fn text((name, value): &(OsString, OsString)) -> (&OsStr, &[u8]) {
    (name, value.as_bytes())
}

/// A C string ends at NUL: a value with one has no place in an environment.
fn check(var: &Var) -> Result<(), DeliverError> {
    let name = var.name.as_bytes();
    if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
        return Err(DeliverError::BadName { name: var.name.clone() });
    }
    if var.how == How::Env && var.value.expose().contains(&0) {
        return Err(DeliverError::NulInValue { name: var.name.clone() });
    }
    Ok(())
}
