//! Waiting for descriptors in the daemon's runtime, and looking at one now.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::unix::AsyncFd;

/// A descriptor whose readability can be waited for: a timer, a process.
///
/// # Errors
/// The runtime takes no more.
pub fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open, and the same, until the `AsyncFd` that owns it is dropped, which deregisters it first.
    unsafe { AsyncFd::register(fd) }.map_err(Into::into)
}

/// Whether `fd` can be read now. A signal is no answer: poll(2) gives way to one also where it does not wait, and a daemon hears of each
/// worker's end by one.
///
/// # Errors
/// The system refuses to look.
pub fn is_readable(fd: impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let now = Timespec::default();
    Ok(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&now)))? > 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    use super::*;

    #[test]
    fn t48_a_signal_is_not_taken_for_the_end_of_a_process() {
        extern "C" fn heard(_: libc::c_int) {}
        // SAFETY: the handler does nothing; both calls have valid arguments.
        let looking = unsafe {
            libc::signal(libc::SIGUSR2, heard as extern "C" fn(libc::c_int) as libc::sighandler_t);
            libc::pthread_self()
        };
        let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // SAFETY: the thread that looks waits for this one.
                    unsafe { libc::pthread_kill(looking, libc::SIGUSR2) };
                }
            });
            let ended = (0..100_000).filter(|_| is_readable(&own).unwrap()).count();
            over.store(true, Ordering::Relaxed);
            assert_eq!(ended, 0);
        });
    }
}
