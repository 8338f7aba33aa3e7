//! Telling keys apart without a touch: a silent assertion by the `which` credential, which opens nothing.

use super::ctap::get_assertion::RawAssertion;
use super::enrolled::Credential;
use super::proof::check;
use crate::encoding::es256;

/// Relying party of the `which` credentials.
pub const RP_ID: &str = "touchlease:which";

/// Whether `raw` is a signature of this credential over this challenge (a clientDataHash of 32 random bytes).
#[must_use]
pub fn answers(raw: &RawAssertion, credential: &Credential, challenge: &[u8; 32]) -> bool {
    let Ok(assertion) = check(raw, &credential.id, RP_ID) else {
        return false;
    };
    let signed = [&raw.auth_data[..], challenge].concat();
    es256::verify(&credential.public_key, &signed, &assertion.signature).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use p256::ecdsa::signature::hazmat::PrehashSigner;
    use p256::ecdsa::{self, SigningKey};
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn answer(rp_id: &str, challenge: &[u8; 32]) -> (RawAssertion, Credential) {
        let key = SigningKey::from_slice(&[3; 32]).unwrap();
        let mut auth_data = Sha256::digest(rp_id).to_vec();
        auth_data.extend([0; 5]);
        let signature: ecdsa::Signature = key.sign_prehash(&Sha256::digest([&auth_data[..], challenge].concat())).unwrap();
        let public_key = key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap();
        let raw = RawAssertion {
            credential: None,
            auth_data,
            signature: signature.to_der().as_bytes().to_vec(),
        };
        (raw, Credential { id: vec![3], public_key })
    }

    #[test]
    fn t13_only_a_signature_of_this_credential_over_this_challenge_tells_a_key() {
        let (raw, credential) = answer(RP_ID, &[8; 32]);
        assert!(answers(&raw, &credential, &[8; 32]));
        assert!(!answers(&raw, &credential, &[9; 32]), "a replay");
        let stranger = Credential {
            public_key: [4; 65],
            ..credential.clone()
        };
        assert!(!answers(&raw, &stranger, &[8; 32]), "not even a point");
        assert!(
            !answers(&answer("example.org", &[8; 32]).0, &credential, &[8; 32]),
            "another relying party"
        );
        let other = RawAssertion {
            credential: Some(vec![4]),
            ..raw
        };
        assert!(!answers(&other, &credential, &[8; 32]), "another credential");
    }
}
