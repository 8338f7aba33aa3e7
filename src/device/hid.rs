//! CTAPHID (CTAP 2.1, 11.2) over anything that carries 64-byte packets: a hidraw node, or one end of a socket pair.
//!
//! A hidraw node shows every opener all input reports, so frames on other channels are the normal case, not an attack:
//! they are never taken for ours, and tell that another program is using the key.

pub mod frame;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use std::{fs, io, thread};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

use super::ctap::{Deaf, Frames, KeepAlive, Random, Status, Transport, TransportError, Watch};
use super::find;
use crate::clock::{Boot, Clock, SystemClock};
use frame::{Frame, PACKET, Packet};

const BROADCAST: u32 = 0xFFFF_FFFF;
const INIT: u8 = 0x06;
const CBOR: u8 = 0x10;
const CANCEL: u8 = 0x11;
const KEEPALIVE: u8 = 0x3B;
const ERROR: u8 = 0x3F;

/// CTAPHID error codes (11.2.9.1.6).
const ERR_INVALID_CMD: u8 = 0x01;
const ERR_CHANNEL_BUSY: u8 = 0x06;
const ERR_INVALID_CHANNEL: u8 = 0x0B;

/// A key reports every 100 ms while it works (11.2.9.2.1); some on the market compute for a second or two without a word.
const SILENCE: Duration = Duration::from_secs(5);
/// How long a cancelled key may take to stop blinking.
const DRAIN: Duration = Duration::from_millis(500);
/// How long a node may stay root's after it came: devtmpfs makes it so, and udev gives it to its user by rules that it applies afterwards.
const SETTLING: Duration = Duration::from_secs(2);
/// Pause before a node that is not ours yet is tried again.
const SETTLING_PAUSE: Duration = Duration::from_millis(20);
/// Pause before asking again a key that another program's message occupies.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// One key behind 64-byte packets.
pub struct Hid {
    fd: OwnedFd,
    /// hidraw wants the report number, which is 0, in front of each written packet.
    numbered: bool,
    channel: Option<u32>,
    random: Random,
    frames: Frames,
    silence: Duration,
}

/// How a message ended on the wire.
enum End {
    Answer(Vec<u8>),
    Refused(u8),
}

impl Hid {
    /// Opens and locks a hidraw node.
    ///
    /// The lock is `flock(2)` on the node, as libfido2 does it: programs that know of it wait for one another.
    ///
    /// # Errors
    /// `Busy` when another program has the lock (named as far as `proc_root` shows it), `Permission`, `PulledOut`.
    pub fn open(node: &Path, channel: Option<u32>, random: Random, proc_root: &Path) -> Result<Self, TransportError> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = settled(node, || open(node, flags, Mode::empty())).map_err(open_error)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| TransportError::Busy {
            by: find::holder(proc_root, node),
        })?;
        Ok(Self::new(file, true, channel, random))
    }

    /// Takes any descriptor that carries one packet of 64 bytes per read and write, such as a `SOCK_SEQPACKET` socket.
    #[must_use]
    pub fn from_fd(fd: OwnedFd, channel: Option<u32>, random: Random) -> Self {
        Self::new(fd, false, channel, random)
    }

    fn new(fd: OwnedFd, numbered: bool, channel: Option<u32>, random: Random) -> Self {
        Self {
            fd,
            numbered,
            channel,
            random,
            frames: Frames::default(),
            silence: SILENCE,
        }
    }

    /// The same with another patience for a silent key.
    #[must_use]
    pub fn with_silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// The channel, got by INIT if there is none yet (11.2.9.1.3).
    fn ready(&mut self, watch: &mut dyn Watch) -> Result<u32, TransportError> {
        match self.channel {
            Some(channel) => Ok(channel),
            None => {
                let channel = self.init(watch)?;
                self.channel = Some(channel);
                Ok(channel)
            }
        }
    }

    fn init(&mut self, watch: &mut dyn Watch) -> Result<u32, TransportError> {
        let mut nonce = [0; 8];
        (self.random)(&mut nonce).map_err(|e| TransportError::Io(e.kind()))?;
        self.send(BROADCAST, INIT, &nonce)?;
        let limit = self.deadline();
        loop {
            let packet = self.receive(limit, watch)?;
            match Frame::parse(&packet) {
                // Other programs' answers come on the broadcast channel too: only ours carries our nonce.
                Frame::First {
                    channel: BROADCAST,
                    command: INIT,
                    len: 17..,
                    data,
                } if data.starts_with(&nonce) => return new_channel(data),
                Frame::First {
                    channel: BROADCAST,
                    command: ERROR,
                    data,
                    ..
                } if data.first() == Some(&ERR_CHANNEL_BUSY) => {
                    watch.another_program();
                    self.pause(BUSY_PAUSE, watch)?;
                    self.send(BROADCAST, INIT, &nonce)?;
                }
                frame => self.notice(&frame, None, watch),
            }
        }
    }

    fn send(&mut self, channel: u32, command: u8, data: &[u8]) -> Result<(), TransportError> {
        for packet in frame::packets(channel, command, data)? {
            let numbered: [u8; 1 + PACKET] = std::array::from_fn(|i| if i == 0 { 0 } else { packet[i - 1] });
            let bytes = if self.numbered { &numbered[..] } else { &packet[..] };
            self.write(bytes)?;
            self.frames.sent += 1;
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Result<(), TransportError> {
        loop {
            match rustix::io::write(&self.fd, bytes) {
                Ok(n) if n == bytes.len() => return Ok(()),
                Ok(_) => return Err(TransportError::Protocol("a packet was written in part")),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
                    if wait(&mut fds, self.silence)? == 0 {
                        return Err(TransportError::Silent);
                    }
                }
                Err(errno) => return Err(read_error(errno)),
            }
        }
    }

    /// One exchange on a channel that is ready.
    fn exchange(&mut self, channel: u32, message: &[u8], watch: &mut dyn Watch) -> Result<End, TransportError> {
        self.send(channel, CBOR, message)?;
        let mut answer = frame::Answer::default();
        let mut limit = self.deadline();
        let mut cancelled = false;
        loop {
            if !cancelled && watch.cancelled() {
                cancelled = true;
                // One packet without payload, which the key does not answer itself (11.2.9.1.5).
                self.send(channel, CANCEL, &[])?;
                limit = SystemClock.boot() + DRAIN;
            }
            let received = match cancelled {
                true => self.receive(limit, &mut Deaf),
                false => self.receive(limit, watch),
            };
            let packet = match received {
                Ok(packet) => packet,
                Err(TransportError::Cancelled) => continue,
                Err(TransportError::Silent) if cancelled => return Err(TransportError::Cancelled),
                Err(error) => return Err(error),
            };
            let frame = Frame::parse(&packet);
            if frame.channel() != channel {
                self.notice(&frame, Some(channel), watch);
                continue;
            }
            match frame {
                Frame::First {
                    command: KEEPALIVE, data, ..
                } => watch.keepalive(status(data)),
                Frame::First { command: ERROR, data, .. } => {
                    self.frames.received += 1;
                    return Ok(End::Refused(data.first().copied().unwrap_or_default()));
                }
                Frame::First {
                    command: CBOR, len, data, ..
                } => {
                    self.frames.received += 1;
                    answer.start(len, data)?;
                }
                Frame::First { .. } => return Err(TransportError::Protocol("an answer to another command")),
                // A wrong sequence number is not ours to repair: without the right one the answer never gets whole (T03).
                Frame::Next { sequence, data, .. } if answer.expects(sequence) => {
                    self.frames.received += 1;
                    answer.go_on(data);
                }
                Frame::Next { .. } => continue,
            }
            if let Some(whole) = answer.whole() {
                return Ok(End::Answer(whole));
            }
            if !cancelled {
                limit = self.deadline();
            }
        }
    }

    fn notice(&self, frame: &Frame<'_>, ours: Option<u32>, watch: &mut dyn Watch) {
        let foreign = frame.channel() != BROADCAST && Some(frame.channel()) != ours;
        if let Frame::First {
            command: CBOR | KEEPALIVE, ..
        } = frame
            && foreign
        {
            watch.another_program();
        }
    }

    /// The next packet, of whatever channel. `Cancelled` when `watch` says so first, `Silent` at `limit`.
    fn receive(&self, limit: Boot, watch: &mut dyn Watch) -> Result<Packet, TransportError> {
        loop {
            if watch.cancelled() {
                return Err(TransportError::Cancelled);
            }
            let left = limit.since(SystemClock.boot());
            if left.is_zero() {
                return Err(TransportError::Silent);
            }
            if !self.readable(left, watch.wake())? {
                continue;
            }
            let mut packet = [0; PACKET];
            match rustix::io::read(&self.fd, &mut packet) {
                Ok(PACKET) => return Ok(packet),
                // A hidraw node whose device is gone, and a socket whose other end is.
                Ok(0) => return Err(TransportError::PulledOut),
                Ok(_) => return Err(TransportError::Protocol("a packet that has not 64 bytes")),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(read_error(errno)),
            }
        }
    }

    fn readable(&self, left: Duration, wake: Option<BorrowedFd<'_>>) -> Result<bool, TransportError> {
        let mut fds = vec![PollFd::new(&self.fd, PollFlags::IN)];
        if let Some(wake) = &wake {
            fds.push(PollFd::new(wake, PollFlags::IN));
        }
        wait(&mut fds, left)?;
        // Hang-up and error are read out, so that the read tells which it is.
        Ok(!fds[0].revents().is_empty())
    }

    /// Lets time pass while reading what other programs are told, so that the kernel's queue does not overflow.
    fn pause(&mut self, time: Duration, watch: &mut dyn Watch) -> Result<(), TransportError> {
        let limit = SystemClock.boot() + time;
        loop {
            match self.receive(limit, watch) {
                Ok(packet) => self.notice(&Frame::parse(&packet), self.channel, watch),
                Err(TransportError::Silent) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn deadline(&self) -> Boot {
        SystemClock.boot() + self.silence
    }
}

impl Transport for Hid {
    fn cbor(&mut self, message: &[u8], watch: &mut dyn Watch) -> Result<Vec<u8>, TransportError> {
        let kept = self.channel.is_some();
        let mut channel = self.ready(watch)?;
        let mut renewed = !kept;
        loop {
            match self.exchange(channel, message, watch)? {
                End::Answer(answer) => return Ok(answer),
                End::Refused(ERR_CHANNEL_BUSY) => {
                    watch.another_program();
                    self.pause(BUSY_PAUSE, watch)?;
                }
                // A channel of the last time that the key has forgotten: once.
                End::Refused(ERR_INVALID_CHANNEL) if !renewed => {
                    renewed = true;
                    self.channel = None;
                    channel = self.ready(watch)?;
                }
                // A U2F key, which knows no CTAP2: the same code says so one layer up.
                End::Refused(ERR_INVALID_CMD) => return Ok(vec![Status::INVALID_COMMAND.0]),
                End::Refused(_) => return Err(TransportError::Protocol("the key answers with a CTAPHID error")),
            }
        }
    }

    fn frames(&self) -> Frames {
        self.frames
    }

    fn channel(&self) -> Option<u32> {
        self.channel
    }
}

fn new_channel(data: &[u8]) -> Result<u32, TransportError> {
    let channel = data.get(8..12).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
    match channel {
        Some(channel) if channel != 0 && channel != BROADCAST => Ok(channel),
        _ => Err(TransportError::Protocol("a reserved channel was given out")),
    }
}

fn status(data: &[u8]) -> KeepAlive {
    match data.first() {
        Some(2) => KeepAlive::UpNeeded,
        _ => KeepAlive::Processing,
    }
}

fn wait(fds: &mut [PollFd<'_>], left: Duration) -> Result<usize, TransportError> {
    let timeout = Timespec::try_from(left).ok();
    match poll(fds, timeout.as_ref()) {
        Ok(n) => Ok(n),
        Err(Errno::INTR) => Ok(0),
        Err(errno) => Err(TransportError::Io(io::Error::from(errno).kind())),
    }
}

fn read_error(errno: Errno) -> TransportError {
    match errno {
        // What a hidraw node or a socket gives once the key is gone.
        Errno::IO | Errno::NODEV | Errno::NXIO | Errno::PIPE | Errno::CONNRESET | Errno::PROTO | Errno::SHUTDOWN => {
            TransportError::PulledOut
        }
        errno => TransportError::Io(io::Error::from(errno).kind()),
    }
}

/// Tries again what is forbidden as long as the node may only be too new.
fn settled<T>(node: &Path, mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match attempt() {
            Err(Errno::ACCESS) if is_new(node) => thread::sleep(SETTLING_PAUSE),
            other => return other,
        }
    }
}

/// Whether the node was made, or given to somebody else, less than [`SETTLING`] ago.
fn is_new(node: &Path) -> bool {
    let Ok(changed) = fs::metadata(node).map(|node| (node.ctime(), node.ctime_nsec())) else {
        return false;
    };
    let millis = u64::try_from(changed.0 * 1000 + changed.1 / 1_000_000).unwrap_or_default();
    // A clock that was put back is no reason to wait.
    let age = SystemClock.wall().0.checked_sub(millis);
    age.is_some_and(|age| Duration::from_millis(age) < SETTLING)
}

fn open_error(errno: Errno) -> TransportError {
    match errno {
        // ENODEV: the node is there, its device is not any more.
        Errno::NOENT | Errno::NODEV | Errno::NXIO => TransportError::PulledOut,
        Errno::ACCESS | Errno::PERM => TransportError::Permission,
        errno => TransportError::Io(io::Error::from(errno).kind()),
    }
}

#[cfg(test)]
mod tests;
