//! Signers and tokens, as they are asked for and shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::request::RulesAsk;
use super::{Uses, Value};
use crate::encoding::exchange::{Exchange, Wanted};
use crate::encoding::jwk::{Algorithm, Profile};
use crate::encoding::self_signed::Certificates;
use crate::encoding::ssh_signed_data::Hash;

/// What a token is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenAsk {
    /// What it lets do at a registry, as [`crate::encoding::access::Access`] is written.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub access: BTreeSet<String>,
    /// For whom: one.
    pub aud: String,
    /// More claims, each a text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
    /// It is exchanged at once, for this, where the signer's rules say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Wanted>,
    /// Whom it speaks of; the signer's only subject when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
}

/// What an SSH certificate is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateAsk {
    /// The one command that it lets run; that of the signer's rules, where they have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_command: Option<String>,
    /// The public key that it is for, as `ssh-keygen` writes it; a comment is left out. None where it is for a login.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// It is for logins at one server, with a key that the daemon makes and keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginAsk>,
    /// As which user it lets in; the signer's only principal when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Whether it lets have a terminal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pty: bool,
    /// Addresses, or ranges of them, from which it lets in; when there is none those of the signer's rules, or everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_addresses: Vec<String>,
}

/// Logins at one server, each by a signature of the daemon's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginAsk {
    /// The session of the first.
    pub session: SessionAsk,
    /// The server may be one that does not want its host key in what is signed (OpenSSH before 8.9).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub old_server: bool,
    /// The user that is logged in as; the principal when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A session of SSH, as `session-bind@openssh.com` tells of it; each in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionAsk {
    /// The server's host key, or its certificate, in its wire form.
    pub host_key: String,
    /// The session's id.
    pub id: String,
    /// The host key's signature over it.
    pub signature: String,
}

/// What an SSH signature is to be over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureAsk {
    /// Digest of what is signed, hexadecimal; of several signatures, of the first.
    pub digest: String,
    /// How the digest was made.
    pub hash: Hash,
    /// What it is for.
    pub namespace: String,
}

/// What may be signed with a signer, and its public keys (base64url without padding: 65 bytes for ES256, 32 for EdDSA).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerRules {
    /// Scopes of a registry that a token may have, or less.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub access: BTreeSet<String>,
    /// Of all of its keys.
    pub alg: Algorithm,
    /// Audiences that a token may have.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub audiences: BTreeSet<String>,
    /// Certificates of its keys, base64url of DER, where a profile needs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Certificates>,
    /// Claims that may be asked for, each with its values; none for any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, BTreeSet<String>>,
    /// The key that signs.
    pub current: String,
    /// Where its tokens are exchanged, which are for nothing else then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
    /// Of a signer of SSH certificates: the one command that each lets run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_command: Option<String>,
    /// Of a signer in hardware: where its one key is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<HardwareRules>,
    /// Who issues the tokens.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub issuer: String,
    /// Of a signer of SSH signatures, which signs nothing else: the namespaces in which it may sign.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub namespaces: BTreeSet<String>,
    /// The key that signs next; none in hardware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The key that signed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Of a signer of SSH certificates, which signs no tokens: the users as whom one may let in.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub principals: BTreeSet<String>,
    /// Audiences whose verifiers know keys by another name than the thumbprint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub profiles: BTreeMap<String, Profile>,
    /// Of a signer of SSH certificates: addresses and ranges from which each may let in; from everywhere when there is none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub source_addresses: BTreeSet<String>,
    /// Subjects that a token may have.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub subjects: BTreeSet<String>,
}

/// Where the key of a signer in hardware is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HardwareRules {
    /// Whether the maker's root attested it when it was made, and not the card's word alone.
    pub attested: bool,
    /// The YubiKey's firmware when it was made.
    pub firmware: [u8; 3],
    /// The YubiKey's serial number.
    pub serial: u32,
    /// The slot, 82 to 95.
    pub slot: String,
}

/// A key to be made for a signer in hardware.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HardwareAsk {
    /// The YubiKey's serial number.
    pub serial: u32,
    /// The slot: 82 to 95.
    pub slot: String,
    /// What is in the slot is lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub danger_overwrite: bool,
    /// In the place of the factory's PIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_pin: Option<Value>,
    /// In the place of the factory's PUK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_puk: Option<Value>,
}

/// A signer to be made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerAddAsk {
    /// As `scope/NAME`.
    pub signer: String,
    /// With which algorithm it signs.
    pub alg: Algorithm,
    /// As in [`SignerRules`]; none for one of SSH certificates or signatures.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub issuer: String,
    /// As in [`SignerRules`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
    /// Where its key is made in hardware; sealed in the vault when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<HardwareAsk>,
    /// What may be signed.
    #[serde(flatten)]
    pub may: MayAsk,
}

/// What may be signed with a signer: where a rule is left out, that which it has, or that of a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MayAsk {
    /// As in [`SignerRules`].
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub access: BTreeSet<String>,
    /// As in [`SignerRules`].
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub audiences: BTreeSet<String>,
    /// As in [`SignerRules`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, BTreeSet<String>>,
    /// As in [`SignerRules`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_command: Option<String>,
    /// As in [`SignerRules`]: what it has makes it a signer of SSH signatures.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub namespaces: BTreeSet<String>,
    /// As in [`SignerRules`]: what it has makes it a signer of SSH certificates.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub principals: BTreeSet<String>,
    /// As in [`SignerRules`]; an audience that is to be like others again is named with the thumbprint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub profiles: BTreeMap<String, Profile>,
    /// As in [`SignerRules`]; each in any form that is one.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub source_addresses: BTreeSet<String>,
    /// As in [`SignerRules`]; of a new one: its name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub subjects: BTreeSet<String>,
    /// Longest life of a token in seconds; of a new one: 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Most tokens of one touch, or any number of logins or SSH signatures; of a new one: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<Uses>,
}

/// A signer to be rotated.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerRotateAsk {
    /// As `scope/NAME`.
    pub signer: String,
    /// Neither the key that signs nor the one that was to follow it is trusted any more: all of them are new.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compromised: bool,
    /// Where the new key of a signer in hardware is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<HardwareAsk>,
    /// Tokens may have no claims but those that every one has: the rules' are taken out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_claims: bool,
    /// Certificates may let run anything: the command that the rules force is taken out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_force_command: bool,
    /// Certificates may let in from everywhere: the addresses of the rules are taken out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_source_addresses: bool,
    /// Its keys stay, and its rules alone are sealed anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_keys: bool,
    /// Rules that change on the way.
    #[serde(flatten)]
    pub may: MayAsk,
}

/// A signer, without its private keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerView {
    /// `scope/NAME`.
    pub signer: String,
    /// Its version, from 1.
    pub version: u64,
    /// Where its private key is: `sealed` in the vault, or in `hardware`.
    pub class: SignerClass,
    /// Its rules.
    pub rules: RulesAsk,
    /// Whether this machine knows by a touch that the folder shows the signer as it is.
    pub vouched: bool,
}

/// Where a signer's private key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignerClass {
    /// In the vault: a touch unseals it into the daemon's memory, for the lease.
    Sealed,
    /// In a slot of a YubiKey, which it never leaves: each signature is a touch.
    Hardware,
}
