//! Enrolled keys, as the roster describes them.

use crate::encoding::{Digest, sshsig::Point};

/// How a key was enrolled. hmac-secret answers differently with and without the PIN, so this never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// PIN and touch.
    Pin,
    /// Touch alone.
    TouchOnly,
}

/// A credential on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Credential id (at most 1023 bytes).
    pub id: Vec<u8>,
    /// Its P-256 public key.
    pub public_key: Point,
}

/// A key that a vault knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolledKey {
    /// What its owner calls it.
    pub name: String,
    /// How it was enrolled.
    pub profile: Profile,
    /// The credential that signs leases and unseals scopes.
    pub lease: Credential,
    /// The credential by which the key is recognised without a touch.
    pub which: Credential,
}

/// Digest of the lease credential's point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub Digest);

impl EnrolledKey {
    /// The key's id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(&self.lease.public_key))
    }
}
