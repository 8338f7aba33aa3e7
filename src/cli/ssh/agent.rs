//! `touchlease ssh agent`: a socket at which ssh asks for a key, with a touch for each server, and at which git has commits signed.
//!
//! The key is the daemon's. What runs here speaks ssh's protocol on one side and the daemon's on the other, and has nothing to lose.

mod client;
mod guests;
mod held;
mod logins;
mod serve;
mod signatures;
mod slots;
mod socket;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use self::serve::Agent;
use self::socket::Socket;
use crate::cli::change::{seconds, uses};
use crate::cli::session::Session;
use crate::cli::ui::Tone;
use crate::encoding::SecretRef;
use crate::vault::signer::SignerKind;
use crate::wire::{Failure, Outcome, Uses};

/// Let ssh get in at servers with certificates, and git and ssh-keygen sign: a touch for each server, and for what is signed.
///
/// ssh finds it as SSH_AUTH_SOCK. When ssh has met a server it asks here for a key; the prompt shows the server's host key and the user, and a
/// touch makes a key and a certificate for logins there, as many as --uses says, until --ttl is over. The key is the daemon's and never leaves
/// it. With a signer of SSH signatures (`signer add --namespace git`) its key is listed, without a touch, to programs that sign (`git commit -S`, `ssh-keygen -Y sign`);
/// the prompt shows namespace and digest. Nothing else is signed, and nothing for a connection that was forwarded. With a command it ends with that; without one it prints what a
/// shell has to know, and ends with Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The signer, as scope/NAME: one of SSH certificates, and any number of SSH signatures.
    #[arg(value_name = "SIGNER", required = true)]
    signers: Vec<SecretRef>,
    /// Let in as this user [default: the signer's only principal].
    #[arg(long, value_name = "USER")]
    principal: Option<String>,
    /// Log in as this user of the server [default: the principal].
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Log in at a server older than OpenSSH 8.9 too, which cannot tell that what was signed is for it.
    ///
    /// Then the host key that the prompt shows is the word of the program that asks.
    #[arg(long)]
    old_server: bool,
    /// Let run this command and nothing else, whatever is asked for.
    #[arg(long, value_name = "COMMAND")]
    force_command: Option<String>,
    /// Let in from this address, or from a range as 192.0.2.0/24. Repeat for more.
    #[arg(long = "source-address", value_name = "ADDRESS")]
    source_addresses: Vec<String>,
    /// Let have a terminal.
    #[arg(long)]
    pty: bool,
    /// Let one touch be good for this long, as 90s or 10m [default: 5m, or less where the rules say so].
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    ttl: Option<u64>,
    /// Let one touch be for this many logins at its server, or signatures in its namespace, or for any number of them until --ttl is over: any. As
    /// far as the signer's rules allow it [default: 1].
    #[arg(long, value_name = "N", value_parser = uses)]
    uses: Option<Uses>,
    /// Say why, in one line, to the person who touches.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// A command that has it in its environment, and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, args: Args) -> Result<u8, Failure> {
    let command = args.command.clone();
    // A signer that is none is said now, and not when ssh asks.
    let (ca, signers) = sorted(session, &args)?;
    let socket = Socket::make(&session.places)?;
    let agent = Arc::new(Agent::new(session, args, ca, signers));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let ended = runtime.block_on(serve(session, &agent, &socket, &command));
    // A prompt that still stands is taken away.
    agent.stop();
    // Whoever waits for something else waits for nothing any more.
    runtime.shutdown_background();
    // The terminal is as it was.
    agent.until_nobody_asks();
    ended
}

/// The signer of certificates, and those of signatures.
fn sorted(session: &Session, args: &Args) -> Result<(Option<SecretRef>, Vec<SecretRef>), Failure> {
    let (mut cas, mut signers) = (vec![], vec![]);
    for signer in &args.signers {
        match super::named(session, signer)? {
            (SignerKind::Certificates, _) => cas.push(signer.clone()),
            (SignerKind::Signatures, _) => {
                super::signing_key(session, signer)?;
                signers.push(signer.clone());
            }
            (SignerKind::Tokens, _) => {
                return Err(super::other_kind(signer, SignerKind::Tokens, SignerKind::Certificates));
            }
        }
    }
    let ca = cas.pop();
    if !cas.is_empty() {
        let message = "several signers of SSH certificates are named, and ssh would not know which";
        return Err(Failure::new(Outcome::Usage, "several_cas", message).hint("start an agent for each"));
    }
    let of_certificates = args.principal.is_some() || args.user.is_some() || args.old_server || args.force_command.is_some();
    if ca.is_none() && (of_certificates || !args.source_addresses.is_empty() || args.pty) {
        let message = "--principal, --user, --old-server, --force-command, --source-address and --pty are for logins, and no signer of certificates is named";
        return Err(Failure::new(Outcome::Usage, "no_logins", message).hint("leave them out, or name a signer of certificates too"));
    }
    Ok((ca, signers))
}

async fn serve(session: &Session, agent: &Arc<Agent>, socket: &Socket, command: &[OsString]) -> Result<u8, Failure> {
    let listener = socket.listener().and_then(UnixListener::from_std).map_err(|error| failed(&error))?;
    let caught = |kind| signal(kind).map_err(|error| failed(&error));
    let (mut interrupt, mut terminate) = (caught(SignalKind::interrupt())?, caught(SignalKind::terminate())?);
    let (mut hangup, mut quit) = (caught(SignalKind::hangup())?, caught(SignalKind::quit())?);
    let mut child = start(command, socket)?;
    if child.is_none() {
        let path = socket.path().display().to_string();
        session.ui.json(&json!({ "socket": path }));
        session.ui.line(&format!("SSH_AUTH_SOCK={path}; export SSH_AUTH_SOCK;"));
        session
            .ui
            .note(Tone::Dim, "ends with Ctrl-C; leave `touchlease watch` open, where it asks");
    }
    // A hang-up leaves nobody to read it.
    let stopped = |said: &str| {
        session.ui.note(
            Tone::Dim,
            &format!("{said}: nothing is signed at this socket any more, and what was touched for here is over"),
        );
        Ok(0)
    };
    loop {
        tokio::select! {
            met = listener.accept() => match met {
                Ok((stream, _)) => agent.meet(stream),
                // There are too many; those that there are end.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            },
            status = wait(&mut child) => return status.map(code).map_err(|error| failed(&error)),
            // Ctrl-C reaches a command too, and what it does about it is its own matter.
            _ = interrupt.recv() => if child.is_none() { return stopped("\nstopped by Ctrl-C") },
            _ = quit.recv() => if child.is_none() { return stopped("\nstopped by Ctrl-\\") },
            _ = terminate.recv() => match &child { Some(child) => pass(child, Signal::TERM), None => return stopped("told to stop") },
            _ = hangup.recv() => match &child { Some(child) => pass(child, Signal::HUP), None => return Ok(0) },
        }
    }
}

fn start(command: &[OsString], socket: &Socket) -> Result<Option<Child>, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(None);
    };
    let started = Command::new(program)
        .args(arguments)
        .env("SSH_AUTH_SOCK", socket.path())
        .env_remove("SSH_AGENT_PID")
        .spawn();
    started.map(Some).map_err(|error| {
        let message = format!("{} could not be started: {error}", program.to_string_lossy());
        Failure::new(Outcome::BadInput, "command", message).hint("name a program behind --")
    })
}

async fn wait(child: &mut Option<Child>) -> io::Result<ExitStatus> {
    match child {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    }
}

fn pass(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    // One that has just ended needs none.
    let _ = pid.map(|pid| kill_process(pid, signal));
}

/// As a shell says it: the command's status, or 128 and the signal that ended it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

fn failed(error: &io::Error) -> Failure {
    Failure::new(Outcome::Internal, "agent", format!("the agent cannot go on: {error}")).ours()
}
