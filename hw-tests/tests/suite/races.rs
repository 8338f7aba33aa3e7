//! Requests that race one another to one key: what is shown, what is signed and what is granted stay together.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use hw_tests::key::KeyHandle;
use serde_json::{Value, json};

use crate::lab::{Dice, Lab, PATIENCE, event};

/// Races of the everyday run, and of the long one.
const RACES: usize = 160;
const LONG: usize = 100_000;
const SEED: u64 = 0x7410_0002;
/// Races in one home, so that neither its log nor its clock grows without end.
const ROUND: usize = 1000;

#[test]
fn p2_bytes_shown_are_bytes_signed_in_every_race() {
    race(RACES);
}

#[test]
#[ignore = "long"]
fn p2_bytes_shown_are_bytes_signed_in_100_000_races() {
    race(LONG);
}

#[derive(Debug, Default)]
struct Tally {
    races: usize,
    granted: usize,
    leases: usize,
    joined: usize,
    gone: usize,
    refused: usize,
    touches: usize,
    mismatches: Vec<String>,
}

fn race(of: usize) {
    let (mut dice, mut tally) = (Dice(SEED), Tally::default());
    while tally.races < of {
        round((of - tally.races).min(ROUND), &mut dice, &mut tally);
        eprintln!("{} races, {} mismatches so far", tally.races, tally.mismatches.len());
    }
    let Tally {
        races,
        granted,
        leases,
        joined,
        gone,
        refused,
        touches,
        mismatches,
    } = &tally;
    println!(
        "P2: {races} of {of} races, {} mismatches; {granted} granted ({joined} of them joined), {gone} gone, {refused} refused; {leases} leases, {touches} touches",
        mismatches.len()
    );
    assert!(mismatches.is_empty(), "{:?}", &mismatches[..mismatches.len().min(5)]);
    assert_eq!(*races, of);
    assert!(
        *granted > of / 2 && *gone > of / 50 && *joined > of / 100 && *refused > of / 100,
        "{tally:?}"
    );
}

fn round(races: usize, dice: &mut Dice, tally: &mut Tally) {
    let lab = Lab::new();
    let recorder = lab.recorder();
    let (mut shown, mut log) = (Tail::of(recorder.file()), Tail::of(lab.home.log().unwrap()));
    let before = lab.key.counts().unwrap().given;
    let mut texts = HashMap::new();
    let mut done = 0;
    while done < races {
        let at_once = (2 + usize::try_from(dice.roll(7)).unwrap()).min(races - done);
        // Room for ten more prompts.
        lab.clock.suspend(Duration::from_secs(700));
        let touches = lab.key.counts().unwrap().given;
        let answers = batch(&lab, tally.races, at_once, dice);
        for text in shown.lines().iter().filter_map(|line| text_of_prompt(line)) {
            *texts.entry(text).or_insert(0) += 1;
        }
        let approved: Vec<String> = log.lines().iter().filter_map(|line| text_of_approval(line)).collect();
        judge(&answers, &approved, &texts, tally);
        // One touch, one lease: also in the smallest run of them.
        let given = usize::try_from(lab.key.counts().unwrap().given - touches).unwrap();
        if approved.len() > given {
            tally.mismatches.push(format!("{} leases by {given} touches", approved.len()));
        }
        tally.leases += approved.len();
        (tally.races, done) = (tally.races + at_once, done + at_once);
    }
    tally.touches += usize::try_from(lab.key.counts().unwrap().given - before).unwrap();
    // And what is on record is what the key signed.
    lab.person(&["audit", "verify"]);
}

/// One racer: which variable it asks for, which nobody else does unless it is somebody's twin, and what it was told.
struct Racer {
    variable: String,
    ttl: u64,
    reply: Option<Value>,
}

/// This many requests at once; some go away, some are a repetition of the one before, and the touch comes when it likes.
fn batch(lab: &Lab, number: usize, at_once: usize, dice: &mut Dice) -> Vec<Racer> {
    let denied = dice.roll(16) == 0;
    if denied {
        lab.key.deny().unwrap();
    } else {
        lab.key.delay(dice.millis(4)).unwrap();
    }
    let socket = lab.socket();
    let mut racers: Vec<(String, u64, Option<BufReader<UnixStream>>)> = vec![];
    for k in 0..at_once {
        let (variable, ttl) = match racers.last() {
            Some((variable, ttl, _)) if dice.roll(6) == 0 => (variable.clone(), *ttl),
            _ => (format!("V{}", number + k), 60 + dice.roll(3000)),
        };
        let call = json!({ "v": 1, "request": {
            "do": "lease", "deliver": true, "ttl": ttl, "reason": format!("for {variable}"),
            "with": [{ "secret": "prod/TOKEN", "via": "env", "env": variable }],
        } });
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(stream, "{call}").unwrap();
        racers.push((variable, ttl, Some(BufReader::new(stream))));
    }
    // One goes away while prompts open and close; now and then everything is revoked.
    if dice.roll(2) == 0 {
        std::thread::sleep(dice.millis(12));
        racers[usize::try_from(dice.roll(at_once as u64)).unwrap()].2 = None;
    }
    if dice.roll(16) == 0 {
        let mut stream = UnixStream::connect(&socket).unwrap();
        writeln!(stream, "{}", json!({ "v": 1, "request": { "do": "lock" } })).unwrap();
        BufReader::new(stream).read_to_end(&mut vec![]).unwrap();
    }
    let told = |stream: Option<&mut BufReader<UnixStream>>| {
        let lines = stream?.lines().map_while(Result::ok);
        let mut values = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
        values.find(|line| line.get("reply").is_some())
    };
    // All are heard before any hangs up: a lease ends with the connection that holds it.
    let hear = |(_, _, stream): &mut (_, _, Option<BufReader<UnixStream>>)| {
        let told = told(stream.as_mut());
        if denied {
            // The person says no once; the rest do not wait out the pause after it.
            lab.key.grant().unwrap();
            lab.clock.suspend(Duration::from_secs(50));
        }
        told
    };
    let replies: Vec<_> = racers.iter_mut().map(hear).collect();
    let racer = |((variable, ttl, _), reply)| Racer { variable, ttl, reply };
    racers.into_iter().zip(replies).map(racer).collect()
}

fn judge(racers: &[Racer], approved: &[String], shown: &HashMap<String, usize>, tally: &mut Tally) {
    let mut wrong = |what: String| tally.mismatches.push(what);
    for text in approved {
        if shown.get(text) != Some(&1) {
            wrong(format!("signed, and shown {:?} times: {text}", shown.get(text)));
        }
    }
    let mut first = BTreeSet::new();
    for Racer { variable, ttl, reply } in racers {
        let Some(reply) = reply else {
            tally.gone += 1;
            continue;
        };
        if reply["reply"] != "granted" {
            tally.refused += 1;
            continue;
        }
        tally.granted += 1;
        let id = reply["lease"]["id"].as_str().unwrap();
        if reply["joined"] == true {
            tally.joined += 1;
        } else if !first.insert(id) {
            tally.mismatches.push(format!("one touch, two leases: {id}"));
        }
        let Some(text) = approved.iter().find(|text| text.contains(id)) else {
            tally.mismatches.push(format!("granted, and not signed: {id}"));
            continue;
        };
        let signed: Value = serde_json::from_str(text).unwrap();
        let grants = &signed["grants"];
        let same = grants[0]["env"] == **variable && grants.as_array().unwrap().len() == 1 && signed["ttl"] == *ttl;
        if !same || reply["values"][0]["env"] != **variable {
            tally.mismatches.push(format!("{variable} for {ttl} s got {reply} by {text}"));
        }
    }
}

fn text_of_prompt(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["event"] == "prompt").then(|| line["text"].as_str().unwrap().to_owned())
}

fn text_of_approval(line: &str) -> Option<String> {
    let (name, members) = event(line)?;
    (name == "approved").then(|| members["text"].as_str().unwrap().to_owned())
}

/// What is new in a file that grows.
struct Tail {
    file: File,
    rest: String,
}

impl Tail {
    fn of(path: PathBuf) -> Self {
        let mut file = File::open(path).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        Self { file, rest: String::new() }
    }

    fn lines(&mut self) -> Vec<String> {
        self.file.read_to_string(&mut self.rest).unwrap();
        let end = self.rest.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.rest.split_off(end);
        std::mem::replace(&mut self.rest, rest).lines().map(str::to_owned).collect()
    }
}
