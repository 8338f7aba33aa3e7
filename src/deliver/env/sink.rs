//! Writing to one of our own outputs without ever blocking in it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::{Errno, writev};

/// What a pipe that polls as writable takes without blocking (PIPE_BUF, pipe(7)).
const ATOMIC: usize = 4096;

/// One of our outputs. It is shared with whoever started us, so its O_NONBLOCK is not ours to set.
pub(super) struct Sink<'a> {
    fd: BorrowedFd<'a>,
    /// The same pipe or terminal under a file description of our own, non-blocking; opened at the first large write.
    own: Option<OwnedFd>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unknown,
    /// Writes to it do not wait for a reader.
    File,
    /// A pipe, terminal or socket that is written in small pieces.
    Pieces,
    /// The same, under a description of our own.
    Own,
}

impl<'a> Sink<'a> {
    pub fn new(fd: BorrowedFd<'a>) -> Self {
        Self {
            fd,
            own: None,
            kind: Kind::Unknown,
        }
    }

    /// Like `writev`; `WouldBlock` when the reader is behind.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.kind == Kind::Unknown {
            self.look()?;
        }
        if self.kind == Kind::Pieces && total > ATOMIC && self.own.is_none() {
            self.reopen();
        }
        let written = match (&self.own, self.kind) {
            (Some(own), _) => writev(own, slices),
            (None, Kind::File) => writev(self.fd, slices),
            (None, _) => self.write_piece(slices),
        };
        Ok(written?)
    }

    fn look(&mut self) -> io::Result<()> {
        let file = FileType::from_raw_mode(fstat(self.fd)?.st_mode);
        self.kind = if matches!(file, FileType::RegularFile | FileType::BlockDevice) {
            Kind::File
        } else {
            Kind::Pieces
        };
        Ok(())
    }

    /// Opens the pipe or terminal anew. Not possible for sockets, or a pipe that another user made: pieces, then.
    fn reopen(&mut self) {
        let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        self.own = open(path, flags, Mode::empty()).ok();
        self.kind = Kind::Own;
    }

    fn write_piece(&self, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let mut ready = [PollFd::new(&self.fd, PollFlags::OUT)];
        if poll(&mut ready, Some(&Timespec::default()))? == 0 {
            return Err(Errno::AGAIN);
        }
        let mut left = ATOMIC;
        let mut piece = Vec::with_capacity(slices.len());
        for slice in slices {
            let part = &slice[..slice.len().min(left)];
            left -= part.len();
            piece.push(IoSlice::new(part));
        }
        writev(self.fd, &piece)
    }
}

impl AsFd for Sink<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
    }
}
