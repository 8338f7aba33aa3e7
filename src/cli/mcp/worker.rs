//! The process that runs a task's command for an agent: it takes a use of the lease, starts the command behind a [`Fence`], masks what it
//! writes, and ends it when the lease is over, when it is told to, or when the server is gone.
//!
//! The values come from the daemon to this process, over a connection that the server made and handed on, and go to the command. The
//! server never has them.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::event::epoll;
use serde::{Deserialize, Serialize};

use super::super::init::unexpected;
use super::super::run::proxied::behind;
use super::super::run::{ending, undelivered, vars};
use super::run::Ended;
use crate::client::{Client, Message, daemon_gone};
use crate::clock::SystemClock;
use crate::deliver::env::{self, Delivery, LeaseEnd, Status, Streams};
use crate::sys;
use crate::sys::wait::is_readable;
use crate::sys::walls::Walls;
use crate::sys::walls::bridge::Bridge;
use crate::sys::walls::fence::{Fence, TEMPORARY, has_all, home};
use crate::sys::{account, pass};
use crate::wire::reply::Granted;
use crate::wire::{Answer, Call, Event, Failure, Outcome, Reply};

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "mcp-worker";

/// Longest job in bytes: a task file, twice escaped.
const LONGEST_JOB: u64 = 4 << 20;

/// What in the workspace makes other programs run something later, outside of any fence, or is the approved file itself.
const KEPT: [&str; 24] = [
    ".git",
    ".hg",
    ".svn",
    ".husky",
    ".codex",
    ".agents",
    ".claude",
    ".cursor",
    ".gemini",
    ".vscode",
    ".idea",
    ".windsurf",
    ".zed",
    ".devcontainer",
    ".cargo",
    ".github",
    ".cursorrules",
    ".mcp.json",
    ".envrc",
    ".pre-commit-config.yaml",
    "AGENTS.md",
    "CLAUDE.md",
    "GEMINI.md",
    "touchlease.toml",
];

/// Folders of the root that every program needs.
const SYSTEM: [&str; 12] = [
    "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "opt", "nix", "proc", "sys",
];

/// What to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    /// What to say on the connection.
    pub call: Call,
    /// The command of the task file that was approved.
    pub command: Vec<String>,
    /// The workspace, without links, as it was opened by this name. Its descriptor comes with the connection.
    pub folder: PathBuf,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
}

/// What is told.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// The lease was used, and the command starts.
    Started {
        /// Uses left.
        uses_left: Option<u32>,
    },
    /// It was not started.
    Failed(Failure),
    /// It ended.
    Done(Ended),
}

impl Job {
    /// Hands it over, with the connection and the workspace.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn send(&self, to: &UnixStream, connection: BorrowedFd<'_>, workspace: BorrowedFd<'_>) -> io::Result<()> {
        pass::send(to, b"\n", &[connection, workspace])?;
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        let mut to = to;
        to.write_all(&line)
    }

    fn receive(from: &UnixStream) -> io::Result<(Self, UnixStream, OwnedFd)> {
        let (_, passed) = pass::receive(from, &mut [0])?;
        let [connection, workspace] = <[OwnedFd; 2]>::try_from(passed).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut line = vec![];
        BufReader::new(from.take(LONGEST_JOB)).read_until(b'\n', &mut line)?;
        Ok((serde_json::from_slice(&line)?, connection.into(), workspace))
    }
}

/// The worker's `main`: the server is at the other end of descriptor 0; 1 and 2 are where the command's output goes.
#[must_use]
pub fn main() -> u8 {
    sys::process::name();
    let control = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let served = control.and_then(|control| {
        let (job, connection, workspace) = Job::receive(&control)?;
        let report = match serve(&job, connection, workspace, &control) {
            Ok(ended) => Report::Done(ended),
            Err(failure) => Report::Failed(failure),
        };
        tell(&control, &report)
    });
    u8::from(served.is_err())
}

fn tell(control: &UnixStream, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    let mut control = control;
    control.write_all(&line)
}

fn serve(job: &Job, connection: UnixStream, workspace: OwnedFd, control: &UnixStream) -> Result<Ended, Failure> {
    let program = job.command.first().map(OsString::from).unwrap_or_default();
    let found = env::find(&program, std::env::var_os("PATH").as_deref()).ok_or_else(|| {
        let message = format!("there is no program {}", program.to_string_lossy());
        Failure::new(Outcome::BadInput, "start", message).hint("check the command in touchlease.toml; a script needs chmod +x")
    })?;
    // Before a use is taken.
    let walls = walls(&job.folder, workspace)?;
    let mut client = Client::over(connection);
    let granted = granted(&mut client, &job.call)?;
    let uses_left = granted.lease.uses_left;
    let bridge = granted.proxy.as_ref().map(|proxy| Bridge::to(proxy.port)).transpose();
    let bridge = bridge.map_err(|error| {
        Failure::new(Outcome::Internal, "system", format!("no way to the proxy: {error}")).hint("touchlease doctor looks at the machine")
    })?;
    let delivery = delivery(job, found, granted, walls, bridge.as_ref());
    let patterns = delivery.patterns();
    if let Some(name) = patterns.too_short().first() {
        let _ = client.answer(&Answer::Done);
        let message = format!("{name} is too short to be masked in what an agent reads, so nothing was started");
        return Err(Failure::new(Outcome::Refused, "not_masked", message).hint("a person can run it: touchlease run --task NAME"));
    }
    // The server that does not read it any more is gone, which ends the command.
    let _ = tell(control, &Report::Started { uses_left });
    let null =
        File::open("/dev/null").map_err(|error| Failure::new(Outcome::Internal, "system", error.to_string()).hint("touchlease doctor"))?;
    let streams = Streams {
        stdin: null.as_fd(),
        ..Streams::of_process()
    };
    let mut end = End::new(client, control).map_err(|error| Failure::new(Outcome::Internal, "poll", error.to_string()).ours())?;
    let outcome = env::run(&delivery, &patterns, streams, &mut end, &SystemClock).map_err(|error| undelivered(&error))?;
    if !outcome.ended_by_lease {
        // If the daemon is gone, so is the lease.
        let _ = end.client.answer(&Answer::Done);
    }
    let (code, signal) = match outcome.status {
        Status::Exited(code) => (Some(code), None),
        Status::Killed(signal) => (None, Some(signal)),
    };
    Ok(Ended {
        code,
        signal,
        why: outcome
            .ended_by_lease
            .then(|| end.why.unwrap_or_else(|| "the daemon stopped".into())),
        masked: outcome.masked,
        left_running: outcome.left_running,
    })
}

/// Asks for the values, and waits for them. Nobody is asked: the lease is there, or it is refused.
fn granted(client: &mut Client, call: &Call) -> Result<Granted, Failure> {
    client.call(call)?;
    loop {
        match client.message()? {
            Some(Message::Reply(reply)) => match *reply {
                Reply::Granted(granted) => return Ok(granted),
                Reply::Failed(failure) => return Err(failure),
                _ => return Err(unexpected()),
            },
            Some(Message::Event(_)) => {}
            None => return Err(daemon_gone()),
        }
    }
}

fn walls(folder: &Path, workspace: OwnedFd) -> Result<Walls, Failure> {
    let unfenced = |why: String| {
        Failure::new(Outcome::Refused, "no_fence", format!("this machine cannot confine a command that an agent has run: {why}"))
            .hint("it needs Linux 6.12 or later, with Landlock and user namespaces for everybody; a person can run it: touchlease run --task NAME")
    };
    if !has_all() {
        return Err(unfenced("its Landlock is older than ABI 6, or switched off".into()));
    }
    let kept: Result<_, _> = KEPT.iter().map(|name| CString::new(*name)).collect();
    let mut walls = Walls {
        folder: folder.to_owned(),
        fence: Some(Fence {
            workspace: folder.to_owned(),
            handle: Arc::new(workspace),
            kept: kept.map_err(|error| unfenced(error.to_string()))?,
            readable: vec![],
            covered: covered().map_err(|error| unfenced(format!("/: {error}")))?,
            port: None,
            bridge: None,
        }),
        processes: true,
        ..Walls::default()
    };
    let tried = walls.try_out().or_else(|fault| {
        // As in a container: the filter of system calls and the domain hold what the namespace would, but what is to be seen in /proc.
        walls.processes = false;
        walls.try_out().map_err(|_| fault)
    });
    tried.map_err(|fault| unfenced(fault.to_string()))?;
    Ok(walls)
}

/// Every folder beside those of the system's programs: whatever is in them is nothing of the command's, its names included.
fn covered() -> io::Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in std::fs::read_dir("/")? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && !SYSTEM.iter().any(|name| entry.file_name() == *name) {
            found.push(entry.path());
        }
    }
    // A home may be in one of the system's.
    let homes = [std::env::home_dir(), account::home()].into_iter().flatten();
    for home in homes.filter_map(|home| home.canonicalize().ok()) {
        if home.parent().is_some() && !found.iter().any(|covered| home.starts_with(covered)) {
            found.push(home);
        }
    }
    Ok(found)
}

fn delivery(job: &Job, found: PathBuf, granted: Granted, mut walls: Walls, bridge: Option<&Bridge>) -> Delivery {
    let named = |name: &str, path: PathBuf| (OsString::from(name), path.into_os_string());
    let mut plain = vec![named("HOME", home()), named("TMPDIR", TEMPORARY.into())];
    let certificates = granted.proxy.map(|proxy| {
        if let Some(fence) = &mut walls.fence {
            fence.port = Some(proxy.port);
            fence.bridge = bridge.map(Bridge::descriptor);
        }
        // Nobody reads notes here, and what they are about, other proxies, is not to be reached.
        let proxied = behind(&proxy, &|name| std::env::var_os(name));
        plain.extend(proxied.plain);
        proxied.certificates
    });
    Delivery {
        command: job.command.iter().map(OsString::from).collect(),
        found: Some(found),
        vars: vars(granted.values),
        plain,
        certificates,
        masking: true,
        at_end: ending(&granted.at_end),
        runtime_dir: job.runtime_dir.clone(),
        walls: Some(walls),
    }
}

/// The end of the lease, or of the server, or its word.
struct End<'a> {
    client: Client,
    control: &'a UnixStream,
    both: OwnedFd,
    why: Option<String>,
}

impl<'a> End<'a> {
    fn new(client: Client, control: &'a UnixStream) -> io::Result<Self> {
        let both = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (number, fd) in [(0, client.as_fd()), (1, control.as_fd())] {
            epoll::add(&both, fd, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?;
        }
        Ok(Self {
            client,
            control,
            both,
            why: None,
        })
    }
}

impl AsFd for End<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.both.as_fd()
    }
}

impl LeaseEnd for End<'_> {
    fn is_over(&mut self) -> bool {
        // It says nothing any more but that it is gone, or wants the end.
        if is_readable(self.control).unwrap_or(true) {
            self.why = Some("the agent stopped it".into());
            return true;
        }
        if !is_readable(&self.client).unwrap_or(true) {
            return false;
        }
        match self.client.message() {
            Ok(Some(Message::Event(Event::Ended { why, .. }))) => {
                self.why = Some(format!("the lease is over ({why})"));
                true
            }
            Ok(Some(_)) => false,
            Ok(None) | Err(_) => true,
        }
    }
}
