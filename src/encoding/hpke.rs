//! Opening what HPKE sealed (RFC 9180) where the private half may be on a card that does the ECDH and nothing else.
//!
//! Base mode, single shot, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. A message is the encapsulated key (65 bytes), the
//! ciphertext, its tag (16). The `hpke` crate, which seals, opens with the private key's bytes alone; so from the agreement on opening
//! is done here, for every kind of key.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use p256::{PublicKey, SecretKey, ecdh};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::es256::Point;

/// kem_id, kdf_id and aead_id (7.1, 7.2, 7.3).
const KEM: [u8; 2] = [0x00, 0x10];
const KDF: [u8; 2] = [0x00, 0x01];
const AEAD: [u8; 2] = [0x00, 0x03];
/// mode_base (5, table 1).
const MODE: u8 = 0x00;

/// What an ECDH on P-256 gives: the x coordinate, 32 bytes.
pub type Agreed = Zeroizing<[u8; 32]>;

/// The encapsulated key of a message, which the receiver's private half agrees with. `None` where there is no point on the curve: such
/// a one must not go to a card (7.1.4).
#[must_use]
pub fn encapsulated(message: &[u8]) -> Option<Point> {
    let point = *message.first_chunk::<65>()?;
    is_public_key(&point).then_some(point)
}

/// Whether `point` is a P-256 public key: uncompressed, on the curve, not the point at infinity (7.1.4).
#[must_use]
pub fn is_public_key(point: &Point) -> bool {
    public_key(point).is_some()
}

/// ECDH (7.1, DH) of a private scalar and a point. `None` for a scalar outside the curve's order, or a point off the curve.
#[must_use]
pub fn agree(scalar: &[u8; 32], point: &Point) -> Option<Agreed> {
    let secret = SecretKey::from_slice(scalar).ok()?;
    let agreed = ecdh::diffie_hellman(secret.to_nonzero_scalar(), public_key(point)?.as_affine());
    Some(Zeroizing::new((*agreed.raw_secret_bytes()).into()))
}

/// Opens a message to the receiver with the public key `to`, whose private half has `agreed` with the message's encapsulated key.
/// `None` when any bit is another one.
#[must_use]
pub fn open(agreed: &Agreed, to: &Point, info: &[u8], aad: &[u8], message: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (enc, sealed) = message.split_first_chunk::<65>()?;
    let (key, nonce) = schedule(&decapsulated(agreed, enc, to)?, info)?;
    let text = Payload { msg: sealed, aad };
    let cipher = ChaCha20Poly1305::new(&Key::from(*key));
    cipher.decrypt(&Nonce::from(*nonce), text).ok().map(Zeroizing::new)
}

/// DHKEM's ExtractAndExpand (4.1): the shared secret of sender and receiver.
fn decapsulated(agreed: &Agreed, enc: &Point, to: &Point) -> Option<Agreed> {
    let suite = [b"KEM", &KEM[..]].concat();
    let prk = extract(&suite, b"", b"eae_prk", agreed.as_slice());
    expand(&suite, &prk, b"shared_secret", &[&enc[..], to].concat())
}

/// KeySchedule without a pre-shared key (5.1): the key, and the nonce of the first message.
fn schedule(shared: &Agreed, info: &[u8]) -> Option<(Agreed, Zeroizing<[u8; 12]>)> {
    let suite = [b"HPKE", &KEM[..], &KDF, &AEAD].concat();
    let mut context = vec![MODE];
    context.extend_from_slice(extract(&suite, b"", b"psk_id_hash", b"").as_slice());
    context.extend_from_slice(extract(&suite, b"", b"info_hash", info).as_slice());
    let secret = extract(&suite, shared.as_slice(), b"secret", b"");
    Some((
        expand(&suite, &secret, b"key", &context)?,
        expand(&suite, &secret, b"base_nonce", &context)?,
    ))
}

/// LabeledExtract (4).
fn extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> Agreed {
    let ikm = Zeroizing::new([b"HPKE-v1", suite, label, ikm].concat());
    Zeroizing::new(Hkdf::<Sha256>::extract(Some(salt), &ikm).0.into())
}

/// LabeledExpand (4).
fn expand<const N: usize>(suite: &[u8], prk: &Agreed, label: &[u8], info: &[u8]) -> Option<Zeroizing<[u8; N]>> {
    let length = u16::try_from(N).ok()?.to_be_bytes();
    let info = [&length[..], b"HPKE-v1", suite, label, info].concat();
    let mut out = Zeroizing::new([0; N]);
    Hkdf::<Sha256>::from_prk(prk.as_slice())
        .ok()?
        .expand(&info, out.as_mut_slice())
        .ok()?;
    Some(out)
}

/// Of the uncompressed form alone: a point has one text in a file.
fn public_key(point: &Point) -> Option<PublicKey> {
    (point[0] == 4).then(|| PublicKey::from_sec1_bytes(point).ok()).flatten()
}
