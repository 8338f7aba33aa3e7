//! What a reader makes of a vault: each secret's value, or in one word why not.

use std::collections::BTreeMap;

use crate::device::soft::SoftKey;
use crate::encoding::sshsig::Namespace;
use crate::vault::error::RosterFault;
use crate::vault::testing::Folder;
use crate::vault::{RecoveryCode, Vault, VaultError, scope};

use super::patch::{Files, unpack};

/// By what a vault is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Recovery,
    Key,
}

/// What is asked for, and what has to come.
pub struct Wanted<'a> {
    pub code: &'a str,
    pub key: &'a SoftKey,
    /// `scope/NAME` and value.
    pub secrets: &'a BTreeMap<String, Vec<u8>>,
}

/// Lines of `vault WORD`, `scope NAME WORD`, `secret SCOPE/NAME WORD`, or `fine`.
pub fn judge(files: &Files, door: Door, wanted: &Wanted<'_>) -> String {
    let home = Folder::new();
    let folder = home.join("vault");
    std::fs::create_dir(&folder).unwrap();
    unpack(files, &folder);
    let vault = match Vault::open(&folder, &home.join("state")) {
        Ok(vault) => vault,
        Err(error) => return format!("vault {}", word(&error)),
    };
    let mut words: BTreeMap<&str, Vec<(&str, String)>> = BTreeMap::new();
    for scope in ["dev", "prod"] {
        let of = wanted
            .secrets
            .iter()
            .filter_map(|(secret, value)| Some((secret.strip_prefix(scope)?.strip_prefix('/')?, value)));
        let of: Vec<(&str, &Vec<u8>)> = of.collect();
        let read = read_scope(&vault, scope, door, wanted, &of);
        let read = read.unwrap_or_else(|error| of.iter().map(|(name, _)| (*name, word(&error))).collect());
        words.insert(scope, read);
    }
    let mut lines = Vec::new();
    for (scope, words) in words {
        let bad: Vec<&(&str, String)> = words.iter().filter(|(_, word)| word != "fine").collect();
        if bad.len() == words.len() && bad.iter().all(|(_, word)| *word == bad[0].1) {
            lines.push(format!("scope {scope} {}", bad[0].1));
        } else {
            lines.extend(bad.iter().map(|(name, word)| format!("secret {scope}/{name} {word}")));
        }
    }
    if lines.is_empty() { "fine".to_owned() } else { lines.join(", ") }
}

/// The scope is opened once, as for a lease over all that is in it; then each secret is read on its own.
fn read_scope<'a>(
    vault: &Vault,
    name: &str,
    door: Door,
    wanted: &Wanted<'_>,
    secrets: &[(&'a str, &Vec<u8>)],
) -> Result<Vec<(&'a str, String)>, VaultError> {
    let (entry, standing) = (vault.scope(name)?, vault.standing(&[name])?);
    let ring = match door {
        Door::Recovery => {
            let code = RecoveryCode::parse(wanted.code).unwrap();
            scope::open_with_recovery(&vault.store, &vault.roster, entry, &code)?
        }
        Door::Key => {
            let salts = &vault.candidates(&standing)?[0].unseals;
            let proof = wanted.key.touch(Namespace::Lease, b"", salts);
            let output = proof.outputs()[0].expose();
            scope::open_with_key(&vault.store, &vault.roster, entry, &wanted.key.enrolled(), output)?
        }
    };
    let index = vault.index(entry, &ring, &standing, &vault.memory.accepted()?)?;
    let read = |secret: &str| {
        let wanted = crate::vault::Wanted {
            scope: name.into(),
            name: secret.into(),
            judged: vault.find(name, secret)?.clear,
        };
        vault.unseal_one(&index, &ring, &wanted)
    };
    let judged = secrets.iter().map(|(secret, value)| {
        let word = match read(secret) {
            Ok(read) if read.expose() == value.as_slice() => "fine".to_owned(),
            Ok(_) => "another-value".to_owned(),
            Err(error) => word(&error),
        };
        (*secret, word)
    });
    Ok(judged.collect())
}

fn word(error: &VaultError) -> String {
    match error {
        VaultError::NoVault { .. } => "no-vault",
        VaultError::Newer { .. } => "newer",
        VaultError::Missing { .. } => "missing",
        VaultError::Damaged { .. } | VaultError::Stranger { .. } => "damaged",
        VaultError::NotPlain { .. } => "not-plain",
        VaultError::Roster { why, .. } => match why {
            RosterFault::Form => "statement-form",
            RosterFault::Digest => "statement-digest",
            RosterFault::Gap => "statement-gap",
            RosterFault::Vault => "statement-vault",
            RosterFault::Unsigned => "statement-unsigned",
            RosterFault::Signer => "statement-signer",
            RosterFault::Signature => "statement-signature",
            RosterFault::Enrolment => "statement-enrolment",
            RosterFault::Content => "statement-content",
            RosterFault::Unconnected => "statement-unconnected",
        },
        VaultError::Fork { .. } => "fork",
        VaultError::WrongProof(_) => "wrong-code",
        VaultError::NoScope(_) => "no-scope",
        VaultError::NoSlot { .. } => "no-slot",
        VaultError::SlotClosed { .. } => "slot-closed",
        VaultError::WrongScopeKey { .. } => "wrong-scope-key",
        VaultError::NoSecret { .. } => "no-secret",
        VaultError::Removed { .. } => "removed",
        VaultError::Swapped { .. } => "swapped",
        VaultError::Deleted { .. } => "deleted",
        VaultError::Contested { .. } => "apart",
        VaultError::RulesChanged { .. } => "rules-changed",
        other => panic!("a reader has no word for {other:?}"),
    }
    .to_owned()
}
