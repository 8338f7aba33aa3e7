//! The worker's end of the socket: events go out while the key works, and a cancel comes in.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::protocol::Report;
use crate::device::ctap::fingerprint::Sample;
use crate::device::ctap::{KeepAlive, Watch};
use crate::worker::frame::write_frame;

/// After its request, the daemon sends nothing but a cancel; its end closing means the same.
pub(super) struct Line {
    socket: UnixStream,
    cancelled: bool,
    touch_told: bool,
    other_told: bool,
}

impl Line {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            cancelled: false,
            touch_told: false,
            other_told: false,
        }
    }

    pub(super) fn tell(&mut self, report: &Report, tail: &[u8]) -> io::Result<()> {
        write_frame(&self.socket, report, tail)
    }

    /// Events are worth nothing to a daemon that is gone; the cancel that its end's closing means is what counts.
    fn mention(&mut self, report: &Report) {
        if self.tell(report, &[]).is_err() {
            self.cancelled = true;
        }
    }
}

impl Watch for Line {
    fn keepalive(&mut self, status: KeepAlive) {
        let touch = status == KeepAlive::UpNeeded;
        if touch && !self.touch_told {
            self.mention(&Report::TouchNow);
        }
        self.touch_told = touch;
    }

    fn another_program(&mut self) {
        if !self.other_told {
            self.other_told = true;
            self.touch_told = false;
            self.mention(&Report::AnotherProgram);
        }
    }

    fn sample(&mut self, sample: Sample) {
        self.mention(&Report::Sample(sample));
        // It asks for the next touch by itself.
        self.touch_told = true;
    }

    fn cancelled(&mut self) -> bool {
        if !self.cancelled {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            self.cancelled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0);
        }
        self.cancelled
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        (!self.cancelled).then(|| self.socket.as_fd())
    }
}
