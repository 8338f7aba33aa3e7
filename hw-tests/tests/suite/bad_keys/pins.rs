//! Keys whose PIN is running out, or came later than the enrolment.

use std::sync::Arc;

use hw_tests::{
    conformance::{Machine, machine::said, rigs::InProcess},
    ctap::{Ctap, Done, Front, GET_ASSERTION, GET_INFO},
    host::Host,
    key::PIN,
};

use touchlease::encoding::sshsig::RP_ID;

use super::{approvals, behind, honest, overheard, rig, run, witnessed};
use crate::lab::{Dice, until};

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
            let question = match 8 - entries {
                1 => "(ONE try left before the key blocks): ".to_owned(),
                left => format!("({left} tries left): "),
            };
            request.watch.expect(&question).unwrap();
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
