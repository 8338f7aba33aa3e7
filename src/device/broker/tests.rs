//! The broker over workers that say what a test tells them to; what real firmware says is tested in `hw-tests`.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::future::pending;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;

use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest as _, Sha256};

use super::super::candidate::Unseal;
use super::super::ctap::cbor::{self, Map, Value};
use super::super::enrolled::{Credential, Fido2, Kind, Link};
use super::super::worker::protocol::Warm;
use super::*;
use crate::clock::SystemClock;
use crate::encoding::sshsig::{FLAG_UP, FLAG_UV, Namespace, RP_ID};
use crate::worker::frame::{read_frame, write_frame};

/// What a worker does with a request; what it reads from the socket is the cancel.
type Reply = Box<dyn Fn(&Request, &[u8], &mut UnixStream) -> (Report, Vec<u8>) + Send + Sync>;

/// Where, which operation, with which PIN.
type Heard = (Port, String, Vec<u8>);

struct Script {
    places: watch::Sender<Option<Vec<Place>>>,
    reply: Arc<Reply>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Reach for Arc<Script> {
    fn places(&self) -> io::Result<Places> {
        Ok(self.places.subscribe())
    }

    fn start(&self) -> io::Result<Worker> {
        let (ours, mut theirs) = UnixStream::pair()?;
        let (reply, heard) = (self.reply.clone(), self.heard.clone());
        thread::spawn(move || {
            let (request, secret): (Request, Secret) = read_frame(&theirs).unwrap();
            let name = format!("{:?}", request.operation);
            let name = name.split([' ', '{']).next().unwrap_or_default().to_owned();
            heard.lock().unwrap().push((request.port.clone(), name, secret.expose().to_vec()));
            let (report, tail) = reply(&request, secret.expose(), &mut theirs);
            let _ = write_frame(&theirs, &report, &tail);
        });
        Worker::from_socket(ours)
    }
}

fn port(n: u8) -> Port {
    Port::Node(PathBuf::from(n.to_string()))
}

fn place(n: u8, link: Link) -> Place {
    Place {
        port: port(n),
        plug: 1,
        link,
        model: format!("model {n}"),
        socket: format!("socket {n}"),
        empty: false,
    }
}

fn software_key(seed: u8) -> (SigningKey, Credential) {
    let key = SigningKey::from_slice(&[seed; 32]).unwrap();
    let public_key = key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap();
    (
        key,
        Credential {
            id: vec![seed],
            public_key,
        },
    )
}

/// Key `n` has the credentials `10 n + 1` and `10 n + 2`.
fn enrolled(n: u8, profile: Profile) -> EnrolledKey {
    EnrolledKey {
        name: format!("key {n}"),
        profile,
        kind: Kind::Fido2(Fido2 {
            lease: software_key(10 * n + 1).1,
            which: software_key(10 * n + 2).1,
        }),
    }
}

fn sign(seed: u8, rp_id: &str, flags: u8, hash: &[u8; 32]) -> RawAssertion {
    let mut auth_data = Sha256::digest(rp_id).to_vec();
    auth_data.extend([flags, 0, 0, 0, 9]);
    let signature: Signature = software_key(seed)
        .0
        .sign_prehash(&Sha256::digest([&auth_data[..], hash].concat()))
        .unwrap();
    RawAssertion {
        credential: Some(vec![seed]),
        auth_data,
        signature: signature.to_der().as_bytes().to_vec(),
    }
}

fn done(answer: Answer) -> Report {
    Report::Done {
        answer,
        warm: Warm::default(),
        frames: Frames::default(),
    }
}

fn number(port: &Port) -> u8 {
    port.to_string().parse().unwrap()
}

/// An honest key at each place, which proves what it is and is touched at once.
fn honest(request: &Request, pin: &[u8]) -> (Report, Vec<u8>) {
    let n = number(&request.port);
    let answer = match &request.operation {
        Operation::Which { candidates, challenge } => {
            let mine = candidates.iter().any(|id| id.0 == [10 * n + 2]);
            Answer::Which(mine.then(|| sign(10 * n + 2, which::RP_ID, 0, challenge).into()))
        }
        Operation::Inspect => Answer::Inspected {
            tries: Some(8),
            power_cycle: false,
        },
        Operation::Assert { hash, .. } => {
            let flags = if pin.is_empty() { FLAG_UP } else { FLAG_UP | FLAG_UV };
            return (done(Answer::Asserted(sign(10 * n + 1, RP_ID, flags, hash).into())), vec![n; 32]);
        }
        _ => return (Report::Failed(Failure::OverUsbOnly), vec![]),
    };
    (done(answer), vec![])
}

fn script(
    places: Vec<Place>,
    reply: impl Fn(&Request, &[u8], &mut UnixStream) -> (Report, Vec<u8>) + Send + Sync + 'static,
) -> Arc<Script> {
    Arc::new(Script {
        places: watch::Sender::new(Some(places)),
        reply: Arc::new(Box::new(reply)),
        heard: Arc::default(),
    })
}

fn ask(keys: &[EnrolledKey], limit: Duration) -> Ask {
    let candidate = |key: &EnrolledKey| Candidate {
        key: key.clone(),
        unseals: vec![Unseal::Salt([7; 32])],
    };
    Ask {
        signs: None,
        namespace: Namespace::Lease,
        text: b"{}".to_vec(),
        candidates: keys.iter().map(candidate).collect(),
        deadline: SystemClock.boot() + limit,
        at: None,
        pin: None,
        receipts: false,
    }
}

type Log = Arc<Mutex<Vec<Event>>>;

fn feed() -> (Feed, Log) {
    let log = Log::default();
    let kept = log.clone();
    (Arc::new(move |event| kept.lock().unwrap().push(event)), log)
}

fn pin(text: &str) -> Secret {
    Secret::from_slice_wiping(&mut text.as_bytes().to_vec()).unwrap()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

const LIMIT: Duration = Duration::from_secs(5);

/// Ends with the test's own limit where it does not come true.
async fn eventually(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn asserts(script: &Script) -> Vec<(Port, Vec<u8>)> {
    let heard = script.heard.lock().unwrap();
    heard
        .iter()
        .filter(|(_, name, _)| name == "Assert")
        .map(|(port, _, pin)| (port.clone(), pin.clone()))
        .collect()
}

#[test]
fn a_touch_on_an_enrolled_key_makes_a_proof_and_the_device_is_asked_once_who_it_is() {
    run(async {
        let script = script(vec![place(1, Link::Usb)], |request, pin, _| honest(request, pin));
        let broker = Broker::new(script.clone(), Arc::new(SystemClock));
        let key = enrolled(1, Profile::TouchOnly);
        for _ in 0..2 {
            let proof = broker
                .touch(ask(std::slice::from_ref(&key), LIMIT), feed().0, pending())
                .await
                .unwrap();
            assert_eq!((proof.key_id(), proof.outputs()[0].expose()), (key.id(), &[1; 32][..]));
        }
        let looks = script.heard.lock().unwrap().iter().filter(|(_, name, _)| name == "Which").count();
        assert_eq!((looks, asserts(&script).len()), (1, 2));
        assert_eq!(broker.seen(std::slice::from_ref(&key)).await.unwrap()[0].key, Some(key.id()));
    });
}

#[test]
fn t01_without_a_touch_there_is_no_proof_and_the_deadline_holds() {
    run(async {
        let script = script(vec![place(1, Link::Usb)], |request, pin, socket| match request.operation {
            Operation::Assert { .. } => {
                let _ = socket.read(&mut [0]);
                (Report::Failed(Failure::Cancelled), vec![])
            }
            _ => honest(request, pin),
        });
        let broker = Broker::new(script, Arc::new(SystemClock));
        let asked = ask(&[enrolled(1, Profile::TouchOnly)], Duration::from_millis(300));
        assert_eq!(broker.touch(asked, feed().0, pending()).await.err(), Some(DeviceError::TimedOut));
        let nobody = ask(&[enrolled(2, Profile::TouchOnly)], Duration::from_millis(300));
        assert_eq!(
            broker.touch(nobody, feed().0, pending()).await.err(),
            Some(DeviceError::NotEnrolled)
        );
    });
}

#[test]
fn t05_a_cancel_by_another_program_is_refused_and_not_asked_again() {
    run(async {
        let script = script(vec![place(1, Link::Usb)], |request, pin, _| match request.operation {
            Operation::Assert { .. } => (Report::Failed(Failure::Status(0x2D)), vec![]),
            _ => honest(request, pin),
        });
        let broker = Broker::new(script.clone(), Arc::new(SystemClock));
        let asked = ask(&[enrolled(1, Profile::TouchOnly)], LIMIT);
        assert_eq!(
            broker.touch(asked, feed().0, pending()).await.err(),
            Some(DeviceError::CancelledElsewhere)
        );
        assert_eq!(asserts(&script).len(), 1);
    });
}

#[test]
fn t57_a_wrong_pin_is_tried_once_on_its_own_key_only_and_forgotten() {
    run(async {
        let script = script(vec![place(1, Link::Usb), place(2, Link::Usb)], |request, pin, _| {
            match request.operation {
                Operation::Assert { .. } if pin != b"right" => (Report::Failed(Failure::PinWrong(Some(7))), vec![]),
                _ => honest(request, pin),
            }
        });
        let broker = Broker::new(script.clone(), Arc::new(SystemClock));
        let keys = [enrolled(1, Profile::Pin), enrolled(2, Profile::Pin)];
        broker.give_pin(keys[0].id(), pin("wrong"), LIMIT).unwrap();
        let (feed, log) = feed();
        let ended = broker.touch(ask(&keys, Duration::from_millis(400)), feed.clone(), pending()).await;
        assert!(matches!(
            ended.err(),
            Some(DeviceError::PinWrong { left: Some(7) } | DeviceError::PinNeeded)
        ));
        assert_eq!(asserts(&script), [(port(1), b"wrong".to_vec())]);
        assert!(broker.pins().is_empty());
        assert!(log.lock().unwrap().contains(&Event::PinWrong {
            key: keys[0].id(),
            left: Some(7)
        }));
        // What the person types next goes on where it stood.
        broker.give_pin(keys[1].id(), pin("right"), LIMIT).unwrap();
        let proof = broker.touch(ask(&keys, LIMIT), feed, pending()).await.unwrap();
        assert_eq!((proof.key_id(), proof.profile()), (keys[1].id(), Profile::Pin));
        assert_eq!(asserts(&script)[1], (port(2), b"right".to_vec()));
    });
}

#[test]
fn t57_a_blocked_pin_ends_the_prompt_at_once() {
    run(async {
        for (code, error) in [(0x32, DeviceError::PinBlocked), (0x34, DeviceError::PinBlockedUntilReplug)] {
            let script = script(vec![place(1, Link::Usb)], move |request, pin, _| match request.operation {
                Operation::Assert { .. } => (Report::Failed(Failure::Status(code)), vec![]),
                _ => honest(request, pin),
            });
            let broker = Broker::new(script, Arc::new(SystemClock));
            let key = enrolled(1, Profile::Pin);
            broker.give_pin(key.id(), pin("1234"), LIMIT).unwrap();
            assert_eq!(broker.touch(ask(&[key], LIMIT), feed().0, pending()).await.err(), Some(error));
            assert!(broker.pins().is_empty());
        }
    });
}

#[test]
fn t13_a_device_that_cannot_prove_what_it_claims_is_an_impostor_and_gets_no_pin() {
    run(async {
        let script = script(vec![place(1, Link::Usb)], |request, pin, _| match &request.operation {
            // Claims key 1, signs with another key.
            Operation::Which { challenge, .. } => {
                let forged = RawAssertion {
                    credential: Some(vec![12]),
                    ..sign(99, which::RP_ID, 0, challenge)
                };
                (done(Answer::Which(Some(forged.into()))), vec![])
            }
            _ => honest(request, pin),
        });
        let broker = Broker::new(script.clone(), Arc::new(SystemClock));
        let key = enrolled(1, Profile::Pin);
        broker.give_pin(key.id(), pin("1234"), LIMIT).unwrap();
        let (feed, log) = feed();
        let ended = broker.touch(ask(&[key], Duration::from_millis(300)), feed, pending()).await;
        assert_eq!(ended.err(), Some(DeviceError::Impostor));
        assert_eq!(asserts(&script), []);
        assert!(log.lock().unwrap().iter().any(|event| matches!(
            event,
            Event::Problem {
                error: DeviceError::Impostor,
                ..
            }
        )));
    });
}

#[test]
fn the_first_touch_wins_and_one_that_comes_all_the_same_is_wiped_and_said() {
    run(async {
        let script = script(vec![place(1, Link::Usb), place(2, Link::Usb)], |request, pin, socket| {
            if matches!(request.operation, Operation::Assert { .. }) {
                match number(&request.port) {
                    1 => thread::sleep(Duration::from_millis(200)),
                    // Touched in the moment of the cancel.
                    _ => drop(socket.read(&mut [0])),
                }
            }
            honest(request, pin)
        });
        let broker = Broker::new(script, Arc::new(SystemClock));
        let keys = [enrolled(1, Profile::TouchOnly), enrolled(2, Profile::TouchOnly)];
        let (feed, log) = feed();
        let proof = broker.touch(ask(&keys, LIMIT), feed, pending()).await.unwrap();
        assert_eq!(proof.key_id(), keys[0].id());
        tokio::time::sleep(Duration::from_millis(300)).await;
        let extra = Event::ExtraTouch {
            key: keys[1].id(),
            name: "key 2".into(),
        };
        assert_eq!(log.lock().unwrap().iter().filter(|event| **event == extra).count(), 1);
    });
}

#[test]
fn a_key_that_gives_up_is_asked_again_and_one_plugged_in_meanwhile_joins() {
    run(async {
        let given_up = Arc::new(Mutex::new(VecDeque::from([Failure::Status(0x2F), Failure::Status(0x3A)])));
        let script = script(vec![], move |request, pin, _| match request.operation {
            Operation::Assert { .. } => match given_up.lock().unwrap().pop_front() {
                Some(failure) => (Report::Failed(failure), vec![]),
                None => honest(request, pin),
            },
            _ => honest(request, pin),
        });
        let broker = Broker::new(script.clone(), Arc::new(SystemClock));
        let plug = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            script.places.send_replace(Some(vec![place(1, Link::Usb)]));
            pending::<()>().await;
        };
        let asked = ask(&[enrolled(1, Profile::TouchOnly)], LIMIT);
        let proof = broker.touch(asked, feed().0, plug).await.unwrap();
        assert_eq!((proof.key_name(), asserts(&script).len()), ("key 1", 3));
    });
}

#[test]
fn a_key_that_may_not_be_opened_is_said_once_and_serves_when_the_rules_are_installed_meanwhile() {
    run(async {
        let barred = Mutex::new(2);
        let script = script(vec![place(1, Link::Usb)], move |request, pin, _| {
            let mut left = barred.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return (Report::Failed(Failure::Permission), vec![]);
            }
            honest(request, pin)
        });
        let broker = Broker::new(script, Arc::new(SystemClock));
        let (feed, log) = feed();
        let proof = broker.touch(ask(&[enrolled(1, Profile::TouchOnly)], LIMIT), feed, pending()).await;
        assert_eq!(proof.unwrap().key_name(), "key 1");
        let said = |event: &&Event| {
            matches!(
                event,
                Event::Problem {
                    error: DeviceError::Permission,
                    ..
                }
            )
        };
        assert_eq!(log.lock().unwrap().iter().filter(said).count(), 1);
    });
}

#[test]
fn t56_a_key_pulled_out_is_said_and_its_pin_forgotten() {
    run(async {
        let script = script(vec![place(1, Link::Usb)], |request, pin, _| match request.operation {
            Operation::Assert { .. } => (Report::Failed(Failure::PulledOut), vec![]),
            _ => honest(request, pin),
        });
        let broker = Broker::new(script.clone(), Arc::new(SystemClock));
        let key = enrolled(1, Profile::Pin);
        broker.give_pin(key.id(), pin("1234"), LIMIT).unwrap();
        let (feed, log) = feed();
        let pull = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            script.places.send_replace(Some(vec![]));
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let ended = broker.touch(ask(&[key], LIMIT), feed, pull).await;
        assert_eq!(ended.err(), Some(DeviceError::Withdrawn));
        assert!(log.lock().unwrap().iter().any(|event| matches!(event, Event::Gone { .. })));
        assert!(broker.pins().is_empty());
    });
}

#[test]
fn in_a_field_touch_only_is_refused_and_a_card_that_lay_there_is_not_asked() {
    run(async {
        let script = script(vec![place(1, Link::Contactless)], |request, pin, _| honest(request, pin));
        let broker = Broker::new(script.clone(), Arc::new(SystemClock));
        let asked = ask(&[enrolled(1, Profile::TouchOnly)], Duration::from_millis(300));
        assert_eq!(
            broker.touch(asked, feed().0, pending()).await.err(),
            Some(DeviceError::TouchOnlyContactless)
        );
        let key = enrolled(1, Profile::Pin);
        broker.give_pin(key.id(), pin("1234"), LIMIT).unwrap();
        let asked = ask(std::slice::from_ref(&key), Duration::from_millis(300));
        assert_eq!(
            broker.touch(asked, feed().0, pending()).await.err(),
            Some(DeviceError::CardNotAbsent)
        );
        assert_eq!(asserts(&script), []);
        // Lifted, and tapped once: one assertion, and no second one from the same tap.
        let tap = async {
            script.places.send_replace(Some(vec![]));
            tokio::time::sleep(Duration::from_millis(50)).await;
            broker.give_pin(key.id(), pin("1234"), LIMIT).unwrap();
            script.places.send_replace(Some(vec![Place {
                plug: 3,
                ..place(1, Link::Contactless)
            }]));
            pending::<()>().await;
        };
        assert!(broker.touch(ask(std::slice::from_ref(&key), LIMIT), feed().0, tap).await.is_ok());
        let again = ask(std::slice::from_ref(&key), Duration::from_millis(300));
        assert_eq!(
            broker.touch(again, feed().0, pending()).await.err(),
            Some(DeviceError::CardNotAbsent)
        );
        assert_eq!(asserts(&script).len(), 1);
    });
}

#[test]
fn t57_p11_a_pin_is_kept_for_the_tap_that_its_prompt_asks_for_and_no_longer() {
    run(async {
        let script = script(vec![], |request, pin, _| honest(request, pin));
        let broker = Broker::new(script.clone(), Arc::new(SystemClock));
        let key = enrolled(1, Profile::Pin);
        let lies = |plug| {
            let card = Place {
                plug,
                ..place(1, Link::Contactless)
            };
            script.places.send_replace(Some(vec![card]));
        };
        let lifted = || drop(script.places.send_replace(Some(vec![])));
        let is_lift = |event: &Event| matches!(event, Event::TapNow { lift_first: true, .. });
        let is_kept = || !broker.pins().is_empty();
        let settled = || tokio::time::sleep(Duration::from_millis(50));

        lies(1);
        broker.give_pin(key.id(), pin("1234"), 100 * LIMIT).unwrap();
        let (feed, log) = feed();
        let person = async {
            eventually(|| log.lock().unwrap().iter().any(is_lift)).await;
            lifted();
            settled().await;
            assert!(is_kept(), "the prompt asked for this");
            lies(3);
            pending::<()>().await;
        };
        broker.touch(ask(std::slice::from_ref(&key), LIMIT), feed, person).await.unwrap();
        let told = log
            .lock()
            .unwrap()
            .iter()
            .filter(|event| matches!(event, Event::PinNeeded { .. }))
            .count();
        assert_eq!((told, asserts(&script).len()), (0, 1));
        assert!(is_kept(), "the card still lies there");
        lifted();
        eventually(|| !is_kept()).await;

        // Lifted as asked, and not tapped before the prompt ends.
        lies(5);
        broker.give_pin(key.id(), pin("1234"), 100 * LIMIT).unwrap();
        let (feed, log) = self::feed();
        let person = async {
            eventually(|| log.lock().unwrap().iter().any(is_lift)).await;
            lifted();
            settled().await;
            assert!(is_kept());
        };
        let withdrawn = broker.touch(ask(std::slice::from_ref(&key), LIMIT), feed, person).await;
        assert_eq!(withdrawn.err(), Some(DeviceError::Withdrawn));
        eventually(|| !is_kept()).await;
    });
}

#[test]
fn t57_in_a_field_a_wrong_pin_uses_the_tap_up_and_is_not_asked_for_again_before_the_next() {
    run(async {
        let script = script(vec![], |request, pin, _| match request.operation {
            Operation::Assert { .. } if pin != b"right" => (Report::Failed(Failure::PinWrong(Some(7))), vec![]),
            _ => honest(request, pin),
        });
        let broker = Broker::new(script.clone(), Arc::new(SystemClock));
        let key = enrolled(1, Profile::Pin);
        let (feed, log) = feed();
        let tapped = |plug| {
            script.places.send_replace(Some(vec![Place {
                plug,
                ..place(1, Link::Contactless)
            }]));
        };
        let told = |wanted: &dyn Fn(&Event) -> bool| log.lock().unwrap().iter().filter(|event| wanted(event)).count();
        let asked = |event: &Event| matches!(event, Event::PinNeeded { .. });
        let wrong = DeviceError::PinWrong { left: Some(7) };
        let said = |event: &Event| matches!(event, Event::Problem { error, .. } if *error == wrong);
        let person = async {
            eventually(|| told(&|event| *event == Event::Waiting) == 1).await;
            tokio::task::yield_now().await;
            tapped(2);
            eventually(|| told(&asked) == 1).await;
            broker.give_pin(key.id(), pin("wrong"), LIMIT).unwrap();
            eventually(|| told(&said) == 1).await;
            assert_eq!(told(&asked), 1, "asked again on the same tap: {:?}", log.lock().unwrap());
            assert_eq!(told(&|event| matches!(event, Event::TapNow { lift_first: true, .. })), 1);
            tapped(4);
            eventually(|| told(&asked) == 2).await;
            broker.give_pin(key.id(), pin("right"), LIMIT).unwrap();
            pending::<()>().await;
        };
        assert!(broker.touch(ask(std::slice::from_ref(&key), LIMIT), feed, person).await.is_ok());
        assert_eq!(asserts(&script).len(), 2);
    });
}

#[test]
fn t01_a_card_whose_reader_says_that_it_lies_in_a_field_is_judged_by_that_word() {
    run(async {
        // By its answer to reset a card in a slot, by its reader's word one in a field.
        let script = script(vec![place(1, Link::Contact)], |request, pin, _| match request.link {
            Link::Contactless => honest(request, pin),
            _ => (Report::Failed(Failure::OtherLink(Link::Contactless)), vec![]),
        });
        let broker = Broker::new(script.clone(), Arc::new(SystemClock));
        let weak = enrolled(1, Profile::TouchOnly);
        assert_eq!(broker.seen(std::slice::from_ref(&weak)).await.unwrap()[0].link, Link::Contactless);
        assert_eq!(broker.info(&port(1)).await.err(), Some(unexpected()), "asked by the right link");
        let asked = ask(&[weak], Duration::from_millis(300));
        assert_eq!(
            broker.touch(asked, feed().0, pending()).await.err(),
            Some(DeviceError::TouchOnlyContactless)
        );
        // A broker that has not seen the card before.
        let broker = Broker::new(script.clone(), Arc::new(SystemClock));
        let key = enrolled(1, Profile::Pin);
        broker.give_pin(key.id(), pin("1234"), LIMIT).unwrap();
        let asked = ask(&[key], Duration::from_millis(300));
        assert_eq!(
            broker.touch(asked, feed().0, pending()).await.err(),
            Some(DeviceError::CardNotAbsent)
        );
        assert_eq!(asserts(&script), []);
    });
}

#[test]
fn t08_a_key_that_wants_a_pin_under_a_touch_only_enrolment_says_so() {
    run(async {
        let script = script(vec![place(1, Link::Usb)], |request, pin, _| match request.operation {
            Operation::Assert { .. } => (Report::Failed(Failure::Status(0x36)), vec![]),
            _ => honest(request, pin),
        });
        let broker = Broker::new(script, Arc::new(SystemClock));
        let asked = ask(&[enrolled(1, Profile::TouchOnly)], LIMIT);
        assert_eq!(broker.touch(asked, feed().0, pending()).await.err(), Some(DeviceError::AlwaysUv));
    });
}

/// A key that says of itself what enrolling asks for.
fn blank(request: &Request, pin: &[u8]) -> (Report, Vec<u8>) {
    let options = Map::new().with("clientPin", true);
    let info = Map::new()
        .with(1, vec![Value::from("FIDO_2_1")])
        .with(2, vec![Value::from("credProtect"), Value::from("hmac-secret")])
        .with(3, vec![0u8; 16])
        .with(4, options);
    match honest(request, pin) {
        (Report::Done { answer, frames, .. }, tail) => {
            let warm = Warm::new(None, &cbor::encode(&info.into()));
            (Report::Done { answer, warm, frames }, tail)
        }
        other => other,
    }
}

fn enrol(plug: u64) -> Enrol {
    Enrol {
        port: port(1),
        plug,
        name: "new".into(),
        user_name: "new".into(),
        profile: Profile::Pin,
        pin: Some(pin("1234")),
        enrolled: vec![],
        deadline: SystemClock.boot() + LIMIT,
    }
}

fn plugged_anew(script: &Script) {
    let plug = 2;
    let another = Place {
        plug,
        ..place(1, Link::Usb)
    };
    script.places.send_replace(Some(vec![another]));
}

fn pins_sent(script: &Script) -> usize {
    script.heard.lock().unwrap().iter().filter(|(_, _, pin)| !pin.is_empty()).count()
}

#[test]
fn t13_the_pin_of_a_key_that_is_enrolled_does_not_go_to_another_one_that_is_in_its_port_when_it_is_typed() {
    run(async {
        let script = script(vec![place(1, Link::Usb)], |request, pin, _| blank(request, pin));
        let broker = Broker::new(script.clone(), Arc::new(SystemClock));
        let seen = broker.seen(&[]).await.unwrap().remove(0);
        plugged_anew(&script);
        assert_eq!(broker.enrol(enrol(seen.plug), feed().0).await.err(), Some(DeviceError::PulledOut));
        assert_eq!(pins_sent(&script), 0);
    });
}

#[test]
fn t13_p11_a_key_that_is_exchanged_between_two_tries_of_its_enrolment_leaves_its_pin_to_nobody() {
    run(async {
        let script = script(vec![place(1, Link::Usb)], |request, pin, _| match request.operation {
            // It gives up, as after its 30 s.
            Operation::MakeCredential { .. } => (Report::Failed(Failure::Status(0x2F)), vec![]),
            _ => blank(request, pin),
        });
        let broker = Broker::new(script.clone(), Arc::new(SystemClock));
        let seen = broker.seen(&[]).await.unwrap().remove(0);
        let exchange = async {
            eventually(|| pins_sent(&script) == 1).await;
            plugged_anew(&script);
        };
        let (enrolled, ()) = tokio::join!(broker.enrol(enrol(seen.plug), feed().0), exchange);
        assert_eq!(enrolled.err(), Some(DeviceError::PulledOut));
        assert_eq!(pins_sent(&script), 1, "one try, by the key for which it was typed");
    });
}
