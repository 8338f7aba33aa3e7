//! Private keys that are loaded to sign.
//!
//! P-256 is signed with by `ring`, which takes a fifth of the time of `p256`; Ed25519 by `ed25519-dalek`, which is the faster of the two there.
//! `ring` wipes nothing, so where a key lies and what is left of it elsewhere is settled here: the loaded key, which has no part of it on the heap, is
//! held in locked memory, and the stack on which it was loaded and on which it signed is overwritten.

use std::fmt;
use std::mem::needs_drop;

use ed25519_dalek::ed25519::signature::Signer;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use thiserror::Error;

use crate::encoding::jwk::{Algorithm, PublicKey};
use crate::sys::held::Held;
use crate::sys::stack::scrubbed;

/// Nothing to drop, so nothing on the heap.
const _: () = assert!(!needs_drop::<EcdsaKeyPair>());

/// Why a key is not loaded.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LoadError {
    /// The bytes are no private key, or that of another public key.
    #[error("the private key is not the one of the public key")]
    OtherKey,
    /// The kernel refuses to lock more memory.
    #[error("there is no locked memory for the key")]
    Memory,
    /// The system has no randomness, or the library refuses a key that is one.
    #[error("the key cannot be loaded")]
    Library,
}

/// A private key that is loaded, and its public half, which it was held against: in locked memory, wiped when dropped. Loading takes about as long as
/// a signature, so it is done once for all of them.
///
/// There is no way to get the private half out again, and none to copy it:
///
/// ```compile_fail
/// fn copied(key: &touchlease::secret::SigningKey) -> touchlease::secret::SigningKey {
///     key.clone()
/// }
/// ```
///
/// The same compiles where nothing is copied:
///
/// ```
/// fn lent(key: &touchlease::secret::SigningKey) -> &touchlease::secret::SigningKey {
///     key
/// }
/// ```
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Es256(Held<EcdsaKeyPair>),
    EdDsa(Held<ed25519_dalek::SigningKey>),
}

impl SigningKey {
    /// Loads the key `private` (32 bytes), whose public half has to be `public`.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(private: &[u8], public: &PublicKey) -> Result<Self, LoadError> {
        let pair = match public.algorithm() {
            Algorithm::Es256 => Pair::Es256(hold(|| es256(private, public))?),
            Algorithm::EdDsa => Pair::EdDsa(hold(|| eddsa(private, public))?),
        };
        Ok(Self {
            pair,
            public: public.clone(),
        })
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs `message`: r and s of ES256 (RFC 7518, 3.4), or the Ed25519 signature (RFC 8037, 3.1), which is the same each time. Of ES256 it is another
    /// one each time: `ring` makes its nonce of a digest of the key, the message and randomness of the system, so that it is secret and new as long as
    /// either of key and randomness is good. `None` when the system has no randomness.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        scrubbed(|| match &self.pair {
            Pair::Es256(key) => {
                let signature = key.get().sign(&SystemRandom::new(), message).ok()?;
                signature.as_ref().try_into().ok()
            }
            Pair::EdDsa(key) => Some(key.get().try_sign(message).ok()?.to_bytes()),
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.thumbprint())
    }
}

/// The public half of a private key. `None` for bytes that are none. `ring` finds none where it is not told it, so this is `p256`'s: it is for keys
/// that are made, not for those that sign.
#[must_use]
pub fn public_of(algorithm: Algorithm, private: &[u8]) -> Option<PublicKey> {
    let private: &[u8; 32] = private.try_into().ok()?;
    let bytes = scrubbed(|| match algorithm {
        Algorithm::Es256 => {
            let key = p256::ecdsa::SigningKey::from_slice(private).ok()?;
            Some(key.verifying_key().to_sec1_point(false).as_bytes().to_vec())
        }
        Algorithm::EdDsa => {
            let key = ed25519_dalek::SigningKey::from_bytes(private);
            Some(key.verifying_key().as_bytes().to_vec())
        }
    });
    PublicKey::from_bytes(algorithm, &bytes?).ok()
}

fn hold<T>(load: impl FnOnce() -> Result<T, LoadError>) -> Result<Held<T>, LoadError> {
    Held::make(load).map_err(|_| LoadError::Memory)?
}

fn es256(private: &[u8], public: &PublicKey) -> Result<EcdsaKeyPair, LoadError> {
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let loaded = EcdsaKeyPair::from_private_key_and_public_key(algorithm, private, public.as_bytes(), &SystemRandom::new());
    // What it says of why is no part of its interface.
    loaded.map_err(|_| match public_of(Algorithm::Es256, private).as_ref() == Some(public) {
        true => LoadError::Library,
        false => LoadError::OtherKey,
    })
}

fn eddsa(private: &[u8], public: &PublicKey) -> Result<ed25519_dalek::SigningKey, LoadError> {
    let private = private.try_into().map_err(|_| LoadError::OtherKey)?;
    let key = ed25519_dalek::SigningKey::from_bytes(private);
    match key.verifying_key().as_bytes() == public.as_bytes() {
        true => Ok(key),
        false => Err(LoadError::OtherKey),
    }
}

#[cfg(test)]
mod tests;
