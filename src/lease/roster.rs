//! Changes of who may open what, by touches of enrolled keys.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::enrol::{Ground, Steps, commit, own_screen, tell_aside};
use super::failure::{IntoFailure, locked_memory};
use super::office::{Asker, Lobby, Office};
use super::record::Journal;
use crate::device::{EnrolledKey, KeyId};
use crate::secret::Secret;
use crate::vault::{Fork, InForce, Plan, Random, Removal, VaultError};
use crate::wire::{Event, Failure, Outcome};

/// Takes a key out and re-keys what it could open, by touches of `touch` where it is named. Gives the secrets that it could read.
///
/// # Errors
/// Every way in which it can end before; the roster is as it was then.
pub async fn remove(office: &Office<'_>, name: &str, touch: Option<&str>, asker: &Asker) -> Result<Vec<String>, Failure> {
    own_screen(asker)?;
    if touch == Some(name) {
        return Err(approves_itself(office, name));
    }
    let touched: Vec<KeyId> = touched(office, touch, Some(name)).await?.iter().map(EnrolledKey::id).collect();
    let lobby = &office.lobby;
    let (vault, leaving, now) = (office.vault_now(), name.to_owned(), lobby.clock.wall().seconds());
    let begin = move |random: &mut Random| Removal::begin(&vault, &leaving, &touched, now, random);
    let removal = lobby.writer.run(begin).await?.map_err(|error| match error {
        VaultError::NoneIn(ref scope) => none_stays(office, name, &scope.clone(), error),
        error => error.failure(),
    })?;
    let exposed = removal.exposed().iter().map(|listed| format!("{}/{}", listed.scope, listed.name));
    let exposed = exposed.collect();
    carry_out(office, removal.into_plan(), format!("key remove {name}"), asker).await?;
    Ok(exposed)
}

/// Gives scopes new keys, and the key that is touched for it a new way into each. All that the key opens where none is named.
/// Gives the scopes and the key.
///
/// # Errors
/// Every way in which it can end before; the roster is as it was then.
pub async fn rotate(office: &Office<'_>, scopes: &[String], touch: Option<&str>, asker: &Asker) -> Result<(Vec<String>, String), Failure> {
    own_screen(asker)?;
    let touched = touched(office, touch, None).await?;
    let opens = |key: &EnrolledKey| office.vault.borrow().scopes_of(key);
    let key = touched.iter().find(|key| scopes.iter().all(|scope| opens(key).contains(scope)));
    let key = key.or(touched.first()).ok_or_else(|| no_such_key(touch.unwrap_or_default()))?;
    let scopes = if scopes.is_empty() { opens(key) } else { scopes.to_vec() };
    let lobby = &office.lobby;
    let names: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let plan = office
        .vault
        .borrow()
        .rotation(&names, key.id(), lobby.clock.wall().seconds(), &mut **lobby.random.borrow_mut());
    carry_out(
        office,
        plan.map_err(IntoFailure::failure)?,
        format!("rotate {}", scopes.join(" ")),
        asker,
    )
    .await?;
    Ok((scopes, key.name.clone()))
}

/// A recovery code in the place of the one before.
pub struct NewCode {
    /// As it is printed: told nowhere else, so told whatever else happens.
    pub code: Secret,
    /// What failed once it was in force.
    pub trouble: Option<VaultError>,
}

/// Makes a new recovery code and gives every scope a new key, by touches of `touch` where it is named. The code before it is void then.
///
/// # Errors
/// Every way in which it can end before; the code before holds then.
pub async fn new_code(office: &Office<'_>, touch: Option<&str>, asker: &Asker) -> Result<NewCode, Failure> {
    own_screen(asker)?;
    let touched: Vec<KeyId> = touched(office, touch, None).await?.iter().map(EnrolledKey::id).collect();
    let lobby = &office.lobby;
    let now = lobby.clock.wall().seconds();
    let planned = office.vault.borrow().new_code(&touched, now, &mut **lobby.random.borrow_mut());
    let (plan, fresh) = planned.map_err(IntoFailure::failure)?;
    // Before the statement is in force: without locked memory nothing is changed, and the code on the paper still holds.
    let code = Secret::from_slice_wiping(&mut fresh.to_text().to_string().into_bytes());
    let code = code.map_err(locked_memory)?;
    let in_force = change(lobby, office.log, office.vault_now(), plan, "vault new-code".into(), asker).await?;
    Ok(NewCode {
        code,
        trouble: in_force.trouble,
    })
}

/// Makes a scope that these keys open, each by a touch of its own; a connected one where none is named. Gives their names.
///
/// # Errors
/// Every way in which it can end before; the roster is as it was then.
pub async fn new_scope(office: &Office<'_>, name: &str, keys: &[String], asker: &Asker) -> Result<Vec<String>, Failure> {
    own_screen(asker)?;
    let mut chosen: Vec<EnrolledKey> = vec![];
    for name in keys {
        let named = touched(office, Some(name), None).await?;
        chosen.extend(named);
    }
    chosen.dedup();
    if chosen.is_empty() {
        chosen.extend(touched(office, None, None).await?.into_iter().take(1));
    }
    let ids: Vec<KeyId> = chosen.iter().map(EnrolledKey::id).collect();
    let lobby = &office.lobby;
    let now = lobby.clock.wall().seconds();
    let plan = office.vault.borrow().new_scope(name, &ids, now, &mut **lobby.random.borrow_mut());
    carry_out(office, plan.map_err(IntoFailure::failure)?, format!("scope add {name}"), asker).await?;
    Ok(chosen.into_iter().map(|key| key.name).collect())
}

/// Lets an enrolled key into scopes that it is not in: all of those where none is named. Gives their names.
///
/// # Errors
/// Every way in which it can end before; the roster is as it was then.
pub async fn admit(office: &Office<'_>, name: &str, scopes: &[String], asker: &Asker) -> Result<Vec<String>, Failure> {
    own_screen(asker)?;
    let scopes = if scopes.is_empty() {
        lacking(office, name)?
    } else {
        scopes.to_vec()
    };
    let names: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let lobby = &office.lobby;
    let now = lobby.clock.wall().seconds();
    let plan = office.vault.borrow().admission(name, &names, now, &mut **lobby.random.borrow_mut());
    carry_out(office, plan.map_err(IntoFailure::failure)?, format!("key admit {name}"), asker).await?;
    Ok(scopes)
}

/// The scopes that a key is not in.
fn lacking(office: &Office<'_>, name: &str) -> Result<Vec<String>, Failure> {
    let vault = office.vault.borrow();
    let key = vault
        .keys()
        .into_iter()
        .find(|key| key.name == name)
        .ok_or_else(|| no_such_key(name))?;
    let opens = vault.scopes_of(&key);
    let scopes = vault.scopes().into_iter().map(str::to_owned);
    let lacking: Vec<_> = scopes.filter(|scope| !opens.contains(scope)).collect();
    if lacking.is_empty() {
        return Err(
            Failure::new(Outcome::BadInput, "already_in", format!("\"{name}\" is in every scope already")).hint("touchlease scope list"),
        );
    }
    Ok(lacking)
}

/// Gives a scope another name.
///
/// # Errors
/// Every way in which it can end before; the roster is as it was then.
pub async fn rename(office: &Office<'_>, name: &str, to: &str, asker: &Asker) -> Result<(), Failure> {
    own_screen(asker)?;
    let plan = office.vault.borrow().renaming(name, to, office.lobby.clock.wall().seconds());
    carry_out(
        office,
        plan.map_err(IntoFailure::failure)?,
        format!("scope rename {name} {to}"),
        asker,
    )
    .await
}

/// Gives up a scope that has no secrets.
///
/// # Errors
/// Every way in which it can end before; the roster is as it was then.
pub async fn give_up(office: &Office<'_>, name: &str, asker: &Asker) -> Result<(), Failure> {
    own_screen(asker)?;
    let plan = office.vault.borrow().giving_up(name, office.lobby.clock.wall().seconds());
    carry_out(office, plan.map_err(IntoFailure::failure)?, format!("scope remove {name}"), asker).await
}

/// Joins the ends of a forked roster by touches of `touch` where it is named; `names` has other names for keys and scopes, by their ids.
///
/// # Errors
/// Every way in which it can end before; the fork is as it was then.
pub async fn join(
    lobby: &Lobby<'_>,
    log: &Rc<Journal>,
    fork: &Arc<Fork>,
    touch: Option<&str>,
    names: &BTreeMap<String, String>,
    asker: &Asker,
) -> Result<(), Failure> {
    own_screen(asker)?;
    let keys = fork.keys();
    if keys.is_empty() {
        return Err(Failure::new(
            Outcome::VaultRefused,
            "no_common_key",
            "no key is enrolled on every side, so none can sign for all of them",
        )
        .hint(way_out(fork)));
    }
    let touched = in_order(lobby, keys, touch, None)
        .await
        .map_err(|failure| match failure.reason.as_str() {
            "no_key" => failure.hint(format!("plug in a key that every side knows; if they are lost: {}", way_out(fork))),
            _ => failure,
        })?;
    let touched: Vec<KeyId> = touched.iter().map(EnrolledKey::id).collect();
    let (ground, names, now) = (fork.clone(), names.clone(), lobby.clock.wall().seconds());
    let join = move |random: &mut Random| ground.join(&touched, &names, now, random);
    let plan = lobby.writer.run(join).await?.map_err(|error| match &error {
        VaultError::NoneJoins { can, .. } if can.is_empty() => error.failure().hint(way_out(fork)),
        _ => or_way_out(error.failure(), fork),
    })?;
    tell_aside(asker, &plan.left_aside());
    let joined = change(lobby, log, fork.clone(), plan, "vault join".into(), asker)
        .await
        .and_then(sure);
    joined.map_err(|failure| or_way_out(failure, fork))
}

/// What is wrong with the vault may be a removed key's doing, and then it is for good: nobody is left without a way out.
fn or_way_out(failure: Failure, fork: &Fork) -> Failure {
    if failure.outcome != Outcome::VaultRefused || failure.reason == "vault_changed" {
        return failure;
    }
    let hint = match &failure.hint {
        Some(hint) => format!("{hint}; if it stays so, {}", way_out(fork)),
        None => way_out(fork),
    };
    failure.hint(hint)
}

/// What a person does where no touch can join: he gives a side up. What it alone changed is lost, and who holds its keys gains nothing.
fn way_out(fork: &Fork) -> String {
    let sides = fork.ways_out().into_iter();
    let sides = sides.map(|(side, files)| format!("of side {side}: rm {}", files.join(" ")));
    format!(
        "give up the side that is not yours: in the vault's folder take its statements out, then go on, with `touchlease recover NAME` where no key is left; {}",
        sides.collect::<Vec<_>>().join("; or ")
    )
}

async fn carry_out(office: &Office<'_>, plan: Plan, what: String, asker: &Asker) -> Result<(), Failure> {
    sure(change(&office.lobby, office.log, office.vault_now(), plan, what, asker).await?)
}

fn sure(in_force: InForce) -> Result<(), Failure> {
    in_force.sure().map(drop).map_err(IntoFailure::failure)
}

async fn change(
    lobby: &Lobby<'_>,
    log: &Rc<Journal>,
    ground: Arc<dyn Ground>,
    plan: Plan,
    what: String,
    asker: &Asker,
) -> Result<InForce, Failure> {
    let touches = plan.touches();
    if touches > 1 {
        // Whoever asked may have gone; the change ends with his connection.
        let _ = asker.tell.send(Event::Note {
            what: format!("this takes {touches} touches; nothing changes before the last of them"),
        });
    }
    let mut steps = Steps::new(asker, touches);
    commit(lobby, log, ground, plan, what, &mut steps, asker).await
}

/// The enrolled keys that may be touched, in the order in which they are asked: the named one alone; else those that are connected,
/// then the others. Whoever is to be touched stands in the statement, so it has to be known before it is shown.
async fn touched(office: &Office<'_>, named: Option<&str>, leaving: Option<&str>) -> Result<Vec<EnrolledKey>, Failure> {
    let keys = office.vault.borrow().keys();
    in_order(&office.lobby, keys, named, leaving).await
}

async fn in_order(
    lobby: &Lobby<'_>,
    mut keys: Vec<EnrolledKey>,
    named: Option<&str>,
    leaving: Option<&str>,
) -> Result<Vec<EnrolledKey>, Failure> {
    if let Some(named) = named {
        keys.retain(|key| key.name == named);
        return if keys.is_empty() { Err(no_such_key(named)) } else { Ok(keys) };
    }
    let seen = lobby.broker.seen(&keys).await.map_err(IntoFailure::failure)?;
    keys.retain(|key| Some(key.name.as_str()) != leaving);
    let (mut here, elsewhere): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| seen.iter().any(|seen| seen.key == Some(key.id())));
    if here.is_empty() && elsewhere.len() > 1 {
        let names: Vec<_> = elsewhere.iter().map(|key| format!("\"{}\"", key.name)).collect();
        return Err(Failure::new(
            Outcome::NoKey,
            "no_key",
            format!("none of the keys is connected that could sign: {}", names.join(", ")),
        )
        .hint("plug in the key that you want to touch, or name it: --key NAME"));
    }
    here.extend(elsewhere);
    Ok(here)
}

/// A key that goes cannot say who stays: one can that opens what it opens, as far as there is one.
fn approves_itself(office: &Office<'_>, name: &str) -> Failure {
    let vault = office.vault.borrow();
    let (leaving, stay): (Vec<_>, Vec<_>) = vault.keys().into_iter().partition(|key| key.name == name);
    let rekeyed: Vec<String> = leaving.iter().flat_map(|key| vault.scopes_of(key)).collect();
    let opens = |key: &&EnrolledKey| vault.scopes_of(key).iter().filter(|scope| rekeyed.contains(scope)).count();
    let hint = match stay.iter().max_by_key(opens) {
        Some(key) => format!("touchlease key remove {name} --key {}", key.name),
        None => "add another key first: touchlease key add NAME".into(),
    };
    let message = format!("\"{name}\" is the key that is taken out: one that stays has to approve that");
    Failure::new(Outcome::BadInput, "leaving_key", message).hint(hint)
}

/// Of the keys that stay, none that could be touched opens the scope; perhaps no other one does either.
fn none_stays(office: &Office<'_>, name: &str, scope: &str, error: VaultError) -> Failure {
    let vault = office.vault.borrow();
    let mut stay = vault.keys();
    stay.retain(|key| key.name != name);
    let opens = |key: &EnrolledKey| vault.scopes_of(key).iter().any(|opened| opened == scope);
    match stay.first() {
        Some(other) if !stay.iter().any(opens) => {
            let message = format!("\"{name}\" is the only key that opens scope {scope}: without it nobody could");
            Failure::new(Outcome::Refused, "none_in", message).hint(format!(
                "let another key in first, by a touch of \"{name}\": touchlease key admit {} --scope {scope}; if \"{name}\" is lost: touchlease recover NAME --lost {name}",
                other.name
            ))
        }
        _ => error.failure().hint(format!("touchlease key remove {name}")),
    }
}

/// There is no key of this name.
#[must_use]
pub fn no_such_key(name: &str) -> Failure {
    Failure::new(Outcome::BadInput, "no_such_key", format!("no enrolled key is called {name:?}")).hint("touchlease key list")
}
