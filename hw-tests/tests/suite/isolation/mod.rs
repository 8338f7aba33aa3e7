//! The product as it is installed, its own processes over a real smart-card stack: what others of the same user can do to it.
//!
//! Each case runs itself again inside `with-readers`, where pcscd and two emulated cards belong to it alone.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::unix::{
        net::UnixStream,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use hw_tests::{control::Control, harness::Home, key::KeyHandle, rig};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::hygiene::{CommandLines, forms, leaks, left_behind};
use crate::lab::{CANARY, Caller, PATIENCE, PROGRAM, WIRECAT, event, holds, lease_call, product, shows, until};

const PROBE: &str = env!("CARGO_BIN_EXE_probe");
const NOBODY: u32 = 65534;

mod agent;
mod buses;
mod cards;
mod certificates;
mod closed;
mod degraded;
mod loading;
mod memory;
mod outside;
mod pids;
mod scan;

/// Whether the caller is inside; if not, it has been run there, and has passed.
fn inside(name: &str) -> bool {
    inside_readers(&format!("isolation::{name}"))
}

/// The same for any test of the suite, by its whole name.
pub fn inside_readers(name: &str) -> bool {
    if std::env::var_os(rig::CONTACT).is_some() {
        return true;
    }
    let launcher = Path::new(env!("CARGO_MANIFEST_DIR")).join("with-readers");
    let out = Command::new(launcher)
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--include-ignored"])
        .env("EMUKEY", PROGRAM)
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.contains("1 passed"), "{said}");
    for line in said.lines().filter(|line| line.starts_with(['T', 'P'])) {
        println!("{line}");
    }
    false
}

/// A home whose programs are an ordinary user's, or root's.
struct Rigged {
    home: Home,
    key: Control,
    daemon: Option<Child>,
    /// The product, where every account can reach it.
    _bin: TempDir,
}

impl Rigged {
    /// A daemon that `wrapper` starts; with none, the first command does.
    fn new(user: u32, wrapper: Option<&[&str]>) -> Self {
        let rigged = Self::without_vault(user, wrapper);
        shows(&rigged.home, &["init", "--key", "blue"], 0, &[]);
        rigged.put("prod/TOKEN", CANARY);
        rigged
    }

    fn without_vault(user: u32, wrapper: Option<&[&str]>) -> Self {
        let key = |name| rig::key(name, |name| std::env::var_os(name)).unwrap();
        key(rig::CONTACTLESS).pull().unwrap();
        let (bin, copy) = for_everybody(&product());
        let script = format!(
            "#!/bin/sh\nexec setpriv --reuid {user} --regid {user} --clear-groups {} \"$@\"\n",
            copy.display()
        );
        let program = bin.path().join("as-user");
        fs::write(&program, script).unwrap();
        open_to_everybody(&program);
        let home = Home::new(&program).unwrap();
        own(home.path(), user);
        let mut rigged = Self {
            home,
            key: key(rig::CONTACT),
            daemon: None,
            _bin: bin,
        };
        if let Some(wrapper) = wrapper {
            rigged.daemon = Some(rigged.start(wrapper));
            until("the daemon", || rigged.home.places().unwrap().socket().exists());
        }
        rigged
    }

    /// `touchlease daemon` behind `wrapper`, with core files allowed.
    fn start(&self, wrapper: &[&str]) -> Child {
        let daemon = self.home.command(["daemon"]);
        let words = wrapper
            .iter()
            .map(|word| (*word).to_owned())
            .chain([product().display().to_string(), "daemon".into()]);
        let words: Vec<String> = words.collect();
        let log = self.home.path().join("daemon.out");
        let log = fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        Command::new(&words[0])
            .args(&words[1..])
            .env_clear()
            .envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(self.home.work())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Ends the daemon, and starts another.
    fn renew(&mut self, wrapper: &[&str]) {
        let mut ending = self.daemon.take().unwrap();
        signal(ending.id(), "TERM");
        ending.wait().unwrap();
        self.daemon = Some(self.start(wrapper));
        until("the daemon", || self.home.places().unwrap().socket().exists());
    }

    /// Makes the daemon fall over: no core.
    fn fall(&mut self) {
        let daemon = self.daemon.take().unwrap();
        falls_without_core(daemon);
    }

    fn put(&self, secret: &str, value: &str) {
        let file = self.home.work().join("value");
        fs::write(&file, value).unwrap();
        shows(&self.home, &["put", secret, "--from-file", "value"], 0, &[]);
        fs::remove_file(file).unwrap();
    }

    fn agent(&self, arguments: &[&str]) -> Output {
        self.home.run(arguments).unwrap()
    }

    fn status(&self) -> Value {
        let out = self.agent(&["--json", "status"]);
        serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"))
    }

    fn daemon_pid(&self) -> u32 {
        u32::try_from(self.status()["pid"].as_u64().unwrap()).unwrap()
    }

    fn background(&self, arguments: &[&str]) -> Child {
        let mut command = self.home.detached(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// A child that holds a lease, once it runs; and what it runs in.
    fn holding(&self, more: &[&str]) -> Child {
        let started = self.home.work().join("started");
        let _ = fs::remove_file(&started);
        let run = [
            &["run", "--with", "prod/TOKEN"],
            more,
            &["--", "sh", "-c", "echo $$ > started; exec sleep 60"],
        ]
        .concat();
        let run = self.background(&run);
        until("the child", || fs::read(&started).is_ok_and(|text| text.ends_with(b"\n")));
        run
    }

    fn events(&self) -> Vec<(String, Value)> {
        let log = fs::read_to_string(self.home.log().unwrap()).unwrap();
        log.lines().filter_map(event).collect()
    }
}

fn falls_without_core(mut ending: Child) {
    // The first is taken by the handler that looks for stack overflows, which then stands aside.
    until("its end", || {
        let ended = ending.try_wait().unwrap().is_some();
        if !ended {
            signal(ending.id(), "SEGV");
        }
        ended
    });
    let ended = ending.wait().unwrap();
    assert_eq!(ended.signal(), Some(11), "{ended:?}");
    assert!(!ended.core_dumped());
}

impl Drop for Rigged {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            // It may have ended.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Gives a folder with all that is in it to an account.
pub fn own(folder: &Path, user: u32) {
    let chown = Command::new("chown")
        .args(["-R", &format!("{user}:{user}")])
        .arg(folder)
        .status()
        .unwrap();
    assert!(chown.success());
}

/// A folder of the system's with nothing in it, in memory. The mount namespace is the test's own: see [`inside`].
fn emptied(place: &str, owner: u32) {
    assert!(std::env::var_os(rig::CONTACT).is_some());
    fs::create_dir_all(place).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "none", place]).status().unwrap();
    assert!(mounted.success());
    own(Path::new(place), owner);
}

fn signal(pid: u32, name: &str) {
    assert!(
        Command::new("kill")
            .args([&format!("-{name}"), &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

fn children(of: u32) -> Vec<(u32, String)> {
    let mut found = vec![];
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if status.lines().any(|line| line == format!("PPid:\t{of}")) {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

fn child(of: u32, what: &str) -> u32 {
    let mut found = None;
    until(what, || {
        found = children(of).into_iter().find(|(_, line)| line.contains(what)).map(|(pid, _)| pid);
        found.is_some()
    });
    found.unwrap()
}

/// The program where every account can reach it, for as long as the folder is kept: the target folder may lie in a home that is closed.
/// A copy of a program where every account can reach it.
pub fn for_everybody(program: &Path) -> (TempDir, PathBuf) {
    let folder = tempfile::Builder::new().prefix("touchlease-bin-").tempdir().unwrap();
    let copy = folder.path().join(program.file_name().unwrap());
    fs::copy(program, &copy).unwrap();
    open_to_everybody(folder.path());
    open_to_everybody(&copy);
    (folder, copy)
}

fn open_to_everybody(path: &Path) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// The ways that are open to `nobody` into a process of `nobody`.
fn ways_into(pid: u32) -> Vec<String> {
    let (_folder, probe) = for_everybody(Path::new(PROBE));
    let out = Command::new(probe).arg(pid.to_string()).uid(NOBODY).gid(NOBODY).output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert_eq!(said.lines().count(), 7, "{said}");
    said.lines().filter(|line| line.ends_with(" open")).map(str::to_owned).collect()
}

#[test]
fn t23_no_process_of_the_same_user_gets_into_daemon_worker_or_command() {
    if !inside("t23_no_process_of_the_same_user_gets_into_daemon_worker_or_command") {
        return;
    }
    // The probe can fail: an ordinary process is an open book.
    let mut book = Command::new("sleep").arg("60").uid(NOBODY).gid(NOBODY).spawn().unwrap();
    let open = ways_into(book.id());
    assert!(open.len() >= 6, "{open:?}");
    book.kill().unwrap();
    book.wait().unwrap();

    let rigged = Rigged::new(NOBODY, None);
    let watch = rigged.home.watch().unwrap();
    let daemon = rigged.daemon_pid();
    let status = fs::read_to_string(format!("/proc/{daemon}/status")).unwrap();
    assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "{status}");
    let holder = rigged.holding(&[]);
    rigged.key.never().unwrap();
    let asks = rigged.background(&["run", "--with", "OTHER=prod/TOKEN", "--", "true"]);
    assert!(rigged.key.await_asked(PATIENCE).unwrap());
    let processes = [
        ("daemon", daemon),
        ("key-worker", child(daemon, "key-worker")),
        ("key-watch", child(daemon, "key-watch")),
        ("run", holder.id()),
        ("waiting run", asks.id()),
        ("watch", watch.pid()),
    ];
    for (name, pid) in processes {
        let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        let pid = if exe.ends_with("touchlease") {
            pid
        } else {
            child(pid, "touchlease")
        };
        let open = ways_into(pid);
        println!("T23 {name}: {} of 7 ways in", open.len());
        assert!(open.is_empty(), "{name}: {open:?}");
    }
    rigged.key.press().unwrap();
    drop((asks, holder));
}

#[test]
fn t17_kill_9_ends_the_child_and_leaves_no_lease() {
    if !inside("t17_kill_9_ends_the_child_and_leaves_no_lease") {
        return;
    }
    let rigged = Rigged::new(0, None);
    let watch = rigged.home.watch().unwrap();
    let holder = rigged.holding(&[]);
    // By a child of this session: its shell, not whoever adopts it, holds the lease.
    let mut request = rigged.home.command(["--json", "lease", "request", "--with", "prod/TOKEN"]);
    let requested = request.stdin(Stdio::null()).output().unwrap();
    assert_eq!(requested.status.code(), Some(0), "{requested:?}");
    assert_eq!(rigged.status()["leases"], 2);
    let pid: u32 = fs::read_to_string(rigged.home.work().join("started"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let since = Instant::now();
    signal(rigged.daemon_pid(), "KILL");
    let out = holder.wait_with_output().unwrap();
    println!("T17: the child ended {:?} after the daemon", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(5) && !Path::new(&format!("/proc/{pid}")).exists());
    assert!(holds(&out.stderr, "the daemon stopped"), "{out:?}");
    drop(watch);
    assert_eq!(rigged.status()["leases"], 0);
    let out = rigged.agent(&["--json", "run", "--with", "prod/TOKEN", "--", "true"]);
    assert_eq!(out.status.code(), Some(67), "{out:?}");
    shows(&rigged.home, &["audit", "verify"], 0, &[]);
}

#[test]
fn sigterm_ends_leases_on_record_and_takes_the_socket_away() {
    if !inside("sigterm_ends_leases_on_record_and_takes_the_socket_away") {
        return;
    }
    let mut rigged = Rigged::new(0, Some(&["env"]));
    let watch = rigged.home.watch().unwrap();
    let holder = rigged.holding(&[]);
    let second = rigged.start(&["env"]).wait().unwrap();
    assert_eq!(second.code(), Some(69));
    assert!(holds(
        &fs::read(rigged.home.path().join("daemon.out")).unwrap(),
        "a daemon runs already"
    ));
    let daemon = rigged.daemon.take().unwrap();
    signal(daemon.id(), "TERM");
    let mut daemon = daemon;
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    assert!(!rigged.home.places().unwrap().socket().exists());
    let out = holder.wait_with_output().unwrap();
    assert!(holds(&out.stderr, "the lease is over"), "{out:?}");
    assert!(
        rigged
            .events()
            .iter()
            .any(|(name, event)| name == "ended" && event["why"] == "daemon_end")
    );
    drop(watch);
}

#[test]
fn a_socket_of_systemd_is_taken_and_left() {
    if !inside("a_socket_of_systemd_is_taken_and_left") {
        return;
    }
    let rigged = Rigged::without_vault(0, None);
    let places = rigged.home.places().unwrap();
    fs::create_dir_all(&places.runtime).unwrap();
    fs::set_permissions(&places.runtime, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let socket = places.socket().display().to_string();
    let keep: Vec<String> = ["HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"]
        .iter()
        .map(|name| format!("-E{name}"))
        .collect();
    let mut wrapper = vec!["systemd-socket-activate", "-l", &socket];
    wrapper.extend(keep.iter().map(String::as_str));
    let mut activated = rigged.start(&wrapper);
    // Its path is there before it listens; a refused socket is a dead one to the command, which starts a daemon of its own.
    until("the socket", || UnixStream::connect(&socket).is_ok());
    let status = rigged.status();
    assert_eq!(status["pid"], activated.id(), "{status}");
    signal(activated.id(), "TERM");
    assert_eq!(activated.wait().unwrap().code(), Some(0));
    assert!(Path::new(&socket).exists(), "the socket is systemd's");
}

#[test]
fn t15_a_lease_of_the_product_ends_by_the_clock_that_counts_suspend() {
    if !inside("t15_a_lease_of_the_product_ends_by_the_clock_that_counts_suspend") {
        return;
    }
    // As after a day of sleep: whoever mixed the clocks up would wait for a day.
    let rigged = Rigged::new(0, Some(&["unshare", "-T", "--boottime", "86400"]));
    let _watch = rigged.home.watch().unwrap();
    let since = Instant::now();
    let out = rigged.agent(&["run", "--with", "prod/TOKEN", "--ttl", "2s", "--", "sleep", "60"]);
    assert!(holds(&out.stderr, "the lease is over (expired)"), "{out:?}");
    assert!(
        since.elapsed() > Duration::from_secs(2) && since.elapsed() < Duration::from_secs(20),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(rigged.status()["leases"], 0);
}
