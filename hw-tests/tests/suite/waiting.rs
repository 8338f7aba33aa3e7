//! Nobody waits for what others have the daemon do (P4), and what it has begun is done whole (P9).

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Child,
};

use hw_tests::harness::{Home, Terminal};
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process},
};
use serde_json::{Value, json};
use touchlease::wire::MOST_PUTS;

use crate::lab::{Lab, daemon_in, lease_call, product};

/// Says this to a daemon from this process, and does not wait.
fn say(socket: &Path, line: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    writeln!(stream, "{line}").unwrap();
    stream
}

fn call(request: &Value) -> String {
    json!({"v": 1, "request": request}).to_string()
}

fn reply(stream: UnixStream) -> Value {
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).unwrap();
    serde_json::from_str(&reply).unwrap()
}

fn ask(lab: &Lab, request: &Value) -> Value {
    reply(say(Path::new(&lab.socket()), &call(request)))
}

/// The largest change that one touch makes, asked for by a command that this process runs.
struct Largest {
    command: Child,
    pending: PathBuf,
    watch: Terminal,
}

impl Largest {
    fn begin(lab: &Lab) -> Self {
        let path = lab.home.work().join("many.env");
        let text = (0..MOST_PUTS).fold(String::new(), |mut text, n| {
            writeln!(text, "SECRET_{n}=value-of-number-{n}").unwrap();
            text
        });
        fs::write(&path, text).unwrap();
        let watch = lab.home.watch().unwrap();
        Self {
            command: lab.child(&["import", &path.display().to_string(), "--scope", "prod"]),
            pending: lab.vault().join("pending"),
            watch,
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
    lab.until("the end of its prompt", || lab.status()["prompts"] == 0);
    assert!(largest.is_being_written(), "the change was over before its requester was gone");
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

/// Requests that a daemon finds when it comes to itself: nearly as many as may wait for it. One in three is none.
const FLOOD: usize = 120;
/// How many of the others it may have answered when it has locked; with one after the other it would be all 80.
const BEFORE: usize = 40;

#[test]
fn p4_t12_lock_is_done_before_the_requests_of_a_flood_that_came_first() {
    let home = Home::new(product()).unwrap();
    let mut daemon = daemon_in(&home);
    let socket = home.places().unwrap().socket();
    let signal = |signal| kill_process(Pid::from_child(&daemon), signal).unwrap();
    signal(Signal::STOP);
    let status = call(&json!({"do": "status"}));
    let said = |n: usize| if n.is_multiple_of(3) { "{no call" } else { &status };
    let flood: Vec<UnixStream> = (0..FLOOD).map(|n| say(&socket, said(n))).collect();
    let lock = say(&socket, &call(&json!({"do": "lock"})));
    signal(Signal::CONT);
    let locked = reply(lock);
    signal(Signal::STOP);
    let answered = |mut stream: &UnixStream| {
        let mut said = String::new();
        stream.set_nonblocking(true).unwrap();
        // It ends with the daemon's word, or with none so far.
        stream.read_to_string(&mut said).ok();
        said.contains("\"reply\":\"status\"")
    };
    let before = flood.iter().filter(|stream| answered(stream)).count();
    assert_eq!(locked["reply"], "ended", "{locked}");
    assert!(before < BEFORE, "{before} of {FLOOD} were answered before");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

#[test]
fn p4_a_lease_that_was_touched_for_does_not_begin_after_all_were_ended() {
    let one = Lab::new();
    let two = one.elsewhere();
    one.put("prod/ONE", b"first-value", &[]);
    two.put("prod/TWO", b"second-value", &[]);
    crate::lab::copy(&one.vault(), &two.vault());
    let _watch = two.home.watch().unwrap();
    // Another process writes to the vault: what the touch joins waits for it.
    let folder = fs::File::open(two.vault()).unwrap();
    flock(&folder, FlockOperation::LockExclusive).unwrap();
    let mut holder = two.call(&lease_call(json!({"with": [{"secret": "prod/TWO", "via": "env", "env": "TOKEN"}]})));
    two.until("the receipt", || two.count("approved") == 1);
    assert_eq!(ask(&two, &json!({"do": "lock"}))["ids"], json!([]));
    flock(&folder, FlockOperation::Unlock).unwrap();
    let reply = holder.reply().unwrap();
    assert_eq!(
        (reply["reply"].as_str(), reply["reason"].as_str()),
        (Some("failed"), Some("lease_over")),
        "{reply}"
    );
}

#[test]
fn p4_t12_to_revoke_all_leases_of_a_vault_reads_none_of_it() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    let mut holder = lab.call(&lease_call(json!({})));
    assert_eq!(holder.reply().unwrap()["reply"], "granted");
    // A vault of somebody's own that cannot be opened, and would be read anew by each call.
    let other = lab.home.work().join("other");
    crate::lab::copy(&lab.vault(), &other);
    fs::write(other.join("format"), "unreadable").unwrap();
    let revoke = |vault: &Path| json!({"v": 1, "vault": vault, "request": {"do": "lease_revoke"}}).to_string();
    let socket = lab.socket();
    assert_eq!(reply(say(Path::new(&socket), &revoke(&other)))["ids"], json!([]));
    assert_eq!(lab.status()["leases"], 1);
    assert_eq!(
        reply(say(Path::new(&socket), &revoke(&lab.vault())))["ids"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// A change that was touched for, and waits for another process that writes to the vault; the folder's lock ends with the file.
struct Touched {
    command: Child,
    watch: Terminal,
    others: fs::File,
}

impl Touched {
    fn begin(lab: &Lab) -> Self {
        let path = lab.home.work().join("one.env");
        fs::write(&path, "ONE=value-of-one\n").unwrap();
        let watch = lab.home.watch().unwrap();
        let others = fs::File::open(lab.vault()).unwrap();
        flock(&others, FlockOperation::LockExclusive).unwrap();
        let before = lab.count("change");
        let command = lab.child(&["import", &path.display().to_string(), "--scope", "prod"]);
        lab.until("the touch", || lab.count("change") == before + 1);
        Self { command, watch, others }
    }
}

#[test]
fn a_touched_change_is_denied_by_a_person_as_long_as_it_is_not_begun() {
    let lab = Lab::new();
    let mut touched = Touched::begin(&lab);
    touched.watch.expect("others have written").unwrap();
    touched.watch.expect("d deny").unwrap();
    touched.watch.type_in("d").unwrap();
    assert_eq!(touched.command.wait().unwrap().code(), Some(60));
    touched.watch.expect("denied").unwrap();
    drop(touched.others);
    assert_eq!((secrets(&lab), lab.count("denied")), (1, 1));
    assert!(lab.agent_to_its_end(&["audit", "verify"]).status.success());
}

#[test]
fn a_change_that_is_being_written_says_so_and_cannot_be_denied() {
    let lab = Lab::new();
    let mut largest = Largest::begin(&lab);
    largest.watch.expect("touched, being written").unwrap();
    let below = largest.watch.expect("too late to deny").unwrap();
    assert!(!below.contains("d deny"), "{below:?}");
    largest.watch.type_in("d").unwrap();
    assert!(largest.command.wait().unwrap().success());
    assert_eq!((secrets(&lab), lab.count("denied")), (MOST_PUTS + 1, 0));
}

#[test]
fn p9_a_touched_change_is_given_up_with_its_requester_as_long_as_it_is_not_begun() {
    let lab = Lab::new();
    let mut touched = Touched::begin(&lab);
    touched.command.kill().unwrap();
    lab.until("the end of its prompt", || lab.status()["prompts"] == 0);
    drop(touched.others);
    // Given up, or looked at in vain just then.
    lab.until("its end in the log", || lab.count("refused") == 1);
    assert_eq!(secrets(&lab), 1);
    assert!(lab.agent_to_its_end(&["audit", "verify"]).status.success());
}

#[test]
fn p9_a_daemon_that_is_told_to_stop_refuses_the_touched_change_that_waits() {
    let mut lab = Lab::new();
    let mut touched = Touched::begin(&lab);
    drop(lab.daemon.take());
    assert_eq!(touched.command.wait().unwrap().code(), Some(69));
    drop(touched.others);
    lab.restart(|_| {});
    assert_eq!((secrets(&lab), lab.count("refused")), (1, 1));
    assert!(lab.agent_to_its_end(&["audit", "verify"]).status.success());
}
