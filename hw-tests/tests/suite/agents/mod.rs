//! The agents themselves, from npm, offline: a model on loopback has them do what a model would, and a person touches.

mod connect;
mod leases;
mod model;
mod protocol;
mod questions;
mod sandboxes;

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};

use self::model::{Model, Step};
use crate::{
    lab::CANARY,
    proxy::{Bench, upstream::Upstream},
};

/// A variable that the rig sets.
fn rig(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("hw-tests/with-agents sets {name}"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Codex,
    Claude,
}

/// A lab with an agent that was connected, and a workspace whose task calls a host by proxy.
struct Desk {
    bench: Bench,
    upstream: Upstream,
    client: Client,
}

impl Desk {
    fn new(client: Client) -> Self {
        let bench = Bench::new();
        let upstream = bench.upstream();
        let host = upstream.host();
        Self::over(client, bench, upstream, &host)
    }

    /// The same of what is there already, for a host that leads to `upstream`.
    fn over(client: Client, bench: Bench, upstream: Upstream, host: &str) -> Self {
        bench.put(host, &[]);
        let desk = Self { bench, upstream, client };
        desk.workspace();
        if client == Client::Codex {
            // Codex keeps no programs below a folder for temporary files.
            fs::create_dir_all(desk.home().join("tmp")).unwrap();
            fs::create_dir_all(desk.home().join(".codex")).unwrap();
            fs::write(desk.home().join(".codex/config.toml"), "# mine\nmodel = \"mock\"   # whatever\n").unwrap();
        }
        desk.touchlease(&["connect", desk.word(), "--yes"]);
        desk
    }

    fn word(&self) -> &'static str {
        match self.client {
            Client::Codex => "codex",
            Client::Claude => "claude",
        }
    }

    fn home(&self) -> PathBuf {
        self.bench.lab.home.path().to_owned()
    }

    fn touchlease(&self, arguments: &[&str]) -> String {
        self.bench.lab.prints(arguments)
    }

    fn workspace(&self) {
        let work = self.bench.lab.home.work();
        fs::write(
            work.join("touchlease.toml"),
            "[task.deploy]\nabout = \"Deploy the docs\"\ncommand = [\"./deploy.sh\"]\n[[task.deploy.grant]]\nsecret = \"prod/API\"\nvia = \"proxy\"\nenv = \"API\"\n",
        )
        .unwrap();
        let script = work.join("deploy.sh");
        let curl = format!(
            "curl -sS -m 20 -w ' %{{http_code}}\\n' -H \"Authorization: Bearer $API\" {}",
            self.upstream.url("/api/x")
        );
        fs::write(&script, format!("#!/bin/sh\nenv\n{curl}\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let out = Command::new("git").args(["init", "--quiet"]).current_dir(&work).output().unwrap();
        assert!(out.status.success(), "{out:?}");
    }

    /// The agent's command line, with one prompt and nobody at its terminal, in the environment of the home and no other.
    fn agent(&self, model: &Model, more: &[&str]) -> Command {
        let home = &self.bench.lab.home;
        let mut command = Command::new("setsid");
        command.arg("--wait");
        match self.client {
            Client::Codex => {
                let provider = format!(
                    "{{ name = \"mock\", base_url = \"http://127.0.0.1:{}/v1\", wire_api = \"responses\", env_key = \"MOCK_KEY\" }}",
                    model.port
                );
                command.arg(rig("AGENT_CODEX")).args(["exec", "--json", "--skip-git-repo-check"]);
                command.args(["-c", &format!("model_providers.mock={provider}"), "-c", "model_provider=mock"]);
                // With nobody to ask, it would call no tool that runs something.
                command.args(["-c", "mcp_servers.touchlease.default_tools_approval_mode=\"approve\""]);
                command.args(more).arg("deploy the docs");
            }
            Client::Claude => {
                command
                    .arg(rig("AGENT_CLAUDE"))
                    .args(["-p", "deploy the docs", "--output-format", "stream-json", "--verbose"]);
                command.args(["--allowedTools", "mcp__touchlease,Bash"]).args(more);
            }
        }
        command.env_clear().current_dir(home.work());
        for name in [
            "HOME",
            "XDG_RUNTIME_DIR",
            "XDG_STATE_HOME",
            "XDG_DATA_HOME",
            "XDG_CONFIG_HOME",
            "PATH",
            "LANG",
        ] {
            command.env(name, home.variable(name));
        }
        command.env("MOCK_KEY", "x").env("TMPDIR", home.path().join("tmp"));
        command.env("ANTHROPIC_BASE_URL", format!("http://127.0.0.1:{}", model.port));
        command.env("ANTHROPIC_API_KEY", "x").env("DISABLE_AUTOUPDATER", "1");
        command
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env("ENABLE_TOOL_SEARCH", "false");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, model: &Model, more: &[&str]) -> Child {
        fs::create_dir_all(self.home().join("tmp")).unwrap();
        self.agent(model, more).spawn().unwrap()
    }

    /// Runs it to its end.
    fn run(&self, model: &Model, more: &[&str]) -> Output {
        let out = self.start(model, more).wait_with_output().unwrap();
        assert!(out.status.success(), "{out:?}");
        out
    }
}
