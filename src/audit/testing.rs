//! What the tests of this room share: a software key, a clock that stands where it is put, one event of each kind.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{self, SigningKey};
use sha2::{Digest as _, Sha256};

use super::event::*;
use super::log::{Durability, Log, Owner};
use super::verify::SignerKey;
use crate::clock::{Boot, Clock, Sleep, Wall};
use crate::encoding::Digest;
use crate::encoding::sshsig::{Assertion, FLAG_ED, FLAG_UP, FLAG_UV, Namespace, Point, client_data_hash};

/// The vault of every test.
pub const VAULT: Digest = Digest([9; 32]);
/// Flags of a good assertion of the PIN profile.
pub const GOOD: u8 = FLAG_UP | FLAG_UV | FLAG_ED;

/// A folder of its own, gone at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("touchlease-audit-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("audit.jsonl")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Both clocks, in milliseconds, moved by hand.
pub struct TestClock {
    pub wall: AtomicU64,
    pub boot: AtomicU64,
}

impl TestClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            wall: 1_700_000_000_000.into(),
            boot: 1_000_000.into(),
        })
    }

    pub fn pass(&self, millis: u64) {
        self.wall.fetch_add(millis, Ordering::Relaxed);
        self.boot.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn wall(&self) -> Wall {
        Wall(self.wall.load(Ordering::Relaxed))
    }

    fn boot(&self) -> Boot {
        Boot(self.boot.load(Ordering::Relaxed))
    }

    fn sleep(&self, _: Boot, _: Wall) -> Sleep {
        Box::pin(std::future::pending())
    }
}

pub fn owner() -> Owner {
    Owner {
        vault: VAULT,
        boot_id: "5f0c1c1e-3a57-4b0e-9e6e-0f8a6d3c2b1a".into(),
        program: "touchlease 0.1.0".into(),
    }
}

pub fn open(folder: &Folder, clock: &Arc<TestClock>) -> Log {
    Log::open(&folder.log(), owner(), clock.clone()).unwrap()
}

fn signing_key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).unwrap()
}

pub fn point() -> Point {
    signing_key().verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap()
}

pub fn key_id() -> Digest {
    Digest::of(&point())
}

/// The roster of the tests: one key, "blue", with a PIN.
pub fn keys(id: &Digest) -> Option<SignerKey> {
    (*id == key_id()).then(|| SignerKey {
        point: point(),
        profile: Profile::Pin,
        name: "blue".into(),
    })
}

pub fn assertion(namespace: Namespace, text: &str, flags: u8) -> Assertion {
    let mut assertion = Assertion {
        flags,
        counter: 7,
        extensions: if flags & FLAG_ED == 0 { Vec::new() } else { vec![0xa0] },
        signature: [0; 64],
    };
    let mut signed = Sha256::new_with_prefix(assertion.auth_data());
    signed.update(client_data_hash(namespace, text.as_bytes()).0);
    let signature: ecdsa::Signature = signing_key().sign_prehash(&signed.finalize()).unwrap();
    assertion.signature = signature.to_bytes().into();
    assertion
}

/// The other signature that verifies: (r, n - s).
pub fn twin(mut assertion: Assertion) -> Assertion {
    let signature = ecdsa::Signature::from_slice(&assertion.signature).unwrap();
    let (r, s) = signature.split_scalars();
    let twin = ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    assertion.signature = twin.to_bytes().into();
    assertion
}

pub fn signed_with(assertion: &Assertion, namespace: Namespace, text: &str) -> Signed {
    Signed {
        key: key_id(),
        kind: Kind::Touch,
        name: "blue".into(),
        profile: Profile::Pin,
        sshsig: Some(assertion.to_sshsig(&point(), namespace, text.as_bytes())),
        text: text.into(),
        transport: Transport::Usb,
    }
}

pub fn signed(text: &str) -> Signed {
    signed_with(&assertion(Namespace::Change, text, GOOD), Namespace::Change, text)
}

pub fn asked(reason: &str) -> Event {
    Event::Asked(Asked {
        reason: Some(reason.into()),
        requester: Requester {
            ancestors: vec!["make".into(), "zsh".into()],
            exe: "/usr/bin/make".into(),
            folder: "/home/me/app".into(),
            pid: 4711,
            uid: 1000,
        },
        secrets: vec!["prod/TOKEN".into()],
        task: Some("deploy".into()),
        ttl: 900,
        uses: Some(20),
    })
}

pub fn lease(asked: &Digest, id: &str) -> String {
    format!("{{\"asked\":\"{asked}\",\"id\":\"{id}\",\"task\":\"deploy\",\"v\":1}}")
}

pub fn approved(text: &str) -> Event {
    Event::Approved(signed_with(&assertion(Namespace::Lease, text, GOOD), Namespace::Lease, text))
}

pub fn used(lease: &str) -> Event {
    Event::Used(Used {
        delivery: "env".into(),
        lease: lease.into(),
        left: Some(19),
        times: None,
        what: "make".into(),
    })
}

pub fn again(lease: &str, times: u32) -> Event {
    Event::Used(Used {
        delivery: "proxy".into(),
        lease: lease.into(),
        left: None,
        times: Some(times),
        what: "GET a.example/x".into(),
    })
}

pub fn ended(lease: &str) -> Event {
    Event::Ended(Ended {
        lease: lease.into(),
        why: Why::Time,
    })
}

/// Asks, shows, approves, uses and ends one lease; five lines. Gives the lease's text.
pub fn one_lease(log: &mut Log, id: &str) -> String {
    let hash = log.append(asked("deploy"), Durability::Grouped).unwrap();
    let text = lease(&hash, id);
    log.append_many(
        &[Event::Shown(OfAsked { asked: hash }), approved(&text), used(id), ended(id)],
        Durability::Grouped,
    )
    .unwrap();
    text
}

pub fn every_event() -> Vec<Event> {
    let digest = Digest([3; 32]);
    let cut = Some(Cut { bytes: 17, digest });
    let name = String::from("blue");
    vec![
        Event::Opened(Opened {
            cut: cut.clone(),
            program: "p".into(),
            vault: VAULT,
        }),
        Event::Recovered(Recovered { cut, missed: 2 }),
        asked("why \u{202e} \"not\"\n"),
        Event::Shown(OfAsked { asked: digest }),
        approved(&lease(&digest, "1")),
        Event::Denied(OfAsked { asked: digest }),
        Event::TimedOut(OfAsked { asked: digest }),
        Event::Refused(Refused {
            asked: Some(digest),
            detail: "d".into(),
            reason: "refused".into(),
        }),
        used("1"),
        again("1", 20),
        ended("1"),
        Event::Change(Change {
            names: vec!["prod/TOKEN".into()],
            signed: signed("{}"),
        }),
        Event::Exported(signed("{}")),
        Event::ClockAccepted(signed("{}")),
        Event::OlderAccepted(signed("{}")),
        Event::Roster(Roster { statement: digest }),
        Event::RecoveryCode(RecoveryCode {
            asked: digest,
            key: name.clone(),
            removes: vec!["lost".into()],
            statement: digest,
        }),
        Event::ExtraTouch(ExtraTouch {
            asked: Some(digest),
            key: digest,
            name: name.clone(),
        }),
        Event::CounterBack(CounterBack {
            before: 9,
            key: digest,
            name: name.clone(),
            now: 8,
        }),
        Event::Key(KeyTrouble {
            asked: None,
            detail: "d".into(),
            key: Some(digest),
            name: Some(name),
            what: Trouble::Impostor,
        }),
    ]
}
