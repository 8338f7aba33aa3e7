//! A wire that carries more, less, or something else than the key said.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use hw_tests::{
    authenticator::{Authenticator, Settings},
    bus::Device,
    conformance::Machine,
    ctap::{Ctap, GET_INFO},
    ctaphid::packet::{command, status},
    finger::{Finger, Mode},
    hid_socket::HidSocket,
    key::{Attachment, Key, KeyHandle},
    stubs::{
        noise::Noise,
        scripts::{Mute, Script, Then},
    },
};

use super::{approvals, honest, rig, run};

/// What is on the wire from the next plugging-in on.
type Switch = Arc<Mutex<Option<Noise>>>;

fn noisy() -> (Key<HidSocket>, Switch) {
    let finger = Arc::new(Finger::new(Mode::Never));
    let ctap: Arc<dyn Ctap> = Arc::new(Authenticator::start(Settings::default(), finger.clone()).unwrap());
    let switch = Switch::default();
    let disguise = {
        let switch = switch.clone();
        Box::new(move |device| match *switch.lock().unwrap() {
            Some(noise) => noise.over(device),
            None => Box::new(device) as Box<dyn Device>,
        })
    };
    let socket = HidSocket::new(ctap.clone()).with_disguise(disguise);
    (Key::new(finger, ctap, socket), switch)
}

fn replugged(machine: &Machine<'_>) {
    machine.keys[0].pull().unwrap();
    machine.keys[0].plug().unwrap();
}

#[test]
fn t03_other_programs_answers_and_packets_that_come_twice_change_nothing() {
    for noise in Noise::FOREIGN.into_iter().chain([Noise::Repeated]) {
        let (key, switch) = noisy();
        *switch.lock().unwrap() = Some(noise);
        let rig = rig(key);
        let machine = Machine::new(&rig).unwrap();
        machine.vault().unwrap();
        let given = machine.keys[0].counts().unwrap().given;
        let (code, said, ran) = run(&machine);
        assert!(code == Some(0) && ran, "{noise:?}: {said}");
        assert_eq!(machine.keys[0].counts().unwrap().given, given + 1, "{noise:?}");
    }
}

#[test]
fn t03_t58_a_wire_that_breaks_messages_gives_errors_and_the_key_serves_when_it_is_whole_again() {
    for noise in [
        Noise::WrongSequence,
        Noise::Unfinished,
        Noise::EmptyRead,
        Noise::ShortRead,
        Noise::LongClaim,
    ] {
        let (key, switch) = noisy();
        let rig = rig(key);
        let machine = Machine::new(&rig).unwrap();
        machine.vault().unwrap();
        machine.restart("[limits]\nprompt = \"4s\"\n").unwrap();
        *switch.lock().unwrap() = Some(noise);
        replugged(&machine);
        let (code, said, ran) = run(&machine);
        assert!(!ran && approvals(&machine) == 0, "{noise:?}: {said}");
        assert!(matches!(code, Some(61 | 62 | 63 | 70)), "{noise:?}: {said}");
        *switch.lock().unwrap() = None;
        machine.restart("").unwrap();
        replugged(&machine);
        let (code, said, ran) = run(&machine);
        assert!(code == Some(0) && ran, "after {noise:?}: {said}");
    }
}

/// A device that is only a script.
fn scripted(make: impl Fn() -> Box<dyn Device> + Send + Sync + 'static) -> Key<HidSocket> {
    let finger = Arc::new(Finger::new(Mode::Never));
    let ctap: Arc<dyn Ctap> = Arc::new(Authenticator::start(Settings::default(), finger.clone()).unwrap());
    let socket = HidSocket::new(ctap.clone()).with_disguise(Box::new(move |_| make()));
    let key = Key::new(finger, ctap, socket);
    key.attachment().plug().unwrap();
    key
}

#[test]
fn t58_a_malicious_device_beside_an_honest_key_keeps_nobody_from_using_it() {
    // A map of 2^32 - 1 pairs; a byte string of 2^64 - 1; nesting; a text that is no UTF-8; nothing.
    let bodies: [&[u8]; 6] = [
        &[0, 0xba, 0xff, 0xff, 0xff, 0xff],
        &[0, 0xa1, 0x01, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[&[0][..], &[0x81; 3000]].concat(),
        &[0, 0xa1, 0x01, 0x81, 0x62, 0xff, 0xfe],
        &[0xff],
        &[],
    ];
    let mut scripts: Vec<Then> = bodies
        .iter()
        .map(|body| Then::Answer {
            command: command::CBOR,
            payload: body.to_vec(),
        })
        .collect();
    scripts.extend([
        Then::Answer {
            command: command::ERROR,
            payload: vec![0x7f],
        },
        Then::Answer {
            command: command::WINK,
            payload: vec![1; 57],
        },
        Then::Silence,
        Then::Keepalives {
            every: Duration::from_millis(20),
            status: status::UP_NEEDED,
        },
    ]);
    let rig = rig(honest());
    let info = rig.usb_keys()[0].key().ctap().call(&[GET_INFO]);
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    let mut tried = 0;
    for (then, info) in scripts
        .into_iter()
        .flat_map(|then| [(then.clone(), None), (then, Some(info.clone()))])
    {
        // A daemon to each: one asks for no more than ten touches in ten minutes.
        machine.restart("").unwrap();
        let device = {
            let then = then.clone();
            scripted(move || {
                Box::new(Script {
                    info: info.clone(),
                    then: then.clone(),
                })
            })
        };
        let device = rig.ports().add_key(device).unwrap();
        let (code, said, ran) = run(&machine);
        assert!(code == Some(0) && ran, "{then:?}: {said}");
        device.pull().unwrap();
        tried += 1;
    }
    println!("T58: {tried} of 20 devices");
    assert_eq!(tried, 20);
}

#[test]
fn t58_a_device_that_never_says_anything_is_listed_as_one_that_cannot_serve() {
    let rig = rig(honest());
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    let mute = rig.ports().add_key(scripted(|| Box::new(Mute))).unwrap();
    let keys = machine.json(&["key", "list"]).unwrap();
    let keys = keys["keys"].as_array().unwrap();
    let problem = |key: &&serde_json::Value| key["problem"].is_string();
    assert_eq!((keys.len(), keys.iter().filter(problem).count()), (2, 1), "{keys:?}");
    mute.pull().unwrap();
}

#[test]
fn keepalives_as_rare_or_frequent_as_keys_send_them_delay_no_touch() {
    for millis in [50, 75, 100, 250] {
        let rig = rig(honest());
        let machine = Machine::new(&rig).unwrap();
        machine.vault().unwrap();
        machine.keys[0].keepalive(Duration::from_millis(millis)).unwrap();
        let mut request = machine.request(&["run", "--with", "prod/TOKEN", "--", "true"]).unwrap();
        machine.blinks(0).unwrap();
        request.watch.expect("it blinks").unwrap();
        // Longer than any keepalive: the touch comes between two of them.
        std::thread::sleep(Duration::from_millis(600));
        let touched = Instant::now();
        machine.keys[0].press().unwrap();
        request.watch.expect("approved").unwrap();
        let late = touched.elapsed();
        println!("keepalive every {millis} ms: approved {} ms after the touch", late.as_millis());
        assert!(late < Duration::from_secs(5), "{millis} ms: {late:?}");
        assert!(request.finish().unwrap().status.success());
    }
}
