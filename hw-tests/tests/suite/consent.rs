//! What is touched for is what was shown, and nobody can ask a person to death.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use hw_tests::key::KeyHandle;
use serde_json::{Value, json};
use touchlease::clock::Clock;

use crate::lab::{CANARY, Lab, PATIENCE, WIRECAT, copy, error_of, holds, lease_call};

/// The prompt of an agent's `run` stands; the vault on the disk becomes `other`'s; then somebody touches.
fn touch_after_swap(lab: &Lab, other: &Path) -> (Option<i32>, Value, Vec<u8>) {
    let _watch = lab.home.watch().unwrap();
    lab.key.never().unwrap();
    let run = lab.agent(&["--json", "run", "--with", "prod/TOKEN", "--", "sh", "-c", "echo leaked $TOKEN"]);
    assert!(lab.key.await_asked(PATIENCE).unwrap());
    copy(other, &lab.vault());
    assert!(lab.key.press().unwrap());
    let out = run.wait_with_output().unwrap();
    let (code, error) = error_of(&out);
    lab.key.grant().unwrap();
    (code, error, [out.stdout, out.stderr].concat())
}

fn assert_nothing_given(lab: &Lab, before: usize, out: &[u8]) {
    assert!(!holds(out, CANARY) && !holds(out, "leaked"), "{}", String::from_utf8_lossy(out));
    assert_eq!(lab.count("approved"), before);
    assert_eq!(lab.status()["leases"], 0);
}

#[test]
fn t09_rules_that_change_while_the_prompt_stands_are_refused_and_nothing_is_handed_out() {
    let lab = Lab::new();
    let elsewhere = lab.elsewhere();
    elsewhere.person(&["edit", "prod/TOKEN", "--allow", "env", "--max-ttl", "1m"]);
    let before = lab.count("approved");
    let (code, error, out) = touch_after_swap(&lab, &elsewhere.vault());
    assert_eq!(code, Some(71), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("ask again"), "{error}");
    assert_nothing_given(&lab, before, &out);
    // Asked again, the new rules are what is judged.
    let out = lab.agent_to_its_end(&["--json", "run", "--with", "prod/TOKEN", "--ttl", "2m", "--", "true"]);
    let (code, error) = error_of(&out);
    assert_eq!((code, error["reason"].as_str()), (Some(62), Some("ttl_over_cap")), "{error}");
}

#[test]
fn t09_a_value_that_changes_while_the_prompt_stands_is_refused() {
    let lab = Lab::new();
    let elsewhere = lab.elsewhere();
    elsewhere.put("prod/TOKEN", b"another-value-altogether", &[]);
    let before = lab.count("approved");
    let (code, error, out) = touch_after_swap(&lab, &elsewhere.vault());
    assert_eq!(code, Some(71), "{error}");
    assert!(!holds(&out, "another-value"));
    assert_nothing_given(&lab, before, &out);
}

#[test]
fn t09_a_roster_that_changes_while_the_prompt_stands_is_refused() {
    let lab = Lab::new();
    let elsewhere = lab.elsewhere();
    elsewhere.reach.add().unwrap();
    elsewhere.person(&["key", "add", "spare"]);
    let before = lab.count("approved");
    let (code, error, out) = touch_after_swap(&lab, &elsewhere.vault());
    assert_eq!(code, Some(71), "{error}");
    assert_nothing_given(&lab, before, &out);
}

#[test]
fn p2_bytes_shown_are_bytes_signed_and_one_touch_is_one_lease() {
    const BATCHES: u64 = 6;
    const AT_ONCE: u64 = 8;
    let lab = Lab::new();
    let recorder = lab.recorder();
    lab.key.delay(Duration::from_millis(15)).unwrap();
    let touches_before = lab.key.counts().unwrap().given;
    let mut granted = vec![];
    for batch in 0..BATCHES {
        // Room for ten more prompts.
        lab.clock.suspend(Duration::from_secs(700));
        let mut callers: Vec<_> = (0..AT_ONCE)
            .map(|k| {
                (
                    100 + batch * AT_ONCE + k,
                    lab.call(&lease_call(json!({"ttl": 100 + batch * AT_ONCE + k}))),
                )
            })
            .collect();
        // One of them goes away while prompts open and close.
        let gone = usize::try_from(batch % AT_ONCE).unwrap();
        std::thread::sleep(Duration::from_millis(batch * 7));
        callers[gone].1.kill();
        for (ttl, caller) in &mut callers {
            if let Some(reply) = caller.reply() {
                assert_eq!(reply["reply"], "granted", "{reply}");
                granted.push((*ttl, caller.pid(), reply["lease"]["id"].as_str().unwrap().to_owned()));
            }
        }
    }
    let (shown, events) = (recorder.texts(), lab.events());
    let approved: Vec<_> = events
        .iter()
        .filter(|(name, _)| name == "approved")
        .map(|(_, members)| members["text"].as_str().unwrap().to_owned())
        .collect();
    for text in &approved {
        assert_eq!(
            shown.iter().filter(|other| *other == text).count(),
            1,
            "signed and not shown: {text}"
        );
    }
    for (ttl, pid, id) in &granted {
        let text = approved.iter().find(|text| text.contains(id.as_str())).unwrap();
        let text: Value = serde_json::from_str(text).unwrap();
        assert_eq!(
            (text["ttl"].as_u64(), text["origin"]["requester"]["pid"].as_u64()),
            (Some(*ttl), Some(u64::from(*pid)))
        );
    }
    let touches = usize::try_from(lab.key.counts().unwrap().given - touches_before).unwrap();
    assert!(approved.len() <= touches, "{} leases by {touches} touches", approved.len());
    let asked = usize::try_from(BATCHES * AT_ONCE).unwrap();
    assert!(
        granted.len() >= asked - usize::try_from(BATCHES).unwrap(),
        "{} granted",
        granted.len()
    );
    // And what is on record is what the key signed.
    lab.person(&["audit", "verify"]);
    println!("P2 processes: {} of {asked} races, 0 mismatches, {touches} touches", granted.len());
}

const HOSTILE: [&str; 8] = [
    "\u{1b}[2J\u{1b}[H",
    "\u{1b}]0;approved\u{7}",
    "\u{9b}31m",
    "a\u{202e}b",
    "a\u{2066}b\u{2069}",
    "a\u{200b}b",
    "one\r\n gets     nothing",
    "a\u{e0041}b",
];

/// Every call with `text` in a place of its own.
fn hostile_calls(text: &str) -> Vec<Value> {
    let quoted = json!(text).to_string();
    let task = |name: &str, about: &str, command: &str| {
        format!(
            "[task.{name}]\nabout = {about}\ncommand = [{command}]\n[[task.{name}.grant]]\nsecret = \"prod/TOKEN\"\nvia = \"env\"\nenv = \"TOKEN\"\n"
        )
    };
    let by_task = |name: &str, file: String| json!({"with": [], "task": {"name": name, "file": file}});
    let grant = |secret: &str, via: &str, env: &str| json!({"with": [{"secret": secret, "via": via, "env": env}]});
    [
        json!({ "reason": text }),
        json!({"command": ["curl", text]}),
        json!({"labels": {"CLAUDECODE": text}}),
        json!({"labels": {text: "1"}}),
        by_task("deploy", task("deploy", &quoted, "\"x\"")),
        by_task("deploy", task("deploy", "\"x\"", &quoted)),
        by_task(text, task(&quoted, "\"x\"", "\"x\"")),
        grant(&format!("prod/{text}"), "env", "TOKEN"),
        grant("prod/TOKEN", text, "TOKEN"),
        grant("prod/TOKEN", "env", text),
    ]
    .into_iter()
    .map(lease_call)
    .collect()
}

/// What is left of a screen's output without what the product itself writes to steer it: colours, the two lines that it draws
/// anew, the bell.
fn foreign_controls(output: &str) -> Vec<char> {
    let mut left = String::new();
    // The watch clears its last two lines with exactly this; going up anywhere else would be somebody else's doing.
    let without = output.replace("\r\x1b[2K\x1b[1A\r\x1b[2K", "");
    let mut rest = without.as_str();
    while let Some(at) = rest.find("\x1b[") {
        left += &rest[..at];
        let after = &rest[at + 2..];
        let end = after.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(after.len());
        rest = match (&after[..end], after[end..].chars().next()) {
            (_, Some('m')) | ("2", Some('K')) | ("1", Some('A')) => &after[end + 1..],
            _ => {
                left.push('\x1b');
                after
            }
        };
    }
    left += rest;
    let own = |c: &char| matches!(c, '\r' | '\n' | '\x07');
    let invisible = |c: &char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{e0000}'..='\u{e007f}')
    };
    left.chars().filter(|c| invisible(c) && !own(c)).collect()
}

#[test]
fn t10_no_text_of_a_client_steers_the_screen_of_the_person() {
    assert_eq!(foreign_controls("\x1b[1mx\x1b[0m\r\x1b[2Ky\x07"), []);
    assert_eq!(foreign_controls("\x1b[2J\u{202e}\x1b]0;x"), ['\x1b', '\u{202e}', '\x1b']);
    let lab = Lab::new();
    let watch = lab.home.watch().unwrap();
    let (mut refused, mut shown) = (0, 0);
    for call in HOSTILE.iter().flat_map(|text| hostile_calls(text)) {
        lab.clock.suspend(Duration::from_secs(70));
        let reply = lab.call(&call).reply().unwrap();
        match reply["reply"].as_str().unwrap() {
            "granted" => shown += 1,
            _ => {
                assert_eq!(reply["outcome"], "bad_input", "{call}: {reply}");
                refused += 1;
            }
        }
    }
    // The kernel's facts are a process's own words as well.
    for text in ["\u{1b}[2J", "a\u{202e}b", "two\nlines"] {
        lab.clock.suspend(Duration::from_secs(70));
        let folder = lab.home.work().join(format!("at {text}"));
        std::fs::create_dir(&folder).unwrap();
        let program = folder.join(format!("by {text}"));
        std::fs::copy(WIRECAT, &program).unwrap();
        let mut program = Command::new(program);
        program.current_dir(&folder);
        let reply = lab.call_by(program, &lease_call(json!({}))).reply().unwrap();
        assert_eq!(reply["reply"], "granted", "{reply}");
        shown += 1;
    }
    // So is the way to a vault.
    for text in ["\u{1b}[2J", "a\u{202e}b"] {
        lab.clock.suspend(Duration::from_secs(70));
        let path = lab.home.path().join(format!("vault {text}"));
        copy(&lab.vault(), &path);
        let mut call = lease_call(json!({}));
        call["vault"] = json!(path);
        let reply = lab.call(&call).reply().unwrap();
        // The log has one writer: another copy of the same vault may be refused, but then visibly.
        shown += usize::from(reply["reply"] == "granted");
        lab.agent_to_its_end(&["--vault", &path.display().to_string(), "status"]);
    }
    println!("T10: {refused} refused, {shown} shown");
    assert!(refused >= 8 * 6 && shown >= 8 * 2, "{refused} refused, {shown} shown");
    let output = watch.output();
    assert_eq!(foreign_controls(&output), [], "{output}");
    assert!(output.contains("<U+202E>") && output.contains("<U+001B>"), "{output}");
}

#[test]
fn t10_long_texts_are_refused_or_cut() {
    let lab = Lab::new();
    let mut watch = lab.home.watch().unwrap();
    // On a smaller one the command, which is a claim, gives way to what counts.
    watch.resize(100, 200).unwrap();
    let long = "x".repeat(10_000);
    let refused = lab.call(&lease_call(json!({ "reason": long }))).reply().unwrap();
    assert_eq!(
        (refused["outcome"].as_str(), refused["reason"].as_str()),
        (Some("bad_input"), Some("text")),
        "{refused}"
    );
    let mut many = vec![long.clone(); 9];
    many.extend(vec!["y".to_owned(); 90]);
    let cut = lab
        .call(&lease_call(json!({"command": many, "labels": {"CLAUDECODE": long}})))
        .reply()
        .unwrap();
    assert_eq!(cut["reply"], "granted", "{cut}");
    let card = watch.expect("approved").unwrap();
    assert!(
        card.len() < 16_000 && card.contains("bytes more)") && card.contains("more)"),
        "{} bytes: {card}",
        card.len()
    );
}

#[test]
fn t12_a_flood_is_one_prompt_at_a_time_ten_in_ten_minutes_and_a_person_gets_through() {
    const FLOOD: usize = 25;
    let lab = Lab::new();
    let recorder = lab.recorder();
    lab.key.never().unwrap();
    let mut callers: Vec<_> = (0..FLOOD).map(|_| lab.call(&lease_call(json!({})))).collect();
    lab.until("the queue", || lab.status()["prompts"] == FLOOD);
    let own = lab.home.terminal(["run", "--with", "prod/TOKEN", "--", "true"]).unwrap();
    lab.until("the person", || lab.status()["prompts"] == FLOOD + 1);
    let approved_before = lab.count("approved");
    lab.key.grant().unwrap();
    let replies: Vec<Value> = callers.iter_mut().map(|caller| caller.reply().unwrap()).collect();
    let (status, shown) = own.finish().unwrap();
    assert!(status.success(), "{shown}");
    let granted = replies.iter().filter(|reply| reply["reply"] == "granted").count();
    let refused: Vec<_> = replies.iter().filter(|reply| reply["reason"] == "too_many_prompts").collect();
    assert_eq!((granted, refused.len()), (10, FLOOD - 10), "{replies:?}");
    assert!(refused[0]["message"].as_str().unwrap().contains("ten prompts"), "{}", refused[0]);
    let hint = refused[0]["hint"].as_str().unwrap();
    assert!(
        hint.contains("wait that long") && hint.contains("touchlease lease request --with "),
        "{hint}"
    );
    assert!(
        callers
            .iter()
            .flat_map(|caller| &caller.heard)
            .any(|line| line["event"] == "queued")
    );
    // One at a time: every prompt closes before the next opens.
    let order: Vec<_> = recorder
        .lines()
        .iter()
        .filter_map(|line| line["event"].as_str().map(str::to_owned))
        .collect();
    let order: Vec<_> = order
        .iter()
        .filter(|event| ["prompt", "closed"].contains(&event.as_str()))
        .collect();
    assert!(
        order
            .iter()
            .zip(["prompt", "closed"].iter().cycle())
            .all(|(was, expected)| was == expected),
        "{order:?}"
    );
    // A watch is open: nobody's terminal puts a prompt in front, and the flood ends at its ten.
    let events = lab.events();
    let approved = events.iter().filter(|(name, _)| name == "approved").skip(approved_before);
    let own_at = approved
        .map(|(_, members)| serde_json::from_str::<Value>(members["text"].as_str().unwrap()).unwrap())
        .position(|text| {
            text["origin"]["requester"]["claimed"]["executable"]
                .as_str()
                .unwrap()
                .ends_with("touchlease")
        });
    assert_eq!(own_at, Some(10));
    // Time passes, and there is room again.
    lab.clock.suspend(Duration::from_secs(601));
    assert_eq!(lab.call(&lease_call(json!({}))).reply().unwrap()["reply"], "granted");
}

#[test]
fn t12_who_was_denied_waits() {
    let lab = Lab::new();
    let mut watch = lab.home.watch().unwrap();
    lab.key.never().unwrap();
    let mut pauses = vec![];
    for _ in 0..2 {
        let mut caller = lab.call(&lease_call(json!({})));
        watch.expect("s left   d deny").unwrap();
        watch.type_in("d").unwrap();
        let reply = caller.reply().unwrap();
        let denied = Instant::now();
        assert_eq!(reply["outcome"], "denied", "{reply}");
        watch.expect("denied").unwrap();
        let mut next = lab.call(&lease_call(json!({})));
        next.hear(|line| line["event"] == "asked").unwrap();
        pauses.push(denied.elapsed());
        watch.expect("s left   d deny").unwrap();
        drop(next);
        watch.expect("not approved").unwrap();
    }
    assert!(
        pauses[0] >= Duration::from_millis(1900) && pauses[1] >= Duration::from_millis(3800),
        "{pauses:?}"
    );
}

#[test]
fn t12_identical_retries_of_one_holder_are_one_lease_and_one_touch() {
    let lab = Lab::new();
    let _watch = lab.home.watch().unwrap();
    lab.key.never().unwrap();
    let before = lab.key.counts().unwrap();
    let asked: Vec<_> = (0..5)
        .map(|_| lab.child(&["--json", "lease", "request", "--with", "prod/TOKEN"]))
        .collect();
    assert!(lab.key.await_asked(PATIENCE).unwrap());
    lab.key.press().unwrap();
    let replies: Vec<Value> = asked
        .into_iter()
        .map(|child| serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap())
        .collect();
    let ids: std::collections::BTreeSet<_> = replies.iter().map(|reply| reply["lease"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1, "{replies:?}");
    assert_eq!(replies.iter().filter(|reply| reply["joined"] == false).count(), 1);
    assert_eq!(lab.key.counts().unwrap().given, before.given + 1);
    assert!(lab.clock.boot().0 > 0);
}

#[test]
fn t10_what_changed_in_a_task_since_it_was_approved_is_shown_before_the_touch_and_signed_with_it() {
    let lab = Lab::new();
    let work = lab.home.work();
    let write = |command: &str| {
        let task = format!(
            "[task.deploy]\nabout = \"Deploy the docs\"\ncommand = [\"{command}\"]\n\n[[task.deploy.grant]]\nsecret = \"prod/TOKEN\"\nvia = \"env\"\nenv = \"TOKEN\"\n"
        );
        std::fs::write(work.join("touchlease.toml"), task).unwrap();
    };
    let (run, new, changed) = (
        ["run", "--task", "deploy"],
        "not approved in this folder before",
        "in 2 lines since",
    );
    write("true");
    lab.shows(&run, 0, &[new]);
    let same = lab.person(&run);
    assert!(!same.contains(new) && !same.contains(changed), "{same}");
    write("env");
    // Whoever is refused approves nothing.
    lab.key.never().unwrap();
    let mut denied = lab.home.terminal(run).unwrap();
    denied.expect(changed).unwrap();
    denied.type_in("d").unwrap();
    assert_eq!(denied.finish().unwrap().0.code(), Some(60));
    lab.key.grant().unwrap();
    let shown = lab.shows(&run, 0, &[changed, "- command = [\"true\"]", "+ command = [\"env\"]"]);
    assert!(!shown.contains("- about"), "{shown}");
    let same = lab.person(&run);
    assert!(!same.contains(changed), "it was approved so: {same}");
    let approved = lab.events().into_iter().filter(|(name, _)| name == "approved");
    let texts = approved.map(|(_, members)| serde_json::from_str(members["text"].as_str().unwrap()).unwrap());
    let signed: Vec<Value> = texts
        .map(|text: Value| text["task"].clone())
        .filter(|task| !task.is_null())
        .collect();
    let from = &signed[0]["digest"];
    let lines = json!(["- command = [\"true\"]", "+ command = [\"env\"]"]);
    let told: Vec<_> = signed.iter().map(|task| task["changed"].clone()).collect();
    assert_eq!(told, [json!({}), Value::Null, json!({"from": from, "lines": lines}), Value::Null]);
}
