//! One output of the child, through the mask, to one of ours.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::{Errno, read};

use super::sink::Sink;
use crate::deliver::mask::{Masker, Patterns};

/// Reads in a row before others get their turn.
const TURN: usize = 16;
/// What may still be in a pipe when the child has ended; a process it left behind does not keep us longer.
const LEFT_BEHIND: usize = 1 << 20;

/// From a pipe or pseudo-terminal to a [`Sink`].
pub(super) struct Channel<'a> {
    /// Non-blocking; none when it ended or nobody reads us.
    source: Option<OwnedFd>,
    masker: Masker<&'a Patterns>,
    sink: Sink<'a>,
    /// Bytes that are still read, once the child has ended.
    budget: Option<usize>,
    /// Why it could not be written on.
    lost: Option<String>,
}

impl<'a> Channel<'a> {
    pub fn new(source: OwnedFd, patterns: &'a Patterns, sink: BorrowedFd<'a>) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&source, true)?;
        Ok(Self {
            source: Some(source),
            masker: Masker::new(patterns),
            sink: Sink::new(sink),
            budget: None,
            lost: None,
        })
    }

    /// The descriptor and event that let it go on; none when it is done.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        if self.masker.has_output() {
            return Some((self.sink.as_fd(), PollFlags::OUT));
        }
        self.source.as_ref().map(|source| (source.as_fd(), PollFlags::IN))
    }

    /// Whether it holds something that [`Channel::settle`] lets go.
    pub fn is_unsettled(&self) -> bool {
        self.source.is_some() && !self.masker.has_output() && self.masker.is_unsettled()
    }

    pub fn masked(&self) -> u64 {
        self.masker.masked()
    }

    /// Why not all of it could be written, once, where its reader did not just go away.
    pub fn lost(&mut self) -> Option<String> {
        self.lost.take()
    }

    /// Moves what can be moved without waiting.
    pub fn pump(&mut self) {
        for _ in 0..TURN {
            if self.masker.has_output() && !self.write() {
                return;
            }
            let Some(source) = &self.source else { return };
            match read(source, self.masker.space()) {
                Ok(0) => self.end(),
                Ok(count) => self.take(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.budget.is_none() => return,
                // EIO: all descriptors of the terminal's other side are closed.
                Err(_) => self.end(),
            }
        }
    }

    /// The input pauses.
    pub fn settle(&mut self) {
        self.masker.settle();
        if self.masker.has_output() {
            self.write();
        }
    }

    /// The child has ended: what it wrote is still there, what others will write is not waited for.
    pub fn child_ended(&mut self) {
        self.budget.get_or_insert(LEFT_BEHIND);
    }

    fn take(&mut self, count: usize) {
        self.masker.filled(count);
        if let Some(left) = &mut self.budget {
            *left = left.saturating_sub(count);
            if *left == 0 {
                self.end();
            }
        }
    }

    fn end(&mut self) {
        self.source = None;
        self.masker.finish();
    }

    /// False when our reader is behind, or gone. Then the child's side is closed, and it gets the SIGPIPE that is meant for it.
    fn write(&mut self) -> bool {
        match self.masker.write_to(|slices| self.sink.write(slices)) {
            Ok(done) => done,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => false,
            Err(error) => {
                self.source = None;
                self.masker.discard();
                self.lost = (error.kind() != io::ErrorKind::BrokenPipe).then(|| error.to_string());
                false
            }
        }
    }
}
