//! T24: a task that an agent has run gets nowhere where the agent does not get by itself.

use std::{
    net::TcpListener,
    os::unix::net::{UnixDatagram, UnixListener},
    path::Path,
    process::Command,
};

use super::*;

/// Tries everything and says of each attempt what came of it. What is to fail is tried with what stands for it in the test.
const PROBE: &str = r#"#!/usr/bin/python3
import ctypes, errno, os, signal, socket, sys
A = dict(line.rstrip("\n").split("=", 1) for line in open("probe.conf"))
libc = ctypes.CDLL(None, use_errno=True)

def attempt(name, what):
    try:
        what()
        print(name, "reached")
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error.errno))

def call(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")

def clone():
    pid = libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0)
    if pid < 0:
        raise OSError(ctypes.get_errno(), "")
    if pid == 0:
        os._exit(0)

def write(path):
    with open(path, "w") as file:
        file.write("x")

def connect(family, address, kind=socket.SOCK_STREAM, protocol=0):
    with socket.socket(family, kind, protocol) as it:
        it.settimeout(2)
        it.connect(address)

def fast_open():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as it:
        it.sendto(b"x", 0x20000000, ("127.0.0.1", int(A["port"])))

def datagram():
    # One end of a pair sends wherever it likes.
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto(b"x", A["datagram"])

def proc():
    # Of processes there are none but the command's own.
    line = open("/proc/%s/cmdline" % A["daemon"], "rb").read()
    return line or os.stat("/proc/%s" % A["daemon"])

home, vault, state, run, port = (A[name] for name in ("home", "vault", "state", "run", "port"))
for name, path in (("vault", vault), ("state", state), ("runtime", run), ("home", home)):
    attempt("list " + name, lambda: os.listdir(path))
attempt("read secret", lambda: open(home + "/id_ed25519").read())
attempt("read through a link", lambda: open("link").read())
attempt("write home", lambda: write(home + "/.bashrc"))
attempt("write beside", lambda: write(os.path.dirname(os.getcwd()) + "/beside"))
attempt("write tmp", lambda: write("/tmp/touchlease-fence-escape"))
attempt("write shm", lambda: write("/dev/shm/touchlease-fence-escape"))
attempt("write usr", lambda: write("/usr/touchlease-fence-escape"))
attempt("write hook", lambda: write(".git/hooks/pre-commit"))
attempt("write git config", lambda: write(".git/config"))
attempt("move git", lambda: os.rename(".git", "old.git"))
attempt("write agent settings", lambda: write(".claude/settings.json"))
attempt("write mcp.json", lambda: write(".mcp.json"))
attempt("write task file", lambda: write("touchlease.toml"))
attempt("replace task file", lambda: (write("new.toml"), os.rename("new.toml", "touchlease.toml")))
attempt("chmod secret", lambda: os.chmod(home + "/id_ed25519", 0o666))
attempt("chmod vault", lambda: os.chmod(vault, 0o777))
attempt("touch secret", lambda: os.utime(home + "/id_ed25519", (1, 1)))
attempt("link secret in", lambda: os.link(home + "/id_ed25519", "linked"))
attempt("daemon socket", lambda: connect(socket.AF_UNIX, run + "/touchlease/socket"))
attempt("other socket", lambda: connect(socket.AF_UNIX, A["socket"]))
attempt("abstract socket", lambda: connect(socket.AF_UNIX, b"\0" + A["abstract"].encode()))
attempt("datagram by a pair", datagram)
attempt("stat secret", lambda: os.stat(home + "/id_ed25519"))
attempt("attributes of secret", lambda: os.listxattr(home + "/id_ed25519"))
attempt("command line of daemon", proc)
attempt("scheduling of daemon", lambda: os.sched_setscheduler(int(A["daemon"]), os.SCHED_OTHER, os.sched_param(0)))
attempt("cpus of daemon", lambda: os.sched_setaffinity(int(A["daemon"]), os.sched_getaffinity(0)))
attempt("priority of daemon", lambda: os.setpriority(os.PRIO_PROCESS, int(A["daemon"]), os.getpriority(os.PRIO_PROCESS, 0)))
attempt("priority of all", lambda: os.setpriority(os.PRIO_USER, 0, os.getpriority(os.PRIO_PROCESS, 0)))
attempt("tcp", lambda: connect(socket.AF_INET, ("127.0.0.1", int(port))))
attempt("tcp6", lambda: connect(socket.AF_INET6, ("::1", int(port))))
attempt("mptcp", lambda: connect(socket.AF_INET, ("127.0.0.1", int(port)), protocol=262))
attempt("udp", lambda: connect(socket.AF_INET, ("127.0.0.1", 53), socket.SOCK_DGRAM))
attempt("fast open", fast_open)
attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close())
attempt("kill server", lambda: os.kill(int(A["server"]), 0))
attempt("kill daemon", lambda: os.kill(int(A["daemon"]), 0))
attempt("kill parent", lambda: os.kill(os.getppid() or int(A["server"]), 0))
attempt("environ of server", lambda: open("/proc/%s/environ" % A["server"]).read())
attempt("memory of parent", lambda: open("/proc/%d/mem" % os.getppid()).read(1))
attempt("fds of server", lambda: os.readlink("/proc/%s/fd/0" % A["server"]))
attempt("cwd of server", lambda: os.listdir("/proc/%s/cwd/.." % A["server"]))
attempt("root of daemon", lambda: os.listdir("/proc/%s/root%s" % (A["daemon"], home)))
attempt("ptrace server", lambda: call(101, 16, int(A["server"]), 0, 0))
attempt("pidfd_getfd", lambda: call(438, os.pidfd_open(int(A["server"])), 0, 0))
attempt("limit of daemon", lambda: call(302, int(A["daemon"]), 7, 0, 0))
attempt("keyring", lambda: call(250, 0, -4, 0))
attempt("io_uring", lambda: call(425, 1, 0))
if A["fenced"] == "yes":
    # Nowhere else: who may do it would do it to the machine. Over a folder of the test's own all the same.
    attempt("mount", lambda: call(165, b"none", os.getcwd().encode() + b"/.claude", b"tmpfs", 0, 0))
    attempt("umount", lambda: call(166, os.getcwd().encode() + b"/.git", 0))
    attempt("new namespaces", lambda: call(272, 0x10020000) or call(165, b"none", os.getcwd().encode() + b"/.claude", b"tmpfs", 0, 0))
    attempt("user namespace", lambda: call(272, 0x10000000))
    attempt("clone into one", clone)
    attempt("mount api", lambda: call(430, b"tmpfs", 0))
    attempt("copy of a mount", lambda: call(428, -100, b"/usr", 1))
    attempt("events of file systems", lambda: call(300, 0x200, 0))
attempt("device", lambda: open(A["device"], "rb+"))
attempt("terminal", lambda: open("/dev/tty"))
# What it may do.
attempt("- write workspace", lambda: write("made"))
attempt("- make folder", lambda: os.mkdir("folder"))
attempt("- write home of its own", lambda: write(os.environ["HOME"] + "/.config"))
attempt("- write tmp of its own", lambda: write(os.environ["TMPDIR"] + "/scratch"))
attempt("- chmod own", lambda: os.chmod("made", 0o600))
attempt("- run program", lambda: os.spawnlp(os.P_WAIT, "true", "true") == 0 or sys.exit(9))
attempt("- socket pair", lambda: socket.socketpair())
attempt("- null", lambda: write("/dev/null"))
attempt("- cpus", lambda: os.sched_getaffinity(0))
"#;

struct Surroundings {
    lab: Lab,
    _tcp: [TcpListener; 2],
    _unix: [UnixListener; 2],
    _datagrams: UnixDatagram,
}

/// A workspace in which everything is there that the probe is after.
fn surroundings() -> Surroundings {
    use std::os::linux::net::SocketAddrExt;
    let lab = Lab::new();
    let (home, work) = (lab.home.path().to_owned(), lab.home.work());
    fs::write(work.join("touchlease.toml"), TASKS.replace("./deploy.sh", "./probe.py")).unwrap();
    fs::write(work.join("probe.py"), PROBE).unwrap();
    fs::set_permissions(work.join("probe.py"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(home.join("id_ed25519"), CANARY).unwrap();
    for folder in [".git/hooks", ".claude"] {
        fs::create_dir_all(work.join(folder)).unwrap();
    }
    fs::write(work.join(".git/config"), "[core]\n").unwrap();
    fs::write(work.join(".mcp.json"), "{}").unwrap();
    std::os::unix::fs::symlink(home.join("id_ed25519"), work.join("link")).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let tcp6 = TcpListener::bind(("::1", port)).unwrap();
    let socket = home.join("other");
    let unix = UnixListener::bind(&socket).unwrap();
    let datagram = home.join("datagrams");
    let datagrams = UnixDatagram::bind(&datagram).unwrap();
    let name = format!("touchlease-fence-{port}");
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let hidden = UnixListener::bind_addr(&address).unwrap();
    let places = lab.home.places().unwrap();
    let device = ["/dev/uhid", "/dev/tty0", "/dev/mem", "/dev/ptmx"]
        .into_iter()
        .find(|device| Path::new(device).exists());
    let conf = format!(
        "home={}\nvault={}\nstate={}\nrun={}\nport={port}\nsocket={}\ndatagram={}\nabstract={name}\ndaemon={}\ndevice={}\n",
        home.display(),
        places.vault.display(),
        places.state.display(),
        home.join("run").display(),
        socket.display(),
        datagram.display(),
        std::process::id(),
        device.unwrap(),
    );
    fs::write(work.join("probe.conf"), conf).unwrap();
    Surroundings {
        lab,
        _tcp: [tcp, tcp6],
        _unix: [unix, hidden],
        _datagrams: datagrams,
    }
}

/// What the probe says: each attempt and what came of it.
fn attempts(output: &str) -> Vec<(String, String)> {
    let attempt = |line: &str| line.rsplit_once(' ').map(|(name, what)| (name.to_owned(), what.to_owned()));
    output.lines().filter_map(attempt).collect()
}

/// Runs the probe as a task: nothing is reached that is not the task's.
fn reaches_nothing(lab: &Lab) {
    let _watch = lab.home.watch().unwrap();
    let mut agent = Agent::start(lab);
    let conf = lab.home.work().join("probe.conf");
    let known = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("{known}fenced=yes\nserver={}\n", agent.pid())).unwrap();
    let lease = agent.lease(lab);
    let done = agent.call("run_task", json!({"lease": lease}));
    assert_eq!(done["exit_code"], 0, "{done}");
    let attempts = attempts(done["output"].as_str().unwrap());
    let reached = |(name, what): &&(String, String)| (what == "reached") != name.starts_with("- ");
    let wrong: Vec<_> = attempts.iter().filter(reached).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(attempts.len(), 71, "{attempts:?}");
    // And nothing of it is there.
    assert!(!lab.home.path().join(".bashrc").exists() && !lab.home.work().join(".git/hooks/pre-commit").exists());
    assert_eq!(fs::read_to_string(lab.home.work().join(".git/config")).unwrap(), "[core]\n");
    assert_eq!(fs::read_to_string(lab.home.work().join("made")).unwrap(), "x");
}

#[test]
fn t24_a_task_of_an_agent_reaches_nothing_but_its_workspace() {
    let Surroundings { lab, .. } = &surroundings();
    reaches_nothing(lab);
}

/// The filter of system calls is another one where there is a proxy.
#[test]
fn t24_a_task_that_has_a_proxy_reaches_nothing_else_for_it() {
    let Surroundings { lab, .. } = &surroundings();
    lab.put("prod/API", CANARY.as_bytes(), &["--host", "api.example.com"]);
    let file = lab.home.work().join("touchlease.toml");
    let task = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        task.replace("prod/TOKEN", "prod/API").replace("via = \"env\"", "via = \"proxy\""),
    )
    .unwrap();
    reaches_nothing(lab);
}

/// The same attempts outside: a probe that reaches nothing anywhere would prove nothing.
#[test]
fn t24_what_the_fence_keeps_from_a_task_is_there_to_be_reached() {
    let Surroundings { lab, .. } = &surroundings();
    let conf = lab.home.work().join("probe.conf");
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let known = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("{known}fenced=no\nserver={}\n", other.id())).unwrap();
    let mut probe = Command::new(lab.home.work().join("probe.py"));
    probe.current_dir(lab.home.work()).env_clear().env("PATH", "/usr/bin:/bin");
    let own = lab.home.path().join("own");
    fs::create_dir(&own).unwrap();
    let out = probe.env("HOME", &own).env("TMPDIR", &own).output().unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    let output = String::from_utf8(out.stdout).unwrap();
    let attempts = attempts(&output);
    for name in [
        "list vault",
        "read secret",
        "read through a link",
        "write home",
        "write beside",
        "write tmp",
        "write shm",
        "write hook",
        "chmod secret",
        "touch secret",
        "daemon socket",
        "other socket",
        "abstract socket",
        "tcp",
        "tcp6",
        "udp",
        "netlink",
        "kill server",
        "environ of server",
        "limit of daemon",
        "datagram by a pair",
        "stat secret",
        "attributes of secret",
        "command line of daemon",
        "scheduling of daemon",
        "cpus of daemon",
        "priority of daemon",
        "- write workspace",
    ] {
        assert!(
            attempts.iter().any(|(attempt, what)| attempt == name && what == "reached"),
            "{name} in {output}"
        );
    }
    for left in [
        "/tmp/touchlease-fence-escape",
        "/dev/shm/touchlease-fence-escape",
        "/usr/touchlease-fence-escape",
    ] {
        let _ = fs::remove_file(left);
    }
}

#[test]
fn t24_a_workspace_that_holds_the_home_runs_no_task() {
    let lab = Lab::new();
    let home = lab.home.path();
    fs::write(home.join("touchlease.toml"), TASKS.replace("./deploy.sh", "env")).unwrap();
    let _watch = lab.home.watch().unwrap();
    let work = lab.home.work();
    fs::create_dir(work.join("inner")).unwrap();
    let mut agent = Agent::with(&lab, &["--workspace", &home.display().to_string()], LEGACY);
    agent.initialize();
    let lease = agent.lease(&lab);
    let refused = agent.call("run_task", json!({"lease": lease}));
    assert_eq!(refused["error"]["reason"], "workspace_too_wide", "{refused}");
    assert_eq!(lab.count("used"), 0);
}

/// What older kernels answer to the question for Landlock's ABI is put there by strace.
#[test]
fn t24_where_landlock_is_older_than_the_fence_needs_a_task_runs_nothing_and_says_so() {
    let lab = Lab::new();
    workspace(&lab, "touch ran");
    let _watch = lab.home.watch().unwrap();
    for answer in ["error=ENOSYS", "error=EOPNOTSUPP", "retval=1", "retval=3", "retval=5"] {
        let mut server = Command::new("strace");
        let told = lab.home.detached(["mcp"]);
        server.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=landlock_create_ruleset", "-e"]);
        server.arg(format!("inject=landlock_create_ruleset:{answer}"));
        server.arg(told.get_program()).args(told.get_args()).env_clear();
        server.envs(told.get_envs().filter_map(|(name, value)| Some((name, value?))));
        server.current_dir(lab.home.work());
        let mut agent = Agent::of(server, LEGACY);
        agent.initialize();
        let lease = agent.lease(&lab);
        let refused = agent.call("run_task", json!({"lease": lease}));
        assert_eq!(refused["error"]["reason"], "no_fence", "{answer} {refused}");
        let error = refused["error"].to_string();
        assert!(
            error.contains("older than ABI 6") && error.contains("touchlease run --task"),
            "{error}"
        );
        // Who cannot run it gives it back.
        assert_eq!(agent.call("end_lease", json!({"lease": lease}))["state"], "ended");
    }
    assert!(lab.count("used") == 0 && !lab.home.work().join("ran").exists());
}

/// What is kept may be a link, by one more, in a folder that the command can rename.
const LINKS: &str = r#"#!/bin/sh
try() { name=$1; shift; "$@" 2> /dev/null && echo "$name reached"; }
try settings sh -c 'echo x > .claude/settings.json'
try through sh -c 'echo x > conf/claude/settings.json'
try folder mv conf conf.old
try link ln -sfn /etc .claude
try unlink rm .claude
try envrc sh -c 'echo x > .envrc'
try replace sh -c 'echo x > new && mv new .envrc'
try second mv steps steps.old
mkdir "$TMPDIR/deep" && echo "$TOKEN" > "$TMPDIR/deep/x" && chmod 0 "$TMPDIR/deep"
echo x > made && cat .claude/settings.json
"#;

#[test]
fn t24_what_is_kept_may_be_a_link_and_what_it_leads_through_in_the_workspace_is_kept_too() {
    let lab = Lab::new();
    let work = lab.home.work();
    fs::write(work.join("touchlease.toml"), TASKS.replace("./deploy.sh", "./links.sh")).unwrap();
    fs::write(work.join("links.sh"), LINKS).unwrap();
    fs::set_permissions(work.join("links.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    for folder in ["conf/claude", "steps"] {
        fs::create_dir_all(work.join(folder)).unwrap();
    }
    fs::write(work.join("conf/claude/settings.json"), "as it was\n").unwrap();
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, work.join(name)).unwrap();
    link("steps/one", ".claude");
    link("../conf/claude", "steps/one");
    fs::write(work.join("real"), "").unwrap();
    link("real", ".envrc");
    let _watch = lab.home.watch().unwrap();
    let mut agent = Agent::start(&lab);
    let lease = agent.lease(&lab);
    let done = agent.call("run_task", json!({"lease": lease}));
    assert_eq!(done["exit_code"], 0, "{done}");
    assert_eq!(done["output"], "as it was\n", "{done}");
    assert_eq!(fs::read_to_string(work.join("real")).unwrap(), "");
    assert!(work.join("made").exists() && !Path::new("/tmp/touchlease-task").exists());
}

#[test]
fn t24_a_workspace_that_was_replaced_by_a_link_above_it_runs_no_task() {
    let lab = Lab::new();
    let (outer, other) = (lab.home.work().join("outer"), lab.home.path().join("other"));
    for folder in [&outer, &other] {
        fs::create_dir_all(folder.join("proj")).unwrap();
    }
    fs::write(outer.join("proj/touchlease.toml"), TASKS.replace("./deploy.sh", "true")).unwrap();
    let _watch = lab.home.watch().unwrap();
    let mut agent = Agent::with(&lab, &["--workspace", &outer.join("proj").display().to_string()], LEGACY);
    agent.initialize();
    let lease = agent.lease(&lab);
    fs::rename(&outer, lab.home.work().join("moved")).unwrap();
    std::os::unix::fs::symlink(&other, &outer).unwrap();
    let refused = agent.call("run_task", json!({"lease": lease}));
    assert_eq!(refused["error"]["reason"], "workspace_moved", "{refused}");
    assert_eq!(lab.count("used"), 0);
}
