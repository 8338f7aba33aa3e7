//! From request to reply without the key's own time, and what goes over the key's wire.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use touchlease::client::{Client, Message};
use touchlease::paths::Places;
use touchlease::wire::request::{GrantAsk, LeaseAsk};
use touchlease::wire::signer::TokenAsk;
use touchlease::wire::{Answer, Call, Reply, Request, VERSION};

use super::idle;
use super::rig::{AUDIENCE, Exchange, Rig};
use super::table::{Failure, Table, Times, millis};

/// This program as the one that asks.
pub const SUBCOMMAND: &str = "ask";

/// The signer of the rig's vault.
const SIGNER: &str = "prod/deployer";

const ROUNDS: usize = 300;
/// Length of a credential id on common keys.
const USUAL_ID: usize = 64;

pub fn rows(table: &mut Table) -> Result<(), Failure> {
    let rig = Rig::new(false, 1)?;
    let mut asker = Asker::start(&rig)?;
    let (mut overhead, mut whole) = (Times::default(), Times::default());
    // The first is cold: INIT, getInfo, and which key it is.
    asker.lease("prod/TOKEN")?;
    asker.give_back()?;
    for _ in 0..ROUNDS {
        rig.clock.go_on();
        rig.own.take();
        let took = asker.lease("prod/TOKEN")?;
        whole.add(took);
        overhead.add(took.saturating_sub(rig.own.take()));
        asker.give_back()?;
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
    frames(table, &rig, "touch-only", 22, Some(13));
    token(table, &rig, &mut asker)?;
    locked(table, &rig, &mut asker)?;
    drop(asker);
    drop(rig);

    let rig = Rig::new(true, 0)?;
    let mut asker = Asker::start(&rig)?;
    // The PIN was typed for `init` and is kept since.
    for _ in 0..2 {
        rig.clock.go_on();
        asker.lease("prod/TOKEN")?;
        asker.give_back()?;
    }
    drop(asker);
    frames(table, &rig, "with PIN", 30, None);
    idle::with_pin(table)
}

/// Frames of the whole operation, and of the assertion in it: what goes before it is done when the key begins to blink. Ids of
/// credentials are the key's choice and stand in both messages, so their length decides.
fn frames(table: &mut Table, rig: &Rig, how: &str, library: u32, goal: Option<usize>) {
    let frames = rig.broker.last_frames();
    let all = frames.sent + frames.received;
    let measured = format!("{all} ({} out, {} in)", frames.sent, frames.received);
    table.fact(&format!("frames of one warm touch, {how} (libfido2's way: {library})"), measured);
    let Exchange {
        request,
        answer,
        credential,
    } = rig.own.last();
    let assertion = packets(request) + packets(answer);
    let measured = format!("{assertion} ({request} bytes out, {answer} in)");
    table.fact(
        &format!("of these the assertion, {how}, with the emulated key's ids of {credential} bytes"),
        measured,
    );
    let more = credential.saturating_sub(USUAL_ID);
    let usual = packets(request - more) + packets(answer - more);
    if let Some(goal) = goal {
        let what = format!("the same with ids of {USUAL_ID} bytes, as common keys have (from the lengths)");
        table.goal(&what, usual.to_string(), &format!("<= {goal}"), usual <= goal);
    }
}

/// A token of a sealed signer: the lease, and its signature. In hardware that signature is the key's own time.
fn token(table: &mut Table, rig: &Rig, asker: &mut Asker) -> Result<(), Failure> {
    let mut overhead = Times::default();
    for _ in 0..ROUNDS {
        rig.clock.go_on();
        rig.own.take();
        let took = asker.lease(SIGNER)?;
        overhead.add(took.saturating_sub(rig.own.take()));
        asker.give_back()?;
    }
    let p50 = overhead.median();
    table.goal(
        "token with the key touched at once, without the key's own time, p50",
        millis(p50),
        "<= 15 ms",
        p50 <= Duration::from_millis(15),
    );
    table.fact("the same, p99", millis(overhead.within(0.99)));
    Ok(())
}

/// Packets of a message (CTAP 2.1, 11.2.4): 57 bytes in the first, 59 in each further one.
fn packets(bytes: usize) -> usize {
    1 + bytes.saturating_sub(57).div_ceil(59)
}

/// Memory that cannot be swapped is scarce (RLIMIT_MEMLOCK, 8 MiB as Debian sets it).
fn locked(table: &mut Table, rig: &Rig, asker: &mut Asker) -> Result<(), Failure> {
    let before = vm_locked()?;
    for secret in ["prod/TOKEN", "prod/MORE_1"] {
        rig.clock.go_on();
        asker.lease(secret)?;
    }
    let each = (vm_locked()? - before) / 2;
    table.fact(
        "locked memory of the daemon, for each live lease of one secret",
        format!("{each} KiB"),
    );
    asker.give_back()?;
    asker.give_back()
}

fn vm_locked() -> Result<i64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let number = field.and_then(|text| text.split_whitespace().next()).ok_or("no VmLck")?;
    Ok(number.parse()?)
}

/// A process that asks: one that a screen of ours does not descend from, as a request is not shown to its own asker.
struct Asker {
    child: Child,
    orders: ChildStdin,
    told: Lines<BufReader<ChildStdout>>,
}

impl Asker {
    fn start(rig: &Rig) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(SUBCOMMAND)
            .arg(rig.home.places()?.runtime)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (orders, told) = (child.stdin.take(), child.stdout.take());
        let told = BufReader::new(told.ok_or("no pipe")?).lines();
        Ok(Self {
            child,
            orders: orders.ok_or("no pipe")?,
            told,
        })
    }

    /// From request to reply.
    fn lease(&mut self, secret: &str) -> Result<Duration, Failure> {
        let nanos = self.order(secret)?;
        Ok(Duration::from_nanos(nanos.parse().map_err(|_| nanos)?))
    }

    /// Ends the newest lease; the daemon has heard of it.
    fn give_back(&mut self) -> Result<(), Failure> {
        let said = self.order("")?;
        if said.is_empty() { Ok(()) } else { Err(said.into()) }
    }

    fn order(&mut self, order: &str) -> Result<String, Failure> {
        writeln!(self.orders, "{order}")?;
        Ok(self.told.next().ok_or("the asker ended")??)
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The asker's side: a secret's name on a line asks for a lease, an empty line gives the newest back; one line answers each.
pub fn serve(runtime: &str) -> Result<(), Failure> {
    let mut held = vec![];
    for order in std::io::stdin().lines() {
        let answer = match &*order? {
            "" => held
                .pop()
                .map_or(Ok(String::new()), |client| give_back(client).map(|()| String::new())),
            secret => lease(runtime, secret).map(|(client, took)| {
                held.push(client);
                took.as_nanos().to_string()
            }),
        };
        println!("{}", answer.unwrap_or_else(|failure| failure.to_string()));
    }
    Ok(())
}

fn lease(runtime: &str, secret: &str) -> Result<(Client, Duration), Failure> {
    let start = Instant::now();
    let mut client = call(runtime, secret)?;
    while let Some(message) = next(&mut client)? {
        if let Message::Reply(reply) = message {
            let took = start.elapsed();
            return granted(*reply).map(|()| (client, took));
        }
    }
    Err("the daemon hung up".into())
}

fn call(runtime: &str, secret: &str) -> Result<Client, Failure> {
    let nowhere = PathBuf::new();
    let places = Places {
        config: nowhere.clone(),
        vault: nowhere.clone(),
        state: nowhere,
        runtime: runtime.into(),
    };
    let client = Client::connect(&places).map_err(|failure| failure.message)?;
    let mut client = client.ok_or("no daemon")?;
    let ask = LeaseAsk {
        with: vec![match secret {
            SIGNER => GrantAsk {
                secret: secret.into(),
                via: "signer".into(),
                env: None,
                token: Some(TokenAsk {
                    aud: AUDIENCE.into(),
                    ..TokenAsk::default()
                }),
                certificate: None,
                signature: None,
            },
            secret => GrantAsk {
                secret: secret.into(),
                via: "env".into(),
                env: Some("TOKEN".into()),
                token: None,
                certificate: None,
                signature: None,
            },
        }],
        deliver: true,
        ..LeaseAsk::default()
    };
    let call = Call {
        v: VERSION,
        vault: None,
        screen: false,
        labels: Default::default(),
        places: None,
        request: Request::Lease(ask),
    };
    client.call(&call).map_err(|failure| failure.message)?;
    Ok(client)
}

fn next(client: &mut Client) -> Result<Option<Message>, Failure> {
    Ok(client.message().map_err(|failure| failure.message)?)
}

fn granted(reply: Reply) -> Result<(), Failure> {
    match reply {
        Reply::Granted(granted) if !granted.joined && granted.values.len() == 1 => Ok(()),
        Reply::Granted(_) => Err("a lease without a touch of its own".into()),
        Reply::Failed(failure) => Err(failure.message.into()),
        other => Err(format!("{other:?}").into()),
    }
}

fn give_back(mut client: Client) -> Result<(), Failure> {
    client.answer(&Answer::Done).map_err(|failure| failure.message)?;
    while next(&mut client)?.is_some() {}
    Ok(())
}
