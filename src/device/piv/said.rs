//! What workers say of cards, and what they are told to make.

use serde::{Deserialize, Serialize};

use crate::device::enrolled::{Retired, base64url};
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

/// What is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Where the key goes that unseals.
    pub open: Retired,
    /// Where the key goes that signs.
    pub sign: Retired,
    /// What is in these slots is lost.
    pub danger_overwrite: bool,
}

/// Public keys of the slots that were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fresh {
    /// Of the one that unseals.
    #[serde(with = "base64url")]
    pub open: Point,
    /// Of the one that signs.
    #[serde(with = "base64url")]
    pub sign: Point,
}
