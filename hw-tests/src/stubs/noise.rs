//! What else may come over the wire to a host: another program's packets, and packets that a broken device sends.

use crate::{
    bus::{Device, Port, Rewrite},
    ctaphid::packet::{self, Channel, Packet, Parsed, command, status},
};

/// A channel that the device never gave to the host under test. Devices count up from 1.
pub const FOREIGN: Channel = 0x00c0_ffee;

/// What comes before, or instead of, each packet of the honest device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// Before each packet: the answer to another program's INIT, on the broadcast channel, with another nonce.
    ForeignInit,
    /// Before each packet: a complete and successful CBOR answer to another program.
    ForeignAnswer,
    /// Before each packet: "waiting for a touch", to another program.
    ForeignKeepalive,
    /// Before each packet: the continuation of a message to another program.
    ForeignContinuation,
    /// Before each packet: an error for another program.
    ForeignError,
    /// All of the foreign ones.
    Foreign,
    /// Each continuation carries the number after its own.
    WrongSequence,
    /// Each continuation comes twice.
    Repeated,
    /// No continuation comes at all: a message that never ends.
    Unfinished,
    /// Before each packet: a read of no bytes.
    EmptyRead,
    /// Each packet lacks its last 32 bytes.
    ShortRead,
    /// Each CBOR answer claims to be 65,535 bytes long.
    LongClaim,
}

impl Noise {
    /// Those of other programs.
    pub const FOREIGN: [Self; 6] = [
        Self::ForeignInit,
        Self::ForeignAnswer,
        Self::ForeignKeepalive,
        Self::ForeignContinuation,
        Self::ForeignError,
        Self::Foreign,
    ];

    /// Puts the noise between a device and the bus; for [`crate::hid_socket::HidSocket::with_disguise`].
    pub fn over(self, device: impl Device + 'static) -> Box<dyn Device> {
        Box::new(Noisy {
            noise: self,
            device: Box::new(device),
        })
    }

    fn rewrite(self, report: &[u8]) -> Vec<Vec<u8>> {
        let Ok(honest) = Packet::try_from(report) else {
            return vec![report.to_vec()];
        };
        let continuation = matches!(packet::parse(&honest), Parsed::Continuation { .. });
        match self {
            Self::WrongSequence if continuation => {
                vec![with_byte(honest, 4, honest[4].wrapping_add(1) & 0x7f)]
            }
            Self::Repeated if continuation => vec![honest.to_vec(), honest.to_vec()],
            Self::Unfinished if continuation => vec![],
            Self::ShortRead => vec![honest[..32].to_vec()],
            Self::LongClaim => vec![long_claim(honest)],
            _ => [self.before(), vec![honest.to_vec()]].concat(),
        }
    }

    fn before(self) -> Vec<Vec<u8>> {
        match self {
            Self::ForeignInit => foreign_init(),
            Self::ForeignAnswer => foreign(command::CBOR, &[0x00, 0xa0]),
            Self::ForeignKeepalive => foreign(command::KEEPALIVE, &[status::UP_NEEDED]),
            Self::ForeignContinuation => foreign(command::CBOR, &[0; 100]).split_off(1),
            Self::ForeignError => foreign(command::ERROR, &[packet::error::CHANNEL_BUSY]),
            Self::Foreign => [
                Self::ForeignInit,
                Self::ForeignAnswer,
                Self::ForeignKeepalive,
                Self::ForeignContinuation,
                Self::ForeignError,
            ]
            .into_iter()
            .flat_map(Self::before)
            .collect(),
            Self::EmptyRead => vec![vec![]],
            _ => vec![],
        }
    }
}

fn foreign(command: u8, payload: &[u8]) -> Vec<Vec<u8>> {
    packet::split(FOREIGN, command, payload)
        .iter()
        .map(|packet| packet.to_vec())
        .collect()
}

fn foreign_init() -> Vec<Vec<u8>> {
    let payload = [&b"not ours"[..], &FOREIGN.to_be_bytes(), &[2, 1, 0, 0, 0x0d]].concat();
    packet::split(packet::BROADCAST, command::INIT, &payload)
        .iter()
        .map(|packet| packet.to_vec())
        .collect()
}

fn long_claim(honest: Packet) -> Vec<u8> {
    match packet::parse(&honest) {
        Parsed::Init {
            command: command::CBOR, ..
        } => with_byte(with_byte(honest, 5, 0xff), 6, 0xff),
        _ => honest.to_vec(),
    }
}

fn with_byte(report: impl AsRef<[u8]>, at: usize, byte: u8) -> Vec<u8> {
    let mut report = report.as_ref().to_vec();
    report[at] = byte;
    report
}

struct Noisy {
    noise: Noise,
    device: Box<dyn Device>,
}

impl Device for Noisy {
    fn run(self: Box<Self>, port: Port) {
        let noise = self.noise;
        let rewrite: Rewrite = Box::new(move |report| noise.rewrite(report));
        self.device.run(port.with_rewrite(rewrite));
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use super::*;
    use crate::{
        authenticator::{Authenticator, Settings},
        ctap::GET_INFO,
        finger::{Finger, Mode},
        hid_socket::HidSocket,
        host::hid::HidHost,
        key::Attachment,
    };

    fn info_through(noise: Noise) -> io::Result<Vec<u8>> {
        let finger = Arc::new(Finger::new(Mode::Grant));
        let key = Arc::new(Authenticator::start(Settings::default(), finger).unwrap());
        let socket = HidSocket::new(key).with_disguise(Box::new(move |device| noise.over(device)));
        socket.plug().unwrap();
        let mut host = HidHost::connect(socket.open().unwrap())?;
        Ok(host.transact(command::CBOR, &[GET_INFO])?.payload)
    }

    #[test]
    fn a_careful_host_hears_nothing_foreign() {
        for noise in Noise::FOREIGN {
            assert!(info_through(noise).unwrap().len() > 100, "{noise:?}");
        }
    }

    #[test]
    fn what_a_broken_device_sends_is_broken() {
        for noise in [Noise::WrongSequence, Noise::Repeated, Noise::ShortRead] {
            assert_eq!(info_through(noise).unwrap_err().kind(), io::ErrorKind::InvalidData, "{noise:?}");
        }
        assert_eq!(info_through(Noise::EmptyRead).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_long_claim_keeps_everything_else() {
        let answer = packet::split(7, command::CBOR, &[1, 2, 3]);
        let claim = Noise::LongClaim.rewrite(&answer[0]);
        assert_eq!(claim[0][5..10], [0xff, 0xff, 1, 2, 3]);
        let error = packet::split(7, command::ERROR, &[1]);
        assert_eq!(Noise::LongClaim.rewrite(&error[0]), [error[0].to_vec()]);
        assert!(Noise::Unfinished.rewrite(&packet::split(7, command::CBOR, &[0; 100])[1]).is_empty());
    }
}
