//! The texts that a touch signs: a lease, or a change to a vault, in canonical JSON (RFC 8785).
//!
//! The bytes are fixed once, before the prompt opens; what a screen shows is decoded from them; what the key signs is their digest.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::grant::{AtEnd, Via};
use super::requester::{Claimed, Requester};
use crate::encoding::sshsig::Namespace;
use crate::encoding::words::four_words;
use crate::encoding::{Digest, SecretRef, jcs};
use crate::wire::request::RulesAsk;

/// Version of the texts.
pub const VERSION: u32 = 1;

/// The state of the vault that a text notarises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultState {
    /// Vault id.
    pub id: Digest,
    /// Digest of the newest roster statement.
    pub roster: Digest,
    /// Newest index head of each scope that the text touches.
    pub heads: BTreeMap<String, Digest>,
}

/// What every text carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Boot id: deadlines run on this boot's clock.
    pub boot: String,
    /// 128 random bits, hexadecimal.
    pub nonce: String,
    /// Who asks.
    pub requester: RequesterText,
    /// State of the vault.
    pub vault: VaultState,
}

/// Who asks, in the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequesterText {
    /// User id, from the kernel.
    pub uid: u32,
    /// Process id, from the kernel.
    pub pid: u32,
    /// What anybody can claim.
    pub claimed: Claimed,
}

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseText {
    /// [`VERSION`].
    pub v: u32,
    /// `lease`.
    pub kind: LeaseKind,
    /// 128 random bits, hexadecimal, drawn by the daemon.
    pub id: String,
    /// Hash of this lease's own `asked` line in the audit log: the touch signs the history up to it.
    pub asked: Digest,
    /// Where it comes from.
    pub origin: Origin,
    /// The task of a task file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskText>,
    /// Why, in the requester's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The command that will get it, as claimed.
    pub command: Vec<String>,
    /// Everything it gives.
    pub grants: Vec<GrantText>,
    /// What happens to children at the end.
    pub at_end: AtEnd,
    /// How long it is held.
    pub holder: Holder,
    /// Seconds since the epoch.
    pub not_before: u64,
    /// Seconds since the epoch; a ceiling, the deadline that counts is `ttl` on the clock that counts suspend.
    pub not_after: u64,
    /// Seconds.
    pub ttl: u64,
    /// Limit of uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// Digest of the limits under which it was judged.
    pub policy: Digest,
}

/// Whose end is the lease's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase", deny_unknown_fields)]
pub enum Holder {
    /// The connection of `run`.
    Connection,
    /// A process and what it starts: the one that ran `touchlease lease request`.
    Process {
        /// Its id.
        pid: u32,
    },
}

/// A task, in the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskText {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// SHA-256 of the task file.
    pub digest: Digest,
}

/// A grant, in the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantText {
    /// Which secret.
    pub secret: SecretRef,
    /// Its version.
    pub version: u64,
    /// In which form.
    pub via: Via,
    /// Under which variable.
    pub env: String,
    /// SHA-256 of the record's clear part that was judged: after unsealing it must be the same.
    pub judged: Digest,
}

/// A change to a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeText {
    /// [`VERSION`].
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
    /// Seconds since the epoch.
    pub at: u64,
}

/// A secret to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteText {
    /// Which.
    pub secret: SecretRef,
    /// The version it will have.
    pub version: u64,
    /// Whether its value changes, or its rules only.
    pub value: bool,
    /// Its rules.
    pub rules: RulesAsk,
}

/// A clock that was moved, accepted by a person: the next lines of the log count from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockText {
    /// [`VERSION`].
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

/// What a person sees while a key is enrolled. Nothing is signed by it: the key is not in any roster yet; the statement that names
/// it is shown and signed afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolText {
    /// [`VERSION`].
    pub v: u32,
    /// `enrol`.
    pub kind: EnrolKind,
    /// 128 random bits, hexadecimal.
    pub id: String,
    /// Who asks.
    pub requester: RequesterText,
    /// The key's name.
    pub key: String,
    /// Scopes that it will open.
    pub scopes: Vec<String>,
    /// Touches of this key.
    pub touches: u32,
}

/// What a person sees while a PIN is asked for ahead. Nothing is signed by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnlockText {
    /// [`VERSION`].
    pub v: u32,
    /// `unlock`.
    pub kind: UnlockKind,
    /// 128 random bits, hexadecimal.
    pub id: String,
    /// Who asks.
    pub requester: RequesterText,
    /// The key's name.
    pub key: String,
    /// Seconds for which the PIN is kept.
    pub keep: u64,
}

/// The member `kind` of an unlocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnlockKind {
    /// `unlock`.
    Unlock,
}

/// The member `kind` of an enrolment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnrolKind {
    /// `enrol`.
    Enrol,
}

/// The member `kind` of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseKind {
    /// `lease`.
    Lease,
}

/// The member `kind` of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// `change`.
    Change,
}

/// A text whose bytes are fixed: shown, signed and logged from here on.
#[derive(Clone, Debug)]
pub struct Fixed {
    text: String,
    id: String,
    namespace: Namespace,
}

impl RequesterText {
    /// Who asks.
    #[must_use]
    pub fn of(requester: &Requester) -> Self {
        Self {
            uid: requester.uid,
            pid: requester.process.pid,
            claimed: requester.claimed.clone().for_screen(),
        }
    }
}

/// A text in canonical JSON.
pub trait Text: Serialize + DeserializeOwned {
    /// What its signature is for.
    const NAMESPACE: Namespace;

    /// Its id.
    fn id(&self) -> &str;

    /// Fixes the bytes.
    ///
    /// # Errors
    /// See [`jcs::JcsError`].
    fn fix(&self) -> Result<Fixed, jcs::JcsError> {
        let bytes = jcs::to_vec(self)?;
        Ok(Fixed {
            text: String::from_utf8_lossy(&bytes).into_owned(),
            id: self.id().to_owned(),
            namespace: Self::NAMESPACE,
        })
    }

    /// Reads a text; anything but its canonical bytes is refused.
    ///
    /// # Errors
    /// See [`jcs::JcsError`].
    fn decode(text: &str) -> Result<Self, jcs::JcsError> {
        jcs::from_slice(text.as_bytes())
    }
}

impl Text for LeaseText {
    const NAMESPACE: Namespace = Namespace::Lease;

    fn id(&self) -> &str {
        &self.id
    }
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

impl Text for EnrolText {
    const NAMESPACE: Namespace = Namespace::Enrol;

    fn id(&self) -> &str {
        &self.id
    }
}

impl Text for UnlockText {
    const NAMESPACE: Namespace = Namespace::Enrol;

    fn id(&self) -> &str {
        &self.id
    }
}

impl Fixed {
    /// A roster statement, which the vault has fixed.
    #[must_use]
    pub fn roster(text: String, id: &str) -> Self {
        Self {
            text,
            id: id.into(),
            namespace: Namespace::Vault,
        }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The namespace in which it is signed.
    #[must_use]
    pub fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// SHA-256 of the bytes: what identifies a receipt.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }

    /// The four words.
    #[must_use]
    pub fn words(&self) -> [&'static str; 4] {
        four_words(&self.digest())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A lease with everything in it.
    pub(crate) fn sample() -> LeaseText {
        LeaseText {
            v: VERSION,
            kind: LeaseKind::Lease,
            id: "0f".repeat(16),
            asked: Digest([1; 32]),
            origin: Origin {
                boot: "6f1c".into(),
                nonce: "ab".repeat(16),
                requester: RequesterText {
                    uid: 1000,
                    pid: 4711,
                    claimed: Claimed {
                        executable: "/usr/bin/codex".into(),
                        ..Claimed::default()
                    },
                },
                vault: VaultState {
                    id: Digest([2; 32]),
                    roster: Digest([3; 32]),
                    heads: [("prod".into(), Digest([4; 32]))].into(),
                },
            },
            task: Some(TaskText {
                name: "deploy".into(),
                about: "Deploy the docs".into(),
                digest: Digest([5; 32]),
            }),
            reason: Some("release 1.2".into()),
            command: vec!["./deploy.sh".into()],
            grants: vec![GrantText {
                secret: "prod/TOKEN".parse().unwrap(),
                version: 3,
                via: Via::Env,
                env: "TOKEN".into(),
                judged: Digest([6; 32]),
            }],
            at_end: AtEnd::Terminate,
            holder: Holder::Process { pid: 4700 },
            not_before: 1_800_000_000,
            not_after: 1_800_000_900,
            ttl: 900,
            uses: Some(20),
            policy: Digest([7; 32]),
        }
    }

    #[test]
    fn p2_what_is_decoded_is_what_was_fixed_and_nothing_else_decodes() {
        let fixed = sample().fix().unwrap();
        assert_eq!(LeaseText::decode(fixed.text()).unwrap(), sample());
        let spaced = fixed.text().replacen(':', ": ", 1);
        assert!(LeaseText::decode(&spaced).is_err());
        let extended = fixed.text().replacen("{\"asked\"", "{\"a\":1,\"asked\"", 1);
        assert_ne!(extended, fixed.text());
        assert!(LeaseText::decode(&extended).is_err());
    }

    #[test]
    fn a_lease_is_not_a_change() {
        assert!(ChangeText::decode(sample().fix().unwrap().text()).is_err());
    }

    #[test]
    fn the_four_words_change_with_every_member() {
        let words = sample().fix().unwrap().words();
        let other = LeaseText { ttl: 901, ..sample() };
        assert_ne!(other.fix().unwrap().words(), words);
    }
}
