//! The servers of an agent behind walls: they run outside of them, where the daemon is, one for each connection from within.
//!
//! A copy of `run`, made before the walls are there, listens at a socket in a folder that is seen in there. Of what comes it looks at
//! nothing: a connection becomes standard input and output of a `touchlease mcp`, as if the agent had started that itself outside. So the
//! agent says what any agent says to its server, and decides neither which program runs, nor its environment, nor its folder: these are the
//! run's. What that server does for it is done for every agent, after a touch and in the fence.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, WaitOptions, getuid, pidfd_open, setsid, waitpid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::claims::SESSION;
use crate::deliver::env::{DeliverError, PrivateFiles};
use crate::sys::child::fork;
use crate::sys::process::peer_uid;

/// The variable that tells `touchlease mcp` behind walls where the socket is.
pub const VARIABLE: &str = "TOUCHLEASE_MCP";
/// Servers at a time. An agent's client starts one.
const MOST: usize = 8;

/// The copy that waits. It ends with all its servers when dropped, and with the process that made it.
pub struct Outside {
    process: Pid,
    leash: Option<OwnedFd>,
    folder: PrivateFiles,
}

/// A server, and what becomes readable at its end.
struct Server {
    child: Child,
    end: OwnedFd,
}

impl Outside {
    /// Waits for connections from now on. `session` is the digest of the bearer of the proxy that the agent is behind, to which its leases
    /// come. The process must have one thread (see [`fork`]).
    ///
    /// # Errors
    /// There is no folder in memory, or no process.
    pub fn open(session: Option<&str>) -> Result<Self, DeliverError> {
        let folder = PrivateFiles::new(None)?;
        let begin = || -> io::Result<_> {
            let listener = UnixListener::bind(socket(folder.path()))?;
            listener.set_nonblocking(true)?;
            let (end, leash) = pipe_with(PipeFlags::CLOEXEC)?;
            let keep = [listener.as_raw_fd(), end.as_raw_fd()];
            let process = fork(&keep, || i32::from(wait(&listener, &end, session).is_err()))?;
            Ok((process, leash))
        };
        let (process, leash) = begin().map_err(DeliverError::Setup)?;
        Ok(Self {
            process,
            leash: Some(leash),
            folder,
        })
    }

    /// The folder that has to be seen from within.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the agent's environment says of it.
    #[must_use]
    pub fn variable(&self) -> (OsString, OsString) {
        (VARIABLE.into(), socket(self.folder.path()).into_os_string())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(self.leash.take());
        // It has nothing to finish.
        let _ = waitpid(Some(self.process), WaitOptions::empty());
    }
}

fn socket(folder: &Path) -> std::path::PathBuf {
    folder.join("mcp")
}

/// In the copy, until the other end of `end` is closed.
fn wait(listener: &UnixListener, end: &OwnedFd, session: Option<&str>) -> io::Result<()> {
    // What is typed at the run's terminal, and who reads what it writes, are nothing of the servers'.
    setsid()?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    let mut servers: Vec<Server> = vec![];
    loop {
        let watched = [end.as_fd(), listener.as_fd()].into_iter();
        let mut watched: Vec<_> = watched
            .chain(servers.iter().map(|server| server.end.as_fd()))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        poll(&mut watched, None)?;
        let [over, came] = [0, 1].map(|at: usize| watched.get(at).is_some_and(|fd| !fd.revents().is_empty()));
        if over {
            break;
        }
        servers.retain_mut(|server| !matches!(server.child.try_wait(), Ok(Some(_))));
        if came && let Ok((connection, _)) = listener.accept() {
            // One too many is closed, and whoever made it says so.
            if servers.len() < MOST && peer_uid(connection.as_fd())? == getuid().as_raw() {
                servers.extend(serve(connection.into(), session));
            }
        }
    }
    for mut server in servers {
        // It may have ended. What it had is given back by the daemon, which sees its connections close.
        let _ = (server.child.kill(), server.child.wait());
    }
    Ok(())
}

/// A server for this connection; none where no process can be made, and the connection is closed then.
fn serve(connection: OwnedFd, session: Option<&str>) -> Option<Server> {
    let mut server = Command::new("/proc/self/exe");
    server
        .arg("mcp")
        .stdin(connection.try_clone().ok()?)
        .stdout(connection)
        .stderr(Stdio::null());
    server.env_remove(SESSION);
    server.envs(session.map(|session| (SESSION, session)));
    let child = server.spawn().ok()?;
    let end = Pid::from_raw(i32::try_from(child.id()).ok()?).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())?;
    Some(Server { child, end })
}
