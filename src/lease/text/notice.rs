//! What a person sees and no key signs: a key that no roster names yet, a PIN typed ahead, what stands beside a statement of the roster.

use serde::{Deserialize, Serialize};

use super::{RequesterText, StatesText, Text};
use crate::device::enrolled::Retired;
use crate::encoding::sshsig::Namespace;
use crate::encoding::{Digest, SecretRef, jcs};
use crate::vault::Statement;

/// What a person sees while a key is enrolled. Nothing is signed by it: the key is not in any roster yet; the statement that names
/// it is shown and signed afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolText {
    /// [`super::VERSION`].
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
    /// Where the recovery code lets it in, and no enrolled key is touched: what becomes of the keys that there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovers: Option<RecoversText>,
    /// Where keys are made on a card: what becomes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<CardText>,
    /// Where it is no key that is enrolled, but that of a signer, `scope/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<SecretRef>,
}

/// What an enrolment changes on a YubiKey's PIV application. Nothing of it is done before the PIN that it will have is typed below this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardText {
    /// Its serial number.
    pub serial: u32,
    /// Where keys are made: of a key that is enrolled the one that opens, then the one that signs; of a signer its one.
    pub slots: Vec<Retired>,
    /// Which of them hold a key, which is lost.
    pub overwrites: Vec<Retired>,
    /// What is still the factory's, and is changed.
    pub factory: Vec<FactoryText>,
}

/// What every YubiKey comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FactoryText {
    /// 123456.
    Pin,
    /// 12345678.
    Puk,
    /// With which keys are made.
    ManagementKey,
}

/// What the recovery code changes beside the key that it lets in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoversText {
    /// Keys that are taken out.
    pub removes: Vec<String>,
    /// Keys that stay.
    pub keeps: Vec<String>,
    /// States of scopes that are joined on the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joins: Option<StatesText>,
}

/// What a person sees while a PIN is asked for ahead. Nothing is signed by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnlockText {
    /// [`super::VERSION`].
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

/// What a person sees beside a statement of the roster, which says neither who asks nor what was there before. Nothing is signed by it,
/// but the signed statement names the digests of those that it follows: others do not fit beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RosterBeside {
    /// [`super::VERSION`].
    pub v: u32,
    /// Who asks.
    pub requester: RequesterText,
    /// The statements that the signed one follows, byte for byte: none for the first, one for most, several where a fork is joined.
    pub before: Vec<String>,
    /// States of scopes that are joined with the fork of the roster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joins: Option<StatesText>,
}

impl RosterBeside {
    /// Reads what stands beside `statement`, and the statements before it.
    #[must_use]
    pub fn decode(text: &str, statement: &Statement) -> Option<(Self, Vec<Statement>)> {
        let beside: Self = jcs::from_slice(text.as_bytes()).ok()?;
        let digests = beside.before.iter().map(|before| Digest::of(before.as_bytes()));
        if !digests.eq(statement.previous.iter().copied()) {
            return None;
        }
        let before = beside.before.iter().map(|before| Statement::from_bytes(before.as_bytes()).ok());
        let before = before.collect::<Option<_>>()?;
        Some((beside, before))
    }
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
