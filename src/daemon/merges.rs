//! Calls about what was changed apart from each other.

use std::path::Path;

use super::house::House;
use crate::lease::change::{change, one_scope, rules_said, several_scopes};
use crate::lease::failure::IntoFailure;
use crate::lease::merge::batch;
use crate::lease::office::Asker;
use crate::vault::{Claim, Contest, Merge, Vault};
use crate::wire::reply::{ContestView, MergeView, VersionView};
use crate::wire::request::KeepAsk;
use crate::wire::{Failure, Reply};

/// # Errors
/// The folder cannot be read.
pub(super) fn list(house: &House, path: &Path) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let merges = open.vault.borrow().merges().map_err(IntoFailure::failure)?;
    Ok(Reply::Merges {
        merges: merges.into_iter().map(view).collect(),
    })
}

/// # Errors
/// See [`Failure`].
pub(super) async fn join(house: &House, path: &Path, scope: Option<String>, keep: Vec<KeepAsk>, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let secrets: Vec<_> = keep.iter().map(|keep| keep.secret.clone()).collect();
    let (scope, names) = match scope {
        Some(scope) if secrets.is_empty() => (scope, vec![]),
        named => {
            let (scope, names) = one_scope(&secrets)?;
            if named.is_some_and(|named| named != scope) {
                return Err(several_scopes());
            }
            (scope, names)
        }
    };
    let merge = find(&open.vault.borrow(), &scope)?;
    let keep: Vec<_> = names.into_iter().zip(keep).collect();
    let batch = batch(&open.vault.borrow(), &merge, &keep)?;
    let joined = if batch.changes.join { merge.heads.len() } else { 0 };
    let kept = if batch.changes.join || !keep.is_empty() {
        change(&house.office(&open), batch, asker).await?
    } else {
        vec![]
    };
    Ok(Reply::Merged {
        scope,
        joined: u32::try_from(joined).unwrap_or(u32::MAX),
        kept,
    })
}

fn find(vault: &Vault, scope: &str) -> Result<Merge, Failure> {
    // An unknown scope is said as such.
    vault.keys_not_in(scope).map_err(IntoFailure::failure)?;
    let merges = vault.merges().map_err(IntoFailure::failure)?;
    let found = merges.into_iter().find(|merge| merge.scope == scope);
    Ok(found.unwrap_or_else(|| Merge::nothing(scope)))
}

fn view(merge: Merge) -> MergeView {
    MergeView {
        heads: u32::try_from(merge.heads.len()).unwrap_or(u32::MAX),
        secrets: merge.claims.iter().map(version).collect(),
        contested: merge.contests.iter().map(contest).collect(),
        scope: merge.scope,
    }
}

fn contest(contest: &Contest) -> ContestView {
    ContestView {
        secret: contest.records.first().map(secret).unwrap_or_default(),
        versions: contest.records.iter().map(version).collect(),
    }
}

fn version(claim: &Claim) -> VersionView {
    VersionView {
        secret: secret(claim),
        version: claim.listed.version,
        record: claim.record.to_string(),
        changed: claim.listed.changed,
        rules: rules_said(&claim.listed.rules),
        earlier_key: claim.earlier_key,
    }
}

fn secret(claim: &Claim) -> String {
    format!("{}/{}", claim.listed.scope, claim.listed.name)
}
