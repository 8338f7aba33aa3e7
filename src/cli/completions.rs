//! `touchlease completions`.

use clap_complete::Shell;

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
    session.ui.raw(&String::from_utf8_lossy(&script));
    Ok(())
}
