//! Something between a YubiKey and its reader, which hears and changes what passes.

use super::YubiKeyCard;
use crate::card::SmartCard;

/// What becomes of a command: the answer, or nothing for a card that is pulled out.
type Pass = dyn FnMut(&mut YubiKeyCard, &[u8]) -> Vec<u8> + Send;

/// A YubiKey behind something.
pub struct Between {
    card: YubiKeyCard,
    pass: Box<Pass>,
}

impl Between {
    /// `card` behind `pass`, which has it answer what it likes.
    pub fn new(card: YubiKeyCard, pass: impl FnMut(&mut YubiKeyCard, &[u8]) -> Vec<u8> + Send + 'static) -> Self {
        let pass = Box::new(pass);
        Self { card, pass }
    }
}

impl SmartCard for Between {
    fn atr(&self) -> Vec<u8> {
        self.card.atr()
    }

    fn power_up(&mut self) {
        self.card.power_up();
    }

    fn power_down(&mut self) {
        self.card.power_down();
    }

    fn transmit(&mut self, apdu: &[u8]) -> Vec<u8> {
        (self.pass)(&mut self.card, apdu)
    }
}
