//! An older copy of the vault in the place of a newer one, or another vault in its place: a person says by a touch that it is to be taken as
//! it is.

use std::io::BufRead;

use serde_json::Value;

use super::enrol::own_screen;
use super::failure::{IntoFailure, internal};
use super::office::{Asker, Office};
use super::record::{self, Question};
use super::text::{InsteadText, LostText, OlderKind, OlderRosterText, OlderScopeText, OlderText, Text, VERSION};
use super::touch::touch;
use crate::audit::Event;
use crate::audit::read::Lines;
use crate::encoding::Digest;
use crate::vault::{Older, SCOPES_PER_TOUCH, Standing};
use crate::wire::Failure;

/// Changes that are named one by one; of more, only their number is.
const NAMED: usize = 20;
/// Lines of the log that are read before others are served.
const LINES_AT_ONCE: usize = 256;

/// What the log knows of what the folder does not have.
#[derive(Default)]
struct Lost {
    changes: Vec<LostText>,
    statements: Vec<Digest>,
}

/// Asks for the touch, writes it down and forgets the newer state. False when there was nothing to ask: the folder is what was seen.
/// `log` is the log from its start, `instead` the vault that lay there until now, where it is another one.
///
/// # Errors
/// Every way in which a request can end without it.
pub async fn accept(office: &Office<'_>, asker: &Asker, log: impl BufRead, instead: Option<InsteadText>) -> Result<bool, Failure> {
    own_screen(asker).inspect_err(|refusal| office.refused(refusal))?;
    let older = office.vault.borrow().older().map_err(IntoFailure::failure)?;
    if older.is_nothing() && instead.is_none() {
        return Ok(false);
    }
    let lost = lost(office, &older, log).await;
    let turn = office.lobby.turn(asker).await.inspect_err(|refusal| office.refused(refusal))?;
    let standing = standing(office, &older)?;
    // Nothing is opened, so no salts.
    let mut candidates = office.candidates(&standing, asker)?;
    candidates.iter_mut().for_each(|candidate| candidate.unseals.clear());
    let what = match instead {
        Some(_) => "accept another vault",
        None => "accept an older vault",
    };
    let asked = record::asked(office.log, &Question::of_change(&asker.requester, vec![], what))?;
    let path = async {
        office.log.check_clock()?;
        let text = OlderText {
            instead,
            ..text(office, asker, &standing, &older, lost, asked.hash())
        };
        let fixed = text.fix().map_err(IntoFailure::failure)?;
        let prompt = office.show(turn, &fixed, &candidates, asker).await?;
        asked.shown()?;
        let proof = touch(&office.lobby, &prompt, &fixed, candidates).await?;
        asked.older_accepted(&proof, &fixed)?;
        let accepted = office.vault.borrow().accept_as_is(&proof, fixed.digest(), &older);
        accepted.map_err(IntoFailure::failure)?;
        prompt.approved();
        Ok(true)
    };
    path.await.inspect_err(|failure| asked.failed(failure))
}

fn standing(office: &Office<'_>, older: &Older) -> Result<Standing, Failure> {
    let vault = office.vault.borrow();
    let mut scopes: Vec<&str> = older.scopes.iter().map(|older| older.scope.as_str()).collect();
    if scopes.is_empty() {
        scopes = vault.scopes();
        scopes.truncate(1);
    }
    scopes.truncate(SCOPES_PER_TOUCH);
    if scopes.is_empty() {
        return Err(internal("no_scope", "the vault has no scope"));
    }
    vault.standing(&scopes).map_err(IntoFailure::failure)
}

fn text(office: &Office<'_>, asker: &Asker, standing: &Standing, older: &Older, lost: Lost, asked: Digest) -> OlderText {
    let count = lost.changes.len();
    OlderText {
        v: VERSION,
        kind: OlderKind::Older,
        id: office.lobby.random_id(),
        asked,
        origin: office.origin(&asker.requester, standing),
        instead: None,
        roster: older.roster.map(|remembered| OlderRosterText {
            remembered,
            missing: lost.statements.len() as u64,
        }),
        scopes: older
            .scopes
            .iter()
            .map(|older| OlderScopeText {
                scope: older.scope.clone(),
                remembered: older.remembered,
                gone: older.gone as u64,
            })
            .collect(),
        count: count as u64,
        // The newest are those that a person remembers.
        lost: lost.changes.into_iter().skip(count.saturating_sub(NAMED)).collect(),
    }
}

/// Changes from the first line on that was written over the state which the folder has, and statements that the folder has not.
async fn lost(office: &Office<'_>, older: &Older, log: impl BufRead) -> Lost {
    let mut lost = Lost::default();
    let mut from_here = false;
    for (n, line) in Lines::new(log).enumerate() {
        if n % LINES_AT_ONCE == LINES_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        let Ok(line) = line else { continue };
        match &*line.event {
            Event::Roster(roster)
                if !office.vault.borrow().has_statement(&roster.statement) && !lost.statements.contains(&roster.statement) =>
            {
                lost.statements.push(roster.statement);
            }
            Event::Approved(signed) => from_here |= is_of(&signed.text, older),
            Event::Change(change) => {
                from_here |= is_of(&change.signed.text, older);
                let of_scope = |name: &String| older.scopes.iter().any(|older| name.starts_with(&format!("{}/", older.scope)));
                let names: Vec<String> = change.names.iter().filter(|name| of_scope(name)).cloned().collect();
                if from_here && !names.is_empty() {
                    let at = line.wall().seconds();
                    lost.changes.push(LostText { at, names });
                }
            }
            _ => {}
        }
    }
    lost
}

/// Whether a text was fixed over the state of one of the scopes as the folder has it.
fn is_of(text: &str, older: &Older) -> bool {
    let Ok(text) = serde_json::from_str::<Value>(text) else {
        return false;
    };
    let heads = &text["origin"]["vault"]["heads"];
    older.scopes.iter().any(|older| {
        let of_scope = heads[&older.scope].as_array().into_iter().flatten();
        let named: Vec<&str> = of_scope.filter_map(Value::as_str).collect();
        !named.is_empty() && older.heads.iter().all(|head| named.contains(&head.to_string().as_str()))
    })
}
