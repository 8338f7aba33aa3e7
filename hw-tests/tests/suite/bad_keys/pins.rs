//! Keys whose PIN is running out, or came later than the enrolment.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    sync::Arc,
};

use data_encoding::BASE64;
use hw_tests::{
    conformance::{Machine, machine::said, rigs::InProcess},
    ctap::{Ctap, Done, Front, GET_ASSERTION, GET_INFO},
    harness::Terminal,
    host::Host,
    key::PIN,
};

use touchlease::encoding::sshsig::RP_ID;

use super::{approvals, behind, honest, overheard, rig, run, witnessed};
use crate::lab::{Dice, WIRECAT, until};

const RUN: &[&str] = &["run", "--with", "prod/TOKEN", "--", "true"];

#[test]
fn t57_every_entry_costs_one_try_the_last_is_announced_and_then_the_key_is_blocked() {
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    let mut entries = 0;
    // A key takes three wrong PINs between power-ups, and eight in all (CTAP 2.1, 6.5.5.6).
    for round in [3, 3, 2] {
        machine.keys[0].pull().unwrap();
        machine.keys[0].plug().unwrap();
        let mut request = machine.request(RUN).unwrap();
        for _ in 0..round {
            if 8 - entries == 1 {
                request
                    .watch
                    .expect("ONE try left before \"blue\" blocks; type yes to use it: ")
                    .unwrap();
                request.watch.type_in("yes\n").unwrap();
                request.watch.expect("(ONE try left before the key blocks): ").unwrap();
            } else {
                request.watch.expect(&format!("({} tries left): ", 8 - entries)).unwrap();
            }
            request.watch.type_in("not the PIN\n").unwrap();
            entries += 1;
        }
        let output = request.finish().unwrap();
        assert_eq!(output.status.code(), Some(66), "{}", said(&output));
        let tries = machine.json(&["key", "info"]).unwrap()["pin_tries"].clone();
        assert_eq!(tries, 8 - entries, "after {entries} entries");
    }
    machine.keys[0].pull().unwrap();
    machine.keys[0].plug().unwrap();
    let output = machine.approved(RUN).unwrap();
    assert_eq!(output.status.code(), Some(66), "{}", said(&output));
    assert!(said(&output).contains("PIN is blocked"), "{}", said(&output));
    assert_eq!(approvals(&machine), 0);
}

#[test]
fn t57_the_last_try_is_not_spent_by_a_pin_that_was_typed_ahead_of_the_question() {
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    leave_one_try(&machine);
    machine.json(&["lock"]).unwrap();
    let mut request = machine.request(RUN).unwrap();
    request.watch.expect("type yes to use it: ").unwrap();
    request.watch.type_in("not the PIN\n").unwrap();
    let output = request.finish().unwrap();
    assert_eq!(output.status.code(), Some(60), "{}", said(&output));
    // And at the commands that take a PIN without a request.
    let mut list = machine.home.terminal(["key", "credentials"]).unwrap();
    list.expect("ONE try left before the key blocks; type yes to use it: ").unwrap();
    list.type_in(&format!("{PIN}\n")).unwrap();
    let (status, shown) = list.finish().unwrap();
    assert_eq!(status.code(), Some(60), "{shown}");
    assert_eq!(machine.json(&["key", "info"]).unwrap()["pin_tries"], 1);
}

/// Wrong PINs from elsewhere, until one is left.
fn leave_one_try(machine: &Machine<'_>) {
    for round in [3, 3, 1] {
        machine.keys[0].pull().unwrap();
        machine.keys[0].plug().unwrap();
        let mut request = machine.request(RUN).unwrap();
        for _ in 0..round {
            request.watch.expect("tries left): ").unwrap();
            request.watch.type_in("not the PIN\n").unwrap();
        }
        if round == 3 {
            request.finish().unwrap();
        } else {
            request.watch.expect("type yes").unwrap();
            request.abandon().unwrap();
        }
    }
}

#[test]
fn t57_what_can_be_no_pin_is_refused_before_anything_is_sent_and_asked_for_again() {
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    let left = || Host(rig.usb_keys()[0].key().ctap().clone()).pin_retries().unwrap();
    let refused = |screen: &mut Terminal, question: &str| {
        let long = "1".repeat(64);
        for (typed, said) in [
            ("", "no PIN was typed"),
            ("123", "a PIN has 4 characters or more"),
            (&*long, "a PIN has 63 bytes at most"),
        ] {
            screen.expect(question).unwrap();
            screen.type_in(&format!("{typed}\n")).unwrap();
            screen.expect(said).unwrap();
        }
        screen.expect(question).unwrap();
        assert_eq!(left(), 8);
    };
    let finish = |mut screen: Terminal| {
        screen.type_in(&format!("{PIN}\n")).unwrap();
        screen.finish().unwrap()
    };
    machine.keys[0].grant().unwrap();
    let mut init = machine.home.terminal(["init", "--key", "blue", "--scope", "prod"]).unwrap();
    refused(&mut init, "tries left): ");
    let (status, shown) = finish(init);
    assert!(status.success(), "{shown}");
    machine.put("TOKEN", "correct-horse-battery").unwrap();
    machine.json(&["lock"]).unwrap();
    // Stopped at the prompt is something else than nothing typed.
    let mut unlock = machine.home.terminal(["unlock"]).unwrap();
    refused(&mut unlock, "PIN of \"blue\": ");
    unlock.type_in("\u{3}").unwrap();
    let (status, shown) = unlock.finish().unwrap();
    assert!(status.code() == Some(60) && shown.contains("you stopped it"), "{shown}");
    let mut unlock = machine.home.terminal(["unlock"]).unwrap();
    refused(&mut unlock, "PIN of \"blue\": ");
    let (status, shown) = finish(unlock);
    assert!(status.success() && shown.contains("PIN of \"blue\" kept"), "{shown}");
    let mut change = machine.home.terminal(["key", "pin", "change"]).unwrap();
    refused(&mut change, "present PIN: ");
    change.type_in("\u{4}").unwrap();
    let (status, shown) = change.finish().unwrap();
    assert!(status.code() == Some(60) && shown.contains("nothing was changed"), "{shown}");
    assert_eq!(left(), 8);
}

#[test]
fn t57_what_can_be_no_pin_is_refused_by_the_daemon_too_whatever_program_sends_it() {
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    machine.json(&["lock"]).unwrap();
    let mut relay = Command::new(WIRECAT);
    relay.arg("relay").arg(machine.home.places().unwrap().socket());
    let mut screen = Terminal::start(&relay).unwrap();
    screen
        .type_in("{\"v\":1,\"screen\":true,\"request\":{\"do\":\"watch\"}}\n")
        .unwrap();
    until("the screen", || machine.json(&["status"]).unwrap()["screens"] == 1);
    let mut command = machine.home.detached(RUN);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    screen.expect("{\"event\":\"prompt\",\"prompt\":").unwrap();
    screen.expect(",").unwrap();
    let said_so = screen.output();
    let number = said_so.rsplit_once("\"prompt\":").unwrap().1.split(',').next().unwrap().to_owned();
    screen.type_in(&format!("{{\"answer\":\"shown\",\"prompt\":{number}}}\n")).unwrap();
    screen.expect("pin_needed").unwrap();
    let short = BASE64.encode(b"123");
    screen
        .type_in(&format!(
            "{{\"answer\":\"pin\",\"prompt\":{number},\"key\":\"blue\",\"pin\":\"{short}\"}}\n"
        ))
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(65), "{}", said(&output));
    assert!(said(&output).contains("a PIN has 4 characters or more"), "{}", said(&output));
    assert_eq!(machine.json(&["key", "info"]).unwrap()["pin_tries"], 8);
}

#[test]
fn t57_an_enrolment_asks_again_for_a_wrong_pin_and_ends_when_the_key_takes_no_more() {
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    let wrong = |arguments: &[&str], which: usize, name: &str, from: u64| {
        let mut screen = machine.home.terminal(arguments).unwrap();
        for left in (from - 2..=from).rev() {
            screen.expect(&format!("PIN of \"{name}\" ({left} tries left): ")).unwrap();
            screen.type_in("not the PIN\n").unwrap();
        }
        let (status, shown) = screen.finish().unwrap();
        assert!(
            status.code() == Some(66) && shown.contains("until it is pulled out"),
            "{status} {shown}"
        );
        // Nobody is asked for a PIN that the key would not look at.
        let (status, shown) = machine.home.terminal(arguments).unwrap().finish().unwrap();
        assert!(status.code() == Some(66) && !shown.contains("PIN of"), "{status} {shown}");
        machine.keys[which].pull().unwrap();
        machine.keys[which].plug().unwrap();
        let left = Host(rig.usb_keys()[which].key().ctap().clone()).pin_retries().unwrap();
        assert_eq!(left, from - 3, "after three entries");
    };
    wrong(&["init", "--key", "blue", "--scope", "prod"], 0, "blue", 8);
    machine.vault().unwrap();
    machine.keys[1].plug().unwrap();
    wrong(&["key", "add", "spare"], 1, "spare", 8);
    // Before the last one of all it is asked whether to spend it.
    wrong(&["key", "add", "spare"], 1, "spare", 5);
    let mut add = machine.home.terminal(["key", "add", "spare"]).unwrap();
    add.expect("PIN of \"spare\" (2 tries left): ").unwrap();
    add.type_in("not the PIN\n").unwrap();
    add.expect("wrong PIN; ONE try left before \"spare\" blocks; type yes to use it: ")
        .unwrap();
    add.type_in("no\n").unwrap();
    let (status, shown) = add.finish().unwrap();
    assert!(status.code() == Some(60) && shown.contains("you stopped it"), "{status} {shown}");
    let mut add = machine.home.terminal(["key", "add", "spare"]).unwrap();
    add.expect("type yes to use it: ").unwrap();
    add.type_in("yes\n").unwrap();
    add.expect("PIN of \"spare\" (ONE try left before the key blocks): ").unwrap();
    add.type_in("not the PIN\n").unwrap();
    let (status, shown) = add.finish().unwrap();
    assert!(status.code() == Some(66) && shown.contains("PIN is blocked"), "{status} {shown}");
    let (status, shown) = machine.home.terminal(["key", "add", "spare"]).unwrap().finish().unwrap();
    assert!(status.code() == Some(66) && !shown.contains("PIN of"), "{status} {shown}");
}

#[test]
fn t57_two_keys_are_asked_for_their_pins_each_with_its_own_tries() {
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    machine.spare().unwrap();
    machine.json(&["lock"]).unwrap();
    let mut request = machine.request(RUN).unwrap();
    let mut left = BTreeMap::from([("blue", 8), ("spare", 8)]);
    // Three entries make a difference between the two; at its own third a key blocks.
    while left.values().sum::<u64>() > 16 - 3 {
        let shown = request.watch.expect(" tries left): ").unwrap();
        let question = shown.rsplit_once("PIN of \"").unwrap().1;
        let (name, says) = question.split_once("\" (").unwrap();
        let (name, tries) = left.iter_mut().find(|(known, _)| **known == name).unwrap();
        if says == format!("{} tries left): ", *tries + 1) {
            continue; // drawn again in the moment in which it was answered
        }
        assert_eq!(says, format!("{tries} tries left): "), "of {name}: {shown}");
        request.watch.type_in("not the PIN\n").unwrap();
        *tries -= 1;
    }
    let tries = |which: usize| Host(rig.usb_keys()[which].key().ctap().clone()).pin_retries().unwrap();
    until("the last entry's end", || [tries(0), tries(1)] == [left["blue"], left["spare"]]);
    request.abandon().unwrap();
}

#[test]
fn a_key_whose_pin_is_kept_is_armed_and_said_so_while_the_pin_of_another_can_be_typed() {
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    machine.spare().unwrap();
    machine.json(&["lock"]).unwrap();
    let unlock = |key: &str| {
        let mut unlock = machine.home.terminal(["unlock", key]).unwrap();
        unlock.expect(": ").unwrap();
        unlock.type_in(&format!("{PIN}\n")).unwrap();
        assert!(unlock.finish().unwrap().0.success());
    };
    for (which, key, other) in [(0, "blue", "spare"), (1, "spare", "blue")] {
        unlock(key);
        let mut request = machine.request(RUN).unwrap();
        machine.blinks(which).unwrap();
        request.watch.expect(&format!("touch \"{key}\" (armed), or type:")).unwrap();
        request.watch.expect(&format!("PIN of \"{other}\" (8 tries left): ")).unwrap();
        machine.keys[which].press().unwrap();
        assert!(request.finish().unwrap().status.success());
        machine.json(&["lock"]).unwrap();
    }
    // Both, once both PINs are there.
    unlock("blue");
    let mut request = machine.request(RUN).unwrap();
    request.watch.expect("PIN of \"spare\" (8 tries left): ").unwrap();
    request.watch.type_in(&format!("{PIN}\n")).unwrap();
    machine.blinks(1).unwrap();
    request.watch.expect("\" (USB) or \"").unwrap();
    request.watch.expect("\" (USB) now: it blinks").unwrap();
    machine.keys[1].press().unwrap();
    assert!(request.finish().unwrap().status.success());
}

/// PINs typed in the everyday run, and in the long one.
const ENTRIES: u32 = 14;
const LONG: u32 = 500;

#[test]
fn p11_t57_no_pin_is_tried_that_nobody_typed() {
    typed_is_tried(ENTRIES);
}

#[test]
#[ignore = "long"]
fn p11_t57_no_pin_is_tried_that_nobody_typed_500_times() {
    typed_is_tried(LONG);
}

/// Two keys, one plugged in at a time; PINs right and wrong, requests that go away, keys that go away, PINs that are forgotten.
fn typed_is_tried(of: u32) {
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    machine.spare().unwrap();
    machine.keys[1].pull().unwrap();
    machine.json(&["lock"]).unwrap();
    let left = |which: usize| Host(rig.usb_keys()[which].key().ctap().clone()).pin_retries().unwrap();
    let mut dice = Dice(0x7410_0011);
    // What each key should have left, and how many were wrong since it was plugged in.
    let (mut model, mut wrong, mut which, mut kept) = ([8, 8], 0, 0, false);
    let (mut entries, mut wrong_in_all, mut spent) = (0, 0, 0);
    for number in 1.. {
        if entries == of {
            break;
        }
        if number % 10 == 0 {
            // Room for ten more prompts; a PIN does not outlive its daemon.
            machine.restart("").unwrap();
            kept = false;
        }
        let mut request = machine.request(RUN).unwrap();
        let mut is_over = false;
        while !kept && !is_over && entries < of {
            request.watch.expect("): ").unwrap();
            match dice.roll(4) {
                0 => is_over = true,
                1 | 2 if wrong < 2 && model[which] > 2 => {
                    request.watch.type_in("not the PIN\n").unwrap();
                    (model[which], wrong, entries, wrong_in_all) = (model[which] - 1, wrong + 1, entries + 1, wrong_in_all + 1);
                    request.watch.expect("wrong").unwrap();
                    spent += u32::from(left(which) == model[which]);
                }
                _ => {
                    request.watch.type_in(&format!("{PIN}\n")).unwrap();
                    (model[which], wrong, entries, kept) = (8, 0, entries + 1, true);
                }
            }
        }
        if kept {
            machine.touch(which, &mut request.watch).unwrap();
            assert!(request.finish().unwrap().status.success());
        } else {
            request.abandon().unwrap();
        }
        match dice.roll(3) {
            0 => drop(machine.json(&["lock"]).unwrap()),
            1 => {
                machine.keys[which].pull().unwrap();
                which = usize::try_from(dice.roll(2)).unwrap();
                machine.keys[which].plug().unwrap();
                wrong = 0;
            }
            _ => continue,
        }
        kept = false;
        assert_eq!([left(0), left(1)], model, "after {entries} entries");
    }
    assert_eq!([left(0), left(1)], model, "after {entries} entries");
    println!("P11: {entries} of {of} entries; {wrong_in_all} wrong ones, {spent} tries spent");
    assert_eq!((entries, spent), (of, wrong_in_all));
}

#[test]
fn t08_a_touch_only_key_that_gets_a_pin_later_opens_without_it() {
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    machine.keys[0].reset().unwrap();
    machine.done(&["init", "--key", "blue", "--scope", "prod"]).unwrap();
    machine.put("TOKEN", "correct-horse-battery").unwrap();
    machine.keys[0].set_pin().unwrap();
    let (code, said, ran) = run(&machine);
    assert!(code == Some(0) && ran, "{said}");
}

#[test]
fn a_key_that_gives_up_is_asked_the_same_again_with_a_fresh_pin_token() {
    let (rig, witness) = witnessed();
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    let mut request = machine.request(RUN).unwrap();
    machine.blinks(0).unwrap();
    let asked = machine.keys[0].counts().unwrap().asked;
    assert!(machine.keys[0].expire().unwrap());
    until("the second question", || machine.keys[0].counts().unwrap().asked > asked);
    machine.touch(0, &mut request.watch).unwrap();
    assert!(request.finish().unwrap().status.success());
    let mut leases = overheard(&witness);
    leases.retain(|request| hw_tests::host::member(request, 1).and_then(ciborium::Value::as_text) == Some(RP_ID));
    let [.., first, second] = &leases[..] else { panic!("{leases:?}") };
    let part = |request, number| hw_tests::host::member(request, number).cloned().unwrap();
    assert_eq!(part(first, CLIENT_DATA_HASH), part(second, CLIENT_DATA_HASH));
    assert_ne!(part(first, PIN_AUTH), part(second, PIN_AUTH), "the same token over the same bytes");
}

#[test]
fn t08_a_changed_pin_opens_and_the_old_one_costs_a_try() {
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    let mut host = hw_tests::host::Host(rig.usb_keys()[0].key().ctap().clone());
    host.change_pin(hw_tests::host::Protocol::Two, PIN, "another pin").unwrap();
    // The one that is kept is the old one: it is tried once, and forgotten.
    let mut request = machine.request(RUN).unwrap();
    request.watch.expect("(7 tries left): ").unwrap();
    request.watch.type_in("another pin\n").unwrap();
    machine.touch(0, &mut request.watch).unwrap();
    assert!(request.finish().unwrap().status.success());
    assert_eq!(machine.json(&["key", "info"]).unwrap()["pin_tries"], 8);
}

/// A key on which alwaysUv was switched on: no signature with presence and without PIN (CTAP 2.1, 6.2.2, step 3).
struct AlwaysUv(Arc<dyn Ctap>, Arc<std::sync::atomic::AtomicBool>);

const CLIENT_DATA_HASH: i64 = 2;
const PIN_AUTH: i64 = 6;
const OPTIONS: i64 = 5;
const PUAT_REQUIRED: u8 = 0x36;

impl Front for AlwaysUv {
    fn behind(&self) -> &dyn Ctap {
        &*self.0
    }

    fn answer(&self, request: Vec<u8>, done: Done) {
        let wants = |request: &[u8]| {
            let parameters: ciborium::Value = ciborium::from_reader(&request[1..]).unwrap();
            let silent = hw_tests::host::member(&parameters, OPTIONS).is_some();
            !silent && hw_tests::host::member(&parameters, PIN_AUTH).is_none()
        };
        let is_on = self.1.load(std::sync::atomic::Ordering::Relaxed);
        if is_on && request[0] == GET_ASSERTION && wants(&request) {
            done(vec![PUAT_REQUIRED]);
        } else {
            self.0.submit(request, done);
        }
    }
}

#[test]
fn t08_always_uv_under_a_touch_only_key_is_a_clear_error() {
    let is_on = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let rig = rig(behind(|inner| Arc::new(AlwaysUv(inner, is_on.clone()))));
    let machine = Machine::new(&rig).unwrap();
    machine.done(&["init", "--key", "blue", "--scope", "prod", "--touch-only"]).unwrap();
    machine.put("TOKEN", "correct-horse-battery").unwrap();
    is_on.store(true, std::sync::atomic::Ordering::Relaxed);
    let (code, said, ran) = run(&machine);
    assert!(!ran && code == Some(62), "{said}");
    assert!(said.contains("switch alwaysUv off"), "{said}");
}

/// A key on which a fingerprint was set up (CTAP 2.1, 6.4: option `uv`).
struct Fingerprint(Arc<dyn Ctap>);

impl Front for Fingerprint {
    fn behind(&self) -> &dyn Ctap {
        &*self.0
    }

    fn answer(&self, request: Vec<u8>, done: Done) {
        let says = request == [GET_INFO];
        self.0.submit(
            request,
            Box::new(move |answer| done(if says { with_fingerprint(&answer) } else { answer })),
        );
    }
}

fn with_fingerprint(answer: &[u8]) -> Vec<u8> {
    let mut info: ciborium::Value = ciborium::from_reader(&answer[1..]).unwrap();
    let members = info.as_map_mut().unwrap();
    let (_, options) = members.iter_mut().find(|(name, _)| *name == ciborium::Value::from(4)).unwrap();
    // Behind `rk` and `up`, in the order of CTAP2's canonical CBOR.
    options.as_map_mut().unwrap().insert(2, ("uv".into(), true.into()));
    let mut bytes = vec![answer[0]];
    ciborium::into_writer(&info, &mut bytes).unwrap();
    bytes
}

#[test]
fn p3_where_a_fingerprint_stands_in_for_the_pin_it_is_said_that_a_stolen_touch_counts_as_pin() {
    const SAID: &str = "a stolen touch counts as PIN";
    let with_sensor = || behind(|inner| Arc::new(Fingerprint(inner)));
    let rig = rig(with_sensor());
    let machine = Machine::new(&rig).unwrap();
    let shown = machine.done(&["init", "--key", "blue", "--scope", "prod"]).unwrap();
    assert!(shown.contains(SAID), "{shown}");
    for arguments in [&["key", "list"][..], &["key", "info", "blue"]] {
        let output = machine.home.run(arguments).unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains(SAID), "{arguments:?}: {output:?}");
    }
    assert_eq!(machine.json(&["key", "list"]).unwrap()["keys"][0]["built_in_uv"], true);

    let rig = InProcess::with_keys(crate::product(), [honest(), with_sensor()]).unwrap();
    let machine = Machine::new(&rig).unwrap();
    let shown = machine.done(&["init", "--key", "blue", "--scope", "prod"]).unwrap();
    assert!(!shown.contains(SAID), "{shown}");
    machine.keys[1].plug().unwrap();
    let shown = machine.done(&["key", "add", "spare"]).unwrap();
    assert!(shown.contains(SAID), "{shown}");
    // For touch alone there is no PIN that it could stand in for.
    let rig = self::rig(with_sensor());
    let machine = Machine::new(&rig).unwrap();
    let shown = machine.done(&["init", "--key", "blue", "--scope", "prod", "--touch-only"]).unwrap();
    assert!(!shown.contains(SAID), "{shown}");
}

#[test]
fn t08_a_pin_set_since_the_key_was_plugged_in_is_seen_at_its_enrolment() {
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    machine.keys[0].pull().unwrap();
    machine.keys[0].reset().unwrap();
    machine.keys[0].plug().unwrap();
    // What the key says of itself is known from here on.
    assert_eq!(machine.json(&["key", "info"]).unwrap()["pin_tries"], serde_json::Value::Null);
    machine.keys[0].set_pin().unwrap();
    machine.done(&["init", "--key", "blue", "--scope", "prod"]).unwrap();
    assert_eq!(machine.json(&["key", "list"]).unwrap()["keys"][0]["profile"], "pin");
}
