//! Logs with software keys.

use crate::audit::SignerKey;
use crate::audit::event::{Event, Kind, Opened, Profile, Signed, Transport};
use crate::audit::log::{Durability, Log};
use crate::audit::record::{Line, NO_LINE, VERSION};
use crate::audit::testing::{self, Folder, TestClock, VAULT};
use crate::device::soft::SoftKey;
use crate::encoding::Digest;

/// The keys of the samples: one that signs, and a card that only opens.
pub fn signer(id: &Digest) -> Option<SignerKey> {
    let card = SoftKey::piv("card", 3).enrolled();
    let card = (card.id().0 == *id).then(|| SignerKey {
        point: *card.signer(),
        profile: Profile::Piv,
        name: "card".into(),
    });
    card.or_else(|| testing::keys(id))
}

/// A lease that a card opened, or that a signer in hardware is for, which its text names where `grants` has it.
fn unsigned(log: &mut Log, kind: Kind, grants: &str) {
    let asked = log.append(testing::asked("deploy"), Durability::Grouped).expect("a line");
    let card = SoftKey::piv("card", 3).enrolled();
    let signed = Signed {
        key: card.id().0,
        kind,
        name: "card".into(),
        profile: Profile::Piv,
        sshsig: None,
        text: format!("{{\"asked\":\"{asked}\",{grants}\"id\":\"{kind:?}\",\"v\":1}}"),
        transport: Transport::Usb,
    };
    log.append(Event::Approved(signed), Durability::Grouped).expect("a line");
}

/// A grant of that signer.
fn in_hardware() -> String {
    let key = data_encoding::BASE64URL_NOPAD.encode(SoftKey::piv("card", 3).enrolled().signer());
    format!("\"grants\":[{{\"token\":{{\"class\":\"hardware\",\"key\":\"{key}\"}}}}],")
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

/// A log of two leases, one that goes wrong, one whose clock was set, and one of leases without a signature.
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
    let without_signatures = made(&|log, _| {
        unsigned(log, Kind::Attested, "");
        unsigned(log, Kind::Signer, &in_hardware());
        unsigned(log, Kind::Touch, "");
    });
    let lines: Vec<&[u8]> = two.split_inclusive(|b| *b == b'\n').collect();
    let without = [&lines[..3], &lines[4..]].concat().concat();
    let cut = two[..two.len() - 5].to_vec();
    vec![two.clone(), set, without_signatures, without, cut]
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
