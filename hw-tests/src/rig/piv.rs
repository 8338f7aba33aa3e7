//! A YubiKey over PC/SC, as the product's broker and workers use it: keys are made, open and sign by touch, and its troubles are told apart.

use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use pcsc::{Context, Disposition, Protocols, Scope, ShareMode};
use touchlease::{
    clock::{Clock, SystemClock},
    device::{
        DeviceError, EnrolledKey, Port,
        broker::{Ask, Broker, Candidate, CardSeen, Event, Feed, MakeKeys, Processes},
        candidate::{Sealed, Unseal},
        enrolled::Retired,
        piv::{Setup, attestation::Roots},
        proof::{Evidence, Proof, ProofError},
    },
    encoding::sshsig::{Namespace, ecdsa},
    secret::Secret,
    vault::{random, slot},
};

use super::{Reader, SECOND, SECOND_YUBIKEY_READER, YUBIKEY, YUBIKEY_READER, cards::product, key};
use crate::{
    card::SmartCard as _,
    control::Control,
    finger::{Finger, Mode},
    key::{Attachment as _, Inside as _, KeyHandle},
    piv::{Between, Settings, YubiKey, YubiKeyCard},
    vpcd::VpcdSocket,
};

const PIN: &[u8] = b"741085";
const PUK: &[u8] = b"87654321";
const TEXT: &[u8] = b"{\"task\":\"deploy\"}";

/// A card from the factory in its reader, and what uses it.
struct Rig {
    control: Control,
    port: Port,
    broker: Broker,
    heard: Arc<Mutex<Vec<Event>>>,
    /// Under which what is made has to be attested.
    roots: Option<Arc<Roots>>,
    /// Touches that were given before.
    before: u64,
}

impl Rig {
    fn new(name: &str, reader: Reader) -> Self {
        let control = key(name, |name| std::env::var_os(name)).expect("run by a launcher of hw-tests");
        control.reset().unwrap();
        control.grant().unwrap();
        control.plug().unwrap();
        let context = Context::establish(Scope::User).unwrap();
        let names = context.list_readers_owned().unwrap();
        let is_it = |found: &&std::ffi::CString| found.to_bytes().starts_with(reader.name.as_bytes());
        let found = names.iter().find(is_it).unwrap().to_string_lossy().into_owned();
        let before = control.counts().unwrap().given;
        Self {
            before,
            control,
            port: Port::Reader(found),
            // In processes, with which a broker's looks at the readers end: pcscd has 200 clients at most, and threads would stay.
            broker: Broker::new(Processes::new(product()), Arc::new(SystemClock)),
            heard: Arc::default(),
            roots: None,
        }
    }

    fn feed(&self) -> Feed {
        let heard = self.heard.clone();
        Arc::new(move |event| heard.lock().unwrap().push(event))
    }

    fn heard(&self) -> Vec<Event> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    async fn card(&self) -> CardSeen {
        self.broker.card(&self.port).await.unwrap()
    }

    /// Makes keys in the first two slots.
    async fn make(&self, danger_overwrite: bool, pin: &[u8], new: Option<(&[u8], &[u8])>) -> Result<EnrolledKey, DeviceError> {
        self.make_on(self.card().await, danger_overwrite, pin, new).await
    }

    /// The same, on a card that was judged by this.
    async fn make_on(
        &self,
        card: CardSeen,
        danger_overwrite: bool,
        pin: &[u8],
        new: Option<(&[u8], &[u8])>,
    ) -> Result<EnrolledKey, DeviceError> {
        let [open, sign] = [0, 1].map(|n| Retired::all().nth(n).unwrap());
        let ask = MakeKeys {
            port: self.port.clone(),
            plug: card.plug,
            seen: card.seen,
            setup: Setup {
                slots: vec![open, sign],
                danger_overwrite: if danger_overwrite { vec![open, sign] } else { vec![] },
            },
            pin: secret(pin),
            new_pin: new.map(|(pin, _)| secret(pin)),
            new_puk: new.map(|(_, puk)| secret(puk)),
            roots: self.roots.clone(),
            deadline: soon(30),
        };
        let seen = ask.seen;
        let made = self.broker.make_keys(ask).await?;
        let [open, sign] = made.try_into().unwrap();
        Ok(EnrolledKey::on_card("card".into(), seen.serial, seen.firmware, open, sign))
    }

    async fn touch(&self, namespace: Namespace, candidate: Candidate, receipts: bool, seconds: u64) -> Result<Proof, DeviceError> {
        let ask = Ask {
            namespace,
            text: TEXT.to_vec(),
            candidates: vec![candidate],
            deadline: soon(seconds),
            at: None,
            pin: None,
            receipts,
            signs: None,
        };
        self.broker.touch(ask, self.feed(), std::future::pending()).await
    }

    fn give_pin(&self, key: &EnrolledKey, pin: &[u8]) {
        self.broker.give_pin(key.id(), secret(pin), Duration::from_secs(60)).unwrap();
    }

    fn touches(&self) -> u64 {
        self.control.counts().unwrap().given - self.before
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.control.pull();
    }
}

fn secret(bytes: &[u8]) -> Secret {
    Secret::from_slice_wiping(&mut bytes.to_vec()).unwrap()
}

fn soon(seconds: u64) -> touchlease::clock::Boot {
    SystemClock.boot() + Duration::from_secs(seconds)
}

/// Something sealed to the slot that opens.
fn sealed(key: &EnrolledKey, text: &[u8]) -> Unseal {
    let to = key.piv().unwrap().open.public_key;
    let message = slot::seal_base(&to, b"info", b"aad", text, &mut random::system()).unwrap();
    Unseal::Sealed(Sealed {
        to,
        info: b"info".to_vec(),
        aad: b"aad".to_vec(),
        message,
    })
}

fn candidate(key: &EnrolledKey, texts: &[&[u8]]) -> Candidate {
    Candidate {
        key: key.clone(),
        unseals: texts.iter().map(|text| sealed(key, text)).collect(),
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

async fn makes_opens_and_signs(rig: &Rig) {
    let new = rig.card().await;
    assert!(new.factory.pin && new.factory.puk && new.factory.management && !new.factory.protected);
    assert_eq!((new.occupied.len(), new.tries), (0, Some(3)));
    // What the factory set is changed, or nothing is made.
    assert_eq!(rig.make(false, b"123456", None).await.err(), Some(DeviceError::FactoryPuk));
    let key = rig.make(false, b"123456", Some((PIN, PUK))).await.unwrap();
    let made = rig.card().await;
    assert!(!made.factory.pin && !made.factory.puk && !made.factory.management && made.factory.protected);
    let both = [&key.piv().unwrap().open, &key.piv().unwrap().sign];
    assert!(both.into_iter().all(|slot| made.holds(slot)) && made.occupied.len() == 2);
    let slots = both.map(|slot| slot.slot);
    let again = rig.make(false, PIN, None).await;
    assert_eq!(again.err(), Some(DeviceError::Occupied { slot: slots[0] }));
    assert_eq!(rig.touches(), 0, "making keys takes no touch");

    rig.give_pin(&key, PIN);
    let proof = rig
        .touch(Namespace::Lease, candidate(&key, &[b"one", b"two"]), false, 20)
        .await
        .unwrap();
    let outputs: Vec<&[u8]> = proof.outputs().iter().map(Secret::expose).collect();
    assert_eq!(outputs, [b"one", b"two"]);
    assert_eq!((proof.evidence(), rig.touches()), (&Evidence::Opening, 2));
    let proof = rig.touch(Namespace::Lease, candidate(&key, &[b"one"]), true, 20).await.unwrap();
    let armored = proof.sshsig(TEXT).unwrap();
    assert!(ecdsa::verify(&armored, key.signer(), Namespace::Lease, TEXT));
    assert_eq!(rig.touches(), 4);
    rig.touch(Namespace::Vault, candidate(&key, &[]), false, 20).await.unwrap();
    assert_eq!(rig.touches(), 5);

    // The management key that lies under the PIN lets keys be made again, where it is asked for by its dangerous name.
    let other = rig.make(true, PIN, None).await.unwrap();
    assert_ne!(other.id(), key.id());
    let lost = rig.touch(Namespace::Lease, candidate(&key, &[b"one"]), false, 20).await;
    let name = "card".into();
    assert_eq!(
        lost.err(),
        Some(DeviceError::ResetSinceEnrolment { name }),
        "another key is in the slot now"
    );
    assert_eq!(rig.card().await.tries, Some(3));
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn a_yubikey_makes_keys_opens_and_signs_with_a_touch_for_each() {
    run(async { makes_opens_and_signs(&Rig::new(YUBIKEY, YUBIKEY_READER)).await });
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn t58_a_card_that_says_another_firmware_or_serial_number_than_it_was_judged_by_gets_no_keys() {
    run(async {
        let rig = Rig::new(YUBIKEY, YUBIKEY_READER);
        let new = Some((PIN, PUK));
        for change in [
            |card: &mut CardSeen| card.seen.firmware[1] += 1,
            |card: &mut CardSeen| card.seen.serial += 1,
        ] {
            let mut card = rig.card().await;
            change(&mut card);
            assert_eq!(rig.make_on(card, false, b"123456", new).await.err(), Some(DeviceError::PulledOut));
        }
        let after = rig.card().await;
        assert!(after.occupied.is_empty() && after.factory.pin, "nothing was changed: {after:?}");
        rig.make(false, b"123456", new).await.unwrap();
    });
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn so_does_one_whose_management_key_is_of_the_older_kind() {
    let name = format!("{YUBIKEY}{SECOND}");
    run(async { makes_opens_and_signs(&Rig::new(&name, SECOND_YUBIKEY_READER)).await });
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn t57_no_touch_and_no_pin_are_told_apart_and_a_wrong_pin_is_tried_once() {
    run(async {
        let rig = Rig::new(YUBIKEY, YUBIKEY_READER);
        let key = rig.make(false, b"123456", Some((PIN, PUK))).await.unwrap();
        rig.control.never().unwrap();
        rig.give_pin(&key, PIN);
        let nobody = rig.touch(Namespace::Lease, candidate(&key, &[b"x"]), false, 3).await;
        assert_eq!(nobody.err(), Some(DeviceError::TimedOut));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let heard = rig.heard();
        assert!(heard.iter().any(|event| matches!(event, Event::TouchNow { .. })), "{heard:?}");
        assert!(heard.iter().any(|event| matches!(event, Event::StillWaits { .. })), "{heard:?}");
        rig.control.expire().unwrap();
        rig.control.grant().unwrap();

        rig.give_pin(&key, b"000000");
        let wrong = rig.touch(Namespace::Lease, candidate(&key, &[b"x"]), false, 5).await;
        assert_eq!(wrong.err(), Some(DeviceError::PinWrong { left: Some(2) }));
        assert_eq!(rig.card().await.tries, Some(2));
        let heard = rig.heard();
        assert!(
            heard.iter().any(|event| matches!(event, Event::PinNeeded { tries: Some(2), .. })),
            "{heard:?}"
        );
        for _ in 0..2 {
            rig.give_pin(&key, b"000000");
            let _ = rig.touch(Namespace::Lease, candidate(&key, &[b"x"]), false, 3).await;
        }
        rig.give_pin(&key, PIN);
        let blocked = rig.touch(Namespace::Lease, candidate(&key, &[b"x"]), false, 5).await;
        assert_eq!(blocked.err(), Some(DeviceError::PivPinBlocked));
    });
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn t56_a_card_pulled_out_while_it_waits_is_said_to_be_gone_and_serves_again() {
    run(async {
        let rig = Rig::new(YUBIKEY, YUBIKEY_READER);
        let key = rig.make(false, b"123456", Some((PIN, PUK))).await.unwrap();
        rig.control.never().unwrap();
        rig.give_pin(&key, PIN);
        let control = rig.control.clone();
        let pulling = thread::spawn(move || {
            assert!(control.await_asked(Duration::from_secs(10)).unwrap());
            control.pull().unwrap();
            thread::sleep(Duration::from_secs(1));
            control.grant().unwrap();
            control.plug().unwrap();
        });
        let asked = rig.touch(Namespace::Lease, candidate(&key, &[b"x"]), false, 6).await;
        pulling.join().unwrap();
        // The PIN went with the card, and nobody types it again here.
        assert_eq!(asked.err(), Some(DeviceError::PinNeeded));
        assert!(
            rig.heard()
                .iter()
                .any(|event| matches!(event, Event::Gone { name } if name == "card"))
        );
        rig.give_pin(&key, PIN);
        rig.touch(Namespace::Lease, candidate(&key, &[b"x"]), false, 20).await.unwrap();
    });
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn a_reader_held_by_another_program_is_waited_for_and_the_card_is_left_without_our_pin() {
    run(async {
        let rig = Rig::new(YUBIKEY, YUBIKEY_READER);
        let key = rig.make(false, b"123456", Some((PIN, PUK))).await.unwrap();
        rig.give_pin(&key, PIN);
        let Port::Reader(reader) = rig.port.clone() else { panic!() };
        let name = std::ffi::CString::new(reader).unwrap();
        let context = Context::establish(Scope::User).unwrap();
        let (held, holds) = mpsc::channel();
        let holder = thread::spawn(move || {
            let card = context.connect(&name, ShareMode::Exclusive, Protocols::ANY).unwrap();
            held.send(()).unwrap();
            thread::sleep(Duration::from_secs(2));
            let mut buffer = [0; 300];
            let select = [0, 0xa4, 4, 0, 5, 0xa0, 0, 0, 3, 8];
            card.transmit(&select, &mut buffer).unwrap();
            // VERIFY without a PIN asks whether it was shown (SP 800-73-4 part 2, 3.2.1).
            let status = card.transmit(&[0, 0x20, 0, 0x80], &mut buffer).unwrap().to_vec();
            card.disconnect(Disposition::LeaveCard).map_err(|(_, error)| error).unwrap();
            status
        });
        holds.recv().unwrap();
        let busy = rig.broker.card(&rig.port).await;
        assert!(matches!(busy.err(), Some(DeviceError::Busy { .. })));
        rig.touch(Namespace::Lease, candidate(&key, &[b"x"]), false, 20).await.unwrap();
        assert!(rig.heard().iter().any(|event| matches!(event, Event::Busy { .. })));
        assert_eq!(holder.join().unwrap(), [0x63, 0xc3], "three tries, and no PIN was shown");
    });
}

/// A card of the test's own in the rig's reader, and what is in it.
fn swapped(rig: &Rig, settings: Settings, between: impl FnOnce(YubiKeyCard) -> Between) -> (VpcdSocket, Arc<YubiKey>) {
    rig.control.pull().unwrap();
    let finger = Arc::new(Finger::new(Mode::Grant));
    let inside = Arc::new(YubiKey::start(settings, finger.clone()).unwrap());
    let card = between(YubiKeyCard::new(inside.clone()));
    (VpcdSocket::new(YUBIKEY_READER, Box::new(card)).with_finger(finger), inside)
}

impl Rig {
    /// The card of this serial number, once the broker sees that it was put in.
    async fn appears(&self, serial: u32, before: Option<u64>) -> CardSeen {
        let until = soon(20);
        loop {
            match self.broker.card(&self.port).await {
                Ok(card) if card.seen.serial == serial && Some(card.plug) != before => return card,
                other => assert!(SystemClock.boot() < until, "{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Pulls a card out behind every command after its PIN is changed; each time it comes from the factory, and is made ready once it is back. Most
/// times it is dead first, and not away in the middle of a command.
async fn pulled_after_every_command(version: [u8; 3]) {
    const CHANGE_REFERENCE: u8 = 0x24;
    /// No precise diagnosis (ISO 7816-4, table 6).
    const DEAD: [u8; 2] = [0x6f, 0x00];
    let mut rig = Rig::new(YUBIKEY, YUBIKEY_READER);
    let settings = Settings {
        version,
        ..Settings::default()
    };
    let serial = settings.serial;
    // Commands until the card is out, once the first of them has come.
    let cut = Arc::new(Mutex::new((false, None, false)));
    let counted = cut.clone();
    let (slot, inside) = swapped(&rig, settings, |card| {
        Between::new(card, move |card, apdu| {
            let (begun, left, dead) = &mut *counted.lock().unwrap();
            *begun |= apdu[1] == CHANGE_REFERENCE;
            match left.as_mut().filter(|_| *begun) {
                Some(0_usize) if *dead => return DEAD.to_vec(),
                Some(0) => return vec![],
                Some(left) => *left -= 1,
                None => {}
            }
            card.transmit(apdu)
        })
    });
    rig.roots = Some(Arc::new(Roots::from_pem(inside.root().as_bytes()).unwrap()));
    slot.plug().unwrap();
    let mut plug = rig.appears(serial, None).await.plug;
    let (mut commands, mut pulls) = (0, 0);
    loop {
        let dead = pulls % 4 != 0;
        *cut.lock().unwrap() = (false, Some(commands), dead);
        let made = rig.make(false, b"123456", Some((PIN, PUK))).await;
        *cut.lock().unwrap() = (false, None, false);
        let Err(error) = made else { break };
        assert!(dead || error == DeviceError::PulledOut, "{commands}: {error}");
        slot.pull();
        slot.plug().unwrap();
        let now = rig.appears(serial, Some(plug)).await;
        plug = now.plug;
        let pin: &[u8] = if now.factory.pin { b"123456" } else { PIN };
        let key = rig.make(true, pin, Some((PIN, PUK))).await;
        let key = key.unwrap_or_else(|error| panic!("pulled out after {commands} commands: {error}; {now:?}"));
        let after = rig.card().await;
        assert!(!after.factory.pin && !after.factory.puk && !after.factory.management && after.factory.protected);
        assert!(after.holds(&key.piv().unwrap().open) && after.holds(&key.piv().unwrap().sign));
        inside.wipe();
        (commands, pulls) = (commands + 1, pulls + 1);
    }
    slot.pull();
    println!("T56 a card was made ready after each of {pulls} pulls, up to behind command {commands}");
    assert!(commands > 10, "{commands}");
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn t56_a_card_pulled_out_behind_every_command_while_keys_are_made_is_made_ready_when_it_is_back() {
    run(pulled_after_every_command([5, 7, 1]));
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn t56_so_is_one_with_a_management_key_of_the_older_kind() {
    run(pulled_after_every_command([5, 4, 3]));
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn t02_what_was_heard_of_an_opening_opens_nothing_and_another_point_is_sent_each_time() {
    run(async {
        let rig = Rig::new(YUBIKEY, YUBIKEY_READER);
        let settings = Settings::default();
        let serial = settings.serial;
        let (heard, replays) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(None::<Vec<u8>>)));
        let (hears, replayed) = (heard.clone(), replays.clone());
        let (slot, _) = swapped(&rig, settings, |card| {
            Between::new(card, move |card, apdu| {
                // GENERAL AUTHENTICATE of the slot that opens: the point is at the end, its agreement before the status.
                let agrees = apdu[1] == 0x87 && apdu[3] == 0x82;
                if let Some(answer) = replayed.lock().unwrap().as_ref().filter(|_| agrees) {
                    return answer.clone();
                }
                let answer = card.transmit(apdu);
                if agrees {
                    hears.lock().unwrap().push((apdu.to_vec(), answer.clone()));
                }
                answer
            })
        });
        slot.plug().unwrap();
        rig.appears(serial, None).await;
        let key = rig.make(false, b"123456", Some((PIN, PUK))).await.unwrap();
        rig.give_pin(&key, PIN);
        let one_file = candidate(&key, &[b"one"]);
        for _ in 0..2 {
            let proof = rig.touch(Namespace::Lease, one_file.clone(), false, 20).await.unwrap();
            assert_eq!(proof.outputs()[0].expose(), b"one");
        }
        let heard = std::mem::take(&mut *heard.lock().unwrap());
        let Unseal::Sealed(sealed) = &one_file.unseals[0] else { panic!() };
        let enc = sealed.encapsulated().unwrap();
        let points: Vec<&[u8]> = heard.iter().map(|(asked, _)| point_in(asked)).collect();
        assert_eq!(points.len(), 2);
        assert!(points[0] != points[1] && points.iter().all(|point| *point != enc), "{points:02x?}");
        for (_, answer) in &heard {
            let agreed: [u8; 32] = answer[answer.len() - 34..answer.len() - 2].try_into().unwrap();
            assert!(sealed.open(&agreed.into()).is_none(), "what was heard opens the file");
            *replays.lock().unwrap() = Some(answer.clone());
            let again = rig.touch(Namespace::Lease, one_file.clone(), false, 20).await;
            assert_eq!(again.err(), Some(ProofError::NotOpened.into()));
        }
        slot.pull();
    });
}

/// Tag 85 in 82 in 7C (SP 800-73-4 part 2, 3.2.4): the other side's point, uncompressed.
fn point_in(command: &[u8]) -> &[u8] {
    let at = command.windows(3).position(|three| three == [0x85, 65, 4]).unwrap() + 2;
    &command[at..at + 65]
}
