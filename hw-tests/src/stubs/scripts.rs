//! HID devices without an authenticator, which do one thing. Plug them in with [`crate::bus::Bus::plug`].

use std::time::{Duration, Instant};

use crate::{
    bus::{Device, Event, Port},
    ctaphid::packet::{self, BROADCAST, Channel, Parsed, command},
};

/// Never says anything.
pub struct Mute;

impl Device for Mute {
    fn run(self: Box<Self>, port: Port) {
        while !matches!(port.next(None), Some(Event::Unplugged)) {}
    }
}

/// Gives out channels, and answers every other message as told.
pub struct Script {
    /// To getInfo, whole, with its status byte; `None` to treat it like every other message.
    pub info: Option<Vec<u8>>,
    /// To everything else.
    pub then: Then,
}

/// What a [`Script`] does with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// Nothing, not even to a cancel.
    Silence,
    /// Keepalives for ever, not even impressed by a cancel.
    Keepalives {
        /// How often.
        every: Duration,
        /// What they say: see [`packet::status`].
        status: u8,
    },
    /// This payload with this command.
    Answer {
        /// For example [`command::CBOR`] or [`command::ERROR`].
        command: u8,
        /// At most [`packet::MAX_PAYLOAD`] bytes.
        payload: Vec<u8>,
    },
}

const CHANNEL: Channel = 1;
const GET_INFO: [u8; 1] = [crate::ctap::GET_INFO];

impl Script {
    fn on_message(&self, port: &mut Port, command: u8, data: &[u8], length: usize) -> bool {
        let payload = data.get(..length);
        match (&self.info, &self.then) {
            (Some(info), _) if command == command::CBOR && payload == Some(&GET_INFO) => {
                send(port, CHANNEL, command::CBOR, info);
                false
            }
            (_, Then::Answer { command, payload }) => {
                send(port, CHANNEL, *command, payload);
                false
            }
            (_, Then::Keepalives { .. }) => true,
            (_, Then::Silence) => false,
        }
    }
}

impl Device for Script {
    fn run(self: Box<Self>, mut port: Port) {
        let mut due = None;
        loop {
            match port.next(due) {
                Some(Event::Unplugged) => return,
                Some(Event::Report(report)) => match packet::parse(&report) {
                    Parsed::Init {
                        channel,
                        command: command::INIT,
                        data,
                        ..
                    } => init(&mut port, channel, &data[..8]),
                    Parsed::Init {
                        channel: CHANNEL,
                        command,
                        length,
                        data,
                    } if command != command::CANCEL => {
                        due = self.on_message(&mut port, command, data, length).then(Instant::now);
                    }
                    _ => {} // a cancel, a continuation, somebody else's channel
                },
                Some(Event::Finished(..)) => {}
                None => {
                    if let Then::Keepalives { every, status } = self.then {
                        send(&mut port, CHANNEL, command::KEEPALIVE, &[status]);
                        due = due.map(|at| at + every);
                    }
                }
            }
        }
    }
}

fn init(port: &mut Port, channel: Channel, nonce: &[u8]) {
    debug_assert!(channel == BROADCAST || channel == CHANNEL);
    let answer = [nonce, &CHANNEL.to_be_bytes(), &[2, 1, 0, 0, 0x0c]].concat();
    send(port, channel, command::INIT, &answer);
}

fn send(port: &mut Port, channel: Channel, command: u8, payload: &[u8]) {
    packet::split(channel, command, payload).iter().for_each(|packet| port.send(packet));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bus::Bus, ctaphid::packet::status, host::hid::HidHost};

    fn host(script: Script) -> (Bus, HidHost) {
        let bus = Bus::plug(Box::new(script));
        let host = HidHost::connect(bus.open().unwrap()).unwrap();
        (bus, host)
    }

    #[test]
    fn a_script_gives_a_channel_and_answers_as_told() {
        let then = Then::Answer {
            command: command::ERROR,
            payload: vec![0x7f],
        };
        let (_bus, mut host) = host(Script {
            info: Some(vec![0, 0xa0]),
            then,
        });
        assert_eq!(host.transact(command::CBOR, &GET_INFO).unwrap().payload, [0, 0xa0]);
        assert_eq!(host.transact(command::CBOR, &[2]).unwrap().payload, [0x7f]);
    }

    #[test]
    fn keepalives_go_on_after_a_cancel_until_the_plug_is_pulled() {
        let then = Then::Keepalives {
            every: Duration::from_millis(1),
            status: status::UP_NEEDED,
        };
        let (bus, mut host) = host(Script { info: None, then });
        let listener = bus.open().unwrap();
        host.send(command::CBOR, &[2]).unwrap();
        host.send(command::CANCEL, &[]).unwrap();
        for _ in 0..20 {
            let mut report = [0; packet::SIZE];
            rustix::io::read(&listener, &mut report[..]).unwrap();
            assert!(matches!(
                packet::parse(&report),
                Parsed::Init {
                    command: command::KEEPALIVE,
                    ..
                }
            ));
        }
        drop(bus);
        host.answer().unwrap_err();
        assert!(host.keepalives().len() >= 20);
    }

    #[test]
    fn silence_lasts_until_the_plug_is_pulled() {
        let (bus, mut host) = host(Script {
            info: None,
            then: Then::Silence,
        });
        host.send(command::CBOR, &[2]).unwrap();
        drop(bus);
        host.answer().unwrap_err();
        assert!(host.keepalives().is_empty());
    }
}
