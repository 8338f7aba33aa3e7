//! Calls about a vault and its secrets.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{Access, Mode, OFlags, access};

use super::house::{House, LOG_FILE};
use super::signers::refuse_signer;
use crate::audit::Lines;
use crate::device::{EnrolledKey, Profile};
use crate::encoding::SecretRef;
use crate::encoding::reference::ReferenceError;
use crate::lease::change::{Batch, change, one_scope, rules_meant, rules_said};
use crate::lease::enrol::{self, Candidacy};
use crate::lease::export::{Export, may_leave};
use crate::lease::failure::IntoFailure;
use crate::lease::office::Asker;
use crate::lease::{self, clock, older};
use crate::vault::{Changes, Delivery, Found, Listed, Put, Rules, Vault, VaultError};
use crate::wire::reply::{SecretView, Signer, Status};
use crate::wire::request::{ExportAsk, InitAsk, PutAsk, RulesAsk};
use crate::wire::{Event, Failure, Outcome, Reply, Value};

/// Lines of the log that wait to be sent.
const LINES_AT_ONCE: usize = 64;

pub(super) fn status(house: &House, path: &Path) -> Reply {
    let (open, fault) = match house.open(path) {
        Ok(open) => (Some(open), None),
        Err(failure) => (None, Some(failure).filter(|failure| failure.reason != "no_vault")),
    };
    let faults = house.config_fault().into_iter().chain(fault);
    let vault = open.as_ref().map(|open| open.vault.borrow().id());
    let (screens, prompts) = house.desk.counts();
    let now = house.clock.boot();
    let keys = house
        .opened()
        .into_iter()
        .flat_map(|open| open.vault.borrow().keys_ever())
        .collect::<Vec<_>>();
    let name = |id| keys.iter().find(|key| key.id() == id).map(|key| key.name.clone());
    Reply::Status(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        path: path.display().to_string(),
        leases: vault.map_or(0, |id| u32::try_from(house.ledger.views(&id).len()).unwrap_or(u32::MAX)),
        vault: vault.map(|id| id.to_string()),
        prompts,
        screens,
        faults: faults.map(|failure| failure.message).collect(),
        not_in: open.as_ref().map(|open| not_in(&open.vault.borrow())).unwrap_or_default(),
        unlocked: house
            .broker
            .pins()
            .into_iter()
            .filter_map(|(id, until)| Some((name(id)?, until.since(now).as_secs())))
            .collect(),
        unsigned: open.map(|open| unsigned(&open.vault.borrow())).unwrap_or_default(),
    })
}

/// Scopes that some keys are not yet in, with these keys.
fn not_in(vault: &Vault) -> Vec<(String, Vec<String>)> {
    let keys = |scope: &str| vault.keys_not_in(scope).unwrap_or_default();
    let scopes = vault.scopes().into_iter().map(|scope| (scope.to_owned(), keys(scope)));
    scopes.filter(|(_, keys)| !keys.is_empty()).collect()
}

/// Files of slots that no touch signed; what cannot be listed is told by the commands that need it.
pub(super) fn unsigned(vault: &Vault) -> Vec<String> {
    vault.unsigned_slots().unwrap_or_default()
}

/// # Errors
/// There is one already; whatever can go wrong with a key.
pub(super) async fn init(house: &Rc<House>, path: &Path, ask: InitAsk, asker: &Asker) -> Result<Reply, Failure> {
    match house.open(path) {
        Err(failure) if failure.reason == "no_vault" => {}
        Err(failure) => return Err(failure),
        Ok(_) => {
            return Err(
                Failure::new(Outcome::BadInput, "not_empty", format!("{} is a vault already", path.display()))
                    .hint("name another folder with --vault, or add a key: touchlease key add NAME"),
            );
        }
    }
    check_room(house, path)?;
    let shown = path.display().to_string();
    let lobby = house.lobby(&shown, None);
    let known = house.known_keys(ask.card.is_some());
    let card = super::keys::survey(&lobby, ask.card, &[], &known, asker).await?;
    let candidacy = Candidacy {
        name: &ask.key,
        touch_only: ask.touch_only,
        scopes: &ask.scopes,
        recovers: None,
        card: card.as_ref(),
        known: &known,
    };
    let mut begun = None;
    let ready = |vault| {
        begun = Some(vault);
        house.log_of(vault).map(drop)
    };
    let made = enrol::init(&lobby, path, &house.places.state, &candidacy, ready, asker).await;
    let made = made.inspect_err(|_| {
        // Unless there is a vault after all, its log is one of nothing.
        if let (Some(vault), Err(VaultError::NoVault { .. })) = (begun, house.read(path)) {
            house.forget(vault);
        }
    })?;
    // The code is told whatever else happens: it is in force already.
    // A person who makes a vault where another one lay means this one.
    let opened = house.open_anew(path, made.vault).map(drop).map_err(|failure| failure.message);
    Ok(Reply::Made {
        vault: made.vault.to_string(),
        path: shown,
        recovery_code: Value(made.code),
        profile: profile_said(&made.new.key).into(),
        built_in_uv: made.new.built_in_uv,
        trouble: made.trouble.map(|error| error.to_string()).or(opened.err()),
    })
}

/// Before anybody is asked for a touch: there is a place for the log, and for the vault.
fn check_room(house: &House, path: &Path) -> Result<(), Failure> {
    house.make_state(&house.places.state)?;
    let above = path.ancestors().find(|folder| folder.exists()).unwrap_or(path);
    access(above, Access::WRITE_OK).map_err(|error| {
        Failure::new(
            Outcome::Internal,
            "vault_folder",
            format!("no vault can be made in {}: {error}", above.display()),
        )
        .hint("make the folder writable, or name another one with --vault")
    })
}

/// # Errors
/// See [`Failure`].
pub(super) async fn put(house: &House, path: &Path, puts: Vec<PutAsk>, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let secrets: Vec<_> = puts.iter().map(|put| put.secret.clone()).collect();
    let (scope, names) = one_scope(&secrets)?;
    let mut changes = Changes::default();
    for (put, name) in puts.into_iter().zip(names) {
        let claimed = claimed(&open.vault.borrow(), &scope, &name)?;
        claimed.as_ref().map_or(Ok(()), |found| refuse_signer(&put.secret, found))?;
        let rules = match (&put.rules, &claimed) {
            (Some(rules), _) => rules_meant(rules)?,
            // A new version without a word about rules keeps those it had; a new secret goes into environments and files.
            (None, Some(found)) => found.listed.rules.clone(),
            (None, None) => Rules::value(&[Delivery::Env, Delivery::File]),
        };
        changes.judged.extend(claimed.map(|found| (name.clone(), found.clear)));
        changes.puts.push(Put {
            name,
            rules,
            value: put.value.0,
        });
    }
    let secrets = change(&house.office(&open), Batch::new(scope, changes), asker).await?;
    Ok(Reply::Changed { secrets })
}

/// The rules and the clear part of a secret as the folder shows it, if it does: the touch will tell whether that is true.
fn claimed(vault: &Vault, scope: &str, name: &str) -> Result<Option<Found>, Failure> {
    match vault.find(scope, name) {
        Ok(found) => Ok(Some(found)),
        Err(VaultError::NoSecret { .. }) => Ok(None),
        Err(error) => Err(error.failure()),
    }
}

/// # Errors
/// See [`Failure`].
pub(super) async fn edit(house: &House, path: &Path, secret: &str, rules: &RulesAsk, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let (scope, mut names) = one_scope(&[secret.to_owned()])?;
    let name = names.pop().unwrap_or_default();
    let found = open.vault.borrow().find(&scope, &name).map_err(IntoFailure::failure)?;
    refuse_signer(secret, &found)?;
    let rules = rules_meant(rules)?;
    if rules == found.listed.rules {
        let message = format!("{secret} has these rules already: nothing was changed");
        return Err(Failure::new(Outcome::BadInput, "nothing", message).hint(format!("touchlease list {secret} shows them")));
    }
    let changes = Changes {
        rules: vec![(name.clone(), rules)],
        judged: [(name, found.clear)].into(),
        ..Changes::default()
    };
    let secrets = change(&house.office(&open), Batch::new(scope, changes), asker).await?;
    Ok(Reply::Changed { secrets })
}

/// # Errors
/// See [`Failure`].
pub(super) async fn remove(house: &House, path: &Path, secrets: &[String], asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let (scope, removes) = one_scope(secrets)?;
    for name in &removes {
        open.vault.borrow().find(&scope, name).map_err(IntoFailure::failure)?;
    }
    let secrets = change(
        &house.office(&open),
        Batch::new(
            scope,
            Changes {
                removes,
                ..Changes::default()
            },
        ),
        asker,
    )
    .await?;
    Ok(Reply::Changed { secrets })
}

/// The secrets of a scope, of all, or those that are named, in parts: what was sent is not held, and others are served in between.
///
/// # Errors
/// No such scope; the folder cannot be read.
pub(super) async fn list(house: &House, path: &Path, scope: Option<&str>, named: &[String], asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    if !named.is_empty() {
        let (listed, unreadable) = named_secrets(&open.vault.borrow(), named)?;
        tell(asker, listed);
        let unsigned = unsigned(&open.vault.borrow());
        return Ok(Reply::Listed { unreadable, unsigned });
    }
    let shelves = open.vault.borrow().shelves(scope).map_err(IntoFailure::failure)?;
    let mut unreadable = Vec::new();
    for shelf in shelves {
        let (listed, files) = open.vault.borrow().list_shelf(&shelf).map_err(IntoFailure::failure)?;
        unreadable.extend(files.into_iter().map(|file| format!("{}: {}", file.path, file.why)));
        if !tell(asker, listed) {
            break;
        }
        tokio::task::yield_now().await;
    }
    let unsigned = unsigned(&open.vault.borrow());
    Ok(Reply::Listed { unreadable, unsigned })
}

fn named_secrets(vault: &Vault, named: &[String]) -> Result<(Vec<Listed>, Vec<String>), Failure> {
    let (mut listed, mut unreadable) = (Vec::new(), Vec::new());
    for secret in named {
        let secret: SecretRef = secret
            .parse()
            .map_err(|error: ReferenceError| Failure::new(Outcome::BadInput, "reference", error.to_string()).hint("touchlease list"))?;
        match vault.find(&secret.scope, &secret.name) {
            Ok(found) => listed.push(found.listed),
            Err(VaultError::NoSecret { .. }) => {}
            Err(VaultError::Damaged { path, why }) => unreadable.push(format!("{path}: {why}")),
            Err(error) => return Err(error.failure()),
        }
    }
    Ok((listed, unreadable))
}

/// Sends a part of a list. False when nobody reads it any more.
fn tell(asker: &Asker, listed: Vec<Listed>) -> bool {
    let secrets = listed.into_iter().map(|one| SecretView {
        secret: format!("{}/{}", one.scope, one.name),
        version: one.version,
        rules: rules_said(&one.rules),
    });
    asker
        .tell
        .send(Event::Secrets {
            secrets: secrets.collect(),
        })
        .is_ok()
}

/// Every value of a scope, each sent before the next is unsealed.
///
/// # Errors
/// See [`Failure`]; a record that is not what the index names ends it.
pub(super) async fn export(house: &House, path: &Path, ask: &ExportAsk, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let (mut secrets, mut staying) = (0, BTreeSet::new());
    let shelves = open.vault.borrow().shelves(Some(&ask.scope)).map_err(IntoFailure::failure)?;
    for shelf in shelves {
        for one in open.vault.borrow().list_shelf(&shelf).map_err(IntoFailure::failure)?.0 {
            if may_leave(&one.rules) {
                secrets += 1;
            } else {
                staying.insert(one.name);
            }
        }
        tokio::task::yield_now().await;
    }
    let export = Export {
        scope: ask.scope.clone(),
        to: ask.to.clone(),
        secrets,
        left_out: staying.len() as u64,
    };
    let opened = lease::export::export(&house.office(&open), &export, asker).await?;
    let mut sent = 0;
    for at in 0..opened.len() {
        let taken = open.vault.borrow().take_out(&opened, at).map_err(IntoFailure::failure)?;
        // What was said to stay stays, and so does what the record itself, which nobody could forge, does not let out.
        if staying.contains(&taken.name) || !may_leave(&taken.rules) {
            staying.insert(taken.name);
            continue;
        }
        let (name, value) = (taken.name, Value(taken.value));
        if asker.tell.send(Event::Exported { name, value }).is_err() {
            break;
        }
        sent += 1;
        tokio::task::yield_now().await;
    }
    let left_out = staying.into_iter().map(|name| format!("{}/{name}", ask.scope));
    Ok(Reply::Exported {
        secrets: sent,
        left_out: left_out.collect(),
    })
}

/// The log, line by line, and the keys that may have signed in it. One that is damaged is not added to, and shown all the same.
///
/// # Errors
/// The log cannot be read.
pub(super) async fn audit(house: &House, path: &Path, asker: &Asker) -> Result<Reply, Failure> {
    let damage = match house.open(path) {
        // What waits for the disk is part of what is shown.
        Ok(open) => open.log.sync().map_err(IntoFailure::failure).err(),
        Err(failure) if failure.outcome == Outcome::LogRefused => Some(failure),
        Err(failure) => return Err(failure),
    };
    let vault = house.read(path).map_err(IntoFailure::failure)?;
    let file = house.places.state_of(&vault.id().to_string()).join(LOG_FILE);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(file, flags, Mode::empty()).map_err(|error| unreadable_log(&error.into()))?;
    let mut lines = Lines::new(BufReader::new(std::fs::File::from(file)));
    let mut sent = 0_usize;
    while let Some(line) = lines.next_bytes().map_err(|error| unreadable_log(&error))? {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = String::from_utf8_lossy(line).into_owned();
        // The client may stop reading.
        if asker.tell.send(Event::Line { line }).is_err() {
            break;
        }
        // What was sent is not held, and others are served in between.
        sent += 1;
        if sent.is_multiple_of(LINES_AT_ONCE) {
            tokio::task::yield_now().await;
        }
    }
    let signers = vault.keys_ever().into_iter().map(|key| Signer {
        id: key.id().0,
        point: data_encoding::BASE64URL_NOPAD.encode(key.signer()),
        profile: profile_said(&key).into(),
        name: key.name,
    });
    Ok(Reply::Log {
        signers: signers.collect(),
        damage: damage.map(|failure| failure.message),
    })
}

/// # Errors
/// See [`Failure`].
pub(super) async fn accept_clock(house: &House, path: &Path, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let accepted = clock::accept(&house.office(&open), asker).await?;
    Ok(Reply::Clock { accepted })
}

/// # Errors
/// See [`Failure`].
pub(super) async fn accept_older(house: &House, path: &Path, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open_as_is(path)?;
    open.log.sync().map_err(IntoFailure::failure)?;
    let id = open.vault.borrow().id();
    let log = std::fs::File::open(house.places.state_of(&id.to_string()).join(LOG_FILE)).map_err(|error| unreadable_log(&error))?;
    let accepted = older::accept(&house.office(&open), asker, BufReader::new(log), house.instead_of(path, id)).await?;
    if accepted {
        house.open_anew(path, id)?;
    }
    Ok(Reply::Older { accepted })
}

fn unreadable_log(error: &std::io::Error) -> Failure {
    Failure::new(Outcome::LogRefused, "log", format!("the audit log cannot be read: {error}"))
        .hint("touchlease doctor says where it lies and why")
}

/// `pin` or `touch-only`.
pub(super) fn profile_said(key: &EnrolledKey) -> &'static str {
    match key.profile {
        _ if key.piv().is_some() => "piv",
        Profile::Pin => "pin",
        Profile::TouchOnly => "touch-only",
    }
}
