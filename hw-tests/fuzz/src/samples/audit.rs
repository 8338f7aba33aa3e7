//! Logs with software keys.

use crate::audit::SignerKey;
use crate::audit::event::{Event, Opened};
use crate::audit::log::Durability;
use crate::audit::record::{Line, NO_LINE, VERSION};
use crate::audit::testing::{self, Folder, TestClock, VAULT};
use crate::encoding::Digest;

/// The one key of the samples.
pub fn signer(id: &Digest) -> Option<SignerKey> {
    testing::keys(id)
}

/// One line of every event.
pub fn line() -> Vec<Vec<u8>> {
    let line = |event: Event| {
        let line = Line {
            at: 1_700_000_000_123,
            boot: 5_000,
            boot_id: "b0".into(),
            event: std::borrow::Cow::Owned(event),
            prev: NO_LINE,
            seq: 1,
            skew: -3,
            v: VERSION,
        };
        line.to_bytes().expect("a line")
    };
    testing::every_event().into_iter().map(line).collect()
}

/// A log of two leases, one that goes wrong, and one whose clock was set.
pub fn log() -> Vec<Vec<u8>> {
    let made = |work: &dyn Fn(&mut crate::audit::log::Log, &TestClock)| {
        let (folder, clock) = (Folder::new(), TestClock::new());
        work(&mut testing::open(&folder, &clock), &clock);
        std::fs::read(folder.log()).expect("a log")
    };
    let two = made(&|log, _| {
        testing::one_lease(log, "1");
        testing::one_lease(log, "2");
    });
    let set = made(&|log, clock| {
        testing::one_lease(log, "1");
        clock.wall.fetch_add(86_400_000, std::sync::atomic::Ordering::Relaxed);
        for event in testing::every_event()
            .into_iter()
            .filter(|event| !matches!(event, Event::Opened(Opened { vault: VAULT, .. })))
        {
            log.append(event, Durability::Grouped).expect("a line");
        }
    });
    let lines: Vec<&[u8]> = two.split_inclusive(|b| *b == b'\n').collect();
    let without = [&lines[..3], &lines[4..]].concat().concat();
    let cut = two[..two.len() - 5].to_vec();
    vec![two.clone(), set, without, cut]
}

/// Text, signature and name, with a zero byte between.
pub fn receipt() -> Vec<Vec<u8>> {
    let Event::Approved(signed) = testing::approved(&testing::lease(&Digest([5; 32]), "id-1")) else {
        return Vec::new();
    };
    vec![
        [
            signed.text.as_bytes(),
            b"\0",
            signed.sshsig.as_deref().unwrap_or_default().as_bytes(),
            b"\0",
            signed.name.as_bytes(),
        ]
        .concat(),
    ]
}
