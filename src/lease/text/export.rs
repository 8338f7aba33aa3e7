//! Everything of a scope leaves the vault.

use serde::{Deserialize, Serialize};

use super::{Origin, Text};
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;

/// The values of a scope, in the clear. The head in `origin` says which state of it, and so which secrets in which version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportText {
    /// [`super::VERSION`].
    pub v: u32,
    /// `export`.
    pub kind: ExportKind,
    /// 128 random bits, hexadecimal.
    pub id: String,
    /// As in a lease.
    pub asked: Digest,
    /// Where it comes from.
    pub origin: Origin,
    /// The scope.
    pub scope: String,
    /// What happens, in words: [`ExportText::words`].
    pub warning: String,
    /// How many secrets leave.
    pub secrets: u64,
    /// How many stay, because their rules allow neither an environment nor a file.
    pub left_out: u64,
    /// Where they go, as claimed.
    pub to: String,
    /// Seconds since the epoch.
    pub at: u64,
}

/// The member `kind` of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportKind {
    /// `export`.
    Export,
}

impl ExportText {
    /// What a person signs.
    #[must_use]
    pub fn words(scope: &str) -> String {
        format!("ALL values of scope {scope} leave the vault in the clear")
    }
}

impl Text for ExportText {
    const NAMESPACE: Namespace = Namespace::Change;

    fn id(&self) -> &str {
        &self.id
    }
}
