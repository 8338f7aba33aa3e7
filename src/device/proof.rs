//! The proof of a touch.

use zeroize::Zeroizing;

use crate::encoding::Digest;
use crate::encoding::sshsig::{Assertion, Namespace, SshsigError};

use super::enrolled::{EnrolledKey, KeyId, Profile};

/// A touch on an enrolled key over exactly one text.
pub struct Proof {
    key: KeyId,
    namespace: Namespace,
    text: Digest,
    outputs: Vec<Zeroizing<[u8; 32]>>,
    assertion: Assertion,
}

impl Proof {
    /// Verifies the assertion; there is no other way to a Proof.
    ///
    /// # Errors
    /// See [`SshsigError`].
    pub fn verify(
        key: &EnrolledKey,
        namespace: Namespace,
        text: &[u8],
        assertion: Assertion,
        outputs: Vec<Zeroizing<[u8; 32]>>,
    ) -> Result<Self, SshsigError> {
        assertion.verify(&key.lease.public_key, namespace, text, key.profile == Profile::Pin)?;
        Ok(Self {
            key: key.id(),
            namespace,
            text: Digest::of(text),
            outputs,
            assertion,
        })
    }

    /// The key that was touched.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key
    }

    /// What the touch was for.
    #[must_use]
    pub fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// SHA-256 of the signed text.
    #[must_use]
    pub fn text_digest(&self) -> Digest {
        self.text
    }

    /// hmac-secret outputs, in the order of the salts.
    #[must_use]
    pub fn outputs(&self) -> &[Zeroizing<[u8; 32]>] {
        &self.outputs
    }

    /// The assertion.
    #[must_use]
    pub fn assertion(&self) -> &Assertion {
        &self.assertion
    }
}
