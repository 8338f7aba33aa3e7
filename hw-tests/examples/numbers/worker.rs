//! The product's workers, in processes of their own as the product runs them, but for what they open: an emulated key's packet
//! socket, handed over by the process that started them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use hw_tests::{hid_socket::HidSocket, key::Key};
use rustix::io::IoSlice;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use touchlease::device::ctap::{Transport, TransportError};
use touchlease::device::hid::Hid;
use touchlease::device::worker::protocol::{Failure, Report};
use touchlease::device::worker::{Ways, random, serve, watch};
use touchlease::device::{Link, Place, Port};
use touchlease::secret::Secret;
use touchlease::sys;
use touchlease::worker::frame::{read_frame, write_frame};

/// Where the process with this id hands out its emulated key.
pub fn node(pid: u32) -> PathBuf {
    std::env::temp_dir().join(format!("touchlease-numbers-{pid}"))
}

/// Hands out the key to everyone who connects to this process's node.
pub fn hand_out(key: Arc<Key<HidSocket>>) -> io::Result<()> {
    let path = node(std::process::id());
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if let Ok(fd) = key.open() {
                let _ = send_fd(&client, &fd); // a worker that was killed takes nothing
            }
        }
    });
    Ok(())
}

pub fn main() -> ExitCode {
    let ways = Ways {
        fido2: &open,
        piv: &|_| Err(Failure::NotPiv),
    };
    process(|socket| serve(socket, ways))
}

pub fn watch_main() -> ExitCode {
    process(watch_with_key)
}

fn process(work: impl FnOnce(UnixStream) -> io::Result<()>) -> ExitCode {
    let socket = sys::process::harden().and_then(|()| io::stdin().as_fd().try_clone_to_owned());
    match socket.map(UnixStream::from).and_then(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn open(port: &Port, _: Link, channel: Option<u32>) -> Result<Box<dyn Transport>, TransportError> {
    let Port::Node(node) = port else {
        return Err(TransportError::PulledOut);
    };
    let fd = UnixStream::connect(node).and_then(|socket| receive_fd(&socket));
    let fd = fd.map_err(|_| TransportError::PulledOut)?;
    Ok(Box::new(Hid::from_fd(fd, channel, random)))
}

/// The product's own watch, with the emulated key among the places that it reports.
fn watch_with_key(daemon: UnixStream) -> io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let hang_up = daemon.try_clone()?;
    let end = ours.try_clone()?;
    thread::spawn(move || {
        // The daemon says nothing; its end closing ends the watch.
        let _ = io::copy(&mut &hang_up, &mut io::sink());
        let _ = end.shutdown(std::net::Shutdown::Both);
    });
    let watching = thread::spawn(move || watch(theirs, Path::new("/sys"), Path::new("/dev")));
    while let Ok((Report::Places(mut places), _)) = read_frame::<Report>(&ours).map(|frame: (Report, Secret)| frame) {
        places.push(Place {
            port: Port::Node(node(std::os::unix::process::parent_id())),
            plug: 1,
            link: Link::Usb,
            model: "Emulated Key".into(),
            socket: "usb-1".into(),
            empty: false,
        });
        write_frame(&daemon, &Report::Places(places), &[])?;
    }
    drop(ours);
    watching.join().unwrap_or(Ok(()))
}

fn send_fd(socket: &UnixStream, fd: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive_fd(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut slices = [rustix::io::IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    rights.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}
