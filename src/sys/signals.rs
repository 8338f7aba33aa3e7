//! Signals as bytes in a pipe, so that one `poll` waits for them too.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, kill_current_process_group};

/// Where the handler writes; negative when nobody listens.
static LISTENER: AtomicI32 = AtomicI32::new(-1);
/// What is caught: bit n for signal n.
static CAUGHT: AtomicU64 = AtomicU64::new(0);

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caught {
    /// Which one.
    pub signal: Signal,
    /// The kernel sent it (a key of the terminal, its hang-up), and so to the whole foreground process group.
    pub by_kernel: bool,
}

/// Catches signals while it lives; one at a time in a process. Handlers, unlike a blocked mask, do not pass through `exec`.
pub struct Catcher {
    pipe: OwnedFd,
    writer: OwnedFd,
    before: Vec<(i32, libc::sigaction)>,
}

impl Catcher {
    /// Catches `signals`, but leaves alone those that are ignored: `nohup` and shells ignore on purpose. Not SIGCHLD: who ignores that
    /// has no children to wait for.
    ///
    /// # Errors
    /// No descriptors left, or a signal that cannot be caught.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let (pipe, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        LISTENER.store(writer.as_raw_fd(), Ordering::SeqCst);
        let mut catcher = Self {
            pipe,
            writer,
            before: Vec::new(),
        };
        for signal in signals {
            // Looked at first: one that is ignored must not be caught for a moment either.
            let before = disposition(signal.as_raw(), None)?;
            if before.sa_sigaction != libc::SIG_IGN || *signal == Signal::CHILD {
                disposition(signal.as_raw(), Some(&handler()))?;
                catcher.before.push((signal.as_raw(), before));
                CAUGHT.fetch_or(1 << signal.as_raw(), Ordering::SeqCst);
            }
        }
        Ok(catcher)
    }

    /// The signals that arrived since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Caught> {
        let mut bytes = [0; 64];
        let count = rustix::io::read(&self.pipe, &mut bytes).unwrap_or(0);
        bytes[..count]
            .iter()
            .filter_map(|byte| {
                let signal = Signal::from_named_raw(i32::from(byte & 0x7f))?;
                Some(Caught {
                    signal,
                    by_kernel: byte & 0x80 != 0,
                })
            })
            .collect()
    }

    /// Stops our process group as Ctrl-Z at the terminal does, and returns when we are continued. In an orphaned group, which
    /// nobody could continue, the kernel does not stop us (POSIX, 2.4.3) and this returns at once.
    ///
    /// # Errors
    /// The disposition of SIGTSTP cannot be changed.
    pub fn stop_group(&self) -> io::Result<()> {
        let before = disposition(libc::SIGTSTP, Some(&default()))?;
        let stopped = kill_current_process_group(Signal::TSTP);
        disposition(libc::SIGTSTP, Some(&before))?;
        Ok(stopped?)
    }
}

impl AsFd for Catcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            // Restoring what was there cannot fail for a signal that was accepted before.
            let _ = disposition(*signal, Some(before));
            CAUGHT.fetch_and(!(1 << *signal), Ordering::SeqCst);
        }
        let _ = LISTENER.compare_exchange(self.writer.as_raw_fd(), -1, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// In a forked copy of a process with a [`Catcher`]: caught signals are dropped, and do not reach the parent's pipe. A hang-up
/// ends the copy again, unless it was ignored from the start.
///
/// # Errors
/// The disposition of SIGHUP cannot be changed.
pub fn drop_in_fork() -> io::Result<()> {
    LISTENER.store(-1, Ordering::SeqCst);
    if disposition(libc::SIGHUP, None)?.sa_sigaction == handler().sa_sigaction {
        disposition(libc::SIGHUP, Some(&default()))?;
    }
    Ok(())
}

/// In a copy that shares our memory and is about to execute a program, with every signal blocked: none is caught any more. What the
/// program would not forget by itself is that we ignore SIGPIPE.
///
/// # Safety
/// Not in this process itself, whose [`Catcher`] would not hear of it.
pub(super) unsafe fn let_go() {
    let mut caught = CAUGHT.load(Ordering::SeqCst) | 1 << libc::SIGPIPE;
    while caught != 0 {
        // SAFETY: no handler, and the default of each.
        unsafe { libc::signal(caught.trailing_zeros() as libc::c_int, libc::SIG_DFL) };
        caught &= caught - 1;
    }
}

fn handler() -> libc::sigaction {
    // SAFETY: a sigaction of zero bytes is a valid value: no handler, empty mask, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    action
}

fn default() -> libc::sigaction {
    libc::sigaction {
        sa_sigaction: libc::SIG_DFL,
        sa_flags: 0,
        ..handler()
    }
}

fn disposition(signal: i32, new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    // SAFETY: as in `handler`.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `new` is null or points to a whole sigaction, whose handler (if ours) is async-signal-safe; `old` is writable.
    match unsafe { libc::sigaction(signal, new, &raw mut old) } {
        0 => Ok(old),
        _ => Err(io::Error::last_os_error()),
    }
}

/// One byte into the pipe: the number, and whether the kernel sent it. When the pipe is full the signal is one of thousands.
extern "C" fn on_signal(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    let listener = LISTENER.load(Ordering::SeqCst);
    if listener < 0 {
        return;
    }
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo; `write` is async-signal-safe, reads one byte of our stack,
    // and errno, the only state it changes, is put back.
    unsafe {
        let errno = *libc::__errno_location();
        let kernel = if (*info).si_code == libc::SI_KERNEL { 0x80 } else { 0 };
        let byte = (signal & 0x7f) as u8 | kernel;
        libc::write(listener, (&raw const byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, WaitOptions, getpid, kill_process, waitpid};

    use super::*;

    #[test]
    fn a_signal_that_is_ignored_is_not_caught_even_while_catching_begins() {
        // SAFETY: to ignore a signal runs no code.
        unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
        let is_over = AtomicBool::new(false);
        let caught = thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    kill_process(getpid(), Signal::USR1).unwrap();
                }
            });
            let caught = (0..2000)
                .map(|_| Catcher::new(&[Signal::USR1]).unwrap().take().len())
                .sum::<usize>();
            is_over.store(true, Ordering::Relaxed);
            caught
        });
        assert_eq!(caught, 0);
        let _catcher = Catcher::new(&[Signal::USR1]).unwrap();
        assert_eq!(disposition(libc::SIGUSR1, None).unwrap().sa_sigaction, libc::SIG_IGN);
    }

    #[test]
    fn a_copy_that_lets_go_catches_nothing_and_goes_on_ignoring_what_is_ignored() {
        let catcher = Catcher::new(&[Signal::TERM, Signal::WINCH]).unwrap();
        // SAFETY: to ignore a signal runs no code.
        unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
        let does = |signal| disposition(signal, None).map_or(usize::MAX, |action| action.sa_sigaction);
        // SAFETY: the copy makes system calls, allocates nothing, and leaves by `_exit`.
        let copy = unsafe {
            match libc::fork() {
                0 => {
                    let_go();
                    let defaults = [libc::SIGTERM, libc::SIGWINCH, libc::SIGPIPE]
                        .iter()
                        .all(|signal| does(*signal) == libc::SIG_DFL);
                    libc::_exit(i32::from(!(defaults && does(libc::SIGUSR2) == libc::SIG_IGN)))
                }
                pid => Pid::from_raw(pid).unwrap(),
            }
        };
        let (_, status) = waitpid(Some(copy), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
        // Whichever thread it comes to.
        kill_process(getpid(), Signal::TERM).unwrap();
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        assert_eq!(poll(&mut [PollFd::new(&catcher, PollFlags::IN)], Some(&limit)), Ok(1));
        assert_eq!(catcher.take().len(), 1);
    }
}
