//! The one way through the wall around the network: a port of the loopback in the namespace of a fenced command, whose connections go to
//! the same port of this machine's loopback.
//!
//! A Landlock rule for a port names no address: a command that may connect to its proxy's port might connect to that port of any host. So
//! there is no network behind the fence at all, and this process, which stands outside of it, carries bytes to one address.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::sys::child::fork;
use crate::sys::pass;

/// The process that carries. It ends when dropped, and with the process that made it.
pub struct Bridge {
    process: Pid,
    /// Where the port on the other side is handed over.
    socket: UnixStream,
    leash: Option<OwnedFd>,
}

impl Bridge {
    /// To this port of the loopback. The process must have one thread (see [`fork`]).
    ///
    /// # Errors
    /// No process could be made.
    pub fn to(port: u16) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let (end, leash) = pipe_with(PipeFlags::CLOEXEC)?;
        let process = fork(&[theirs.as_raw_fd(), end.as_raw_fd()], || {
            i32::from(carry(&theirs, end, port).is_err())
        })?;
        Ok(Self {
            process,
            socket,
            leash: Some(leash),
        })
    }

    /// The descriptor over which `open_port` hands over; good as long as this is there.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(self.leash.take());
        // It has nothing to finish.
        let _ = waitpid(Some(self.process), WaitOptions::empty());
    }
}

/// On the inside: brings the loopback up, opens the port there, and hands it over. In a network namespace of our own.
pub(super) fn open_port(port: u16, bridge: RawFd) -> io::Result<()> {
    bring_up()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    // SAFETY: the process that this one is a copy of holds the bridge, and with it this descriptor.
    let bridge = unsafe { BorrowedFd::borrow_raw(bridge) };
    pass::send(bridge, b"\n", &[listener.as_fd()])?;
    Ok(())
}

/// A new namespace's loopback is down (netdevice(7)).
fn bring_up() -> io::Result<()> {
    // SAFETY: plain calls; the request is initialised, with a name that ends in zero.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(i16::MAX);
        let done = libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request);
        let error = io::Error::last_os_error();
        libc::close(socket);
        if done == 0 { Ok(()) } else { Err(error) }
    }
}

/// On the outside, in a process of its own.
fn carry(socket: &UnixStream, end: OwnedFd, port: u16) -> io::Result<()> {
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    thread::spawn(move || {
        // Nothing ever comes but the end.
        let _ = File::from(end).read(&mut [0]);
        std::process::exit(0);
    });
    let (_, passed) = pass::receive(socket, &mut [0])?;
    let listener = TcpListener::from(passed.into_iter().next().ok_or(io::ErrorKind::InvalidData)?);
    for inside in listener.incoming() {
        let inside = inside?;
        // One that cannot be carried is closed, as by a proxy that is gone.
        let Ok(outside) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
            continue;
        };
        let _ = (inside.set_nodelay(true), outside.set_nodelay(true));
        let (Ok(back), Ok(forth)) = (outside.try_clone(), inside.try_clone()) else {
            continue;
        };
        thread::spawn(move || pass_on(forth, outside));
        thread::spawn(move || pass_on(back, inside));
    }
    Ok(())
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let whole = io::copy(&mut from, &mut to);
    // Half a connection may go on; one that broke is broken on both sides.
    let how = if whole.is_ok() { Shutdown::Write } else { Shutdown::Both };
    let _ = to.shutdown(how);
    if whole.is_err() {
        let _ = from.shutdown(Shutdown::Both);
    }
}
