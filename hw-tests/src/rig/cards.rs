//! Cards that disturb, and programs that tap for nobody: the product over the real middleware; run by `with-readers`.

use std::{
    ffi::CString,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use crate::{
    card::Interface,
    conformance::{Machine, machine::LIMIT, rigs::Plugged},
    host::{NewCredential, Protocol, permission},
    key::{Attachment, PIN},
    rig::{CONTACT_READER, CONTACTLESS_READER, Reader, SECOND_CONTACTLESS_READER},
    stubs::cards::{Disturbance, Disturbed},
    vpcd::VpcdSocket,
};
use pcsc::{Context, Disposition, Protocols, Scope, ShareMode};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const RUN: &[&str] = &["run", "--with", "prod/TOKEN", "--", "true"];

pub(super) fn rig(name: &str) -> Plugged {
    Plugged::find(name, product(), |name| std::env::var_os(name)).unwrap()
}

/// Beside this program, or where Cargo puts it: one folder up.
pub(super) fn product() -> std::path::PathBuf {
    let program = std::env::current_exe().unwrap();
    let folders = program.ancestors().skip(1).take(2);
    folders
        .map(|folder| folder.join("touchlease"))
        .find(|path| path.is_file())
        .expect("the product is built")
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn t58_a_disturbed_card_beside_an_honest_key_keeps_nobody_from_using_it() {
    let rig = rig("contact");
    let disturbances = [
        Disturbance::Keepalives,
        Disturbance::Empty,
        Disturbance::HalfStatus,
        Disturbance::EndlessAnswer,
        Disturbance::Fixed(vec![0x69, 0x82]),
        Disturbance::Fixed(vec![0x00, 0xa0, 0x90, 0x00]),
    ];
    let mut held = 0;
    for disturbance in &disturbances {
        let machine = Machine::new(&rig).unwrap();
        machine.vault().unwrap();
        let card = Disturbed::new(Interface::Contactless, disturbance.clone());
        let slot = VpcdSocket::new(SECOND_CONTACTLESS_READER, Box::new(card));
        slot.plug().unwrap();
        let output = machine.approved(RUN).unwrap();
        assert!(output.status.success(), "{disturbance:?}: {output:?}");
        let list = machine.json(&["key", "list"]).unwrap();
        assert_eq!(list["keys"][0]["name"], "blue", "{disturbance:?}: {list}");
        slot.pull();
        held += 1;
    }
    println!("T58: {held} of {} cards", disturbances.len());
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn t01_a_program_that_power_cycles_a_lying_card_has_not_tapped_it() {
    let rig = rig("contactless");
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    machine.keys[0].tap().unwrap();
    let given = machine.keys[0].counts().unwrap().given;
    let mut request = machine.request(RUN).unwrap();
    request.watch.expect_within("then tap it again", LIMIT).unwrap();
    let mut cycles = 0;
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(5) {
        cycles += u32::from(power_cycle());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(cycles > 0, "the field was never cycled: the test shows nothing");
    assert!(machine.events("approved").unwrap().is_empty());
    assert_eq!(machine.keys[0].counts().unwrap().given, given, "the card was asked");
    machine.approve(&mut request).unwrap();
    assert!(request.finish().unwrap().status.success());
    println!("{cycles} power cycles, 0 taps; then one tap, 1 lease");
}

/// False where the product, or pcscd, has the card just now.
fn power_cycle() -> bool {
    let context = Context::establish(Scope::System).unwrap();
    let mut names = vec![0; 2048];
    let reader: Option<CString> = context
        .list_readers(&mut names)
        .unwrap()
        .find(|name| name.to_string_lossy().starts_with(CONTACTLESS_READER.name))
        .map(Into::into);
    let Ok(mut card) = context.connect(&reader.unwrap(), ShareMode::Shared, Protocols::ANY) else {
        return false;
    };
    card.reconnect(ShareMode::Shared, Protocols::ANY, Disposition::UnpowerCard).is_ok()
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn a_card_that_says_it_is_still_waiting_is_waited_for() {
    let rig = rig("contact");
    for millis in [50, 75, 100, 250] {
        let machine = Machine::new(&rig).unwrap();
        machine.vault().unwrap();
        machine.keys[0].keepalive(Duration::from_millis(millis)).unwrap();
        let mut request = machine.request(RUN).unwrap();
        machine.blinks(0).unwrap();
        request.watch.expect_within("it blinks", LIMIT).unwrap();
        std::thread::sleep(Duration::from_millis(600));
        let touched = Instant::now();
        machine.keys[0].press().unwrap();
        request.watch.expect_within("approved", LIMIT).unwrap();
        println!(
            "0x9100 every {millis} ms: approved {} ms after the touch",
            touched.elapsed().as_millis()
        );
        assert!(touched.elapsed() < Duration::from_secs(5), "{millis} ms");
        assert!(request.finish().unwrap().status.success());
    }
}

/// Another program that has the card to itself, until it is dropped.
fn held(reader: Reader) -> pcsc::Card {
    let context = Context::establish(Scope::System).unwrap();
    let names = context.list_readers_owned().unwrap();
    let name = names.into_iter().find(|name| name.to_bytes().starts_with(reader.name.as_bytes()));
    context.connect(&name.unwrap(), ShareMode::Exclusive, Protocols::ANY).unwrap()
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn a_card_that_another_program_holds_is_said_and_serves_when_it_is_free() {
    let rig = rig("contact");
    let machine = Machine::new(&rig).unwrap();
    machine.vault().unwrap();
    machine.restart("[limits]\nprompt = \"6s\"\n").unwrap();
    // One that is known to use cards is named: it looks at its name alone.
    let scdaemon = machine.home.work().join("scdaemon");
    std::fs::copy("/bin/sleep", &scdaemon).unwrap();
    for by in ["another program", "scdaemon"] {
        let mut named = (by == "scdaemon").then(|| std::process::Command::new(&scdaemon).arg("60").spawn().unwrap());
        let card = held(CONTACT_READER);
        let mut request = machine.request(RUN).unwrap();
        request.watch.expect_within(&format!("is in use by {by}"), LIMIT).unwrap();
        let output = request.finish().unwrap();
        assert_eq!(output.status.code(), Some(68), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(by), "{output:?}");
        drop(card);
        named
            .iter_mut()
            .for_each(|named| named.kill().and_then(|()| named.wait()).map(drop).unwrap());
    }
    machine.restart("").unwrap();
    assert!(machine.approved(RUN).unwrap().status.success());
}

#[test]
#[ignore = "needs hw-tests/kernel/uml"]
fn what_a_key_remembers_is_listed_with_its_pin_and_one_without_a_sensor_says_so() {
    let rig = rig("hidraw");
    let machine = Machine::new(&rig).unwrap();
    machine.json(&["key", "list"]).unwrap();
    machine.keys[0].grant().unwrap();
    let mut host = super::tests::hidraw();
    let token = host.token(Protocol::Two, PIN, permission::MAKE_CREDENTIAL, "a.example").unwrap();
    let remembered = NewCredential {
        rp_id: "a.example",
        client_data_hash: [7; 32],
        discoverable: true,
        token: Some(&token),
        ..NewCredential::default()
    };
    host.make_credential(&remembered).unwrap();
    drop(host);
    for (arguments, code, said) in [
        (&["key", "credentials"][..], 0, "a.example"),
        (&["key", "fingerprint", "list"], 62, "fingerprint sensor"),
    ] {
        let mut screen = machine.home.terminal(arguments).unwrap();
        screen.expect("PIN: ").unwrap();
        screen.type_in(&format!("{PIN}\n")).unwrap();
        let (status, shown) = screen.finish().unwrap();
        assert!(
            status.code() == Some(code) && shown.contains(said),
            "{arguments:?}: {status} {shown}"
        );
        assert!(!shown.contains(PIN), "{arguments:?}: the PIN was echoed");
    }
    assert_eq!(machine.json(&["key", "info"]).unwrap()["pin_tries"], 8);
}

/// The processes whose parent this is.
fn children(parent: Pid) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parent_of = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may hold anything: the state and the parent (proc_pid_stat(5)).
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    pids.filter(|pid| parent_of(*pid).and_then(Pid::from_raw) == Some(parent))
        .filter_map(Pid::from_raw)
        .collect()
}

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn t17_no_worker_outlives_a_killed_daemon_even_one_that_waits_in_pcsc() {
    let rig = rig("contact");
    // A card that says that it still waits can be told to stop; the wait for one that says nothing is ended by no call.
    for (keepalive, goes_on) in [(100, false), (u64::MAX, true)] {
        let machine = Machine::new(&rig).unwrap();
        machine.keys[0].keepalive(Duration::from_millis(keepalive)).unwrap();
        machine.vault().unwrap();
        let request = machine.request(RUN).unwrap();
        machine.blinks(0).unwrap();
        let connection = UnixStream::connect(machine.home.places().unwrap().socket()).unwrap();
        let daemon = rustix::net::sockopt::socket_peercred(&connection).unwrap().pid;
        let workers = children(daemon);
        assert!(workers.len() >= 2, "one watches, one waits: {workers:?}");
        kill_process(daemon, Signal::KILL).unwrap();
        let since = Instant::now();
        while workers.iter().any(|pid| test_kill_process(*pid).is_ok()) {
            assert!(since.elapsed() < LIMIT, "still there: {workers:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        println!(
            "{} workers gone {} ms after their daemon was killed; the card waits on: {goes_on}",
            workers.len(),
            since.elapsed().as_millis()
        );
        assert_eq!(machine.keys[0].counts().unwrap().waiting, goes_on);
        assert_eq!(request.finish().unwrap().status.code(), Some(69));
    }
}

#[test]
#[ignore = "needs hw-tests/kernel/uml"]
fn a_kernel_without_secret_memory_is_named_by_doctor() {
    // In user-mode Linux no kernel has it, and in QEMU this one has it only where it is started with secretmem.enable=1.
    let rig = rig("hidraw");
    let machine = Machine::new(&rig).unwrap();
    let found = machine.json(&["doctor"]).unwrap();
    let findings = found["findings"].as_array().unwrap();
    let memory: Vec<_> = findings.iter().filter(|finding| finding["part"] == "memory").collect();
    let named = memory.iter().find(|finding| finding["reason"] == "no_secret_memory");
    assert!(
        named.is_some_and(|finding| finding["level"] == "note" && finding["remedy"].is_string()),
        "{memory:?}"
    );
}
