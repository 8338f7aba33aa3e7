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
/// Most tokens under one touch.
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
    /// The subjects that a token may have; at least one.
    pub subjects: BTreeSet<String>,
}

/// What a signer signs: one of these, for ever, so that nothing that it signed can be taken for another thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
            && self.profiles.is_empty();
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
                rules.uses.is_none_or(|uses| uses > MOST_TOKENS),
                "a signer names how many tokens one touch may be for, 100 at most",
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
        match faults.into_iter().find(|(wrong, _)| *wrong) {
            Some((_, fault)) => Err(VaultError::Rules(fault)),
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
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::rules::Delivery;
    use super::*;

    /// Ed25519 keys of the seeds 1, 2 and 3.
    pub(crate) fn keys() -> [String; 3] {
        [1_u8, 2, 3].map(|seed| {
            let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key();
            PublicKey::from_bytes(Algorithm::EdDsa, key.as_bytes()).unwrap().to_text()
        })
    }

    /// Rules of a signer of one audience and one subject.
    pub(crate) fn rules() -> Rules {
        let [current, next, _] = keys();
        Rules {
            signer: Some(Box::new(Signer {
                access: BTreeSet::new(),
                alg: Algorithm::EdDsa,
                audiences: ["https://registry.example".into()].into(),
                certificates: None,
                claims: [("env".into(), ["prod".into()].into()), ("ref".into(), BTreeSet::new())].into(),
                current,
                issuer: "https://id.example/touchlease".into(),
                hardware: None,
                namespaces: None,
                next: Some(next),
                previous: None,
                principals: None,
                profiles: BTreeMap::new(),
                subjects: ["deployer".into()].into(),
            })),
            ttl: Some(600),
            uses: Some(3),
            ..Rules::value(&[Delivery::Signer])
        }
    }

    /// The base point of P-256 (SEC 2, 2.4.2).
    pub(crate) const G: &str = "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU";

    /// The same in slot 93 of a YubiKey.
    pub(crate) fn in_hardware() -> Rules {
        let mut rules = rules();
        let signer = rules.signer.as_mut().unwrap();
        (signer.alg, signer.current, signer.next) = (Algorithm::Es256, G.into(), None);
        signer.hardware = Some(Hardware {
            firmware: [5, 7, 1],
            pin: Always::Always,
            seen: Seen::Metadata,
            serial: 24_000_001,
            slot: Retired::all().find(|slot| slot.reference() == 0x93).unwrap(),
            touch: Always::Always,
        });
        rules.uses = Some(1);
        rules
    }

    fn with(change: impl FnOnce(&mut Signer)) -> bool {
        let mut rules = rules();
        change(rules.signer.as_mut().unwrap());
        rules.check().is_ok()
    }

    #[test]
    fn t28_rules_of_a_signer_without_audience_subject_or_end_are_refused() {
        rules().check().unwrap();
        assert!(with(|_| {}));
        assert!(!with(|signer| signer.audiences.clear()));
        assert!(!with(|signer| signer.subjects.clear()));
        assert!(!with(|signer| signer.audiences = [String::new()].into()));
        assert!(!with(|signer| signer.audiences = ["a\u{202e}b".into()].into()));
        for (ttl, uses) in [
            (None, Some(1)),
            (Some(3601), Some(1)),
            (Some(60), None),
            (Some(60), Some(101)),
            (Some(0), Some(1)),
        ] {
            assert!(Rules { ttl, uses, ..rules() }.check().is_err(), "{ttl:?} {uses:?}");
        }
    }

    #[test]
    fn t28_claims_that_every_token_has_cannot_be_allowed_to_anybody() {
        for name in OUR_CLAIMS {
            assert!(!with(|signer| drop(signer.claims.insert(name.into(), BTreeSet::new()))), "{name}");
        }
        for name in ["", "a b", "a\"", "ü", "a\0", &"a".repeat(65)] {
            assert!(!with(|signer| drop(signer.claims.insert(name.into(), BTreeSet::new()))), "{name:?}");
        }
        assert!(with(|signer| drop(
            signer.claims.insert("https://x.example/role".into(), BTreeSet::new())
        )));
    }

    #[test]
    fn t10_an_audience_or_a_subject_looks_like_no_other_and_a_list_of_them_like_no_other_list() {
        for aud in [
            "https://r\u{435}gistry.example",
            "e\u{301}",
            "https://a.example https://b.example",
            "https://a.example,https://b.example",
            "https://a.example;b",
            "https://registry.example, as root; key AAAAAAAAAAA",
            "\"a\"",
            "'a'",
            "a\u{a0}b",
        ] {
            assert!(!with(|signer| signer.audiences = [aud.into()].into()), "{aud:?}");
            assert!(!with(|signer| signer.subjects = [aud.into()].into()), "{aud:?}");
        }
        for aud in [
            "https://",
            "https://A.example",
            "https://u@a.example",
            "https://a.example:0",
            "https://a\\b",
        ] {
            assert!(!with(|signer| signer.audiences = [aud.into()].into()), "{aud:?}");
        }
        for aud in [
            "https://xn--rgistry-9of.example:8443/a?b#c",
            "spiffe://a.example/x",
            "sts.amazonaws.com",
            "repo:o/r:ref:refs/heads/main",
        ] {
            assert!(with(|signer| signer.audiences = [aud.into()].into()), "{aud:?}");
            assert!(with(|signer| signer.subjects = [aud.into()].into()), "{aud:?}");
        }
    }

    #[test]
    fn t28_a_claim_in_another_case_is_the_same_claim_to_some_verifiers_and_is_refused() {
        for name in ["Sub", "AUD", "Exp", "ISS", "nBf", "Task", "Lease_sha256"] {
            assert!(!with(|signer| drop(signer.claims.insert(name.into(), BTreeSet::new()))), "{name}");
        }
        // Rules of `env` name its values, and say nothing of `Env`.
        assert!(!with(|signer| drop(signer.claims.insert("Env".into(), BTreeSet::new()))));
        assert!(with(|signer| drop(signer.claims.insert("subject".into(), BTreeSet::new()))));
    }

    /// A signer of P-256 keys, with an audience that knows keys by `profile`.
    fn certified(profile: Profile, change: impl FnOnce(&mut Signer, &mut Certificates)) -> bool {
        use crate::mint::{key::public_of, self_signed::certificate};
        let public = |seed: u8| public_of(Algorithm::Es256, &[seed; 32]).unwrap();
        let of = |seed: u8| certificate(&[seed; 32], &public(seed)).unwrap();
        with(|signer| {
            signer.alg = Algorithm::Es256;
            (signer.current, signer.next) = (public(1).to_text(), Some(public(2).to_text()));
            signer.profiles = [("https://registry.example".to_owned(), profile)].into();
            let mut certificates = Certificates {
                current: of(1),
                next: of(2),
                previous: None,
            };
            change(signer, &mut certificates);
            signer.certificates = Some(certificates);
        })
    }

    #[test]
    fn t28_a_profile_is_of_an_audience_of_the_signer_and_each_key_has_a_certificate_of_its_own() {
        let previous = |signer: &mut Signer, certificates: &mut Certificates, own: bool| {
            signer.previous = Some(crate::mint::key::public_of(Algorithm::Es256, &[3; 32]).unwrap().to_text());
            let key = crate::mint::key::public_of(Algorithm::Es256, &[3; 32]).unwrap();
            let own_one = crate::mint::self_signed::certificate(&[3; 32], &key).unwrap();
            certificates.previous = Some(if own { own_one } else { certificates.next.clone() });
        };
        for profile in [Profile::Libtrust, Profile::X5c] {
            assert!(certified(profile, |_, _| {}), "{profile:?}");
            assert!(certified(profile, |signer, certificates| previous(signer, certificates, true)));
        }
        assert!(!certified(Profile::Thumbprint, |_, _| {}));
        assert!(!certified(Profile::X5c, |signer, _| {
            signer.profiles.insert("https://other.example".into(), Profile::X5c);
        }));
        assert!(!certified(Profile::X5c, |signer, _| signer.profiles.clear()), "nobody needs them");
        assert!(!certified(Profile::X5c, |_, certificates| certificates.current = certificates.next.clone()));
        assert!(!certified(Profile::X5c, |_, certificates| certificates.next.clear()));
        assert!(!certified(Profile::X5c, |signer, certificates| previous(
            signer,
            certificates,
            false
        )));
        assert!(!certified(Profile::X5c, |_, certificates| certificates.previous =
            Some(certificates.next.clone())));
        let eddsa = |signer: &mut Signer| signer.profiles = [("https://registry.example".to_owned(), Profile::X5c)].into();
        assert!(!with(eddsa));
    }

    #[test]
    fn t28_scopes_of_a_registry_have_one_form_and_the_claim_has_one_rule() {
        let scopes = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<BTreeSet<_>>();
        assert!(with(
            |signer| signer.access = scopes(&["registry:catalog:*", "repository:team/app:pull,push"])
        ));
        for text in [
            "",
            "repository:app:push,pull",
            "repository:*:pull",
            "a:b:c d",
            "repository:app:pull\u{202e}",
        ] {
            assert!(!with(|signer| signer.access = scopes(&[text])), "{text:?}");
        }
        for name in ["access", "Access"] {
            assert!(with(|signer| drop(signer.claims.insert(name.into(), BTreeSet::new()))));
            assert!(!with(|signer| {
                signer.access = scopes(&["repository:app:pull"]);
                signer.claims.insert(name.into(), BTreeSet::new());
            }));
        }
    }

    #[test]
    fn t27_a_signer_of_certificates_names_users_one_by_one_and_signs_no_tokens() {
        let of_ssh = |signer: &mut Signer, names: &[&str]| {
            signer.audiences.clear();
            signer.claims.clear();
            signer.issuer.clear();
            signer.subjects.clear();
            signer.principals = Some(names.iter().map(|name| (*name).to_owned()).collect());
        };
        assert!(with(|signer| of_ssh(signer, &["deploy", "root"])));
        for names in [&[][..], &[""], &["*"], &["deploy", "a,b"], &["a b"], &["-x"], &["."], &["a\n"]] {
            assert!(!with(|signer| of_ssh(signer, names)), "{names:?}");
        }
        assert!(!with(|signer| signer.principals = Some(["deploy".into()].into())), "tokens besides");
        assert!(!with(|signer| {
            of_ssh(signer, &["deploy"]);
            signer.issuer = "https://id.example".into();
        }));
    }

    #[test]
    fn t22_a_signer_of_signatures_names_its_namespaces_one_by_one_is_sealed_and_signs_nothing_else() {
        let of_signatures = |signer: &mut Signer, names: &[&str]| {
            signer.audiences.clear();
            signer.claims.clear();
            signer.issuer.clear();
            signer.subjects.clear();
            signer.namespaces = Some(names.iter().map(|name| (*name).to_owned()).collect());
        };
        assert!(with(|signer| of_signatures(
            signer,
            &["file", "git", "release@example.com", "team/app.v1"]
        )));
        for name in [
            "",
            "*",
            "gi?",
            "!git",
            "a,b",
            "a b",
            "-x",
            ".",
            "/a",
            "a\n",
            "a\"",
            "\u{433}it",
            "touchlease-lease",
            "TouchLease",
            &"a".repeat(65),
        ] {
            assert!(!with(|signer| of_signatures(signer, &[name])), "{name:?}");
        }
        assert!(!with(|signer| of_signatures(signer, &[])));
        assert!(!with(|signer| signer.namespaces = Some(["git".into()].into())), "tokens besides");
        assert!(!with(|signer| {
            of_signatures(signer, &["git"]);
            signer.principals = Some(["deploy".into()].into());
        }));
        let mut card = in_hardware();
        of_signatures(card.signer.as_mut().unwrap(), &["git"]);
        assert!(card.check().is_err());
    }

    #[test]
    fn an_issuer_has_one_form() {
        for issuer in ["https://id.example", "https://id.example:8443", "https://id.example/a/b-c_~.d"] {
            assert!(with(|signer| signer.issuer = issuer.into()), "{issuer}");
        }
        for issuer in [
            "http://id.example",
            "https://",
            "https://ID.example",
            "https://id.example/",
            "https://id.example/a/",
            "https://id.example/../a",
            "https://id.example//a",
            "https://id.example?x",
            "https://id.example/a#b",
            "https://u@id.example",
            "https://id.example/a b",
            "id.example",
        ] {
            assert!(!with(|signer| signer.issuer = issuer.into()), "{issuer}");
        }
    }

    #[test]
    fn a_signer_goes_out_in_no_other_way() {
        for delivery in [Delivery::Env, Delivery::File, Delivery::Proxy] {
            let mut rules = rules();
            rules.deliveries.insert(delivery);
            assert!(rules.check().is_err(), "{delivery:?}");
        }
    }

    #[test]
    fn keys_are_different_points_of_the_one_curve() {
        let [current, _, third] = keys();
        assert!(with(|signer| signer.previous = Some(third)));
        assert!(!with(|signer| signer.next = Some(current.clone())));
        assert!(!with(|signer| signer.next = None));
        assert!(!with(|signer| signer.previous = Some(current)));
        assert!(!with(|signer| signer.alg = Algorithm::Es256));
        assert!(!with(|signer| signer.current = "AAAA".into()));
    }

    #[test]
    fn t29_a_signer_in_hardware_has_one_key_signs_once_for_each_touch_and_holds_no_private_key() {
        let with = |change: &dyn Fn(&mut Rules)| {
            let mut rules = in_hardware();
            change(&mut rules);
            rules.check().is_ok()
        };
        assert!(with(&|_| {}));
        assert!(!with(&|rules| rules.uses = Some(2)));
        assert!(!with(&|rules| rules.single_line = true));
        assert!(!with(&|rules| rules.signer.as_mut().unwrap().next = Some(G.into())));
        assert!(!with(&|rules| {
            let signer = rules.signer.as_mut().unwrap();
            (signer.alg, signer.current) = (Algorithm::EdDsa, keys()[0].clone());
        }));
        let secret = |bytes: &[u8]| Secret::from_slice_wiping(&mut bytes.to_vec()).unwrap();
        in_hardware().check_value(&secret(&NO_PRIVATE)).unwrap();
        assert!(in_hardware().check_value(&secret(&[1; 64])).is_err());
        let slot = in_hardware().signer.unwrap().slot().unwrap();
        assert_eq!((slot.slot.to_string(), slot.public_key[0]), ("93".into(), 4));
    }

    #[test]
    fn a_rotation_makes_the_next_key_the_one_that_signs() {
        let secret = |bytes: &[u8]| Secret::from_slice_wiping(&mut bytes.to_vec()).unwrap();
        let value = secret(&[[1; 32], [2; 32]].concat());
        let turned = turned(&value, &secret(&[3; 32])).unwrap();
        assert_eq!(split(&turned).unwrap(), (&[2; 32][..], &[3; 32][..]));
        assert!(super::turned(&secret(&[1; 63]), &secret(&[3; 32])).is_err());
        assert!(super::turned(&value, &secret(&[3; 31])).is_err());
        let rules = rules();
        assert!(rules.check_value(&secret(&[1; 63])).is_err() && rules.check_value(&secret(&NO_PRIVATE)).is_err());
    }
}
