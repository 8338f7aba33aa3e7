//! An agent behind walls that asks by its server: that one runs outside, and does for it what it does for every agent.

use super::*;
use crate::proxy::upstream::{Authority, Upstream};

/// An agent's client: it starts the server as any other does, in an environment that is to lead it astray.
const CLIENT: &str = r#"
import json, os, socket, subprocess, sys

astray = dict(os.environ, XDG_STATE_HOME="/tmp/astray", XDG_DATA_HOME="/tmp/astray", HOME="/tmp/astray", PATH="/tmp/astray")
server = subprocess.Popen([sys.argv[1], "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=astray, cwd="/")
number = 0

def ask(method, params):
    global number
    number += 1
    server.stdin.write((json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}) + "\n").encode())
    server.stdin.flush()
    while True:
        answer = json.loads(server.stdout.readline())
        if answer.get("id") == number:
            return answer["result"]

def call(tool, **arguments):
    return ask("tools/call", {"name": tool, "arguments": arguments})["structuredContent"]

ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "walled", "version": "1"}})
server.stdin.write(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')
print("tasks", [task["name"] for task in call("list_tasks")["tasks"]])
asked = call("request_lease", task="deploy", reason="the docs are ready")
state = call("wait_lease", lease=asked["lease"], seconds=30)
print("state", state["state"])
done = call("run_task", lease=asked["lease"])
print("task", done.get("output"), done.get("exit_code"))
given = state.get("placeholders", [])
if given:
    own = "curl -sS -m 20 --noproxy '' -w ' %%{http_code}' -H 'Authorization: Bearer %s' %s/api/x" % (given[0]["placeholder"], sys.argv[2])
    print("own", subprocess.run(["sh", "-c", own], capture_output=True, text=True).stdout.strip())
print("end", call("end_lease", lease=asked["lease"])["state"])
if given:
    print("own", subprocess.run(["sh", "-c", own], capture_output=True, text=True).stdout.strip()[-3:])
server.stdin.close()
print("server", server.wait())
"#;

/// What somebody does who has read how it works: bytes that are no messages, and more connections than there are for one agent.
const MISUSE: &str = r#"
import os, socket, subprocess, sys, time
place = os.environ["TOUCHLEASE_MCP"]
print(os.path.dirname(place))

def connect():
    it = socket.socket(socket.AF_UNIX)
    it.connect(place)
    return it

def closed(it):
    it.settimeout(10)
    try:
        while it.recv(4096):
            pass
        return True
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False

noise = connect()
noise.sendall(os.urandom(4096) + b"\n")
noise.shutdown(socket.SHUT_WR)
print("noise", closed(noise))
folder = os.open("/", os.O_RDONLY)
passed = connect()
socket.send_fds(passed, [b"x"], [folder])
passed.shutdown(socket.SHUT_WR)
print("descriptor", closed(passed))
time.sleep(0.5)
many = [connect() for _ in range(12)]
many[-1].settimeout(10)
print("last", many[-1].recv(1) == b"")
many[0].sendall(b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}}\n')
many[0].settimeout(10)
print("first", many[0].recv(16)[:1])
try:
    open(os.path.dirname(place) + "/made", "w")
    print("folder written")
except OSError as error:
    print("folder", error.errno)
told = subprocess.run([sys.argv[1], "mcp", "--workspace", "/"], capture_output=True, stdin=subprocess.DEVNULL)
print("workspace", told.returncode, b"the folder in which that was started" in told.stderr)
"#;

/// A home with a vault, whose proxy trusts an authority of the test's.
pub(super) fn ready(folder: &Path) -> (Rigged, Authority) {
    let rigged = Rigged::without_vault(NOBODY, None);
    let authority = Authority::new(folder);
    let config = rigged.home.places().unwrap().config;
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::write(&config, format!("proxy_roots = \"{}\"\n", authority.pem.display())).unwrap();
    own(&rigged.home.path().join("config"), NOBODY);
    shows(&rigged.home, &["init", "--key", "blue"], 0, &[]);
    (rigged, authority)
}

#[test]
fn t42_p7_an_agent_behind_walls_asks_by_its_server_outside_and_a_lease_comes_to_its_session() {
    if !inside("outside::t42_p7_an_agent_behind_walls_asks_by_its_server_outside_and_a_lease_comes_to_its_session") {
        return;
    }
    let (folder, _) = for_everybody(Path::new(PROBE));
    let (rigged, authority) = ready(folder.path());
    let upstream = Upstream::tls(&authority, &["localhost"]);
    let work = rigged.home.work();
    fs::write(work.join("value"), CANARY).unwrap();
    shows(
        &rigged.home,
        &["put", "prod/TOKEN", "--from-file", "value", "--host", &upstream.host()],
        0,
        &[],
    );
    fs::remove_file(work.join("value")).unwrap();
    fs::write(
        work.join("touchlease.toml"),
        "[task.deploy]\nabout = \"x\"\ncommand = [\"./deploy.sh\"]\n[[task.deploy.grant]]\nsecret = \"prod/TOKEN\"\nvia = \"proxy\"\nenv = \"TOKEN\"\n",
    )
    .unwrap();
    let script = format!(
        "#!/bin/sh\nls {} 2> /dev/null\ncurl -sS -m 20 -w ' %{{http_code}}' -H \"Authorization: Bearer $TOKEN\" {}\n",
        rigged.home.places().unwrap().vault.display(),
        upstream.url("/api/x")
    );
    fs::write(work.join("deploy.sh"), script).unwrap();
    open_to_everybody(&work.join("deploy.sh"));
    fs::write(work.join("client.py"), CLIENT).unwrap();
    let (_copy, program) = for_everybody(&product());
    let program = program.display().to_string();
    let mut watch = rigged.home.watch().unwrap();
    for (number, (more, own)) in [(&["--proxy"][..], true), (&[], false)].into_iter().enumerate() {
        let url = upstream.url("");
        let command = ["--", "/usr/bin/python3", "client.py", &program, &url];
        let out = rigged.agent(&[&["run", "--agent"], more, &command].concat());
        let said = String::from_utf8(out.stdout.clone()).unwrap();
        let mut expected = vec!["tasks ['deploy']", "state live", "task fine 200 0"];
        if own {
            expected.extend(["own fine 200", "end ended", "own 403"]);
        } else {
            expected.push("end ended");
        }
        expected.push("server 0");
        assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{out:?}");
        assert_eq!(leaks(&out.stdout, &forms(CANARY)) + leaks(&out.stderr, &forms(CANARY)), 0);
        assert_eq!(upstream.seen().len(), [2, 3][number]);
    }
    let seen = watch.expect("whatever the agent runs too").unwrap();
    assert!(seen.contains("walled 1"), "{seen}");
    // The lease that comes to no session is the command's alone, and its prompt says nothing else.
    let rest = watch.unseen();
    assert!(
        rest.matches("the docs are ready").count() == 2 && !rest.contains("whatever the agent runs too"),
        "{rest}"
    );
    println!("T42 outside: 2 of 2 agents behind walls used a lease");
}

#[test]
fn t42_whoever_misuses_the_way_out_of_the_walls_gets_what_a_server_gives_and_no_more_servers_than_there_are() {
    if !inside("outside::t42_whoever_misuses_the_way_out_of_the_walls_gets_what_a_server_gives_and_no_more_servers_than_there_are") {
        return;
    }
    let rigged = Rigged::new(NOBODY, None);
    fs::write(rigged.home.work().join("misuse.py"), MISUSE).unwrap();
    let (_copy, program) = for_everybody(&product());
    let program = program.display().to_string();
    let servers = || {
        let found = fs::read_dir("/proc").unwrap().flatten();
        let lines = found.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| line.starts_with(b"/proc/self/exe\0mcp\0")).count()
    };
    let out = rigged.agent(&["run", "--agent", "--", "/usr/bin/python3", "misuse.py", &program]);
    let said = String::from_utf8(out.stdout.clone()).unwrap();
    let expected = [
        "noise True",
        "descriptor True",
        "last True",
        "first b'{'",
        "folder 30",
        "workspace 64 True",
    ];
    let (place, said) = said.split_once('\n').unwrap();
    assert!(place.starts_with("/dev/shm/touchlease-run-"), "{out:?}");
    assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{out:?}");
    until("the servers' end", || servers() == 0);
    assert!(!Path::new(place).exists(), "{place}");
    println!("T42 outside: 0 servers and files left");
}
