//! A command that runs under a lease, seen from the server: what it wrote, and how it ended.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as Socket;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::lease::Entry;
use super::leases::Daemon;
use super::output::Output;
use super::worker::{self, Job, Report};
use super::workspace::Workspace;
use crate::wire::request::LeaseAsk;
use crate::wire::{Failure, Outcome, Request};

/// What of the server's environment a command gets: how to find programs and how to speak. The agent's own credentials may be in the rest.
const PASSED: [&str; 8] = ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "TZ", "USER", "LOGNAME"];
/// Most bytes of output that are told on the way, in one go.
const NEWS: usize = 1000;
/// How often it is told.
const PACE: Duration = Duration::from_millis(200);

/// See the module.
pub struct Run {
    output: Arc<Mutex<Output>>,
    stages: watch::Receiver<Stage>,
    stop: CancellationToken,
}

/// Where it stands.
#[derive(Clone, Debug, Default)]
struct Stage {
    /// Uses that the lease has left since it began.
    uses_left: Option<u32>,
    /// Grows with what was written.
    written: u64,
    over: Option<Result<Ended, Failure>>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ended {
    /// Its exit code, if it exited.
    pub code: Option<u8>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Why we ended it, if we did.
    pub why: Option<String>,
    /// How many times a value was masked.
    pub masked: u64,
    /// How many processes it left running, which were ended.
    pub left_running: usize,
}

/// How it goes, for a result.
pub struct Standing {
    pub output: String,
    pub left_out: u64,
    pub uses_left: Option<u32>,
    pub ended: Option<Ended>,
}

impl Run {
    /// Starts it, in a process that takes a use of the lease over a connection of ours.
    ///
    /// # Errors
    /// The daemon is gone; no process. What goes wrong in that process is told by [`Run::standing`].
    pub async fn start(daemon: &Daemon, entry: &Entry, labels: BTreeMap<String, String>, workspace: &Workspace) -> Result<Self, Failure> {
        let command = entry.task.command.clone();
        let ask = LeaseAsk {
            task: Some(entry.file.ask(&entry.task.name)),
            command: command.clone(),
            deliver: true,
            join_only: true,
            network: Some("granted-only".into()),
            ..LeaseAsk::default()
        };
        let job = Job {
            call: daemon.call(labels, Request::Lease(ask)),
            command,
            folder: workspace.folder().to_owned(),
            runtime_dir: daemon.runtime_dir(),
        };
        let connection = daemon.connect().await?.into_socket();
        let begin = || -> io::Result<Self> {
            let (ours, theirs) = Socket::pair()?;
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            let mut child = Command::new("/proc/self/exe");
            child.arg(worker::SUBCOMMAND).env_clear().process_group(0);
            child.envs(PASSED.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value))));
            child
                .stdin(OwnedFd::from(theirs))
                .stdout(write.try_clone()?)
                .stderr(Stdio::from(write));
            let mut child = tokio::process::Command::from(child).spawn()?;
            job.send(&ours, connection.as_fd(), workspace.handle())?;
            ours.set_nonblocking(true)?;
            let (reports, output) = (UnixStream::from_std(ours)?, Receiver::from_owned_fd(read)?);
            let (run, follower) = Self::parts(reports, output);
            tokio::spawn(async move {
                follower.follow().await;
                // It has said all that it says.
                let _ = child.wait().await;
            });
            Ok(run)
        };
        begin().map_err(|error| {
            Failure::new(Outcome::Internal, "delivery", format!("the command cannot be started: {error}"))
                .hint("touchlease doctor looks at the machine")
        })
    }

    fn parts(reports: UnixStream, output: Receiver) -> (Self, Follower) {
        let (stage, stages) = watch::channel(Stage::default());
        let run = Self {
            output: Arc::default(),
            stages,
            stop: CancellationToken::new(),
        };
        let follower = Follower {
            reports,
            pipe: output,
            output: run.output.clone(),
            stage,
            stop: run.stop.clone(),
        };
        (run, follower)
    }

    /// Waits until there is more to tell. False when it is over.
    pub async fn turn(&mut self) -> bool {
        let is_over = |stages: &watch::Receiver<Stage>| stages.borrow().over.is_some();
        if is_over(&self.stages) {
            return false;
        }
        let goes_on = self.stages.changed().await.is_ok();
        if goes_on && !is_over(&self.stages) {
            let over = self.stages.wait_for(|stage| stage.over.is_some());
            let _ = tokio::time::timeout(PACE, over).await;
        }
        goes_on && !is_over(&self.stages)
    }

    /// Has it ended, as its task says.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// The end of what it wrote so far.
    pub fn news(&self) -> String {
        let text = self.text();
        let from = (text.len().saturating_sub(NEWS)..=text.len()).find(|at| text.is_char_boundary(*at));
        text[from.unwrap_or(0)..].trim_end().to_owned()
    }

    fn text(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).text()
    }

    /// How it goes; with what it wrote.
    ///
    /// # Errors
    /// It was not started.
    pub fn standing(&self) -> Result<Standing, Failure> {
        let stage = self.stages.borrow().clone();
        let ended = stage.over.transpose()?;
        Ok(Standing {
            output: self.text(),
            left_out: self.output.lock().unwrap_or_else(PoisonError::into_inner).left_out(),
            uses_left: stage.uses_left,
            ended,
        })
    }
}

/// Reads what comes, whether somebody waits for it or not: a command that nobody reads would stand still.
struct Follower {
    reports: UnixStream,
    pipe: Receiver,
    output: Arc<Mutex<Output>>,
    stage: watch::Sender<Stage>,
    stop: CancellationToken,
}

impl Follower {
    async fn follow(self) {
        let Self {
            reports,
            mut pipe,
            output,
            stage,
            stop,
        } = self;
        let (reports, tell) = reports.into_split();
        let mut tell = Some(tell);
        let mut lines = BufReader::new(reports).lines();
        let (mut over, mut chunk, mut open) = (None, vec![0; 16 << 10], [true; 2]);
        while open != [false; 2] {
            tokio::select! {
                // Its end of the line is how it hears it.
                () = stop.cancelled(), if tell.is_some() => drop(tell.take()),
                line = lines.next_line(), if open[0] => match line.ok().flatten().as_deref().map(serde_json::from_str::<Report>) {
                    Some(Ok(Report::Started { uses_left })) => stage.send_modify(|stage| stage.uses_left = uses_left),
                    Some(Ok(Report::Done(ended))) => over = Some(Ok(ended)),
                    Some(Ok(Report::Failed(failure))) => over = Some(Err(failure)),
                    Some(Err(_)) | None => open[0] = false,
                },
                count = pipe.read(&mut chunk), if open[1] => match count {
                    Ok(count) if count > 0 => {
                        output.lock().unwrap_or_else(PoisonError::into_inner).push(&chunk[..count]);
                        stage.send_modify(|stage| stage.written += count as u64);
                    }
                    _ => open[1] = false,
                },
            }
        }
        // Its output is all there by now.
        let gone = || {
            Failure::new(Outcome::Internal, "worker_gone", "the process that ran the command is gone")
                .hint("touchlease audit show tells what was done")
        };
        stage.send_modify(|stage| stage.over = Some(over.unwrap_or_else(|| Err(gone()))));
    }
}
