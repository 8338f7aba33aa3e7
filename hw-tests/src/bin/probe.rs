//! What a process can do to another one of the same user: seven ways to its memory, and whether each works; and which places it reaches.
//!
//! usage: probe PID [PLACE...]
//! Prints a line for each: its name, `open` or `closed`. A place is a folder (open where it shows something that is in it), a file or device
//! node, a socket, `@NAME` for an abstract one, or `signal:PID`.

use std::{
    env, fs,
    io::{self, Read},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        linux::net::SocketAddrExt,
        unix::{
            fs::{FileTypeExt, MetadataExt},
            net::{SocketAddr, UnixStream},
        },
    },
    process::ExitCode,
};

/// One attempt.
type Way = fn(libc::pid_t) -> io::Result<()>;

fn main() -> ExitCode {
    let Some(pid) = env::args().nth(1).and_then(|pid| pid.parse().ok()) else {
        eprintln!("usage: probe PID [PLACE...]");
        return ExitCode::from(64);
    };
    let ways: [(&str, Way); 7] = [
        ("process_vm_readv", read_directly),
        ("mem", read_mem),
        ("environ", |pid| fs::read(format!("/proc/{pid}/environ")).map(drop)),
        ("fd", |pid| {
            fs::read_dir(format!("/proc/{pid}/fd"))?
                .next()
                .map_or(Ok(()), |fd| fd?.path().read_link().map(drop))
        }),
        ("pidfd_getfd", take_descriptor),
        ("core", allow_core),
        ("ptrace", trace),
    ];
    for (name, way) in ways {
        say(name, way(pid));
    }
    for place in env::args().skip(2) {
        say(&place, reach(&place));
    }
    ExitCode::SUCCESS
}

fn say(name: &str, reached: io::Result<()>) {
    match reached {
        Ok(()) => println!("{name} open"),
        Err(error) => println!("{name} closed {error}"),
    }
}

fn reach(place: &str) -> io::Result<()> {
    if let Some(pid) = place.strip_prefix("signal:") {
        let pid = pid.parse().map_err(io::Error::other)?;
        // SAFETY: signal 0 is none: only the permission is looked at.
        return result(i64::from(unsafe { libc::kill(pid, 0) })).map(drop);
    }
    if let Some(name) = place.strip_prefix('@') {
        return UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop);
    }
    let kind = fs::metadata(place)?.file_type();
    if kind.is_dir() {
        fs::read_dir(place)?.next().ok_or(io::ErrorKind::NotFound)?.map(drop)
    } else if kind.is_socket() {
        UnixStream::connect(place).map(drop)
    } else {
        fs::File::open(place).map(drop)
    }
}

fn result(returned: i64) -> io::Result<i64> {
    if returned < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}

/// Somewhere in its memory; where its maps are closed, an address that any program without ASLR has.
fn address(pid: libc::pid_t) -> u64 {
    let mut maps = String::new();
    let read = fs::File::open(format!("/proc/{pid}/maps")).and_then(|mut file| file.read_to_string(&mut maps));
    let start = read.ok().and_then(|_| u64::from_str_radix(maps.split('-').next()?, 16).ok());
    start.unwrap_or(0x40_0000)
}

fn read_directly(pid: libc::pid_t) -> io::Result<()> {
    let mut byte = [0_u8; 1];
    let local = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    let remote = libc::iovec {
        iov_base: address(pid) as *mut libc::c_void,
        iov_len: 1,
    };
    // SAFETY: `local` is one byte that lives through the call; `remote` is an address of another process and never read from here.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    match result(read as i64) {
        // The right to read was given; there was nothing at that address.
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
        other => other.map(drop),
    }
}

fn read_mem(pid: libc::pid_t) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut byte = [0];
    fs::File::open(format!("/proc/{pid}/mem"))?
        .read_at(&mut byte, address(pid))
        .map(drop)
}

fn take_descriptor(pid: libc::pid_t) -> io::Result<()> {
    // SAFETY: two system calls that take numbers; each gives a new descriptor, owned from here on.
    let (pidfd, taken) = unsafe {
        let pidfd = OwnedFd::from_raw_fd(result(libc::syscall(libc::SYS_pidfd_open, pid, 0))? as RawFd);
        let taken = result(libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), 0, 0))?;
        (pidfd, OwnedFd::from_raw_fd(taken as RawFd))
    };
    drop((pidfd, taken));
    Ok(())
}

/// A core file needs a limit above nothing, and a process that is dumpable (core(5)): of one that is not, /proc is root's (proc(5)).
fn allow_core(pid: libc::pid_t) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: `limit` lives through the call; the old limit is not asked for.
    result(i64::from(unsafe {
        libc::prlimit(pid, libc::RLIMIT_CORE, &raw const limit, std::ptr::null_mut())
    }))?;
    let owner = fs::metadata(format!("/proc/{pid}/status"))?.uid();
    // SAFETY: takes nothing and cannot fail.
    if owner == unsafe { libc::geteuid() } {
        Ok(())
    } else {
        Err(io::Error::other("not dumpable"))
    }
}

fn trace(pid: libc::pid_t) -> io::Result<()> {
    // SAFETY: attaching and detaching pass no pointers; without the first the second does nothing.
    unsafe {
        result(libc::ptrace(libc::PTRACE_ATTACH, pid, 0, 0))?;
        libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL);
        libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0);
    }
    Ok(())
}
