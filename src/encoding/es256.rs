//! ES256: ECDSA on P-256 with SHA-256 (FIPS 186-5, 6), for what keys sign and what the recovery code signs.
//!
//! Verified by `ring`, which takes a sixth of the time of `p256`: a log has thousands of receipts, and a login two signatures of its server.

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{self, SigningKey};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use thiserror::Error;

/// A P-256 public key as an uncompressed SEC 1 point (65 bytes, first byte 0x04).
pub type Point = [u8; 65];

/// r and s, 32 bytes each, big-endian. Who knows one signature knows its twin (r, n - s): it identifies nothing.
pub type Signature = [u8; 64];

/// Why a signature is not accepted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Es256Error {
    /// The point is not on the curve.
    #[error("not a P-256 public key")]
    Key,
    /// r or s is out of range, or the signature is over something else.
    #[error("the signature does not verify")]
    Signature,
}

/// Whether `signature` is `key`'s over `message`.
///
/// # Errors
/// See [`Es256Error`].
pub fn verify(key: &Point, message: &[u8], signature: &Signature) -> Result<(), Es256Error> {
    let verified = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature);
    // It says nothing of why.
    verified.map_err(|_| match p256::PublicKey::from_sec1_bytes(key) {
        Ok(_) => Es256Error::Signature,
        Err(_) => Es256Error::Key,
    })
}

/// Signs `message` with a private scalar, by the nonce of RFC 6979: one message has one signature. `None` for a scalar outside the curve's order.
#[must_use]
pub fn sign(scalar: &[u8; 32], message: &[u8]) -> Option<Signature> {
    let signature: ecdsa::Signature = SigningKey::from_slice(scalar).ok()?.try_sign(message).ok()?;
    Some(signature.to_bytes().into())
}

/// Reads a signature in DER (RFC 3279, 2.2.3), as CTAP carries it. `None` for any other encoding of the same numbers, and for
/// numbers out of range.
#[must_use]
pub fn from_der(der: &[u8]) -> Option<Signature> {
    Some(ecdsa::Signature::from_der(der).ok()?.to_bytes().into())
}
