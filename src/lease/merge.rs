//! Joining what was changed apart: which of several versions of a secret stays, as a change that a touch signs.

use super::change::{Batch, rules_said};
use super::failure::IntoFailure;
use super::text::{KeepText, VersionText};
use crate::encoding::SecretRef;
use crate::vault::index::number_after;
use crate::vault::{Changes, Claim, Contest, Merge, Vault};
use crate::wire::request::KeepAsk;
use crate::wire::{Failure, Outcome};

/// Fewest digits by which a record is named.
const FEWEST_DIGITS: usize = 4;

/// The change that joins the heads of a scope, and keeps what `keep` says.
///
/// # Errors
/// A name that was not written apart, a record that is not there.
pub fn batch(vault: &Vault, merge: &Merge, keep: &[(String, KeepAsk)]) -> Result<Batch, Failure> {
    let mut changes = Changes {
        join: merge.heads.len() > 1,
        ..Changes::default()
    };
    let mut keeps = vec![];
    for (name, ask) in keep {
        let contest = vault.records_of(&merge.scope, name).map_err(IntoFailure::failure)?;
        let chosen = choose(&contest, &ask.record).ok_or_else(|| no_such_version(ask))?;
        let clear = vault.clear_part(chosen).map_err(IntoFailure::failure)?;
        changes.keeps.push((name.clone(), chosen.record));
        changes.judged.insert(name.clone(), clear);
        keeps.push(text(&contest, chosen));
    }
    Ok(Batch {
        scope: merge.scope.clone(),
        changes,
        keeps,
    })
}

fn choose<'a>(contest: &'a Contest, digits: &str) -> Option<&'a Claim> {
    let mut fitting = contest.records.iter().filter(|claim| claim.record.to_string().starts_with(digits));
    match (fitting.next(), fitting.next()) {
        (Some(chosen), None) if digits.len() >= FEWEST_DIGITS => Some(chosen),
        _ => None,
    }
}

fn text(contest: &Contest, chosen: &Claim) -> KeepText {
    let highest = contest.records.iter().map(|claim| claim.listed.version).max().unwrap_or(0);
    let others = contest.records.iter().filter(|claim| claim.record != chosen.record);
    KeepText {
        secret: SecretRef {
            scope: chosen.listed.scope.clone(),
            name: chosen.listed.name.clone(),
        },
        keeps: VersionText::of(chosen),
        version: number_after(highest),
        rules: rules_said(&chosen.listed.rules),
        drops: others.map(VersionText::of).collect(),
    }
}

fn no_such_version(ask: &KeepAsk) -> Failure {
    Failure::new(
        Outcome::BadInput,
        "no_such_version",
        format!("{} has no record that begins with {:?}", ask.secret, ask.record),
    )
    .hint("touchlease merge shows the secrets that were written apart, and their records")
}
