//! Whose the other end of a connection on loopback is. The kernel is asked for that one socket (sock_diag(7)): `/proc/net/tcp` lists all of
//! them, and a flood would make each look as long as the flood is wide.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

/// linux/netlink.h: the header of a message, and the two kinds that matter here.
const HEADER: usize = 16;
const REQUEST: u16 = 1;
/// linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// linux/inet_diag.h: bytes of `inet_diag_req_v2`, and where `idiag_uid` is in `inet_diag_msg`.
const QUESTION: usize = 56;
const UID: usize = 64;

/// The user whose socket is at `peer` and connected to `ours`, both of this machine.
///
/// # Errors
/// The kernel does not say: the socket is gone again, addresses are not IPv4, or this is not allowed here.
pub fn owner(peer: SocketAddr, ours: SocketAddr) -> io::Result<u32> {
    let (SocketAddr::V4(peer), SocketAddr::V4(ours)) = (peer, ours) else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))?;
    send(&socket, &question(peer, ours), SendFlags::empty())?;
    // The kernel answers within the call before.
    let mut answer = [0; 512];
    let (count, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    read(&answer[..count]).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn question(peer: SocketAddrV4, ours: SocketAddrV4) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + QUESTION);
    // The length is a constant that fits.
    message.extend_from_slice(&((HEADER + QUESTION) as u32).to_ne_bytes());
    message.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    message.extend_from_slice(&REQUEST.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    // Family AF_INET, protocol IPPROTO_TCP, no extensions; any state.
    message.extend_from_slice(&[2, 6, 0, 0]);
    message.extend_from_slice(&u32::MAX.to_ne_bytes());
    message.extend_from_slice(&peer.port().to_be_bytes());
    message.extend_from_slice(&ours.port().to_be_bytes());
    for address in [peer.ip(), ours.ip()] {
        message.extend_from_slice(&address.octets());
        message.extend_from_slice(&[0; 12]);
    }
    // Any interface, and INET_DIAG_NOCOOKIE.
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&[0xff; 8]);
    message
}

fn read(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let uid = answer.get(HEADER + UID..HEADER + UID + 4)?.try_into().ok()?;
    (kind == BY_FAMILY).then(|| u32::from_ne_bytes(uid))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn t41_the_kernel_says_whose_a_connection_is_and_nothing_of_one_that_is_not_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, peer) = listener.accept().unwrap();
        let own = rustix::process::getuid().as_raw();
        assert_eq!(owner(peer, ours.local_addr().unwrap()).unwrap(), own);
        drop((client, ours));
        assert!(owner("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()).is_err());
        assert!(owner("[::1]:1".parse().unwrap(), "[::1]:2".parse().unwrap()).is_err());
    }

    #[test]
    fn t41_half_an_answer_of_the_kernel_names_nobody() {
        let mut answer = vec![0; HEADER + UID + 4];
        answer[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        answer[HEADER + UID..].copy_from_slice(&1000_u32.to_ne_bytes());
        assert_eq!(read(&answer), Some(1000));
        assert_eq!(read(&answer[..answer.len() - 1]), None);
        answer[4] = 2;
        assert_eq!(read(&answer), None, "NLMSG_ERROR");
    }
}
