//! CTAPHID packets (CTAP 2.1, 11.2.4): pure functions over bytes.

use crate::device::ctap::TransportError;

/// Bytes of a packet.
pub const PACKET: usize = 64;
/// Payload of a first packet, and of each further one.
const FIRST: usize = PACKET - 7;
const NEXT: usize = PACKET - 5;
/// What 128 continuation packets can carry (11.2.4).
const LONGEST: usize = FIRST + 128 * NEXT;

/// One packet on the wire.
pub type Packet = [u8; PACKET];

/// A packet, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Starts a message.
    First {
        /// Whose message.
        channel: u32,
        /// Without the top bit.
        command: u8,
        /// Of the whole message.
        len: usize,
        /// This packet's share, cut to `len`.
        data: &'a [u8],
    },
    /// Goes on with a message.
    Next {
        /// Whose message.
        channel: u32,
        /// 0 to 127.
        sequence: u8,
        /// This packet's share, padding included.
        data: &'a [u8],
    },
}

impl<'a> Frame<'a> {
    /// Takes a packet apart; there is no packet that cannot be.
    pub fn parse(packet: &'a Packet) -> Self {
        let [c0, c1, c2, c3, kind, high, low, ..] = *packet;
        let channel = u32::from_be_bytes([c0, c1, c2, c3]);
        if kind & 0x80 == 0 {
            return Self::Next {
                channel,
                sequence: kind,
                data: &packet[5..],
            };
        }
        let len = usize::from(u16::from_be_bytes([high, low]));
        Self::First {
            channel,
            command: kind & 0x7F,
            len,
            data: &packet[7..7 + len.min(FIRST)],
        }
    }

    /// Whose message this belongs to.
    pub fn channel(&self) -> u32 {
        match self {
            Self::First { channel, .. } | Self::Next { channel, .. } => *channel,
        }
    }
}

/// Cuts a message into packets.
///
/// # Errors
/// It is longer than a message can be.
pub fn packets(channel: u32, command: u8, data: &[u8]) -> Result<Vec<Packet>, TransportError> {
    let len = u16::try_from(data.len()).ok().filter(|_| data.len() <= LONGEST);
    let len = len.ok_or(TransportError::Protocol("a message too long to send"))?;
    let (first, rest) = data.split_at(data.len().min(FIRST));
    let mut packet = [0; PACKET];
    packet[..4].copy_from_slice(&channel.to_be_bytes());
    packet[4] = command | 0x80;
    packet[5..7].copy_from_slice(&len.to_be_bytes());
    packet[7..7 + first.len()].copy_from_slice(first);
    let mut packets = vec![packet];
    for (sequence, share) in (0u8..).zip(rest.chunks(NEXT)) {
        let mut packet = [0; PACKET];
        packet[..4].copy_from_slice(&channel.to_be_bytes());
        packet[4] = sequence;
        packet[5..5 + share.len()].copy_from_slice(share);
        packets.push(packet);
    }
    Ok(packets)
}

/// A message being put together.
#[derive(Default)]
pub struct Answer {
    len: Option<usize>,
    data: Vec<u8>,
    next: u8,
}

impl Answer {
    /// Takes the first packet.
    ///
    /// # Errors
    /// There was one before, or the message is longer than a message can be.
    pub fn start(&mut self, len: usize, data: &[u8]) -> Result<(), TransportError> {
        if self.len.is_some() {
            return Err(TransportError::Protocol("an answer that starts twice"));
        }
        if len > LONGEST {
            return Err(TransportError::Protocol("an answer longer than CTAPHID allows"));
        }
        self.len = Some(len);
        self.data.extend(data);
        Ok(())
    }

    /// Whether a continuation packet of this number comes next.
    pub fn expects(&self, sequence: u8) -> bool {
        self.len.is_some() && sequence == self.next
    }

    /// Takes the next packet.
    pub fn go_on(&mut self, data: &[u8]) {
        let missing = self.len.unwrap_or_default().saturating_sub(self.data.len());
        self.data.extend(&data[..data.len().min(missing)]);
        self.next = self.next.saturating_add(1);
    }

    /// The message, once it is whole.
    pub fn whole(&mut self) -> Option<Vec<u8>> {
        (self.len == Some(self.data.len())).then(|| std::mem::take(&mut self.data))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn messages_of_every_length_are_cut_and_put_together_again() {
        for len in [0, 1, FIRST, FIRST + 1, FIRST + NEXT, FIRST + NEXT + 1, 1024, LONGEST] {
            let message: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut answer = Answer::default();
            for packet in packets(7, 0x10, &message).unwrap() {
                match Frame::parse(&packet) {
                    Frame::First {
                        channel,
                        command,
                        len,
                        data,
                    } => {
                        assert_eq!((channel, command), (7, 0x10));
                        answer.start(len, data).unwrap();
                    }
                    Frame::Next { sequence, data, .. } => {
                        assert!(answer.expects(sequence));
                        answer.go_on(data);
                    }
                }
            }
            assert_eq!(answer.whole().unwrap(), message);
        }
        assert!(packets(7, 0x10, &vec![0; LONGEST + 1]).is_err());
    }

    #[test]
    fn t58_an_answer_longer_than_ctaphid_allows_or_started_twice_is_an_error() {
        assert!(Answer::default().start(LONGEST + 1, &[]).is_err());
        let mut answer = Answer::default();
        answer.start(100, &[0; FIRST]).unwrap();
        assert!(answer.start(100, &[0; FIRST]).is_err());
    }
}
