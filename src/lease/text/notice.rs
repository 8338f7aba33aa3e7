//! What a person sees where no text is signed: a key that no roster names yet, a PIN typed ahead.

use serde::{Deserialize, Serialize};

use super::{RequesterText, Text};
use crate::encoding::sshsig::Namespace;

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
