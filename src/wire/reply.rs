//! What comes back.

use serde::{Deserialize, Serialize};

use super::request::RulesAsk;
use super::signer::SignerView;
use super::{Failure, Value};
use crate::encoding::Digest;
use crate::finding::Finding;

/// The one reply of a call.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// It did not happen.
    Failed(Failure),
    /// It happened; nothing to say.
    Done,
    /// A lease.
    Granted(Granted),
    /// A proxy without a lease.
    Proxy(ProxyView),
    /// Live leases.
    Leases {
        /// Newest last.
        leases: Vec<LeaseView>,
    },
    /// One live lease.
    Lease {
        /// In short.
        lease: LeaseView,
        /// The text that was signed.
        text: String,
        /// The receipt: armored SSHSIG over `text`; null where the daemon alone attests the touch.
        receipt: Option<String>,
        /// For a key by PIV: whether its slots were attested under a root of the configuration when it was enrolled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attested: Option<bool>,
    },
    /// How many leases ended.
    Ended {
        /// Their ids.
        ids: Vec<String>,
    },
    /// A PIN is kept.
    Unlocked {
        /// Name of the key.
        key: String,
        /// Seconds.
        keep: u64,
    },
    /// What runs.
    Status(Status),
    /// What was looked at, and how it is.
    Findings {
        /// By what depends on what.
        findings: Vec<Finding>,
    },
    /// A vault was made.
    Made {
        /// Its id.
        vault: String,
        /// Where.
        path: String,
        /// The recovery code, shown once and kept nowhere.
        recovery_code: Value,
        /// The profile the key was given.
        profile: String,
        /// Whether something of the key's own, such as a fingerprint, can stand in for its PIN.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        built_in_uv: bool,
        /// What failed once the code was in force, which is told all the same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
    },
    /// A recovery code took the place of the one before.
    NewCode {
        /// As in [`Reply::Recovered`].
        recovery_code: Value,
        /// As in [`Reply::Made`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
    },
    /// A key was enrolled.
    KeyAdded {
        /// Its name.
        name: String,
        /// Its profile.
        profile: String,
        /// As in [`Reply::Made`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        built_in_uv: bool,
        /// Scopes it opens.
        scopes: Vec<String>,
    },
    /// YubiKeys whose PIV application can be enrolled.
    Cards {
        /// Those that are connected.
        cards: Vec<CardView>,
    },
    /// A key was removed and its scopes re-keyed.
    KeyRemoved {
        /// Its name.
        name: String,
        /// Secrets it could read: to be changed at their issuers.
        change: Vec<String>,
    },
    /// Scopes have new keys.
    Rotated {
        /// Their names.
        scopes: Vec<String>,
        /// The key that was touched.
        key: String,
    },
    /// How the roster was changed in places that do not know of each other.
    Fork {
        /// What each side did; none when there is nothing to join.
        sides: Vec<SideView>,
        /// Names that two keys or two scopes would share.
        clashes: Vec<ClashView>,
    },
    /// Whether the vault is as it was seen last.
    Older {
        /// Whether it was not, and was accepted as it is; else there was nothing to accept.
        accepted: bool,
    },
    /// Whether the clock is to be believed.
    Clock {
        /// Whether it was not, and was accepted as it is; else there was nothing to accept.
        accepted: bool,
    },
    /// A key was enrolled with the recovery code.
    Recovered {
        /// Its name.
        name: String,
        /// Its profile.
        profile: String,
        /// As in [`Reply::Made`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        built_in_uv: bool,
        /// Scopes it opens.
        scopes: Vec<String>,
        /// The code that holds from now on, shown once and kept nowhere.
        recovery_code: Value,
        /// Keys that were taken out.
        removed: Vec<String>,
        /// Secrets they could read: to be changed at their issuers.
        change: Vec<String>,
        /// As in [`Reply::Made`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
    },
    /// A key is in more scopes than before.
    KeyAdmitted {
        /// Its name.
        name: String,
        /// The scopes.
        scopes: Vec<String>,
    },
    /// Scopes.
    Scopes {
        /// In the order in which they were made.
        scopes: Vec<ScopeView>,
    },
    /// A scope was made.
    ScopeAdded {
        /// The scope.
        scope: ScopeView,
    },
    /// Keys.
    Keys {
        /// Of the roster, and connected ones that are not in it.
        keys: Vec<KeyView>,
        /// As in [`Status`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unsigned: Vec<String>,
    },
    /// One key.
    Key(KeyDetail),
    /// What a management call found, as lines for a person and members for a program.
    Managed {
        /// Rows of name and value.
        rows: Vec<(String, String)>,
    },
    /// Secrets were sent, as [`super::Event::Secrets`].
    Listed {
        /// Files of the vault that are no readable record: path and why.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unreadable: Vec<String>,
        /// As in [`Status`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unsigned: Vec<String>,
    },
    /// The audit log was sent, as [`super::Event::Line`]s.
    Log {
        /// Keys that are or were in the roster.
        signers: Vec<Signer>,
        /// Why no line can be added to it: the lines were sent as they lie there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        damage: Option<String>,
    },
    /// What was changed apart from each other.
    Merges {
        /// By scope.
        merges: Vec<MergeView>,
    },
    /// States were joined.
    Merged {
        /// The scope.
        scope: String,
        /// How many states; 0 when there was one.
        joined: u32,
        /// Secrets of which one version was kept, `scope/NAME`.
        kept: Vec<String>,
    },
    /// An export was sent, as [`super::Event::Exported`].
    Exported {
        /// How many secrets left the vault.
        secrets: u64,
        /// Those that did not, because of their rules.
        left_out: Vec<String>,
    },
    /// A scan is done, and on record.
    Scanned {
        /// Files that were looked through.
        files: u64,
        /// Bytes of them.
        bytes: u64,
        /// Occurrences of secrets.
        found: u64,
    },
    /// Signers, by name.
    Signers {
        /// Those that there are, that were asked for, or that were changed.
        signers: Vec<SignerView>,
        /// As in [`Reply::Listed`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unreadable: Vec<String>,
    },
    /// A change is in the vault.
    Changed {
        /// What was written or removed, `scope/NAME`.
        secrets: Vec<String>,
    },
}

/// A lease was given.
#[derive(Debug, Serialize, Deserialize)]
pub struct Granted {
    /// In short.
    pub lease: LeaseView,
    /// Whether a live lease was joined, without another touch.
    pub joined: bool,
    /// Values, when the request asked for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Delivered>,
    /// What happens to a child when the lease ends: `terminate`, `kill`, `interrupt`.
    pub at_end: String,
    /// How to reach the proxy, where something of the lease is delivered by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Box<ProxyView>>,
    /// What stands in requests in the place of the values, where they came to the proxy of a session that runs already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placeholders: Vec<Placeholder>,
}

/// The proxy of one connection. It ends with the connection.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProxyView {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The password of its URL, `http://x:BEARER@127.0.0.1:PORT`: 32 hexadecimal digits.
    pub bearer: Value,
    /// What clients that know no proxy have in their URLs, `http://127.0.0.1:PORT/BASE/https/HOST/PATH`: 32 hexadecimal digits.
    pub base: Value,
    /// The session's certificate authority, as PEM: who is to trust what the proxy says for the hosts of its leases.
    pub ca: String,
    /// What stands in requests in the place of the values.
    pub placeholders: Vec<Placeholder>,
    /// The hosts of its leases, as rules name them.
    pub hosts: Vec<String>,
}

/// What stands in requests in the place of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placeholder {
    /// `scope/NAME`.
    pub secret: String,
    /// The variable.
    pub env: String,
    /// It. No secret: without the proxy it opens nothing.
    pub placeholder: String,
}

/// One value for the requester's child.
#[derive(Debug, Serialize, Deserialize)]
pub struct Delivered {
    /// `scope/NAME`.
    pub secret: String,
    /// `env`, `file` or `signer`.
    pub via: String,
    /// The variable, if it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// The value; of a signer, a token.
    pub value: Value,
}

/// A lease without its values and without anything that gives access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseView {
    /// Its id.
    pub id: String,
    /// Its task, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Secrets, `scope/NAME`.
    pub secrets: Vec<String>,
    /// The four words.
    pub words: [String; 4],
    /// Who asked, in one line, as claimed.
    pub requester: String,
    /// Which key approved it.
    pub key: String,
    /// Seconds since the epoch at which it ends at the latest.
    pub not_after: u64,
    /// Seconds left, on the clock that counts suspend.
    pub left: u64,
    /// Uses left, where they are limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u32>,
    /// Uses so far.
    #[serde(default)]
    pub used: u64,
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// The daemon's process id.
    pub pid: u32,
    /// The vault's folder.
    pub path: String,
    /// The vault's id, when there is one.
    pub vault: Option<String>,
    /// Live leases of this vault.
    pub leases: u32,
    /// Prompts open and waiting.
    pub prompts: u32,
    /// Screens open.
    pub screens: u32,
    /// Keys whose PIN is kept, with the seconds left.
    pub unlocked: Vec<(String, u64)>,
    /// Files of slots that no touch signed, in the vault's folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsigned: Vec<String>,
    /// Scopes that some enrolled keys are not yet in, with the names of these keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_in: Vec<(String, Vec<String>)>,
    /// What is wrong with the configuration or the vault, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// One side of a fork of the roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideView {
    /// Digest of its last statement.
    pub end: String,
    /// Its statements since the sides part, the oldest first.
    pub steps: Vec<StepView>,
}

/// A statement of a side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// Its digest.
    pub statement: String,
    /// The key that signed it; nothing for the recovery code.
    pub signer: Option<String>,
    /// Seconds since the epoch, by the clock of the machine that made it.
    pub at: u64,
    /// What it changed, in words.
    pub changes: Vec<String>,
    /// Whether another side removed the key that signed it: then what the side added is not taken.
    pub shut_out: bool,
}

/// Two keys or two scopes of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClashView {
    /// `key` or `scope`.
    pub what: String,
    /// The name.
    pub name: String,
    /// Their ids.
    pub ids: Vec<String>,
}

/// A scope in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeView {
    /// Its name.
    pub name: String,
    /// Which key it has: 1 at first, one more with each re-keying.
    pub epoch: u64,
    /// The keys that open it.
    pub keys: Vec<String>,
    /// The enrolled keys that do not.
    pub not_in: Vec<String>,
    /// How many secrets are listed in it.
    pub secrets: u64,
}

/// A YubiKey by its PIV application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardView {
    /// Its serial number.
    pub serial: u32,
    /// Its firmware.
    pub firmware: [u8; 3],
    /// The reader that it is.
    pub reader: String,
    /// The PIN is the factory's.
    pub factory_pin: bool,
    /// The PUK is the factory's.
    pub factory_puk: bool,
    /// The management key is the factory's.
    pub factory_management_key: bool,
    /// Slots for retired keys that hold one: 82 to 95.
    pub occupied: Vec<String>,
}

/// A key in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Its name; nothing when it is not enrolled.
    pub name: Option<String>,
    /// `pin` or `touch-only`; nothing when it is not enrolled.
    pub profile: Option<String>,
    /// As in [`Reply::Made`]; seen only while it is connected.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub built_in_uv: bool,
    /// Scopes it opens.
    pub scopes: Vec<String>,
    /// Scopes that it is not yet in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_in: Vec<String>,
    /// `usb`, `contact`, `nfc`; nothing when it is not connected.
    pub transport: Option<String>,
    /// Product or reader name.
    pub model: Option<String>,
    /// Where it is connected.
    pub place: Option<String>,
    /// Why it cannot serve.
    pub problem: Option<String>,
}

/// A key in detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDetail {
    /// In short.
    pub key: KeyView,
    /// Rows of name and value, tries of the PIN among them.
    pub rows: Vec<(String, String)>,
    /// PIN tries left before the key blocks; nothing without a PIN.
    pub pin_tries: Option<u32>,
}

/// A secret without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretView {
    /// `scope/NAME`.
    pub secret: String,
    /// Its version, from 1.
    pub version: u64,
    /// Its rules.
    pub rules: RulesAsk,
}

/// What was changed apart from each other in a scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeView {
    /// The scope.
    pub scope: String,
    /// How many states it has.
    pub heads: u32,
    /// Secrets that joining takes in.
    pub secrets: Vec<VersionView>,
    /// Secrets of which a person has to keep one version.
    pub contested: Vec<ContestView>,
}

/// A secret with several versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContestView {
    /// `scope/NAME`.
    pub secret: String,
    /// Its versions.
    pub versions: Vec<VersionView>,
}

/// A version of a secret, as its record shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// `scope/NAME`.
    pub secret: String,
    /// Its number.
    pub version: u64,
    /// Id of its record, hexadecimal.
    pub record: String,
    /// When it was written, by the clock of the machine that did: seconds since the epoch.
    pub changed: u64,
    /// Its rules.
    pub rules: RulesAsk,
    /// Whether it is sealed under a key of its scope that is not in force any more.
    pub earlier_key: bool,
}

/// A key whose signatures may stand in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// Its id.
    pub id: Digest,
    /// Its public key: uncompressed point, 65 bytes, base64url without padding.
    pub point: String,
    /// `pin`, `touch-only` or `piv`.
    pub profile: String,
    /// Its name.
    pub name: String,
}
