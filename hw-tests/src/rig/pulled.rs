//! A card pulled out at every APDU: the product over the real middleware; run by `with-readers`.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use super::{CONTACT_READER, Reader, SECOND_CONTACT_READER, cards::product};
use crate::{
    authenticator::{Authenticator, Settings},
    card::{FidoCard, Interface, SmartCard},
    conformance::{Link, Machine, Rig, rigs::Plugged},
    ctap::Ctap,
    ctaphid::Keepalive,
    finger::{Finger, Mode},
    harness::{Daemon, Home},
    key::{Key, KeyHandle, PIN},
    vpcd::VpcdSocket,
};

/// Counts the commands that the card answers, and goes away before it answers one of them.
#[derive(Default)]
struct Meter {
    heard: AtomicU64,
    pull_at: AtomicU64,
}

struct Metered {
    card: FidoCard,
    meter: Arc<Meter>,
    pulled: mpsc::Sender<Instant>,
}

impl SmartCard for Metered {
    fn atr(&self) -> Vec<u8> {
        self.card.atr()
    }

    fn power_up(&mut self) {
        self.card.power_up();
    }

    fn power_down(&mut self) {
        self.card.power_down();
    }

    fn transmit(&mut self, apdu: &[u8]) -> Vec<u8> {
        let number = self.meter.heard.fetch_add(1, Ordering::Relaxed) + 1;
        let answer = self.card.transmit(apdu);
        if number != self.meter.pull_at.load(Ordering::Relaxed) {
            return answer;
        }
        let _ = self.pulled.send(Instant::now()); // nobody looks any more: the test is over
        vec![]
    }
}

/// Two cards of this process in the readers with contacts; the launcher's own are out.
struct Slots {
    program: PathBuf,
    keys: [Arc<dyn KeyHandle>; 2],
}

impl Rig for Slots {
    fn name(&self) -> &str {
        "contact, in this process"
    }

    fn link(&self) -> Link {
        Link::Contact
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn keys(&self) -> [Arc<dyn KeyHandle>; 2] {
        self.keys.clone()
    }

    fn daemon(&self, _: &Home) -> std::io::Result<Option<Daemon>> {
        Ok(None)
    }
}

fn key(reader: Reader, card: impl FnOnce(FidoCard) -> Box<dyn SmartCard>) -> Arc<dyn KeyHandle> {
    let settings = Settings {
        smart_card: true,
        ..Settings::default()
    };
    let finger = Arc::new(Finger::new(Mode::Never));
    let ctap: Arc<dyn Ctap> = Arc::new(Authenticator::start(settings, finger.clone()).unwrap());
    let honest = FidoCard::new(ctap.clone(), finger.clone(), Interface::Contact, Keepalive::never());
    let slot = VpcdSocket::new(reader, card(honest)).with_finger(finger.clone());
    Arc::new(Key::new(finger, ctap, slot))
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn t56_a_card_pulled_out_at_every_apdu_is_said_and_serves_when_it_is_back() {
    let launched = Plugged::find("contact", product(), |name| std::env::var_os(name)).unwrap();
    launched.keys().iter().for_each(|key| key.pull().unwrap());
    let meter = Arc::new(Meter::default());
    let (pulled, pulls) = mpsc::channel();
    let first = key(CONTACT_READER, |card| {
        let meter = meter.clone();
        Box::new(Metered { card, meter, pulled })
    });
    let rig = Slots {
        program: product(),
        keys: [first.clone(), key(SECOND_CONTACT_READER, |card| Box::new(card))],
    };
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();

    let change = |number: u64| {
        let number = number.to_string();
        machine.home.terminal(["edit", "prod/TOKEN", "--max-uses", &number]).unwrap()
    };
    let replug = || {
        first.pull().unwrap();
        machine.is_gone("blue").unwrap();
        meter.heard.store(0, Ordering::Relaxed);
        first.plug().unwrap();
    };
    // A replug first, so that the count has everything in it: getInfo, recognition, PIN, assertion.
    replug();
    let mut screen = change(1000);
    machine.attend(&mut screen, PIN, &mut || false).unwrap();
    assert!(screen.finish().unwrap().0.success());
    let apdus = meter.heard.load(Ordering::Relaxed);
    assert!(apdus > 10, "{apdus} commands");

    let (mut held, mut slowest) = (0, Duration::ZERO);
    for at in 1..=apdus {
        replug();
        meter.pull_at.store(at, Ordering::Relaxed);
        let mut screen = change(at);
        let mut since = None;
        machine
            .attend(&mut screen, PIN, &mut || {
                since = since.or_else(|| pulls.try_recv().ok());
                since.is_some()
            })
            .unwrap();
        meter.pull_at.store(0, Ordering::Relaxed);
        let since = since.unwrap_or_else(|| panic!("not pulled at {at} of {apdus}: {}", screen.output()));
        screen.expect("was pulled out").unwrap();
        slowest = slowest.max(since.elapsed());
        first.pull().unwrap();
        first.plug().unwrap();
        machine.attend(&mut screen, PIN, &mut || false).unwrap();
        let (status, shown) = screen.finish().unwrap();
        assert!(status.success(), "pulled at {at} of {apdus}: {shown}");
        held += 1;
    }
    println!(
        "T56: {held} of {apdus} APDU boundaries; said after {} ms at most",
        slowest.as_millis()
    );
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}
