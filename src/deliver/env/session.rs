//! A child in a session of its own, with a pseudo-terminal as its controlling terminal.
//!
//! Between us and the child stands a monitor, the leader of that session. Without it the child's process group would be orphaned
//! (its parent in another session), and the kernel ignores Ctrl-Z there (POSIX, 2.4.3). The monitor is a fork of this process:
//! it starts the child, tells of its stops and its end, and goes when we have heard, or when the terminal hangs up because we are gone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, ioctl_tiocsctty, setsid, waitid};
use rustix::termios::tcgetpgrp;

use super::child::{Child, Status};
use super::terminal::Pair;
use crate::sys;
use crate::sys::spawn::Program;

/// What the monitor says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Started(i32),
    Failed(i32),
    Stopped,
    Ended(Status),
}

/// The child's session, from outside.
pub(super) struct Session {
    /// Our side of the pseudo-terminal.
    pub terminal: OwnedFd,
    pub child: Child,
    monitor: Pid,
    news: OwnedFd,
}

impl Session {
    /// Starts `program` with its terminal on `pair`; what it has for stderr otherwise is `stderr`. Its environment is wiped here and in the
    /// monitor once it has begun.
    pub fn start(program: Program, pair: Pair, stderr: Option<OwnedFd>) -> io::Result<Self> {
        let (news, monitors) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let Pair { ours, child: tty } = pair;
        let keep: Vec<RawFd> = [Some(&monitors), Some(&tty), stderr.as_ref()]
            .into_iter()
            .flatten()
            .map(AsRawFd::as_raw_fd)
            .collect();
        let monitor = sys::child::fork(&keep, move || {
            let told = match begin(program, &tty, stderr.as_ref()) {
                Ok(pid) => watch(pid, &monitors),
                Err(error) => tell(&monitors, &News::Failed(error.raw_os_error().unwrap_or(libc::EIO))),
            };
            i32::from(told.is_err())
        })?;
        match hear(&news)? {
            News::Started(pid) => {
                let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
                Ok(Self {
                    terminal: ours,
                    child: Child::of(pid)?,
                    monitor,
                    news,
                })
            }
            News::Failed(errno) => Err(io::Error::from_raw_os_error(errno)),
            News::Stopped | News::Ended(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// What the monitor said next. When it is gone, so is the session's leader, and the kernel has hung up on the child.
    pub fn hear(&self) -> News {
        hear(&self.news).unwrap_or(News::Ended(Status::Killed(Signal::HUP.as_raw())))
    }

    /// The process between us and the child.
    pub fn monitor(&self) -> Pid {
        self.monitor
    }

    /// To the group in the terminal's foreground, as a key pressed there would.
    pub fn signal_foreground(&self, signal: Signal) {
        if let Ok(group) = tcgetpgrp(&self.terminal) {
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }
}

impl AsFd for Session {
    /// Readable when there is news.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

impl Drop for Session {
    /// Lets the monitor go: until now it kept the child's number from being used again.
    fn drop(&mut self) {
        let _ = write(&self.news, &[0]);
        let _ = waitid(WaitId::Pid(self.monitor), WaitIdOptions::EXITED);
    }
}

fn begin(program: Program, tty: &OwnedFd, stderr: Option<&OwnedFd>) -> io::Result<Pid> {
    sys::signals::drop_in_fork()?;
    setsid()?;
    ioctl_tiocsctty(tty)?;
    let (pid, _) = program.start([tty, tty, stderr.unwrap_or(tty)].map(AsFd::as_fd), Some(tty.as_fd()))?;
    Ok(pid)
}

/// Tells of every stop and of the end, and stays until that was heard. The child is not reaped: its number stays its own.
fn watch(pid: Pid, news: &OwnedFd) -> io::Result<()> {
    tell(news, &News::Started(pid.as_raw_pid()))?;
    let look = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(pid), look) {
            Err(Errno::INTR) | Ok(None) => {}
            Err(error) => return Err(error.into()),
            Ok(Some(status)) if status.stopped() => {
                // Taken back here if it was continued meanwhile.
                if waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG)?.is_some() {
                    tell(news, &News::Stopped)?;
                }
            }
            Ok(Some(status)) => {
                tell(news, &News::Ended(Status::of(&status)))?;
                hear_end(news);
                return Ok(());
            }
        }
    }
}

fn hear_end(news: &OwnedFd) {
    while read(news, &mut [0]) == Err(Errno::INTR) {}
}

fn tell(news: &OwnedFd, what: &News) -> io::Result<()> {
    let (kind, number) = match what {
        News::Started(pid) => (b'p', *pid),
        News::Failed(errno) => (b'f', *errno),
        News::Stopped => (b's', 0),
        News::Ended(Status::Exited(code)) => (b'e', i32::from(*code)),
        News::Ended(Status::Killed(signal)) => (b'k', *signal),
    };
    let [a, b, c, d] = number.to_le_bytes();
    write(news, &[kind, a, b, c, d])?;
    Ok(())
}

fn hear(news: &OwnedFd) -> io::Result<News> {
    let mut message = [0; 5];
    while let Err(error) = read(news, &mut message) {
        if error != Errno::INTR {
            return Err(error.into());
        }
    }
    let [kind, a, b, c, d] = message;
    let number = i32::from_le_bytes([a, b, c, d]);
    match kind {
        b'p' => Ok(News::Started(number)),
        b'f' => Ok(News::Failed(number)),
        b's' => Ok(News::Stopped),
        b'e' => Ok(News::Ended(Status::Exited((number & 0xff) as u8))),
        b'k' => Ok(News::Ended(Status::Killed(number))),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
