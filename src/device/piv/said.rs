//! What workers say of cards, and what they are told to make.

use serde::{Deserialize, Serialize};

use crate::device::enrolled::{Retired, Text64};
use crate::encoding::sshsig::Point;

/// What a card says of itself without a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its serial number.
    pub serial: u32,
    /// Its firmware.
    pub firmware: [u8; 3],
}

/// What of a card is still as it came from the factory, and so known to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct References {
    /// The PIN.
    pub pin: bool,
    /// The PUK.
    pub puk: bool,
    /// The management key.
    pub management: bool,
    /// The management key lies on the card, under the PIN, as `ykman` puts it there.
    pub protected: bool,
}

/// A slot that holds a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupied {
    /// Which.
    pub slot: Retired,
    key: Option<Text64>,
}

impl Occupied {
    /// `slot` with this key in it, if it is one for P-256.
    #[must_use]
    pub fn new(slot: Retired, public_key: Option<Point>) -> Self {
        let key = public_key.map(|point| Text64(point.to_vec()));
        Self { slot, key }
    }

    /// Whether it is this key that is there.
    #[must_use]
    pub fn is(&self, slot: Retired, public_key: &Point) -> bool {
        self.slot == slot && self.key.as_ref().is_some_and(|key| key.0 == public_key)
    }
}

/// What is to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Where a key is made: of an enrolment the one that unseals, then the one that signs.
    pub slots: Vec<Retired>,
    /// What is in these slots is lost; in another one it was not there when somebody agreed to that.
    pub danger_overwrite: Vec<Retired>,
}
