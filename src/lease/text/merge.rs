//! What a touch joins, in the text: states of a scope that were changed apart from each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::encoding::{Digest, SecretRef};
use crate::vault::signer::SignerKind;
use crate::vault::{Claim, Standing};
use crate::wire::request::RulesAsk;

/// Secrets that are named one by one; of more, only their number is.
const NAMED: usize = 40;

/// What joining takes in, as the folder shows it before the touch. After the touch it must be there, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinText {
    /// How many secrets came from elsewhere.
    pub count: u64,
    /// The first of them, by scope and name.
    pub secrets: Vec<JoinedText>,
    /// SHA-256 of the SHA-256s of all their clear parts, in their order.
    pub judged: Digest,
}

/// States of scopes that are joined by a text which notarises none: a statement of the roster, or a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatesText {
    /// Index heads of each scope that is joined.
    pub heads: BTreeMap<String, Vec<Digest>>,
    /// What joining them takes in.
    pub takes: JoinText,
}

/// A secret that came from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinedText {
    /// Which.
    pub secret: SecretRef,
    /// Its version.
    pub version: u64,
    /// When it was written, by the clock of the machine that did: seconds since the epoch.
    pub changed: u64,
    /// Whether it is sealed under a key of its scope that is not in force any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub earlier_key: bool,
    /// Whose tokens it signs, of a signer; empty for one of SSH certificates or signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// As in [`super::DroppedText`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs: Option<SignerKind>,
}

/// Of several versions of a secret, which one stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepText {
    /// Which secret.
    pub secret: SecretRef,
    /// The version that stays.
    pub keeps: VersionText,
    /// The version that it becomes.
    pub version: u64,
    /// Its rules.
    pub rules: RulesAsk,
    /// Those that go.
    pub drops: Vec<VersionText>,
}

/// One of several versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionText {
    /// Id of its record, hexadecimal.
    pub record: String,
    /// Its number.
    pub version: u64,
    /// As in [`JoinedText`].
    pub changed: u64,
}

impl JoinText {
    /// What joining takes in; nothing where every scope has one head.
    #[must_use]
    pub fn of(standing: &Standing) -> Option<Self> {
        StatesText::of(standing.heads(), standing.claims()).map(|states| states.takes)
    }

    fn of_claims(claims: &[Claim]) -> Self {
        Self {
            count: claims.len() as u64,
            secrets: claims.iter().take(NAMED).map(JoinedText::of).collect(),
            judged: Digest::of(&claims.iter().flat_map(|claim| claim.clear.0).collect::<Vec<_>>()),
        }
    }
}

impl StatesText {
    /// Of scopes with their heads, those that have several, and `claims`, which is what joining them takes in; nothing where every scope
    /// has one head.
    #[must_use]
    pub fn of(scopes: &[(String, Vec<Digest>)], claims: &[Claim]) -> Option<Self> {
        let several = scopes.iter().filter(|(_, heads)| heads.len() > 1).cloned();
        let heads: BTreeMap<_, _> = several.collect();
        (!heads.is_empty()).then(|| Self {
            heads,
            takes: JoinText::of_claims(claims),
        })
    }
}

/// Whether a text names every secret that joining takes in from somebody who may have been removed. Only a touch for the join itself may
/// be over a number of them.
#[must_use]
pub fn names_all(standing: &Standing) -> bool {
    !standing.has_earlier_heads() || standing.claims().len() <= NAMED
}

impl JoinedText {
    fn of(claim: &Claim) -> Self {
        let signer = claim.listed.rules.signer.as_ref();
        Self {
            secret: SecretRef {
                scope: claim.listed.scope.clone(),
                name: claim.listed.name.clone(),
            },
            version: claim.listed.version,
            changed: claim.listed.changed,
            earlier_key: claim.earlier_key,
            issuer: signer.map(|signer| signer.issuer.clone()),
            signs: signer.and_then(|signer| signer.for_ssh()),
        }
    }
}

impl VersionText {
    /// The version in `claim`'s record.
    #[must_use]
    pub fn of(claim: &Claim) -> Self {
        Self {
            record: claim.record.to_string(),
            version: claim.listed.version,
            changed: claim.listed.changed,
        }
    }
}
