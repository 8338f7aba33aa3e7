//! Slots: the ways into a scope. What is sealed to a slot's public key, and where its private half lies.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::DhP256HkdfSha256;
use hpke::{Deserializable, Kem as _, OpModeS, Serializable, single_shot_seal_with_rng};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::device::candidate::Sealed;
use crate::encoding::hpke::{agree, encapsulated, open};
use crate::encoding::{Digest, jcs, sshsig::Point};

use super::bytes::Id;
use super::crypto::{self, Key, derive, label};
use super::random::{self, Random};

/// DHKEM(P-256, HKDF-SHA256), RFC 9180, 7.1.
pub type Kem = DhP256HkdfSha256;

const INFO: &[u8] = b"touchlease v1 scope key";
const SEALED: &[u8; 8] = b"TL1seal\n";
const HALF: &[u8; 8] = b"TL1half\n";
/// Bytes of a sealed scope key: 8 of header, 65 of encapsulated key, 32 of key, 16 of tag.
pub const SEALED_LEN: usize = 8 + 65 + 32 + 16;
/// Bytes of a sealed private half: 8 of header, 24 of nonce, 32 of vault id, 32 of scalar, 16 of tag.
pub const HALF_LEN: usize = 8 + crypto::NONCE + 64 + crypto::TAG;

/// Where a slot belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The vault.
    pub vault: Digest,
    /// The scope.
    pub scope: Id,
    /// The slot.
    pub slot: Id,
}

/// The private half of a slot's pair: a P-256 scalar, wiped when dropped, and in one place until then.
pub struct Private(Box<Key>);

/// What ties a private half to the credential that unseals it.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// Credential id of the key's `touchlease:lease` credential.
    pub credential: &'a [u8],
    /// `pin` or `touch-only`: hmac-secret answers differently with and without the PIN.
    pub profile: &'a str,
}

impl Private {
    /// A fresh pair.
    pub fn generate(random: &mut Random) -> (Self, Point) {
        Self::derive(Zeroizing::new(random::bytes::<32>(random)).as_slice())
    }

    /// The pair that `ikm` stands for: RFC 9180, 7.1.3, DeriveKeyPair.
    #[must_use]
    pub fn derive(ikm: &[u8]) -> (Self, Point) {
        let (private, public) = Kem::derive_keypair(ikm);
        let mut scalar = Box::<Key>::default();
        private.write_exact(scalar.as_mut_slice());
        (Self(scalar), public.to_bytes().into())
    }

    /// The scalar, 32 bytes, big-endian.
    #[must_use]
    pub fn scalar(&self) -> &[u8; 32] {
        &self.0
    }

    fn public(&self) -> Option<Point> {
        let private = <Kem as hpke::Kem>::PrivateKey::from_bytes(self.0.as_slice()).ok()?;
        Some(Kem::sk_to_pk(&private).to_bytes().into())
    }
}

/// HPKE base mode, single shot (RFC 9180, 6.1), with ChaCha20-Poly1305: the encapsulated key (65 bytes), the ciphertext, its tag (16).
/// `None` when `point` is not on the curve.
pub fn seal_base(point: &Point, info: &[u8], aad: &[u8], plain: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let point = Deserializable::from_bytes(point).ok()?;
    let (enc, sealed) =
        single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(&OpModeS::Base, &point, info, plain, aad, &mut &mut *random).ok()?;
    Some([&enc.to_bytes()[..], &sealed].concat())
}

/// Opens what [`seal_base`] made.
#[must_use]
pub fn open_base(private: &Private, info: &[u8], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let agreed = agree(&private.0, &encapsulated(sealed)?)?;
    open(&agreed, &private.public()?, info, aad, sealed)
}

/// Seals a scope key to a slot: HPKE base mode, [`SEALED_LEN`] bytes. `None` when `point` is not on the curve.
pub fn seal_scope_key(place: &Place, epoch: u64, point: &Point, key: &Key, random: &mut Random) -> Option<Vec<u8>> {
    let sealed = seal_base(point, INFO, &aad(place, epoch)?, key.as_slice(), random)?;
    Some([&SEALED[..], &sealed].concat())
}

/// What is sealed to a slot whose private half is on a card: what the card is asked to open.
#[must_use]
pub fn sealed_scope_key(place: &Place, epoch: u64, to: &Point, sealed: &[u8]) -> Option<Sealed> {
    Some(Sealed {
        to: *to,
        info: INFO.to_vec(),
        aad: aad(place, epoch)?,
        message: sealed.strip_prefix(SEALED)?.to_vec(),
    })
}

/// Opens what [`seal_scope_key`] made. The caller checks the commitment: base mode says nothing about who sealed.
#[must_use]
pub fn open_scope_key(place: &Place, epoch: u64, private: &Private, sealed: &[u8]) -> Option<Key> {
    let opened = open_base(private, INFO, &aad(place, epoch)?, sealed.strip_prefix(SEALED)?)?;
    Some(Key::new(opened.as_slice().try_into().ok()?))
}

/// Seals a private half under the key's hmac-secret output: [`HALF_LEN`] bytes.
pub fn seal_half(place: &Place, holder: &Holder<'_>, output: &[u8], private: &Private, random: &mut Random) -> Option<Vec<u8>> {
    let mut plain = Zeroizing::new([0; 64]);
    plain[..32].copy_from_slice(&place.vault.0);
    plain[32..].copy_from_slice(private.0.as_slice());
    let mut file = HALF.to_vec();
    crypto::seal(&mut file, &half_key(place, holder, output), HALF, plain.as_slice(), random)?;
    Some(file)
}

/// Opens what [`seal_half`] made; `None` unless vault id and public key inside are those of `place` and `point`.
#[must_use]
pub fn open_half(place: &Place, holder: &Holder<'_>, output: &[u8], point: &Point, file: &[u8]) -> Option<Private> {
    let plain = crypto::open(&half_key(place, holder, output), HALF, file.strip_prefix(HALF)?)?;
    let (vault, scalar) = plain.split_first_chunk::<32>()?;
    if *vault != place.vault.0 {
        return None;
    }
    let mut private = Private(Box::default());
    (scalar.len() == private.0.len()).then(|| private.0.copy_from_slice(scalar))?;
    (private.public()? == *point).then_some(private)
}

fn half_key(place: &Place, holder: &Holder<'_>, output: &[u8]) -> Key {
    let context = [&place.slot.0[..], &place.scope.0, holder.credential, holder.profile.as_bytes()];
    derive(output, &place.vault.0, &label("slot", &context))
}

fn aad(place: &Place, epoch: u64) -> Option<Vec<u8>> {
    #[derive(Serialize)]
    struct Aad {
        epoch: u64,
        scope: Id,
        slot: Id,
        vault: Digest,
    }
    jcs::to_vec(&Aad {
        epoch,
        scope: place.scope,
        slot: place.slot,
        vault: place.vault,
    })
    .ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::bytes::Hex;
    use super::*;

    fn place() -> Place {
        Place {
            vault: Digest::of(b"vault"),
            scope: Hex([1; 16]),
            slot: Hex([2; 16]),
        }
    }

    const HOLDER: Holder<'static> = Holder {
        credential: b"credential",
        profile: "pin",
    };

    #[test]
    fn a_scope_key_opens_only_in_its_place_and_epoch_with_its_pair() {
        let random = &mut random::system();
        let (private, public) = Private::generate(random);
        let sealed = seal_scope_key(&place(), 3, &public, &Key::new([9; 32]), random).unwrap();
        assert_eq!(sealed.len(), SEALED_LEN);
        assert_eq!(open_scope_key(&place(), 3, &private, &sealed).unwrap().as_slice(), [9; 32]);
        assert!(open_scope_key(&place(), 4, &private, &sealed).is_none());
        let elsewhere = Place {
            slot: Hex([3; 16]),
            ..place()
        };
        assert!(open_scope_key(&elsewhere, 3, &private, &sealed).is_none());
        assert!(open_scope_key(&place(), 3, &Private::generate(random).0, &sealed).is_none());
        assert!(seal_scope_key(&place(), 3, &[4; 65], &Key::new([9; 32]), random).is_none());
    }

    #[test]
    fn t53_a_half_opens_only_for_its_vault_slot_credential_profile_output_and_public_key() {
        let random = &mut random::system();
        let (private, public) = Private::generate(random);
        let file = seal_half(&place(), &HOLDER, &[5; 32], &private, random).unwrap();
        assert_eq!(file.len(), HALF_LEN);
        let open = |place: &Place, holder: &Holder<'_>, output, point| open_half(place, holder, output, point, &file).is_some();
        assert!(open(&place(), &HOLDER, &[5; 32], &public));
        let vault = Digest::of(b"other");
        assert!(!open(&Place { vault, ..place() }, &HOLDER, &[5; 32], &public));
        let slot = Hex([0; 16]);
        assert!(!open(&Place { slot, ..place() }, &HOLDER, &[5; 32], &public));
        let scope = Hex([0; 16]);
        assert!(!open(&Place { scope, ..place() }, &HOLDER, &[5; 32], &public));
        let profile = "touch-only";
        assert!(!open(&place(), &Holder { profile, ..HOLDER }, &[5; 32], &public));
        let credential = b"another";
        assert!(!open(&place(), &Holder { credential, ..HOLDER }, &[5; 32], &public));
        assert!(!open(&place(), &HOLDER, &[6; 32], &public));
        assert!(!open(&place(), &HOLDER, &[5; 32], &Private::generate(random).1));
    }
}
