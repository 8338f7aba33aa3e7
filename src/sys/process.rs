//! What a process of ours forbids others of the same user.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// What this process was started with and its own programs do without.
static STARTED_WITH: OnceLock<StartedWith> = OnceLock::new();

#[derive(Clone, Copy)]
pub(super) struct StartedWith {
    core: Rlimit,
    pub(super) blocked: libc::sigset_t,
}

/// Nothing in a process that was not hardened.
pub(super) fn started_with() -> Option<StartedWith> {
    STARTED_WITH.get().copied()
}

impl StartedWith {
    /// The limit of core files, in the C library's form.
    pub(super) fn core_limit(&self) -> libc::rlimit {
        let bytes = |limit: Option<u64>| limit.unwrap_or(libc::RLIM_INFINITY);
        libc::rlimit {
            rlim_cur: bytes(self.core.current),
            rlim_max: bytes(self.core.maximum),
        }
    }
}

/// Whose process listens at the other end of a Unix socket (`SO_PEERCRED`, unix(7)).
///
/// rustix's own takes the process's number along, and fails where there is none: in the PID namespace of an agent's sandbox the daemon has
/// number 0.
///
/// # Errors
/// It is no such socket.
#[allow(unsafe_code)]
pub fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = libc::socklen_t::try_from(size_of::<libc::ucred>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `len` bytes, which is the structure's size, and says how many they were.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut len,
        )
    };
    match done {
        0 if len as usize == size_of::<libc::ucred>() => Ok(peer.uid),
        0 => Err(io::ErrorKind::InvalidData.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes this process non-dumpable, without core files. What a command of the user's is to have again is kept
/// ([`Program`](super::spawn::Program)).
///
/// Non-dumpable stops ptrace, `/proc/PID/mem`, `environ`, `fd` and `pidfd_getfd` by other processes of the same uid
/// (ptrace(2), "Ptrace access mode checking"); `exec` resets it, so every program of ours calls this first.
///
/// # Errors
/// The kernel refused; the caller must not go on to hold secrets.
pub fn harden() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let core = getrlimit(Resource::Core);
    STARTED_WITH.get_or_init(|| StartedWith { core, blocked: blocked() });
    // Up to what it was a command may have it again.
    let none = Rlimit {
        current: Some(0),
        maximum: core.maximum,
    };
    Ok(setrlimit(Resource::Core, none)?)
}

/// Calls this process by its program's name: what is started as `/proc/self/exe` is called `exe` in a list of processes (`comm` in proc(5)).
pub fn name() {
    // Nothing depends on it.
    let _ = rustix::thread::set_name(c"touchlease");
}

/// For a process that starts no command of the user's: no core files, and nobody raises that limit again.
///
/// # Errors
/// The kernel refused.
pub fn forbid_cores() -> io::Result<()> {
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    Ok(())
}

/// Allows this process as many descriptors as it may have.
///
/// # Errors
/// The kernel refused.
pub fn raise_descriptors() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: maximum, maximum };
    Ok(setrlimit(Resource::Nofile, limit)?)
}

#[allow(unsafe_code)]
fn blocked() -> libc::sigset_t {
    // SAFETY: a null set asks only; `set` is initialised by sigemptyset, and written by the call.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut set);
        set
    }
}

/// The process that connected a Unix socket's other end, whoever has its pid by now (SO_PEERPIDFD).
///
/// # Errors
/// `ENOPROTOOPT` before Linux 6.5; others when the process is gone, which later kernels leave to the handle to say.
#[allow(unsafe_code)]
pub fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut pidfd: libc::c_int = -1;
    let mut len = libc::socklen_t::try_from(size_of_val(&pidfd)).map_err(io::Error::other)?;
    let option = (libc::SOL_SOCKET, libc::SO_PEERPIDFD);
    // SAFETY: the kernel writes at most `len` bytes, which is the size of `pidfd`.
    let done = unsafe { libc::getsockopt(socket.as_raw_fd(), option.0, option.1, (&raw mut pidfd).cast(), &raw mut len) };
    match done {
        // SAFETY: the kernel made the descriptor for this call, so nobody else owns it.
        0 => Ok(unsafe { OwnedFd::from_raw_fd(pidfd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes every descriptor but standard input, output and error: a daemon must not keep a lock or a pipe of whoever started it.
///
/// # Errors
/// The kernel has no close_range(2) (before Linux 5.9).
#[allow(unsafe_code)]
pub fn close_inherited() -> io::Result<()> {
    // SAFETY: called first thing in `main`, before anything here has opened a descriptor of its own.
    match unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::ffi::OsString;
    use std::path::Path;

    use rustix::process::{WaitOptions, dumpable_behavior, waitpid};
    use rustix::stdio::{stderr, stdin, stdout};

    use super::*;
    use crate::sys::child;
    use crate::sys::spawn::Program;

    /// What this gives in a process of its own, started without a limit of core files but `hard`.
    fn apart(hard: Option<u64>, is_right: impl Fn() -> bool) {
        let copy = child::fork(&[], || {
            let limit = Rlimit {
                current: hard,
                maximum: hard,
            };
            let ready = setrlimit(Resource::Core, limit).is_ok() && harden().is_ok();
            i32::from(!(ready && is_right()))
        });
        let (_, status) = waitpid(Some(copy.unwrap()), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }

    #[test]
    fn t47_hardened_is_two_walls_no_core_limit_and_not_dumpable() {
        // As high as it may be here without a privilege.
        let hard = getrlimit(Resource::Core).maximum;
        assert_ne!(hard, Some(0), "there is no limit to lower");
        apart(hard, || {
            let lowered = Rlimit {
                current: Some(0),
                maximum: hard,
            };
            getrlimit(Resource::Core) == lowered && dumpable_behavior().is_ok_and(|how| how == DumpableBehavior::NotDumpable)
        });
    }

    #[test]
    fn t47_a_command_of_the_users_has_its_limit_again_and_we_have_none() {
        let hard = getrlimit(Resource::Core).maximum;
        let said = hard.map_or("unlimited".to_owned(), |bytes| (bytes / 512).to_string());
        apart(hard, || {
            let words = ["sh", "-c", "test \"$(ulimit -c)\" = \"$1\"", "sh", &said].map(OsString::from);
            let sh = Program::new(Path::new("/bin/sh"), &words, []);
            let started = sh.and_then(|sh| sh.start([stdin(), stdout(), stderr()], None));
            let ended = started.is_ok_and(|(pid, _)| {
                let status = waitpid(Some(pid), WaitOptions::empty()).ok().flatten();
                status.is_some_and(|(_, status)| status.exit_status() == Some(0))
            });
            ended && getrlimit(Resource::Core).current == Some(0)
        });
    }
}
