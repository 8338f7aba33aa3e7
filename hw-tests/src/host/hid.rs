//! A host on a packet socket or a hidraw node: CTAPHID without a deadline, for keys that behave.

use std::{io, os::fd::OwnedFd};

use super::Transport;
use crate::ctaphid::packet::{self, BROADCAST, Channel, Message, Packet, Parsed, Partial, Progress, SIZE, command};

/// A program that has a key open and got a channel.
pub struct HidHost {
    device: OwnedFd,
    channel: Channel,
    keepalives: Vec<u8>,
}

impl HidHost {
    /// Asks for a channel.
    ///
    /// # Errors
    /// The key is gone.
    pub fn connect(device: OwnedFd) -> io::Result<Self> {
        let mut host = Self {
            device,
            channel: BROADCAST,
            keepalives: vec![],
        };
        let nonce = *b"a nonce.";
        let answer = loop {
            let answer = host.transact(command::INIT, &nonce)?;
            if answer.payload.starts_with(&nonce) {
                break answer.payload;
            }
        };
        let channel = answer
            .get(8..12)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Channel::from_be_bytes);
        host.channel = channel.ok_or(io::ErrorKind::InvalidData)?;
        Ok(host)
    }

    /// The channel it got.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// The status bytes of the keepalives seen so far.
    pub fn keepalives(&self) -> &[u8] {
        &self.keepalives
    }

    /// Sends a message and waits for its answer, whatever its command.
    ///
    /// # Errors
    /// The key is gone.
    pub fn transact(&mut self, command: u8, payload: &[u8]) -> io::Result<Message> {
        self.send(command, payload)?;
        self.answer()
    }

    /// Sends a message and waits for nothing.
    ///
    /// # Errors
    /// The key is gone.
    pub fn send(&self, command: u8, payload: &[u8]) -> io::Result<()> {
        packet::split(self.channel, command, payload)
            .iter()
            .try_for_each(|packet| self.send_packet(packet))
    }

    /// Sends one packet as it is.
    ///
    /// # Errors
    /// The key is gone.
    pub fn send_packet(&self, packet: &Packet) -> io::Result<()> {
        let with_report_id = [&[0], &packet[..]].concat(); // as hidraw wants it
        rustix::io::write(&self.device, &with_report_id)?;
        Ok(())
    }

    /// The next message on this channel that is no keepalive.
    ///
    /// # Errors
    /// The key is gone.
    pub fn answer(&mut self) -> io::Result<Message> {
        let mut partial: Option<Partial> = None;
        loop {
            let packet = self.receive()?;
            let progress = match packet::parse(&packet) {
                Parsed::Init { channel, .. } | Parsed::Continuation { channel, .. } if channel != self.channel => {
                    continue;
                }
                Parsed::Init {
                    command: command::KEEPALIVE,
                    data,
                    ..
                } => {
                    self.keepalives.push(data[0]);
                    continue;
                }
                Parsed::Init {
                    channel,
                    command,
                    length,
                    data,
                } => Partial::begin(channel, command, length, data),
                Parsed::Continuation { sequence, data, .. } => match partial.take() {
                    Some(started) => started.proceed(sequence, data),
                    None => continue,
                },
            };
            match progress {
                Progress::Complete(message) => return Ok(message),
                Progress::More(more) => partial = Some(more),
                Progress::OutOfOrder => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    fn receive(&self) -> io::Result<Packet> {
        let mut packet = [0; SIZE];
        match rustix::io::read(&self.device, &mut packet[..])? {
            SIZE => Ok(packet),
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Transport for HidHost {
    fn exchange(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        let answer = self.transact(command::CBOR, message)?;
        match answer.command {
            command::CBOR => Ok(answer.payload),
            _ => Err(io::Error::other(format!(
                "CTAPHID command {:#04x}: {:02x?}",
                answer.command, answer.payload
            ))),
        }
    }
}
