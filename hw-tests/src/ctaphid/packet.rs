//! Packets of CTAPHID: one HID report each (CTAP 2.1, 11.2.4).

/// The size of a report.
pub const SIZE: usize = 64;
/// One HID report, without a report id.
pub type Packet = [u8; SIZE];

/// A logical channel between one host program and the device.
pub type Channel = u32;
/// The channel on which a new one is asked for.
pub const BROADCAST: Channel = 0xffff_ffff;

/// The commands, without the bit that marks an initialization packet (CTAP 2.1, 11.2.9).
pub mod command {
    /// Echoes its payload.
    pub const PING: u8 = 0x01;
    /// A CTAP1 message.
    pub const MSG: u8 = 0x03;
    /// Asks for a channel, or resynchronizes one.
    pub const INIT: u8 = 0x06;
    /// Makes the device show itself.
    pub const WINK: u8 = 0x08;
    /// A CTAP2 message.
    pub const CBOR: u8 = 0x10;
    /// Cancels the running message; has no answer of its own.
    pub const CANCEL: u8 = 0x11;
    /// The device is still busy; its payload is a byte of [`super::status`].
    pub const KEEPALIVE: u8 = 0x3b;
    /// The message failed; its payload is a byte of [`super::error`].
    pub const ERROR: u8 = 0x3f;
}

/// What a keepalive says (CTAP 2.1, 11.2.9.1.7).
pub mod status {
    /// Computing.
    pub const PROCESSING: u8 = 1;
    /// Waiting for a touch.
    pub const UP_NEEDED: u8 = 2;
}

/// What an error says (CTAP 2.1, 11.2.9.1.6).
pub mod error {
    /// The command is not known.
    pub const INVALID_CMD: u8 = 0x01;
    /// A parameter of it is wrong.
    pub const INVALID_PAR: u8 = 0x02;
    /// The length is wrong.
    pub const INVALID_LEN: u8 = 0x03;
    /// A continuation packet does not follow the last one.
    pub const INVALID_SEQ: u8 = 0x04;
    /// The message was not completed in time.
    pub const MSG_TIMEOUT: u8 = 0x05;
    /// Another message is running.
    pub const CHANNEL_BUSY: u8 = 0x06;
    /// The channel was never given out.
    pub const INVALID_CHANNEL: u8 = 0x0b;
}

const INIT_BIT: u8 = 0x80;
const INIT_HEADER: usize = 7;
const CONT_HEADER: usize = 5;

/// The most that a message can hold.
pub const MAX_PAYLOAD: usize = SIZE - INIT_HEADER + 128 * (SIZE - CONT_HEADER);

/// A packet, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// The first of a message.
    Init {
        /// Its channel.
        channel: Channel,
        /// Its command, without the marking bit.
        command: u8,
        /// The length of the whole payload.
        length: usize,
        /// As much of the payload as fits, with padding.
        data: &'a [u8],
    },
    /// A later one.
    Continuation {
        /// Its channel.
        channel: Channel,
        /// Its place, from 0 to 127.
        sequence: u8,
        /// More of the payload, with padding.
        data: &'a [u8],
    },
}

/// Takes a packet apart.
pub fn parse(packet: &Packet) -> Parsed<'_> {
    let [c0, c1, c2, c3, kind, high, low, ..] = *packet;
    let channel = Channel::from_be_bytes([c0, c1, c2, c3]);
    if kind & INIT_BIT == 0 {
        return Parsed::Continuation {
            channel,
            sequence: kind,
            data: &packet[CONT_HEADER..],
        };
    }
    let length = u16::from_be_bytes([high, low]).into();
    Parsed::Init {
        channel,
        command: kind & !INIT_BIT,
        length,
        data: &packet[INIT_HEADER..],
    }
}

/// The packets of a message of at most [`MAX_PAYLOAD`] bytes.
pub fn split(channel: Channel, command: u8, payload: &[u8]) -> Vec<Packet> {
    let length = payload.len() as u16; // at most MAX_PAYLOAD
    let (first, rest) = payload.split_at(payload.len().min(SIZE - INIT_HEADER));
    let [high, low] = length.to_be_bytes();
    let mut packets = vec![packet(channel, &[command | INIT_BIT, high, low], first)];
    let rest = rest.chunks(SIZE - CONT_HEADER).zip(0..INIT_BIT);
    packets.extend(rest.map(|(chunk, sequence)| packet(channel, &[sequence], chunk)));
    packets
}

fn packet(channel: Channel, head: &[u8], data: &[u8]) -> Packet {
    let mut packet = [0; SIZE];
    packet[..4].copy_from_slice(&channel.to_be_bytes());
    packet[4..4 + head.len()].copy_from_slice(head);
    packet[4 + head.len()..][..data.len()].copy_from_slice(data);
    packet
}

/// A complete message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The channel it came on.
    pub channel: Channel,
    /// Its command.
    pub command: u8,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A message of which packets are missing.
#[derive(Debug)]
pub struct Partial {
    message: Message,
    length: usize,
    sequence: u8,
}

/// What one more packet makes of a partial message.
#[derive(Debug)]
pub enum Progress {
    /// Packets are still missing.
    More(Partial),
    /// That was the last one.
    Complete(Message),
    /// The packet was not the next one.
    OutOfOrder,
}

impl Partial {
    /// Begins with the initialization packet.
    pub fn begin(channel: Channel, command: u8, length: usize, data: &[u8]) -> Progress {
        let message = Message {
            channel,
            command,
            payload: Vec::with_capacity(length),
        };
        Self {
            message,
            length,
            sequence: 0,
        }
        .take(data)
    }

    /// Goes on with a continuation packet.
    pub fn proceed(mut self, sequence: u8, data: &[u8]) -> Progress {
        if sequence != self.sequence {
            return Progress::OutOfOrder;
        }
        self.sequence += 1;
        self.take(data)
    }

    /// The channel of the message.
    pub fn channel(&self) -> Channel {
        self.message.channel
    }

    fn take(mut self, data: &[u8]) -> Progress {
        let missing = self.length - self.message.payload.len();
        self.message.payload.extend_from_slice(&data[..missing.min(data.len())]);
        match self.message.payload.len() == self.length {
            true => Progress::Complete(self.message),
            false => Progress::More(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(packets: &[Packet]) -> Option<Message> {
        let mut partial = None;
        for packet in packets {
            let progress = match (parse(packet), partial.take()) {
                (
                    Parsed::Init {
                        channel,
                        command,
                        length,
                        data,
                    },
                    None,
                ) => Partial::begin(channel, command, length, data),
                (Parsed::Continuation { sequence, data, .. }, Some(started)) => Partial::proceed(started, sequence, data),
                _ => return None,
            };
            match progress {
                Progress::More(more) => partial = Some(more),
                Progress::Complete(message) => return Some(message),
                Progress::OutOfOrder => return None,
            }
        }
        None
    }

    #[test]
    fn a_message_of_any_length_comes_out_as_it_went_in() {
        for length in [0, 1, 57, 58, 57 + 59, 57 + 60, MAX_PAYLOAD] {
            let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let packets = split(7, command::CBOR, &payload);
            assert_eq!(packets.len(), 1 + length.saturating_sub(57).div_ceil(59));
            let message = join(&packets).unwrap();
            assert_eq!((message.channel, message.command), (7, command::CBOR));
            assert_eq!(message.payload, payload);
        }
    }

    #[test]
    fn a_packet_out_of_order_is_noticed() {
        let mut packets = split(7, command::PING, &[0; 300]);
        packets.swap(1, 2);
        assert_eq!(join(&packets), None);
    }
}
