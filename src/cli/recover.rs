//! `touchlease recover`: back in with the recovery code.

use std::io;

use serde_json::json;

use super::init::{say_code, unexpected};
use super::key::{say_exposed, say_weaker};
use super::piv::{self, PivArgs};
use super::session::Session;
use super::tty::Tty;
use super::ui::Tone;
use crate::encoding::plain::check_name;
use crate::lease::failure::IntoFailure;
use crate::lease::roster::no_such_key;
use crate::secret::Secret;
use crate::vault::{RecoveryCode, VaultError};
use crate::wire::request::RecoverAsk;
use crate::wire::{Failure, Outcome, Reply, Request, Value};

/// How often the code may be mistyped.
const TRIES: u32 = 5;

/// Enrol a new key with the recovery code, when the others are lost.
///
/// The code is typed on the terminal, never in the command line. It lets the new key into every scope, takes out the keys that are lost,
/// and gives every scope a new key; then it is void, and a new one is printed once. This is the one change for which no enrolled key is
/// touched, and the log says so.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to call the new key in prompts.
    name: String,
    /// Take out this key, which is lost or stolen. Repeat for more. What is not named is asked.
    #[arg(long, value_name = "KEY")]
    lost: Vec<String>,
    /// Let this key stay. Repeat for more.
    #[arg(long, value_name = "KEY")]
    keep: Vec<String>,
    /// Enrol the new key without its PIN. Weaker: whoever holds the key and a copy of the vault opens it.
    #[arg(long)]
    touch_only: bool,
    #[command(flatten)]
    piv: PivArgs,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let mut tty = Tty::open().ok_or_else(|| {
        Failure::new(
            Outcome::NoScreen,
            "no_terminal",
            "a recovery code is typed on a terminal, and there is none",
        )
        .hint("run this command in a terminal, in the foreground")
    })?;
    // Nobody types a code for a vault that is not there.
    session.ask(Request::ScopeList)?;
    let lost = ask_lost(session, &args, &mut tty)?;
    let card = piv::ask(session, args.piv)?;
    let code = ask_code(session, &mut tty)?;
    drop(tty);
    let reply = session.ask(Request::Recover(RecoverAsk {
        name: args.name,
        touch_only: args.touch_only,
        code: Value(code),
        lost,
        card,
    }))?;
    let Reply::Recovered {
        name,
        profile,
        built_in_uv,
        scopes,
        recovery_code,
        removed,
        change,
        trouble,
    } = reply
    else {
        return Err(unexpected());
    };
    let ui = session.ui;
    let code = String::from_utf8_lossy(recovery_code.0.expose());
    ui.json(&json!({
        "name": name, "profile": profile, "built_in_uv": built_in_uv, "scopes": scopes, "removed": removed,
        "change_at_issuer": change, "recovery_code": code, "trouble": trouble,
    }));
    ui.line(&format!("key \"{name}\" is enrolled; it opens {}", scopes.join(", ")));
    say_weaker(ui, &profile, built_in_uv);
    for key in &removed {
        ui.line(&format!("key \"{key}\" is out"));
    }
    say_exposed(session, &change);
    say_code(session, &code, trouble.as_deref());
    Ok(())
}

/// Which of the enrolled keys are lost: those that the command line does not name are asked, and count as lost by default.
fn ask_lost(session: &Session, args: &Args, tty: &mut Tty) -> Result<Vec<String>, Failure> {
    let Reply::Keys { keys, .. } = session.ask(Request::KeyList)? else {
        return Err(unexpected());
    };
    let enrolled: Vec<String> = keys.into_iter().filter_map(|key| key.name).collect();
    // Before anybody types a code.
    check_name("the key's name", &args.name).map_err(|error| VaultError::Name(error).failure())?;
    if args.keep.contains(&args.name) {
        return Err(name_taken(&args.name));
    }
    if let Some(unknown) = args.lost.iter().chain(&args.keep).find(|name| !enrolled.contains(name)) {
        return Err(no_such_key(unknown));
    }
    let mut lost = args.lost.clone();
    for name in enrolled.iter().cloned() {
        if lost.contains(&name) || args.keep.contains(&name) {
            continue;
        }
        let question = format!("key \"{name}\": is it lost or stolen? It is taken out then [Y/n] ");
        let is_lost = loop {
            let answer = tty.ask(&question).map_err(|error| interrupted(&error))?;
            match answer.trim().to_lowercase().as_str() {
                "" | "y" | "yes" => break true,
                "n" | "no" => break false,
                _ => session.ui.note(Tone::Bad, "type y or n"),
            }
        };
        if is_lost {
            lost.push(name);
        }
    }
    match enrolled.contains(&args.name) && !lost.contains(&args.name) {
        true => Err(name_taken(&args.name)),
        false => Ok(lost),
    }
}

/// Of two keys with one name nobody could say which blinks.
fn name_taken(name: &str) -> Failure {
    let message = format!("a key that stays is called \"{name}\" already");
    Failure::new(Outcome::BadInput, "name_taken", message).hint(format!(
        "give the new one another name; or, if it is lost, take that one out: touchlease recover {name} --lost {name}"
    ))
}

/// The code, with its checksum right: a typo is told at once, with the group to look at.
fn ask_code(session: &Session, tty: &mut Tty) -> Result<Secret, Failure> {
    for _ in 0..TRIES {
        let code = tty.ask_secret("recovery code (not shown): ").map_err(|error| interrupted(&error))?;
        let read = str::from_utf8(code.expose()).map(RecoveryCode::parse);
        match read {
            Ok(Ok(_)) => return Ok(code),
            Ok(Err(error)) => session.ui.note(Tone::Bad, &error.to_string()),
            Err(_) => session.ui.note(Tone::Bad, "a recovery code has letters and digits only"),
        }
    }
    Err(Failure::new(
        Outcome::BadInput,
        "recovery_code",
        "the recovery code was mistyped too often; nothing was changed",
    )
    .hint("compare it group by group with the paper, then type it again: touchlease recover NAME"))
}

fn interrupted(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::Interrupted => {
            Failure::new(Outcome::Denied, "interrupted", "nothing was changed").hint("run the command again to type it")
        }
        _ => Failure::new(Outcome::BadInput, "terminal", format!("the terminal cannot be read: {error}"))
            .hint("open another terminal and run the command there"),
    }
}
