//! The terminal we were started in, while a child has a pseudo-terminal of its own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::getpgrp;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, OutputModes, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize};

/// Our terminal: raw while the child's does the work of the line discipline, as it was at every other time.
pub(super) struct Terminal<'a> {
    fd: BorrowedFd<'a>,
    saved: Termios,
    raw: bool,
}

impl<'a> Terminal<'a> {
    pub fn new(fd: BorrowedFd<'a>) -> io::Result<Self> {
        Ok(Self {
            fd,
            saved: tcgetattr(fd)?,
            raw: false,
        })
    }

    /// Whether our process group may read it and change its modes without being stopped.
    pub fn is_ours(&self) -> bool {
        tcgetpgrp(self.fd).is_ok_and(|group| group == getpgrp())
    }

    pub fn is_raw(&self) -> bool {
        self.raw
    }

    /// Makes it raw, when it is ours.
    pub fn enter_raw(&mut self) {
        let mut raw = self.saved.clone();
        raw.make_raw();
        self.raw = self.is_ours() && tcsetattr(self.fd, OptionalActions::Now, &raw).is_ok();
    }

    /// Makes it as it was, when it is still ours.
    pub fn restore(&mut self) {
        if self.raw && self.is_ours() {
            // A terminal that is gone needs no modes.
            let _ = tcsetattr(self.fd, OptionalActions::Now, &self.saved);
        }
        self.raw = false;
    }

    pub fn copy_size(&self, to: BorrowedFd<'_>) {
        copy_size(self.fd, to);
    }
}

impl AsFd for Terminal<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.restore();
    }
}

/// A pseudo-terminal: our side and the child's.
pub(super) struct Pair {
    pub ours: OwnedFd,
    pub child: OwnedFd,
}

impl Pair {
    /// One with the modes and the size of `like`, which may be 0 by 0.
    pub fn like(like: BorrowedFd<'_>) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let child = ioctl_tiocgptpeer(&ours, flags)?;
        tcsetattr(&child, OptionalActions::Now, &tcgetattr(like)?)?;
        copy_size(like, ours.as_fd());
        Ok(Self { ours, child })
    }

    /// One for output only: the bytes pass as they are, as the real terminal behind it still has its own modes.
    pub fn for_output(like: BorrowedFd<'_>) -> io::Result<Self> {
        let pair = Self::like(like)?;
        let mut modes = tcgetattr(&pair.child)?;
        modes.output_modes.remove(OutputModes::OPOST);
        modes.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG | LocalModes::ICANON);
        tcsetattr(&pair.child, OptionalActions::Now, &modes)?;
        Ok(pair)
    }
}

/// Gives a pseudo-terminal the size of a terminal; the kernel tells its foreground group (SIGWINCH) when that is a change.
pub(super) fn copy_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    if let Ok(size) = tcgetwinsize(from) {
        // The child's side may be gone already.
        let _ = tcsetwinsize(to, size);
    }
}
