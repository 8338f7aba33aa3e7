//! Whether a descriptor that somebody passed on is what it is said to be: the socket of a client of this user.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType, getpeername};

use super::process::peer_uid;

/// The connected Unix stream socket that it is, with a process of `uid` at its other end when it was connected.
///
/// # Errors
/// It is anything else: a file, a pipe, a socket of another kind, one that listens or is not connected; somebody else is at the other end.
pub fn of_uid(fd: OwnedFd, uid: u32) -> io::Result<UnixStream> {
    let is_stream = socket_domain(&fd)? == AddressFamily::UNIX && socket_type(&fd)? == SocketType::STREAM && !socket_acceptconn(&fd)?;
    if !is_stream || peer_uid(fd.as_fd())? != uid {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    getpeername(&fd)?;
    Ok(UnixStream::from(fd))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use rustix::process::getuid;

    use super::*;

    #[test]
    fn t19_only_a_connected_stream_socket_of_the_user_is_taken_for_a_client() {
        let uid = getuid().as_raw();
        let (good, other) = UnixStream::pair().unwrap();
        assert!(of_uid(good.into(), uid).is_ok());
        assert!(of_uid(other.into(), uid + 1).is_err(), "of another user");
        let folder = tempfile::tempdir().unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        let loose = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        let others: [(&str, OwnedFd); 7] = [
            ("a file", File::open("/proc/self/comm").unwrap().into()),
            ("a pipe", std::io::pipe().unwrap().0.into()),
            ("a socket of TCP", connected.into()),
            ("one that listens there", tcp.into()),
            ("one that listens", UnixListener::bind(folder.path().join("s")).unwrap().into()),
            ("one of datagrams", UnixDatagram::pair().unwrap().0.into()),
            ("one that is not connected", loose),
        ];
        for (what, fd) in others {
            assert!(of_uid(fd, uid).is_err(), "{what}");
        }
    }
}
