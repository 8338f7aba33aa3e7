//! What a YubiKey's PIV application keeps when it loses its power.

use std::collections::BTreeMap;

use super::{
    FACTORY_PIN, FACTORY_PUK, Settings,
    attestation::Attestor,
    management_key::{self, ManagementKey},
    tlv::tlv,
};

/// ECC P-256 (NIST SP 800-78-4, table 6-2).
pub(super) const P256: u8 = 0x11;
/// ECC P-384.
pub(super) const P384: u8 = 0x14;

/// The firmware from which on the factory's management key is for AES.
const AES_SINCE: [u8; 3] = [5, 7, 0];

/// When a key wants the PIN (Yubico SDK manual, "PIV PIN, PUK, touch and PIN policies").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinPolicy {
    /// Not at all.
    Never = 1,
    /// Once since the application was selected.
    Once = 2,
    /// Immediately before each use.
    Always = 3,
}

/// When a key wants a touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TouchPolicy {
    /// Not at all.
    Never = 1,
    /// For each use.
    Always = 2,
    /// For each use that is more than 15 s after a touch.
    Cached = 3,
}

/// A key in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotKey {
    /// [`P256`] or [`P384`].
    pub(super) algorithm: u8,
    pub(super) pin_policy: PinPolicy,
    pub(super) touch_policy: TouchPolicy,
    /// The public key, an uncompressed point.
    pub(super) point: Vec<u8>,
}

impl SlotKey {
    pub(super) fn is_p256(&self) -> bool {
        self.algorithm == P256
    }
}

/// PIN or PUK: eight bytes, filled up with FF (SP 800-73-4 part 2, 2.4.3), and how often a wrong one may be tried.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    value: [u8; 8],
    factory: [u8; 8],
    /// How many tries there are after a right one.
    pub(super) tries: u8,
    /// How many are left.
    pub(super) left: u8,
}

impl Reference {
    fn new(factory: [u8; 8], tries: u8) -> Self {
        Self {
            value: factory,
            factory,
            tries,
            left: tries,
        }
    }

    /// Whether it is the factory's.
    pub(super) fn is_factory(&self) -> bool {
        self.value == self.factory
    }

    /// Compares. A wrong one, an empty one among them, costs a try; when none is left, the right one does not help either.
    pub(super) fn check(&mut self, given: &[u8]) -> bool {
        if self.left == 0 {
            return false;
        }
        let right = given == self.value;
        self.left = if right { self.tries } else { self.left - 1 };
        right
    }

    /// Takes another value, of 6 bytes at least before the filling; false if it is none.
    pub(super) fn set(&mut self, value: &[u8]) -> bool {
        let filling = value.iter().rev().take_while(|byte| **byte == 0xff).count();
        match <[u8; 8]>::try_from(value) {
            Ok(value) if filling <= 2 => {
                (self.value, self.left) = (value, self.tries);
                true
            }
            _ => false,
        }
    }

    /// SET PIN RETRIES: back to the factory's, with this many tries.
    pub(super) fn restore(&mut self, tries: u8) {
        *self = Self::new(self.factory, tries);
    }
}

pub(super) struct Memory {
    pub(super) pin: Reference,
    pub(super) puk: Reference,
    pub(super) management_key: ManagementKey,
    /// Whether showing the management key takes a touch as well.
    pub(super) management_touch: bool,
    pub(super) keys: BTreeMap<u8, SlotKey>,
    /// Data objects by their tags.
    pub(super) objects: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Memory {
    /// As from the factory.
    pub(super) fn new(settings: &Settings, attestor: &Attestor) -> Self {
        // A certificate's object: the certificate, not compressed (SP 800-73-4 part 1, appendix A).
        let certificate = [tlv(0x70, &attestor.certificate), tlv(0x71, &[0]), tlv(0xfe, &[])].concat();
        Self {
            pin: Reference::new(FACTORY_PIN, 3),
            puk: Reference::new(FACTORY_PUK, 3),
            management_key: Self::factory_key(settings),
            management_touch: false,
            keys: BTreeMap::new(),
            objects: BTreeMap::from([(vec![0x5f, 0xff, 0x01], certificate)]),
        }
    }

    /// The management key of a new card with this firmware.
    pub(super) fn factory_key(settings: &Settings) -> ManagementKey {
        ManagementKey::factory(match settings.version >= AES_SINCE {
            true => management_key::AES_192,
            false => management_key::TRIPLE_DES,
        })
    }
}
