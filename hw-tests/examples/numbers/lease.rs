//! From request to reply without the key's own time, and what goes over the key's wire.

use std::time::{Duration, Instant};

use touchlease::client::{Client, Message};
use touchlease::wire::request::{GrantAsk, LeaseAsk};
use touchlease::wire::{Answer, Call, Event, Reply, Request, VERSION};

use super::idle;
use super::rig::{PIN, Rig};
use super::table::{Failure, Table, Times, millis};

const ROUNDS: usize = 300;

pub fn rows(table: &mut Table) -> Result<(), Failure> {
    let rig = Rig::new(false, 1)?;
    let (mut overhead, mut whole) = (Times::default(), Times::default());
    drop(lease(&rig, "prod/TOKEN")?);
    for _ in 0..ROUNDS {
        rig.clock.go_on();
        rig.own.take();
        let start = Instant::now();
        let held = lease(&rig, "prod/TOKEN")?;
        let took = start.elapsed();
        whole.add(took);
        overhead.add(took.saturating_sub(rig.own.take()));
        give_back(held)?;
    }
    let (p50, p99) = (overhead.median(), overhead.within(0.99));
    table.goal(
        "lease, request to reply, without the key's own time, p50",
        millis(p50),
        "<= 10 ms",
        p50 <= Duration::from_millis(10),
    );
    table.goal("the same, p99", millis(p99), "<= 25 ms", p99 <= Duration::from_millis(25));
    table.fact("the same with the emulated key's time, p50", millis(whole.median()));
    frames(table, &rig, "touch-only", 13);
    locked(table, &rig)?;
    drop(rig);

    let mut rig = Rig::new(true, 0)?;
    // The first is cold: INIT and getInfo; the PIN was kept by `init`, or is typed now.
    for _ in 0..2 {
        rig.clock.go_on();
        give_back(lease_with_pin(&mut rig)?)?;
    }
    frames(table, &rig, "with PIN", 30);
    idle::with_pin(table)
}

fn frames(table: &mut Table, rig: &Rig, how: &str, goal: u32) {
    let frames = rig.broker.last_frames();
    let all = frames.sent + frames.received;
    let library = if goal == 13 { "libfido2's way: 22" } else { "libfido2's way: 30" };
    table.goal(
        &format!("frames on the wire, one warm touch, {how} ({library})"),
        format!("{all} ({} out, {} in)", frames.sent, frames.received),
        &format!("<= {goal}"),
        all <= goal,
    );
}

/// Memory that cannot be swapped is scarce (RLIMIT_MEMLOCK, 8 MiB as Debian sets it).
fn locked(table: &mut Table, rig: &Rig) -> Result<(), Failure> {
    let before = vm_locked()?;
    rig.clock.go_on();
    let one = lease(rig, "prod/TOKEN")?;
    rig.clock.go_on();
    let other = lease(rig, "prod/MORE_1")?;
    let each = (vm_locked()? - before) / 2;
    table.fact(
        "locked memory of the daemon, for each live lease of one secret",
        format!("{each} KiB"),
    );
    give_back(one)?;
    give_back(other)
}

fn vm_locked() -> Result<i64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let number = field.and_then(|text| text.split_whitespace().next()).ok_or("no VmLck")?;
    Ok(number.parse()?)
}

fn lease_with_pin(rig: &mut Rig) -> Result<Client, Failure> {
    let mut client = call(rig, "prod/TOKEN")?;
    loop {
        match next(&mut client)? {
            Some(Message::Reply(reply)) => return granted(*reply, client),
            Some(Message::Event(Event::Touch { state, .. })) if format!("{state:?}").contains("PinNeeded") => {
                rig.watch.expect("PIN for")?;
                rig.watch.type_in(&format!("{PIN}\n"))?;
            }
            Some(_) => {}
            None => return Err("the daemon hung up".into()),
        }
    }
}

/// A lease with its values, held by the connection that comes back.
fn lease(rig: &Rig, secret: &str) -> Result<Client, Failure> {
    let mut client = call(rig, secret)?;
    loop {
        match next(&mut client)? {
            Some(Message::Reply(reply)) => return granted(*reply, client),
            Some(_) => {}
            None => return Err("the daemon hung up".into()),
        }
    }
}

fn call(rig: &Rig, secret: &str) -> Result<Client, Failure> {
    let mut client = connected(rig)?;
    let ask = LeaseAsk {
        with: vec![GrantAsk {
            secret: secret.into(),
            via: "env".into(),
            env: "TOKEN".into(),
        }],
        deliver: true,
        ..LeaseAsk::default()
    };
    let call = Call {
        v: VERSION,
        vault: None,
        screen: false,
        request: Request::Lease(ask),
    };
    client.call(&call).map_err(|failure| failure.message)?;
    Ok(client)
}

fn connected(rig: &Rig) -> Result<Client, Failure> {
    let client = Client::connect(&rig.home.places()?).map_err(|failure| failure.message)?;
    client.ok_or_else(|| "no daemon".into())
}

fn next(client: &mut Client) -> Result<Option<Message>, Failure> {
    Ok(client.message().map_err(|failure| failure.message)?)
}

fn granted(reply: Reply, client: Client) -> Result<Client, Failure> {
    match reply {
        Reply::Granted(granted) if !granted.joined && granted.values.len() == 1 => Ok(client),
        Reply::Granted(_) => Err("a lease without a touch of its own".into()),
        Reply::Failed(failure) => Err(failure.message.into()),
        other => Err(format!("{other:?}").into()),
    }
}

/// Ends it, and waits until the daemon has heard.
fn give_back(mut client: Client) -> Result<(), Failure> {
    client.answer(&Answer::Done).map_err(|failure| failure.message)?;
    while next(&mut client)?.is_some() {}
    Ok(())
}
