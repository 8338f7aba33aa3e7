//! Requests through the proxy of `touchlease run`, each with a credential that is put in, asked of the daemon and recorded, against proxies that put one
//! in by their configuration, in turn. The same client and the same host serve all. A request that is repeated is asked of the daemon once, and counted;
//! one with a path of its own is asked, so both are measured.
//!
//! Without TLS everything has one core. With it each runs where the system puts it, as for somebody who has started it.

mod client;
mod origin;
mod peers;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use touchlease::config::Config;

use self::client::{Door, Form, anew, kept, trusting};
use self::origin::{Authority, LARGE, LARGE_BYTES, OPEN, OWN, SMALL, SMALL_BYTES, VALUE};
use self::peers::{Peer, Place, Start};
use super::cores::Cores;
use super::rig::{Rig, asked};
use super::server::Server;
use super::table::{Failure, Load, Table, micros, one_line};

/// Stretches of each way.
const ROUNDS: usize = 6;
const STRETCH: Duration = Duration::from_millis(400);
/// Clients at one time, of small answers and of large ones.
const MANY: usize = 32;
const FEW: usize = 8;

pub fn rows(table: &mut Table) -> Result<(), Failure> {
    let cores = Cores::find()?;
    let measured = on(&cores, table);
    cores.on_all()?;
    measured
}

fn on(cores: &Cores, table: &mut Table) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("touchlease-peers-").tempdir()?;
    // Some of them become another user.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let (host, stand_in) = (
        Authority::new(folder.path(), "host-ca")?,
        Authority::new(folder.path(), "stand-in-ca")?,
    );
    let tls = origin::serve(Some(&host))?;
    cores.on_the_first()?;
    let plain = origin::serve(None)?;
    let place = Place {
        folder: folder.path(),
        plain,
        tls,
        host: &host,
        stand_in: &stand_in,
    };

    without_tls(table, &Ours::start(&host, plain, tls)?, &place)?;
    cores.on_all()?;
    let ours = Ours::start(&host, plain, tls)?;
    let idle = ours.resident()?;
    let mut all = started(
        table,
        &place,
        &[
            ("hudsucker", peers::hudsucker),
            ("squid", peers::squid),
            ("mitmproxy", peers::mitmproxy),
        ],
    );
    let direct = Door {
        tls: Some(trusting(&host.certificate)?),
        ..direct(tls)
    };
    small(table, &direct, &ours, &mut all)?;
    new_connections(table, &ours, &mut all)?;
    large(table, &direct, &ours, &mut all)?;
    memory(table, &ours, &all, idle)
}

fn direct(port: u16) -> Door {
    let authorization = Some(format!("Bearer {VALUE}"));
    Door {
        port,
        host: port,
        form: Form::Origin,
        bearer: None,
        authorization,
        tls: None,
    }
}

/// The proxy of a command that waits.
struct Ours {
    _command: Server,
    _rig: Rig,
    worker: u32,
    plain: Door,
    tls: Door,
}

/// What the command says of its environment, and that it goes on until it has no input.
const SAYS: &str = r#"printf '%s\n' "$HTTP_PROXY" "$SSL_CERT_FILE" "$PLAIN" "$TLS"; exec cat"#;

impl Ours {
    fn start(host: &Authority, plain: u16, tls: u16) -> Result<Self, Failure> {
        let rig = Rig::with(
            false,
            0,
            Config {
                proxy_roots: Some(host.certificate.clone()),
                ..Config::default()
            },
        )?;
        let value = rig.home.work().join("credential");
        fs::write(&value, VALUE)?;
        let value = value.display().to_string();
        for (name, host) in [
            ("prod/PLAIN", format!("http://localhost:{plain}")),
            ("prod/TLS", format!("localhost:{tls}")),
        ] {
            asked(rig.home.terminal(["put", name, "--from-file", &value, "--host", &host])?, false)?;
            rig.clock.go_on();
        }
        let with = ["--with", "PLAIN=prod/PLAIN", "--with", "TLS=prod/TLS"];
        let mut run = rig
            .home
            .command([&["run", "--ttl", "1h"], &with[..], &["--", "sh", "-c", SAYS]].concat());
        let mut command = Server::start(run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()))?;
        let mut said = BufReader::new(command.output().ok_or("no pipe")?).lines();
        let mut next = || -> Result<String, Failure> { Ok(said.next().ok_or("the command says nothing")??) };
        let (proxy, roots, in_plain, in_tls) = (next()?, next()?, next()?, next()?);
        let (pair, address) = proxy
            .strip_prefix("http://")
            .and_then(|rest| rest.split_once('@'))
            .ok_or("no proxy")?;
        let port = address.trim_end_matches('/').rsplit(':').next().unwrap_or_default().parse()?;
        let bearer = Some(format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes())));
        let authorization = |mark: &str| Some(format!("Bearer {mark}"));
        let door = Door {
            port,
            host: plain,
            form: Form::Absolute,
            bearer,
            authorization: authorization(&in_plain),
            tls: None,
        };
        let tls = Door {
            host: tls,
            form: Form::Tunnel,
            authorization: authorization(&in_tls),
            tls: Some(trusting(roots.as_ref())?),
            ..door.clone()
        };
        Ok(Self {
            _command: command,
            _rig: rig,
            worker: worker()?,
            plain: door,
            tls,
        })
    }

    /// Of the process that all requests go through, in KiB.
    fn resident(&self) -> Result<u64, Failure> {
        super::idle::resident(self.worker)
    }
}

/// The proxy's process, which the daemon in this one has started.
fn worker() -> Result<u32, Failure> {
    let of_proxy = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|word| word == touchlease::deliver::proxy::protocol::SUBCOMMAND.as_bytes())
    };
    let found = super::idle::children(std::process::id()).into_iter().find(of_proxy);
    Ok(found.ok_or("no process of the proxy")?)
}

/// Those that there are; of each that is not, why.
fn started(table: &mut Table, place: &Place<'_>, wanted: &[(&str, Start)]) -> Vec<Peer> {
    let mut all = vec![];
    for (name, start) in wanted {
        match start(place) {
            Ok(peer) => {
                table.version(peer.name, peer.version.clone());
                all.push(peer);
            }
            Err(failure) => table.missing(&format!("{name}, requests through it"), &one_line(&failure)),
        }
    }
    all
}

type Work<'a> = &'a dyn Fn(&Door) -> Result<Load, Failure>;

/// What was measured in turn: of each way, and of each peer that went on to the end.
struct Turns {
    own: Vec<Load>,
    others: Vec<(&'static str, Load)>,
}

/// Stretches of these ways in turn, and of the peers' after them. A peer that fails is one that is missing from then on.
fn in_turn(table: &mut Table, ways: &[&Door], peers: &mut Vec<Peer>, work: Work<'_>) -> Result<Turns, Failure> {
    let mut own = vec![Load::default(); ways.len()];
    let mut others: Vec<_> = peers.iter().map(|peer| (peer.name, Load::default())).collect();
    for _ in 0..ROUNDS {
        for (way, load) in ways.iter().zip(&mut own) {
            load.take_in(work(way)?);
        }
        let mut failed = vec![];
        for (peer, (name, load)) in peers.iter().zip(&mut others) {
            match work(&peer.door) {
                Ok(more) => load.take_in(more),
                Err(failure) => {
                    table.missing(&format!("{name}, requests through it"), &one_line(&failure));
                    failed.push(*name);
                }
            }
        }
        peers.retain(|peer| !failed.contains(&peer.name));
        others.retain(|(name, _)| !failed.contains(name));
    }
    Ok(Turns { own, others })
}

fn without_tls(table: &mut Table, ours: &Ours, place: &Place<'_>) -> Result<(), Failure> {
    let mut all = started(table, place, &[("nginx", peers::nginx), ("haproxy", peers::haproxy)]);
    let ways = [&direct(place.plain), &ours.plain];
    let Turns { own, others } = in_turn(table, &ways, &mut all, &|door| kept(door, SMALL, SMALL_BYTES, 1, STRETCH))?;
    let base = own[0].each.median();
    let added = |load: &Load| load.each.median().saturating_sub(base);
    table.fact(
        "1 KiB from the host itself, without TLS, one connection that is kept, one core, p50",
        micros(base),
    );
    for (name, load) in &others {
        table.peer(&format!("the same through {name}, added"), micros(added(load)));
    }
    let what =
        "the same request repeated through touchlease's proxy, with the credential put in and each use recorded, added, against nginx";
    let nginx = others.iter().find(|(name, _)| *name == "nginx").map(|(_, load)| added(load));
    if let Some(nginx) = nginx {
        let ratio = added(&own[1]).as_secs_f64() / nginx.as_secs_f64();
        table.goal(what, format!("{ratio:.2}x ({})", micros(added(&own[1]))), "<= 0.9x", ratio <= 0.9);
    }
    let without = Door {
        authorization: None,
        ..ours.plain.clone()
    };
    let Turns { own, .. } = in_turn(table, &[&ours.plain], &mut vec![], &|door| kept(door, OWN, SMALL_BYTES, 1, STRETCH))?;
    table.fact(
        "the same with the credential, each request with a path of its own, added",
        micros(added(&own[0])),
    );
    let Turns { own, .. } = in_turn(table, &[&without], &mut vec![], &|door| kept(door, OPEN, SMALL_BYTES, 1, STRETCH))?;
    table.fact("the same without a credential, added", micros(added(&own[0])));

    let Turns { own, others } = in_turn(table, &ways, &mut all, &|door| kept(door, SMALL, SMALL_BYTES, MANY, STRETCH))?;
    table.fact(
        &format!("1 KiB from the host itself, without TLS, {MANY} connections, one core"),
        per_second(&own[0]),
    );
    rates(
        table,
        &own[1],
        &others,
        "request repeated through touchlease's proxy, with the credential",
        &[("haproxy", 1.0)],
    );
    let Turns { own, .. } = in_turn(table, &[&ours.plain], &mut vec![], &|door| {
        kept(door, OWN, SMALL_BYTES, MANY, STRETCH)
    })?;
    table.fact(
        "the same with the credential, each request with a path of its own",
        per_second(&own[0]),
    );
    let Turns { own, .. } = in_turn(table, &[&without], &mut vec![], &|door| {
        kept(door, OPEN, SMALL_BYTES, MANY, STRETCH)
    })?;
    table.fact("the same without a credential", per_second(&own[0]));
    Ok(())
}

/// Requests per second against each peer's; those with a goal have to be so many times as fast.
fn rates(table: &mut Table, ours: &Load, others: &[(&'static str, Load)], what: &str, goals: &[(&str, f64)]) {
    for (name, load) in others {
        table.peer(&format!("the same through {name}"), per_second(load));
    }
    for (name, least) in goals {
        let Some((_, theirs)) = others.iter().find(|(other, _)| other == name) else {
            continue;
        };
        let ratio = ours.per_second() / theirs.per_second();
        let measured = format!("{ratio:.2}x ({})", per_second(ours));
        table.goal(
            &format!("the same {what}, against {name}"),
            measured,
            &format!(">= {least}x"),
            ratio >= *least,
        );
    }
}

fn per_second(load: &Load) -> String {
    format!("{:.0} per second", load.per_second())
}

fn small(table: &mut Table, direct: &Door, ours: &Ours, peers: &mut Vec<Peer>) -> Result<(), Failure> {
    let Turns { own, others } = in_turn(table, &[direct, &ours.tls], peers, &|door| {
        kept(door, SMALL, SMALL_BYTES, MANY, STRETCH)
    })?;
    table.fact(
        &format!("1 KiB from the host itself, over TLS, {MANY} connections that are kept"),
        per_second(&own[0]),
    );
    let goals = [("hudsucker", 1.4), ("squid", 3.0), ("mitmproxy", 25.0)];
    rates(
        table,
        &own[1],
        &others,
        "request repeated through touchlease's proxy, looked into, with the credential",
        &goals,
    );
    if let Some((_, theirs)) = others.iter().find(|(name, _)| *name == "hudsucker") {
        let (mine, other) = (own[1].each.within(0.99), theirs.each.within(0.99));
        let ratio = mine.as_secs_f64() / other.as_secs_f64();
        let measured = format!("{ratio:.2}x ({} against {})", micros(mine), micros(other));
        table.goal("p99 of that, against hudsucker", measured, "<= 0.7x", ratio <= 0.7);
    }
    Ok(())
}

fn new_connections(table: &mut Table, ours: &Ours, peers: &mut Vec<Peer>) -> Result<(), Failure> {
    let Turns { own, others } = in_turn(table, &[&ours.tls], peers, &|door| anew(door, SMALL, SMALL_BYTES, STRETCH))?;
    for (name, load) in &others {
        table.peer(
            &format!("1 KiB over TLS through {name}, each over a connection of its own"),
            per_second(load),
        );
    }
    let what = "the same through touchlease's proxy, looked into, with the credential";
    match others.iter().find(|(name, _)| *name == "squid") {
        Some((_, squid)) => {
            let ratio = own[0].per_second() / squid.per_second();
            let measured = format!("{ratio:.2}x ({})", per_second(&own[0]));
            table.goal(&format!("{what}, against squid"), measured, ">= 1.5x", ratio >= 1.5);
        }
        None => table.fact(what, per_second(&own[0])),
    }
    Ok(())
}

fn large(table: &mut Table, direct: &Door, ours: &Ours, peers: &mut Vec<Peer>) -> Result<(), Failure> {
    let Turns { own, others } = in_turn(table, &[direct, &ours.tls], peers, &|door| {
        kept(door, LARGE, LARGE_BYTES, FEW, STRETCH)
    })?;
    let share = |load: &Load| load.per_second() / own[0].per_second();
    table.fact(
        &format!("1 MiB from the host itself, over TLS, {FEW} connections"),
        format!("{:.0} MiB/s", own[0].per_second()),
    );
    for (name, load) in &others {
        table.peer(&format!("the same through {name}, share of that"), format!("{:.2}", share(load)));
    }
    let ours = share(&own[1]);
    let what = "the same through touchlease's proxy, looked into and looked through for the credential, share of that";
    table.goal(what, format!("{ours:.2}"), ">= 0.8", ours >= 0.8);
    Ok(())
}

fn memory(table: &mut Table, ours: &Ours, peers: &[Peer], idle: u64) -> Result<(), Failure> {
    for peer in peers {
        let resident = super::idle::resident(peer.server.pid())?;
        table.peer(&format!("{}, resident after all that", peer.name), mib(resident));
    }
    let loaded = ours.resident()?;
    table.goal(
        "the proxy's process, resident after all that",
        mib(loaded),
        "<= 20 MB",
        loaded * 1024 <= 20_000_000,
    );
    table.goal("the same before the first request", mib(idle), "<= 6 MB", idle * 1024 <= 6_000_000);
    Ok(())
}

fn mib(kib: u64) -> String {
    format!("{:.1} MB", kib as f64 * 1.024e-3)
}
