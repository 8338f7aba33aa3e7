//! `touchlease vault`: what two machines did to one vault apart from each other, a new recovery code, and an older copy in its place.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde_json::json;

use super::card::clock_time;
use super::init::{say_code, unexpected};
use super::session::Session;
use super::tty::Tty;
use super::ui::Tone;
use crate::wire::reply::{ClashView, SideView, StepView};
use crate::wire::request::JoinAsk;
use crate::wire::{Failure, Outcome, Reply, Request};

/// Make a new recovery code, join a forked roster, or accept an older copy.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show the two sides of a roster that was changed in two places, and join them by a touch.
    ///
    /// Until then nothing is read from the vault. The join takes what each side added, and a removal on one side wins. What was added by the
    /// hand of a key that another side removed is not taken. Scopes whose keys differ get a new one.
    Join {
        /// Touch this key, which every side knows [default: a connected one].
        #[arg(long, value_name = "NAME")]
        key: Option<String>,
    },
    /// Make a new recovery code by a touch, when the old one is lost or somebody may have read it.
    ///
    /// The old code is void, every scope gets a new key, and the new code is shown once. What the old code opened before it still opens in old
    /// copies of the vault: where somebody has both, change the secrets at their issuers.
    NewCode {
        /// Touch this key [default: a connected one].
        #[arg(long, value_name = "NAME")]
        key: Option<String>,
    },
    /// Take the vault as it is, by a touch, though this machine has seen a newer one, or another one in its place.
    ///
    /// The prompt says what would be lost, as far as this machine knows, or which vault lay there. Bring the one of before back if it was not
    /// you.
    AcceptOlder,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::Join { key } => join(session, key),
        Command::NewCode { key } => new_code(session, key),
        Command::AcceptOlder => accept_older(session),
    }
}

fn join(session: &Session, key: Option<String>) -> Result<(), Failure> {
    let Reply::Fork { sides, clashes } = session.ask(Request::VaultFork)? else {
        return Err(unexpected());
    };
    if sides.is_empty() {
        session.ui.json(&json!({ "sides": [], "joined": false }));
        session.ui.note(Tone::Dim, "the roster has one end: there is nothing to join");
        return Ok(());
    }
    for (n, side) in sides.iter().enumerate() {
        show(session, n + 1, side);
    }
    let names = ask_names(&clashes)?;
    let Reply::Done = session.ask(Request::VaultJoin(JoinAsk { key, names }))? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "sides": sides, "joined": true }));
    session.ui.line("the sides are joined");
    Ok(())
}

fn new_code(session: &Session, key: Option<String>) -> Result<(), Failure> {
    let Reply::NewCode { recovery_code, trouble } = session.ask(Request::NewCode { key })? else {
        return Err(unexpected());
    };
    let code = String::from_utf8_lossy(recovery_code.0.expose());
    session.ui.json(&json!({ "recovery_code": code, "trouble": trouble }));
    session
        .ui
        .line("the recovery code before this one is void, and every scope has a new key");
    say_code(session, &code, trouble.as_deref());
    Ok(())
}

fn accept_older(session: &Session) -> Result<(), Failure> {
    let Reply::Older { accepted } = session.ask(Request::AcceptOlder)? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "accepted": accepted }));
    if accepted {
        session.ui.line("the vault is accepted as it is");
    } else {
        session.ui.note(
            Tone::Dim,
            "the vault is the one that was seen here, and no older: there is nothing to accept",
        );
    }
    Ok(())
}

fn show(session: &Session, n: usize, side: &SideView) {
    session.ui.note(
        Tone::Strong,
        &format!("side {n}, ending with {}:", &side.end[..8.min(side.end.len())]),
    );
    for step in &side.steps {
        let tone = if step.shut_out { Tone::Bad } else { Tone::Plain };
        session.ui.note(tone, &format!("  {}", said(step)));
        for change in &step.changes {
            session.ui.note(tone, &format!("    {change}"));
        }
    }
    if side.steps.iter().any(|step| step.shut_out) && !side.steps.iter().all(|step| step.shut_out) {
        session.ui.note(
            Tone::Bad,
            "  what else this side lets in is not taken either: let it in again after the join",
        );
    }
}

fn said(step: &StepView) -> String {
    let who = step
        .signer
        .as_ref()
        .map_or_else(|| "the recovery code".to_owned(), |key| format!("\"{key}\""));
    let when = clock_time(step.at, &TimeZone::system());
    let shut_out = if step.shut_out {
        "; another side removed this key: what is added here is not taken"
    } else {
        ""
    };
    format!("signed by {who}, {when}{shut_out}")
}

/// Other names for all but the first of those that share one.
fn ask_names(clashes: &[ClashView]) -> Result<BTreeMap<String, String>, Failure> {
    let mut names = BTreeMap::new();
    if clashes.is_empty() {
        return Ok(names);
    }
    let mut tty = Tty::open().ok_or_else(|| {
        Failure::new(
            Outcome::NoScreen,
            "no_terminal",
            "two keys or scopes share a name, and there is no terminal to ask for another",
        )
        .hint("run this command in a terminal, in the foreground")
    })?;
    for clash in clashes {
        for id in clash.ids.iter().skip(1) {
            let question = format!(
                "both sides have a {} called \"{}\": another name for the one with the id {}...: ",
                clash.what,
                clash.name,
                &id[..8.min(id.len())]
            );
            let name = tty.ask(&question).map_err(|_| {
                Failure::new(Outcome::Denied, "interrupted", "nothing was changed").hint("run the command again to type it")
            })?;
            names.insert(id.clone(), name.trim().to_owned());
        }
    }
    Ok(names)
}
