//! A key with a fingerprint sensor: adding, naming, listing and removing, with a finger that does not do what the sensor wants.

use std::sync::Arc;

use hw_tests::{
    conformance::{Machine, machine::LIMIT, rigs::InProcess},
    ctap::Ctap,
    finger::{Finger, Mode},
    harness::Terminal,
    hid_socket::HidSocket,
    key::{Key, PIN},
    stubs::sensor::{LONGEST_NAME, ROOM, Sensor},
};

use super::{honest, rig};
use crate::lab::until;

fn key() -> (InProcess, Arc<Sensor>) {
    let finger = Arc::new(Finger::new(Mode::Never));
    let sensor = Arc::new(Sensor::new(finger.clone()));
    let ctap: Arc<dyn Ctap> = sensor.clone();
    (rig(Key::new(finger, ctap.clone(), HidSocket::new(ctap))), sensor)
}

/// The command on a person's terminal, with the PIN typed.
fn typed(machine: &Machine<'_>, arguments: &[&str]) -> Terminal {
    let mut screen = machine.home.terminal([&["key", "fingerprint"], arguments].concat()).unwrap();
    screen.expect("PIN: ").unwrap();
    screen.type_in(&format!("{PIN}\n")).unwrap();
    screen
}

fn shown(machine: &Machine<'_>, arguments: &[&str]) -> (Option<i32>, String) {
    let (status, shown) = typed(machine, arguments).finish().unwrap();
    assert!(!shown.contains(PIN), "{arguments:?}: the PIN was echoed");
    (status.code(), shown)
}

fn names(sensor: &Sensor) -> Vec<Option<String>> {
    sensor.templates().into_iter().map(|(_, name)| name).collect()
}

#[test]
fn a_fingerprint_is_added_sample_by_sample_listed_renamed_and_removed() {
    let (rig, sensor) = key();
    let machine = Machine::new(&rig).unwrap();
    let listed = |machine: &Machine<'_>| machine.json(&["key", "list"]).unwrap()["keys"][0]["built_in_uv"] == true;
    let (code, said) = shown(&machine, &["list"]);
    assert!(code == Some(0) && said.contains("none"), "{said}");
    assert!(!listed(&machine));

    let mut screen = typed(&machine, &["add", "left thumb"]);
    screen.expect("touch the key now: it blinks").unwrap();
    for left in [3, 2, 1] {
        machine.touch(0, &mut screen).unwrap();
        screen.expect(&format!("touch the sensor again, {left} more")).unwrap();
    }
    machine.touch(0, &mut screen).unwrap();
    let (status, said) = screen.finish().unwrap();
    assert!(status.success() && said.contains("the sensor has all that it wants"), "{said}");
    assert_eq!(names(&sensor), [Some("left thumb".into())]);
    // From the first one on it stands in for the PIN, and the key says so without being plugged in anew.
    assert!(listed(&machine));

    let (code, said) = shown(&machine, &["list"]);
    assert!(code == Some(0) && said.contains("left thumb") && said.contains("01"), "{said}");
    assert_eq!(shown(&machine, &["rename", "01", "right thumb"]).0, Some(0));
    assert_eq!(names(&sensor), [Some("right thumb".into())]);
    sensor.add_nameless();
    let (code, said) = shown(&machine, &["list"]);
    assert!(
        code == Some(0) && said.contains("right thumb") && said.contains("(no name)"),
        "{said}"
    );
    for id in ["01", "02"] {
        assert_eq!(shown(&machine, &["remove", id]).0, Some(0));
    }
    assert_eq!(names(&sensor), []);
    assert!(!listed(&machine));
    assert_eq!(machine.json(&["key", "info"]).unwrap()["pin_tries"], 8);
}

#[test]
fn a_sample_that_does_not_count_is_told_in_words_and_asked_for_again() {
    let (rig, sensor) = key();
    let machine = Machine::new(&rig).unwrap();
    let bad = [
        (0x01, "the finger lay too high"),
        (0x07, "its quality is too poor: clean sensor and finger"),
        (0x09, "the touch was too short"),
        (0x0b, "this finger is on the key already: take another one"),
        (0x0e, "the finger was not lifted in between"),
        (0x42, "the key does not say why"),
    ];
    sensor.samples(&bad.map(|(status, _)| status));
    let mut screen = typed(&machine, &["add", "thumb"]);
    for (_, why) in bad {
        machine.touch(0, &mut screen).unwrap();
        screen.expect(&format!("that does not count ({why});")).unwrap();
        screen.expect("4").unwrap();
    }
    machine.keys[0].grant().unwrap();
    let (status, said) = screen.finish().unwrap();
    assert!(status.success(), "{said}");
    assert_eq!(names(&sensor), [Some("thumb".into())]);
}

#[test]
fn an_enrolment_that_is_stopped_or_waits_in_vain_is_taken_back_and_leaves_nothing() {
    let (rig, sensor) = key();
    let machine = Machine::new(&rig).unwrap();
    // Stopped before the first sample, and after some.
    for (round, samples) in [0, 2].into_iter().enumerate() {
        let mut screen = typed(&machine, &["add", "thumb"]);
        for _ in 0..samples {
            machine.touch(0, &mut screen).unwrap();
            screen.expect("more").unwrap();
        }
        machine.blinks(0).unwrap();
        screen.type_in("\u{3}").unwrap();
        assert!(!screen.finish().unwrap().0.success());
        until("it is taken back", || sensor.taken_back() == round + 1);
    }
    // Nobody comes: at the first sample, and at the second. The key says it in two ways.
    for (round, samples) in [0, 1].into_iter().enumerate() {
        let mut screen = typed(&machine, &["add", "thumb"]);
        for _ in 0..samples {
            machine.touch(0, &mut screen).unwrap();
            screen.expect("3 more").unwrap();
        }
        machine.blinks(0).unwrap();
        assert!(machine.keys[0].expire().unwrap());
        let (status, said) = screen.finish().unwrap();
        assert_eq!(status.code(), Some(61), "{said}");
        assert!(said.contains("nobody touched the key in time"), "{said}");
        assert_eq!(sensor.taken_back(), round + 3);
    }
    // Pulled out: a key forgets it by itself.
    let mut screen = typed(&machine, &["add", "thumb"]);
    machine.blinks(0).unwrap();
    machine.keys[0].pull().unwrap();
    let (status, said) = screen.finish().unwrap();
    assert!(status.code() == Some(63) && said.contains("pulled out"), "{said}");
    machine.keys[0].plug().unwrap();
    assert_eq!(names(&sensor), []);
    assert!(!sensor.is_enrolling());
    screen = typed(&machine, &["list"]);
    screen.expect_within("none", LIMIT).unwrap();
}

#[test]
fn what_a_sensor_refuses_is_refused_in_words_before_anybody_touches_it() {
    let (rig, sensor) = key();
    let machine = Machine::new(&rig).unwrap();
    let refused = |arguments: &[&str], code: i32, words: &str| {
        let (status, said) = shown(&machine, arguments);
        assert!(status == Some(code) && said.contains(words), "{arguments:?}: {status:?} {said}");
    };
    let long = "x".repeat(LONGEST_NAME + 1);
    refused(&["add", &long], 65, "the key takes a fingerprint's name of 15 bytes at most");
    for name in [" ", "a\u{200b}b"] {
        refused(&["add", name], 65, "the fingerprint's name");
    }
    refused(&["remove", "99"], 65, "the key has no fingerprint of this id");
    refused(&["rename", "99", "thumb"], 65, "the key has no fingerprint of this id");
    refused(&["remove", "thumb"], 65, "a fingerprint's id is hexadecimal");
    (0..ROOM).for_each(|_| sensor.add_nameless());
    refused(&["add", "thumb"], 62, "the key has no room for one more fingerprint");
    assert_eq!(machine.keys[0].counts().unwrap().asked, 0);
    assert_eq!(names(&sensor), vec![None; ROOM]);
    assert_eq!(machine.json(&["key", "info"]).unwrap()["pin_tries"], 8);
}

#[test]
fn t57_a_wrong_pin_costs_one_try_and_no_key_without_a_sensor_gets_one() {
    let (rig, _) = key();
    let machine = Machine::new(&rig).unwrap();
    let mut screen = machine.home.terminal(["key", "fingerprint", "list"]).unwrap();
    screen.expect("PIN: ").unwrap();
    screen.type_in("not the PIN\n").unwrap();
    let (status, said) = screen.finish().unwrap();
    assert!(
        status.code() == Some(66) && said.contains("the PIN is wrong: 7 tries left"),
        "{said}"
    );
    let rig = super::rig(honest());
    let machine = Machine::new(&rig).unwrap();
    let mut screen = machine.home.terminal(["key", "fingerprint", "list"]).unwrap();
    screen.expect("PIN: ").unwrap();
    screen.type_in("not the PIN\n").unwrap();
    let (status, said) = screen.finish().unwrap();
    assert!(status.code() == Some(62) && said.contains("it has no fingerprint sensor"), "{said}");
    assert_eq!(machine.json(&["key", "info"]).unwrap()["pin_tries"], 8);
}
