//! `touchlease list`: names and rules, without a touch.

use serde_json::json;

use super::card::duration;
use super::init::unexpected;
use super::session::Session;
use super::ui::Tone;
use crate::wire::reply::SecretView;
use crate::wire::{Failure, Reply, Request};

/// List secrets with their rules, without a touch.
///
/// Names and rules are not secret: whoever reads the vault's folder reads them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The scope to list [default: all].
    scope: Option<String>,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let Reply::Secrets { secrets, unreadable } = session.ask(Request::List { scope: args.scope })? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "secrets": secrets, "unreadable": unreadable }));
    for secret in &secrets {
        session.ui.line(&line(secret));
    }
    for file in &unreadable {
        session.ui.note(Tone::Bad, &format!("not readable: {file}"));
    }
    if secrets.is_empty() {
        session.ui.note(Tone::Dim, "no secrets yet: touchlease put prod/NAME");
    }
    Ok(())
}

fn line(secret: &SecretView) -> String {
    let rules = &secret.rules;
    let mut line = format!("{}  version {}  {}", secret.secret, secret.version, rules.deliveries.join(","));
    if !rules.hosts.is_empty() {
        line += &format!("  to {}", rules.hosts.join(","));
    }
    if let Some(ttl) = rules.ttl {
        line += &format!("  at most {}", duration(ttl));
    }
    if let Some(uses) = rules.uses {
        line += &format!("  at most {uses} uses");
    }
    line
}
