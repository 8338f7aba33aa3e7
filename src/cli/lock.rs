//! `touchlease lock`, `unlock`.

use serde_json::json;

use super::card::duration;
use super::init::unexpected;
use super::session::Session;
use super::tty::Tty;
use crate::config::parse_duration;
use crate::encoding::plain::count;
use crate::wire::{Failure, Outcome, Reply, Request};

/// End all leases and forget all PINs.
#[derive(Debug, clap::Args)]
pub struct LockArgs {}

/// Type a key's PIN ahead, so that requests need only the touch.
#[derive(Debug, clap::Args)]
pub struct UnlockArgs {
    /// The key's name [default: the connected one; of several, the one that you then name].
    key: Option<String>,
    /// Keep the PIN this long, at most 12h [default: 1h, or as configured].
    #[arg(long, value_name = "DURATION", value_parser = |text: &str| parse_duration(text).map(|d| d.as_secs()))]
    keep: Option<u64>,
}

/// # Errors
/// See [`Failure`].
pub fn lock(session: &Session) -> Result<(), Failure> {
    let Reply::Ended { ids } = session.ask_urgently(|| Request::Lock)? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "ended": ids }));
    session.ui.line(&format!("locked: {} ended, PINs forgotten", leases(ids.len())));
    Ok(())
}

/// # Errors
/// See [`Failure`].
pub fn unlock(session: &Session, args: UnlockArgs) -> Result<(), Failure> {
    let ask = |key| session.ask(Request::Unlock { key, keep: args.keep });
    let reply = match ask(args.key) {
        Err(failure) if failure.reason == "which_key" => ask(Some(ask_which(failure)?)),
        reply => reply,
    };
    let Reply::Unlocked { key, keep } = reply? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "key": key, "keep": keep }));
    session.ui.line(&format!(
        "PIN of \"{key}\" kept for {}, unless the key is taken away before",
        duration(keep)
    ));
    Ok(())
}

/// The name that a person types where several could be meant; without a terminal it stays a failure.
fn ask_which(several: Failure) -> Result<String, Failure> {
    let Some(mut tty) = Tty::open() else { return Err(several) };
    let named = tty
        .ask(&format!("{}; which one? ", several.message))
        .map_err(|_| Failure::new(Outcome::Denied, "interrupted", "no PIN was typed").hint("touchlease unlock NAME"))?;
    Ok(named.trim().trim_matches('"').to_owned())
}

/// `no lease`, `1 lease`, `2 leases`.
pub fn leases(n: usize) -> String {
    match n {
        0 => "no lease".into(),
        n => count(n, "lease"),
    }
}
