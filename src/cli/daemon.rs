//! `touchlease daemon`.

use super::session::Session;
use crate::daemon::boot::{self, Background};
use crate::wire::Failure;

/// Run the daemon in the foreground.
///
/// Other commands start one in the background when none runs, so this is for systemd and for looking at its log lines.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Say `ready` on standard output, close it, and go on in a session of its own.
    #[arg(long, hide = true)]
    background: bool,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let announce = |line: &str| session.ui.raw(line);
    boot::run(
        session.places.clone(),
        if args.background {
            Background::Yes(&announce)
        } else {
            Background::No
        },
    )
}
