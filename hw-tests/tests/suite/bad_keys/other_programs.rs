//! Other programs on the same key.

use ciborium::Value;
use hw_tests::{
    conformance::Machine,
    ctap::{GET_ASSERTION, OK},
    ctaphid::packet::{self, Packet, Parsed, command},
    host::hid::HidHost,
    stubs::recorder::Recorder,
};

use super::{approvals, honest, overheard, rig, witnessed};
use crate::lab::until;

#[test]
fn t04_a_key_that_another_program_asked_first_is_not_to_be_touched() {
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    let other = HidHost::connect(rig.usb_keys()[0].key().open().unwrap()).unwrap();
    // authenticatorSelection (CTAP 2.1, 6.9): nothing but a touch.
    other.send(command::CBOR, &[0x0b]).unwrap();
    machine.blinks(0).unwrap();
    let mut request = machine.request(&["run", "--with", "prod/TOKEN", "--", "true"]).unwrap();
    request.watch.expect("do not touch it").unwrap();
    other.send(command::CANCEL, &[]).unwrap();
    request.watch.expect("it blinks").unwrap();
    machine.touch(0, &mut request.watch).unwrap();
    request.watch.expect("approved").unwrap();
    assert!(request.finish().unwrap().status.success());
}

#[test]
fn t05_a_request_that_another_program_cancels_is_refused_recorded_and_not_repeated() {
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    machine.spare().unwrap();
    machine.restart("").unwrap();
    // Both PINs are typed ahead, so both keys wait for the touch.
    for name in ["blue", "spare"] {
        machine.done(&["unlock", name]).unwrap();
    }
    let listener = rig.usb_keys()[0].key().open().unwrap();
    let request = machine.request(&["run", "--with", "prod/TOKEN", "--", "true"]).unwrap();
    machine.blinks(0).unwrap();
    machine.blinks(1).unwrap();
    let asked = machine.keys[0].counts().unwrap().asked;
    // Every program hears the channel in the keepalives, and may write on it.
    let channel = loop {
        let mut report: Packet = [0; packet::SIZE];
        rustix::io::read(&listener, &mut report[..]).unwrap();
        if let Parsed::Init {
            channel,
            command: command::KEEPALIVE,
            ..
        } = packet::parse(&report)
        {
            break channel;
        }
    };
    for packet in packet::split(channel, command::CANCEL, &[]) {
        rustix::io::write(&listener, &[&[0], &packet[..]].concat()).unwrap();
    }
    let output = request.finish().unwrap();
    let said = hw_tests::conformance::machine::said(&output);
    assert_eq!(output.status.code(), Some(60), "{said}");
    assert!(said.contains("another program cancelled"), "{said}");
    assert_eq!(machine.keys[0].counts().unwrap().asked, asked, "it asked again");
    // The reply does not wait for the other key's worker.
    until("the other key stops waiting", || !machine.keys[1].counts().unwrap().waiting);
    let trouble = machine.events("key").unwrap();
    assert!(trouble.iter().any(|event| event["what"] == "cancelled_elsewhere"), "{trouble:?}");
    assert_eq!(approvals(&machine), 0);
}

fn replayed(key: &Recorder, parameters: Vec<(Value, Value)>) -> u8 {
    let mut request = vec![GET_ASSERTION];
    ciborium::into_writer(&Value::Map(parameters), &mut request).unwrap();
    hw_tests::ctap::Ctap::call(key, &request)[0]
}

fn parameters(request: &Value, but: &[i64]) -> Vec<(Value, Value)> {
    let all = request.as_map().unwrap().iter();
    all.filter(|(name, _)| !but.iter().any(|but| *name == Value::from(*but)))
        .cloned()
        .collect()
}

const EXTENSIONS: i64 = 4;
const OPTIONS: i64 = 5;
const PIN_AUTH: i64 = 6;
const PIN_PROTOCOL: i64 = 7;

#[test]
fn t06_t07_who_knows_credential_and_salt_and_steals_a_touch_gets_nothing_without_the_pin() {
    let (rig, witness) = witnessed();
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    assert!(super::run(&machine).2);
    let requests = overheard(&witness);
    let with_salt = requests
        .iter()
        .rfind(|request| hw_tests::host::member(request, EXTENSIONS).is_some())
        .unwrap();
    let which = requests
        .iter()
        .rfind(|request| hw_tests::host::member(request, 1).and_then(Value::as_text) == Some("touchlease:which"))
        .unwrap();

    machine.keys[0].grant().unwrap();
    let without_pin = parameters(with_salt, &[PIN_AUTH, PIN_PROTOCOL]);
    assert_ne!(replayed(&witness, without_pin), OK, "a stolen touch opened it without the PIN");
    let mut silent = parameters(with_salt, &[EXTENSIONS, PIN_AUTH, PIN_PROTOCOL, OPTIONS]);
    silent.push((OPTIONS.into(), Value::Map(vec![("up".into(), false.into())])));
    assert_ne!(replayed(&witness, silent), OK, "the lease credential signed in silence");
    // The one credential that may be looked for in silence, and which opens nothing.
    assert_eq!(replayed(&witness, parameters(which, &[])), OK);
}
