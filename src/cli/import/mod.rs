//! `touchlease import`: secrets out of another program's file. The file is read here, in the command's own process, never in the daemon.

#[cfg(feature = "kdbx")]
mod cost;
mod env;
#[cfg(feature = "kdbx")]
mod kdbx;
mod onepux;
mod plan;
mod preview;
mod source;

use std::path::PathBuf;

use serde_json::json;

use super::init::unexpected;
use super::list;
use super::rules::RulesArgs;
use super::session::Session;
use super::ui::Tone;
use crate::encoding::plain::count;
use crate::lease::failure::locked_memory;
use crate::secret::Secret;
use crate::wire::request::{PutAsk, RulesAsk};
use crate::wire::{Answer, Failure, Outcome, Reply, Request, Value};
use plan::{Entry, Plan};
use source::{Format, Source};

/// Put the secrets of another program's file into the vault.
///
/// Reads environment files (.env), exports of 1Password (.1pux) and KeePass databases (.kdbx, whose password is asked for). Shows first
/// what goes where, what has to be called otherwise, and what is left out. Then each 500 secrets need a touch, and are put all or none.
/// The file itself stays as it is: it holds your secrets in the clear until you delete it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Read the file as this [default: what it looks like].
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Put the secrets into this scope [default: the only one].
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
    /// Read the key file that a KeePass database opens with beside its password.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Write new values for secrets that exist already, which are left out otherwise.
    #[arg(long)]
    replace: bool,
    /// Show what would be put, and put nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    rules: RulesArgs,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, args: Args) -> Result<(), Failure> {
    // Before the file is read, which may ask for its password.
    let scope = scope(session, args.scope)?;
    let rules = args.rules.rules();
    args.rules.check(None, &rules)?;
    let source = Source::read(&args.file, args.format, args.key_file.as_deref())?;
    let mut plan = Plan::of(source, &scope, &rules)?;
    let names = plan.entries.iter().map(|entry| entry.secret.clone()).collect::<Vec<_>>();
    plan.meet(existing(session, &names)?, args.replace);
    let batches = plan.batches();
    preview::show(session, &args.file, &plan, batches.len());
    if args.dry_run || batches.is_empty() {
        session.ui.json(&preview::json(&plan, batches.len(), 0));
        return Ok(());
    }
    // A new version without a word about rules keeps those it had; what is new gets what `put` gives.
    let rules = (!args.rules.is_default()).then_some(&rules);
    let done = put(session, &plan, &batches, rules)?;
    session.ui.json(&preview::json(&plan, batches.len(), done));
    session
        .ui
        .line(&format!("{} {} sealed in {scope}", count(done, "secret"), are(done)));
    session.ui.note(
        Tone::Bad,
        &format!(
            "{} still holds them in the clear: delete it when you have looked",
            args.file.display()
        ),
    );
    Ok(())
}

/// The names among `names` that the vault has, asked for in requests that stay small.
fn existing(session: &Session, names: &[String]) -> Result<Vec<(String, u64)>, Failure> {
    let mut known = vec![];
    for names in names.chunks(1000) {
        let list::Secrets { secrets, unreadable, .. } = list::secrets(session, None, names.to_vec())?;
        if let Some(file) = unreadable.into_iter().next() {
            return Err(
                Failure::new(Outcome::VaultRefused, "vault", format!("a record is not readable: {file}"))
                    .hint("restore it from a backup or from git, then import again"),
            );
        }
        known.extend(secrets.into_iter().map(|view| (view.secret, view.version)));
    }
    Ok(known)
}

/// Puts the batches, each with its touch, and gives the number of secrets that are in the vault now.
fn put(session: &Session, plan: &Plan, batches: &[std::ops::Range<usize>], rules: Option<&RulesAsk>) -> Result<usize, Failure> {
    let mut done = 0;
    for (number, batch) in batches.iter().enumerate() {
        let entries = &plan.entries[batch.clone()];
        if batches.len() > 1 {
            let progress = format!(
                "touch {} of {}: {}, {done} are sealed",
                number + 1,
                batches.len(),
                count(entries.len(), "secret")
            );
            session.ui.note(Tone::Strong, &progress);
        }
        put_batch(session, entries, rules).map_err(|failure| so_far(failure, done))?;
        done += entries.len();
    }
    Ok(done)
}

fn put_batch(session: &Session, entries: &[Entry], rules: Option<&RulesAsk>) -> Result<(), Failure> {
    let request = Request::Put {
        puts: vec![],
        more: u32::try_from(entries.len()).unwrap_or(u32::MAX),
    };
    // One value at a time lies in a line of its own, and is wiped when it was sent.
    let mut lines = entries.iter().map(|entry| {
        Ok(Answer::Put(PutAsk {
            secret: entry.secret.clone(),
            value: Value(locked(&entry.value)?),
            rules: rules.cloned(),
        }))
    });
    match session.ask_saying(request, &mut lines, &mut |_| {})?.0 {
        Reply::Changed { .. } => Ok(()),
        _ => Err(unexpected()),
    }
}

fn locked(value: &[u8]) -> Result<Secret, Failure> {
    let mut secret = Secret::zeroed(value.len()).map_err(locked_memory)?;
    secret.expose_mut().copy_from_slice(value);
    Ok(secret)
}

/// A failure says what happened before it: batches that were touched for are in the vault.
fn so_far(failure: Failure, done: usize) -> Failure {
    if done == 0 {
        return failure;
    }
    let message = format!("{}; {} {} sealed already", failure.message, count(done, "secret"), are(done));
    Failure { message, ..failure }.hint("run the same command again: what is in the vault is left out")
}

fn are(n: usize) -> &'static str {
    if n == 1 { "is" } else { "are" }
}

/// The scope that is named, if it is there; the only one, where there is only one to choose.
fn scope(session: &Session, named: Option<String>) -> Result<String, Failure> {
    let Reply::Scopes { scopes } = session.ask(Request::ScopeList)? else {
        return Err(unexpected());
    };
    let scopes: Vec<_> = scopes.into_iter().map(|scope| scope.name).collect();
    match (named, scopes.as_slice()) {
        (Some(named), _) if !scopes.contains(&named) => Err(Failure::new(
            Outcome::BadInput,
            "no_scope",
            format!("there is no scope {named}; the vault has {}", scopes.join(", ")),
        )
        .hint(format!("touchlease scope add {named}"))),
        (Some(named), _) => Ok(named),
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(Failure::new(
            Outcome::Usage,
            "which_scope",
            format!("the vault has the scopes {}", scopes.join(", ")),
        )
        .hint(format!("say into which: --scope {}", scopes.first().map_or("NAME", String::as_str)))),
    }
}

/// What a person or a program is told that was left out.
fn left_out_json(what: &str, why: &str) -> serde_json::Value {
    json!({ "what": what, "why": why })
}
