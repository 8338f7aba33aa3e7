//! Signers: private keys that are made inside and never leave, each with what may be signed with it.
//!
//! A sealed signer is a record whose value is two private keys, the one that signs now and the one that will, and whose rules hold their public
//! halves. So whoever reads the folder can check signatures, and a touch is needed to make one. Of a signer in hardware there is no private key
//! here: its rules say in which slot of which YubiKey it is.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::device::enrolled::{Always, PivSlot, Retired, Seen};
use crate::encoding::Digest;
use crate::encoding::access::Access;
use crate::encoding::addresses::{self, Addresses};
use crate::encoding::exchange::Exchange;
use crate::encoding::jwk::{Algorithm, Profile, PublicKey};
use crate::encoding::plain::check_line;
use crate::encoding::self_signed::{self, Certificates};
use crate::encoding::sshsig::Point;
use crate::secret::Secret;

use super::bytes::Id;
use super::error::VaultError;
use super::record::{self, Clear};
use super::rules::{Rules, is_host};
use super::{Found, Vault};

/// Bytes of one private key: a P-256 scalar, big-endian, or an Ed25519 seed (RFC 8032, 5.1.5).
pub const PRIVATE: usize = 32;
/// The value of a signer in hardware, of which nothing is secret: a record has some.
pub const NO_PRIVATE: [u8; 1] = [0];
/// The longest life of a token in seconds, whatever rules say: nobody can take one back.
pub const LONGEST_TOKEN: u64 = 3600;
/// Most tokens under one touch, and the highest limit of logins and SSH signatures.
pub const MOST_TOKENS: u64 = 100;
/// Most audiences, subjects, claims, and values of a claim.
const MOST: usize = 64;
const LONGEST_TEXT: usize = 512;
const LONGEST_CLAIM: usize = 64;
/// How the namespaces of receipts begin ([`crate::encoding::sshsig::Namespace`]).
const OURS: &str = "touchlease";

/// Claims that we write ourselves (RFC 7519, 4.1; `docs/signers.md`): nobody else may.
pub const OUR_CLAIMS: [&str; 9] = ["aud", "exp", "iat", "iss", "jti", "lease_sha256", "nbf", "sub", "task"];

/// The claim of which [`Signer::access`] is the rule.
pub const ACCESS: &str = "access";

/// What may be signed with a signer, and its public keys.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// Scopes of a registry, each as [`Access`] is written: what the claim `access` of a token may let do, or less.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub access: BTreeSet<String>,
    /// Of all of its keys.
    pub alg: Algorithm,
    /// The audiences that a token may have, one each; at least one.
    pub audiences: BTreeSet<String>,
    /// Certificates of its keys, where a profile needs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Certificates>,
    /// Claims that may be asked for, each with the values that it may have; none for any.
    pub claims: BTreeMap<String, BTreeSet<String>>,
    /// Public half of the key that signs.
    pub current: String,
    /// Where its tokens are exchanged: it signs for nothing else then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
    /// Of a signer of SSH certificates: the one command that each lets run, and none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_command: Option<String>,
    /// Of a signer in hardware: where its one key is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<Hardware>,
    /// Who issues the tokens: an `https` URL.
    pub issuer: String,
    /// Of a signer of SSH signatures, which signs nothing else: the namespaces in which it may sign; at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<BTreeSet<String>>,
    /// Public half of the key that signs next: it is published before, so that verifiers know it when it comes. One in hardware has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Public half of the key that signed before: what it signed is good to its end.
    pub previous: Option<String>,
    /// Of a signer of SSH certificates, which signs no tokens: the users as whom one may let in, one each; at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principals: Option<BTreeSet<String>>,
    /// Audiences whose verifiers know keys by another name than the thumbprint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub profiles: BTreeMap<String, Profile>,
    /// Of a signer of SSH certificates: from where each may let in, as [`Addresses`] are written; from everywhere when there is none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub source_addresses: BTreeSet<String>,
    /// The subjects that a token may have; at least one.
    pub subjects: BTreeSet<String>,
}

/// What a signer signs: one of these, for ever, so that nothing that it signed can be taken for another thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignerKind {
    /// JSON Web Tokens.
    Tokens,
    /// SSH certificates.
    Certificates,
    /// SSH signatures, of git's commits and of files.
    Signatures,
}

/// Where the key of a signer in hardware is: a slot of a YubiKey's, with PIN and touch for each use.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// The card's firmware, as seen when the key was made.
    pub firmware: [u8; 3],
    /// The slot's PIN policy.
    pub pin: Always,
    /// By what its policies were seen.
    pub seen: Seen,
    /// The card's serial number: by which it is found, and which proves nothing.
    pub serial: u32,
    /// Which slot.
    pub slot: Retired,
    /// Its touch policy.
    pub touch: Always,
}

/// A signer's keys, each a point of its curve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerKeys {
    /// It signs.
    pub current: PublicKey,
    /// It signs after the next rotation.
    pub next: Option<PublicKey>,
    /// It signed before the last rotation.
    pub previous: Option<PublicKey>,
}

impl SignerKind {
    /// Of a signer that has principals, or namespaces, or neither.
    #[must_use]
    pub fn of(has_principals: bool, has_namespaces: bool) -> Self {
        match (has_principals, has_namespaces) {
            (true, _) => Self::Certificates,
            (false, true) => Self::Signatures,
            (false, false) => Self::Tokens,
        }
    }

    /// What it signs, and nothing else.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Certificates => "SSH certificates",
            Self::Signatures => "SSH signatures",
        }
    }
}

impl Signer {
    /// What it signs.
    #[must_use]
    pub fn kind(&self) -> SignerKind {
        SignerKind::of(self.principals.is_some(), self.namespaces.is_some())
    }

    /// What it signs for SSH; nothing of a signer of tokens.
    #[must_use]
    pub fn for_ssh(&self) -> Option<SignerKind> {
        Some(self.kind()).filter(|kind| *kind != SignerKind::Tokens)
    }

    /// Its public keys.
    ///
    /// # Errors
    /// [`VaultError::Rules`]: one is none.
    pub fn keys(&self) -> Result<SignerKeys, VaultError> {
        let key = |text: &String| {
            PublicKey::from_text(self.alg, text)
                .map_err(|_| VaultError::Rules("a signer has public keys of its algorithm, and one of them is none"))
        };
        Ok(SignerKeys {
            current: key(&self.current)?,
            next: self.next.as_ref().map(key).transpose()?,
            previous: self.previous.as_ref().map(key).transpose()?,
        })
    }

    /// The slot of a signer in hardware, with the key that is in it.
    #[must_use]
    pub fn slot(&self) -> Option<PivSlot> {
        let Hardware {
            pin, seen, slot, touch, ..
        } = self.hardware.clone()?;
        let public_key: Point = PublicKey::from_text(self.alg, &self.current).ok()?.as_bytes().try_into().ok()?;
        Some(PivSlot {
            slot,
            public_key,
            pin,
            touch,
            seen,
        })
    }

    /// Checks that it does not contradict itself, nor `rules`, of which it is a part.
    ///
    /// # Errors
    /// [`VaultError::Rules`] with the first contradiction.
    pub(super) fn check(&self, rules: &Rules) -> Result<(), VaultError> {
        let line = |text: &String| {
            let trimmed = text.trim() == text && !text.is_empty();
            trimmed && check_line("the text", text, LONGEST_TEXT).is_ok()
        };
        let some = |texts: &BTreeSet<String>, is: fn(&str) -> bool| (1..=MOST).contains(&texts.len()) && texts.iter().all(|text| is(text));
        let values = |texts: &BTreeSet<String>| texts.len() <= MOST && texts.iter().all(line);
        let keys = self.keys()?;
        let tokens = self.kind() == SignerKind::Tokens;
        let nothing = self.audiences.is_empty()
            && self.claims.is_empty()
            && self.issuer.is_empty()
            && self.subjects.is_empty()
            && self.access.is_empty()
            && self.profiles.is_empty()
            && self.exchange.is_none();
        let alone = self.audiences.len() == 1 && self.access.is_empty() && self.profiles.is_empty() && rules.uses == Some(1);
        let faults = [
            (
                !tokens && !nothing || self.principals.is_some() && self.namespaces.is_some(),
                "a signer signs tokens, SSH certificates or SSH signatures, and never two of them",
            ),
            (
                !self
                    .namespaces
                    .as_ref()
                    .is_none_or(|names| (1..=MOST).contains(&names.len()) && names.iter().all(|name| is_namespace(name))),
                "a signer of SSH signatures has 1 to 64 namespaces: up to 64 letters, digits and . _ - @ + /, beginning with a letter or a digit, and not with touchlease",
            ),
            (
                self.namespaces.is_some() && self.hardware.is_some(),
                "a signer of SSH signatures is sealed: what ssh-keygen has signed has no room for the lease that a touch of a key in hardware is for",
            ),
            (
                !self
                    .principals
                    .as_ref()
                    .is_none_or(|names| (1..=MOST).contains(&names.len()) && names.iter().all(|name| is_principal(name))),
                "a signer of SSH certificates has 1 to 64 principals: up to 64 letters, digits and . _ - @ +, beginning with a letter, a digit or _",
            ),
            (
                self.principals.is_none() && !(self.force_command.is_none() && self.source_addresses.is_empty()),
                "only a signer of SSH certificates has a forced command and addresses",
            ),
            (
                !self.force_command.as_deref().is_none_or(is_command),
                "a forced command is one visible line of at most 512 bytes, without blanks around it",
            ),
            (
                self.source_addresses.len() > addresses::MOST || !self.source_addresses.iter().all(|text| is_addresses(text)),
                "a signer has up to 16 addresses or ranges, each as 192.0.2.0/24, no wider than /8 of IPv4 or /16 of IPv6, and with nothing behind the mask",
            ),
            (
                self.exchange.is_some() && !alone,
                "a signer whose tokens are exchanged has one audience, no scopes of a registry and no profiles, and signs once for each touch",
            ),
            (rules.single_line, "a signer's keys are no text, and its rules say nothing of lines"),
            (
                self.hardware.is_some() && (self.alg != Algorithm::Es256 || rules.uses != Some(1)),
                "a signer in hardware signs by ES256, and once for each touch",
            ),
            (
                self.hardware.is_some() == self.next.is_some(),
                "a sealed signer has a key that signs next, and one in hardware has none",
            ),
            (!rules.is_signer_alone(), "a signer is for delivery by signer, and for nothing else"),
            (
                rules.ttl.is_none_or(|ttl| ttl > LONGEST_TOKEN),
                "a signer names the longest life of a token, 1 hour at most",
            ),
            (
                rules.uses.map_or(tokens || self.hardware.is_some(), |uses| uses > MOST_TOKENS),
                "a signer names how many tokens one touch may be for, 100 at most; a sealed one of SSH certificates or signatures may leave that to time",
            ),
            (
                tokens && !some(&self.audiences, is_audience),
                "a signer has 1 to 64 audiences, each of at most 512 ASCII characters without blanks, commas, semicolons and quotes; the host of a URL is in lower case and in punycode",
            ),
            (
                tokens && !some(&self.subjects, is_plain),
                "a signer has 1 to 64 subjects, each of at most 512 ASCII characters without blanks, commas, semicolons and quotes",
            ),
            (
                tokens && !is_issuer(&self.issuer),
                "an issuer is https://HOST/PATH, in lower case up to the path, without ? and #, and without / at the end",
            ),
            (
                self.claims.len() > MOST || !self.claims.keys().all(|name| is_claim(name)) || !self.are_told_apart(),
                "a claim is up to 64 letters, digits and _ - . : / and none that every token has (iss, sub, aud, exp, nbf, iat, jti, task, lease_sha256) nor another claim in upper or lower case",
            ),
            (
                self.access.len() > MOST || !self.access.iter().all(|text| text.parse::<Access>().is_ok()),
                "a signer has up to 64 scopes of a registry, each TYPE:NAME:ACTIONS in lower case, the actions ascending, as repository:team/app:pull,push",
            ),
            (
                !self.access.is_empty() && self.claims.keys().any(|name| name.eq_ignore_ascii_case(ACCESS)),
                "a signer with scopes of a registry writes the claim access itself",
            ),
            (
                !self.are_profiles(),
                "a profile is of one of the signer's audiences, and not the thumbprint, which all others have; it is for ES256",
            ),
            (
                !self.are_certified(&keys),
                "a signer has certificates of its own keys where a profile needs them, and nowhere else",
            ),
            (
                !self.claims.values().all(values),
                "a claim has up to 64 values, each one visible line of at most 512 bytes",
            ),
            (
                keys.next.as_ref() == Some(&keys.current)
                    || keys.previous.is_some() && (keys.previous == keys.next || keys.previous.as_ref() == Some(&keys.current)),
                "a signer's keys are different ones",
            ),
        ];
        let fault = faults.into_iter().find_map(|(wrong, fault)| wrong.then_some(fault));
        match fault.or_else(|| self.exchange.as_ref().and_then(Exchange::fault)) {
            Some(fault) => Err(VaultError::Rules(fault)),
            None => Ok(()),
        }
    }

    /// Whether its claims differ in more than case, which some verifiers do not look at.
    fn are_told_apart(&self) -> bool {
        let lower: BTreeSet<String> = self.claims.keys().map(|name| name.to_ascii_lowercase()).collect();
        lower.len() == self.claims.len()
    }

    fn are_profiles(&self) -> bool {
        let fine = |(aud, profile): (&String, &Profile)| self.audiences.contains(aud) && *profile != Profile::Thumbprint;
        // Certificates are signed by the key that they are of: in hardware that would be another touch.
        self.profiles.is_empty() || (self.alg == Algorithm::Es256 && self.hardware.is_none() && self.profiles.iter().all(fine))
    }

    fn are_certified(&self, keys: &SignerKeys) -> bool {
        let Some(certificates) = &self.certificates else {
            return self.profiles.is_empty();
        };
        let before = match (&certificates.previous, &keys.previous) {
            (None, _) => true,
            (Some(text), Some(key)) => self_signed::check(text, key).is_some(),
            (Some(_), None) => false,
        };
        !self.profiles.is_empty()
            && before
            && self_signed::check(&certificates.current, &keys.current).is_some()
            && keys
                .next
                .as_ref()
                .is_some_and(|next| self_signed::check(&certificates.next, next).is_some())
    }

    /// By what a token for `aud` names its key.
    #[must_use]
    pub fn profile(&self, aud: &str) -> Profile {
        self.profiles.get(aud).copied().unwrap_or_default()
    }

    /// Checks that `value` can be its private keys.
    pub(super) fn check_value(&self, value: &Secret) -> Result<(), VaultError> {
        let fits = match &self.hardware {
            Some(_) => value.expose() == NO_PRIVATE,
            None => value.len() == 2 * PRIVATE,
        };
        match fits {
            true => Ok(()),
            false => Err(VaultError::Rules(
                "a signer's private keys are made inside, and no value can be put in their place",
            )),
        }
    }
}

/// Signers of a scope that a touch on this machine has shown, and that nothing has replaced since as far as it knows.
pub struct Vouched(BTreeMap<Id, BTreeSet<Digest>>);

impl Vouched {
    /// See [`Vault::is_vouched`].
    #[must_use]
    pub fn has(&self, found: &Found) -> bool {
        let clear = crate::encoding::jcs::from_slice::<Clear>(&found.clear);
        let shown = clear.ok().and_then(|clear| self.0.get(&clear.id));
        shown.is_some_and(|shown| shown.contains(&Digest::of(&found.clear)))
    }
}

impl Vault {
    /// Whether this machine knows by a touch that the signer `found` in the folder is one of this vault's, byte for byte: it was written here,
    /// or used here, and not replaced since. What lies in the folder is otherwise a claim, and whoever can write there could publish a key of his own.
    ///
    /// # Errors
    /// [`VaultError::NoScope`]; what is remembered cannot be read.
    pub fn is_vouched(&self, found: &Found) -> Result<bool, VaultError> {
        Ok(self.vouched(&found.listed.scope)?.has(found))
    }

    /// All signers of a scope that a touch here has shown.
    ///
    /// # Errors
    /// As [`Vault::is_vouched`].
    pub fn vouched(&self, scope: &str) -> Result<Vouched, VaultError> {
        Ok(Vouched(self.memory.signers(self.scope(scope)?.id)?))
    }

    /// Ids of the records of signers that a touch on this machine has shown, that nothing has replaced since as far as it knows, and that are not
    /// among `found` as they were: somebody took the file away, altered it, or put another before it.
    ///
    /// # Errors
    /// [`VaultError::NoScope`]; what is remembered cannot be read.
    pub fn missing_signers(&self, scope: &str, found: &[Found]) -> Result<Vec<Id>, VaultError> {
        let shown: BTreeSet<_> = found.iter().map(|found| Digest::of(&found.clear)).collect();
        let signers = self.memory.signers(self.scope(scope)?.id)?;
        Ok(signers
            .into_iter()
            .filter(|(_, clear)| clear.is_disjoint(&shown))
            .map(|(id, _)| id)
            .collect())
    }

    /// Remembers a signer that the index named. Where that fails it is not vouched for, and nothing else is wrong.
    pub(super) fn remember_signer(&self, scope: Id, clear_bytes: &[u8], clear: &Clear) {
        if clear.rules.signer.is_some() {
            let digest = Digest::of(clear_bytes);
            super::accepted::remember_made(|| self.memory.learn_signer(scope, clear.id, digest));
        }
    }
}

/// Current and next private key, from the one value that is sealed.
#[must_use]
pub fn split(value: &Secret) -> Option<(&[u8], &[u8])> {
    (value.len() == 2 * PRIVATE).then(|| value.expose().split_at(PRIVATE))
}

/// The value after a rotation: what was next is current, and `fresh` is next.
///
/// # Errors
/// [`VaultError::Memory`]; a value that is no signer's.
pub(super) fn turned(value: &Secret, fresh: &Secret) -> Result<Secret, VaultError> {
    let (Some((_, next)), PRIVATE) = (split(value), fresh.len()) else {
        return Err(VaultError::Rules("the record holds no signer's keys"));
    };
    let mut turned = Secret::zeroed(2 * PRIVATE).map_err(VaultError::Memory)?;
    let (current, following) = turned.expose_mut().split_at_mut(PRIVATE);
    current.copy_from_slice(next);
    following.copy_from_slice(fresh.expose());
    Ok(turned)
}

/// Format of a record's clear part with these rules: 2 for a signer, which a reader of version 1 must not take for a secret.
#[must_use]
pub(super) fn format(rules: &Rules) -> u64 {
    match rules.signer {
        Some(_) => record::SIGNER_FORMAT,
        None => super::statement::FORMAT,
    }
}

/// OpenID Connect Discovery 1.0, section 3: `https`, no query, no fragment.
#[must_use]
pub fn is_issuer(issuer: &str) -> bool {
    let Some(rest) = issuer.strip_prefix("https://") else {
        return false;
    };
    let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    // RFC 3986, 3.3: what a segment of a path holds as it stands.
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~/".contains(&c);
    issuer.len() <= LONGEST_TEXT
        && is_host(host)
        && path.is_none_or(|path| {
            let segment = |segment: &str| !segment.is_empty() && segment != "." && segment != "..";
            path.bytes().all(plain) && path.split('/').all(segment)
        })
}

/// A text that looks like no other, and in a list like no two: printable ASCII without what lists and sentences are made with (T10).
fn is_plain(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_graphic() && !b",;\"'`".contains(&c);
    (1..=LONGEST_TEXT).contains(&text.len()) && text.bytes().all(plain)
}

fn is_audience(text: &str) -> bool {
    let host = text
        .split_once("://")
        .map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    is_plain(text) && host.is_none_or(is_host)
}

/// Whether a verifier may take it for a claim of ours: some take a name in another case for theirs, and the last of several counts (T28).
#[must_use]
pub fn is_ours(claim: &str) -> bool {
    OUR_CLAIMS.iter().any(|ours| ours.eq_ignore_ascii_case(claim))
}

/// A user's name, and nothing that sshd or a list of users could take for another one, for several, or for all.
#[must_use]
pub fn is_principal(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-@+".contains(&c);
    let first = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    (1..=LONGEST_CLAIM).contains(&name.len()) && name.bytes().all(plain) && name.bytes().next().is_some_and(first)
}

/// A command that sshd runs in a shell, and that a person can see whole.
#[must_use]
pub fn is_command(command: &str) -> bool {
    let is_visible = check_line("the forced command", command, LONGEST_TEXT).is_ok();
    is_visible && !command.is_empty() && command.trim() == command
}

/// In its one form: two texts are never the same addresses (T10).
fn is_addresses(text: &str) -> bool {
    text.parse::<Addresses>().is_ok_and(|addresses| addresses.to_string() == text)
}

/// What an SSH signature is for, and nothing that a pattern or a list in `allowed_signers` could take for another one or for several. What
/// receipts are signed in is ours alone.
#[must_use]
pub fn is_namespace(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-@+/".contains(&c);
    let ours = name.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS));
    let first = name.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= LONGEST_CLAIM && name.bytes().all(plain) && first && !ours
}

fn is_claim(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"_-.:/".contains(&c);
    (1..=LONGEST_CLAIM).contains(&name.len()) && name.bytes().all(plain) && !is_ours(name)
}

#[cfg(test)]
pub(crate) mod tests;
