//! `touchlease key`: the keys of the vault, and what is plugged in.

use serde_json::json;

use super::init::unexpected;
use super::piv;
use super::session::Session;
use super::signer::{exposed_signers, signers};
use super::table::Table;
use super::tty::Tty;
use super::ui::{Tone, Ui};
use crate::device::DeviceError;
use crate::device::pin_form::checked;
use crate::lease::failure::IntoFailure;
use crate::wire::reply::KeyView;
use crate::wire::request::{KeyAddAsk, KeyRemoveAsk, Manage};
use crate::wire::{Failure, Outcome, Reply, Request, Value};

/// The profile of YubiKeys that were enrolled by their PIV application, as the daemon names it.
const PIV: &str = "piv";

/// Look at keys, enrol and remove them, manage their PIN and fingerprints.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the keys of the vault, and those that are connected.
    List,
    /// Enrol one more key: three touches of its own, then one of a key that is enrolled.
    ///
    /// For more than two scopes each needs one more for each two: a touch opens two at most.
    Add {
        /// What to call it in prompts.
        name: String,
        /// Enrol it without its PIN. Weaker: whoever holds the key and a copy of the vault opens it.
        #[arg(long)]
        touch_only: bool,
        /// Let it into this scope [default: all]. Repeat for more.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        #[command(flatten)]
        piv: piv::PivArgs,
    },
    /// Let an enrolled key into scopes that it is not in: its touch, and that of a key that is in.
    Admit {
        /// Its name.
        name: String,
        /// Let it into this scope [default: all that it is not in]. Repeat for more.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
    },
    /// Take a key out, re-key what it could open, and list the secrets to change at their issuers.
    Remove {
        /// Its name.
        name: String,
        /// Touch this one of the keys that stay [default: a connected one].
        #[arg(long, value_name = "NAME")]
        key: Option<String>,
    },
    /// Show a connected key in detail, with the PIN tries it has left.
    Info {
        /// Its name, or its place as `key list` shows it [default: the only connected key].
        key: Option<String>,
    },
    /// Set or change a key's PIN.
    #[command(subcommand)]
    Pin(PinCommand),
    /// List the discoverable credentials stored on a key.
    Credentials {
        /// Its name, or its place as `key list` shows it [default: the only connected key].
        key: Option<String>,
    },
    /// List, add, rename and remove fingerprints on a key.
    #[command(subcommand)]
    Fingerprint(FingerprintCommand),
}

/// Set or change a key's PIN.
#[derive(Debug, clap::Subcommand)]
pub enum PinCommand {
    /// Set a first PIN.
    Set {
        /// Its name, or its place as `key list` shows it [default: the only connected key].
        key: Option<String>,
    },
    /// Change the PIN.
    Change {
        /// Its name, or its place as `key list` shows it [default: the only connected key].
        key: Option<String>,
    },
}

/// List, add, rename and remove fingerprints on a key.
#[derive(Debug, clap::Subcommand)]
pub enum FingerprintCommand {
    /// List the fingerprints on a key.
    List {
        /// Its name, or its place as `key list` shows it [default: the only connected key].
        key: Option<String>,
    },
    /// Add a fingerprint, with several touches of the sensor.
    Add {
        /// What to call it.
        name: String,
        /// Use the key of this name, or at this place [default: the only connected key].
        #[arg(long)]
        key: Option<String>,
    },
    /// Give a fingerprint another name.
    Rename {
        /// Its id, as `key fingerprint list` shows it.
        id: String,
        /// What to call it.
        name: String,
        /// Use the key of this name, or at this place [default: the only connected key].
        #[arg(long)]
        key: Option<String>,
    },
    /// Remove a fingerprint.
    Remove {
        /// Its id, as `key fingerprint list` shows it.
        id: String,
        /// Use the key of this name, or at this place [default: the only connected key].
        #[arg(long)]
        key: Option<String>,
    },
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::List => list(session),
        Command::Add {
            name,
            touch_only,
            scopes,
            piv,
        } => {
            let card = piv::ask(session, piv)?;
            add(
                session,
                KeyAddAsk {
                    name,
                    touch_only,
                    scopes,
                    card,
                },
            )
        }
        Command::Admit { name, scopes } => admit(session, name, scopes),
        Command::Remove { name, key } => remove(session, KeyRemoveAsk { name, key }),
        Command::Info { key } => info(session, key),
        Command::Pin(PinCommand::Set { key }) => {
            has_pin(session, key.clone(), false)?;
            manage(session, key, Manage::PinSet { pin: new_pin()? })
        }
        Command::Pin(PinCommand::Change { key }) => {
            has_pin(session, key.clone(), true)?;
            let old = pin("present PIN: ")?;
            manage(session, key, Manage::PinChange { old, new: new_pin()? })
        }
        Command::Credentials { key } => {
            has_pin(session, key.clone(), true)?;
            manage(session, key, Manage::Credentials { pin: pin("PIN: ")? })
        }
        Command::Fingerprint(command) => fingerprint(session, command),
    }
}

fn fingerprint(session: &Session, command: FingerprintCommand) -> Result<(), Failure> {
    let key = match &command {
        FingerprintCommand::List { key }
        | FingerprintCommand::Add { key, .. }
        | FingerprintCommand::Rename { key, .. }
        | FingerprintCommand::Remove { key, .. } => key.clone(),
    };
    has_pin(session, key.clone(), true)?;
    if matches!(command, FingerprintCommand::Add { .. }) {
        session.ui.note(
            Tone::Act,
            "after the PIN, touch the key's sensor with one finger, again and again, as the key wants it",
        );
    }
    let pin = pin("PIN: ")?;
    let what = match command {
        FingerprintCommand::List { .. } => Manage::FingerprintList { pin },
        FingerprintCommand::Add { name, .. } => Manage::FingerprintAdd { pin, name },
        FingerprintCommand::Rename { id, name, .. } => Manage::FingerprintRename { pin, id, name },
        FingerprintCommand::Remove { id, .. } => Manage::FingerprintRemove { pin, id },
    };
    manage(session, key, what)
}

/// Before anybody types a PIN: the key is there, over USB, and has one or has none.
fn has_pin(session: &Session, key: Option<String>, wanted: bool) -> Result<(), Failure> {
    let command = key.as_ref().map_or_else(String::new, |key| format!(" {key}"));
    let Reply::Key(detail) = session.ask(Request::KeyInfo { key })? else {
        return Err(unexpected());
    };
    if detail.key.profile.as_deref() == Some(PIV) {
        let message = "PIN, PUK and management key of a YubiKey's PIV application are changed by its maker's program";
        return Err(Failure::new(Outcome::Refused, "piv_care", message).hint("ykman piv access change-pin"));
    }
    if detail.key.transport.as_deref().is_some_and(|transport| transport != "usb") {
        return Err(DeviceError::OverUsbOnly.failure());
    }
    match (detail.pin_tries, wanted) {
        (None, true) => {
            Err(Failure::new(Outcome::Locked, "pin_not_set", "the key has no PIN").hint(format!("touchlease key pin set{command}")))
        }
        (Some(_), false) => {
            Err(Failure::new(Outcome::BadInput, "pin_is_set", "the key has a PIN already")
                .hint(format!("touchlease key pin change{command}")))
        }
        (Some(0), true) => Err(Failure::new(
            Outcome::Locked,
            "pin_blocked",
            "the key's PIN is blocked: only a reset makes the key usable again, and a reset destroys its credentials",
        )
        .hint("use another enrolled key; this one has to be reset and enrolled again")),
        (Some(1), true) => spend_last_try(),
        _ => Ok(()),
    }
}

fn list(session: &Session) -> Result<(), Failure> {
    let Reply::Keys { keys, unsigned } = session.ask(Request::KeyList)? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "keys": keys, "unsigned": unsigned }));
    session.ui.unsigned(&unsigned);
    let head = ["KEY", "ASKS FOR", "OPENS", "NOT YET IN", "CONNECTED", "NOTE"];
    session
        .ui
        .table(&Table::new(head, keys.iter().map(row)), "no key is enrolled and none is connected");
    Ok(())
}

fn row(key: &KeyView) -> [String; 6] {
    let fingerprint = key.built_in_uv && key.profile.as_deref() != Some("touch-only");
    let notes = [
        fingerprint.then(|| "takes a fingerprint for its PIN: a stolen touch counts as PIN".to_owned()),
        key.problem.as_ref().map(|problem| format!("cannot serve: {problem}")),
    ];
    let profile = key.profile.as_deref().map(|profile| match profile {
        "pin" => "PIN and touch",
        PIV => "PIN and touch each time (PIV)",
        _ => "touch only (weaker)",
    });
    [
        key.name.clone().unwrap_or_else(|| "(not enrolled)".into()),
        profile.unwrap_or_default().into(),
        key.scopes.join(", "),
        key.not_in.join(", "),
        connected(key),
        notes.into_iter().flatten().collect::<Vec<_>>().join("; "),
    ]
}

fn connected(key: &KeyView) -> String {
    let transport = key.transport.as_deref().map(|transport| match transport {
        "usb" => "USB",
        "nfc" => "NFC",
        "contact" => "card slot",
        other => other,
    });
    match (transport, &key.model, &key.place) {
        // A reader stands for the key in it, which has no name of its own.
        (Some(transport), Some(model), Some(place)) if model == place => format!("{transport}, {place}"),
        (Some(transport), Some(model), Some(place)) => format!("{model}, {transport}, {place}"),
        (Some(transport), ..) => transport.into(),
        _ => "no".into(),
    }
}

fn admit(session: &Session, name: String, scopes: Vec<String>) -> Result<(), Failure> {
    let Reply::KeyAdmitted { name, scopes } = session.ask(Request::KeyAdmit { name, scopes })? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "name": name, "scopes": scopes }));
    session.ui.line(&format!("key \"{name}\" opens {} as well", scopes.join(", ")));
    Ok(())
}

fn add(session: &Session, ask: KeyAddAsk) -> Result<(), Failure> {
    let reply = session.ask(Request::KeyAdd(ask))?;
    let Reply::KeyAdded {
        name,
        profile,
        built_in_uv,
        scopes,
    } = reply
    else {
        return Err(unexpected());
    };
    session
        .ui
        .json(&json!({ "name": name, "profile": profile, "built_in_uv": built_in_uv, "scopes": scopes }));
    session
        .ui
        .line(&format!("key \"{name}\" is enrolled; it opens {}", scopes.join(", ")));
    say_weaker(session.ui, &profile, built_in_uv);
    Ok(())
}

/// How a key that was enrolled is weaker than one with a PIN. Where a fingerprint can stand in for the PIN, a touch that another program
/// gets is worth as much; a touch-only key has no PIN that it could stand in for.
pub(super) fn say_weaker(ui: Ui, profile: &str, built_in_uv: bool) {
    if profile == "touch-only" {
        ui.note(
            Tone::Bad,
            "this key is touch-only: whoever holds it and a copy of the vault can open it. For more, once another key is enrolled: `touchlease key remove NAME`, `touchlease key pin set`, `touchlease key add NAME`.",
        );
    } else if built_in_uv && profile == "pin" {
        ui.note(
            Tone::Bad,
            "this key takes a fingerprint in place of its PIN: a stolen touch counts as PIN. Touch it only for the words that you compared.",
        );
    }
}

fn remove(session: &Session, ask: KeyRemoveAsk) -> Result<(), Failure> {
    let Reply::KeyRemoved { name, change } = session.ask(Request::KeyRemove(ask))? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "name": name, "change_at_issuer": change }));
    session
        .ui
        .line(&format!("key \"{name}\" is out; the scopes it opened have new keys"));
    say_exposed(session, &change);
    Ok(())
}

/// What keys that were taken out could read.
pub fn say_exposed(session: &Session, secrets: &[String]) {
    if secrets.is_empty() {
        return;
    }
    session.ui.note(
        Tone::Bad,
        "A key that is out can still read these in old copies of the vault. Change them at their issuers:",
    );
    for secret in secrets {
        session.ui.line(secret);
    }
    // Of a signer the old copies hold the key that signs and the next one, so a plain rotation is not enough. Where signers cannot be listed,
    // it is said of whatever is one.
    match signers(session, vec![]) {
        Ok((views, _)) => {
            for note in exposed_signers(secrets, &views) {
                session.ui.note(Tone::Bad, &note);
            }
        }
        Err(_) => session.ui.note(
            Tone::Bad,
            "Of those that are signers: touchlease signer rotate prod/NAME --compromised",
        ),
    }
}

fn info(session: &Session, key: Option<String>) -> Result<(), Failure> {
    let Reply::Key(detail) = session.ask(Request::KeyInfo { key })? else {
        return Err(unexpected());
    };
    session
        .ui
        .json(&json!({ "key": detail.key, "details": rows(&detail.rows), "pin_tries": detail.pin_tries }));
    let last = match detail.key.profile.as_deref() {
        Some(PIV) => "PIN tries left: 1. One more wrong PIN blocks it, until its PUK sets a new one.",
        _ => "PIN tries left: 1. After one more wrong PIN the key has to be reset, and loses its credentials.",
    };
    if detail.pin_tries == Some(1) {
        session.ui.note(Tone::Bad, last);
    }
    let tries = detail
        .pin_tries
        .map_or_else(|| "it has no PIN".to_owned(), |tries| tries.to_string());
    let words = ["key", "asks for", "opens", "not yet in", "connected", "note"];
    let in_short = words.into_iter().zip(row(&detail.key)).filter(|(_, text)| !text.is_empty());
    let in_short = in_short.map(|(word, text)| [word.to_owned(), text]);
    let tries = [["PIN tries left".to_owned(), tries]];
    print_rows(session, in_short.chain(tries).chain(pairs(&detail.rows)));
    Ok(())
}

fn manage(session: &Session, key: Option<String>, what: Manage) -> Result<(), Failure> {
    let Reply::Managed { rows: found } = session.ask(Request::KeyManage { key, what })? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "rows": rows(&found) }));
    print_rows(session, pairs(&found));
    Ok(())
}

fn rows(rows: &[(String, String)]) -> Vec<serde_json::Value> {
    rows.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn pairs(rows: &[(String, String)]) -> impl Iterator<Item = [String; 2]> {
    rows.iter().map(|(name, value)| [name.clone(), value.clone()])
}

fn print_rows(session: &Session, rows: impl IntoIterator<Item = [String; 2]>) {
    session.ui.table(&Table::of_pairs(rows), "none");
}

fn new_pin() -> Result<Value, Failure> {
    new_secret(SecretKind::Pin)
}

/// What a person chooses for a key.
#[derive(Clone, Copy)]
pub enum SecretKind {
    /// Typed for each touch.
    Pin,
    /// Sets a new PIN.
    Puk,
}

/// A new PIN or PUK, typed twice.
///
/// # Errors
/// The two differ; no terminal.
pub fn new_secret(kind: SecretKind) -> Result<Value, Failure> {
    let name = match kind {
        SecretKind::Pin => "PIN",
        SecretKind::Puk => "PUK",
    };
    let first = pin(&format!("new {name}: "))?;
    let again = pin("the same again: ")?;
    if first.0.expose() == again.0.expose() {
        Ok(first)
    } else {
        Err(Failure::new(
            Outcome::BadInput,
            "pins_differ",
            format!("the two {name}s differ; the key's {name} is as it was"),
        )
        .hint("run the command again to type it"))
    }
}

/// What is typed, once it is a PIN: what is none costs the key a try.
fn pin(question: &str) -> Result<Value, Failure> {
    let mut tty = terminal()?;
    loop {
        let typed = tty.ask_secret(question).map_err(|_| interrupted())?;
        match checked(typed) {
            Ok(pin) => return Ok(Value(pin)),
            Err(form) => tty.write(&format!("{form}\n")),
        }
    }
}

/// The try after which a key has to be reset is spent by somebody who knows it.
fn spend_last_try() -> Result<(), Failure> {
    let answer = terminal()?.ask("ONE try left before the key blocks; type yes to use it: ");
    match answer.as_deref() {
        Ok("yes") => Ok(()),
        _ => Err(interrupted()),
    }
}

fn terminal() -> Result<Tty, Failure> {
    Tty::open().ok_or_else(|| {
        Failure::new(Outcome::Locked, "no_terminal", "a PIN is typed on a terminal, and there is none")
            .hint("run this command in a terminal, in the foreground")
    })
}

fn interrupted() -> Failure {
    Failure::new(Outcome::Denied, "interrupted", "nothing was changed").hint("run the command again to type it")
}
