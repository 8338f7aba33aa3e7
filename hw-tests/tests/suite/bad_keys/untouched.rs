//! A key that nobody touches.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use hw_tests::{
    harness::Terminal,
    key::{KeyHandle, PIN},
};
use rustix::net::{RecvFlags, recv};
use serde_json::{Value, json};
use touchlease::config::Config;

use crate::lab::{Dice, Lab, PATIENCE, orphan};

/// Steps of the everyday run, and of the long one.
const STEPS: u32 = 3000;
const LONG: u32 = 1_000_000;
const SEED: u64 = 0x7410_0001;
/// Steps after which the PIN is typed ahead again: what is missing is always the touch alone.
const PIN_EVERY: u32 = 20_000;
/// Steps after which the daemon is waited for: more than 256 connections at a time it hangs up on.
const CATCH_UP: u32 = 200;
/// What no client may be told, and no value may appear as.
const NEVER_SAID: [&str; 12] = [
    "\"granted\"",
    "\"changed\"",
    "\"key_added\"",
    "\"key_removed\"",
    "\"rotated\"",
    "\"recovered\"",
    "\"key_admitted\"",
    "\"scope_added\"",
    "\"reply\":\"accepted\"",
    "\"accepted\":true",
    "correct-horse",
    "Y29ycmVjdC1ob3JzZ",
];

fn lease(dice: &mut Dice) -> Value {
    if dice.roll(2) == 0 {
        return good_lease(dice.roll(1000));
    }
    let with: Vec<_> = (0..dice.roll(3))
        .map(|_| {
            let secret = dice.pick(&["prod/TOKEN", "prod/TOKEN", "prod/OTHER", "dev/TOKEN", "prod/../TOKEN"]);
            json!({ "secret": secret, "via": dice.pick(&["env", "env", "file", "proxy"]), "env": dice.pick(&["TOKEN", "TOKEN", "PATH", "A=B"]) })
        })
        .collect();
    json!({
        "do": "lease", "with": with, "ttl": dice.roll(40_000), "uses": 1 + dice.roll(3), "command": ["sh"],
        "deliver": dice.roll(2) == 0, "join_only": dice.roll(4) == 0,
    })
}

/// A lease that is granted for a touch.
fn good_lease(number: u64) -> Value {
    let with = json!([{ "secret": "prod/TOKEN", "via": "env", "env": format!("TOKEN_{number}") }]);
    json!({ "do": "lease", "with": with, "ttl": 60 + number, "command": ["sh"], "deliver": true })
}

fn request(dice: &mut Dice) -> Value {
    let id = format!("{:032x}", dice.roll(4));
    match dice.roll(23) {
        0..6 => lease(dice),
        6 => json!({ "do": "lease_list" }),
        7 => json!({ "do": "lease_show", "id": id }),
        8 => json!({ "do": "lease_end", "id": id }),
        9 => json!({ "do": "lease_revoke", "id": null }),
        10 => json!({ "do": "watch" }),
        11 => json!({ "do": "unlock", "key": "blue", "keep": 60 }),
        12 => json!({ "do": "remove", "secrets": ["prod/TOKEN"] }),
        13 => json!({ "do": "edit", "secret": "prod/TOKEN", "rules": { "deliveries": ["env"], "hosts": [] } }),
        14 => json!({ "do": "key_remove", "name": "blue" }),
        15 => json!({ "do": "key_add", "name": "mine", "touch_only": true }),
        16 => json!({ "do": "accept_clock" }),
        17 => json!({ "do": "rotate", "scopes": ["prod"] }),
        18 => json!({ "do": "scope_add", "name": "mine" }),
        19 => json!({ "do": "key_admit", "name": "blue" }),
        20 => json!({ "do": "scope_remove", "name": "dev" }),
        21 => json!({ "do": "recover", "name": "mine", "touch_only": true, "code": "QUJDRA==", "lost": ["blue"] }),
        _ => json!({ "do": "list", "scope": null }),
    }
}

/// What a client may say on a connection that waits: about its own prompt, and about others'.
fn answer(dice: &mut Dice, prompts: u64) -> Value {
    let prompt = prompts.saturating_sub(3) + dice.roll(6);
    match dice.roll(5) {
        4 => json!({ "answer": "hidden", "prompt": prompt }),
        0 => json!({ "answer": "shown", "prompt": prompt }),
        1 => json!({ "answer": "pin", "prompt": prompt, "key": "blue", "pin": "AAAA" }),
        2 => json!({ "answer": "done" }),
        _ => json!({ "answer": "deny", "prompt": prompt }),
    }
}

/// A client of the socket that says what it likes.
struct Client {
    socket: UnixStream,
    heard: Vec<u8>,
}

impl Client {
    fn call(path: &str, request: &Value, screen: bool) -> Self {
        let socket = UnixStream::connect(path).unwrap();
        let mut client = Self { socket, heard: vec![] };
        client.say(&json!({ "v": 1, "screen": screen, "request": request }));
        client
    }

    fn say(&mut self, line: &Value) {
        // The daemon may have hung up on a line that it did not like.
        let _ = self.socket.write_all(format!("{line}\n").as_bytes());
    }

    /// Takes what has come; how many lines of it are new. Nothing of it is what nobody may be told.
    fn listen(&mut self, step: u32) -> usize {
        let before = self.heard.len();
        let mut chunk = [0; 4096];
        while let Ok((n @ 1.., _)) = recv(&self.socket, &mut chunk, RecvFlags::DONTWAIT) {
            self.heard.extend(&chunk[..n]);
        }
        let text = String::from_utf8_lossy(&self.heard);
        for said in NEVER_SAID {
            assert!(!text.contains(said), "step {step}: {text}");
        }
        self.heard[before..].iter().filter(|byte| **byte == b'\n').count()
    }
}

/// Waits until the daemon has come to this moment's connections.
fn catch_up(path: &str) {
    let status = Client::call(path, &json!({ "do": "status" }), false);
    status.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let lines = BufReader::new(status.socket).lines().map(Result::unwrap);
    assert!(lines.into_iter().any(|line| line.starts_with("{\"reply\":\"status\"")));
}

/// A vault on a key with a PIN, and a screen that counts for every request of this process.
fn vault() -> (Lab, Terminal) {
    let mut config = Config::default();
    config.limits.prompt = Duration::from_secs(10);
    let lab = Lab::empty(config);
    lab.key.set_pin().unwrap();
    typed(&lab, &["init", "--key", "blue"]);
    lab.put("prod/TOKEN", b"correct-horse-battery", &[]);
    lab.key.never().unwrap();
    let mut screen = Terminal::start(&orphan(&lab.home.command(["watch"]))).unwrap();
    screen.expect("requests appear here").unwrap();
    (lab, screen)
}

/// A command at a terminal where the person types the PIN.
fn typed(lab: &Lab, arguments: &[&str]) {
    let mut screen = lab.home.terminal(arguments).unwrap();
    screen.expect(": ").unwrap();
    screen.type_in(&format!("{PIN}\n")).unwrap();
    let (status, shown) = screen.finish().unwrap();
    assert!(status.success(), "{shown}");
}

#[test]
fn t01_no_sequence_of_requests_issues_anything_without_a_touch() {
    issues_nothing(STEPS);
}

#[test]
#[ignore = "long"]
fn t01_no_million_of_requests_issues_anything_without_a_touch() {
    issues_nothing(LONG);
}

fn issues_nothing(of: u32) {
    let (lab, _watch) = vault();
    let touches = lab.key.counts().unwrap().given;
    let before = (
        lab.agent_to_its_end(&["--json", "list"]).stdout,
        lab.count("approved"),
        lab.count("change"),
    );
    let path = lab.socket();
    let mut dice = Dice(SEED);
    // The first request is a good one, and the key waits for its touch as the rest begins.
    let mut clients = vec![Client::call(&path, &good_lease(0), false)];
    assert!(lab.key.await_asked(PATIENCE).unwrap());
    let (mut steps, mut answered, mut prompts) = (0, 0, 0);
    for step in 0..of {
        if step % CATCH_UP == 0 {
            catch_up(&path);
        }
        if step % PIN_EVERY == PIN_EVERY - 1 {
            clients.clear();
            catch_up(&path);
            lab.clock.suspend(Duration::from_secs(700));
            typed(&lab, &["unlock", "blue", "--keep", "12h"]);
        }
        let at = usize::try_from(dice.roll(clients.len().max(1) as u64)).unwrap();
        match dice.roll(33) {
            0..8 if clients.len() < 12 => {
                let request = request(&mut dice);
                clients.push(Client::call(&path, &request, dice.roll(2) == 0));
            }
            8..14 if !clients.is_empty() => {
                answered += clients[at].listen(step);
                clients.swap_remove(at);
            }
            14..20 if !clients.is_empty() => {
                let answer = answer(&mut dice, prompts);
                clients[at].say(&answer);
            }
            // Time passes; now and then so much of it that ten more prompts may open.
            20 if dice.roll(30) == 0 => lab.clock.suspend(Duration::from_secs(700)),
            20 => lab.clock.suspend(dice.millis(3000)),
            _ => {
                // The daemon has a moment to work in.
                std::thread::sleep(Duration::from_micros(300));
                answered += clients.iter_mut().map(|client| client.listen(step)).sum::<usize>();
                prompts = prompts.max(newest_prompt(&clients));
            }
        }
        steps += 1;
    }
    drop(clients);
    assert_eq!(lab.key.counts().unwrap().given, touches);
    let after = (
        lab.agent_to_its_end(&["--json", "list"]).stdout,
        lab.count("approved"),
        lab.count("change"),
    );
    assert_eq!(before, after);
    assert_eq!(lab.status()["leases"], 0);
    let (shown, asked) = (lab.count("shown"), lab.key.counts().unwrap().asked);
    println!("T01: {steps} of {of} steps, 0 leases; {answered} lines heard, {shown} prompts shown, {asked} touches asked for");
    assert!(answered > of as usize / 20, "{answered} lines heard");
    assert!(shown > of as usize / 500, "{shown} prompts shown");
}

/// The highest number of a prompt that a client was told of.
fn newest_prompt(clients: &[Client]) -> u64 {
    let numbers = clients.iter().filter_map(|client| {
        let text = String::from_utf8_lossy(&client.heard);
        let (_, rest) = text.rsplit_once("\"prompt\":")?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    });
    numbers.max().unwrap_or(0)
}
