//! What the audit log costs: a durable line against a bare append and fdatasync, 64 at once, and verifying a long log.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Write};
use std::path::Path;
use std::sync::Arc;

use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest as _, Sha256};
use touchlease::audit::event::{Asked, Event, Kind, Profile, Requester, Signed, Transport, Used};
use touchlease::audit::{Durability, Log, Owner, SignerKey, verify};
use touchlease::clock::SystemClock;
use touchlease::encoding::Digest;
use touchlease::encoding::sshsig::{Assertion, FLAG_UP, Namespace, Point, client_data_hash};

use super::table::{Failure, Table, Work, interleaved, millis};

const ROUNDS: usize = 400;

pub fn rows(table: &mut Table) -> Result<(), Failure> {
    // Beside the build: a temporary folder may be in memory, where syncing costs nothing.
    let folder = std::env::current_exe()?.with_file_name(format!("log-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    append(table, &folder)?;
    verify_long(table, &folder)?;
    Ok(fs::remove_dir_all(&folder)?)
}

fn append(table: &mut Table, folder: &Path) -> Result<(), Failure> {
    let path = folder.join("audit.jsonl");
    let log = RefCell::new(open(&path)?);
    let before = fs::metadata(&path)?.len();
    log.borrow_mut().append(asked(), Durability::Synced)?;
    let line = vec![b'x'; usize::try_from(fs::metadata(&path)?.len() - before)?];
    let mut bare = OpenOptions::new().create(true).append(true).open(folder.join("bare"))?;
    let sixty_four: Vec<_> = (0..64).map(|_| asked()).collect();
    let mut works: Vec<Work<'_>> = vec![
        Box::new(|| {
            bare.write_all(&line)?;
            Ok(bare.sync_data()?)
        }),
        Box::new(|| Ok(log.borrow_mut().append(asked(), Durability::Synced).map(drop)?)),
        Box::new(|| Ok(log.borrow_mut().append_many(&sixty_four, Durability::Synced).map(drop)?)),
    ];
    let times = interleaved(ROUNDS, &mut works)?;
    drop(works);
    let one = times[1].over(&times[0]);
    table.fact(
        &format!("append of {} bytes and fdatasync, p50", line.len()),
        millis(times[0].median()),
    );
    table.goal("one durable audit line, against that", format!("{one:.2}x"), "<= 1.2x", one <= 1.2);
    let many = 64.0 / times[2].over(&times[1]);
    table.goal(
        "64 audit lines at once, lines per second against one at a time",
        format!("{many:.0}x"),
        ">= 25x",
        many >= 25.0,
    );
    Ok(())
}

fn verify_long(table: &mut Table, folder: &Path) -> Result<(), Failure> {
    let path = folder.join("long.jsonl");
    let mut log = open(&path)?;
    for n in 0..1_000 {
        let hash = log.append(asked(), Durability::Grouped)?;
        let id = format!("{n:032x}");
        let mut events = vec![approved(&format!("{{\"asked\":\"{hash}\",\"id\":\"{id}\",\"v\":1}}"))?];
        events.resize(99, used(&id));
        log.append_many(&events, Durability::Grouped)?;
        log.sync()?;
    }
    let point = point()?;
    let keys = |_: &Digest| {
        Some(SignerKey {
            point,
            profile: Profile::TouchOnly,
            name: "blue".into(),
        })
    };
    let verified = || -> Result<(), Failure> {
        let reader = BufReader::with_capacity(1 << 16, File::open(&path)?);
        let report = verify(reader, &keys, None)?;
        let whole = report.is_good() && report.lines == 100_001 && report.receipts == 1_000;
        if whole {
            Ok(())
        } else {
            Err(format!("{:?}", report.faults).into())
        }
    };
    let times = interleaved(5, &mut [Box::new(verified)])?;
    let took = times[0].median();
    let second = std::time::Duration::from_secs(1);
    table.goal(
        "verifying 100,000 audit lines with 1,000 receipts",
        millis(took),
        "<= 1000 ms",
        took <= second,
    );
    Ok(())
}

fn open(path: &Path) -> Result<Log, Failure> {
    let owner = Owner {
        vault: Digest([9; 32]),
        boot_id: "5f0c1c1e-3a57-4b0e-9e6e-0f8a6d3c2b1a".into(),
        program: "bench".into(),
    };
    Ok(Log::open(path, owner, Arc::new(SystemClock))?)
}

fn asked() -> Event {
    Event::Asked(Asked {
        reason: Some("Deploy the docs".into()),
        requester: Requester {
            ancestors: vec!["make".into(), "zsh".into()],
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
        times: None,
        what: "GET api.cloudflare.com /client/v4/accounts".into(),
    })
}

fn approved(text: &str) -> Result<Event, Failure> {
    let point = point()?;
    let mut assertion = Assertion {
        flags: FLAG_UP,
        counter: 1,
        extensions: Vec::new(),
        signature: [0; 64],
    };
    let mut signed = Sha256::new_with_prefix(assertion.auth_data());
    signed.update(client_data_hash(Namespace::Lease, text.as_bytes()).0);
    let signature: Signature = key()?.sign_prehash(&signed.finalize())?;
    assertion.signature = signature.to_bytes().into();
    Ok(Event::Approved(Signed {
        key: Digest::of(&point),
        kind: Kind::Touch,
        name: "blue".into(),
        profile: Profile::TouchOnly,
        sshsig: Some(assertion.to_sshsig(&point, Namespace::Lease, text.as_bytes())),
        text: text.into(),
        transport: Transport::Usb,
    }))
}

fn key() -> Result<SigningKey, Failure> {
    Ok(SigningKey::from_slice(&[7; 32])?)
}

fn point() -> Result<Point, Failure> {
    Ok(key()?.verifying_key().to_sec1_point(false).as_bytes().try_into()?)
}
