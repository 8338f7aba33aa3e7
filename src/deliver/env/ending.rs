//! Ending a command whose lease is over, and whatever it started.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::AtEnd;
use super::child::Child;
use super::offspring::Offspring;
use super::relay::PASSED;
use crate::clock::{Boot, Clock};
use crate::sys::signals::Catcher;

/// What a process may use to tidy up, in milliseconds.
const GRACE: u64 = 5_000;
/// What those that the child left running may use to end by themselves, in milliseconds: `tee` writes what it still has.
const BY_THEMSELVES: u64 = 1_000;
/// What the kernel may use for a SIGKILL, in milliseconds.
const KILLED: u64 = 300;
/// How often it is sent. Then we go: a process of another user gets none from us, and one that waits for a disk may wait for ever.
const ROUNDS: u32 = 3;

/// Whom a signal is for.
pub(super) struct Aim<'a> {
    /// None when it is over.
    pub child: Option<&'a Child>,
    /// Whether the child has a process group of its own.
    pub whole_group: bool,
    pub offspring: &'a Offspring,
}

/// A command being ended.
pub(super) struct Ending {
    /// When SIGKILL is due; none when it was sent.
    pub kill_at: Option<Boot>,
    /// All that was found so far but the child: some may have lost their parent since.
    known: Vec<Child>,
}

impl Ending {
    /// Sends the first signal.
    pub fn begin(aim: &Aim<'_>, at_end: AtEnd, now: Boot) -> Self {
        let mut ending = Self {
            kill_at: Some(Boot(now.0 + GRACE)),
            known: Vec::new(),
        };
        match at_end {
            AtEnd::Terminate => ending.send(aim, Signal::TERM),
            AtEnd::Interrupt => ending.send(aim, Signal::INT),
            AtEnd::Kill => ending.kill(aim),
        }
        ending
    }

    /// Milliseconds until SIGKILL.
    pub fn left(&self, now: Boot) -> Option<u64> {
        self.kill_at.map(|at| at.0.saturating_sub(now.0))
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self, aim: &Aim<'_>) {
        self.kill_at = None;
        self.send(aim, Signal::KILL);
    }

    /// Waits until all are over, and sends SIGKILL when it is due; at once when a signal says that nobody waits for us.
    pub fn see_out(mut self, aim: &Aim<'_>, catcher: Option<&Catcher>, clock: &dyn Clock) {
        if let Some(due) = self.kill_at
            && !are_over(aim, &mut self.known, due, catcher, clock)
        {
            self.kill(aim);
        }
        // Whoever was started meanwhile gets his in the next round.
        for _ in 0..ROUNDS {
            let until = Boot(clock.boot().0 + KILLED);
            if are_over(aim, &mut self.known, until, None, clock) {
                return;
            }
            self.kill(aim);
        }
    }

    /// To the child, its process group if that is its own, and everything that it started; continued, so that a stopped process
    /// sees it too.
    fn send(&mut self, aim: &Aim<'_>, signal: Signal) {
        look_again(aim, &mut self.known);
        if let Some(child) = aim.child.filter(|_| aim.whole_group) {
            child.signal_group(signal);
            child.signal_group(Signal::CONT);
        }
        for process in aim.child.into_iter().chain(&self.known) {
            process.signal(signal);
            process.signal(Signal::CONT);
        }
    }
}

/// The child has ended, and its lease with it: what it left running is ended as well, once it had the time to end by itself. How many
/// had not.
pub(super) fn end_rest(aim: &Aim<'_>, at_end: AtEnd, catcher: &Catcher, clock: &dyn Clock) -> usize {
    let mut known = Vec::new();
    let until = Boot(clock.boot().0 + BY_THEMSELVES);
    if are_over(aim, &mut known, until, Some(catcher), clock) {
        return 0;
    }
    Ending::begin(aim, at_end, clock.boot()).see_out(aim, Some(catcher), clock);
    known.len()
}

/// Waits for the child and all that it started: false when it is late, or a signal came.
fn are_over(aim: &Aim<'_>, known: &mut Vec<Child>, until: Boot, catcher: Option<&Catcher>, clock: &dyn Clock) -> bool {
    loop {
        look_again(aim, known);
        let running: Vec<&Child> = aim.child.filter(|child| !child.is_over()).into_iter().chain(&*known).collect();
        let left = until.0.saturating_sub(clock.boot().0);
        if running.is_empty() || left == 0 {
            return running.is_empty();
        }
        let descriptors = running.iter().map(|process| process.as_fd()).chain(catcher.map(AsFd::as_fd));
        let mut fds: Vec<_> = descriptors.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        // Interrupted, or not: what there is to see is looked at above.
        let _ = poll(&mut fds, Some(&millis(left)));
        let is_told = |catcher: &Catcher| catcher.take().iter().any(|caught| PASSED.contains(&caught.signal));
        if catcher.is_some_and(is_told) {
            return false;
        }
    }
}

/// Those that were known and are not over, and those that were started since.
fn look_again(aim: &Aim<'_>, known: &mut Vec<Child>) {
    aim.offspring.reap(aim.child);
    let found = aim.offspring.find(aim.child);
    known.retain(|process| !process.is_over());
    let new = found
        .into_iter()
        .filter(|process| !process.is_over() && known.iter().all(|known| known.pid != process.pid));
    known.extend(new.collect::<Vec<_>>());
}

/// For `poll`.
pub(super) fn millis(millis: u64) -> Timespec {
    Timespec {
        tv_sec: (millis / 1000) as i64,
        tv_nsec: (millis % 1000 * 1_000_000) as i64,
    }
}
