//! A command does not outlive us when we are killed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::AtEnd;
use super::child::Child;
use super::ending::{Aim, Ending};
use super::offspring::Offspring;
use crate::clock::Clock;
use crate::sys;

/// How long a command runs without one, in milliseconds: most are over by then, and need not pay for a process that waits beside them.
pub(super) const AFTER: u64 = 50;

/// A process that ends the command as its task says when this one is gone without a word, which SIGKILL alone makes it.
///
/// The kernel's own signal at a parent's death (PR_SET_PDEATHSIG) would be set between fork and exec, for which the standard library copies
/// our page tables where it would use vfork; it reaches the child alone, and is lost when that executes a set-user-ID program.
pub(super) struct Leash {
    pub pid: Pid,
    pipe: OwnedFd,
}

impl Leash {
    /// Forks it.
    pub fn hold(child: &Child, at_end: AtEnd, clock: &dyn Clock) -> io::Result<Self> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        let keep = [theirs.as_raw_fd(), child.as_fd().as_raw_fd()];
        let pid = sys::child::fork(&keep, || i32::from(watch(&theirs, child, at_end, clock).is_err()))?;
        Ok(Self { pid, pipe: ours })
    }

    /// The command is over: so is the leash.
    pub fn let_go(self) {
        // If it was killed, nobody is there to be told.
        let _ = write(&self.pipe, &[0]);
    }
}

fn watch(pipe: &OwnedFd, child: &Child, at_end: AtEnd, clock: &dyn Clock) -> io::Result<()> {
    sys::signals::drop_in_fork()?;
    // What is meant for our process group is not meant for this, and nobody waits for our outputs because of it.
    setsid()?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    let told = loop {
        match read(pipe, &mut [0]) {
            Err(Errno::INTR) => {}
            told => break told?,
        }
    };
    if told == 0 && !child.is_over() {
        let offspring = Offspring::of_another();
        let aim = Aim {
            child: Some(child),
            // Whoever reaps it now gives the number of its group away.
            whole_group: false,
            offspring: &offspring,
        };
        Ending::begin(&aim, at_end, clock.boot()).see_out(&aim, None, clock);
    }
    Ok(())
}
