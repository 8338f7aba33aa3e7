//! CTAPHID on the device's side (CTAP 2.1, 11.2): channels, framing, keepalives, cancel.

pub mod packet;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use packet::{BROADCAST, Channel, MAX_PAYLOAD, Message, Packet, Parsed, Partial, Progress, command, error, status};

use crate::{
    bus::{Device, Event, Port},
    ctap::Ctap,
};

/// How long to wait for the next packet of a message (CTAP 2.1, 11.2.5.2). Real keys take about half a second; a busy test
/// machine may need more.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(3);
/// The length of INIT's payload.
const NONCE: usize = 8;
const PROTOCOL_VERSION: u8 = 2;
const CAPABILITIES: u8 = CAPABILITY_WINK | CAPABILITY_CBOR | CAPABILITY_NMSG;
const CAPABILITY_WINK: u8 = 0x01;
const CAPABILITY_CBOR: u8 = 0x04;
const CAPABILITY_NMSG: u8 = 0x08; // CTAP1 is not served

/// How often the device says that it is still busy; may be changed while it is.
#[derive(Debug, Clone)]
pub struct Keepalive(Arc<AtomicU64>);

impl Keepalive {
    /// Every so often, in whole milliseconds, at least one.
    pub fn every(interval: Duration) -> Self {
        let keepalive = Self::default();
        keepalive.set(interval);
        keepalive
    }

    /// Not at all.
    pub fn never() -> Self {
        Self::every(Duration::MAX)
    }

    /// Changes it, from the next keepalive on.
    pub fn set(&self, interval: Duration) {
        let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis.max(1), Ordering::Relaxed);
    }

    /// The interval now.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl Default for Keepalive {
    /// 100 ms, what the specification asks for and most keys do.
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(100)))
    }
}

/// A CTAPHID device in front of an authenticator.
pub struct CtapHid {
    ctap: Arc<dyn Ctap>,
    keepalive: Keepalive,
    last_channel: Channel,
    partial: Option<(Partial, Instant)>,
    running: Option<Running>,
    operations: u64,
}

/// The message that the authenticator works on.
struct Running {
    channel: Channel,
    operation: u64,
    last_sign: Instant,
}

impl Running {
    /// When the next keepalive is due, if ever.
    fn next_sign(&self, keepalive: &Keepalive) -> Option<Instant> {
        self.last_sign.checked_add(keepalive.interval())
    }
}

impl CtapHid {
    /// A device that was just plugged in.
    pub fn new(ctap: Arc<dyn Ctap>, keepalive: Keepalive) -> Self {
        Self {
            ctap,
            keepalive,
            last_channel: 0,
            partial: None,
            running: None,
            operations: 0,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let sign = self.running.as_ref().and_then(|running| running.next_sign(&self.keepalive));
        let message = self.partial.as_ref().map(|(_, since)| *since + MESSAGE_TIMEOUT);
        [sign, message].into_iter().flatten().min()
    }

    fn on_time(&mut self, port: &mut Port) {
        let now = Instant::now();
        if let Some(running) = &mut self.running
            && running.next_sign(&self.keepalive).is_some_and(|due| now >= due)
        {
            running.last_sign = now;
            let status = if self.ctap.waiting() {
                status::UP_NEEDED
            } else {
                status::PROCESSING
            };
            send(port, running.channel, command::KEEPALIVE, &[status]);
        }
        if let Some((partial, _)) = self.partial.take_if(|(_, since)| now >= *since + MESSAGE_TIMEOUT) {
            fail(port, partial.channel(), error::MSG_TIMEOUT);
        }
    }

    fn on_report(&mut self, port: &mut Port, report: &Packet) {
        match packet::parse(report) {
            Parsed::Init {
                channel,
                command: command::CANCEL,
                ..
            } => {
                if self.running.as_ref().is_some_and(|running| running.channel == channel) {
                    self.ctap.cancel();
                }
            }
            Parsed::Init {
                channel,
                command,
                length,
                data,
            } => {
                if let Err(code) = self.admit(channel, command, length) {
                    return fail(port, channel, code);
                }
                self.progress(port, channel, Partial::begin(channel, command, length, data));
            }
            Parsed::Continuation { channel, sequence, data } => {
                // Without a message of this channel under way it is spurious, and ignored (11.2.4).
                let Some((partial, _)) = self.partial.take_if(|(partial, _)| partial.channel() == channel) else {
                    return;
                };
                self.progress(port, channel, partial.proceed(sequence, data));
            }
        }
    }

    /// Whether a message may begin now.
    fn admit(&mut self, channel: Channel, command: u8, length: usize) -> Result<(), u8> {
        let known = (1..=self.last_channel).contains(&channel);
        match command {
            command::INIT if channel != BROADCAST && !known => Err(error::INVALID_CHANNEL),
            command::INIT if length != NONCE => Err(error::INVALID_LEN),
            command::INIT => {
                self.abort(channel);
                Ok(())
            }
            _ if !known => Err(error::INVALID_CHANNEL),
            _ if self.partial.is_some() || self.running.is_some() => Err(error::CHANNEL_BUSY),
            _ if length > MAX_PAYLOAD => Err(error::INVALID_LEN),
            _ => Ok(()),
        }
    }

    /// INIT on a channel throws away what it was doing (11.2.9.1.3).
    fn abort(&mut self, channel: Channel) {
        self.partial.take_if(|(partial, _)| partial.channel() == channel);
        if self.running.take_if(|running| running.channel == channel).is_some() {
            self.ctap.cancel();
        }
    }

    fn progress(&mut self, port: &mut Port, channel: Channel, progress: Progress) {
        match progress {
            Progress::More(partial) => self.partial = Some((partial, Instant::now())),
            Progress::Complete(message) => self.dispatch(port, message),
            Progress::OutOfOrder => fail(port, channel, error::INVALID_SEQ),
        }
    }

    fn dispatch(&mut self, port: &mut Port, message: Message) {
        let Message { channel, command, payload } = message;
        match command {
            command::INIT => self.init(port, channel, &payload),
            command::PING => send(port, channel, command::PING, &payload),
            command::WINK => send(port, channel, command::WINK, &[]),
            command::CBOR if payload.is_empty() => fail(port, channel, error::INVALID_LEN),
            command::CBOR => self.submit(port, channel, payload),
            _ => fail(port, channel, error::INVALID_CMD),
        }
    }

    fn init(&mut self, port: &mut Port, channel: Channel, nonce: &[u8]) {
        let given = match channel {
            BROADCAST => {
                self.last_channel += 1;
                self.last_channel
            }
            _ => channel,
        };
        let mut answer = nonce.to_vec();
        answer.extend(given.to_be_bytes());
        answer.extend([PROTOCOL_VERSION, 1, 0, 0, CAPABILITIES]);
        send(port, channel, command::INIT, &answer);
    }

    fn submit(&mut self, port: &Port, channel: Channel, payload: Vec<u8>) {
        self.operations += 1;
        let operation = self.operations;
        self.running = Some(Running {
            channel,
            operation,
            last_sign: Instant::now(),
        });
        let events = port.events();
        let done = move |answer| {
            let _ = events.send(Event::Finished(operation, answer)); // unplugged meanwhile
        };
        self.ctap.submit(payload, Box::new(done));
    }

    fn on_finished(&mut self, port: &mut Port, operation: u64, answer: &[u8]) {
        // The answer to a message that INIT threw away is nobody's.
        if let Some(running) = self.running.take_if(|running| running.operation == operation) {
            send(port, running.channel, command::CBOR, answer);
        }
    }
}

impl Device for CtapHid {
    fn run(mut self: Box<Self>, mut port: Port) {
        loop {
            match port.next(self.deadline()) {
                Some(Event::Report(report)) => self.on_report(&mut port, &report),
                Some(Event::Finished(operation, answer)) => self.on_finished(&mut port, operation, &answer),
                Some(Event::Unplugged) => break,
                None => {}
            }
            self.on_time(&mut port);
        }
        if self.running.is_some() {
            self.ctap.cancel();
        }
    }
}

fn send(port: &mut Port, channel: Channel, command: u8, payload: &[u8]) {
    packet::split(channel, command, payload).iter().for_each(|packet| port.send(packet));
}

fn fail(port: &mut Port, channel: Channel, code: u8) {
    send(port, channel, command::ERROR, &[code]);
}
