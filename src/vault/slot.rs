//! Slots: the ways into a scope. What is sealed to a slot's public key, and where its private half lies.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::DhP256HkdfSha256;
use hpke::{Deserializable, Kem as _, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal_with_rng};
use serde::Serialize;
use zeroize::Zeroizing;

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

/// The private half of a slot's pair: a P-256 scalar, wiped when dropped.
pub struct Private(Key);

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
        let ikm = Zeroizing::new(random::bytes::<32>(random));
        let (private, public) = Kem::derive_keypair(ikm.as_slice());
        Self::from_kem(private, &public)
    }

    pub(super) fn from_kem(private: <Kem as hpke::Kem>::PrivateKey, public: &<Kem as hpke::Kem>::PublicKey) -> (Self, Point) {
        let mut scalar = Key::default();
        private.write_exact(scalar.as_mut_slice());
        (Self(scalar), public.to_bytes().into())
    }

    pub(super) fn scalar(&self) -> &[u8; 32] {
        &self.0
    }

    fn kem(&self) -> Option<<Kem as hpke::Kem>::PrivateKey> {
        Deserializable::from_bytes(self.0.as_slice()).ok()
    }

    fn public(&self) -> Option<Point> {
        Some(Kem::sk_to_pk(&self.kem()?).to_bytes().into())
    }
}

/// Whether `point` is a P-256 public key: uncompressed, on the curve, not the point at infinity (RFC 9180, 7.1.4).
#[must_use]
pub fn is_public_key(point: &Point) -> bool {
    <Kem as hpke::Kem>::PublicKey::from_bytes(point).is_ok()
}

/// Seals a scope key to a slot: HPKE base mode, [`SEALED_LEN`] bytes. `None` when `point` is not on the curve.
pub fn seal_scope_key(place: &Place, epoch: u64, point: &Point, key: &Key, random: &mut Random) -> Option<Vec<u8>> {
    let point = Deserializable::from_bytes(point).ok()?;
    let aad = aad(place, epoch)?;
    let (enc, sealed) = single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeS::Base,
        &point,
        INFO,
        key.as_slice(),
        &aad,
        &mut &mut *random,
    )
    .ok()?;
    Some([&SEALED[..], &enc.to_bytes(), &sealed].concat())
}

/// Opens what [`seal_scope_key`] made. The caller checks the commitment: base mode says nothing about who sealed.
#[must_use]
pub fn open_scope_key(place: &Place, epoch: u64, private: &Private, sealed: &[u8]) -> Option<Key> {
    let (enc, sealed) = sealed.strip_prefix(SEALED)?.split_at_checked(65)?;
    let enc = Deserializable::from_bytes(enc).ok()?;
    let aad = aad(place, epoch)?;
    let opened = single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(&OpModeR::Base, &private.kem()?, &enc, INFO, sealed, &aad).ok()?;
    let opened = Zeroizing::new(opened);
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
    let private = Private(Key::new(scalar.try_into().ok()?));
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
    use data_encoding::HEXLOWER;

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

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    /// RFC 9180, A.5.1: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode.
    #[test]
    fn t59_rfc_9180_a_5_1_opens_and_its_pairs_derive() {
        let ikm = hex("61092f3f56994dd424405899154a9918353e3e008171517ad576b900ddb275e7");
        let (private, public) = Kem::derive_keypair(&ikm);
        let (private, public) = Private::from_kem(private, &public);
        assert_eq!(
            private.0.as_slice(),
            hex("a4d1c55836aa30f9b3fbb6ac98d338c877c2867dd3a77396d13f68d3ab150d3b")
        );
        assert_eq!(
            public.to_vec(),
            hex(
                "04a697bffde9405c992883c5c439d6cc358170b51af72812333b015621dc0f40bad9bb726f68a5c013806a790ec716ab8669f84f6b694596c2987cf35baba2a006"
            )
        );
        let enc = hex(
            "04c07836a0206e04e31d8ae99bfd549380b072a1b1b82e563c935c095827824fc1559eac6fb9e3c70cd3193968994e7fe9781aa103f5b50e934b5b2f387e381291",
        );
        let opened = single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
            &OpModeR::Base,
            &private.kem().unwrap(),
            &Deserializable::from_bytes(&enc).unwrap(),
            &hex("4f6465206f6e2061204772656369616e2055726e"),
            &hex("6469c41c5c81d3aa85432531ecf6460ec945bde1eb428cb2fedf7a29f5a685b4ccb0d057f03ea2952a27bb458b"),
            &hex("436f756e742d30"),
        )
        .unwrap();
        assert_eq!(opened, b"Beauty is truth, truth beauty");
    }

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
