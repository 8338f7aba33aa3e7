//! Signatures by `touchlease ssh agent` in a live lease against OpenSSH's ssh-agent: the same client says the same to both, and all of it, with the
//! daemon, has one core, as waking another costs more than what is measured.
//!
//! Of a lease that time alone limits (`--uses any`) each signature is in the log before it goes out, and on the disk within a second; with a limit it
//! is on the disk first, which has rows of its own. What is measured are bursts, in turn with the other agent's.

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

/// Of each agent, for each row.
const BURSTS: usize = 20;
/// Signatures of a burst.
const BURST: usize = 400;
/// Of each client of a burst of many, which keep their connections, and such bursts of each agent.
const BURST_OF_EACH: usize = 100;
const BURSTS_OF_MANY: usize = 4;
/// The same where one touch is for 100 at most: the first of them waits for the touch.
const BURST_OF_LIMITED: usize = 99;
/// Logins of a burst, with a limit or without.
const LOGINS: usize = BURST_OF_LIMITED;

/// What ends a lease besides its time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// Nothing.
    Time,
    /// 100 uses.
    Uses,
}

impl Limit {
    /// As `--uses` has it.
    fn uses(self) -> &'static str {
        match self {
            Self::Time => "any",
            Self::Uses => "100",
        }
    }

    /// When a use is on the disk.
    fn said(self) -> &'static str {
        match self {
            Self::Time => "that time alone limits, in the log before it goes out",
            Self::Uses => "with a limit of uses, on the disk in the log before it goes out",
        }
    }
}

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
    let ecdsa = Pair::of_signatures(&rig, "es256", "ecdsa", Limit::Time)?;
    one_client(table, &rig, &ecdsa, "ECDSA P-256", Goal::AtMost(0.15))?;
    for (clients, tail) in [(8, None), (64, Some(0.15))] {
        many_clients(table, &rig, &ecdsa, clients, tail)?;
    }
    drop(ecdsa);
    let eddsa = Pair::of_signatures(&rig, "eddsa", "ed25519", Limit::Time)?;
    one_client(table, &rig, &eddsa, "Ed25519", Goal::Throughput(12.0))?;
    drop(eddsa);
    logins(table, &rig, Limit::Time, Goal::Throughput(4.5))?;
    // What the disk adds.
    let limited = Pair::new(&rig, "prod/es256", "ecdsa", Limit::Uses)?.with_key()?;
    one_client(table, &rig, &limited, "ECDSA P-256", Goal::None)?;
    drop(limited);
    logins(table, &rig, Limit::Uses, Goal::None)?;
    table.version("ssh-agent", version("ssh", "-V").unwrap_or_default());
    Ok(())
}

enum Goal {
    /// Of the other's time.
    AtMost(f64),
    /// Of the other's signatures in the same time.
    Throughput(f64),
    /// There is none.
    None,
}

fn one_client(table: &mut Table, rig: &Rig, pair: &Pair, what: &str, goal: Goal) -> Result<(), Failure> {
    let size = match pair.limit {
        Limit::Time => BURST,
        Limit::Uses => BURST_OF_LIMITED,
    };
    let [ours, theirs] = pair.bursts(rig, BURSTS, size, &|side, signatures| burst(side, 1, signatures))?;
    if pair.limit == Limit::Time {
        let p50 = micros(theirs.each.median());
        table.fact(&format!("ssh-agent, {what}, one client, one core, p50"), p50);
    }
    let name = format!(
        "touchlease ssh agent, an SSH signature by a sealed {what} key in a live lease {}, against that",
        pair.limit.said()
    );
    compared(table, &name, [&ours, &theirs], "signatures", goal);
    Ok(())
}

fn compared(table: &mut Table, name: &str, [ours, theirs]: [&Load; 2], what: &str, goal: Goal) {
    let mine = micros(ours.each.median());
    let (slower, faster) = (ours.each.over(&theirs.each), ours.per_second() / theirs.per_second());
    match goal {
        Goal::AtMost(most) => table.goal(name, format!("{slower:.2}x ({mine})"), &format!("<= {most}x"), slower <= most),
        Goal::Throughput(least) => {
            let measured = format!("{faster:.2}x the {what} per second ({mine})");
            table.goal(name, measured, &format!(">= {least}x"), faster >= least);
        }
        Goal::None => table.fact(name, format!("{slower:.2}x ({mine})")),
    }
}

fn many_clients(table: &mut Table, rig: &Rig, pair: &Pair, clients: usize, tail: Option<f64>) -> Result<(), Failure> {
    let size = clients * BURST_OF_EACH;
    let [ours, theirs] = pair.bursts(rig, BURSTS_OF_MANY, size, &|side, signatures| burst(side, clients, signatures))?;
    let ratio = ours.per_second() / theirs.per_second();
    let measured = format!(
        "{ratio:.2}x ({:.0} against {:.0} per second)",
        ours.per_second(),
        theirs.per_second()
    );
    let what = format!("the same with ECDSA P-256 and {clients} clients, {BURST_OF_EACH} signatures of each, signatures per second");
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
fn logins(table: &mut Table, rig: &Rig, limit: Limit, goal: Goal) -> Result<(), Failure> {
    if limit == Limit::Time {
        let add = [
            "signer",
            "add",
            "ca",
            "--scope",
            "prod",
            "--principal",
            "deploy",
            "--max-uses",
            "any",
        ];
        asked(rig.home.terminal(add)?, false)?;
        rig.clock.go_on();
    }
    let pair = Pair::new(rig, "prod/ca", "ed25519", limit)?;
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
    let [ours, theirs] = pair.bursts(rig, BURSTS, LOGINS, &login)?;
    if limit == Limit::Time {
        table.fact(
            "ssh-agent, Ed25519, connect + session-bind + list + sign a login, p50",
            micros(theirs.each.median()),
        );
    }
    let name = format!(
        "touchlease ssh agent, the same with the key and certificate of a live lease {}, against that",
        limit.said()
    );
    compared(table, &name, [&ours, &theirs], "logins", goal);
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
    limit: Limit,
}

type Work<'a> = &'a dyn Fn(&Side, usize) -> Result<Load, Failure>;

impl Pair {
    /// With a sealed key for SSH signatures, which is made, and whose rules leave it to time how often it signs.
    fn of_signatures(rig: &Rig, alg: &str, kind: &str, limit: Limit) -> Result<Self, Failure> {
        let add = ["signer", "add", alg, "--scope", "prod", "--alg", alg];
        let may = ["--namespace", words::NAMESPACE, "--max-uses", "any"];
        asked(rig.home.terminal([&add[..], &may].concat())?, false)?;
        rig.clock.go_on();
        Self::new(rig, &format!("prod/{alg}"), kind, limit)?.with_key()
    }

    /// The key that is listed, where it is listed before anything is asked for.
    fn with_key(mut self) -> Result<Self, Failure> {
        self.ours.key = Client::connect(&self.ours.socket)?.key()?;
        Ok(self)
    }

    fn new(rig: &Rig, signer: &str, kind: &str, limit: Limit) -> Result<Self, Failure> {
        let (agent, socket) = ours(rig, signer, limit)?;
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
            limit,
        })
    }

    /// Loads of so many of each in turn. The first of each lease waits for a touch, and does not count.
    fn bursts(&self, rig: &Rig, rounds: usize, size: usize, work: Work<'_>) -> Result<[Load; 2], Failure> {
        let mut all = [Load::default(), Load::default()];
        for round in 0..rounds {
            for (side, all) in [&self.ours, &self.theirs].into_iter().zip(&mut all) {
                if round == 0 || self.limit == Limit::Uses {
                    rig.clock.go_on();
                    work(side, 1)?;
                }
                all.take_in(work(side, size)?);
            }
        }
        Ok(all)
    }
}

fn ours(rig: &Rig, signer: &str, limit: Limit) -> Result<(Server, PathBuf), Failure> {
    let mut command = rig.home.command(["ssh", "agent", signer, "--ttl", "10m", "--uses", limit.uses()]);
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
