//! `run --agent`: what is out of an agent's reach, and what it does as everywhere.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::chown;
use std::os::unix::net::{SocketAddr, UnixListener};

use super::*;
use crate::proxy::upstream::{Authority, Upstream};

/// A node in /dev with a key's name, which is /dev/null: every account can open it, and it needs no driver.
struct Node(PathBuf);

impl Node {
    fn new(name: &str) -> Self {
        let path = Path::new("/dev").join(name);
        let made = Command::new("mknod")
            .args(["-m", "666"])
            .arg(&path)
            .args(["c", "1", "3"])
            .status()
            .unwrap();
        assert!(made.success());
        Self(path)
    }

    fn name(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Those of the lines of `probe` that say `open`, of how many.
fn open(said: &str) -> (Vec<String>, usize) {
    let open = said.lines().filter(|line| line.ends_with(" open")).map(str::to_owned).collect();
    (open, said.lines().count())
}

/// A command with a descriptor 9 on a folder, as somebody's shell may have left it.
fn with_folder_open(folder: &Path, command: &Command) -> Command {
    let mut with = Command::new("sh");
    with.args(["-c", "exec 9< \"$0\"; exec \"$@\""])
        .arg(folder)
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(command.get_current_dir().unwrap());
    with
}

#[test]
fn t24_from_the_agents_domain_neither_daemon_nor_vault_nor_log_nor_key_is_in_reach() {
    if !inside("agent::t24_from_the_agents_domain_neither_daemon_nor_vault_nor_log_nor_key_is_in_reach") {
        return;
    }
    let rigged = Rigged::new(NOBODY, None);
    let watch = rigged.home.watch().unwrap();
    let places = rigged.home.places().unwrap();
    let daemon = rigged.daemon_pid();
    let mut book = Command::new("sleep").arg("60").uid(NOBODY).gid(NOBODY).spawn().unwrap();
    let abstract_name = format!("touchlease-test-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap();
    let screen = fs::read_link(format!("/proc/{}/fd/0", watch.pid())).unwrap();
    chown(&screen, Some(NOBODY), Some(NOBODY)).unwrap();
    let there = Node::new("hidraw98");
    let (_folder, probe) = for_everybody(Path::new(PROBE));
    let probe = probe.display().to_string();
    let text = |path: &Path| path.display().to_string();
    let vault = text(&places.vault);
    let inherited = |path: &Path| text(&Path::new("/proc/self/fd/9").join(path.strip_prefix(rigged.home.path()).unwrap()));
    let ten = [vault.clone(), text(&places.state), there.name()];
    let besides = [
        text(&rigged.home.log().unwrap()),
        text(&places.socket()),
        text(&places.runtime),
        "/run/pcscd".into(),
        "/run/pcscd/pcscd.comm".into(),
        "/dev/hidraw99".into(),
        format!("signal:{}", book.id()),
        format!("@{abstract_name}"),
        text(&screen),
        inherited(&places.vault),
    ];

    // As the probe reports it without walls: all of it is open, but for the daemon's own seven.
    let probed = |pid: u32, more: &[String]| {
        let mut command = Command::new(&probe);
        command.arg(pid.to_string()).args(more).current_dir(rigged.home.work());
        let mut command = with_folder_open(rigged.home.path(), &command);
        command.uid(NOBODY).gid(NOBODY);
        open(&String::from_utf8(command.output().unwrap().stdout).unwrap()).0
    };
    let late = Node::new("hidraw99");
    assert!(probed(book.id(), &[]).len() >= 6);
    let all = [&ten[..], &besides].concat();
    let reached = probed(daemon, &all);
    assert_eq!(reached.len(), all.len(), "{reached:?} of {all:?}");
    drop(late);

    let script = format!(
        "touch started; while [ ! -e go ]; do sleep 0.05; done\n\
         {probe} {daemon} {}; echo --; {probe} {}; echo --; {probe} {daemon} {} | tail -n +8; echo --\n\
         unshare --user --map-root-user --mount sh -c 'umount -l {vault}; mount --bind {} /mnt; {probe} {daemon} {vault} /mnt/vault' 2> refused | tail -n +8",
        ten.join(" "),
        book.id(),
        besides.join(" "),
        text(places.vault.parent().unwrap()),
    );
    let run = rigged.home.detached(["run", "--agent", "--", "sh", "-c", &script]);
    let mut run = with_folder_open(rigged.home.path(), &run);
    let agent = run
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the agent", || rigged.home.work().join("started").exists());
    // As a key that is plugged in while it works.
    let _late = Node::new("hidraw99");
    fs::write(rigged.home.work().join("go"), "").unwrap();
    let out = agent.wait_with_output().unwrap();
    let said = String::from_utf8(out.stdout.clone()).unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    let parts: Vec<&str> = said.split("--\n").collect();
    assert_eq!(parts.len(), 4, "{said}");
    let refused = fs::read_to_string(rigged.home.work().join("refused")).unwrap();
    assert!(
        refused.contains("umount: ") && refused.contains("mount: "),
        "the second namespace was made: {refused}"
    );
    for (name, of, part) in [("", 10, parts[0].to_owned()), (" besides", 12, [parts[2], parts[3]].concat())] {
        let (open, count) = open(&part);
        println!("T24{name}: {} of {of} in reach of the agent", open.len());
        assert!(open.is_empty() && count == of, "{name}: {open:?} of {part}");
    }
    let (open, count) = open(parts[1]);
    println!(
        "T24 other programs: {} of 7 ways into them are closed to the agent",
        count - open.len()
    );
    assert_eq!((open, count), (vec![], 7));
    book.kill().unwrap();
    book.wait().unwrap();
}

/// What may be done to any program of the same user, and what would run a command outside: each line is one that worked.
const REACHES: &str = r#"
import os, resource, socket, sys
target, tmux, bus = int(sys.argv[1]), sys.argv[2], sys.argv[3]

def attempt(name, what):
    try:
        what()
        print(name, "reached")
    except OSError:
        print(name, "no")

def connect(path):
    with socket.socket(socket.AF_UNIX) as it:
        it.connect(path)

def writable(path):
    if not os.statvfs(path).f_flag & os.ST_RDONLY:
        return
    raise OSError()

attempt("core", lambda: resource.prlimit(target, resource.RLIMIT_CORE, resource.prlimit(0, resource.RLIMIT_CORE)))
attempt("time", lambda: resource.prlimit(target, resource.RLIMIT_CPU, (1 << 40, -1)))
attempt("scheduling", lambda: os.sched_setscheduler(target, os.SCHED_OTHER, os.sched_param(0)))
attempt("cpus", lambda: os.sched_setaffinity(target, os.sched_getaffinity(0)))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, target, os.getpriority(os.PRIO_PROCESS, 0)))
attempt("number", lambda: os.stat("/proc/%d" % target))
attempt("tmux", lambda: connect(tmux))
attempt("bus", lambda: connect(bus))
for line in open("/proc/self/mountinfo"):
    fields, kind = line.split(" - ")
    if kind.startswith("cgroup"):
        attempt("cgroup", lambda: writable(fields.split()[4]))
        break
"#;

#[test]
fn t24_no_limit_priority_bus_or_multiplexer_outside_is_reached_from_behind_the_walls() {
    if !inside("agent::t24_no_limit_priority_bus_or_multiplexer_outside_is_reached_from_behind_the_walls") {
        return;
    }
    let rigged = Rigged::new(NOBODY, None);
    let mut other = Command::new("sleep").arg("60").uid(NOBODY).gid(NOBODY).spawn().unwrap();
    let folder = PathBuf::from(format!("/tmp/tmux-{NOBODY}"));
    let made = fs::create_dir(&folder).is_ok();
    own(&folder, NOBODY);
    let (tmux, bus) = (folder.join("touchlease-test"), tempfile::tempdir().unwrap());
    open_to_everybody(bus.path());
    let bus_socket = bus.path().join("bus");
    let _listeners = [&tmux, &bus_socket].map(|socket| {
        let _ = fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        chown(socket, Some(NOBODY), Some(NOBODY)).unwrap();
        listener
    });
    let script = rigged.home.work().join("reaches.py");
    fs::write(&script, REACHES).unwrap();
    let words = [other.id().to_string(), tmux.display().to_string(), bus_socket.display().to_string()];
    let outside = Command::new("/usr/bin/python3")
        .arg(&script)
        .args(&words)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let outside = String::from_utf8(outside.stdout).unwrap();
    // Where there is no root there may be no way to a group, and it is the tests' root that mounts them.
    let reached = outside
        .lines()
        .filter(|line| line.ends_with("reached") && !line.starts_with("cgroup"))
        .count();
    assert_eq!(reached, 8, "{outside}");
    let mut run = rigged.home.detached(["run", "--agent", "--", "/usr/bin/python3", "reaches.py"]);
    run.args(&words).env("TMUX_TMPDIR", rigged.home.work());
    run.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={},guid=0", bus_socket.display()));
    let out = run.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(out.stdout.clone()).unwrap();
    println!(
        "T24 others: {} of {} reached",
        said.matches(" reached").count(),
        said.lines().count()
    );
    assert!(
        out.status.success() && said.lines().count() >= 8 && !said.contains(" reached"),
        "{out:?}"
    );
    if made {
        let _ = fs::remove_dir_all(&folder);
    }
    // And what the agent started ends with it, with its status.
    let run = ["run", "--agent", "--", "sh", "-c", "setsid sleep 61 & echo $$ $PPID; kill -TERM $$"];
    let begun = Instant::now();
    let out = rigged.agent(&run);
    assert_eq!((out.stdout.as_slice(), out.status.signal()), (&b"2 0\n"[..], Some(15)), "{out:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn t24_what_other_programs_share_in_memory_is_not_seen_from_behind_the_walls() {
    if !inside("agent::t24_what_other_programs_share_in_memory_is_not_seen_from_behind_the_walls") {
        return;
    }
    let rigged = Rigged::new(NOBODY, None);
    let _watch = rigged.home.watch().unwrap();
    // A runtime folder that is not in memory: the value's file lies in /dev/shm.
    let started = rigged.home.work().join("started");
    let other = [
        "run",
        "--with-file",
        "F=prod/TOKEN",
        "--",
        "sh",
        "-c",
        "echo $F > started; exec sleep 60",
    ];
    let other = rigged.background(&other);
    until("the file", || fs::read(&started).is_ok_and(|text| text.ends_with(b"\n")));
    let file = fs::read_to_string(&started).unwrap();
    assert!(file.starts_with("/dev/shm/"), "{file}");
    let mut queue = Command::new("ipcmk");
    let queue = queue.arg("--queue").uid(NOBODY).gid(NOBODY).output().unwrap();
    let queue = String::from_utf8(queue.stdout).unwrap();
    let queue = queue.trim().rsplit(' ').next().unwrap().to_owned();
    // The folder of its own way out is there.
    let looks = "cat $(cat started); ls -A /dev/shm | grep -vxF \"$(basename \"$(dirname \"${TOUCHLEASE_MCP:-/x/y}\")\")\"; ipcs -q | grep ^0x; echo x > /dev/shm/own && cat /dev/shm/own";
    let mut outside = Command::new("sh");
    outside.args(["-c", looks]).current_dir(rigged.home.work()).uid(NOBODY).gid(NOBODY);
    let outside = outside.output().unwrap();
    fs::remove_file("/dev/shm/own").unwrap();
    let folder = Path::new(file.trim()).parent().unwrap().file_name().unwrap();
    for seen in [CANARY, folder.to_str().unwrap(), &format!(" {queue} ")] {
        assert!(holds(&outside.stdout, seen), "{seen} in {outside:?}");
    }
    let out = rigged.agent(&["run", "--agent", "--", "sh", "-c", looks]);
    let removed = Command::new("ipcrm").args(["--queue-id", &queue]).status().unwrap();
    assert!(removed.success());
    assert_eq!(String::from_utf8_lossy(&out.stdout), "x\n", "{out:?}");
    println!("T24 memory: 0 of 3 things of other programs seen by the agent");
    drop(other);
}

/// Connects to each until all have listened anew, and says which it reached when.
const CONNECTS: &str = r#"
import os, socket, sys, time

def reached(path):
    with socket.socket(socket.AF_UNIX) as it:
        try:
            it.connect(path)
            return True
        except OSError:
            return False

open("started", "w").close()
while not os.path.exists("anew"):
    time.sleep(0.05)
for path in sys.argv[1:]:
    print(path, "reached" if reached(path) else "no")
"#;

#[test]
fn t24_the_socket_of_a_server_that_starts_anew_or_later_is_as_closed_as_the_one_before() {
    if !inside("agent::t24_the_socket_of_a_server_that_starts_anew_or_later_is_as_closed_as_the_one_before") {
        return;
    }
    let rigged = Rigged::new(NOBODY, None);
    let (engine, bus) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&engine, &bus] {
        open_to_everybody(folder.path());
    }
    // As docker's, straight in /run, and one that comes there later.
    let name = format!("touchlease-test-{}", std::process::id());
    let run = Path::new("/run");
    let sockets = [
        engine.path().join("docker.sock"),
        bus.path().join("bus"),
        run.join(format!("{name}.sock")),
        run.join(format!("{name}-later.sock")),
    ];
    let listen = |socket: &PathBuf| {
        let _ = fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        open_to_everybody(socket);
        chown(socket, Some(NOBODY), Some(NOBODY)).unwrap();
        listener
    };
    let first: Vec<_> = sockets[..3].iter().map(listen).collect();
    let script = rigged.home.work().join("connects.py");
    fs::write(&script, CONNECTS).unwrap();
    let mut agent = rigged.home.detached(["run", "--agent", "--", "/usr/bin/python3", "connects.py"]);
    agent.args(&sockets).env("DOCKER_HOST", format!("unix://{}", sockets[0].display()));
    agent.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", sockets[1].display()));
    let agent = agent.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let agent = agent.spawn().unwrap();
    until("the agent", || rigged.home.work().join("started").exists());
    drop(first);
    let _anew: Vec<_> = sockets.iter().map(listen).collect();
    for socket in &sockets {
        std::os::unix::net::UnixStream::connect(socket).unwrap();
    }
    fs::write(rigged.home.work().join("anew"), "").unwrap();
    let out = agent.wait_with_output().unwrap();
    for socket in &sockets[2..] {
        let _ = fs::remove_file(socket);
    }
    let said = String::from_utf8(out.stdout.clone()).unwrap();
    println!("T24 anew: {} of {} reached", said.matches(" reached").count(), said.lines().count());
    assert!(
        out.status.success() && said.lines().count() == 4 && !said.contains(" reached"),
        "{out:?}"
    );
}

#[test]
fn t47_a_command_with_a_value_makes_no_core_file_whatever_its_limit_was() {
    if !inside("agent::t47_a_command_with_a_value_makes_no_core_file_whatever_its_limit_was") {
        return;
    }
    let rigged = Rigged::new(NOBODY, None);
    let _watch = rigged.home.watch().unwrap();
    let limit = |more: &[&str]| {
        let out = rigged.agent(&[&["run"], more, &["--", "sh", "-c", "ulimit -Hc"]].concat());
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(limit(&["--with", "prod/TOKEN"]), "0\n");
    assert_ne!(limit(&["--agent"]), "0\n", "where there is no value it is as before");
}

#[test]
fn t24_an_agent_is_given_no_values_and_a_command_of_ours_says_where_it_is() {
    if !inside("agent::t24_an_agent_is_given_no_values_and_a_command_of_ours_says_where_it_is") {
        return;
    }
    let rigged = Rigged::new(NOBODY, None);
    fs::write(
        rigged.home.work().join("touchlease.toml"),
        "[task.job]\nabout = \"x\"\ncommand = [\"true\"]\n[[task.job.grant]]\nsecret = \"prod/TOKEN\"\nvia = \"file\"\nenv = \"TOKEN\"\n",
    )
    .unwrap();
    fs::write(rigged.home.work().join(".env"), "TOKEN=touchlease://prod/TOKEN\n").unwrap();
    let asked = || rigged.events().iter().filter(|(name, _)| name == "asked").count();
    let before = asked();
    for words in [
        &["--with", "prod/TOKEN"][..],
        &["--with-proxy", "prod/TOKEN"],
        &["--with-file", "F=prod/TOKEN"],
        &["--task", "job"],
        &["--env-file", ".env"],
    ] {
        let out = rigged.agent(&[&["--json", "run", "--agent"], words, &["--", "touch", "ran"]].concat());
        assert_eq!(out.status.code(), Some(62), "{out:?}");
        assert!(holds(&out.stdout, "agent_values"), "{out:?}");
    }
    assert!(!rigged.home.work().join("ran").exists());
    assert_eq!(asked(), before, "nobody is asked for what cannot be given");
    let (_folder, program) = for_everybody(&product());
    let out = rigged.agent(&["run", "--agent", "--", program.to_str().unwrap(), "--json", "status"]);
    assert_eq!(out.status.code(), Some(62), "{out:?}");
    assert!(holds(&out.stdout, "behind_walls"), "{out:?}");
    let out = Command::new(product())
        .args(["--json", "run", "--agent", "--", "true"])
        .env("HOME", rigged.home.path())
        .output()
        .unwrap();
    assert!(out.status.code() == Some(62) && holds(&out.stdout, "agent_is_root"), "{out:?}");
}

/// What an agent looks for a value in: its own environment and that of every process it can read, its files, what lies in memory; and what
/// its requests come to. The last two are to a host that the lease does not name.
const LOOKS: &str = r#"
env > env.out
cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline > processes.out 2> /dev/null
cat "${SSL_CERT_FILE%/*}"/* > memory.out
grep -q BEGIN memory.out && echo "$SSL_CERT_FILE"
curl -sS -m 20 -w ' %{http_code}\n' -H "Authorization: Bearer $TOKEN" GRANTED/api/x
curl -sS -m 20 -o wrong.json -w '%{http_code}\n' -H "Authorization: Bearer $TOKEN" OTHER/api/x
curl -sS -m 20 -o refused.json -w '%{http_code}\n' OTHER/api/x
"#;

#[test]
fn t24_p7_an_agent_behind_walls_uses_a_credential_by_proxy_that_it_does_not_have() {
    if !inside("agent::t24_p7_an_agent_behind_walls_uses_a_credential_by_proxy_that_it_does_not_have") {
        return;
    }
    let rigged = Rigged::without_vault(NOBODY, None);
    let (folder, _) = for_everybody(Path::new(PROBE));
    let authority = Authority::new(folder.path());
    let (upstream, other) = (Upstream::tls(&authority, &["localhost"]), Upstream::plain());
    let config = rigged.home.places().unwrap().config;
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::write(&config, format!("proxy_roots = \"{}\"\n", authority.pem.display())).unwrap();
    own(&rigged.home.path().join("config"), NOBODY);
    shows(&rigged.home, &["init", "--key", "blue"], 0, &[]);
    fs::write(rigged.home.work().join("value"), CANARY).unwrap();
    let host = upstream.host();
    // An environment is allowed too: an agent gets the placeholder all the same.
    let put = ["put", "prod/TOKEN", "--from-file", "value", "--host", &host, "--allow", "proxy,env"];
    shows(&rigged.home, &put, 0, &[]);
    fs::remove_file(rigged.home.work().join("value")).unwrap();
    let watch = rigged.home.watch().unwrap();
    let script = LOOKS
        .replace("GRANTED", &upstream.url(""))
        .replace("OTHER", &format!("http://{}", other.host()));
    for (number, with) in ["--with", "--with-proxy"].into_iter().enumerate() {
        let command_lines = CommandLines::watch_for(forms(CANARY), &["cmdline", "environ"]);
        let out = rigged.agent(&["run", "--agent", with, "prod/TOKEN", "--", "sh", "-c", &script]);
        let (looks, hits) = command_lines.seen();
        let said = String::from_utf8(out.stdout.clone()).unwrap();
        assert!(out.status.success(), "{out:?}");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!((lines.len(), &lines[1..]), (4, &["fine 200", "403", "403"][..]), "{out:?}");
        assert!(lines[0].starts_with("/run/touchlease-run-"), "{said}");
        for (file, reason) in [("wrong.json", "wrong_host"), ("refused.json", "not_granted")] {
            let refused = fs::read_to_string(rigged.home.work().join(file)).unwrap();
            assert!(refused.contains(reason), "{refused}");
        }
        let seen = upstream.seen();
        assert_eq!(seen.len(), number + 1);
        assert_eq!(seen[number].header("authorization"), Some(format!("Bearer {CANARY}").as_str()));
        assert_eq!(other.seen().len(), 0);
        let environment = fs::read_to_string(rigged.home.work().join("env.out")).unwrap();
        let placeholder = environment.lines().find_map(|line| line.strip_prefix("TOKEN=")).unwrap();
        assert!(placeholder.contains("TOUCHLEASE"), "{environment}");
        // And not by the mask: what the agent wrote to files went by nobody.
        let files = left_behind(rigged.home.path());
        // Not what other tests have in memory.
        let files = files.iter().filter(|file| file.starts_with(rigged.home.path()));
        let found: usize = files.map(|file| leaks(&fs::read(file).unwrap_or_default(), &forms(CANARY))).sum();
        println!("T24 proxy {with}: {found} hits in the agent's environment and files, {hits} in {looks} looks at processes");
        assert_eq!((found, hits), (0, 0));
        assert!(looks > 100 && !Path::new(lines[0]).exists());
    }
    // An agent that asks for it in the environment by name is refused, whatever the rules allow.
    fs::write(
        rigged.home.work().join("touchlease.toml"),
        "[task.job]\nabout = \"x\"\ncommand = [\"true\"]\n[[task.job.grant]]\nsecret = \"prod/TOKEN\"\nvia = \"env\"\nenv = \"TOKEN\"\n",
    )
    .unwrap();
    let out = rigged.agent(&["--json", "run", "--agent", "--task", "job", "--", "touch", "ran"]);
    assert!(out.status.code() == Some(62) && holds(&out.stdout, "agent_values"), "{out:?}");
    assert!(!rigged.home.work().join("ran").exists());
    drop(watch);
}

#[test]
fn t24_an_agent_at_a_terminal_is_stopped_by_ctrl_z_and_goes_on_in_the_foreground() {
    if !inside("agent::t24_an_agent_at_a_terminal_is_stopped_by_ctrl_z_and_goes_on_in_the_foreground") {
        return;
    }
    let rigged = Rigged::without_vault(NOBODY, None);
    let run = rigged.home.command([
        "run",
        "--agent",
        "--",
        "sh",
        "-c",
        "echo is-$((1+1)); read word; echo had-$word; tty",
    ]);
    let words: Vec<String> = [run.get_program()]
        .into_iter()
        .chain(run.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let mut shell = Command::new("bash");
    shell
        .args(["--norc", "--noprofile", "-i"])
        .current_dir(rigged.home.work())
        .env_clear();
    shell.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut terminal = hw_tests::harness::Terminal::start(&shell).unwrap();
    terminal.type_in(&format!("{}\n", words.join(" "))).unwrap();
    terminal.expect("is-2").unwrap();
    terminal.type_in("\x1a").unwrap();
    terminal.expect("Stopped").unwrap();
    terminal.type_in("echo shell-$((2+2))\n").unwrap();
    terminal.expect("shell-4").unwrap();
    terminal.type_in("fg\n").unwrap();
    terminal.expect("read word").unwrap();
    terminal.type_in("one\n").unwrap();
    terminal.expect("had-one").unwrap();
    terminal.expect("/dev/console").unwrap();
}

/// Each line prints nothing, or what it is about: its number of times that it worked is counted by its name.
const WORK: &str = r#"
try() { name=$1; shift; if "$@" > out 2>&1; then echo "ok $name"; else echo "failed $name: $(head -c 600 out)"; fi; }
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
try workspace sh -c 'mkdir -p src && echo x > src/x && cat src/x'
try home sh -c 'echo x > ~/.newfile && mv ~/.newfile ~/.renamed && ls -a ~ | grep -q .renamed'
try moved sh -c 'echo x > ~/.moved && mv ~/.moved src/moved && ln src/moved ~/.linked'
try cache sh -c 'mkdir -p ~/.cache/a && echo x > ~/.cache/a/b'
try config sh -c 'mkdir -p ~/.config/other ~/.local/share/other && echo x > ~/.config/other/a && echo x > ~/.local/share/other/a'
try tmp sh -c 'f=$(mktemp) && echo x > $f && mkfifo $f.p && rm $f $f.p && echo x > /dev/shm/$$ && rm /dev/shm/$$'
try runtime sh -c 'echo x > $XDG_RUNTIME_DIR/x'
try git sh -c 'git init -q g && cd g && echo a > a && git add a && git commit -qm a && git -C . log --oneline && git clone -q . ../h'
try python python3 -c 'import os,subprocess,multiprocessing as m; p=m.Pool(2); assert p.map(abs,[-1])==[1]; a,b=os.openpty(); os.ttyname(b); subprocess.run(["true"],check=True)'
try memory python3 -c 'from multiprocessing import shared_memory as s, Semaphore; import os; m=s.SharedMemory(create=True,size=1<<26); assert os.path.exists("/dev/shm/"+m.name); Semaphore(1); m.close(); m.unlink()'
try node node -e 'const s=require("net").createServer(c=>c.end("x")).listen(0,"127.0.0.1",()=>require("net").connect(s.address().port,"127.0.0.1").on("data",()=>process.exit(0)))'
try cargo sh -c 'cargo init -q --vcs none hello && cd hello && cargo build -q --offline && test "$(./target/debug/hello)" = "Hello, world!"'
try jobs sh -c 'sleep 5 & kill $! && ! wait $!'
try debugger sh -c 'sleep 5 & p=$!; strace -qq -o trace -p $p & sleep 0.5; grep -q "TracerPid:.[1-9]" /proc/$p/status && cat /proc/$p/environ > /dev/null; r=$?; kill $p; wait; exit $r'
try tmux sh -c 'SHELL=/bin/sh tmux -f /dev/null new -d "sleep 5" && tmux ls && tmux kill-server'
try sandbox bwrap --ro-bind / / --tmpfs /tmp --dev /dev --proc /proc --unshare-all true
try terminal script -qec 'tty > tty-is' /dev/null
"#;

#[test]
fn t24_the_ordinary_work_of_an_agent_goes_on_behind_the_walls() {
    if !inside("agent::t24_the_ordinary_work_of_an_agent_goes_on_behind_the_walls") {
        return;
    }
    let rigged = Rigged::without_vault(NOBODY, None);
    // Cargo where this account can reach it: its folder may lie in a home that is closed.
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    let sysroot = String::from_utf8(sysroot.stdout).unwrap();
    let tools = tempfile::Builder::new().prefix("touchlease-rust-").tempdir().unwrap();
    open_to_everybody(tools.path());
    let bound = Command::new("mount")
        .args(["--bind", sysroot.trim()])
        .arg(tools.path())
        .status()
        .unwrap();
    assert!(bound.success());
    let mut run = rigged.home.detached(["run", "--agent", "--", "sh", "-c", WORK]);
    let path = format!("{}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin", tools.path().display());
    run.env("PATH", path).env("HOME", rigged.home.path()).stdin(Stdio::null());
    let out = run.output().unwrap();
    let unbound = Command::new("umount").arg("--lazy").arg(tools.path()).status().unwrap();
    assert!(unbound.success());
    let said = String::from_utf8(out.stdout.clone()).unwrap();
    let (ok, failed): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| line.starts_with("ok "));
    println!(
        "T24 work: {} of {} kinds of an agent's work",
        ok.len(),
        WORK.matches("\ntry ").count()
    );
    assert!(
        failed.is_empty() && ok.len() == WORK.matches("\ntry ").count(),
        "{failed:?} {out:?}"
    );
}

#[test]
fn t24_where_namespaces_are_forbidden_an_agent_is_refused_or_what_is_not_held_is_said() {
    if !inside("agent::t24_where_namespaces_are_forbidden_an_agent_is_refused_or_what_is_not_held_is_said") {
        return;
    }
    let rigged = Rigged::without_vault(NOBODY, None);
    let (_folder, program) = for_everybody(&product());
    // No user namespace is made from a changed root (user_namespaces(7)).
    let root = tempfile::tempdir().unwrap();
    let bound = Command::new("mount").args(["--rbind", "/"]).arg(root.path()).status().unwrap();
    assert!(bound.success());
    let run = |words: &[&str]| {
        let command = rigged.home.command([""; 0]);
        let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        Command::new("chroot")
            .arg(format!("--userspec={NOBODY}:{NOBODY}"))
            .args([root.path(), &program])
            .args(words)
            .env_clear()
            .envs(variables)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let out = run(&["--json", "run", "--agent", "--", "true"]);
    assert_eq!(out.status.code(), Some(62), "{out:?}");
    assert!(holds(&out.stdout, "no_walls") && holds(&out.stdout, "best-effort"), "{out:?}");
    let out = run(&[
        "run",
        "--agent=best-effort",
        "--",
        "sh",
        "-c",
        "kill -0 $PPID && echo signalled; echo ran",
    ]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert!(out.stdout == b"ran\n", "Landlock holds signals all the same: {out:?}");
    assert!(holds(&out.stderr, "within the agent's reach"), "{out:?}");
    let out = run(&["--json", "run", "--agent", "--", "/nowhere/program"]);
    assert_eq!(out.status.code(), Some(65), "{out:?}");
    let unbound = Command::new("umount")
        .args(["--recursive", "--lazy"])
        .arg(root.path())
        .status()
        .unwrap();
    assert!(unbound.success());
}
