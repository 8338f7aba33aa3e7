//! `run --agent`: the walls around the command, and what is said where some of them cannot be had.

use std::env;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::getuid;

use super::{AskArgs, Session, Tone};
use crate::config::Config;
use crate::deliver::agent::{AgentError, Surroundings, walls};
use crate::deliver::env::LeaseEnd;
use crate::lease::grant::Via;
use crate::lease::task::Task;
use crate::paths::Places;
use crate::sys::account;
use crate::sys::walls::{Fault, Walls, keep_folders};
use crate::wire::request::LeaseAsk;
use crate::wire::{Failure, Outcome};

/// What `--agent` wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Agent {
    /// All walls, or the command is not started.
    #[value(hide = true)]
    Walled,
    /// What this machine has of them, and a line for each that is missing.
    BestEffort,
}

const UNWALLED: &str =
    "docs/agents.md says what this machine has to allow; touchlease run --agent=best-effort -- COMMAND starts it with what there is";

/// The walls; what does not hold is said. They are tried before somebody is asked to touch for what would then not start, and where it is
/// to be known what they lack; else the command's own start is the trial, see [`not_started`].
///
/// # Errors
/// `refused` where they are asked for and cannot be raised, or would hold nothing.
pub fn walls_for(session: &Session, agent: Agent, asks: bool) -> Result<Walls, Failure> {
    if getuid().is_root() {
        return Err(
            Failure::new(Outcome::Refused, "agent_is_root", "no walls hold an agent that is root")
                .hint("start it as an ordinary user: setpriv --reuid YOU --regid YOU --init-groups touchlease run --agent -- COMMAND"),
        );
    }
    let folder = env::current_dir().map_err(|error| place(&AgentError::Place { place: ".".into(), error }))?;
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let var = |name: &str| env::var_os(name);
    let around = Surroundings {
        places: &session.places,
        vaults: vaults(session)?,
        var: &var,
        uid: getuid().as_raw(),
        home: account::home(),
        folder: &folder,
        mounts: &table,
    };
    let mut walls = walls(&around).map_err(|error| place(&error))?;
    keep_folders().map_err(|error| refused(&error.to_string()))?;
    let mut trial = if asks || agent == Agent::BestEffort {
        walls.try_out()
    } else {
        Ok(())
    };
    if trial.is_err() && walls.processes {
        walls.processes = false;
        trial = walls.try_out();
    }
    match (trial, agent) {
        (Ok(()), _) => {}
        (Err(fault), Agent::Walled) => return Err(unwalled(&fault)),
        (Err(fault), Agent::BestEffort) => {
            (walls.namespaces, walls.processes) = (false, false);
            warn(
                session,
                &format!("{fault}: vault, log and state folders and the keys' device nodes are within the agent's reach"),
            );
            if !walls.scopes {
                warn(session, "so is the memory of your other programs: nothing holds this agent");
            }
        }
    }
    if !walls.processes {
        let what = "no /proc of its own can be mounted here: the agent sees which programs run, and programs of 32 bits do not run for it";
        warn(session, what);
    }
    if !walls.scopes {
        let without = "this kernel's Landlock knows no scopes (Linux 6.12 does)";
        // Who has no number in there gets no signal from there.
        let reach = if walls.processes {
            "reach abstract sockets of your other programs"
        } else {
            "signal your other programs and reach their abstract sockets"
        };
        warn(session, &format!("{without}: the agent can {reach}"));
    }
    Ok(walls)
}

/// Why a command was not started behind walls: by themselves, or else by what is wrong with it.
#[must_use]
pub fn not_started(walls: &Walls, otherwise: Failure) -> Failure {
    walls.try_out().err().map_or(otherwise, |fault| unwalled(&fault))
}

/// Every vault whose place is known.
///
/// # Errors
/// The configuration, which may name one, cannot be read.
pub fn vaults(session: &Session) -> Result<Vec<std::path::PathBuf>, Failure> {
    let configured = match fs::read_to_string(&session.places.config) {
        Ok(text) => Config::parse(&text).map_err(|error| {
            let said = format!("{}: {error}", session.places.config.display());
            Failure::new(Outcome::BadInput, "config", said).hint("mend it: the agent has to be kept from the vault that it names")
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Config::default(),
        Err(error) => {
            return Err(place(&AgentError::Place {
                place: session.places.config.clone(),
                error,
            }));
        }
    };
    let default = Places::from_env(&|name| env::var_os(name).filter(|_| name != "TOUCHLEASE_VAULT"))
        .ok()
        .map(|places| places.vault);
    Ok(
        [session.vault.clone(), configured.vault, Some(session.places.vault.clone()), default]
            .into_iter()
            .flatten()
            .collect(),
    )
}

/// A lease under `--agent` is one whose values do not reach the agent: what was asked for without a form goes by proxy.
///
/// # Errors
/// `refused` for a value or a token in its environment or in a file.
pub fn without_values(ask: &mut LeaseAsk) -> Result<(), Failure> {
    ask.with
        .iter_mut()
        .filter(|grant| grant.via == "any")
        .for_each(|grant| grant.via = "proxy".into());
    let named = ask.with.iter().find(|grant| grant.via != "proxy").map(|grant| grant.secret.clone());
    let of_task = || {
        let task = ask.task.as_ref()?;
        // What is wrong with it is said by whoever uses it.
        let task = Task::parse(&task.file, &task.name).ok()?;
        let grant = task.grants.into_iter().find(|grant| grant.via != Via::Proxy);
        grant.map(|grant| grant.secret.to_string())
    };
    let Some(secret) = named.or_else(of_task) else { return Ok(()) };
    let message = format!("an agent behind walls is given no values, and {secret} would be one");
    Err(Failure::new(Outcome::Refused, "agent_values", message).hint(format!(
        "let it have a placeholder: touchlease run --agent --with-proxy {secret} -- COMMAND; or, where the agent may see the value, do without --agent"
    )))
}

/// The daemon's refusal to an agent: the rules that allow a command the value allow an agent nothing.
#[must_use]
pub fn not_given(failure: Failure) -> Failure {
    if failure.reason != "delivery_forbidden" {
        return failure;
    }
    let message = format!(
        "an agent behind walls is given no values, and what it could have in their place is refused: {}",
        failure.message
    );
    let hint = failure.hint.unwrap_or_default();
    Failure::new(Outcome::Refused, "agent_values", message).hint(hint)
}

/// Whether nothing at all is asked for, so that there is no lease to end.
///
/// # Errors
/// `usage` where limits are named of a lease that is not asked for.
pub fn without_lease(ask: &LeaseAsk, args: &AskArgs) -> Result<bool, Failure> {
    if ask.task.is_some() || !ask.with.is_empty() {
        return Ok(false);
    }
    if args.ttl.is_some() || args.uses.is_some() || args.reason.is_some() {
        return Err(Failure::new(
            Outcome::Usage,
            "command",
            "--ttl, --uses and --reason are of a lease, and none is asked for",
        )
        .hint("touchlease run --agent -- COMMAND"));
    }
    Ok(true)
}

/// In place of a lease: it never ends.
pub struct NoLease {
    read: OwnedFd,
    _write: OwnedFd,
}

impl NoLease {
    /// # Errors
    /// There are no descriptors left.
    pub fn new() -> Result<Self, Failure> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| {
            Failure::new(Outcome::Internal, "delivery", error.to_string()).hint("touchlease doctor looks at the machine")
        })?;
        Ok(Self { read, _write: write })
    }
}

impl AsFd for NoLease {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

impl LeaseEnd for NoLease {}

fn warn(session: &Session, what: &str) {
    session.ui.note(Tone::Bad, &format!("touchlease: {what}"));
}

fn unwalled(fault: &Fault) -> Failure {
    refused(&format!("the walls around an agent cannot be raised here: {fault}"))
}

fn refused(message: &str) -> Failure {
    Failure::new(Outcome::Refused, "no_walls", message).hint(UNWALLED)
}

fn place(error: &AgentError) -> Failure {
    match error {
        AgentError::Inside(_) => Failure::new(Outcome::BadInput, "folder", error.to_string()).hint("start it in the folder of its work"),
        AgentError::Place { .. } => {
            Failure::new(Outcome::BadInput, "places", error.to_string()).hint("look at the folder's owner and permissions")
        }
    }
}
