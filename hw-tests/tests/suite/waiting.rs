//! Nobody waits for what others have the daemon do (P4), and what it has begun is done whole (P9).

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::Child,
};

use hw_tests::harness::Terminal;
use serde_json::{Value, json};
use touchlease::wire::MOST_PUTS;

use crate::lab::{Lab, lease_call};

/// Asks the daemon from this process, and waits for the reply.
fn ask(lab: &Lab, request: &Value) -> Value {
    let mut stream = UnixStream::connect(lab.socket()).unwrap();
    writeln!(stream, "{}", json!({"v": 1, "request": request})).unwrap();
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).unwrap();
    serde_json::from_str(&reply).unwrap()
}

/// The largest change that one touch makes, asked for by a command that this process runs.
struct Largest {
    command: Child,
    pending: PathBuf,
    _watch: Terminal,
}

impl Largest {
    fn begin(lab: &Lab) -> Self {
        let path = lab.home.work().join("many.env");
        let text = (0..MOST_PUTS).fold(String::new(), |mut text, n| {
            writeln!(text, "SECRET_{n}=value-of-number-{n}").unwrap();
            text
        });
        fs::write(&path, text).unwrap();
        let _watch = lab.home.watch().unwrap();
        Self {
            command: lab.child(&["import", &path.display().to_string(), "--scope", "prod"]),
            pending: lab.vault().join("pending"),
            _watch,
        }
    }

    /// Whether its files are being written: their list lies in the vault from before the first until after the last.
    fn is_being_written(&self) -> bool {
        fs::read_dir(&self.pending).is_ok_and(|mut lists| lists.next().is_some())
    }

    fn until_written(&self, lab: &Lab) {
        lab.until("the change", || self.is_being_written());
    }
}

fn secrets(lab: &Lab) -> usize {
    let out = lab.agent_to_its_end(&["--json", "list"]);
    let list: Value = serde_json::from_slice(&out.stdout).unwrap();
    list["secrets"].as_array().unwrap().len()
}

#[test]
fn p4_leases_are_ended_and_status_is_told_in_the_middle_of_the_largest_change() {
    let lab = Lab::new();
    let mut holder = {
        let _watch = lab.home.watch().unwrap();
        let mut holder = lab.call(&lease_call(json!({})));
        assert_eq!(holder.reply().unwrap()["reply"], "granted");
        holder
    };
    let mut largest = Largest::begin(&lab);
    largest.until_written(&lab);
    assert_eq!(ask(&lab, &json!({"do": "status"}))["leases"], 1);
    assert_eq!(ask(&lab, &json!({"do": "lock"}))["ids"].as_array().unwrap().len(), 1);
    let told = holder.hear(|line| line["event"] == "ended");
    assert!(told.is_some() && largest.is_being_written(), "the change was over before: {told:?}");
    assert!(largest.command.wait().unwrap().success());
    assert_eq!(secrets(&lab), MOST_PUTS + 1);
}

#[test]
fn p9_a_requester_that_goes_away_in_the_middle_of_its_change_leaves_all_of_it() {
    let lab = Lab::new();
    let mut largest = Largest::begin(&lab);
    largest.until_written(&lab);
    largest.command.kill().unwrap();
    lab.until("the end of it", || !largest.is_being_written());
    assert_eq!(secrets(&lab), MOST_PUTS + 1);
    assert_eq!(lab.count("change"), 2);
    assert!(lab.agent_to_its_end(&["audit", "verify"]).status.success());
    // Whatever was told to whoever is gone: the next one is served.
    lab.put("prod/MORE", b"more", &[]);
}

#[test]
fn p9_a_daemon_that_is_told_to_stop_in_the_middle_of_a_change_makes_it_and_says_so() {
    let mut lab = Lab::new();
    let mut largest = Largest::begin(&lab);
    largest.until_written(&lab);
    drop(lab.daemon.take());
    assert!(!largest.is_being_written(), "the daemon ended in the middle of it");
    let said = largest.command.wait().unwrap();
    assert!(said.success(), "{said:?}");
    lab.restart(|_| {});
    assert_eq!(secrets(&lab), MOST_PUTS + 1);
}
