//! Changes: to a vault, to what this machine takes for its newest state, and to what the log believes of the clock.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{KeepText, Origin, Text};
use crate::encoding::jwk::Algorithm;
use crate::encoding::sshsig::Namespace;
use crate::encoding::{Digest, SecretRef};
use crate::vault::signer::SignerKind;
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
    /// Public keys that are a signer's now, and will not be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drops: Vec<DroppedText>,
    /// Seconds since the epoch.
    pub at: u64,
}

/// A signer's public key that verifiers are to forget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DroppedText {
    /// The signer.
    pub secret: SecretRef,
    /// Its algorithm.
    pub alg: Algorithm,
    /// Whose tokens it signed; empty for a signer of SSH certificates or signatures.
    pub issuer: String,
    /// What a signer for SSH signed. Left out for one of tokens, and in texts from before there were two kinds for SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs: Option<SignerKind>,
    /// The key, as in [`crate::wire::signer::SignerRules`].
    pub public: String,
    /// What it was.
    pub was: KeyState,
}

/// What a signer's key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It signs.
    Current,
    /// It signs after the next rotation.
    Next,
    /// It signed before the last rotation.
    Previous,
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
    /// Of a signer, what its rules said until now, where they change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<BeforeText>,
}

/// What a signer's rules said until now, of those that change. Of its keys [`ChangeText::drops`] tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeforeText {
    /// As in [`crate::wire::signer::SignerRules`]; empty where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<BTreeSet<String>>,
    /// As in [`crate::wire::signer::SignerRules`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audiences: Option<BTreeSet<String>>,
    /// As in [`crate::wire::signer::SignerRules`]; empty where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<BTreeMap<String, BTreeSet<String>>>,
    /// As in [`crate::wire::signer::SignerRules`]; empty where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_command: Option<String>,
    /// As in [`crate::wire::signer::SignerRules`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<BTreeSet<String>>,
    /// As in [`crate::wire::signer::SignerRules`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principals: Option<BTreeSet<String>>,
    /// As in [`crate::wire::signer::SignerRules`]; empty where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_addresses: Option<BTreeSet<String>>,
    /// As in [`crate::wire::signer::SignerRules`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subjects: Option<BTreeSet<String>>,
    /// Longest life, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Most uses of one touch; 0 where it had no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
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

/// An older copy of the vault, accepted by a person in the place of a newer one; or another vault in the place of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OlderText {
    /// [`super::VERSION`].
    pub v: u32,
    /// `older`.
    pub kind: OlderKind,
    /// 128 random bits, hexadecimal.
    pub id: String,
    /// As in a lease.
    pub asked: Digest,
    /// Where it comes from.
    pub origin: Origin,
    /// The vault that lay there until now; nothing where that is this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<InsteadText>,
    /// Who may open the vault is as it was before; nothing where that is as it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roster: Option<OlderRosterText>,
    /// Scopes in another state than the one that was seen last.
    pub scopes: Vec<OlderScopeText>,
    /// How many changes the log knows that were made after the state that is accepted.
    pub count: u64,
    /// The newest of them.
    pub lost: Vec<LostText>,
}

/// A vault that lay where another one lies now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InsteadText {
    /// What it was called.
    pub name: String,
    /// Its id.
    pub vault: Digest,
}

/// A roster that is older than the one that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OlderRosterText {
    /// The statement that was accepted last.
    pub remembered: Digest,
    /// How many statements the log knows that the folder has not.
    pub missing: u64,
}

/// A scope in another state than the one that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OlderScopeText {
    /// Its name.
    pub scope: String,
    /// The head that was accepted last.
    pub remembered: Digest,
    /// Records that were accepted here and that the folder has not.
    pub gone: u64,
}

/// A change that is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostText {
    /// When it was made: seconds since the epoch.
    pub at: u64,
    /// What it wrote or removed, `scope/NAME`.
    pub names: Vec<String>,
}

/// The member `kind` of an accepted older copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OlderKind {
    /// `older`.
    Older,
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

impl Text for OlderText {
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
