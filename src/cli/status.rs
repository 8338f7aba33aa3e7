//! `touchlease status`.

use super::card::duration;
use super::init::unexpected;
use super::session::Session;
use super::ui::Tone;
use crate::wire::{Failure, Reply, Request};

/// Show what runs: the daemon, its vault, leases, prompts, screens, and PINs kept.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session) -> Result<(), Failure> {
    let Reply::Status(status) = session.ask_urgently(|| Request::Status)? else {
        return Err(unexpected());
    };
    let ui = session.ui;
    ui.json(&status);
    ui.line(&format!("daemon   pid {}, version {}", status.pid, status.version));
    match &status.vault {
        Some(id) => ui.line(&format!("vault    {}  (id {})", status.path, &id[..16])),
        None if status.faults.is_empty() => ui.line(&format!("vault    none at {}: touchlease init", status.path)),
        None => ui.line(&format!("vault    {}, which is not open", status.path)),
    }
    ui.line(&format!("leases   {} live", status.leases));
    ui.line(&format!("prompts  {} open or waiting", status.prompts));
    ui.line(&format!(
        "screens  {}",
        if status.screens == 0 {
            "none: touchlease watch".into()
        } else {
            status.screens.to_string()
        }
    ));
    for (scope, keys) in &status.not_in {
        let keys: Vec<_> = keys.iter().map(|key| format!("\"{key}\"")).collect();
        ui.line(&format!("scope    {scope}: not yet in: {}", keys.join(", ")));
    }
    for fault in &status.faults {
        ui.note(Tone::Bad, &format!("fault    {fault}"));
    }
    ui.unsigned(&status.unsigned);
    for (key, left) in &status.unlocked {
        ui.line(&format!("PIN      of \"{key}\" kept for {} more", duration(*left)));
    }
    Ok(())
}
