//! Delivery by environment and by private file: `touchlease run`.
//!
//! [`run`] starts a command with values added to its environment, passes its output through the [mask](crate::deliver::mask),
//! and stays until it has ended, or ends it when the lease is over. It runs in the process that was asked, on one thread and
//! in one `poll` loop, so that the child is in the caller's process tree, sandbox and terminal.
//!
//! | our streams | what the child gets |
//! |---|---|
//! | no masking | our own streams; we only wait |
//! | stdin and stdout are terminals | a session and a controlling pseudo-terminal of its own; stderr too if ours is a terminal, else a pipe |
//! | any other | our session and process group, so keys of the terminal reach it; our stdin, untouched; each output a pipe, or a pseudo-terminal without control if ours is a terminal |
//!
//! Behind walls ([`Delivery::walls`]) the first row does not hold, and in the last one the command has a session of its own, without a terminal.
//!
//! In the last case job control is the caller's own, and what a child writes to `/dev/tty` does not pass the mask.
//!
//! **Signals.** INT, TERM, HUP, QUIT, USR1, USR2 are passed on; those that the terminal sends to the whole group only where
//! the child is in another one. Signals that were ignored at our start stay so. SIGKILL cannot be caught: then a process that waits
//! beside each command which has run for 50 ms ends the child and its descendants, and the next run removes the private files.
//!
//! **The end of the lease** reaches the child, its process group if it has its own, and all that it started, by pidfd: a process whose
//! parents have gone is adopted by ours. The child's own end is the end of its lease, so what it left running has a second to end by
//! itself, and is then ended too.

mod channel;
mod child;
mod ending;
mod files;
mod leash;
mod offspring;
mod program;
mod relay;
mod session;
mod sink;
mod terminal;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

pub use child::Status;
pub use files::{PrivateFiles, left_behind};
pub use program::find;

use crate::clock::Clock;
use crate::deliver::mask::Patterns;
use crate::secret::Secret;
use crate::sys::walls::Walls;

/// What is delivered, and to what.
pub struct Delivery {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Its file, where it was looked for already ([`find`]). None: it is found when it is started, as `execvp` does.
    pub found: Option<PathBuf>,
    /// What is added to its environment.
    pub vars: Vec<Var>,
    /// What is added as it is: no secret, not masked.
    pub plain: Vec<(OsString, OsString)>,
    /// Certificates that it is to trust.
    pub certificates: Option<Certificates>,
    /// Whether its output is masked.
    pub masking: bool,
    /// What happens to it when the lease is over.
    pub at_end: AtEnd,
    /// `$XDG_RUNTIME_DIR`: where private files go if it is in memory.
    pub runtime_dir: Option<PathBuf>,
    /// What it is started behind. It has a session of its own then, so that it can type into no terminal of ours.
    pub walls: Option<Walls>,
}

/// Certificates in a file of their own, in a folder of its own. No secret.
pub struct Certificates {
    /// The file.
    pub pem: Vec<u8>,
    /// Variables that hold its path.
    pub files: Vec<OsString>,
    /// Variables that hold the folder's.
    pub folders: Vec<OsString>,
}

/// One value.
pub struct Var {
    /// The variable's name.
    pub name: OsString,
    /// The secret's name, `prod/TOKEN`, as it stands in the mask.
    pub label: String,
    /// The value.
    pub value: Secret,
    /// What the variable holds.
    pub how: How,
}

/// How a value is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The variable holds the value.
    Env,
    /// The variable holds the path of a private file, gone when the child has ended.
    File,
}

/// How a child is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// SIGTERM, and SIGKILL after five seconds.
    Terminate,
    /// SIGINT, and SIGKILL after five seconds.
    Interrupt,
    /// SIGKILL.
    Kill,
}

/// Our own streams.
#[derive(Clone, Copy)]
pub struct Streams<'a> {
    /// Passed to the child as it is.
    pub stdin: BorrowedFd<'a>,
    /// Gets what the child writes, masked.
    pub stdout: BorrowedFd<'a>,
    /// The same.
    pub stderr: BorrowedFd<'a>,
}

impl Streams<'static> {
    /// Descriptors 0, 1 and 2.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            stdin: rustix::stdio::stdin(),
            stdout: rustix::stdio::stdout(),
            stderr: rustix::stdio::stderr(),
        }
    }
}

/// The end of the lease: a descriptor that becomes readable (or hangs up) when something is to be looked at.
pub trait LeaseEnd: AsFd {
    /// Called when the descriptor is readable: reads it, and says whether the lease is over. A descriptor that stays readable
    /// while the lease goes on keeps the loop busy.
    fn is_over(&mut self) -> bool {
        true
    }
}

/// Any event at all is the end: a pipe or socket whose other side the daemon holds.
impl LeaseEnd for BorrowedFd<'_> {}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How the child ended. To end the same way, exit with the code, or [`crate::sys::child::die_by`] the signal, as `exec` would.
    pub status: Status,
    /// Whether we ended it because the lease was over.
    pub ended_by_lease: bool,
    /// How many processes it left running, which were ended after it.
    pub left_running: usize,
    /// How many times a value was masked in its output.
    pub masked: u64,
    /// Why some of its output could not be written, where its reader did not just go away: the rest of it is lost.
    pub lost: Option<String>,
}

/// Why a command was not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// Nothing after `--`.
    #[error("there is no command to run")]
    NoCommand,
    /// An empty variable name, or one with `=` or NUL in it; usually a task file's `env`.
    #[error("{name:?} cannot be the name of an environment variable")]
    BadName {
        /// The name.
        name: OsString,
    },
    /// A binary value; a file can deliver it.
    #[error("the value for {name:?} has a NUL byte, which an environment cannot hold")]
    NulInValue {
        /// The variable's name.
        name: OsString,
    },
    /// Neither `$XDG_RUNTIME_DIR` nor `/dev/shm` is a tmpfs; usually a container that mounts none.
    #[error("no folder in memory for private files: neither XDG_RUNTIME_DIR nor /dev/shm is a tmpfs")]
    NoMemoryFolder,
    /// The file system in memory is full, or its folder is not writable for us.
    #[error("a private file cannot be written")]
    PrivateFile(#[source] io::Error),
    /// Not found in `PATH`, not executable, or an environment larger than the kernel takes (one value: 128 KiB).
    #[error("{program:?} cannot be started")]
    Start {
        /// The program as it was given.
        program: OsString,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No pseudo-terminals, processes or descriptors left.
    #[error("the child's streams cannot be set up")]
    Setup(#[source] io::Error),
    /// The child cannot be waited for; not known to happen.
    #[error("the child cannot be waited for")]
    Wait(#[source] io::Error),
}

impl Delivery {
    /// The forms of its values; [`Patterns::too_short`] names those that will not be masked.
    #[must_use]
    pub fn patterns(&self) -> Patterns {
        Patterns::new(self.vars.iter().map(|var| (var.label.as_str(), var.value.expose())))
    }
}

/// Runs the command to its end, or ends it when the lease is over. `patterns` are [`Delivery::patterns`].
///
/// The process must have one thread: with a terminal it forks (see [`crate::sys::child::fork`]).
///
/// # Errors
/// Nothing was started, or it is not known how it ended. Private files are gone in any case.
pub fn run(
    delivery: &Delivery,
    patterns: &Patterns,
    streams: Streams<'_>,
    lease: &mut impl LeaseEnd,
    clock: &dyn Clock,
) -> Result<Outcome, DeliverError> {
    let (program, files) = child::program(delivery)?;
    let relay = relay::Relay::start(delivery, program, patterns, streams, clock);
    // While the child starts.
    files::sweep(delivery.runtime_dir.as_deref());
    let outcome = relay.and_then(|relay| relay.run(lease, clock));
    drop(files);
    outcome
}
