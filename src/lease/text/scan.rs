//! A lease of a scan: every value of some scopes, for the daemon's own worker, which looks where they stand.

use serde::{Deserialize, Serialize};

use super::{Origin, Text};
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;

/// A scan. The heads in `origin` say which state of the scopes, and so which secrets in which version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanText {
    /// [`super::VERSION`].
    pub v: u32,
    /// `scan`.
    pub kind: ScanKind,
    /// 128 random bits, hexadecimal.
    pub id: String,
    /// As in a lease.
    pub asked: Digest,
    /// Where it comes from.
    pub origin: Origin,
    /// Why, in the requester's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The scopes.
    pub scopes: Vec<String>,
    /// How many secrets are looked for, by the folder's account.
    pub secrets: u64,
    /// Values under so many bytes are not looked for.
    pub least: u64,
    /// Where is looked, as claimed.
    pub places: Vec<String>,
    /// Seconds since the epoch.
    pub at: u64,
    /// Longest time that it may take, in seconds.
    pub ttl: u64,
    /// Digest of the limits under which it was judged.
    pub policy: Digest,
}

/// The member `kind` of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScanKind {
    /// `scan`.
    Scan,
}

impl Text for ScanText {
    const NAMESPACE: Namespace = Namespace::Lease;

    fn id(&self) -> &str {
        &self.id
    }
}
