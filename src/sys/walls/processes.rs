//! A PID namespace with a `/proc` of its own: nobody outside has a number in there.
//!
//! That ends at once what the kernel allows between any two processes of one user, whatever keeps them from each other's memory: limits
//! (prlimit(2)), scheduling, priorities, `/proc/PID`. And whatever the program starts ends with it.
//!
//! Three processes make it. The copy of ours that has unshared stays outside, so it starts two more and goes: the namespace's first process,
//! which gets what loses its parents and lets it go, as every namespace needs one; and the program, which is a child of *our* process
//! (CLONE_PARENT in clone(2)), so that stops, groups, the terminal and the end are those of any command.

use std::io;
use std::os::fd::RawFd;

use libc::c_int;

/// The program's number in there, as the second process.
const PROGRAM: c_int = 2;
/// How often the first process looks whether the rest has ended, in milliseconds, once the program has.
const GLANCE: c_int = 10;
/// How many of those it gives whom our process left behind: somewhat more than a task's own grace.
const LOOKS: u32 = 600;

/// Divides the copy that has made the namespaces. Returns in the program, and nowhere else: the copy tells its number to `news` and ends.
/// `hold` is a pipe whose other end our process has, and nobody else: the namespace ends with it.
///
/// # Errors
/// There are no processes left.
///
/// # Safety
/// The caller is a process with one thread and with memory of its own, and every signal is blocked.
pub(in crate::sys) unsafe fn divide(news: RawFd, hold: RawFd) -> io::Result<()> {
    // SAFETY: as the caller promises, so a copy is consistent; what the first process calls is async-signal-safe.
    unsafe {
        match copy(libc::SIGCHLD)? {
            0 => look_after(hold),
            _ => match copy(libc::CLONE_PARENT | libc::SIGCHLD)? {
                0 => Ok(()),
                pid => {
                    let told = libc::write(news, (&raw const pid).cast(), size_of::<c_int>());
                    libc::_exit(c_int::from(told < 0))
                }
            },
        }
    }
}

/// As fork(2), which the C library has no flags for. The stack is the caller's own.
unsafe fn copy(flags: c_int) -> io::Result<c_int> {
    // SAFETY: without CLONE_VM, zeroes mean that stack and thread's storage are the copy's own; their order does not matter then.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, 0, 0, 0) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    c_int::try_from(pid).map_err(io::Error::other)
}

/// The first process. From inside nobody can signal it (pid_namespaces(7)), nor trace it: it is not dumpable.
unsafe fn look_after(hold: RawFd) -> ! {
    // SAFETY: system calls on this process, with pointers to what stands here.
    unsafe {
        // Nobody waits for a pipe or terminal because of it.
        let last = libc::c_uint::try_from(hold).unwrap_or(0);
        if last > 0 {
            libc::syscall(libc::SYS_close_range, 0, last - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, last + 1, libc::c_uint::MAX, 0);
        libc::setsid();
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        // What ends is let go by itself (wait(2)).
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        let mut byte = 0_u8;
        if super::drop_capabilities().is_err() || libc::read(hold, (&raw mut byte).cast(), 1) != 1 {
            libc::_exit(0);
        }
        let program = libc::syscall(libc::SYS_pidfd_open, PROGRAM, 0);
        let program = c_int::try_from(program).unwrap_or(-1);
        let (mut over, mut alone, mut looks) = (program < 0, false, 0);
        loop {
            let descriptor = |fd: c_int, done: bool| libc::pollfd {
                fd: if done { -1 } else { fd },
                events: libc::POLLIN,
                revents: 0,
            };
            let mut both = [descriptor(hold, alone), descriptor(program, over)];
            let calm = !over && !alone;
            libc::poll(both.as_mut_ptr(), 2, if calm { -1 } else { GLANCE });
            alone |= both[0].revents != 0;
            over |= both[1].revents != 0;
            if over && libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) < 0 {
                libc::_exit(0);
            }
            looks += u32::from(alone);
            if looks > LOOKS {
                // The kernel ends the rest.
                libc::_exit(0);
            }
        }
    }
}

/// Whether a `/proc` of our own can be mounted (user_namespaces(7) wants one that nothing lies over, as containers have it): by
/// `/proc/self/mountinfo`.
#[must_use]
pub fn can_have_proc(mountinfo: &str) -> bool {
    let places = || mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    // A folder of the kernel's that is always empty counts for nothing.
    let over = |place: &&str| place.starts_with("/proc/") && *place != "/proc/sys/fs/binfmt_misc";
    places().any(|place| place == "/proc") && !places().any(|place| over(&place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t24_a_proc_with_something_over_a_part_of_it_is_not_taken_for_a_whole_one() {
        let whole = "22 27 0:21 / /proc rw,relatime - proc proc rw\n23 22 0:22 / /proc/sys/fs/binfmt_misc rw - autofs a rw\n";
        assert!(can_have_proc(whole));
        for over in ["/proc/kcore", "/proc/sys", "/proc/acpi"] {
            assert!(
                !can_have_proc(&format!("{whole}24 22 0:23 / {over} ro - tmpfs tmpfs ro\n")),
                "{over}"
            );
        }
        assert!(!can_have_proc("27 1 8:1 / / rw - ext4 /dev/a rw\n"));
    }
}
