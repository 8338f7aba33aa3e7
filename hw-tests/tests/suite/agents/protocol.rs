//! Programs that know the protocol and nothing of us: the inspector, and the conformance suite over a bridge to HTTP.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{ChildStdin, ChildStdout},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use super::*;
use crate::lab::Lab;

fn node(script: &str, lab: &Lab, arguments: &[&str]) -> Output {
    let node = rig("CLIENT_NODE");
    let mut command = Command::new(&node);
    command.arg(rig(script)).args(arguments).env_clear().current_dir(lab.home.work());
    for name in ["HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
        command.env(name, lab.home.variable(name));
    }
    let beside = PathBuf::from(&node).parent().unwrap().display().to_string();
    command.env("PATH", format!("{beside}:{}", lab.home.variable("PATH")));
    command.stdin(Stdio::null()).output().unwrap()
}

fn lab() -> Lab {
    let lab = Lab::new();
    let task = "[task.deploy]\nabout = \"Deploy the docs\"\ncommand = [\"true\"]\n[[task.deploy.grant]]\nsecret = \"prod/TOKEN\"\nvia = \"env\"\nenv = \"TOKEN\"\n";
    fs::write(lab.home.work().join("touchlease.toml"), task).unwrap();
    lab
}

#[test]
#[ignore = "needs hw-tests/with-agents"]
fn the_inspector_lists_the_tools_and_calls_them() {
    let lab = lab();
    let program = crate::product().display().to_string();
    let inspect = |more: &[&str]| -> Value {
        let out = node("MCP_INSPECTOR", &lab, &[&["--cli", &program, "mcp"], more].concat());
        assert!(out.status.success(), "{more:?}: {out:?}");
        serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{more:?}: {error}: {out:?}"))
    };
    let listed = inspect(&["--method", "tools/list"]);
    assert_eq!(listed["tools"].as_array().unwrap().len(), 6, "{listed}");
    let tasks = inspect(&["--method", "tools/call", "--tool-name", "list_tasks"]);
    assert_eq!(tasks["structuredContent"]["tasks"][0]["name"], "deploy", "{tasks}");
    println!("MCP inspector: 2 of 2 methods");
}

/// The scenarios that ask for nothing but a server with tools; the others want tools, prompts or resources of a given name.
const SCENARIOS: [&str; 3] = ["server-initialize", "ping", "tools-list"];

#[test]
#[ignore = "needs hw-tests/with-agents"]
fn the_conformance_suite_passes_in_each_scenario_that_needs_no_fixture() {
    let lab = Arc::new(lab());
    let port = bridge(lab.clone());
    let mut passed = 0;
    for scenario in SCENARIOS {
        let url = format!("http://127.0.0.1:{port}/mcp");
        let out = node("MCP_CONFORMANCE", &lab, &["server", "--url", &url, "--scenario", scenario]);
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert!(
            out.status.success() && said.contains("Passed:") && said.contains(", 0 failed"),
            "{scenario}: {said}"
        );
        passed += 1;
    }
    println!("MCP conformance: {passed} of {} scenarios", SCENARIOS.len());
}

/// A session over HTTP (Streamable HTTP of the protocol, 2025-06-18, without streams): a server of its own.
struct Session {
    server: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// Takes messages of HTTP to a server's standard input and back: what the suite speaks, and what no agent needs. Its port.
fn bridge(lab: Arc<Lab>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let sessions: Arc<Mutex<Vec<Session>>> = Arc::default();
        for stream in listener.incoming().map_while(Result::ok) {
            let (lab, sessions) = (lab.clone(), sessions.clone());
            // Whoever goes away in the middle has gone.
            thread::spawn(move || drop(carry(&stream, &lab, &sessions)));
        }
    });
    port
}

fn carry(stream: &TcpStream, lab: &Lab, sessions: &Mutex<Vec<Session>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream.try_clone()?;
    loop {
        let (mut line, mut length, mut named) = (String::new(), 0, None);
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "mcp-session-id" => named = value.trim().parse::<usize>().ok(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if !line.starts_with("POST ") {
            let status = if line.starts_with("DELETE ") {
                "200 OK"
            } else {
                "405 Method Not Allowed"
            };
            write!(writer, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")?;
            continue;
        }
        let message: Value = serde_json::from_slice(&body)?;
        let mut sessions = sessions.lock().unwrap();
        let number = named.unwrap_or_else(|| {
            sessions.push(start(lab));
            sessions.len() - 1
        });
        let session = &mut sessions[number];
        writeln!(session.to, "{message}")?;
        if message.get("id").is_none() || message.get("method").is_none() {
            write!(writer, "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")?;
            continue;
        }
        let answer = loop {
            let mut line = String::new();
            session.from.read_line(&mut line)?;
            let answer: Value = serde_json::from_str(&line)?;
            if answer["id"] == message["id"] && answer.get("method").is_none() {
                break line;
            }
        };
        write!(
            writer,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: {number}\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
}

fn start(lab: &Lab) -> Session {
    let mut command = lab.home.detached(["mcp"]);
    let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    Session {
        to: server.stdin.take().unwrap(),
        from: BufReader::new(server.stdout.take().unwrap()),
        server,
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
