//! The proof that somebody touched an enrolled key for exactly these bytes.

use std::fmt;

use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zeroize::Zeroize;

use super::candidate::{Sealed, Unseal};
use super::ctap::get_assertion::RawAssertion;
use super::enrolled::{EnrolledKey, KeyId, Link, Profile};
use crate::encoding::Digest;
use crate::encoding::es256::{self, Signature};
use crate::encoding::hpke::Agreed;
use crate::encoding::naming;
use crate::encoding::sshsig::{self, Assertion, FLAG_UV, Namespace, Point, RP_ID, SshsigError};
use crate::secret::Secret;

/// A touch (and PIN, where the profile says so) on an enrolled key, for one text in one namespace.
///
/// [`verify`], [`verify_piv`] and [`verify_signer`] are the only makers. Nobody can write one down, copy one, or change one:
///
/// ```compile_fail
/// use touchlease::device::proof::Proof;
/// fn forged(proof: Proof) -> Proof {
///     Proof { ..proof }
/// }
/// ```
///
/// ```compile_fail
/// use touchlease::device::proof::Proof;
/// fn reused(proof: &Proof) -> Proof {
///     proof.clone()
/// }
/// ```
///
/// ```compile_fail
/// use touchlease::device::proof::Proof;
/// fn default() -> Proof {
///     Default::default()
/// }
/// ```
///
/// ```compile_fail
/// use touchlease::device::proof::Proof;
/// fn read(text: &str) -> Proof {
///     serde_json::from_str(text).unwrap()
/// }
/// ```
///
/// The same compiles where nobody gets a second one, so it is that to which the compiler objects:
///
/// ```
/// use touchlease::device::proof::Proof;
/// fn kept(proof: Proof) -> Proof {
///     proof
/// }
/// fn lent(proof: &Proof) -> &Proof {
///     proof.clone()
/// }
/// fn none() -> Option<Proof> {
///     Default::default()
/// }
/// fn text(text: &str) -> String {
///     serde_json::from_str(text).unwrap()
/// }
/// ```
#[derive(Debug)]
pub struct Proof {
    key: KeyId,
    name: String,
    profile: Profile,
    link: Link,
    public_key: Point,
    namespace: Namespace,
    text: Digest,
    evidence: Evidence,
    outputs: Vec<Secret>,
}

/// What shows the touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The key's own word, in what it signed: user present.
    Assertion(Assertion),
    /// A signature over the text, by a slot whose touch policy is "always".
    Signature(Signature),
    /// What is sealed to a slot whose touch policy is "always" opened. That it was asked for this text is the daemon's word: nothing is
    /// signed.
    Opening,
    /// A signature by a signer's key in hardware, whose touch policy is "always", over what it makes: that names the text.
    Signed(SignedMessage),
}

/// What a signer's key in hardware signed in the place of the text, and its signature. Whoever has both has the token, or the certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedMessage {
    /// The signer's public key.
    pub by: Point,
    /// What was signed.
    pub message: Vec<u8>,
    /// By which signature.
    pub signature: Signature,
}

impl fmt::Debug for SignedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedMessage").finish_non_exhaustive()
    }
}

impl Drop for SignedMessage {
    fn drop(&mut self) {
        self.message.zeroize();
        self.signature.zeroize();
    }
}

/// What an answer must be, to be a proof.
pub struct Expected<'a> {
    /// By which key.
    pub key: &'a EnrolledKey,
    /// How it was reached.
    pub link: Link,
    /// For what.
    pub namespace: Namespace,
    /// Over which bytes.
    pub text: &'a [u8],
    /// What it was asked to unseal.
    pub unseals: &'a [Unseal],
}

/// What a PIV key answers, unchecked.
#[derive(Debug, Default)]
pub struct PivAnswer {
    /// What the ECDH of each message gave, in their order.
    pub agreed: Vec<Agreed>,
    /// The signature over the text in DER, where one was asked for.
    pub signature: Option<Vec<u8>>,
}

/// Why an assertion is no proof.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ProofError {
    /// The authenticator data are malformed.
    #[error("malformed authenticator data")]
    Form,
    /// The key names another credential than the one that was asked.
    #[error("answered with another credential")]
    OtherCredential,
    /// rpIdHash is not that of `touchlease:lease`.
    #[error("signed for another relying party")]
    OtherParty,
    /// Another key's signature, or over another text: an old challenge, a foreign request.
    #[error("the signature is not this key's over this request")]
    Signature,
    /// UP is not set in the signed data.
    #[error("no touch in the signed data")]
    NotTouched,
    /// UV is not set in the signed data, though the key was enrolled with its PIN.
    #[error("no PIN in the signed data")]
    NotVerified,
    /// UV is set for a key enrolled without PIN: its hmac-secret output is another one. The key now verifies by itself (alwaysUv).
    #[error("the key verified its person, which it was not enrolled with")]
    Verified,
    /// Not as many outputs as there was to unseal, or of another kind than the key has.
    #[error("a wrong number of unsealing outputs")]
    Outputs,
    /// What is sealed to the slot does not open with what the key gave: another slot's key, or a damaged file.
    #[error("what is sealed to the key does not open with its answer")]
    NotOpened,
    /// What a signer's key was to sign does not name the request.
    #[error("what was signed does not name this request")]
    Unnamed,
    /// There is no locked memory.
    #[error("there is no locked memory")]
    Memory,
}

/// Checks a key's raw answer; `outputs` are its hmac-secret outputs in the order of the salts.
///
/// # Errors
/// The first thing found wrong; the outputs are wiped.
pub fn verify(raw: &RawAssertion, outputs: Vec<Secret>, expected: &Expected<'_>) -> Result<Proof, ProofError> {
    let key = expected.key;
    let lease = &key.fido2().ok_or(ProofError::OtherCredential)?.lease;
    let assertion = check(raw, &lease.id, RP_ID)?;
    let uv = key.profile == Profile::Pin;
    assertion
        .verify(&lease.public_key, expected.namespace, expected.text, uv)
        .map_err(|error| match error {
            SshsigError::NotTouched => ProofError::NotTouched,
            SshsigError::NotVerified => ProofError::NotVerified,
            SshsigError::Flags => ProofError::Form,
            _ => ProofError::Signature,
        })?;
    if !uv && assertion.flags & FLAG_UV != 0 {
        return Err(ProofError::Verified);
    }
    if outputs.len() != expected.unseals.len() || outputs.iter().any(|output| output.len() != 32) {
        return Err(ProofError::Outputs);
    }
    Ok(proof(expected, Evidence::Assertion(assertion), outputs))
}

/// Checks what a PIV key answered: what it agreed has to open what is sealed to it, and its signature has to be over the text. PIN and
/// touch are its slots' policies, without which no key is enrolled; without a signature only a lease is approved.
///
/// # Errors
/// The first thing found wrong.
pub fn verify_piv(answer: &PivAnswer, expected: &Expected<'_>) -> Result<Proof, ProofError> {
    let key = expected.key.piv().ok_or(ProofError::OtherCredential)?;
    let evidence = match &answer.signature {
        Some(der) => {
            let signature = es256::from_der(der).ok_or(ProofError::Signature)?;
            let blob = sshsig::signed_blob(expected.namespace, expected.text);
            es256::verify(&key.sign.public_key, &blob, &signature).map_err(|_| ProofError::Signature)?;
            Evidence::Signature(signature)
        }
        None if expected.namespace != Namespace::Lease => return Err(ProofError::Signature),
        None if expected.unseals.is_empty() => return Err(ProofError::Outputs),
        None => Evidence::Opening,
    };
    if answer.agreed.len() != expected.unseals.len() {
        return Err(ProofError::Outputs);
    }
    let opened = expected.unseals.iter().zip(&answer.agreed).map(|(unseal, agreed)| match unseal {
        Unseal::Sealed(sealed) if sealed.to == key.open.public_key => open(sealed, agreed),
        _ => Err(ProofError::Outputs),
    });
    let outputs = opened.collect::<Result<_, _>>()?;
    Ok(proof(expected, evidence, outputs))
}

/// Checks what a signer's key in hardware signed: by `by`, and naming the text. PIN and touch are its slot's policies, without which no such
/// signer is made; it opens nothing, and approves a lease alone.
///
/// # Errors
/// The first thing found wrong.
pub fn verify_signer(message: Vec<u8>, der: &[u8], by: &Point, expected: &Expected<'_>) -> Result<Proof, ProofError> {
    if expected.namespace != Namespace::Lease || !expected.unseals.is_empty() {
        return Err(ProofError::Outputs);
    }
    if !naming::names(&message, &Digest::of(expected.text)) {
        return Err(ProofError::Unnamed);
    }
    let signature = es256::from_der(der).ok_or(ProofError::Signature)?;
    es256::verify(by, &message, &signature).map_err(|_| ProofError::Signature)?;
    let signed = SignedMessage {
        by: *by,
        message,
        signature,
    };
    Ok(Proof {
        key: KeyId(Digest::of(by)),
        public_key: *by,
        ..proof(expected, Evidence::Signed(signed), Vec::new())
    })
}

fn open(sealed: &Sealed, agreed: &Agreed) -> Result<Secret, ProofError> {
    let mut plain = sealed.open(agreed).ok_or(ProofError::NotOpened)?;
    Secret::from_slice_wiping(&mut plain).map_err(|_| ProofError::Memory)
}

fn proof(expected: &Expected<'_>, evidence: Evidence, outputs: Vec<Secret>) -> Proof {
    let key = expected.key;
    Proof {
        key: key.id(),
        name: key.name.clone(),
        profile: key.profile,
        link: expected.link,
        public_key: *key.signer(),
        namespace: expected.namespace,
        text: Digest::of(expected.text),
        evidence,
        outputs,
    }
}

/// Takes an answer apart that must be by this credential for this relying party. The signature is not looked at yet.
pub(super) fn check(raw: &RawAssertion, credential: &[u8], rp_id: &str) -> Result<Assertion, ProofError> {
    if raw.credential.as_deref().is_some_and(|id| id != credential) {
        return Err(ProofError::OtherCredential);
    }
    let (extensions, _) = raw.extensions().map_err(|_| ProofError::Form)?;
    if raw.auth_data[..32] != Sha256::digest(rp_id)[..] {
        return Err(ProofError::OtherParty);
    }
    let counter = raw.auth_data[33..37].try_into().map_err(|_| ProofError::Form)?;
    Ok(Assertion {
        flags: raw.auth_data[32],
        counter: u32::from_be_bytes(counter),
        extensions: extensions.to_vec(),
        signature: es256::from_der(&raw.signature).ok_or(ProofError::Signature)?,
    })
}

impl Proof {
    /// Which key was touched.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key
    }

    /// Its name.
    #[must_use]
    pub fn key_name(&self) -> &str {
        &self.name
    }

    /// Its profile, and so whether the PIN was verified.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// How it was reached.
    #[must_use]
    pub fn link(&self) -> Link {
        self.link
    }

    /// What the touch was for.
    #[must_use]
    pub fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// SHA-256 of the text it was for.
    #[must_use]
    pub fn text_digest(&self) -> Digest {
        self.text
    }

    /// What shows the touch.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// What a FIDO2 key signed.
    #[must_use]
    pub fn assertion(&self) -> Option<&Assertion> {
        match &self.evidence {
            Evidence::Assertion(assertion) => Some(assertion),
            Evidence::Signature(_) | Evidence::Opening | Evidence::Signed(_) => None,
        }
    }

    /// What a signer's key in hardware signed.
    #[must_use]
    pub fn signed(&self) -> Option<&SignedMessage> {
        match &self.evidence {
            Evidence::Signed(signed) => Some(signed),
            Evidence::Assertion(_) | Evidence::Signature(_) | Evidence::Opening => None,
        }
    }

    /// The key's signature counter, if it has one: a hint only, it may be constant or shared.
    #[must_use]
    pub fn counter(&self) -> Option<u32> {
        self.assertion().map(|assertion| assertion.counter)
    }

    /// What was unsealed, in the order in which it was asked for: for a salt its hmac-secret output (32 bytes), for what is sealed what
    /// was in it.
    #[must_use]
    pub fn outputs(&self) -> &[Secret] {
        &self.outputs
    }

    /// Whether the touch was for `text`.
    #[must_use]
    pub fn is_over(&self, text: &[u8]) -> bool {
        Digest::of(text) == self.text
    }

    /// The armored SSHSIG over `text`; nothing when `text` is not what was touched for, or nothing was signed.
    #[must_use]
    pub fn sshsig(&self, text: &[u8]) -> Option<String> {
        match &self.evidence {
            _ if !self.is_over(text) => None,
            Evidence::Assertion(assertion) => Some(assertion.to_sshsig(&self.public_key, self.namespace, text)),
            Evidence::Signature(signature) => Some(sshsig::ecdsa::armored(&self.public_key, self.namespace, signature)),
            Evidence::Opening | Evidence::Signed(_) => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use p256::ecdsa::signature::hazmat::PrehashSigner;
    use p256::ecdsa::{self, SigningKey};

    use super::super::enrolled::{Credential, Fido2, Kind};
    use super::*;
    use crate::encoding::sshsig::{FLAG_UP, client_data_hash};

    const TEXT: &[u8] = b"{\"task\":\"deploy\"}";

    fn software_key(seed: u8) -> (SigningKey, Credential) {
        let key = SigningKey::from_slice(&[seed; 32]).unwrap();
        let public_key = key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap();
        (
            key,
            Credential {
                id: vec![seed; 16],
                public_key,
            },
        )
    }

    fn enrolled(profile: Profile) -> EnrolledKey {
        EnrolledKey {
            name: "blue".into(),
            profile,
            kind: Kind::Fido2(Fido2 {
                lease: software_key(1).1,
                which: software_key(2).1,
            }),
        }
    }

    fn raw(seed: u8, rp_id: &str, flags: u8, hash: [u8; 32]) -> RawAssertion {
        let mut auth_data = Sha256::digest(rp_id).to_vec();
        auth_data.extend([flags, 0, 0, 0, 9]);
        let signed = Sha256::digest([&auth_data[..], &hash].concat());
        let signature: ecdsa::Signature = software_key(seed).0.sign_prehash(&signed).unwrap();
        RawAssertion {
            credential: Some(vec![1; 16]),
            auth_data,
            signature: signature.to_der().as_bytes().to_vec(),
        }
    }

    fn hash() -> [u8; 32] {
        client_data_hash(Namespace::Lease, TEXT).0
    }

    /// With outputs of these lengths, for one salt.
    fn judge_with(raw: &RawAssertion, profile: Profile, outputs: &[usize]) -> Result<Proof, ProofError> {
        let key = enrolled(profile);
        let expected = Expected {
            key: &key,
            link: Link::Usb,
            namespace: Namespace::Lease,
            text: TEXT,
            unseals: &[Unseal::Salt([0; 32])],
        };
        let outputs = outputs.iter().map(|len| Secret::zeroed(*len).unwrap()).collect();
        verify(raw, outputs, &expected)
    }

    fn judge(raw: &RawAssertion, profile: Profile) -> Result<Proof, ProofError> {
        judge_with(raw, profile, &[32])
    }

    #[test]
    fn a_touch_on_the_enrolled_key_for_this_text_is_a_proof_and_becomes_its_receipt() {
        let proof = judge(&raw(1, RP_ID, FLAG_UP, hash()), Profile::TouchOnly).unwrap();
        assert_eq!(
            (proof.key_id(), proof.key_name(), proof.counter()),
            (enrolled(Profile::Pin).id(), "blue", Some(9))
        );
        let receipt = proof.sshsig(TEXT).unwrap();
        let (point, assertion) = Assertion::from_sshsig(&receipt, Namespace::Lease, TEXT).unwrap();
        assert_eq!(proof.evidence(), &Evidence::Assertion(assertion));
        assert_eq!(point, software_key(1).1.public_key);
        assert_eq!(proof.sshsig(b"another text"), None);
        assert!(judge(&raw(1, RP_ID, FLAG_UP | FLAG_UV, hash()), Profile::Pin).is_ok());
    }

    #[test]
    fn t02_a_signature_without_touch_is_refused() {
        assert_eq!(
            judge(&raw(1, RP_ID, 0, hash()), Profile::TouchOnly).err(),
            Some(ProofError::NotTouched)
        );
    }

    #[test]
    fn t02_a_signature_without_pin_is_refused_where_the_profile_says_pin() {
        assert_eq!(
            judge(&raw(1, RP_ID, FLAG_UP, hash()), Profile::Pin).err(),
            Some(ProofError::NotVerified)
        );
    }

    #[test]
    fn t02_a_wrong_relying_party_is_refused() {
        assert_eq!(
            judge(&raw(1, "example.org", FLAG_UP, hash()), Profile::TouchOnly).err(),
            Some(ProofError::OtherParty)
        );
    }

    #[test]
    fn t02_a_wrong_credential_is_refused() {
        let mut answer = raw(1, RP_ID, FLAG_UP, hash());
        answer.credential = Some(vec![2; 16]);
        assert_eq!(judge(&answer, Profile::TouchOnly).err(), Some(ProofError::OtherCredential));
        answer.credential = None;
        assert!(
            judge(&answer, Profile::TouchOnly).is_ok(),
            "a key may leave it out when it was asked for one"
        );
    }

    #[test]
    fn t02_a_foreign_signature_is_refused() {
        assert_eq!(
            judge(&raw(2, RP_ID, FLAG_UP, hash()), Profile::TouchOnly).err(),
            Some(ProofError::Signature)
        );
    }

    #[test]
    fn t02_a_stale_challenge_or_one_of_another_namespace_is_refused() {
        for hash in [
            client_data_hash(Namespace::Lease, b"yesterday"),
            client_data_hash(Namespace::Vault, TEXT),
        ] {
            assert_eq!(
                judge(&raw(1, RP_ID, FLAG_UP, hash.0), Profile::TouchOnly).err(),
                Some(ProofError::Signature)
            );
        }
    }

    #[test]
    fn t02_flags_changed_after_signing_are_refused() {
        let mut answer = raw(1, RP_ID, 0, hash());
        answer.auth_data[32] = FLAG_UP;
        assert_eq!(judge(&answer, Profile::TouchOnly).err(), Some(ProofError::Signature));
    }

    #[test]
    fn t08_a_key_that_now_verifies_by_itself_is_told_apart_from_a_wrong_key() {
        let answer = raw(1, RP_ID, FLAG_UP | FLAG_UV, hash());
        assert_eq!(judge(&answer, Profile::TouchOnly).err(), Some(ProofError::Verified));
    }

    #[test]
    fn outputs_must_be_as_many_as_salts_and_32_bytes_long() {
        let answer = raw(1, RP_ID, FLAG_UP, hash());
        for outputs in [&[][..], &[16], &[32, 32]] {
            let judged = judge_with(&answer, Profile::TouchOnly, outputs);
            assert_eq!(judged.err(), Some(ProofError::Outputs));
        }
    }

    #[test]
    fn t02_what_a_signers_key_signed_is_a_proof_only_where_it_names_the_text_and_is_by_that_key() {
        let key = enrolled(Profile::Pin);
        let (signer, public) = software_key(5);
        let named = |text: &[u8]| {
            let mut body = Vec::new();
            sshsig::put(&mut body, b"kind");
            sshsig::put(&mut body, &Digest::of(text).0);
            body
        };
        let judge = |message: Vec<u8>, signed: &[u8], namespace, by: &Point| {
            let signature: ecdsa::Signature = signer.sign_prehash(&Sha256::digest(signed)).unwrap();
            let expected = Expected {
                key: &key,
                link: Link::Contact,
                namespace,
                text: TEXT,
                unseals: &[],
            };
            verify_signer(message, signature.to_der().as_bytes(), by, &expected)
        };
        let (good, by) = (named(TEXT), public.public_key);
        let proof = judge(good.clone(), &good, Namespace::Lease, &by).unwrap();
        assert_eq!(proof.key_id(), KeyId(Digest::of(&by)));
        assert_eq!((proof.sshsig(TEXT), &proof.signed().unwrap().message), (None, &good));
        assert!(!format!("{proof:?}").contains("kind"), "what was signed is in no log");
        let other = named(b"yesterday");
        for (refused, why) in [
            (judge(other.clone(), &other, Namespace::Lease, &by), ProofError::Unnamed),
            (judge(good.clone(), &other, Namespace::Lease, &by), ProofError::Signature),
            (
                judge(good.clone(), &good, Namespace::Lease, &software_key(1).1.public_key),
                ProofError::Signature,
            ),
            (judge(good.clone(), &good, Namespace::Change, &by), ProofError::Outputs),
        ] {
            assert_eq!(refused.err(), Some(why));
        }
    }
}
