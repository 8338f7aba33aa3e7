//! What the audit log costs: a durable line against a bare append and fdatasync, 64 at once, and verifying a long log.
#![allow(clippy::disallowed_methods)] // it measures

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest as _, Sha256};
use touchlease::audit::event::{Asked, Event, Kind, Profile, Requester, Signed, Transport, Used};
use touchlease::audit::{Durability, Log, Owner, SignerKey, verify};
use touchlease::clock::SystemClock;
use touchlease::encoding::Digest;
use touchlease::encoding::sshsig::{Assertion, FLAG_UP, Namespace, Point, client_data_hash};

const ROUNDS: usize = 400;

fn main() {
    let folder = std::env::args()
        .nth(1)
        .filter(|a| !a.starts_with('-'))
        .unwrap_or_else(|| "target".into());
    let folder = Path::new(&folder).join(format!("audit-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder on a real disk");
    append(&folder);
    verify_long(&folder);
    fs::remove_dir_all(&folder).expect("removed");
}

fn append(folder: &Path) {
    let mut log = open(&folder.join("audit.jsonl"));
    let before = fs::metadata(folder.join("audit.jsonl")).expect("the log").len();
    log.append(asked(), Durability::Synced).expect("a line");
    let line = vec![b'x'; usize::try_from(fs::metadata(folder.join("audit.jsonl")).expect("the log").len() - before).expect("a size")];
    let mut bare = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("bare"))
        .expect("a file");
    let sixty_four: Vec<_> = (0..64).map(|_| asked()).collect();
    let (mut bares, mut ones, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    // Interleaved: the machine is shared, only ratios within one run count.
    for _ in 0..ROUNDS {
        bares.push(timed(|| {
            bare.write_all(&line).expect("written");
            bare.sync_data().expect("synced");
        }));
        ones.push(timed(|| assert!(log.append(asked(), Durability::Synced).is_ok())));
        groups.push(timed(|| assert!(log.append_many(&sixty_four, Durability::Synced).is_ok())));
    }
    let (bare, one, group) = (median(bares), median(ones), median(groups));
    println!("line of {} bytes, {ROUNDS} rounds, medians", line.len());
    println!("append + fdatasync           {bare:?}");
    println!("one durable line             {one:?}   {:.2}x", ratio(one, bare));
    println!(
        "64 at once                   {group:?}   {:.1}x lines per second of one at a time",
        64.0 * ratio(one, group)
    );
}

fn verify_long(folder: &Path) {
    let path = folder.join("long.jsonl");
    let mut log = open(&path);
    for n in 0..1_000 {
        let hash = log.append(asked(), Durability::Grouped).expect("a line");
        let id = format!("{n:032x}");
        let mut events = vec![approved(&format!("{{\"asked\":\"{hash}\",\"id\":\"{id}\",\"v\":1}}"))];
        events.resize(99, used(&id));
        log.append_many(&events, Durability::Grouped).expect("lines");
        log.sync().expect("synced");
    }
    let keys = |_: &Digest| {
        Some(SignerKey {
            point: point(),
            profile: Profile::TouchOnly,
            name: "blue".into(),
        })
    };
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let reader = BufReader::with_capacity(1 << 16, File::open(&path).expect("the log"));
        let mut report = None;
        best = best.min(timed(|| report = Some(verify(reader, &keys, None).expect("read"))));
        let report = report.expect("a report");
        assert!(
            report.is_good() && report.lines == 100_001 && report.receipts == 1_000,
            "{:?}",
            report.faults
        );
    }
    println!("verify 100,001 lines, 1,000 receipts   {best:?}");
    drop(log);
    println!("open that log                {:?}", timed(|| drop(open(&path))));
}

fn open(path: &Path) -> Log {
    let owner = Owner {
        vault: Digest([9; 32]),
        boot_id: "5f0c1c1e-3a57-4b0e-9e6e-0f8a6d3c2b1a".into(),
        program: "bench".into(),
    };
    Log::open(path, owner, Arc::new(SystemClock)).expect("a log")
}

fn asked() -> Event {
    Event::Asked(Asked {
        reason: Some("Deploy the docs".into()),
        requester: Requester {
            exe: "/usr/bin/make".into(),
            folder: "/home/me/src/app".into(),
            pid: 4711,
            uid: 1000,
        },
        secrets: vec!["prod/CLOUDFLARE_TOKEN".into()],
        task: Some("deploy".into()),
        ttl: 900,
        uses: Some(20),
    })
}

fn used(lease: &str) -> Event {
    Event::Used(Used {
        delivery: "proxy".into(),
        lease: lease.into(),
        left: None,
        what: "GET api.cloudflare.com /client/v4/accounts".into(),
    })
}

fn approved(text: &str) -> Event {
    let mut assertion = Assertion {
        flags: FLAG_UP,
        counter: 1,
        extensions: Vec::new(),
        signature: [0; 64],
    };
    let mut signed = Sha256::new_with_prefix(assertion.auth_data());
    signed.update(client_data_hash(Namespace::Lease, text.as_bytes()).0);
    let signature: Signature = key().sign_prehash(&signed.finalize()).expect("a signature");
    assertion.signature = signature.to_bytes().into();
    Event::Approved(Signed {
        key: Digest::of(&point()),
        kind: Kind::Touch,
        name: "blue".into(),
        profile: Profile::TouchOnly,
        sshsig: assertion.to_sshsig(&point(), Namespace::Lease, text.as_bytes()),
        text: text.into(),
        transport: Transport::Usb,
    })
}

fn key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).expect("a key")
}

fn point() -> Point {
    key().verifying_key().to_sec1_point(false).as_bytes().try_into().expect("65 bytes")
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}
