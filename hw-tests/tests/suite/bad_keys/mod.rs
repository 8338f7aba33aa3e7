//! Keys that lie, break, disturb and disappear: what they get out of the product, and what they leave behind.

mod hijacks;
mod lies;
mod noise;
mod other_programs;
mod pins;
mod pulled;
mod receipts;
mod sensor;
mod untouched;

use std::sync::Arc;

use hw_tests::{
    authenticator::{Authenticator, Settings},
    conformance::{Machine, machine::said, rigs::InProcess},
    ctap::{Ctap, GET_ASSERTION},
    finger::{Finger, Mode},
    hid_socket::HidSocket,
    key::Key,
    stubs::recorder::Recorder,
};

/// A key of honest firmware, with somebody in front of it.
fn behind(front: impl FnOnce(Arc<dyn Ctap>) -> Arc<dyn Ctap>) -> Key<HidSocket> {
    let finger = Arc::new(Finger::new(Mode::Never));
    let honest: Arc<dyn Ctap> = Arc::new(Authenticator::start(Settings::default(), finger.clone()).unwrap());
    let ctap = front(honest);
    Key::new(finger, ctap.clone(), HidSocket::new(ctap))
}

fn honest() -> Key<HidSocket> {
    behind(|key| key)
}

/// A rig whose first key is this one.
fn rig(first: Key<HidSocket>) -> InProcess {
    InProcess::with_keys(crate::product(), [first, honest()]).unwrap()
}

/// A rig whose first key is honest, and who hears all that is said to it.
fn witnessed() -> (InProcess, Arc<Recorder>) {
    let mut witness = None;
    let key = behind(|inner| {
        let recorder = Arc::new(Recorder::new(inner));
        witness = Some(recorder.clone());
        recorder
    });
    (rig(key), witness.unwrap())
}

/// Runs a command that leaves a trace, with a person who approves: the exit code, what was printed, and whether it ran.
fn run(machine: &Machine<'_>) -> (Option<i32>, String, bool) {
    let trace = machine.home.work().join("ran");
    let _ = std::fs::remove_file(&trace); // there is none the first time
    let output = machine
        .approved(&["run", "--with", "prod/TOKEN", "--", "sh", "-c", "echo > ran"])
        .unwrap();
    (output.status.code(), said(&output), trace.exists())
}

fn approvals(machine: &Machine<'_>) -> usize {
    machine.events("approved").unwrap().len()
}

/// Every getAssertion that the product sent to this key, as a program in the same seat could have heard it.
fn overheard(witness: &Recorder) -> Vec<ciborium::Value> {
    let requests = witness.requests();
    let assertions = requests.iter().filter(|request| request[0] == GET_ASSERTION);
    assertions.map(|request| ciborium::from_reader(&request[1..]).unwrap()).collect()
}
