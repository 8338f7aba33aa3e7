//! A key pulled out at every report of the wire.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use hw_tests::{
    authenticator::{Authenticator, Settings},
    bus::{Device, Port},
    conformance::Machine,
    ctap::Ctap,
    finger::{Finger, Mode},
    hid_socket::HidSocket,
    key::{Key, KeyHandle},
};

use super::rig;

/// Counts the reports that the device sends, and asks to be pulled out before one of them.
#[derive(Default)]
struct Meter {
    sent: AtomicU64,
    pull_before: AtomicU64,
}

struct Metered {
    device: Box<dyn Device>,
    meter: Arc<Meter>,
    pull: mpsc::Sender<()>,
}

impl Device for Metered {
    fn run(self: Box<Self>, port: Port) {
        let Self { device, meter, pull } = *self;
        let mut is_out = false;
        device.run(port.with_rewrite(Box::new(move |report| {
            let number = meter.sent.fetch_add(1, Ordering::Relaxed) + 1;
            if number == meter.pull_before.load(Ordering::Relaxed) {
                is_out = true;
                let _ = pull.send(()); // nobody pulls any more: the test is over
            }
            if is_out { vec![] } else { vec![report.to_vec()] }
        })));
    }
}

/// How many pulls the everyday run tries at most.
const SAMPLE: u64 = 24;

#[test]
fn t56_a_key_pulled_out_at_any_report_is_said_and_serves_when_it_is_back() {
    serves_after_each_pull(SAMPLE);
}

#[test]
#[ignore = "long"]
fn t56_a_key_pulled_out_at_every_report_is_said_and_serves_when_it_is_back() {
    serves_after_each_pull(u64::MAX);
}

fn serves_after_each_pull(most: u64) {
    let finger = Arc::new(Finger::new(Mode::Never));
    let ctap: Arc<dyn Ctap> = Arc::new(Authenticator::start(Settings::default(), finger.clone()).unwrap());
    let meter = Arc::new(Meter::default());
    let (pull, pulls) = mpsc::channel();
    let socket = HidSocket::new(ctap.clone()).with_disguise({
        let meter = meter.clone();
        Box::new(move |device| {
            Box::new(Metered {
                device: Box::new(device),
                meter: meter.clone(),
                pull: pull.clone(),
            })
        })
    });
    let rig = rig(Key::new(finger, ctap, socket));
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    let key = rig.usb_keys()[0].clone();

    // A replug first, so that the count has everything in it: channel, getInfo, recognition, PIN, assertion.
    let change = |number: u64| {
        machine
            .home
            .terminal(["edit", "prod/TOKEN", "--max-uses", &number.to_string()])
            .unwrap()
    };
    let replug = || {
        key.pull().unwrap();
        key.plug().unwrap();
        meter.sent.store(0, Ordering::Relaxed);
    };
    replug();
    let mut screen = change(1000);
    machine.attend(&mut screen, hw_tests::key::PIN, &mut || false).unwrap();
    assert!(screen.finish().unwrap().0.success());
    let reports = meter.sent.load(Ordering::Relaxed);
    assert!(reports > 10, "{reports} reports");

    let step = reports.div_ceil(most).max(1);
    let sample: Vec<u64> = (1..=reports).step_by(usize::try_from(step).unwrap()).collect();
    let (mut held, mut slowest) = (0, Duration::ZERO);
    for &before in &sample {
        replug();
        meter.pull_before.store(before, Ordering::Relaxed);
        let mut screen = change(before);
        let mut pulled = None;
        // Until it is pulled, or done: keepalives make the number of reports vary by a few.
        let mut enough = || {
            if pulls.try_recv().is_ok() {
                key.pull().unwrap();
                pulled = Some(Instant::now());
            }
            pulled.is_some()
        };
        machine.attend(&mut screen, hw_tests::key::PIN, &mut enough).unwrap();
        meter.pull_before.store(0, Ordering::Relaxed);
        if let Some(pulled) = pulled {
            screen.expect("was pulled out").unwrap();
            slowest = slowest.max(pulled.elapsed());
            key.plug().unwrap();
            machine.attend(&mut screen, hw_tests::key::PIN, &mut || false).unwrap();
        }
        let (status, shown) = screen.finish().unwrap();
        assert!(status.success(), "pulled before report {before} of {reports}: {shown}");
        held += 1;
    }
    println!(
        "T56: {held} of {} boundaries ({reports} reports); said after {} ms at most",
        sample.len(),
        slowest.as_millis()
    );
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert_eq!(held, sample.len());
}
