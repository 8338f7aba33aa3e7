//! Signatures by `touchlease ssh agent` in a live lease against OpenSSH's ssh-agent: the same client says the same to both, and all of it, with the
//! daemon, has one core, as waking another costs more than what is measured.
//!
//! One touch is for 100 signatures at most: so what is measured are bursts of 99, each after one that was asked for, in turn with the other agent's.

mod client;
mod words;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use self::client::{Client, burst};
use self::words::Host;
use super::cores::Cores;
use super::rig::{Rig, asked};
use super::run::{quiet, version};
use super::server::Server;
use super::table::{Failure, Load, Table, micros};

/// What one touch is for (`signer add --max-uses`).
const USES: usize = 100;
/// Of each agent, for each row.
const BURSTS: usize = 20;

pub fn rows(table: &mut Table) -> Result<(), Failure> {
    let cores = Cores::find()?;
    cores.on_the_first()?;
    let measured = on_one_core(table);
    cores.on_all()?;
    measured
}

fn on_one_core(table: &mut Table) -> Result<(), Failure> {
    if version("ssh-agent", "-h").is_none() {
        table.missing("ssh-agent, signatures", "apt-get install openssh-client");
        return Ok(());
    }
    let rig = Rig::new(false, 0)?;
    let ecdsa = Pair::of_signatures(&rig, "es256", "ecdsa")?;
    one_client(table, &rig, &ecdsa, "ECDSA P-256", Goal::AtMost(0.15))?;
    for (clients, tail) in [(8, None), (64, Some(0.15))] {
        many_clients(table, &rig, &ecdsa, clients, tail)?;
    }
    drop(ecdsa);
    let eddsa = Pair::of_signatures(&rig, "eddsa", "ed25519")?;
    one_client(table, &rig, &eddsa, "Ed25519", Goal::Throughput(12.0))?;
    drop(eddsa);
    logins(table, &rig)?;
    table.version("ssh-agent", version("ssh", "-V").unwrap_or_default());
    Ok(())
}

enum Goal {
    /// Of the other's time.
    AtMost(f64),
    /// Of the other's signatures in the same time.
    Throughput(f64),
}

fn one_client(table: &mut Table, rig: &Rig, pair: &Pair, what: &str, goal: Goal) -> Result<(), Failure> {
    let [ours, theirs] = pair.bursts(rig, &|side, signatures| burst(side, 1, signatures))?;
    let (mine, other) = (ours.each.median(), theirs.each.median());
    table.fact(&format!("ssh-agent, {what}, one client, one core, p50"), micros(other));
    let name = format!(
        "touchlease ssh agent, an SSH signature by a sealed {what} key in a live lease, on the disk in the log before it goes out, against that"
    );
    match goal {
        Goal::AtMost(most) => {
            let ratio = ours.each.over(&theirs.each);
            let measured = format!("{ratio:.2}x ({})", micros(mine));
            table.goal(&name, measured, &format!("<= {most}x"), ratio <= most);
        }
        Goal::Throughput(least) => {
            let ratio = ours.per_second() / theirs.per_second();
            let measured = format!("{ratio:.2}x the signatures per second ({})", micros(mine));
            table.goal(&name, measured, &format!(">= {least}x"), ratio >= least);
        }
    }
    Ok(())
}

fn many_clients(table: &mut Table, rig: &Rig, pair: &Pair, clients: usize, tail: Option<f64>) -> Result<(), Failure> {
    let [ours, theirs] = pair.bursts(rig, &|side, signatures| burst(side, clients, signatures))?;
    let ratio = ours.per_second() / theirs.per_second();
    let measured = format!(
        "{ratio:.2}x ({:.0} against {:.0} per second)",
        ours.per_second(),
        theirs.per_second()
    );
    let what = format!("the same with ECDSA P-256 and {clients} clients, signatures per second");
    table.goal(&what, measured, ">= 9x", ratio >= 9.0);
    if let Some(most) = tail {
        let (mine, other) = (ours.each.within(0.99), theirs.each.within(0.99));
        let ratio = mine.as_secs_f64() / other.as_secs_f64();
        let measured = format!("{ratio:.2}x ({} against {})", micros(mine), micros(other));
        table.goal(
            &format!("p99 with {clients} clients"),
            measured,
            &format!("<= {most}x"),
            ratio <= most,
        );
    }
    Ok(())
}

/// As ssh does it for each login: connect, name the session and its host key, ask for keys, have the request signed.
fn logins(table: &mut Table, rig: &Rig) -> Result<(), Failure> {
    let add = ["signer", "add", "ca", "--scope", "prod", "--principal", "deploy", "--max-uses"];
    asked(rig.home.terminal([&add[..], &[&USES.to_string()]].concat())?, false)?;
    rig.clock.go_on();
    let pair = Pair::new(rig, "prod/ca", "ed25519")?;
    let host = Host::new()?;
    let login = |side: &Side, times: usize| -> Result<Load, Failure> {
        let (mut each, began) = (Vec::with_capacity(times), Instant::now());
        for _ in 0..times {
            let start = Instant::now();
            let mut ssh = Client::connect(&side.socket)?;
            ssh.bind(&host)?;
            let key = ssh.key()?;
            ssh.sign(&key, &host.login("deploy", &key))?;
            each.push(start.elapsed());
        }
        Ok(Load {
            whole: began.elapsed(),
            done: each.len(),
            each: each.into(),
        })
    };
    let [ours, theirs] = pair.bursts(rig, &login)?;
    let ratio = ours.per_second() / theirs.per_second();
    table.fact(
        "ssh-agent, Ed25519, connect + session-bind + list + sign a login, p50",
        micros(theirs.each.median()),
    );
    let measured = format!("{ratio:.2}x the logins per second ({})", micros(ours.each.median()));
    table.goal(
        "touchlease ssh agent, the same with the key and certificate of a live lease, on the disk in the log before it goes out, against that",
        measured,
        ">= 4.5x",
        ratio >= 4.5,
    );
    Ok(())
}

/// An agent that listens, and a key that it has.
struct Side {
    _agent: Server,
    socket: PathBuf,
    key: Vec<u8>,
}

/// Ours and OpenSSH's.
struct Pair {
    ours: Side,
    theirs: Side,
}

type Work<'a> = &'a dyn Fn(&Side, usize) -> Result<Load, Failure>;

impl Pair {
    /// With a sealed key for SSH signatures.
    fn of_signatures(rig: &Rig, alg: &str, kind: &str) -> Result<Self, Failure> {
        let add = [
            "signer",
            "add",
            alg,
            "--scope",
            "prod",
            "--alg",
            alg,
            "--namespace",
            words::NAMESPACE,
            "--max-uses",
        ];
        asked(rig.home.terminal([&add[..], &[&USES.to_string()]].concat())?, false)?;
        rig.clock.go_on();
        let mut pair = Self::new(rig, &format!("prod/{alg}"), kind)?;
        pair.ours.key = Client::connect(&pair.ours.socket)?.key()?;
        Ok(pair)
    }

    fn new(rig: &Rig, signer: &str, kind: &str) -> Result<Self, Failure> {
        let (agent, socket) = ours(rig, signer)?;
        let ours = Side {
            _agent: agent,
            socket,
            key: vec![],
        };
        let (agent, socket) = theirs(rig.home.path(), kind)?;
        let key = Client::connect(&socket)?.key()?;
        Ok(Self {
            ours,
            theirs: Side {
                _agent: agent,
                socket,
                key,
            },
        })
    }

    /// Loads of each in turn. The first of each lease waits for a touch, and does not count.
    fn bursts(&self, rig: &Rig, work: Work<'_>) -> Result<[Load; 2], Failure> {
        let mut all = [Load::default(), Load::default()];
        for _ in 0..BURSTS {
            for (side, all) in [&self.ours, &self.theirs].into_iter().zip(&mut all) {
                rig.clock.go_on();
                work(side, 1)?;
                all.take_in(work(side, USES - 1)?);
            }
        }
        Ok(all)
    }
}

fn ours(rig: &Rig, signer: &str) -> Result<(Server, PathBuf), Failure> {
    let mut command = rig
        .home
        .command(["ssh", "agent", signer, "--ttl", "10m", "--uses", &USES.to_string()]);
    let mut agent = Server::start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()))?;
    let mut line = String::new();
    BufReader::new(agent.output().ok_or("no pipe")?).read_line(&mut line)?;
    let socket = line.strip_prefix("SSH_AUTH_SOCK=").and_then(|rest| rest.split(';').next());
    let socket = socket.ok_or("touchlease ssh agent does not say where it listens")?.into();
    Ok((agent, socket))
}

/// With a key of this kind that was made for it.
fn theirs(folder: &Path, kind: &str) -> Result<(Server, PathBuf), Failure> {
    let (socket, key) = (folder.join(format!("agent-{kind}")), folder.join(format!("key-{kind}")));
    // The same kind may be measured twice.
    for path in [&socket, &key] {
        let _ = fs::remove_file(path);
    }
    let mut agent = Command::new("ssh-agent");
    agent.arg("-D").arg("-a").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null());
    let mut agent = Server::start(&mut agent)?;
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", kind, "-N", "", "-f"]).arg(&key);
    quiet(keygen)?;
    agent.until("the agent's socket", || socket.exists())?;
    let mut add = Command::new("ssh-add");
    add.arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket);
    quiet(add)?;
    Ok((agent, socket))
}
