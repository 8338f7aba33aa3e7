//! The daemon as the command line sees it. Blocking; starts a daemon if none runs.

mod stream;

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::getuid;
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

pub use stream::Stream;

use crate::paths::Places;
use crate::sys::pass;
use crate::sys::process::peer_uid;
use crate::sys::wait::is_readable;
use crate::wire::codec::{self, LineBuffer};
use crate::wire::{Answer, Call, Event, Failure, LONGEST_CALL, LONGEST_REPLY, Outcome, Reply};

/// Where the two do not understand each other.
pub const OTHER_VERSION: &str = "client and daemon may be of different versions: stop the daemon, the next command starts a new one";

/// Environment that a daemon started from here gets: where things lie, and nothing else of the caller's. A vault of one's own is named by
/// each call.
const PASSED: [&str; 6] = [
    "HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_RUNTIME_DIR",
    "TOUCHLEASE_LOG",
];

/// What the daemon says.
#[derive(Debug)]
pub enum Message {
    /// On the way.
    Event(Event),
    /// In the end.
    Reply(Box<Reply>),
}

/// A connection.
pub struct Client {
    stream: UnixStream,
    buffer: LineBuffer,
    lines: VecDeque<Zeroizing<Vec<u8>>>,
    /// What came beside the lines, for the line that says so.
    passed: Option<OwnedFd>,
}

impl Client {
    /// Connects to the daemon that runs, or starts one.
    ///
    /// # Errors
    /// [`Outcome::NoDaemon`], and [`Outcome::Refused`] when the socket is somebody else's.
    pub fn connect_or_start(places: &Places) -> Result<Self, Failure> {
        match Self::connect(places)? {
            Some(client) => Ok(client),
            None => match start_daemon(places) {
                Ok(()) => Self::connect(places)?.ok_or_else(|| no_daemon("the daemon was started and does not answer")),
                // Another command was faster, or a daemon is just leaving.
                Err(failure) if failure.reason == "running" => Self::connect_soon(places),
                Err(failure) => Err(failure),
            },
        }
    }

    fn connect_soon(places: &Places) -> Result<Self, Failure> {
        for _ in 0..200 {
            if let Some(client) = Self::connect(places)? {
                return Ok(client);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(no_daemon("another daemon holds the lock and does not answer"))
    }

    /// Connects to the daemon, if one runs.
    ///
    /// # Errors
    /// As [`Client::connect_or_start`].
    pub fn connect(places: &Places) -> Result<Option<Self>, Failure> {
        check_owner(&places.runtime)?;
        let stream = match UnixStream::connect(places.socket()) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && is_closed(&places.runtime) => return Err(behind_walls()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(sandboxed(&error)),
            Err(error) => return Err(no_daemon(format!("the daemon's socket cannot be reached: {error}"))),
        };
        let peer = peer_uid(stream.as_fd()).map_err(|error| no_daemon(error.to_string()))?;
        if peer != getuid().as_raw() {
            return Err(squatted(&places.socket(), peer));
        }
        Ok(Some(Self::over(stream)))
    }

    /// Asks.
    ///
    /// # Errors
    /// The daemon went away, or the call is too large.
    pub fn call(&mut self, call: &Call) -> Result<(), Failure> {
        let line = codec::encode(call).map_err(|error| Failure::new(Outcome::Internal, "codec", error.to_string()).ours())?;
        if line.len() > LONGEST_CALL {
            let message = format!("this is {} bytes in one request; {LONGEST_CALL} are possible", line.len());
            return Err(Failure::new(Outcome::BadInput, "too_large", message).hint("put fewer or smaller secrets at a time"));
        }
        let sent = self.send(&line);
        // A daemon that hung up before it was asked has said why.
        match sent.is_err().then(|| self.message()) {
            Some(Ok(Some(Message::Reply(reply)))) => match *reply {
                Reply::Failed(failure) => Err(failure),
                _ => sent,
            },
            _ => sent,
        }
    }

    /// Answers a prompt. An answer that comes too late is none: what the daemon said before it hung up is read next.
    ///
    /// # Errors
    /// The answer cannot be written down, or the socket fails.
    pub fn answer(&mut self, answer: &Answer) -> Result<(), Failure> {
        self.answers(&[answer])
    }

    /// The same with several, one after the other.
    ///
    /// # Errors
    /// As [`Client::answer`].
    pub fn answers(&mut self, answers: &[&Answer]) -> Result<(), Failure> {
        let mut lines = Vec::with_capacity(answers.len());
        for answer in answers {
            lines.push(codec::encode(answer).map_err(|error| Failure::new(Outcome::Internal, "codec", error.to_string()).ours())?);
        }
        let sent = match lines.as_slice() {
            [line] => self.stream.write_all(line),
            lines => self.stream.write_all(&Zeroizing::new(
                lines.iter().flat_map(|line| line.iter().copied()).collect::<Vec<_>>(),
            )),
        };
        match sent {
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
            sent => sent.map_err(went_away),
        }
    }

    /// The next message; nothing when the daemon closed the connection. Waits.
    ///
    /// # Errors
    /// What came is no message of this protocol.
    pub fn message(&mut self) -> Result<Option<Message>, Failure> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                let mut message = parse(&line)?;
                if let Message::Event(Event::Scanning { channel, .. }) = &mut message {
                    *channel = self.passed.take();
                }
                return Ok(Some(message));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Whether a message can be had without waiting.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Whether the daemon is still waiting to be asked: it hangs up on who says nothing for ten seconds, or when there are too many.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        is_readable(&self.stream).is_ok_and(|said| !said)
    }

    /// The connection, for a runtime that waits for several.
    ///
    /// # Errors
    /// The runtime takes no more.
    pub fn into_stream(self) -> io::Result<Stream> {
        Stream::new(self)
    }

    /// A connection that another process made, which the daemon takes for the one that speaks.
    #[must_use]
    pub fn over(stream: UnixStream) -> Self {
        Self {
            stream,
            buffer: LineBuffer::new(LONGEST_REPLY),
            lines: VecDeque::new(),
            passed: None,
        }
    }

    /// The socket, to be handed to another process before anything was said on it.
    #[must_use]
    pub fn into_socket(self) -> UnixStream {
        self.stream
    }

    fn fill(&mut self) -> Result<bool, Failure> {
        let mut chunk = Zeroizing::new([0; 4 << 10]);
        let n = match pass::receive(&self.stream, &mut chunk[..]) {
            Ok((n, fds)) => {
                self.passed = fds.into_iter().next().or(self.passed.take());
                n
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(no_daemon(format!("the daemon cannot be read: {error}"))),
        };
        let lines = &mut self.lines;
        let pushed = self.buffer.push(&chunk[..n], |line| lines.push_back(line));
        pushed.map_err(|error| Failure::new(Outcome::Internal, "protocol", error.to_string()).hint(OTHER_VERSION))?;
        Ok(n > 0)
    }

    fn send(&mut self, line: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(line).map_err(went_away)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[derive(Deserialize)]
struct Kind {
    reply: Option<IgnoredAny>,
}

fn parse(line: &[u8]) -> Result<Message, Failure> {
    let parsed = codec::decode::<Kind>(line).and_then(|kind| match kind.reply {
        Some(_) => codec::decode(line).map(|reply| Message::Reply(Box::new(reply))),
        None => codec::decode(line).map(Message::Event),
    });
    parsed.map_err(|error| {
        Failure::new(
            Outcome::Internal,
            "protocol",
            format!("the daemon said something unexpected: {error}"),
        )
        .hint(OTHER_VERSION)
    })
}

/// The folder may only be ours: whoever owns it could put a socket of his own there (T25).
fn check_owner(runtime: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(runtime) {
        Ok(meta) if meta.uid() != getuid().as_raw() => Err(squatted(runtime, meta.uid())),
        Ok(meta) if !meta.is_dir() => Err(
            Failure::new(Outcome::Refused, "socket_folder", format!("{} is no folder", runtime.display()))
                .hint("somebody put a link or a file there: look who did, and remove it"),
        ),
        Ok(meta) if meta.mode() & 0o077 != 0 => Err(Failure::new(
            Outcome::Refused,
            "socket_folder_open",
            format!("{} can be entered by others", runtime.display()),
        )
        .hint(format!("chmod 700 {}", runtime.display()))),
        // No folder, no daemon.
        _ => Ok(()),
    }
}

/// As the walls of `run --agent` leave it.
fn is_closed(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|meta| meta.mode() & 0o777 == 0)
}

/// The socket is our own user's, so it is not its permissions: agents' sandboxes refuse every call that makes or connects a socket.
fn sandboxed(error: &io::Error) -> Failure {
    let message = format!("a sandbox keeps this command from the daemon's socket: {error}");
    Failure::new(Outcome::NoDaemon, "sandboxed", message).hint(
        "an agent asks by the server that its client starts outside of the sandbox: touchlease connect codex, or claude. For commands in the \
         sandbox itself the setting is sandbox_workspace_write.network_access = true (Codex), network.allowAllUnixSockets = true (sandbox-runtime)",
    )
}

fn behind_walls() -> Failure {
    let message = "this runs behind the walls of `touchlease run --agent`, which keep the daemon out of reach";
    Failure::new(Outcome::Refused, "behind_walls", message)
        .hint("run it in a terminal of your own; an agent asks by its server, touchlease mcp, which works in there too")
}

fn squatted(path: &Path, uid: u32) -> Failure {
    Failure::new(
        Outcome::Refused,
        "socket_not_ours",
        format!("{} belongs to uid {uid}, not to you", path.display()),
    )
    .hint("somebody may be waiting there for your secrets; look who made it, and remove it")
}

fn went_away(error: io::Error) -> Failure {
    no_daemon(format!("the daemon went away: {error}"))
}

/// It answered nothing, and never will.
pub fn daemon_gone() -> Failure {
    Failure::new(Outcome::NoDaemon, "daemon_gone", "the daemon stopped before it answered")
        .hint("run the command again: it starts a daemon; if that one stops too, run `touchlease daemon` in a terminal to see what it says")
}

fn no_daemon(message: impl Into<String>) -> Failure {
    Failure::new(Outcome::NoDaemon, "no_daemon", message).hint("run `touchlease daemon` in a terminal to see what it says")
}

/// Starts `touchlease daemon` in the background and waits until it listens: its first line on the pipe says so, or what is wrong.
fn start_daemon(places: &Places) -> Result<(), Failure> {
    let log = open_log(&places.state).map_err(|error| {
        Failure::new(
            Outcome::NoDaemon,
            "state_folder",
            format!("{} cannot be written: {error}", places.state.display()),
        )
        .hint("the audit log lives there; make the folder writable, or set XDG_STATE_HOME")
    })?;
    let mut command = Command::new("/proc/self/exe");
    command.args(["daemon", "--background"]).env_clear().current_dir("/");
    command.envs(PASSED.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = command
        .spawn()
        .map_err(|error| no_daemon(format!("the daemon could not be started: {error}")))?;
    let mut said = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut said).map_err(|error| no_daemon(error.to_string()))?;
    }
    match said.trim_end() {
        "ready" => Ok(()),
        other => Err(codec::decode::<Failure>(other.as_bytes()).unwrap_or_else(|_| {
            no_daemon(format!(
                "the daemon did not start; see {}",
                places.state.join("daemon.log").display()
            ))
        })),
    }
}

fn open_log(state: &Path) -> io::Result<fs::File> {
    DirBuilder::new().recursive(true).mode(0o700).create(state)?;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(state.join("daemon.log"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn an_answer_that_comes_too_late_hides_nothing_of_what_the_daemon_said() {
        let (mine, mut daemon) = UnixStream::pair().unwrap();
        let mut client = Client::over(mine);
        daemon.write_all(&codec::encode(&Event::Watching).unwrap()).unwrap();
        daemon.write_all(&codec::encode(&Reply::Failed(daemon_gone())).unwrap()).unwrap();
        client.answer(&Answer::Done).unwrap();
        // With something unread, as when it is answered while it hangs up.
        drop(daemon);
        client.answer(&Answer::Done).unwrap();
        assert!(matches!(client.message().unwrap(), Some(Message::Event(Event::Watching))));
        assert!(matches!(client.message().unwrap(), Some(Message::Reply(reply)) if matches!(*reply, Reply::Failed(_))));
        assert!(client.message().unwrap().is_none());
    }

    #[test]
    fn a_daemon_that_hung_up_or_said_why_it_will_is_not_waiting_to_be_asked() {
        let home = tempfile::tempdir().unwrap();
        let places = Places::from_env(&|name| (name == "HOME").then(|| home.path().into())).unwrap();
        DirBuilder::new().recursive(true).mode(0o700).create(&places.runtime).unwrap();
        assert!(Client::connect(&places).unwrap().is_none());
        let daemon = UnixListener::bind(places.socket()).unwrap();
        let waits_after = |heard: fn(UnixStream) -> Option<UnixStream>| {
            let client = Client::connect(&places).unwrap().unwrap();
            let _held = heard(daemon.accept().unwrap().0);
            client.is_waiting()
        };
        assert!(waits_after(Some));
        assert!(!waits_after(|_| None));
        assert!(!waits_after(|mut said| said.write_all(b"{}\n").is_ok().then_some(said)));
    }
}
