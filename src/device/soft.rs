//! An authenticator in software, for the tests of vault, lease and audit: real signatures, real hmac-secret outputs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::{Signature, SigningKey, signature::Signer, signature::hazmat::PrehashSigner};
use sha2::{Digest as _, Sha256};

use super::candidate::Unseal;
use super::ctap::get_assertion::RawAssertion;
use super::enrolled::{Always, Credential, EnrolledKey, Fido2, Kind, Link, Piv, PivSlot, Profile, Retired, Seen};
use super::proof::{Expected, PivAnswer, Proof, ProofError, verify, verify_piv, verify_signer};
use crate::encoding::hpke;
use crate::encoding::sshsig::{FLAG_ED, FLAG_UP, FLAG_UV, Namespace, Point, RP_ID, client_data_hash, signed_blob};
use crate::secret::Secret;

/// A key whose secrets are derived from a seed.
pub struct SoftKey {
    enrolled: EnrolledKey,
    signer: SigningKey,
    /// CredRandom, or the scalar of the slot that unseals.
    unsealer: [u8; 32],
}

impl SoftKey {
    /// A FIDO2 key that was enrolled as `name`; one seed makes one key.
    pub fn new(name: &str, profile: Profile, seed: u8) -> Self {
        let (signer, lease) = credential("lease", seed);
        let which = credential("which", seed).1;
        Self {
            enrolled: EnrolledKey {
                name: name.into(),
                profile,
                kind: Kind::Fido2(Fido2 { lease, which }),
            },
            signer,
            unsealer: secret("cred_random", seed),
        }
    }

    /// A YubiKey by its PIV application, that was enrolled as `name`.
    pub fn piv(name: &str, seed: u8) -> Self {
        let (signer, sign) = credential("piv sign", seed);
        let slot = |number: usize, public_key| PivSlot {
            slot: Retired::all().nth(number).unwrap(),
            public_key,
            pin: Always::Always,
            touch: Always::Always,
            seen: Seen::Metadata,
        };
        let piv = Piv {
            serial: 24_000_000 + u32::from(seed),
            firmware: [5, 7, 1],
            open: slot(0, credential("piv open", seed).1.public_key),
            sign: slot(1, sign.public_key),
            enrolment: None,
        };
        Self {
            enrolled: EnrolledKey {
                name: name.into(),
                profile: Profile::Pin,
                kind: Kind::Piv(piv),
            },
            signer,
            unsealer: secret("piv open", seed),
        }
    }

    /// As the roster describes it.
    pub fn enrolled(&self) -> EnrolledKey {
        self.enrolled.clone()
    }

    /// A touch (and the PIN, where the profile asks for it) over `text`; by a PIV key as many as it takes, with a signature.
    pub fn touch(&self, namespace: Namespace, text: &[u8], unseals: &[Unseal]) -> Proof {
        let proof = match self.enrolled.kind {
            Kind::Fido2(_) => {
                let outputs = unseals.iter().map(|unseal| self.hmac_secret(unseal)).collect();
                verify(&self.answer(namespace, text), outputs, &self.expected(namespace, text, unseals))
            }
            Kind::Piv(_) => {
                let signature: Signature = self.signer.sign(&signed_blob(namespace, text));
                let answer = PivAnswer {
                    agreed: self.agreed(unseals),
                    signature: Some(signature.to_der().as_bytes().to_vec()),
                };
                verify_piv(&answer, &self.expected(namespace, text, unseals))
            }
        };
        proof.expect("a soft key answers well")
    }

    /// A PIV key's touches that open and sign nothing, for a lease over `text`.
    pub fn opening(&self, text: &[u8], unseals: &[Unseal]) -> Proof {
        let answer = PivAnswer {
            agreed: self.agreed(unseals),
            signature: None,
        };
        verify_piv(&answer, &self.expected(Namespace::Lease, text, unseals)).expect("a soft key answers well")
    }

    /// A signer's key on a card signs `message`, as the touch for `text`.
    ///
    /// # Errors
    /// What is wrong with that.
    pub fn sign(&self, text: &[u8], message: Vec<u8>) -> Result<Proof, ProofError> {
        let signature: Signature = self.signer.sign(&message);
        let der = signature.to_der().as_bytes().to_vec();
        verify_signer(message, &der, self.enrolled.signer(), &self.expected(Namespace::Lease, text, &[]))
    }

    fn expected<'a>(&'a self, namespace: Namespace, text: &'a [u8], unseals: &'a [Unseal]) -> Expected<'a> {
        Expected {
            key: &self.enrolled,
            link: if self.enrolled.piv().is_some() { Link::Contact } else { Link::Usb },
            namespace,
            text,
            unseals,
        }
    }

    fn agreed(&self, unseals: &[Unseal]) -> Vec<hpke::Agreed> {
        let agreed = |unseal: &Unseal| match unseal {
            Unseal::Sealed(sealed) => hpke::agree(&self.unsealer, &sealed.encapsulated().unwrap()).unwrap(),
            Unseal::Salt(_) => panic!("a salt for a PIV key"),
        };
        unseals.iter().map(agreed).collect()
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
            credential: self.enrolled.fido2().map(|fido2| fido2.lease.id.clone()),
            auth_data,
            signature: signature.to_der().as_bytes().to_vec(),
        }
    }

    /// CTAP 2.1, 12.5: HMAC-SHA-256(CredRandom, salt), with another CredRandom under user verification.
    fn hmac_secret(&self, unseal: &Unseal) -> Secret {
        let Unseal::Salt(salt) = unseal else {
            panic!("something sealed for a FIDO2 key");
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.unsealer).unwrap();
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
