//! A lease.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Origin, Text};
use crate::encoding::addresses::Addresses;
use crate::encoding::exchange::{Exchange, Wanted};
use crate::encoding::jwk::{Algorithm, Profile};
use crate::encoding::ssh_signed_data::Hash;
use crate::encoding::sshsig::Namespace;
use crate::encoding::{Digest, SecretRef};
use crate::lease::grant::{AtEnd, Via};
use crate::wire::signer::SignerClass;

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseText {
    /// [`super::VERSION`].
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase", deny_unknown_fields)]
pub enum Holder {
    /// The connection of `run`.
    Connection,
    /// A process and what it starts: the one that ran `touchlease lease request`.
    Process {
        /// What it calls itself.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        name: String,
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
    /// How it differs from what was last approved here; nothing where the whole file is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Box<TaskChange>>,
}

/// How a task differs from what was last approved of it, in the text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskChange {
    /// SHA-256 of the task file that was approved then; nothing where no approval of this task is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Digest>,
    /// What is gone, behind `- `, and what came, behind `+ `, as [`crate::lease::task::Task::lines`] has it: 16 at most, of some 170
    /// characters. None where the file differs elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// How many differ besides.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u32,
}

// `skip_serializing_if` calls it so.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u32) -> bool {
    *number == 0
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
    /// Under which variable; nothing for a token that is printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// What is signed, with a signer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenText>,
    /// What is signed, with a signer of SSH certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateText>,
    /// What is signed, with a signer of SSH signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureText>,
    /// SHA-256 of the record's clear part that was judged: after unsealing it must be the same.
    pub judged: Digest,
    /// Where the proxy may send it, and how; only where `via` is the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyText>,
}

/// What the proxy does with a secret, in the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyText {
    /// Where in a request it goes, as [`crate::vault::Form`] is written.
    pub form: String,
    /// The hosts, ascending.
    pub hosts: Vec<String>,
    /// The methods, ascending; none for any.
    pub methods: Vec<String>,
    /// Patterns of the paths, ascending; none for any.
    pub paths: Vec<String>,
}

/// What every token of a lease says, but for its times and its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenText {
    /// What it lets do at a registry, each as [`crate::encoding::access::Access`] is written.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub access: BTreeSet<String>,
    /// With which algorithm it is signed.
    pub alg: Algorithm,
    /// For whom.
    pub aud: String,
    /// The certificate of the public key, base64url of DER, where its profile puts it into the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// More claims.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
    /// Where the private key is.
    pub class: SignerClass,
    /// What it is exchanged for, at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<ExchangeText>,
    /// Who issues it.
    pub iss: String,
    /// The public key that it verifies with, as it stands in the record.
    pub key: String,
    /// By what the header names the key, where that is not the thumbprint.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub profile: Profile,
    /// Whom it speaks of.
    pub sub: String,
}

/// An exchange, in the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeText {
    /// The signer's sealed rule.
    pub rule: Exchange,
    /// What is asked for.
    pub wanted: Wanted,
}

fn is_usual(profile: &Profile) -> bool {
    *profile == Profile::default()
}

/// What the SSH certificate of a lease says, but for its times: its id is the lease's, and its number the first half of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateText {
    /// With which algorithm it is signed.
    pub alg: Algorithm,
    /// The public key of the CA, as it stands in the record.
    pub ca: String,
    /// Where the private key is.
    pub class: SignerClass,
    /// The one command that it lets run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_command: Option<String>,
    /// The public key that it is for: type and base64.
    pub key: String,
    /// Where it lets in, when its key is the daemon's and signs for nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginText>,
    /// As which user it lets in.
    pub principal: String,
    /// Whether it lets have a terminal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pty: bool,
    /// From where it lets in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_addresses: Vec<Addresses>,
}

/// Logins at one server, in the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginText {
    /// The server's host key: type and base64.
    pub host_key: String,
    /// The server may be one that does not want its host key in what is signed: then that it is this one is the requester's word.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub old_server: bool,
    /// The user that is logged in as.
    pub user: String,
}

/// SSH signatures, in the text. Of one signature it is over the digest that stands here; of several, over this one and others that nobody knows yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureText {
    /// With which algorithm it is signed.
    pub alg: Algorithm,
    /// Where the private key is.
    pub class: SignerClass,
    /// Digest of what is signed, hexadecimal.
    pub digest: String,
    /// How the digest was made.
    pub hash: Hash,
    /// The public key that it verifies with, as it stands in the record.
    pub key: String,
    /// What it is for.
    pub namespace: String,
}

/// The member `kind` of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseKind {
    /// `lease`.
    Lease,
}

impl Text for LeaseText {
    const NAMESPACE: Namespace = Namespace::Lease;

    fn id(&self) -> &str {
        &self.id
    }
}
