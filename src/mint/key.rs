//! Private keys of sealed signers: 32 bytes, made, and used for one signature.

use std::io;

use p256::ecdsa::signature::Signer;

use crate::encoding::jwk::{Algorithm, PublicKey};
use crate::secret::Secret;
use crate::vault::signer::PRIVATE;

/// Draws of a P-256 scalar before the source of randomness is taken for broken: one in 2^32 is out of range.
const DRAWS: u32 = 8;

/// A fresh private key in locked memory, and its public half. `fill` brings fresh random bytes.
///
/// # Errors
/// No locked memory; a source of randomness that repeats what is no key.
pub fn generate(algorithm: Algorithm, fill: &mut dyn FnMut(&mut [u8])) -> io::Result<(Secret, PublicKey)> {
    let mut private = Secret::zeroed(PRIVATE)?;
    for _ in 0..DRAWS {
        fill(private.expose_mut());
        if let Some(public) = public_of(algorithm, private.expose()) {
            return Ok((private, public));
        }
    }
    Err(io::Error::other("the random bytes are no private key"))
}

/// The public half of a private key. `None` for bytes that are none.
#[must_use]
pub fn public_of(algorithm: Algorithm, private: &[u8]) -> Option<PublicKey> {
    SigningKey::read(algorithm, private)?.public()
}

/// Signs `message`: r and s of ES256 (RFC 7518, 3.4), or the Ed25519 signature (RFC 8037, 3.1). `None` for bytes that are no key.
#[must_use]
pub(super) fn sign(algorithm: Algorithm, private: &[u8], message: &[u8]) -> Option<[u8; 64]> {
    SigningKey::read(algorithm, private)?.sign(message)
}

/// A private key with its public half, which takes as long to find as a signature: so once for both. Wiped when it is dropped
/// (`ecdsa::SigningKey`, `ed25519_dalek::SigningKey`).
pub(super) enum SigningKey {
    Es256(Box<p256::ecdsa::SigningKey>),
    EdDsa(Box<ed25519_dalek::SigningKey>),
}

impl SigningKey {
    /// `None` for bytes that are no key.
    pub(super) fn read(algorithm: Algorithm, private: &[u8]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::Es256 => Self::Es256(Box::new(p256::ecdsa::SigningKey::from_slice(private).ok()?)),
            Algorithm::EdDsa => Self::EdDsa(Box::new(ed25519_dalek::SigningKey::from_bytes(private.try_into().ok()?))),
        })
    }

    pub(super) fn public(&self) -> Option<PublicKey> {
        match self {
            Self::Es256(key) => PublicKey::from_bytes(Algorithm::Es256, key.verifying_key().to_sec1_point(false).as_bytes()).ok(),
            Self::EdDsa(key) => PublicKey::from_bytes(Algorithm::EdDsa, key.verifying_key().as_bytes()).ok(),
        }
    }

    /// As [`sign`].
    pub(super) fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        match self {
            Self::Es256(key) => {
                let signature: p256::ecdsa::Signature = key.try_sign(message).ok()?;
                Some(signature.to_bytes().into())
            }
            Self::EdDsa(key) => Some(key.try_sign(message).ok()?.to_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};

    use super::*;

    #[test]
    fn t59_the_signature_of_rfc_8037_appendix_a_4() {
        let private = BASE64URL_NOPAD.decode(b"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = sign(Algorithm::EdDsa, &private, message.as_bytes()).unwrap();
        let wanted = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(BASE64URL_NOPAD.encode(&signature), wanted);
    }

    /// RFC 6979, appendix A.2.5: P-256 with SHA-256, message "sample".
    #[test]
    fn t59_the_p_256_signature_of_rfc_6979_appendix_a_2_5() {
        let hex = |text: &str| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap();
        let private = hex("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721");
        let signature = sign(Algorithm::Es256, &private, b"sample").unwrap();
        let r = "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716";
        let s = "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8";
        assert_eq!(signature.to_vec(), [hex(r), hex(s)].concat());
    }

    #[test]
    fn a_draw_that_is_no_scalar_is_drawn_again_and_a_dead_source_is_an_error() {
        let mut draws = 0;
        let (_, public) = generate(Algorithm::Es256, &mut |bytes| {
            draws += 1;
            bytes.fill(if draws == 1 { 0xff } else { 7 });
        })
        .unwrap();
        assert_eq!((draws, public), (2, public_of(Algorithm::Es256, &[7; 32]).unwrap()));
        assert!(generate(Algorithm::Es256, &mut |bytes| bytes.fill(0)).is_err());
    }
}
