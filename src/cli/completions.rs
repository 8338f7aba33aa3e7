//! `touchlease completions`.

use clap_complete::Shell;
use serde_json::json;

use super::session::Session;
use crate::wire::Failure;

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    shell: Shell,
}

/// # Errors
/// None.
pub fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "touchlease", &mut script);
    let script = String::from_utf8_lossy(&script);
    if session.ui.is_json() {
        session.ui.json(&json!({ "shell": args.shell.to_string(), "script": script }));
    } else {
        session.ui.raw(&script);
    }
    Ok(())
}
