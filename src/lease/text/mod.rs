//! The texts that a person sees before a touch, in canonical JSON (RFC 8785).
//!
//! The bytes are fixed once, before the prompt opens; what a screen shows is decoded from them; what the key signs is their digest.

mod change;
mod export;
mod lease;
mod merge;
mod notice;
mod scan;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use change::{
    BeforeText, ChangeKind, ChangeText, ClockKind, ClockText, DroppedText, InsteadText, KeyState, LostText, OlderKind, OlderRosterText,
    OlderScopeText, OlderText, WriteText,
};
pub use export::{ExportKind, ExportText};
pub use lease::{
    CertificateText, ExchangeText, GrantText, Holder, LeaseKind, LeaseText, LoginText, ProxyText, SignatureText, TaskChange, TaskText,
    TokenText,
};
pub use merge::{JoinText, JoinedText, KeepText, StatesText, VersionText, names_all};
pub use notice::{CardText, EnrolKind, EnrolText, FactoryText, RecoversText, RosterBeside, UnlockKind, UnlockText};
pub use scan::{ScanKind, ScanText};

use super::requester::{Claimed, Requester};
use crate::encoding::sshsig::Namespace;
use crate::encoding::words::four_words;
use crate::encoding::{Digest, jcs};

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
    /// Index heads of each scope that the text touches: one, or several that the touch joins.
    pub heads: BTreeMap<String, Vec<Digest>>,
    /// What the touch takes in where it joins several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joins: Option<JoinText>,
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

/// A text whose bytes are fixed: shown, signed and logged from here on.
#[derive(Clone, Debug)]
pub struct Fixed {
    text: String,
    id: String,
    namespace: Namespace,
    beside: Option<String>,
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
            beside: None,
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

impl Fixed {
    /// A roster statement, which the vault has fixed, and what is shown beside it.
    ///
    /// # Errors
    /// See [`jcs::JcsError`].
    pub fn roster(text: String, id: &str, beside: &RosterBeside) -> Result<Self, jcs::JcsError> {
        Ok(Self {
            text,
            id: id.into(),
            namespace: Namespace::Vault,
            beside: Some(String::from_utf8_lossy(&jcs::to_vec(beside)?).into_owned()),
        })
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is shown beside it and is not signed.
    #[must_use]
    pub fn beside(&self) -> Option<&str> {
        self.beside.as_deref()
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
    use crate::lease::grant::{AtEnd, Via};

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
                    heads: [("prod".into(), vec![Digest([4; 32])])].into(),
                    joins: None,
                },
            },
            task: Some(TaskText {
                name: "deploy".into(),
                about: "Deploy the docs".into(),
                digest: Digest([5; 32]),
                changed: None,
            }),
            reason: Some("release 1.2".into()),
            command: vec!["./deploy.sh".into()],
            grants: vec![GrantText {
                secret: "prod/TOKEN".parse().unwrap(),
                version: 3,
                via: Via::Env,
                env: Some("TOKEN".into()),
                token: None,
                certificate: None,
                signature: None,
                judged: Digest([6; 32]),
                proxy: None,
            }],
            at_end: AtEnd::Terminate,
            holder: Holder::Process {
                name: "zsh".into(),
                pid: 4700,
            },
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
