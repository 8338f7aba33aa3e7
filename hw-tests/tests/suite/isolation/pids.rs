//! Whose pid it is: the kernel gives it to another process once the first is gone.

use std::{
    fs,
    os::{fd::AsFd, unix::net::UnixListener},
    process::{Child, Command, Stdio},
};

use rustix::net::{AddressFamily, SocketType, socket, sockopt::socket_peercred};
use touchlease::daemon::peer::{Peer, PeerError, connected};

use crate::lab::WIRECAT;

const INSIDE: &str = "TOUCHLEASE_PIDS_OF_ITS_OWN";

/// Whether the caller is in a pid namespace of its own, where it says which pid comes next; if not, it has been run there.
fn inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut own = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        own.args(["--user", "--map-root-user"]);
    }
    own.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    own.arg(std::env::current_exe().unwrap());
    own.args([&format!("isolation::pids::{name}"), "--exact", "--nocapture"]);
    let out = own.env(INSIDE, "1").output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// A process with this pid, which nobody has.
fn process_with(pid: u32) -> Child {
    for _ in 0..100 {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        if child.id() == pid {
            return child;
        }
        // A thread of the test's took a number in between.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    panic!("the kernel did not give pid {pid} again");
}

#[test]
fn t19_the_process_that_connected_and_ended_is_gone_though_its_pid_is_in_use_again() {
    if !inside("t19_the_process_that_connected_and_ended_is_gone_though_its_pid_is_in_use_again") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    // Its descriptor outlives the process that connects it.
    let kept = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let mut connects = Command::new(WIRECAT);
    connects.arg("connect").arg(&path).stdin(Stdio::from(kept.try_clone().unwrap()));
    let mut first = connects.spawn().unwrap();
    let pid = first.id();
    assert!(first.wait().unwrap().success());
    let mut second = process_with(pid);
    let (stream, _) = listener.accept().unwrap();
    let named = socket_peercred(&stream).unwrap();
    assert_eq!(named.pid.as_raw_nonzero().get().unsigned_abs(), pid);
    let uid = named.uid.as_raw();
    let number = pid.try_into().unwrap();
    let seen = connected(stream.as_fd(), number).and_then(|handle| Peer::look(handle, number, uid));
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(matches!(seen, Err(PeerError::Gone)), "the second process is taken for the first");
}
