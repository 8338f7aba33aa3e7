//! Cards without an authenticator, or with one that is disturbed. Put them into a [`crate::vpcd::VpcdSocket`].

use crate::{
    apdu::{self, Command},
    card::{FIDO_AID, Interface, SmartCard},
};

const SELECT: u8 = 0xa4;

/// How a card disturbs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disturbance {
    /// Says "not finished, waiting for a touch" for ever.
    Keepalives,
    /// Answers nothing, not even a status word, and is gone: what PC/SC shows of a card pulled during a command.
    Empty,
    /// Answers half a status word.
    HalfStatus,
    /// Promises more of the answer for ever.
    EndlessAnswer,
    /// Answers with this, whatever was asked.
    Fixed(Vec<u8>),
}

/// A card that lets itself be selected, then disturbs.
pub struct Disturbed {
    interface: Interface,
    disturbance: Disturbance,
    version: &'static [u8],
}

impl Disturbed {
    /// Such a card for such a reader.
    pub fn new(interface: Interface, disturbance: Disturbance) -> Self {
        Self {
            interface,
            disturbance,
            version: b"FIDO_2_0",
        }
    }

    /// Names another version when selected, for example `U2F_V2`.
    #[must_use]
    pub fn with_version(self, version: &'static [u8]) -> Self {
        Self { version, ..self }
    }
}

impl SmartCard for Disturbed {
    fn atr(&self) -> Vec<u8> {
        self.interface.atr().to_vec()
    }

    fn power_up(&mut self) {}

    fn power_down(&mut self) {}

    fn transmit(&mut self, command: &[u8]) -> Vec<u8> {
        if let Some(Command {
            instruction: SELECT, data, ..
        }) = Command::parse(command)
        {
            return match data == FIDO_AID {
                true => apdu::answer(self.version, apdu::OK),
                false => apdu::answer(&[], apdu::NOT_FOUND),
            };
        }
        match &self.disturbance {
            Disturbance::Keepalives => apdu::answer(&[crate::ctaphid::packet::status::UP_NEEDED], apdu::KEEPALIVE),
            Disturbance::Empty => vec![],
            Disturbance::HalfStatus => vec![0x90],
            Disturbance::EndlessAnswer => apdu::answer(&[0; 256], apdu::MORE),
            Disturbance::Fixed(answer) => answer.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_card_is_selected_first() {
        let select = [&[0, SELECT, 4, 0, 8][..], &FIDO_AID, &[0]].concat();
        let message = [0x80, 0x10, 0x80, 0, 1, 4, 0];
        for (disturbance, answer) in [
            (Disturbance::Keepalives, vec![2, 0x91, 0x00]),
            (Disturbance::Empty, vec![]),
            (Disturbance::HalfStatus, vec![0x90]),
            (Disturbance::Fixed(vec![0x69, 0x82]), vec![0x69, 0x82]),
        ] {
            let mut card = Disturbed::new(Interface::Contactless, disturbance);
            assert_eq!(card.transmit(&select), b"FIDO_2_0\x90\x00");
            assert_eq!(card.transmit(&message), answer);
        }
    }
}
