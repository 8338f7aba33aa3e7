//! Who is at the other end of the agent's socket, for the person who is asked: labels of the call, which are claims like all of them.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::net::sockopt::socket_peercred;

use crate::cli::session::LABELS;
use crate::daemon::peer::{Peer, connected};
use crate::lease::requester::{Claimed, SSH_CLIENT, SSH_COMMAND, command_line};
use crate::sys::wait::is_readable;

/// What is said of a process that cannot be looked at: one that is gone, or of another PID namespace.
const UNSEEN: &str = "a program that the agent cannot look at";

/// The program that connected with those that started it, its command line, and what agents say in their children's environment.
pub(super) fn labels(stream: &UnixStream) -> BTreeMap<String, String> {
    let Some(claimed) = seen(stream) else {
        return BTreeMap::from([(SSH_CLIENT.to_owned(), UNSEEN.to_owned())]);
    };
    let client = claimed.in_full();
    let Claimed { command, mut labels, .. } = claimed.for_screen();
    labels.insert(SSH_CLIENT.to_owned(), client);
    labels.insert(SSH_COMMAND.to_owned(), command_line(&command));
    labels
}

fn seen(stream: &UnixStream) -> Option<Claimed> {
    let peer = socket_peercred(stream).ok()?;
    let pid = peer.pid.as_raw_nonzero().get();
    let handle = connected(stream.as_fd(), pid).ok()?;
    let (requester, handle) = Peer::look(handle, pid, peer.uid.as_raw()).ok()?.requester(of_agents(pid));
    let claimed = LazyCell::force(&requester.claimed).clone();
    // All of it was read before that process ended, and so of no other one that has its number.
    (!is_readable(&handle).ok()?).then_some(claimed)
}

/// What agents set in the environment of this process.
fn of_agents(pid: i32) -> BTreeMap<String, String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let labels = variables.filter_map(|variable| {
        let (name, value) = variable.split_once('=')?;
        LABELS.contains(&name).then(|| (name.to_owned(), value.to_owned()))
    });
    labels.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read;
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    use super::*;

    /// What is seen of a program that connects and waits.
    fn of_a_client(environment: &[(&str, &str)], while_it_lives: impl FnOnce(&UnixStream)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let connect = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)";
        let mut client = Command::new("python3")
            .args(["-c", connect])
            .arg(&path)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().unwrap();
        while_it_lives(&stream);
        client.kill().unwrap();
        client.wait().unwrap();
        let mut stream = stream;
        let _ = stream.read(&mut [0]);
        assert_eq!(
            labels(&stream),
            BTreeMap::from([(SSH_CLIENT.to_owned(), UNSEEN.to_owned())]),
            "it is gone"
        );
    }

    #[test]
    fn t19_who_is_behind_the_socket_is_named_with_what_started_it_and_nobody_is_when_it_is_gone() {
        of_a_client(&[("CODEX_THREAD_ID", "7\u{1b}[2J"), ("SECRET", "x")], |stream| {
            let mut labels = labels(stream);
            let client = labels.remove(SSH_CLIENT).unwrap();
            assert!(client.starts_with("python3") && client.contains(" <- "), "{client}");
            let command = labels.remove(SSH_COMMAND).unwrap();
            assert!(command.contains("python3 -c 'import socket, sys;"), "{command}");
            let agents = BTreeMap::from([("CODEX_THREAD_ID".to_owned(), "7<U+001B>[2J".to_owned())]);
            assert_eq!(labels, agents);
        });
    }
}
