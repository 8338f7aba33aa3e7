//! Three nodes of OpenBao's over Raft and TLS on loopback, as an operator sets them up, and PostgreSQL beside them.

use std::env;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::apache::free_port;
use super::{certificates, fed};
use crate::lab::until;

/// A cluster: everything is gone with it.
pub(super) struct Cluster {
    folder: tempfile::TempDir,
    program: PathBuf,
    nodes: Vec<Node>,
    unseal: String,
    root: String,
}

struct Node {
    child: Option<Child>,
    port: u16,
    config: PathBuf,
}

impl Cluster {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = PathBuf::from(env::var_os("OPENBAO").expect("hw-tests/with-verifiers sets OPENBAO"));
        certificates(folder.path(), "127.0.0.1", "node");
        let ports: Vec<(u16, u16)> = (0..3).map(|_| (free_port(), free_port())).collect();
        let node = |n: usize| {
            let (port, between) = ports[n];
            let at = |name: &str| folder.path().join(name).display().to_string();
            fs::create_dir(at(&format!("n{n}"))).unwrap();
            let others = ports.iter().filter(|(other, _)| *other != port);
            let join: String = others
                .map(|(other, _)| {
                    format!(
                        "retry_join {{ leader_api_addr = \"https://127.0.0.1:{other}\" leader_ca_cert_file = {:?} }}\n",
                        at("ca.pem")
                    )
                })
                .collect();
            let config = format!(
                "storage \"raft\" {{ path = {:?}\nnode_id = \"n{n}\"\nperformance_multiplier = 1\n{join} }}\n\
                 listener \"tcp\" {{ address = \"127.0.0.1:{port}\"\ncluster_address = \"127.0.0.1:{between}\"\ntls_cert_file = {:?}\ntls_key_file = {:?} }}\n\
                 api_addr = \"https://127.0.0.1:{port}\"\ncluster_addr = \"https://127.0.0.1:{between}\"\n",
                at(&format!("n{n}")),
                at("node.pem"),
                at("node.key"),
            );
            let path = folder.path().join(format!("n{n}.hcl"));
            fs::write(&path, config).unwrap();
            Node {
                child: None,
                port,
                config: path,
            }
        };
        let nodes = (0..3).map(node).collect();
        let mut cluster = Self {
            folder,
            program,
            nodes,
            unseal: String::new(),
            root: String::new(),
        };
        (0..3).for_each(|n| cluster.launch(n));
        let made = cluster.at(
            0,
            "",
            &["operator", "init", "-key-shares=1", "-key-threshold=1", "-format=json"],
            "",
        );
        assert!(made.status.success(), "{made:?}");
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        cluster.unseal = made["unseal_keys_b64"][0].as_str().unwrap().to_owned();
        cluster.root = made["root_token"].as_str().unwrap().to_owned();
        (0..3).for_each(|n| cluster.unseal(n));
        until("three voters", || {
            let peers = cluster.operator(&["operator", "raft", "list-peers", "-format=json"], "");
            let peers: Value = serde_json::from_slice(&peers.stdout).unwrap_or_default();
            let servers = peers["data"]["config"]["servers"].as_array().cloned().unwrap_or_default();
            servers.iter().filter(|server| server["voter"] == json!(true)).count() == 3
        });
        cluster
    }

    fn launch(&mut self, n: usize) {
        let node = &self.nodes[n];
        let log = fs::File::create(node.config.with_extension("log")).unwrap();
        let mut server = Command::new(&self.program);
        server.arg("server").arg("-config").arg(&node.config);
        server
            .env("HOME", self.folder.path())
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log);
        let (child, port) = (server.spawn().unwrap(), node.port);
        self.nodes[n].child = Some(child);
        until("a node", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    fn unseal(&self, n: usize) {
        // One that has not joined yet takes no key, and one that has taken it takes no other while it joins.
        until("a node to take the key", || {
            self.at(n, "", &["operator", "unseal", &self.unseal], "").status.success()
        });
        until("a node, unsealed", || {
            let status = self.at(n, "", &["status", "-format=json"], "");
            serde_json::from_slice::<Value>(&status.stdout).unwrap_or_default()["sealed"] == json!(false)
        });
    }

    /// `bao` at one node.
    fn at(&self, n: usize, token: &str, arguments: &[&str], input: &str) -> Output {
        let mut bao = Command::new(&self.program);
        bao.args(arguments)
            .env("BAO_ADDR", format!("https://127.0.0.1:{}", self.nodes[n].port))
            .env("BAO_CACERT", self.ca())
            .env("BAO_TOKEN", token)
            .env("BAO_MAX_RETRIES", "0")
            .env("HOME", self.folder.path());
        fed(bao, input)
    }

    /// `bao` at a node that runs.
    pub(super) fn run(&self, token: &str, arguments: &[&str], input: &str) -> Output {
        let n = self.nodes.iter().position(|node| node.child.is_some()).expect("a node");
        self.at(n, token, arguments, input)
    }

    pub(super) fn operator(&self, arguments: &[&str], input: &str) -> Output {
        self.run(&self.root, arguments, input)
    }

    /// As its operator, who gives it JSON; on a busy machine the nodes may elect another leader meanwhile.
    pub(super) fn write(&self, path: &str, value: &Value) {
        until(path, || {
            let out = self.operator(&["write", path, "-"], &value.to_string());
            let elects = String::from_utf8_lossy(&out.stderr).contains("node not active");
            assert!(out.status.success() || elects, "{path}: {out:?}");
            out.status.success()
        });
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("https://127.0.0.1:{}", node.port)).collect()
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Kills the node that leads.
    pub(super) fn kill_leader(&mut self) {
        let leads = |n: &usize| {
            let status = self.at(*n, "", &["status", "-format=json"], "");
            serde_json::from_slice::<Value>(&status.stdout).unwrap_or_default()["is_self"] == json!(true)
        };
        let running: Vec<usize> = (0..3).filter(|n| self.nodes[*n].child.is_some()).collect();
        let leader = running.into_iter().find(leads).expect("a leader");
        self.kill(leader);
    }

    fn kill(&mut self, n: usize) {
        if let Some(mut child) = self.nodes[n].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(super) fn kill_all(&mut self) {
        (0..3).for_each(|n| self.kill(n));
    }

    pub(super) fn revive(&mut self) {
        let dead: Vec<usize> = (0..3).filter(|n| self.nodes[*n].child.is_none()).collect();
        dead.iter().for_each(|n| self.launch(*n));
        dead.iter().for_each(|n| self.unseal(*n));
    }

    /// What an operator sees of a token by its accessor; nothing when there is none.
    pub(super) fn token(&self, accessor: &str) -> Option<Value> {
        let out = self.operator(&["token", "lookup", "-format=json", "-accessor", accessor], "");
        out.status
            .success()
            .then(|| serde_json::from_slice::<Value>(&out.stdout).unwrap()["data"].take())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(child) = &mut node.child {
                // It may have ended.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// Debian's PostgreSQL on loopback, in a folder of its own.
pub(super) struct Postgres {
    child: Child,
    pub(super) port: u16,
    _folder: tempfile::TempDir,
}

impl Postgres {
    /// Of whoever runs this, or of Debian's account for it where that is root, as whom it does not run.
    pub(super) fn start() -> Self {
        let programs = fs::read_dir("/usr/lib/postgresql")
            .unwrap()
            .next()
            .expect("Debian's postgresql")
            .unwrap()
            .path();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let account = rustix::process::getuid().is_root().then(|| ids("postgres"));
        if let Some((uid, gid)) = account {
            chown(&data, Some(uid), Some(gid)).unwrap();
        }
        let command = |name: &str| {
            let mut command = Command::new(programs.join("bin").join(name));
            command.current_dir("/").env_clear().env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
            if let Some((uid, gid)) = account {
                command.uid(uid).gid(gid);
            }
            command
        };
        let secret = folder.path().join("password");
        fs::write(&secret, "op-password\n").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
        let made = command("initdb")
            .args(["--no-sync", "--username=operator", "--auth=scram-sha-256", "--pwfile"])
            .arg(&secret)
            .arg("--pgdata")
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let port = free_port();
        let mut server = command("postgres");
        server.args([
            "-h",
            "127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=off",
            "-p",
            &port.to_string(),
            "-D",
        ]);
        let child = server.arg(&data).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self {
            child,
            port,
            _folder: folder,
        };
        until("PostgreSQL", || server.says("operator", "op-password", "select 1").is_some());
        server
    }

    /// What it answers to `user`; nothing when it does not let him in.
    pub(super) fn says(&self, user: &str, password: &str, what: &str) -> Option<String> {
        let mut psql = Command::new("psql");
        psql.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-U",
            user,
            "-d",
            "postgres",
            "-Atc",
            what,
        ]);
        let out = psql.env("PGPASSWORD", password).stdin(Stdio::null()).output().unwrap();
        out.status
            .success()
            .then(|| String::from_utf8(out.stdout).unwrap().trim().to_owned())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once (postgres(1), SIGQUIT); its workers end with it.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| kill_process(pid, Signal::QUIT));
        let _ = self.child.wait();
    }
}

fn ids(account: &str) -> (u32, u32) {
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let line = accounts
        .lines()
        .find(|line| line.starts_with(&format!("{account}:")))
        .expect("the account");
    let parts: Vec<&str> = line.split(':').collect();
    (parts[2].parse().unwrap(), parts[3].parse().unwrap())
}
