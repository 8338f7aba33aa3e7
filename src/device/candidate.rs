//! A key that can serve, and what to ask it.

use zeroize::Zeroizing;

use super::enrolled::EnrolledKey;
use crate::encoding::hpke::{self, Agreed};
use crate::encoding::sshsig::Point;

/// A key that may answer, and what it is to unseal.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The key.
    pub key: EnrolledKey,
    /// What it gives an output for; the outputs come back in this order.
    pub unseals: Vec<Unseal>,
}

/// One thing for a key to unseal: a FIDO2 key takes salts, a PIV key what is sealed to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unseal {
    /// For hmac-secret; at most two in one touch (CTAP 2.1, 12.5). The output is 32 bytes.
    Salt([u8; 32]),
    /// One ECDH, and so one touch. The output is what was sealed.
    Sealed(Sealed),
}

/// What is sealed to a key's public half: HPKE as in [`hpke`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The public half.
    pub to: Point,
    /// What it was sealed for.
    pub info: Vec<u8>,
    /// What it was sealed with.
    pub aad: Vec<u8>,
    /// The encapsulated key, the ciphertext, its tag.
    pub message: Vec<u8>,
}

impl Candidate {
    /// The salts; nothing where something else is to be unsealed.
    #[must_use]
    pub fn salts(&self) -> Option<Vec<[u8; 32]>> {
        let salt = |unseal: &Unseal| match unseal {
            Unseal::Salt(salt) => Some(*salt),
            Unseal::Sealed(_) => None,
        };
        self.unseals.iter().map(salt).collect()
    }

    /// What is sealed to the key; nothing where something else is to be unsealed.
    #[must_use]
    pub fn sealed(&self) -> Option<Vec<&Sealed>> {
        let sealed = |unseal| match unseal {
            &Unseal::Salt(_) => None,
            Unseal::Sealed(sealed) => Some(sealed),
        };
        self.unseals.iter().map(sealed).collect()
    }
}

impl Sealed {
    /// What the private half has to agree with. `None` for a message that names no point on the curve: it goes to no card.
    #[must_use]
    pub fn encapsulated(&self) -> Option<Point> {
        hpke::encapsulated(&self.message)
    }

    /// Opens it with what was agreed.
    #[must_use]
    pub fn open(&self, agreed: &Agreed) -> Option<Zeroizing<Vec<u8>>> {
        hpke::open(agreed, &self.to, &self.info, &self.aad, &self.message)
    }
}
