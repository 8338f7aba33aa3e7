//! `touchlease completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::session::Session;
use crate::wire::Failure;

/// Print completions for a shell.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell.
    shell: Shell,
}

/// # Errors
/// None.
pub fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "touchlease", &mut script);
    session.ui.raw(&String::from_utf8_lossy(&script));
    Ok(())
}
