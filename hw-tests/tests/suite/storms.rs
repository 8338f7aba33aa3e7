//! Much at once, and for long: signals, command lines, daemons, leases.

use std::{fs, os::unix::fs::symlink, process::Stdio, thread, time::Duration};

use hw_tests::{harness::Home, key::KeyHandle};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use touchlease::{clock::SystemClock, config::Config};

use crate::{
    lab::{CANARY, Lab, daemon_in, error_of, lease_call, until},
    product,
};

/// Signals that a process gets without anybody meaning its end.
const HARMLESS: [Signal; 5] = [Signal::WINCH, Signal::CHILD, Signal::CONT, Signal::URG, Signal::PIPE];

fn storm(pid: u32, count: usize) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    for n in 0..count {
        // Whoever has ended by now has ended well, as is seen from its status.
        let _ = kill_process(pid, HARMLESS[n % HARMLESS.len()]);
        if n % 50 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn t48_a_run_in_a_storm_of_signals_gives_its_child_what_it_asked_for_and_ends_its_lease() {
    let lab = Lab::new();
    let mut watch = lab.home.watch().unwrap();
    let script = "n=0; while [ $n -lt 100 ]; do n=$((n + 1)); printf '%s\\n' \"$TOKEN\"; sleep 0.01; done; exit 7";
    let mut child = lab.home.command(["run", "--with", "prod/TOKEN", "--", "sh", "-c", script]);
    let mut child = child
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    // Before its first instructions a program has not said yet that it ignores SIGPIPE.
    watch.expect("prod/TOKEN").unwrap();
    let storms = thread::spawn(move || storm(pid, 5_000));
    let out = {
        let mut shown = String::new();
        std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut shown).unwrap();
        (child.wait().unwrap(), shown)
    };
    storms.join().unwrap();
    assert_eq!(out.0.code(), Some(7), "{out:?}");
    assert_eq!(out.1.lines().count(), 100);
    assert!(!out.1.contains(CANARY));
    until("the lease's end", || lab.status()["leases"] == 0);
    assert_eq!((lab.count("approved"), lab.count("used"), lab.count("ended")), (1, 1, 1));
}

#[test]
fn t48_a_daemon_in_a_storm_of_signals_answers_and_ends_once_when_it_is_told() {
    let home = Home::new(product()).unwrap();
    let mut daemon = daemon_in(&home);
    let socket = home.places().unwrap().socket();
    let pid = daemon.id();
    let storms = thread::spawn(move || storm(pid, 20_000));
    for _ in 0..10 {
        let out = home.run(["--json", "status"]).unwrap();
        let status: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(status["pid"], pid, "{status}");
    }
    storms.join().unwrap();
    let id = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    for signal in [Signal::TERM, Signal::INT, Signal::TERM, Signal::TERM, Signal::INT] {
        kill_process(id, signal).unwrap();
    }
    assert!(daemon.wait().unwrap().success());
    assert!(!socket.exists());
}

#[test]
fn t52_command_lines_at_once_lose_nothing() {
    let lab = Lab::new();
    let names: Vec<String> = (0..6).map(|n| format!("prod/N{n}")).collect();
    for (n, _) in names.iter().enumerate() {
        fs::write(lab.home.work().join(format!("v{n}")), format!("value {n}")).unwrap();
    }
    let puts: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| lab.home.terminal(["put", name, "--from-file", &format!("v{n}")]).unwrap())
        .collect();
    for put in puts {
        let (status, shown) = put.finish_within(Duration::from_secs(60)).unwrap();
        assert!(status.success(), "{shown}");
    }
    let list = lab.home.run(["--json", "list"]).unwrap();
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list["secrets"].as_array().unwrap().len(), 7, "{list}");
    let verified = lab.home.run(["audit", "verify"]).unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn t52_a_second_daemon_on_the_same_vault_serves_nothing_of_it_and_breaks_nothing() {
    let lab = Lab::new();
    let other = Home::new(product()).unwrap();
    for part in ["data", "state"] {
        symlink(lab.home.path().join(part), other.path().join(part)).unwrap();
    }
    let clock = std::sync::Arc::new(SystemClock);
    let second = other.daemon_with(lab.reach.clone(), clock, Config::default()).unwrap();
    let (status, shown) = other
        .terminal(["run", "--with", "prod/TOKEN", "--", "true"])
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(status.code(), Some(72), "{shown}");
    let (code, error) = error_of(&other.run(["--json", "list"]).unwrap());
    assert_eq!((code, error["outcome"].as_str()), (Some(72), Some("log_refused")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("another process"), "{error}");
    lab.put("prod/MORE", b"more", &[]);
    // Once the first has gone, the second serves the vault as it was left.
    let Lab { daemon, home, reach, .. } = lab;
    drop(daemon);
    let (status, shown) = other
        .terminal(["run", "--with", "prod/MORE", "--", "true"])
        .unwrap()
        .finish()
        .unwrap();
    assert!(status.success(), "{shown}");
    assert!(other.run(["audit", "verify"]).unwrap().status.success());
    drop((second, home, reach));
}

#[test]
fn t52_two_daemons_with_a_memory_each_write_one_vault_at_once_and_lose_nothing() {
    let one = Lab::new();
    let two = one.elsewhere();
    // One vault for both; what they remember of it, and their logs, are their own.
    fs::remove_dir_all(two.vault()).unwrap();
    symlink(one.vault(), two.vault()).unwrap();
    let mut acknowledged = vec!["prod/TOKEN".to_owned()];
    for round in 0..4 {
        let puts: Vec<_> = [&one, &two]
            .iter()
            .enumerate()
            .map(|(n, lab)| {
                let name = format!("prod/N{round}_{n}");
                fs::write(lab.home.work().join("value"), &name).unwrap();
                (lab.home.terminal(["put", &name, "--from-file", "value"]).unwrap(), name)
            })
            .collect();
        for (put, name) in puts {
            let (status, shown) = put.finish_within(Duration::from_secs(60)).unwrap();
            // Who was asked about a state that the other has changed meanwhile is told so, and has to look again.
            assert!(status.success() || status.code() == Some(71), "{shown}");
            acknowledged.extend(status.success().then_some(name));
        }
    }
    println!(
        "T52 daemons: {} of 8 changes at once acknowledged, and all of those are there",
        acknowledged.len() - 1
    );
    for lab in [&one, &two] {
        let list = lab.home.run(["--json", "list"]).unwrap();
        let list: Value = serde_json::from_slice(&list.stdout).unwrap();
        let listed: Vec<&str> = list["secrets"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|one| one["secret"].as_str())
            .collect();
        assert!(
            acknowledged.iter().all(|name| listed.contains(&name.as_str())),
            "{acknowledged:?} {list}"
        );
        let last = acknowledged.last().unwrap();
        lab.person(&["run", "--with", last, "--", "true"]);
        assert!(lab.home.run(["audit", "verify"]).unwrap().status.success());
    }
    assert!(acknowledged.len() > 4, "{acknowledged:?}");
}

/// What this process holds: resident memory in KiB, descriptors.
fn held() -> (u64, usize) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let memory = line.split_whitespace().next().unwrap().parse().unwrap();
    (memory, fs::read_dir("/proc/self/fd").unwrap().count())
}

/// One lease, or one that fails on the way: denied on the key, left by its requester, with the key pulled out and put in again.
fn one(lab: &Lab, n: usize) -> bool {
    // Past the brakes, and past the end of what was left.
    lab.clock.suspend(Duration::from_secs(130));
    let whole = !n.is_multiple_of(10);
    match n % 30 {
        0 => lab.key.deny().unwrap(),
        10 => lab.key.never().unwrap(),
        _ => lab.key.grant().unwrap(),
    }
    let mut caller = lab.call(&lease_call(json!({})));
    if n % 30 == 10 {
        assert!(lab.key.await_asked(Duration::from_secs(20)).unwrap());
        caller.kill();
        return false;
    }
    let reply = caller.reply().unwrap();
    assert_eq!(reply["reply"] == "granted", whole || n % 30 == 20, "{n}: {reply}");
    if n % 30 == 20 {
        lab.key.pull().unwrap();
        lab.key.plug().unwrap();
    }
    reply["reply"] == "granted"
}

fn soak(count: usize) {
    let lab = Lab::new();
    let mut watch = lab.home.watch().unwrap();
    let settled = || {
        until("the last lease's end", || {
            lab.status()["leases"] == 0 && lab.status()["prompts"] == 0
        })
    };
    // Everything that is made once is there by then.
    let warm = (1..=90).filter(|n| one(&lab, *n)).count();
    settled();
    let before = held();
    let granted = (1..=count).filter(|n| {
        // What the screen shows is kept by the test, in the process that is measured.
        watch.forget();
        one(&lab, *n)
    });
    let granted = granted.count();
    settled();
    let after = held();
    println!(
        "T61 leases: {granted} of {count} leases after {warm}, the others denied or left; memory {} -> {} KiB, descriptors {} -> {}",
        before.0, after.0, before.1, after.1
    );
    assert_eq!(granted, count - count / 10 + count / 30 + usize::from(count % 30 >= 20));
    assert!(after.1 <= before.1 + 4, "descriptors: {before:?} {after:?}");
    assert!(after.0 <= before.0 + 8 * 1024, "memory: {before:?} {after:?}");
    lab.key.grant().unwrap();
    assert!(lab.home.run(["audit", "verify"]).unwrap().status.success());
}

#[test]
fn t61_a_hundred_and_twenty_leases_with_faults_leave_memory_and_descriptors_as_they_were() {
    soak(120);
}

#[test]
#[ignore = "long"]
fn t61_a_hundred_thousand_leases_with_faults_leave_memory_and_descriptors_as_they_were() {
    soak(100_000);
}
