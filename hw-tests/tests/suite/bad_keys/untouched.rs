//! A key that nobody touches.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    process::Command,
    time::Duration,
};

use hw_tests::{conformance::Machine, harness::Terminal, key::PIN};
use serde_json::{Value, json};

use super::{approvals, honest, rig};

/// Steps of the everyday run, and of the long one.
const STEPS: u32 = 3000;
const LONG: u32 = 1_000_000;
const SEED: u64 = 0x7410_0001;

/// A generator that makes the same run from the same seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = usize::try_from(self.roll(from.len() as u64)).unwrap();
        &from[at]
    }

    fn lease(&mut self) -> Value {
        let with: Vec<_> = (0..self.roll(3))
            .map(|_| {
                let secret = self.pick(&["prod/TOKEN", "prod/OTHER", "dev/TOKEN", "prod/../TOKEN"]);
                json!({ "secret": secret, "via": self.pick(&["env", "file", "proxy"]), "env": self.pick(&["TOKEN", "PATH", "A=B"]) })
            })
            .collect();
        json!({
            "do": "lease", "with": with, "ttl": self.roll(40_000), "uses": self.roll(3), "command": ["sh"],
            "deliver": self.roll(2) == 0, "join_only": self.roll(3) == 0,
        })
    }

    fn request(&mut self) -> Value {
        let id = format!("{:032x}", self.roll(4));
        match self.roll(16) {
            0..5 => self.lease(),
            5 => json!({ "do": "lease_list" }),
            6 => json!({ "do": "lease_show", "id": id }),
            7 => json!({ "do": "lease_end", "id": id }),
            8 => json!({ "do": "lease_revoke", "id": null }),
            9 => json!({ "do": "watch" }),
            10 => json!({ "do": "unlock", "key": "blue", "keep": 60 }),
            11 => json!({ "do": "remove", "secrets": ["prod/TOKEN"] }),
            12 => json!({ "do": "edit", "secret": "prod/TOKEN", "rules": { "deliveries": ["env"], "hosts": [] } }),
            13 => json!({ "do": "key_remove", "name": "blue" }),
            14 => json!({ "do": "key_add", "name": "mine", "touch_only": true }),
            _ => json!({ "do": "list", "scope": null }),
        }
    }

    /// What a client may say on a connection that waits: about its own prompt, and about others'.
    fn answer(&mut self) -> Value {
        let prompt = self.roll(30);
        match self.roll(4) {
            0 => json!({ "answer": "shown", "prompt": prompt }),
            1 => json!({ "answer": "pin", "prompt": prompt, "key": "blue", "pin": "AAAA" }),
            2 => json!({ "answer": "done" }),
            _ => json!({ "answer": "deny", "prompt": prompt }),
        }
    }
}

/// A client of the socket that says what it likes.
struct Client(BufReader<UnixStream>);

impl Client {
    fn call(machine: &Machine<'_>, request: &Value, screen: bool) -> Self {
        let socket = UnixStream::connect(machine.home.places().unwrap().socket()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let mut client = Self(BufReader::new(socket));
        client.say(&json!({ "v": 1, "screen": screen, "request": request }));
        client
    }

    fn say(&mut self, line: &Value) {
        // The daemon may have hung up on a line that it did not like.
        let _ = self.0.get_mut().write_all(format!("{line}\n").as_bytes());
    }

    fn heard(&mut self) -> String {
        let mut text = String::new();
        // What has not come yet is read the next time.
        while self.0.read_line(&mut text).is_ok_and(|n| n > 0) {}
        text
    }
}

/// A watch that this process is no ancestor of: to the requests below it is somebody else's.
fn watch(machine: &Machine<'_>) -> Terminal {
    let product = machine.home.command(["watch"]);
    let mut orphan = Command::new("sh");
    orphan.args(["-c", "(\"$@\" &); exec sleep 600", "sh"]);
    orphan.arg(product.get_program()).args(product.get_args());
    orphan
        .env_clear()
        .envs(product.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut screen = Terminal::start(&orphan).unwrap();
    screen.expect("requests appear here").unwrap();
    screen
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
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    machine.restart("[limits]\nprompt = \"5s\"\n").unwrap();
    // With the PIN typed ahead, a prompt needs the touch alone.
    let mut screen = machine.home.terminal(["unlock", "blue"]).unwrap();
    screen.expect(": ").unwrap();
    screen.type_in(&format!("{PIN}\n")).unwrap();
    assert!(screen.finish().unwrap().0.success());
    let before = (
        machine.keys[0].counts().unwrap().given,
        machine.json(&["list"]).unwrap(),
        approvals(&machine),
    );
    let _watch = watch(&machine);

    let mut dice = Dice(SEED);
    // The first request is a good one, and the key waits for its touch as the rest begins.
    let with = json!([{ "secret": "prod/TOKEN", "via": "env", "env": "TOKEN" }]);
    let good = json!({ "do": "lease", "with": with, "command": ["sh"], "deliver": true });
    let mut clients = vec![Client::call(&machine, &good, false)];
    machine.blinks(0).unwrap();
    let (mut steps, mut answered) = (0, 0);
    for _ in 0..of {
        match dice.roll(4) {
            0 if clients.len() < 12 => {
                let request = dice.request();
                clients.push(Client::call(&machine, &request, dice.roll(2) == 0));
            }
            1 if !clients.is_empty() => {
                let at = usize::try_from(dice.roll(clients.len() as u64)).unwrap();
                clients.swap_remove(at);
            }
            2 if !clients.is_empty() => {
                let at = usize::try_from(dice.roll(clients.len() as u64)).unwrap();
                let answer = dice.answer();
                clients[at].say(&answer);
            }
            _ => {
                for client in &mut clients {
                    let heard = client.heard();
                    answered += heard.matches('\n').count();
                    for reply in [
                        "granted",
                        "changed",
                        "key_added",
                        "key_removed",
                        "correct-horse",
                        "Y29ycmVjdC1ob3JzZ",
                    ] {
                        assert!(!heard.contains(reply), "step {steps}: {heard}");
                    }
                }
            }
        }
        steps += 1;
    }
    drop(clients);
    let after = (
        machine.keys[0].counts().unwrap().given,
        machine.json(&["list"]).unwrap(),
        approvals(&machine),
    );
    println!("T01: {steps} of {of} steps, {answered} lines heard, 0 leases");
    assert_eq!(before, after);
    assert!(machine.events("change").unwrap().len() == 1, "only the put of the beginning");
    assert!(machine.json(&["lease", "list"]).unwrap()["leases"].as_array().unwrap().is_empty());
    assert!(answered > 100, "{answered} lines heard");
}
