//! The vault's use of HKDF-SHA256 (RFC 5869) and XChaCha20-Poly1305: labels, keys, sealing.

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::bytes::put_field;
use super::random::{self, Random};

/// A 256-bit key, wiped when dropped.
pub type Key = Zeroizing<[u8; 32]>;

/// Bytes of the nonce in front of a sealed text (XChaCha20: long enough to be drawn at random for ever).
pub const NONCE: usize = 24;
/// Bytes of the tag behind it.
pub const TAG: usize = 16;

/// What a derived key or an associated text is for: `touchlease v1 NAME`, then each part of the context with its length in front.
#[must_use]
pub fn label(name: &str, context: &[&[u8]]) -> Vec<u8> {
    let mut label = format!("touchlease v1 {name}").into_bytes();
    for part in context {
        put_field(&mut label, part);
    }
    label
}

/// HKDF-Expand of a key that is uniformly random already (RFC 5869, 3.3).
#[must_use]
pub fn expand(key: &[u8; 32], info: &[u8]) -> Key {
    let mut out = Key::default();
    // Neither can fail: a key of hash length, an output of one block (RFC 5869, 2.3).
    let done = Hkdf::<Sha256>::from_prk(key).map(|hkdf| hkdf.expand(info, out.as_mut_slice()));
    debug_assert!(matches!(done, Ok(Ok(()))));
    out
}

/// HKDF-Extract and HKDF-Expand.
#[must_use]
pub fn derive(ikm: &[u8], salt: &[u8], info: &[u8]) -> Key {
    let mut out = Key::default();
    // Cannot fail: an output of one block (RFC 5869, 2.3).
    let done = Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, out.as_mut_slice());
    debug_assert!(done.is_ok());
    out
}

/// Appends to `out` a random nonce, `plain` encrypted, and the tag; `aad` is authenticated with it. `plain` is copied nowhere.
/// `None` only for texts beyond 2^38 bytes.
pub fn seal(out: &mut Vec<u8>, key: &Key, aad: &[u8], plain: &[u8], random: &mut Random) -> Option<()> {
    let nonce = random::bytes::<NONCE>(random);
    out.extend(nonce);
    let start = out.len();
    out.resize(start + plain.len(), 0);
    let text = InOutBuf::new(plain, &mut out[start..]).ok()?;
    let tag = XChaCha20Poly1305::new(&(**key).into())
        .encrypt_inout_detached(&XNonce::from(nonce), aad, text)
        .ok()?;
    out.extend(tag);
    Some(())
}

/// Opens what [`seal`] appended. `None` when any bit of key, `aad`, nonce, text or tag is another one.
#[must_use]
pub fn open(key: &Key, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut plain = Zeroizing::new(vec![0; sealed.len().checked_sub(NONCE + TAG)?]);
    open_into(&mut plain, key, aad, sealed)?;
    Some(plain)
}

/// As [`open`], into memory of the caller's, which is `NONCE + TAG` shorter than `sealed`.
#[must_use]
pub fn open_into(plain: &mut [u8], key: &Key, aad: &[u8], sealed: &[u8]) -> Option<()> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
    let (text, tag) = rest.split_last_chunk::<TAG>()?;
    XChaCha20Poly1305::new(&(**key).into())
        .decrypt_inout_detached(&XNonce::from(*nonce), aad, InOutBuf::new(text, plain).ok()?, &(*tag).into())
        .ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        let key = Key::new([1; 32]);
        let mut sealed = Vec::new();
        seal(&mut sealed, &key, b"aad", b"value", &mut random::system()).unwrap();
        assert_eq!(&**open(&key, b"aad", &sealed).unwrap(), b"value");
        for i in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[i] ^= 1;
            assert!(open(&key, b"aad", &bad).is_none());
            assert!(open(&key, b"aad", &sealed[..i]).is_none());
        }
        assert!(open(&key, b"aae", &sealed).is_none());
        assert!(open(&Key::new([2; 32]), b"aad", &sealed).is_none());
    }

    #[test]
    fn labels_with_shifted_boundaries_differ() {
        assert_ne!(label("slot", &[b"ab", b"c"]), label("slot", &[b"a", b"bc"]));
        assert_eq!(label("x", &[b"a"]), b"touchlease v1 x\0\0\0\x01a");
    }

    #[test]
    fn keys_derive_as_rfc_5869_says() {
        // RFC 5869, A.1, the first 32 of its 42 bytes.
        let info = [0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9];
        let okm = derive(&[0x0b; 22], &(0..=0x0c).collect::<Vec<u8>>(), &info);
        assert_eq!(
            data_encoding::HEXLOWER.encode(&*okm),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
        );
    }
}
