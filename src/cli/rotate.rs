//! `touchlease rotate`: new keys for scopes.

use serde_json::json;

use super::init::unexpected;
use super::session::Session;
use super::ui::Tone;
use crate::wire::request::RotateAsk;
use crate::wire::{Failure, Reply, Request};

/// Give scopes new keys, and the touched key a new way into each.
///
/// One touch for each scope. Keys that are not there and the recovery code stay in. A secret is sealed with its scope's new key when it is
/// written the next time; until then it opens through the keys before, which the new one carries.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The scopes [default: all that the key opens].
    #[arg(value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Touch this key, and renew its way in [default: a connected one].
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let ask = RotateAsk {
        scopes: args.scopes,
        key: args.key,
    };
    let Reply::Rotated { scopes, key } = session.ask(Request::Rotate(ask))? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "scopes": scopes, "key": key }));
    for scope in &scopes {
        session.ui.line(&format!("{scope} has a new key"));
    }
    session.ui.note(
        Tone::Dim,
        &format!("\"{key}\" has a new way in; other keys and the recovery code open it as before"),
    );
    Ok(())
}
