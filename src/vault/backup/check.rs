//! What can be said of a vault's files without a touch: that the roster verifies, and that all is there that it names.

use crate::encoding::Digest;
use crate::vault::error::{RosterFault, VaultError};
use crate::vault::roster::Roster;
use crate::vault::scope::{carry_path, half_path, sealed_path};
use crate::vault::statement::{ScopeEntry, SlotEntry};
use crate::vault::store::Store;
use crate::vault::{marker, tree};

use super::{BackupError, Contents, Files, ScopeVerified, Verified};

/// Checks the roster and the heads, which lie in `store`, and the other files by their paths and digests.
pub fn complete(store: &Store, contents: Contents, files: Files) -> Result<Verified, BackupError> {
    marker::check(store)?;
    let roster = Roster::read(store)?;
    let statement = roster.in_force();
    if (statement.vault, roster.end()) != (contents.vault, contents.roster) {
        let (statement, why) = (roster.end(), RosterFault::Vault);
        let folder = store.folder().to_owned();
        return Err(VaultError::Roster { statement, why, folder }.into());
    }
    named_by_digest(&files)?;
    let scopes = statement.scopes.iter().map(|scope| check_scope(store, &roster, scope, &files));
    Ok(Verified {
        contents,
        name: statement.name.clone(),
        statements: files.digests.keys().filter(|path| path.ends_with(".json")).count(),
        keys: statement.keys.iter().map(|key| key.name.clone()).collect(),
        scopes: scopes.collect::<Result<_, _>>()?,
        unreadable: files.unreadable,
    })
}

/// Heads, nodes and pages are named by their digests.
fn named_by_digest(files: &Files) -> Result<(), VaultError> {
    let named = files
        .digests
        .iter()
        .filter(|(path, _)| path.starts_with("heads/") || path.starts_with("index/"));
    for (path, digest) in named {
        if !path.ends_with(&format!("/{digest}")) {
            return Err(VaultError::damaged(path, "its digest is another one"));
        }
    }
    Ok(())
}

fn check_scope(store: &Store, roster: &Roster, scope: &ScopeEntry, files: &Files) -> Result<ScopeVerified, VaultError> {
    for slot in &scope.slots {
        find(files, &sealed_path(slot.id(), &scope.commitment))?;
        if let SlotEntry::Fido2 { half, id, .. } = slot {
            let path = half_path(*id);
            let found = find(files, &path)?;
            if half.is_some_and(|half| half != found) {
                return Err(VaultError::damaged(path, "not the private half that the roster names"));
            }
        }
    }
    if scope.epoch > 1 {
        find(files, &carry_path(scope.id, &scope.commitment))?;
    }
    let records = format!("records/{}/", scope.id);
    Ok(ScopeVerified {
        name: scope.name.clone(),
        heads: tree::heads(store, scope.id, &scope.name, &roster.trust(scope), None)?.len(),
        slots: scope.slots.len(),
        records: files.digests.keys().filter(|path| path.starts_with(&records)).count(),
    })
}

fn find(files: &Files, path: &str) -> Result<Digest, VaultError> {
    let found = files.digests.get(path).copied();
    found.ok_or_else(|| VaultError::Missing { path: path.to_owned() })
}
