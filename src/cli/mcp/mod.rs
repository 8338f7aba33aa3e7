//! `touchlease mcp`: the door for agents, over the Model Context Protocol on standard input and output.
//!
//! The server is a client of the daemon like `run`, with a connection for each lease: whatever ends the lease is seen at once, and the
//! server's own end gives every lease back. It has no screen. Values never come here: a command that a task file fixes gets them in a
//! process beside this one ([`worker`]), which takes the lease's uses and masks what the command writes.

mod cancelled;
pub mod claims;
mod door;
mod gone;
mod lease;
mod leases;
mod lines;
mod output;
pub mod outside;
mod progress;
mod question;
mod relay;
mod run;
mod said;
mod tools;
pub mod worker;
mod workspace;

use std::path::{Path, PathBuf};

use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::io::stdio_pipes;
use rmcp::{ServiceExt, service::QuitReason};
use tokio_util::sync::CancellationToken;

use self::door::Door;
use self::gone::Heard;
use self::lines::{Answering, Looked};
use self::workspace::Workspace;
use super::session::Session;
use crate::sys;
use crate::wire::{Failure, Outcome};

/// Longest message of a client in bytes. What is asked here is short.
const LONGEST_MESSAGE: usize = 1 << 20;

/// Serve an agent over the Model Context Protocol on standard input and output.
///
/// The agent starts it, outside its own sandbox: it lists the tasks of touchlease.toml, asks for leases and waits for them, and runs the
/// command of a task under its lease. Requests appear in `touchlease watch`. No value of a secret is in anything that it says.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Serve the tasks of this folder, which is also all that their commands may write to [default: the present one].
    #[arg(long, value_name = "FOLDER")]
    workspace: Option<PathBuf>,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    sys::process::name();
    if let Some(socket) = std::env::var_os(outside::VARIABLE) {
        if args.workspace.is_some() {
            let message = "behind the walls of `touchlease run --agent` the workspace is the folder in which that was started";
            return Err(
                Failure::new(Outcome::Usage, "usage", message).hint("leave --workspace out, and start the agent in the project's folder")
            );
        }
        return relay::carry(Path::new(&socket));
    }
    let workspace = Workspace::open(args.workspace.as_deref(), &session.places, session.vault.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Outcome::Internal, "runtime", error.to_string()).ours())?;
    let served = runtime.block_on(serve(session, workspace));
    // A read of standard input that nobody ends must not keep the process.
    runtime.shutdown_background();
    served
}

async fn serve(session: &Session, workspace: Workspace) -> Result<(), Failure> {
    let gone = CancellationToken::new();
    let door = Door::new(session, workspace, gone.clone());
    let (input, output) = stdio_pipes();
    let (input, faults) = Looked::new(Heard::new(input, gone.clone()), LONGEST_MESSAGE);
    let transport = AsyncRwTransport::new_server(input, output).with_max_line_length(LONGEST_MESSAGE);
    let unserved = |what: String| {
        Failure::new(Outcome::BadInput, "mcp", what)
            .hint("an agent starts `touchlease mcp` and speaks first; docs/agents.md shows its configuration")
    };
    let server = match door.serve(Answering::new(transport, faults)).await {
        Ok(server) => server,
        // It said nothing: whoever looks whether the program starts.
        Err(_) if gone.is_cancelled() => return Ok(()),
        Err(error) => return Err(unserved(format!("what came on standard input begins no session: {error}"))),
    };
    match server.waiting().await {
        Ok(QuitReason::Closed | QuitReason::Cancelled) => Ok(()),
        Ok(reason) => Err(unserved(format!("the session ended: {reason:?}"))),
        Err(error) => Err(unserved(format!("the session ended: {error}"))),
    }
}
