//! `touchlease mcp`, spoken to in lines of JSON-RPC as an agent's client does.

mod fence;
mod input;
mod leases;
mod proxied;
mod tasks;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use hw_tests::key::KeyHandle;
use serde_json::{Value, json};

use crate::lab::{CANARY, Lab, PATIENCE, holds};

/// A task file with one task, whose command is a script of the workspace.
const TASKS: &str = r#"[task.deploy]
about = "Deploy the docs"
command = ["./deploy.sh"]
ttl = "15m"
[[task.deploy.grant]]
secret = "prod/TOKEN"
via = "env"
env = "TOKEN"
"#;

/// Both generations of the protocol.
const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";

/// An agent's client, and the server that it started.
struct Agent {
    server: Child,
    to: Option<ChildStdin>,
    lines: mpsc::Receiver<Value>,
    /// All that the server wrote, byte for byte.
    wrote: Arc<Mutex<Vec<u8>>>,
    /// What came while something else was waited for.
    aside: Vec<Value>,
    asked: u64,
    version: &'static str,
}

impl Agent {
    /// Starts the server in the workspace, and begins a session of the older generation.
    fn start(lab: &Lab) -> Self {
        let mut agent = Self::silent(lab, LEGACY);
        agent.initialize();
        agent
    }

    fn initialize(&mut self) {
        self.initialize_as(&json!({}));
    }

    /// The same of a client that has these capabilities.
    fn initialize_as(&mut self, capabilities: &Value) {
        let hello = self.request(
            "initialize",
            json!({"protocolVersion": LEGACY, "capabilities": capabilities, "clientInfo": {"name": "test-agent", "version": "1.5"}}),
        );
        assert_eq!(hello["result"]["protocolVersion"], LEGACY, "{hello}");
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    }

    /// The same in the newer one, where every request says all of it.
    fn modern(lab: &Lab) -> Self {
        let mut agent = Self::silent(lab, MODERN);
        let hello = agent.request("server/discover", json!({}));
        let versions = hello["result"]["supportedVersions"].as_array().cloned().unwrap_or_default();
        assert!(versions.contains(&json!(MODERN)), "{hello}");
        agent
    }

    /// The server, to which nothing was said yet.
    fn silent(lab: &Lab, version: &'static str) -> Self {
        Self::with(lab, &[], version)
    }

    /// The same with more arguments.
    fn with(lab: &Lab, arguments: &[&str], version: &'static str) -> Self {
        Self::of(lab.home.detached([&["mcp"], arguments].concat()), version)
    }

    /// A server that is started so.
    fn of(mut command: Command, version: &'static str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let wrote = Arc::new(Mutex::new(vec![]));
        let (tx, lines) = mpsc::channel();
        let (mut stdout, all) = (BufReader::new(server.stdout.take().unwrap()), wrote.clone());
        thread::spawn(move || {
            loop {
                let mut line = vec![];
                match stdout.read_until(b'\n', &mut line) {
                    Ok(n) if n > 0 => {}
                    _ => return,
                }
                all.lock().unwrap().extend(&line);
                // T33: whatever is no message of the protocol ends the test.
                let message: Value = serde_json::from_slice(&line).expect("a line of JSON");
                assert_eq!(message["jsonrpc"], "2.0");
                if tx.send(message).is_err() {
                    return;
                }
            }
        });
        let (mut stderr, all) = (server.stderr.take().unwrap(), wrote.clone());
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut chunk) {
                all.lock().unwrap().extend(&chunk[..n]);
            }
        });
        Self {
            to: server.stdin.take(),
            server,
            lines,
            wrote,
            aside: vec![],
            asked: 0,
            version,
        }
    }

    fn say(&mut self, message: &Value) {
        self.say_raw(format!("{message}\n").as_bytes());
    }

    fn say_raw(&mut self, bytes: &[u8]) {
        self.to.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Sends a request and does not wait: its id.
    fn send(&mut self, method: &str, mut params: Value) -> u64 {
        self.asked += 1;
        if self.version == MODERN {
            let meta = params["_meta"].take();
            let mut all = json!({
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {"name": "test-agent", "version": "1.5"},
                "io.modelcontextprotocol/clientCapabilities": {},
            });
            if let (Some(all), Value::Object(meta)) = (all.as_object_mut(), meta) {
                all.extend(meta);
            }
            params["_meta"] = all;
        }
        self.say(&json!({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params}));
        self.asked
    }

    fn answer(&mut self, id: u64) -> Value {
        if let Some(at) = self
            .aside
            .iter()
            .position(|message| message["id"] == id && message.get("method").is_none())
        {
            return self.aside.remove(at);
        }
        loop {
            let message = self
                .lines
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|error| panic!("no answer: {error}; {}", self.said()));
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
            self.aside.push(message);
        }
    }

    /// The next error that answers no request of its own.
    fn fault(&mut self) -> Value {
        let is_one = |message: &Value| message.get("error").is_some() && message["id"].is_null();
        if let Some(at) = self.aside.iter().position(is_one) {
            return self.aside.remove(at);
        }
        loop {
            let message = self
                .lines
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|error| panic!("no error: {error}; {}", self.said()));
            if is_one(&message) {
                return message;
            }
            self.aside.push(message);
        }
    }

    /// The next message of the server's own with this method.
    fn told(&mut self, method: &str) -> Value {
        if let Some(at) = self.aside.iter().position(|message| message["method"] == method) {
            return self.aside.remove(at);
        }
        loop {
            let message = self
                .lines
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|error| panic!("no {method}: {error}; {}", self.said()));
            if message["method"] == method {
                return message;
            }
            self.aside.push(message);
        }
    }

    fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        self.answer(id)
    }

    fn begin(&mut self, tool: &str, arguments: Value) -> u64 {
        self.send(
            "tools/call",
            json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}}),
        )
    }

    /// Calls a tool: its structured content.
    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let id = self.begin(tool, arguments);
        self.outcome(id)
    }

    fn outcome(&mut self, id: u64) -> Value {
        let answer = self.answer(id);
        let result = &answer["result"];
        // Models that get no objects read the same in words.
        assert!(
            result["content"][0]["text"].as_str().is_some_and(|text| !text.is_empty()),
            "{answer}"
        );
        result["structuredContent"].clone()
    }

    /// A lease for the task `deploy` that was touched for.
    fn lease(&mut self, lab: &Lab) -> String {
        let asked = self.call("request_lease", json!({"task": "deploy", "reason": "the docs are ready"}));
        let lease = asked["lease"].as_str().unwrap_or_else(|| panic!("{asked}")).to_owned();
        let mut state = asked;
        lab.until("the touch", || {
            state = self.call("wait_lease", json!({"lease": lease, "seconds": 10}));
            state["state"] == "live"
        });
        lease
    }

    /// Everything that it wrote so far.
    fn said(&self) -> String {
        String::from_utf8_lossy(&self.wrote.lock().unwrap()).into_owned()
    }

    /// The client goes: the end of the server's input. Waits for the server's end.
    fn hang_up(mut self) -> String {
        drop(self.to.take());
        assert!(self.server.wait().unwrap().success(), "{}", self.said());
        self.said()
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.server.id()).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.server.kill();
        let _ = self.server.wait();
        if !thread::panicking() {
            // T42, of every test here.
            let said = self.wrote.lock().unwrap();
            assert!(!holds(&said, CANARY), "the value is in what the server wrote");
        }
    }
}

/// A workspace with a task file and its script.
fn workspace(lab: &Lab, script: &str) {
    fs::write(lab.home.work().join("touchlease.toml"), TASKS).unwrap();
    write_script(lab, script);
}

fn write_script(lab: &Lab, script: &str) {
    let file = lab.home.work().join("deploy.sh");
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}
