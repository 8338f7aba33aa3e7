//! An authenticator in software, for the tests of vault, lease and audit: real signatures, real hmac-secret outputs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner};
use sha2::{Digest as _, Sha256};

use super::ctap::get_assertion::RawAssertion;
use super::enrolled::{Credential, EnrolledKey, Link, Profile};
use super::proof::{Expected, Proof, verify};
use crate::encoding::sshsig::{FLAG_ED, FLAG_UP, FLAG_UV, Namespace, Point, RP_ID, client_data_hash};
use crate::secret::Secret;

/// A key whose secrets are derived from a seed.
pub struct SoftKey {
    enrolled: EnrolledKey,
    signer: SigningKey,
    cred_random: [u8; 32],
}

impl SoftKey {
    /// A key that was enrolled as `name`; one seed makes one key.
    pub fn new(name: &str, profile: Profile, seed: u8) -> Self {
        let (signer, lease) = credential("lease", seed);
        Self {
            enrolled: EnrolledKey {
                name: name.into(),
                profile,
                lease,
                which: credential("which", seed).1,
            },
            signer,
            cred_random: secret("cred_random", seed),
        }
    }

    /// As the roster describes it.
    pub fn enrolled(&self) -> EnrolledKey {
        self.enrolled.clone()
    }

    /// A touch (and the PIN, where the profile asks for it) over `text`.
    pub fn touch(&self, namespace: Namespace, text: &[u8], salts: &[[u8; 32]]) -> Proof {
        let expected = Expected {
            key: &self.enrolled,
            link: Link::Usb,
            namespace,
            text,
            salts: salts.len(),
        };
        let outputs = salts.iter().map(|salt| self.hmac_secret(salt)).collect();
        verify(&self.answer(namespace, text), outputs, &expected).expect("a soft key answers well")
    }

    fn answer(&self, namespace: Namespace, text: &[u8]) -> RawAssertion {
        let uv = if self.enrolled.profile == Profile::Pin { FLAG_UV } else { 0 };
        let mut auth_data = Sha256::digest(RP_ID).to_vec();
        auth_data.extend([FLAG_UP | FLAG_ED | uv, 0, 0, 0, 1]);
        // A CBOR map of one member, as keys answer for hmac-secret.
        auth_data.extend([&[0xa1, 0x6b][..], b"hmac-secret", &[0x41, 0]].concat());
        let signed = [&auth_data[..], &client_data_hash(namespace, text).0].concat();
        let signature: Signature = self.signer.sign_prehash(&Sha256::digest(signed)).unwrap();
        RawAssertion {
            credential: Some(self.enrolled.lease.id.clone()),
            auth_data,
            signature: signature.to_der().as_bytes().to_vec(),
        }
    }

    /// CTAP 2.1, 12.5: HMAC-SHA-256(CredRandom, salt), with another CredRandom under user verification.
    fn hmac_secret(&self, salt: &[u8; 32]) -> Secret {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.cred_random).unwrap();
        mac.update(&[u8::from(self.enrolled.profile == Profile::Pin)]);
        mac.update(salt);
        Secret::from_slice_wiping(&mut mac.finalize().into_bytes()).unwrap()
    }
}

fn credential(purpose: &str, seed: u8) -> (SigningKey, Credential) {
    let key = SigningKey::from_slice(&secret(purpose, seed)).unwrap();
    let public_key: Point = key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap();
    let id = secret(&format!("{purpose} id"), seed).to_vec();
    (key, Credential { id, public_key })
}

fn secret(purpose: &str, seed: u8) -> [u8; 32] {
    Sha256::new_with_prefix(purpose).chain_update([seed]).finalize().into()
}
