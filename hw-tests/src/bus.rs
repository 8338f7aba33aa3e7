//! The wire between a HID device and the hosts that have it open.
//!
//! As with hidraw, every host sees every report of the device, and any host's reports reach it.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Instant,
};

use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType};

use crate::{
    ctaphid::packet::{Packet, SIZE},
    sync::lock,
    uhid,
};

/// What a device hears.
#[derive(Debug)]
pub enum Event {
    /// A host wrote a report.
    Report(Packet),
    /// Work that the device gave away under this number is finished.
    Finished(u64, Vec<u8>),
    /// The device was unplugged and must end.
    Unplugged,
}

/// A device, as the bus sees it.
pub trait Device: Send {
    /// Lives until [`Event::Unplugged`].
    fn run(self: Box<Self>, port: Port);
}

/// A device's end of the bus.
pub struct Port {
    inbox: mpsc::Receiver<Event>,
    events: mpsc::Sender<Event>,
    hosts: Arc<Hosts>,
    rewrite: Option<Rewrite>,
}

/// Turns one report into those that go out instead of it, of any length.
pub type Rewrite = Box<dyn FnMut(&[u8]) -> Vec<Vec<u8>> + Send>;

impl Port {
    /// Waits for what happens next; `None` once the deadline has passed.
    pub fn next(&self, deadline: Option<Instant>) -> Option<Event> {
        let Some(deadline) = deadline else {
            return Some(self.inbox.recv().unwrap_or(Event::Unplugged));
        };
        match self.inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => Some(event),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(Event::Unplugged),
        }
    }

    /// Sends a report to every host. A well-behaved one has 64 bytes.
    pub fn send(&mut self, report: &[u8]) {
        match &mut self.rewrite {
            None => self.hosts.send(report),
            Some(rewrite) => rewrite(report).iter().for_each(|report| self.hosts.send(report)),
        }
    }

    /// Where finished work is reported as [`Event::Finished`].
    pub fn events(&self) -> mpsc::Sender<Event> {
        self.events.clone()
    }

    /// Puts somebody between the device and the bus.
    #[must_use]
    pub fn with_rewrite(mut self, rewrite: Rewrite) -> Self {
        self.rewrite = Some(rewrite);
        self
    }
}

/// A plugged-in device and the hosts that have it open; dropping it unplugs.
pub struct Bus {
    events: mpsc::Sender<Event>,
    hosts: Arc<Hosts>,
}

impl Bus {
    /// Plugs a device in, on a thread of its own.
    pub fn plug(device: Box<dyn Device>) -> Self {
        let (events, inbox) = mpsc::channel();
        let hosts = Arc::new(Hosts::default());
        let port = Port {
            inbox,
            events: events.clone(),
            hosts: hosts.clone(),
            rewrite: None,
        };
        thread::spawn(move || device.run(port));
        Self { events, hosts }
    }

    /// Opens the device, as a program opens `/dev/hidraw0`: a SOCK_SEQPACKET socket, one report per message. A report
    /// may be written with the report id 0 before it, as hidraw wants it. End of file means unplugged.
    ///
    /// # Errors
    /// No socket pair is to be had.
    pub fn open(&self) -> io::Result<OwnedFd> {
        let (host, device) = net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let reader = device.try_clone()?;
        lock(&self.hosts.0).push(Host::Socket(device));
        let events = self.events.clone();
        thread::spawn(move || read_socket(&reader, &events));
        Ok(host)
    }

    /// Makes the device appear on this machine as a real hidraw node.
    ///
    /// # Errors
    /// The kernel has no uhid, or this user may not open it.
    pub fn attach_uhid(&self, identity: &uhid::Identity) -> io::Result<()> {
        let node = uhid::create(identity)?;
        let reader = node.try_clone()?;
        lock(&self.hosts.0).push(Host::Uhid(node));
        let events = self.events.clone();
        thread::spawn(move || uhid::read(reader, |report| events.send(Event::Report(report)).is_ok()));
        Ok(())
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.events.send(Event::Unplugged); // the device may have ended by itself
        for host in lock(&self.hosts.0).drain(..) {
            match host {
                Host::Socket(socket) => {
                    let _ = net::shutdown(&socket, Shutdown::Both); // the host may have closed it
                }
                Host::Uhid(node) => uhid::destroy(node),
            }
        }
    }
}

#[derive(Default)]
struct Hosts(Mutex<Vec<Host>>);

enum Host {
    Socket(OwnedFd),
    Uhid(File),
}

impl Hosts {
    fn send(&self, report: &[u8]) {
        lock(&self.0).retain_mut(|host| match host {
            // A host that does not read loses reports, as with hidraw's ring of 64; it does not stop the device.
            Host::Socket(socket) => match net::send(socket, report, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) | Err(rustix::io::Errno::AGAIN) => true,
                Err(_) => false,
            },
            Host::Uhid(node) => node.write_all(&uhid::input(report)).is_ok(),
        });
    }
}

fn read_socket(socket: &OwnedFd, events: &mpsc::Sender<Event>) {
    let mut buffer = [0; SIZE + 1];
    while let Ok((length @ 1.., _)) = net::recv(socket, &mut buffer[..], RecvFlags::empty()) {
        let Some(report) = report(&buffer[..length]) else {
            continue;
        };
        if events.send(Event::Report(report)).is_err() {
            return;
        }
    }
}

/// A report as written by a host: padded, with or without the report id 0.
pub(crate) fn report(written: &[u8]) -> Option<Packet> {
    let data = match written {
        [0, data @ ..] if data.len() == SIZE => data,
        data => data,
    };
    let mut report = [0; SIZE];
    report.get_mut(..data.len())?.copy_from_slice(data);
    Some(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl Device for Echo {
        fn run(self: Box<Self>, mut port: Port) {
            while let Some(Event::Report(report)) = port.next(None) {
                port.send(&report);
            }
        }
    }

    fn read(host: &OwnedFd) -> Vec<u8> {
        let mut buffer = [0; 128];
        let (length, _) = net::recv(host, &mut buffer[..], RecvFlags::empty()).unwrap();
        buffer[..length].to_vec()
    }

    #[test]
    fn every_host_sees_every_report_with_or_without_a_report_id() {
        let bus = Bus::plug(Box::new(Echo));
        let (one, other) = (bus.open().unwrap(), bus.open().unwrap());
        net::send(&one, &[7; SIZE], SendFlags::empty()).unwrap();
        assert_eq!((read(&one), read(&other)), (vec![7; SIZE], vec![7; SIZE]));
        let mut with_id = vec![8; SIZE + 1];
        with_id[0] = 0;
        net::send(&other, &with_id, SendFlags::empty()).unwrap();
        assert_eq!(read(&one), [8; SIZE]);
    }

    #[test]
    fn unplugging_is_end_of_file_for_every_host() {
        let bus = Bus::plug(Box::new(Echo));
        let host = bus.open().unwrap();
        drop(bus);
        assert!(read(&host).is_empty());
    }
}
