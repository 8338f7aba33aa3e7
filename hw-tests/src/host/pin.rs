//! PIN/UV auth protocols one and two (CTAP 2.1, 6.5.6 and 6.5.7).

use aes::{
    Aes256,
    cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::NoPadding},
};
use ciborium::Value;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use p256::{PublicKey, SecretKey, elliptic_curve::sec1::ToSec1Point};
use sha2::{Digest, Sha256};

use super::{member, number_map};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Zero IV, truncated authentication.
    One,
    /// Random IV, keys derived apart.
    Two,
}

impl Protocol {
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    pub(crate) fn authenticate(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        // HMAC takes a key of any length.
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else {
            return vec![];
        };
        mac.update(message);
        let tag = mac.finalize().into_bytes();
        match self {
            Self::One => tag[..16].to_vec(),
            Self::Two => tag.to_vec(),
        }
    }
}

/// A secret shared with the key, for one exchange.
pub(crate) struct Session {
    pub protocol: Protocol,
    /// Our half of the agreement, in COSE.
    pub public: Value,
    cipher_key: [u8; 32],
    mac_key: [u8; 32],
}

impl Session {
    pub fn new(protocol: Protocol, key: &Value) -> Option<Self> {
        Self::of(protocol, &secret_key()?, key)
    }

    /// The same with a key pair that is there already: how the key itself comes to it.
    pub fn of(protocol: Protocol, ours: &SecretKey, key: &Value) -> Option<Self> {
        let peer = PublicKey::from_sec1_bytes(&cose_point(key)?).ok()?;
        let shared = p256::ecdh::diffie_hellman(ours.to_nonzero_scalar(), peer.as_affine());
        let shared = shared.raw_secret_bytes();
        let derive = |info: &[u8]| {
            let mut out = [0; 32];
            Hkdf::<Sha256>::new(Some(&[0; 32]), shared).expand(info, &mut out).ok()?;
            Some(out)
        };
        let (cipher_key, mac_key) = match protocol {
            Protocol::One => (Sha256::digest(shared).into(), Sha256::digest(shared).into()),
            Protocol::Two => (derive(b"CTAP2 AES key")?, derive(b"CTAP2 HMAC key")?),
        };
        Some(Self {
            protocol,
            public: cose_key(&ours.public_key()),
            cipher_key,
            mac_key,
        })
    }

    /// Whole blocks only.
    pub fn encrypt(&self, plain: &[u8]) -> Vec<u8> {
        let iv = match self.protocol {
            Protocol::One => [0; 16],
            Protocol::Two => random(),
        };
        let cipher = cbc::Encryptor::<Aes256>::new(&self.cipher_key.into(), &iv.into());
        let sealed = cipher.encrypt_padded_vec::<NoPadding>(plain);
        match self.protocol {
            Protocol::One => sealed,
            Protocol::Two => [&iv[..], &sealed].concat(),
        }
    }

    pub fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (iv, sealed) = match self.protocol {
            Protocol::One => (&[0; 16], sealed),
            Protocol::Two => sealed.split_first_chunk()?,
        };
        let cipher = cbc::Decryptor::<Aes256>::new(&self.cipher_key.into(), &(*iv).into());
        cipher.decrypt_padded_vec::<NoPadding>(sealed).ok()
    }

    pub fn authenticate(&self, message: &[u8]) -> Vec<u8> {
        self.protocol.authenticate(&self.mac_key, message)
    }
}

/// An uncompressed SEC1 point from a COSE key.
pub(super) fn cose_point(key: &Value) -> Option<Vec<u8>> {
    let coordinate = |name| member(key, name)?.as_bytes();
    Some([&[4], &coordinate(-2)?[..], &coordinate(-3)?[..]].concat())
}

/// A fresh one; nothing once in 2^32 times.
pub(crate) fn secret_key() -> Option<SecretKey> {
    SecretKey::from_slice(&random::<32>()).ok()
}

pub(crate) fn cose_key(key: &PublicKey) -> Value {
    let point = key.to_sec1_point(false);
    let coordinate = |bytes: Option<&p256::FieldBytes>| Value::Bytes(bytes.map(|b| b.to_vec()).unwrap_or_default());
    let mut map = number_map(vec![(1, 2.into())]);
    if let Value::Map(members) = &mut map {
        members.extend([
            (3.into(), (-25).into()),
            ((-1).into(), 1.into()),
            ((-2).into(), coordinate(point.x())),
            ((-3).into(), coordinate(point.y())),
        ]);
    }
    map
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // A machine without randomness cannot have made the keys under test either.
    getrandom::fill(&mut bytes).unwrap_or_else(|error| panic!("no randomness: {error}"));
    bytes
}
