//! What can be asked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::signer::{CertificateAsk, SignatureAsk, SignerAddAsk, SignerRotateAsk, SignerRules, TokenAsk};
use super::{Uses, Value};
use crate::encoding::SecretRef;

/// The first line of a connection.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// [`super::VERSION`].
    pub v: u32,
    /// Which vault; the configured one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<PathBuf>,
    /// Whether the client shows prompts on its own terminal; the daemon checks that it has one, in the foreground.
    #[serde(default)]
    pub screen: bool,
    /// Labels that agents set in their children's environment (`CLAUDECODE`, `CODEX_SESSION_ID`, ...), as claimed. What an agent starts
    /// has no screen of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where the client's environment says that things lie: a daemon that has them elsewhere does nothing for it. Not compared when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub places: Option<Places>,
    /// What is asked.
    pub request: Request,
}

/// Where things lie; links on the way are followed, as far as there is something.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Places {
    /// Folder of the audit logs and of what is remembered of vaults.
    pub state: String,
    /// The configuration.
    pub config: String,
    /// The vault when neither the call nor the configuration names another.
    pub vault: String,
}

/// Everything that can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What runs, which vault, keys, leases, screens.
    Status,
    /// What is wrong with keys, readers, memory, vault and log.
    Doctor,
    /// Show prompts on this connection's terminal, until it closes.
    Watch,
    /// A lease.
    Lease(LeaseAsk),
    /// A proxy for this connection, without a lease: leases that name it come to it, and go.
    Proxy(ProxyAsk),
    /// Live leases.
    LeaseList,
    /// One live lease, with the text that was signed.
    LeaseShow {
        /// Its id.
        id: String,
    },
    /// Give a lease back.
    LeaseEnd {
        /// Its id.
        id: String,
    },
    /// Take leases away.
    LeaseRevoke {
        /// Its id; all of this vault's when absent.
        id: Option<String>,
    },
    /// End all leases and forget all PINs.
    Lock,
    /// Keep a key's PIN for a while.
    Unlock {
        /// Name of the key; the only connected one when absent.
        key: Option<String>,
        /// Seconds to keep it.
        keep: Option<u64>,
    },
    /// Look at the YubiKeys whose PIV application can be enrolled.
    Cards,
    /// Make a vault.
    Init(InitAsk),
    /// Enrol another key.
    KeyAdd(KeyAddAsk),
    /// Take a key out of the roster and re-key its scopes.
    KeyRemove(KeyRemoveAsk),
    /// Give scopes new keys, and the touched key a new way in.
    Rotate(RotateAsk),
    /// The sides of a roster that was changed in two places apart from each other.
    VaultFork,
    /// Join them.
    VaultJoin(JoinAsk),
    /// Enrol a key with the recovery code.
    Recover(RecoverAsk),
    /// Make a new recovery code by a touch; the one before is void.
    NewCode {
        /// Which key is touched; a connected one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// Let an enrolled key into scopes that it is not in.
    KeyAdmit {
        /// Its name.
        name: String,
        /// The scopes; none for all that it is not in.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        scopes: Vec<String>,
    },
    /// The scopes, and which keys are in.
    ScopeList,
    /// Make a scope.
    ScopeAdd {
        /// Its name.
        name: String,
        /// The keys that are touched for it, and open it; a connected one when there is none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        keys: Vec<String>,
    },
    /// Call a scope something else.
    ScopeRename {
        /// Its name.
        name: String,
        /// Its name from then on.
        to: String,
    },
    /// Give up a scope that has no secrets.
    ScopeRemove {
        /// Its name.
        name: String,
    },
    /// Keys of the roster and keys connected.
    KeyList,
    /// One connected key in detail.
    KeyInfo {
        /// Its name, or its place; the only connected one when absent.
        key: Option<String>,
    },
    /// Management of a connected key.
    KeyManage {
        /// Its name, or its place; the only connected one when absent.
        key: Option<String>,
        /// What.
        what: Manage,
    },
    /// Add secrets, or new versions of them: one touch.
    Put {
        /// Which.
        puts: Vec<PutAsk>,
        /// How many more follow, each as an [`super::Answer::Put`] on a line of its own: a batch may be longer than a line.
        #[serde(default, skip_serializing_if = "is_none")]
        more: u32,
    },
    /// Change a secret's rules, keeping its value.
    Edit {
        /// Which, `scope/NAME`.
        secret: String,
        /// The rules in full.
        rules: RulesAsk,
    },
    /// Remove secrets: one touch.
    Remove {
        /// Which, `scope/NAME` each.
        secrets: Vec<String>,
    },
    /// Signers with their public keys, without a touch.
    SignerList {
        /// These only, `scope/NAME`; all when there is none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        signers: Vec<String>,
    },
    /// Make a signer: one touch.
    SignerAdd(SignerAddAsk),
    /// Let a signer's next key sign: one touch.
    SignerRotate(SignerRotateAsk),
    /// Remove a signer: one touch.
    SignerRemove {
        /// As `scope/NAME`.
        signer: String,
    },
    /// Names and rules, without a touch.
    List {
        /// Of one scope only.
        scope: Option<String>,
        /// Of these only, `scope/NAME`, as far as they exist.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        secrets: Vec<String>,
    },
    /// What was changed apart from each other, without a touch.
    Merges,
    /// Join the states of one scope: one touch.
    Merge {
        /// Which; that of the secrets kept when absent.
        scope: Option<String>,
        /// Versions that stay.
        keep: Vec<KeepAsk>,
    },
    /// Every value of a scope, in the clear, as [`super::Event::Exported`].
    Export(ExportAsk),
    /// Look where the values of some scopes stand, by [`super::Event::Scanning`].
    Scan(ScanAsk),
    /// The audit log, as [`super::Event::Line`]s.
    Audit,
    /// The vault is to be taken as it is though it is older than what was seen, a person says by a touch.
    AcceptOlder,
    /// The clock is right as it is, a person says by a touch.
    AcceptClock,
}

impl Request {
    /// Whether it ends leases, or says how things are: it waits for nobody, nor for a configuration to be mended.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.ends_leases() || matches!(self, Self::Status)
    }

    /// Whether it ends leases, and does nothing else: nothing is to stand in its way.
    #[must_use]
    pub fn ends_leases(&self) -> bool {
        matches!(self, Self::Lock | Self::LeaseEnd { .. } | Self::LeaseRevoke { .. })
    }

    /// Whether a person may have to touch a key for it, and so needs to see it.
    #[must_use]
    pub fn opens_prompt(&self) -> bool {
        match self {
            Self::Lease(ask) => !ask.join_only,
            Self::Init(_)
            | Self::KeyAdd(_)
            | Self::KeyRemove(_)
            | Self::Rotate(_)
            | Self::Recover(_)
            | Self::NewCode { .. }
            | Self::VaultJoin(_)
            | Self::KeyAdmit { .. }
            | Self::ScopeAdd { .. }
            | Self::ScopeRename { .. }
            | Self::ScopeRemove { .. }
            | Self::Put { .. }
            | Self::Edit { .. }
            | Self::Remove { .. }
            | Self::SignerAdd(_)
            | Self::SignerRotate(_)
            | Self::SignerRemove { .. }
            | Self::Merge { .. }
            | Self::Unlock { .. }
            | Self::AcceptClock
            | Self::Export(_)
            | Self::Scan(_)
            | Self::AcceptOlder
            | Self::KeyManage { .. } => true,
            _ => false,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_none(count: &u32) -> bool {
    *count == 0
}

/// A lease as it is asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseAsk {
    /// A task of a task file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskAsk>,
    /// Grants without a task file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<GrantAsk>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Limit of uses, or that there is to be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<Uses>,
    /// Why, in the requester's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The command that will get it, as claimed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Whether values are to come with the reply (one use), and the lease ends with this connection; else the lease belongs to
    /// the process that started this client, and ends with it.
    pub deliver: bool,
    /// Only join a lease that is already live; never prompt.
    #[serde(default)]
    pub join_only: bool,
    /// The lease ends with this connection, and no value comes with the reply: other connections of the same process take its uses.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
    /// What the proxy of a lease that is delivered does with hosts that no grant names: `open` passes them on untouched, `granted-only` refuses
    /// them; `open` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The proxy of a session that runs already, to which what goes by `proxy` comes: SHA-256 of its bearer, as 64 hexadecimal digits. Not with
    /// `deliver`, where the reply brings a proxy of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// A proxy as it is asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyAsk {
    /// As [`LeaseAsk::network`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The whole task file, where there is one: whoever asks for a host that a task of it names hears which lease to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<String>,
}

/// A task as the client found it. The daemon opens no file that a client names, so the text comes along.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskAsk {
    /// Its name in the file.
    pub name: String,
    /// The whole file.
    pub file: String,
}

/// One secret, ad hoc.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantAsk {
    /// `scope/NAME`.
    pub secret: String,
    /// `env`, `file`, `proxy` or `signer`; `any` for the environment where the rules allow it, else for the proxy where they allow that.
    pub via: String,
    /// The variable; a token may do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// What is to be signed, of a signer of tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenAsk>,
    /// What is to be signed, of a signer of SSH certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateAsk>,
    /// What is to be signed, of a signer of SSH signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureAsk>,
}

impl GrantAsk {
    /// Of a signer, with nothing to be signed yet.
    #[must_use]
    pub fn of_signer(signer: &SecretRef) -> Self {
        Self {
            secret: signer.to_string(),
            via: "signer".into(),
            env: None,
            token: None,
            certificate: None,
            signature: None,
        }
    }
}

/// A new vault.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitAsk {
    /// Name of the first key.
    pub key: String,
    /// Names of the scopes, one or two.
    pub scopes: Vec<String>,
    /// Enrol without PIN although the key has one, or has none.
    pub touch_only: bool,
    /// Enrol this YubiKey by its PIV application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<CardAsk>,
}

/// A YubiKey to be enrolled by its PIV application.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardAsk {
    /// Its serial number.
    pub serial: u32,
    /// The slot that opens: 82 to 95.
    pub open: String,
    /// The slot that signs.
    pub sign: String,
    /// What is in these slots is lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub danger_overwrite: bool,
    /// In the place of the factory's PIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_pin: Option<Value>,
    /// In the place of the factory's PUK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_puk: Option<Value>,
}

/// One more key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyAddAsk {
    /// Its name.
    pub name: String,
    /// As in [`InitAsk`].
    pub touch_only: bool,
    /// What it will open; none for every scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// As in [`InitAsk`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<CardAsk>,
}

/// A key to be taken out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRemoveAsk {
    /// Its name.
    pub name: String,
    /// Which of those that stay is touched; a connected one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Scopes to be given new keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateAsk {
    /// Their names; none for all that the key opens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Which key is touched; a connected one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A fork of the roster to be joined.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinAsk {
    /// Which key is touched; a connected one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Other names for keys and scopes that share one, by the ids of [`super::reply::ClashView`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
}

/// A recovery.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoverAsk {
    /// Name of the key to be enrolled.
    pub name: String,
    /// As in [`InitAsk`].
    pub touch_only: bool,
    /// The recovery code as it is printed, or as a person writes it.
    pub code: Value,
    /// Names of the keys that are lost, and taken out.
    pub lost: Vec<String>,
    /// As in [`InitAsk`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<CardAsk>,
}

/// A secret to be put.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutAsk {
    /// `scope/NAME`.
    pub secret: String,
    /// The value.
    pub value: Value,
    /// The rules in full; a new version without keeps those it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<RulesAsk>,
}

/// Of several versions of a secret, which one stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepAsk {
    /// `scope/NAME`.
    pub secret: String,
    /// The first digits of its record's id, four at least.
    pub record: String,
}

/// An export.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportAsk {
    /// The scope.
    pub scope: String,
    /// Where the values go, as claimed: the person reads it.
    pub to: String,
}

/// A scan.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanAsk {
    /// The scopes, one or two; all where there are no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Where is looked, as claimed: the person reads it.
    pub places: Vec<String>,
    /// Longest time that it may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Why, in the requester's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Rules of a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesAsk {
    /// Deliveries allowed: `env`, `file`, `proxy`, `signer`.
    pub deliveries: Vec<String>,
    /// Hosts to which a proxy may send it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Methods with which it may; any when there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Patterns of paths to which it may; any when there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Where in a request a proxy puts it: `basic`, `basic:USER`, `header:NAME`, `header:NAME:PREFIX`, `query:NAME`, `cookie:NAME`; as a Bearer
    /// token when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_as: Option<String>,
    /// Longest lease in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Most uses of one lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// Of a signer: what may be signed, and its public keys. Nobody asks for it so: [`Request::SignerAdd`] makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<Box<SignerRules>>,
}

/// Management of a key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "manage", rename_all = "snake_case", deny_unknown_fields)]
pub enum Manage {
    /// A first PIN.
    PinSet {
        /// The new PIN.
        pin: Value,
    },
    /// Another PIN.
    PinChange {
        /// The present one.
        old: Value,
        /// The new one.
        new: Value,
    },
    /// What is stored on the key.
    Credentials {
        /// Its PIN.
        pin: Value,
    },
    /// Fingerprints enrolled.
    FingerprintList {
        /// Its PIN.
        pin: Value,
    },
    /// One more fingerprint.
    FingerprintAdd {
        /// Its PIN.
        pin: Value,
        /// Its name.
        name: String,
    },
    /// Another name for a fingerprint.
    FingerprintRename {
        /// Its PIN.
        pin: Value,
        /// Its id on the key, hexadecimal.
        id: String,
        /// The new name.
        name: String,
    },
    /// One fingerprint less.
    FingerprintRemove {
        /// Its PIN.
        pin: Value,
        /// Its id on the key, hexadecimal.
        id: String,
    },
}
