//! The product as it is installed, its own processes over a real smart-card stack: what others of the same user can do to it.
//!
//! Each case runs itself again inside `with-readers`, where pcscd and two emulated cards belong to it alone.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use hw_tests::{control::Control, harness::Home, key::KeyHandle, rig};
use serde_json::{Value, json};

use crate::hygiene::{CommandLines, forms, leaks, left_behind};
use crate::lab::{CANARY, Caller, PATIENCE, PROGRAM, WIRECAT, event, holds, lease_call, product, until};

const PROBE: &str = env!("CARGO_BIN_EXE_probe");
const NOBODY: u32 = 65534;

/// Whether the caller is inside; if not, it has been run there, and has passed.
fn inside(name: &str) -> bool {
    if std::env::var_os(rig::CONTACT).is_some() {
        return true;
    }
    let launcher = Path::new(env!("CARGO_MANIFEST_DIR")).join("with-readers");
    let out = Command::new(launcher)
        .arg(std::env::current_exe().unwrap())
        .args([&format!("isolation::{name}"), "--exact", "--nocapture", "--include-ignored"])
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
}

impl Rigged {
    /// A daemon that `wrapper` starts; with none, the first command does.
    fn new(user: u32, wrapper: Option<&[&str]>) -> Self {
        let rigged = Self::without_vault(user, wrapper);
        let (status, shown) = rigged.home.terminal(["init", "--key", "blue"]).unwrap().finish().unwrap();
        assert!(status.success(), "{shown}");
        rigged.put("prod/TOKEN", CANARY);
        rigged
    }

    fn without_vault(user: u32, wrapper: Option<&[&str]>) -> Self {
        let key = |name| rig::key(name, |name| std::env::var_os(name)).unwrap();
        key(rig::CONTACTLESS).pull().unwrap();
        let bin = tempfile::Builder::new().prefix("touchlease-bin-").tempdir().unwrap().keep();
        let script = format!(
            "#!/bin/sh\nexec setpriv --reuid {user} --regid {user} --clear-groups {} \"$@\"\n",
            for_everybody(&product()).display()
        );
        let program = bin.join("touchlease");
        fs::write(&program, script).unwrap();
        for path in [&bin, &program] {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let home = Home::new(&program).unwrap();
        own(home.path(), user);
        let mut rigged = Self {
            home,
            key: key(rig::CONTACT),
            daemon: None,
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
        let (status, shown) = self
            .home
            .terminal(["put", secret, "--from-file", "value"])
            .unwrap()
            .finish()
            .unwrap();
        assert!(status.success(), "{shown}");
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

fn own(folder: &Path, user: u32) {
    let chown = Command::new("chown")
        .args(["-R", &format!("{user}:{user}")])
        .arg(folder)
        .status()
        .unwrap();
    assert!(chown.success());
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

/// The program where every account can reach it: the target folder may lie in a home that is closed.
fn for_everybody(program: &Path) -> PathBuf {
    let folder = tempfile::Builder::new().prefix("touchlease-bin-").tempdir().unwrap().keep();
    let copy = folder.join(program.file_name().unwrap());
    fs::copy(program, &copy).unwrap();
    for path in [&folder, &copy] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    copy
}

/// The ways that are open to `nobody` into a process of `nobody`.
fn ways_into(pid: u32) -> Vec<String> {
    static REACHABLE: OnceLock<PathBuf> = OnceLock::new();
    let probe = REACHABLE.get_or_init(|| for_everybody(Path::new(PROBE)));
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
fn t47_no_core_of_daemon_worker_or_command() {
    if !inside("t47_no_core_of_daemon_worker_or_command") {
        return;
    }
    // The machine can write cores at all.
    let wrapper = ["sh", "-c", "ulimit -c unlimited; exec \"$0\" \"$@\""];
    let control = Command::new("sh")
        .args(["-c", "ulimit -c unlimited; kill -SEGV $$"])
        .current_dir("/tmp")
        .status()
        .unwrap();
    assert!(control.core_dumped(), "this machine writes no cores: {control:?}");
    let mut rigged = Rigged::new(0, Some(&wrapper));
    let _watch = rigged.home.watch().unwrap();
    rigged.key.never().unwrap();
    let asks = rigged.background(&["--json", "run", "--with", "prod/TOKEN", "--", "true"]);
    assert!(rigged.key.await_asked(PATIENCE).unwrap());
    // A worker that dies takes its request with it, or is replaced; in no case is there a core.
    signal(child(rigged.daemon_pid(), "key-worker"), "SEGV");
    std::thread::sleep(Duration::from_millis(300));
    // Its command is to have the caller's limit again, so `run` keeps the hard one.
    let falls = rigged.background(&["--json", "run", "--with", "prod/TOKEN", "--", "true"]);
    std::thread::sleep(Duration::from_millis(300));
    let limit = ["--core=unlimited:unlimited", "--pid", &falls.id().to_string()];
    assert!(Command::new("prlimit").args(limit).status().unwrap().success());
    falls_without_core(falls);
    rigged.fall();
    let out = asks.wait_with_output().unwrap();
    assert!(!out.status.success());
    let cores = ["/", "/tmp"].map(PathBuf::from).into_iter().chain([rigged.home.work()]);
    let young = |entry: &fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (name == "core" || name.starts_with("core.")) && entry.path().parent() != Some(Path::new("/tmp"))
    };
    let found: Vec<_> = cores
        .flat_map(|folder| fs::read_dir(folder).unwrap().flatten())
        .filter(young)
        .map(|entry| entry.path())
        .collect();
    assert!(found.is_empty(), "{found:?}");
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
    let (status, shown) = rigged.home.terminal(["audit", "verify"]).unwrap().finish().unwrap();
    assert!(status.success(), "{shown}");
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
    until("the socket", || Path::new(&socket).exists());
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

/// Paths that a traced process opened or ran.
fn opened(trace: &Path) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(&fs::read(trace).unwrap()).into_owned();
    let calls = text.lines().filter(|line| line.contains("open") || line.contains("exec"));
    calls.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

#[test]
fn t21_nothing_that_a_client_names_is_loaded_or_read() {
    if !inside("t21_nothing_that_a_client_names_is_loaded_or_read") {
        return;
    }
    let trace = tempfile::tempdir().unwrap();
    let file = trace.path().join("trace");
    let path = file.display().to_string();
    let rigged = Rigged::new(
        0,
        Some(&[
            "strace",
            "-f",
            "-qq",
            "-s",
            "4096",
            "-e",
            "trace=open,openat,openat2,execve,execveat",
            "-o",
            &path,
        ]),
    );
    let _watch = rigged.home.watch().unwrap();
    let evil = rigged.home.path().join("evil");
    fs::create_dir(&evil).unwrap();
    let below = |name: &str| evil.join(name).display().to_string();
    fs::write(evil.join("lib.so"), "").unwrap();
    fs::write(
        rigged.home.work().join("touchlease.toml"),
        "[task.job]\nabout = \"x\"\n[[task.job.grant]]\nsecret = \"prod/TOKEN\"\nvia = \"env\"\nenv = \"TOKEN\"\n",
    )
    .unwrap();
    let mut run = rigged.home.detached(["run", "--task", "job", "--", "true"]);
    run.envs([
        ("LD_PRELOAD", below("lib.so")),
        ("LD_LIBRARY_PATH", below("lib")),
        ("XDG_CONFIG_HOME", below("config")),
        ("XDG_DATA_HOME", below("data")),
        ("XDG_STATE_HOME", below("state")),
        ("TOUCHLEASE_LOG", below("log")),
        ("SSH_ASKPASS", below("askpass")),
        ("PINENTRY_USER_DATA", below("pinentry")),
        ("PCSCLITE_CSOCK_NAME", below("pcscd")),
        ("TMPDIR", below("tmp")),
        ("HOME", below("home")),
    ]);
    let out = run
        .env("TOUCHLEASE_VAULT", rigged.home.places().unwrap().vault)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    // Names on the wire open nothing either.
    let hostile = below("named");
    let mut call = lease_call(json!({"reason": hostile, "command": [hostile], "labels": {"AI_AGENT": hostile}}));
    call["request"]["task"] = json!({"name": "x", "file": format!("about = \"{hostile}\"")});
    let mut command = Command::new(WIRECAT);
    command.args([
        "call",
        &rigged.home.places().unwrap().socket().display().to_string(),
        &call.to_string(),
    ]);
    assert_eq!(Caller::start(command).reply().unwrap()["reply"], "failed");
    let paths = opened(&file);
    assert!(
        paths.len() > 20 && paths.iter().any(|path| path.contains("pcsc")),
        "the trace holds workers too: {paths:?}"
    );
    let named: Vec<_> = paths
        .iter()
        .filter(|path| path.contains("/evil") || path.ends_with("touchlease.toml"))
        .collect();
    assert!(named.is_empty(), "{named:?}");
    println!("T21: {} paths, none that the client named", paths.len());
}

#[test]
fn t21_a_daemon_that_a_client_starts_inherits_nothing_of_its_environment() {
    if !inside("t21_a_daemon_that_a_client_starts_inherits_nothing_of_its_environment") {
        return;
    }
    let rigged = Rigged::without_vault(0, None);
    let mut command = rigged.home.detached(["--json", "status"]);
    let hostile = [
        ("LD_PRELOAD", "/nope/lib.so"),
        ("LD_AUDIT", "/nope/audit.so"),
        ("PCSCLITE_CSOCK_NAME", "/nope/pcscd"),
        ("RUST_BACKTRACE", "1"),
    ];
    let out = command
        .envs(hostile)
        .env("PATH", "/nope:/usr/bin:/bin")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let status: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"));
    let environment = fs::read(format!("/proc/{}/environ", status["pid"])).unwrap();
    let names: BTreeSet<_> = environment
        .split(|b| *b == 0)
        .filter_map(|pair| pair.split(|b| *b == b'=').next())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    let allowed = [
        "",
        "HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
        "XDG_RUNTIME_DIR",
        "TOUCHLEASE_VAULT",
        "TOUCHLEASE_LOG",
    ];
    assert!(
        names.contains("HOME") && names.iter().all(|name| allowed.contains(&name.as_str())),
        "{names:?}"
    );
    assert!(!holds(&environment, "/nope"));
}

/// How often `part` is in the memory of a process.
fn in_memory(pid: u32, part: &str) -> usize {
    use std::os::unix::fs::FileExt;
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut found = 0;
    for line in maps
        .lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with('r')) && !line.contains("[vvar"))
    {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // A part that cannot be read holds nothing for anybody.
        let read = memory.read_at(&mut bytes, from).unwrap_or(0);
        found += memchr::memmem::find_iter(&bytes[..read], part).count();
    }
    found
}

/// Leases of the everyday run, and of the long one.
const LEASES: usize = 12;
const LONG: usize = 1000;
/// A person's terminal is asked at most 60 times in ten minutes, by one daemon.
const BY_ONE_DAEMON: usize = 50;
/// A value of this case alone: others keep theirs in memory folders meanwhile.
const TRACED: &str = "incorrect-mule-capacitor-1937";

#[test]
fn t45_the_canary_is_in_no_memory_of_the_daemon_after_the_lease_and_in_no_log_at_trace() {
    if inside("t45_the_canary_is_in_no_memory_of_the_daemon_after_the_lease_and_in_no_log_at_trace") {
        leaves_nothing(LEASES, 1);
    }
}

#[test]
#[ignore = "long"]
fn t45_the_canary_is_nowhere_after_1000_leases_at_trace() {
    if inside("t45_the_canary_is_nowhere_after_1000_leases_at_trace") {
        leaves_nothing(LONG, 20);
    }
}

/// The product at trace level, allowed to dump core, on a real smart-card stack: leases of every delivery, and then a look for what
/// they left in files, logs, command lines, messages, and at every so many'th in the daemon's memory.
fn leaves_nothing(of: usize, look_at_every: usize) {
    let forms = forms(TRACED);
    let wrapper = ["env", "TOUCHLEASE_LOG=trace", "sh", "-c", "ulimit -c unlimited; exec \"$0\" \"$@\""];
    let mut rigged = Rigged::new(0, Some(&wrapper));
    rigged.put("prod/TRACED", TRACED);
    let scripts = [
        "echo got-$TRACED; echo $TRACED | base64",
        "cat $TRACED; echo; od -An -tx1 $TRACED | tr -d ' \\n'; echo got-",
        "echo got-; printf 'x%s' $TRACED | base32 >&2",
        "echo got-; kill -9 $$",
    ];
    let command_lines = CommandLines::watch(TRACED);
    let (mut clean, mut looks, mut live) = (0, 0, 0);
    for k in 0..of {
        if k % BY_ONE_DAEMON == BY_ONE_DAEMON - 1 {
            rigged.renew(&wrapper);
        }
        let daemon = rigged.daemon_pid();
        let with = if k % 4 == 1 { "--with-file" } else { "--with" };
        // It stays until it is read from, so that there is a moment to look in.
        let script = format!("{}; read -r line", scripts[k % 4]);
        let run = ["run", with, "prod/TRACED", "--", "sh", "-c", &script];
        let mut terminal = rigged.home.terminal(run).unwrap();
        // The prompt shows the command too.
        terminal.expect("approved").unwrap();
        terminal.expect("got-").unwrap();
        let look = k % look_at_every == 0;
        // Its one place is memory that not even root can look into, where the kernel has memfd_secret(2).
        live += if look { in_memory(daemon, TRACED) } else { 0 };
        // The fourth has ended by now.
        let _ = terminal.type_in("\n");
        let (status, shown) = terminal.finish().unwrap();
        assert_eq!(status.success(), k % 4 != 3, "{shown}");
        assert_eq!(leaks(shown.as_bytes(), &forms), 0, "{shown}");
        until("the end", || rigged.status()["leases"] == 0);
        if look {
            let after: usize = [TRACED, &data_encoding::BASE64.encode(TRACED.as_bytes())]
                .iter()
                .map(|form| in_memory(daemon, form))
                .sum();
            assert_eq!(after, 0, "in memory after lease {k} of {of}");
            looks += 1;
        }
        clean += 1;
    }
    let (lines, hits) = command_lines.seen();
    assert!(hits == 0 && lines > of, "{hits} of {lines} command lines");
    // With a lease alive it is made to fall.
    let _watch = rigged.home.watch().unwrap();
    let holder = rigged.holding(&["--with", "prod/TRACED"]);
    assert!(
        in_memory(rigged.daemon_pid(), "touchlease:lease") > 0,
        "the search finds what there is"
    );
    rigged.fall();
    drop(holder);
    let files = left_behind(rigged.home.path());
    assert!(
        !files
            .iter()
            .any(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core")))
    );
    let dirty: Vec<_> = files
        .iter()
        .filter(|file| leaks(&fs::read(file).unwrap_or_default(), &forms) > 0)
        .collect();
    assert!(dirty.is_empty(), "{dirty:?}");
    let log = fs::read(rigged.home.path().join("daemon.out")).unwrap();
    assert!(holds(&log, "listening"), "{}", String::from_utf8_lossy(&log));
    println!(
        "T45 trace: {clean} of {of} leases, 0 hits in {} files, {lines} command lines, {looks} looks into the daemon's memory ({live} while leases lived), {} bytes of log",
        files.len(),
        log.len()
    );
}

/// Processes of `trace` that descend from `first`, itself included.
fn family(trace: &str, first: &str) -> std::collections::BTreeSet<String> {
    let mut family = std::collections::BTreeSet::from([first.to_owned()]);
    for line in trace.lines() {
        let (pid, call) = line.split_once(' ').unwrap_or_default();
        let started = ["clone", "fork"].iter().any(|word| call.contains(word));
        if let (true, Some((_, child))) = (started && family.contains(pid), call.rsplit_once("= ")) {
            family.insert(child.trim().to_owned());
        }
    }
    family
}

#[test]
fn t21_the_daemon_opens_no_file_that_a_client_or_its_environment_names() {
    let home = Home::new(product()).unwrap();
    // Everything that a client can name is called canary, and is there to be opened.
    let canary = home.path().join("canary");
    fs::create_dir(&canary).unwrap();
    let named = |name: &str| {
        let file = canary.join(name);
        fs::write(&file, "[task.canary]\nabout = \"x\"\ncommand = [\"/canary\"]\n").unwrap();
        file.display().to_string()
    };
    let library = named("canary.so");
    let poison = [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "GCONV_PATH",
        "SSH_SK_PROVIDER",
        "PCSCLITE_CSOCK_NAME",
        "OPENSSL_CONF",
        "RUST_LOG",
    ];
    let poison = poison.map(|name| (name, library.clone()));
    let trace = home.path().join("trace");
    let start = home.command(["--json", "status"]);
    let mut traced = Command::new("strace");
    traced
        .args([
            "-f",
            "-q",
            "-s",
            "512",
            "-e",
            "trace=execve,open,openat,openat2,clone,clone3,fork,vfork",
            "-o",
        ])
        .arg(&trace)
        .args(["env", "-C"])
        .arg(&canary)
        .args(poison.iter().map(|(name, value)| format!("{name}={value}")))
        .arg(product())
        .args(["--json", "status"])
        .env_clear()
        .envs(start.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // It stays with the daemon that the client starts, until that ends.
    let mut traced = traced
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(traced.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let daemon = serde_json::from_str::<Value>(&said).unwrap()["pid"].to_string();
    let env_file = named("canary.env");
    let vault = canary.display().to_string();
    for arguments in [
        &["run", "--task", "canary", "--", "/canary/program"][..],
        &["run", "--env-file", &env_file, "--with", "prod/CANARY", "--", "/canary/program"],
        &["put", "prod/CANARY", "--from-file", &library],
        &["key", "list"],
        &["--vault", &vault, "list"],
    ] {
        let mut client = home.command(arguments);
        client
            .envs(poison.clone())
            .current_dir(&canary)
            .stdin(Stdio::null())
            .output()
            .unwrap();
    }
    signal(daemon.parse().unwrap(), "TERM");
    traced.wait().unwrap();
    let trace = fs::read_to_string(&trace).unwrap();
    let family = family(&trace, &daemon);
    let opened: Vec<&str> = trace
        .lines()
        .filter(|line| {
            line.split_once(' ')
                .is_some_and(|(pid, call)| family.contains(pid) && call.contains("open"))
        })
        .collect();
    println!("T21: {} files opened by {} processes", opened.len(), family.len());
    // The trace sees what there is to see: the daemon's own files, and that the client did load what its environment names.
    assert!(opened.iter().any(|line| line.contains("touchlease/config.toml")), "{opened:?}");
    assert!(family.len() > 1 && trace.contains("canary.so\", O_RDONLY"), "{trace}");
    // A vault that a client names is looked at as a folder, never as a program or library.
    let of_clients = opened
        .iter()
        .filter(|line| line.contains("canary") && !line.contains("O_DIRECTORY"));
    assert_eq!(of_clients.collect::<Vec<_>>(), Vec::<&&str>::new());
}
