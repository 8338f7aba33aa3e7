//! A man in the middle of the wire who can sign for the key, and one who remembers.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use hw_tests::{
    conformance::Machine,
    ctap::{Ctap, Done, Front, GET_ASSERTION, GET_INFO},
    key::{KeyHandle, PIN},
    stubs::{
        impostor::{Impostor, Recognition},
        liar::{Liar, Lie},
        recorder::Recorder,
    },
};

use super::{approvals, behind, honest, rig, run};

/// A key with a liar in front of it, and the liar.
fn lying() -> (hw_tests::key::Key<hw_tests::hid_socket::HidSocket>, Arc<Liar>) {
    let mut liar = None;
    let key = behind(|inner| {
        let made = Arc::new(Liar::new(inner, [7; 32]));
        liar = Some(made.clone());
        made
    });
    (key, liar.unwrap())
}

/// The lie, told in the assertion of a lease after an honest enrolment.
fn told(lie: Lie, touch_only: bool) -> (Option<i32>, String) {
    let (key, liar) = lying();
    let rig = rig(key);
    let machine = Machine::new(&rig).unwrap();
    let mut init = vec!["init", "--key", "blue", "--scope", "prod"];
    init.extend(touch_only.then_some("--touch-only"));
    machine.done(&init).unwrap();
    machine.put("TOKEN", "correct-horse-battery").unwrap();
    liar.lie(Some(lie));
    let (code, said, ran) = run(&machine);
    assert!(!ran && approvals(&machine) == 0, "{lie:?}: {said}");
    assert!(!said.contains("correct-horse"), "{lie:?}: {said}");
    let log = std::fs::read_to_string(machine.home.log().unwrap()).unwrap();
    assert!(log.contains("\"refused\":{"), "{lie:?} is not on record: {said}");
    liar.lie(None);
    let (code_then, said_then, ran_then) = run(&machine);
    assert!(code_then == Some(0) && ran_then, "honest again after {lie:?}: {said_then}");
    (code, said)
}

#[test]
fn t02_no_lie_in_signed_data_opens_anything() {
    let lies = [
        (Lie::NoPresence, "no proof of a touch"),
        (Lie::OtherRelyingParty, "no proof of a touch"),
        (Lie::ForeignSignature, "no proof of a touch"),
        (Lie::OtherChallenge, "no proof of a touch"),
        (Lie::OtherCredential, "no proof of a touch"),
    ];
    for (lie, sentence) in lies {
        let (code, said) = told(lie, true);
        assert_eq!(code, Some(62), "{lie:?}: {said}");
        assert!(said.contains(sentence), "{lie:?}: {said}");
    }
}

#[test]
fn t02_no_lie_gets_past_the_pin_profile() {
    for lie in [
        Lie::NoPresence,
        Lie::NoVerification,
        Lie::OtherRelyingParty,
        Lie::ForeignSignature,
        Lie::OtherChallenge,
        Lie::OtherCredential,
    ] {
        let (code, said) = told(lie, false);
        assert_eq!(code, Some(62), "{lie:?}: {said}");
        assert!(said.contains("no proof of a touch"), "{lie:?}: {said}");
    }
}

#[test]
fn t02_secrets_that_the_key_did_not_make_open_nothing() {
    for lie in [Lie::OtherSecret, Lie::NoSecret] {
        let (code, said) = told(lie, true);
        assert!(matches!(code, Some(62 | 70 | 71)), "{lie:?}: {said}");
    }
}

#[test]
fn t58_answers_that_are_no_answers_are_errors() {
    for lie in [Lie::Truncated, Lie::Oversized, Lie::Bare, Lie::Empty] {
        let (code, said) = told(lie, true);
        assert_eq!(code, Some(70), "{lie:?}: {said}");
        assert!(said.contains("misbehaves"), "{lie:?}: {said}");
    }
}

#[test]
fn t02_a_key_that_grants_less_protection_than_asked_for_is_not_enrolled_with_its_pin() {
    let (key, liar) = lying();
    let rig = rig(key);
    let machine = Machine::new(&rig).unwrap();
    liar.lie(Some(Lie::LowerProtection));
    let (status, shown) = machine.person(&["init", "--key", "blue", "--scope", "prod"]).unwrap();
    assert_eq!(status.code(), Some(62), "{shown}");
    assert!(shown.contains("protection level 1 of 3"), "{shown}");
    assert!(!machine.home.places().unwrap().vault.exists());
}

#[test]
fn a_counter_that_goes_back_is_recorded_and_shown_and_opens_all_the_same() {
    let (key, liar) = lying();
    let rig = rig(key);
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    assert_eq!(run(&machine).0, Some(0));
    liar.lie(Some(Lie::CounterBack));
    let mut request = machine.request(&["run", "--with", "prod/TOKEN", "--", "true"]).unwrap();
    machine.touch(0, &mut request.watch).unwrap();
    request.watch.expect("the counter of \"blue\" went back from ").unwrap();
    request.watch.expect("approved").unwrap();
    let output = request.finish().unwrap();
    assert!(output.status.success(), "{}", hw_tests::conformance::machine::said(&output));
    let back = machine.events("counter_back").unwrap();
    assert_eq!(back.len(), 1, "{back:?}");
    assert_eq!((&back[0]["name"], &back[0]["now"]), (&"blue".into(), &1.into()), "{back:?}");
}

/// Answers with what the key answered before, once it is told to.
struct Replay {
    inner: Arc<dyn Ctap>,
    last: Arc<Mutex<Option<Vec<u8>>>>,
    on: Arc<AtomicBool>,
}

impl Front for Replay {
    fn behind(&self) -> &dyn Ctap {
        &*self.inner
    }

    fn answer(&self, request: Vec<u8>, done: Done) {
        let last = self.last.clone();
        match last.lock().unwrap().clone().filter(|_| self.on.load(Ordering::Relaxed)) {
            Some(answer) if request[0] == GET_ASSERTION => done(answer),
            _ if request[0] == GET_ASSERTION => self.inner.submit(
                request,
                Box::new({
                    let last = last.clone();
                    move |answer| {
                        *last.lock().unwrap() = Some(answer.clone());
                        done(answer);
                    }
                }),
            ),
            _ => self.inner.submit(request, done),
        }
    }
}

#[test]
fn t11_an_assertion_that_was_good_before_is_good_for_nothing_again() {
    let (last, on) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let rig = rig(behind(|inner| {
        Arc::new(Replay {
            inner,
            last: Arc::clone(&last),
            on: on.clone(),
        })
    }));
    let machine = Machine::new(&rig).unwrap();
    machine.done(&["init", "--key", "blue", "--scope", "prod", "--touch-only"]).unwrap();
    machine.put("TOKEN", "correct-horse-battery").unwrap();
    assert_eq!(run(&machine).0, Some(0));
    on.store(true, Ordering::Relaxed);
    let (code, said, ran) = run(&machine);
    assert!(!ran && said.contains("no proof of a touch"), "{said}");
    assert_eq!((code, approvals(&machine)), (Some(62), 1), "{said}");
}

#[test]
fn t13_a_device_in_the_place_of_an_enrolled_key_is_never_told_its_pin() {
    for recognition in [Recognition::None, Recognition::Forged] {
        let rig = rig(honest());
        let machine = Machine::new(&rig).unwrap();
        machine.vault().unwrap();
        let info = rig.usb_keys()[0].key().ctap().call(&[GET_INFO]);
        machine.keys[0].pull().unwrap();
        let mut witness = None;
        let impostor = behind(|inner| {
            let recorder = Arc::new(Recorder::new(Arc::new(Impostor::new(inner, info, recognition))));
            witness = Some(recorder.clone());
            recorder
        });
        hw_tests::key::Attachment::plug(impostor.attachment()).unwrap();
        rig.ports().add_key(impostor).unwrap().grant().unwrap();
        let mut request = machine.request(&["run", "--with", "prod/TOKEN", "--", "true"]).unwrap();
        let said = match recognition {
            Recognition::None => "is not enrolled in this vault",
            Recognition::Forged => "not the enrolled key",
        };
        request.watch.expect(said).unwrap();
        assert!(!request.watch.output().contains("PIN of"), "it asked for a PIN");
        request.watch.type_in("d").unwrap();
        assert_eq!(request.finish().unwrap().status.code(), Some(60));
        let witness = witness.unwrap();
        assert!(!witness.requests().is_empty(), "nobody asked the impostor anything");
        assert_eq!(witness.pins(), 0);
        // The person who unlocks ahead gives nothing away either: the PIN goes to a key that proves itself, or nowhere.
        let mut screen = machine.home.terminal(["unlock", "blue"]).unwrap();
        screen.expect(": ").unwrap();
        screen.type_in(&format!("{PIN}\n")).unwrap();
        screen.finish().unwrap();
        let mut request = machine.request(&["run", "--with", "prod/TOKEN", "--", "true"]).unwrap();
        request.watch.expect(said).unwrap();
        request.watch.type_in("d").unwrap();
        request.finish().unwrap();
        assert_eq!(witness.pins(), 0);
    }
}
