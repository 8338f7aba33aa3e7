//! `touchlease lock`, `unlock`.

use serde_json::json;

use super::card::duration;
use super::init::unexpected;
use super::session::Session;
use crate::config::parse_duration;
use crate::encoding::plain::count;
use crate::wire::{Failure, Reply, Request};

/// End all leases and forget all PINs.
#[derive(Debug, clap::Args)]
pub struct LockArgs {}

/// Type a key's PIN ahead, so that requests need only the touch.
#[derive(Debug, clap::Args)]
pub struct UnlockArgs {
    /// The key's name [default: the only connected one].
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
    let reply = session.ask(Request::Unlock {
        key: args.key,
        keep: args.keep,
    })?;
    let Reply::Unlocked { key, keep } = reply else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "key": key, "keep": keep }));
    session.ui.line(&format!("PIN of \"{key}\" kept for {}", duration(keep)));
    Ok(())
}

/// `no lease`, `1 lease`, `2 leases`.
pub fn leases(n: usize) -> String {
    match n {
        0 => "no lease".into(),
        n => count(n, "lease"),
    }
}
