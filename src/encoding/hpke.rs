//! Opening what HPKE sealed (RFC 9180) where the private half may be on a card that does the ECDH and nothing else.
//!
//! Base mode, single shot, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. A message is the encapsulated key (65 bytes), the
//! ciphertext, its tag (16). The `hpke` crate, which seals, opens with the private key's bytes alone; so from the agreement on opening
//! is done here, for every kind of key.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use p256::elliptic_curve::ops::{Invert, ReduceNonZero};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{FieldBytes, NonZeroScalar, PublicKey, SecretKey, ecdh};
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
    Some(x_of(&Zeroizing::new(secret.to_nonzero_scalar()), &public_key(point)?))
}

/// The x coordinate of a multiple, in constant time.
fn x_of(scalar: &NonZeroScalar, point: &PublicKey) -> Agreed {
    let multiple = ecdh::diffie_hellman(scalar, point.as_affine());
    Zeroizing::new((*multiple.raw_secret_bytes()).into())
}

/// An agreement that others may hear. A message's encapsulated key is the same each time: whoever heard once what a card agreed with it
/// could open the message again. So another point goes to the card, a random multiple of it; from what comes back, its own x coordinate is
/// had by the multiplier alone, which never leaves.
pub struct Blind {
    point: Point,
    back: Zeroizing<NonZeroScalar>,
}

impl Blind {
    /// Hides the encapsulated key `point` by 32 random bytes. `None` for a point off the curve.
    #[must_use]
    pub fn over(point: &Point, random: &Agreed) -> Option<Self> {
        let by = Zeroizing::new(NonZeroScalar::reduce_nonzero(&FieldBytes::from(**random)));
        let hidden = public_key(point)?.to_projective() * **by;
        let hidden = PublicKey::from_affine(hidden.to_affine()).ok()?;
        Some(Self {
            point: hidden.to_sec1_point(false).as_bytes().try_into().ok()?,
            back: Zeroizing::new(by.invert()),
        })
    }

    /// What goes to the card.
    #[must_use]
    pub fn point(&self) -> &Point {
        &self.point
    }

    /// What the card would have agreed with the encapsulated key itself, from what it agreed with [`Blind::point`]. `None` where no point
    /// has that x coordinate; another one's answer gives something that opens nothing.
    #[must_use]
    pub fn lift(&self, agreed: &Agreed) -> Option<Agreed> {
        // Either y does: a point and its negative have the same multiples but for the sign, and so the same x (SEC 1, 2.3.4: 02 is the even one).
        let mut even = Zeroizing::new([2; 33]);
        even[1..].copy_from_slice(agreed.as_slice());
        let lifted = PublicKey::from_sec1_bytes(even.as_slice()).ok()?;
        Some(x_of(&self.back, &lifted))
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Multiples of the base point by 1, 2 and so on.
    fn keys() -> impl Iterator<Item = ([u8; 32], Point)> {
        (1..=16).map(|n| {
            let mut scalar = [0; 32];
            scalar[31] = n;
            let public_key = SecretKey::from_slice(&scalar).unwrap().public_key();
            (scalar, public_key.to_sec1_point(false).as_bytes().try_into().unwrap())
        })
    }

    fn bytes(n: u8) -> Agreed {
        Zeroizing::new([n; 32])
    }

    #[test]
    fn t02_what_is_agreed_with_a_hidden_point_is_what_would_be_with_the_point_itself() {
        let (_, enc) = keys().nth(6).unwrap();
        // 00 and FF: multipliers that are taken modulo the order.
        for (n, (scalar, _)) in keys().enumerate() {
            for random in [0, 1, 0x7f, 0xff, u8::try_from(n).unwrap()] {
                let blind = Blind::over(&enc, &bytes(random)).unwrap();
                let heard = agree(&scalar, blind.point()).unwrap();
                assert_eq!(blind.lift(&heard), agree(&scalar, &enc), "{n} {random}");
            }
        }
    }

    #[test]
    fn t02_two_agreements_over_one_point_are_told_apart_and_the_answer_to_one_serves_no_other() {
        let (scalar, enc) = keys().last().unwrap();
        let [once, again] = [5, 6].map(|random| Blind::over(&enc, &bytes(random)).unwrap());
        assert!(enc != *once.point() && enc != *again.point() && once.point() != again.point());
        let heard = agree(&scalar, once.point()).unwrap();
        let agreed = agree(&scalar, &enc);
        assert_eq!(once.lift(&heard), agreed);
        assert_ne!(again.lift(&heard), agreed);
        assert_ne!(Some(&heard), agreed.as_ref());
    }

    #[test]
    fn no_point_off_the_curve_goes_out_and_none_comes_in() {
        let mut off = keys().next().unwrap().1;
        off[64] ^= 1;
        assert!(Blind::over(&off, &bytes(1)).is_none());
        let blind = Blind::over(&keys().next().unwrap().1, &bytes(1)).unwrap();
        let without_a_point = (0..=u8::MAX).map(bytes).find(|x| blind.lift(x).is_none());
        assert!(without_a_point.is_some());
        assert!(blind.lift(&bytes(0xff)).is_none(), "not below the field's order");
    }
}
