//! Changes: to a vault, and to what the log believes of the clock.

use serde::{Deserialize, Serialize};

use super::{KeepText, Origin, Text};
use crate::encoding::sshsig::Namespace;
use crate::encoding::{Digest, SecretRef};
use crate::wire::request::RulesAsk;

/// A change to a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeText {
    /// [`super::VERSION`].
    pub v: u32,
    /// `change`.
    pub kind: ChangeKind,
    /// 128 random bits, hexadecimal.
    pub id: String,
    /// As in a lease.
    pub asked: Digest,
    /// Where it comes from.
    pub origin: Origin,
    /// Secrets written, each with its new version and rules.
    pub writes: Vec<WriteText>,
    /// Secrets removed.
    pub removes: Vec<SecretRef>,
    /// Secrets that were written apart, each with the version that stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keeps: Vec<KeepText>,
    /// Seconds since the epoch.
    pub at: u64,
}

/// A secret to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteText {
    /// Which.
    pub secret: SecretRef,
    /// The version it will have; nothing for a name that the vault does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Whether its value changes, or its rules only.
    pub value: bool,
    /// Its rules.
    pub rules: RulesAsk,
}

/// A clock that was moved, accepted by a person: the next lines of the log count from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockText {
    /// [`super::VERSION`].
    pub v: u32,
    /// `clock`.
    pub kind: ClockKind,
    /// 128 random bits, hexadecimal.
    pub id: String,
    /// As in a lease.
    pub asked: Digest,
    /// Where it comes from.
    pub origin: Origin,
    /// What the clock says: seconds since the epoch.
    pub now: u64,
    /// What is wrong with it, by the log.
    pub moved: String,
}

/// The member `kind` of an accepted clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockKind {
    /// `clock`.
    Clock,
}

/// The member `kind` of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// `change`.
    Change,
}

impl Text for ChangeText {
    const NAMESPACE: Namespace = Namespace::Change;

    fn id(&self) -> &str {
        &self.id
    }
}

impl Text for ClockText {
    const NAMESPACE: Namespace = Namespace::Change;

    fn id(&self) -> &str {
        &self.id
    }
}
