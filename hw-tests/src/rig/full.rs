//! A disk that is full, for the unmodified daemon; run by `with-readers`, in whose mount namespace anybody may mount a tmpfs.

use std::{fs, io::Write, process::Command};

use serde_json::Value;

use super::cards::rig;
use crate::{
    conformance::{Machine, machine::said},
    key::PIN,
};

#[test]
#[ignore = "needs hw-tests/with-readers"]
fn t55_on_a_full_disk_there_is_no_lease_and_revoking_works_and_with_space_it_goes_on() {
    let rig = rig("contact");
    let machine = Machine::new(&rig).unwrap();
    let state = machine.home.path().join("state");
    fs::create_dir(&state).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=512k,mode=0700", "none"])
        .arg(&state)
        .status();
    assert!(mounted.unwrap().success());
    machine.vault().unwrap();
    let run = &["run", "--with", "prod/TOKEN", "--", "true"];
    assert!(machine.approved(run).unwrap().status.success());
    let mut request = machine.request(&["run", "--with", "prod/TOKEN", "--", "sleep", "100"]).unwrap();
    let live = || machine.json(&["lease", "list"]).unwrap()["leases"].as_array().map_or(0, Vec::len);
    machine.attend(&mut request.watch, PIN, &mut || live() == 1).unwrap();
    fill(&state);
    // The last page of the log has room for the lines of a lease or two.
    let ask = &["--json", "run", "--with", "prod/TOKEN", "--", "true"];
    let mut refused = machine.approved(ask).unwrap();
    for _ in 0..5 {
        if !refused.status.success() {
            break;
        }
        refused = machine.approved(ask).unwrap();
    }
    let error: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(
        (refused.status.code(), &error["error"]["outcome"]),
        (Some(72), &"log_refused".into()),
        "{error}"
    );
    let revoked = machine.home.run(["lease", "revoke", "--all"]).unwrap();
    assert!(revoked.status.success(), "{}", said(&revoked));
    assert_eq!(live(), 0);
    assert!(!request.finish().unwrap().status.success(), "the child went on");
    assert_eq!(machine.home.run(["doctor"]).unwrap().status.code(), Some(72));
    fs::remove_file(state.join("filler")).unwrap();
    assert!(machine.approved(run).unwrap().status.success());
    let verified = machine.home.run(["audit", "verify"]).unwrap();
    assert!(verified.status.success(), "{}", said(&verified));
    drop(machine);
    assert!(Command::new("umount").arg("--lazy").arg(&state).status().unwrap().success());
}

/// Until nothing more goes in (ENOSPC), and one page for what is rounded up.
fn fill(folder: &std::path::Path) {
    let mut file = fs::File::create(folder.join("filler")).unwrap();
    let error = loop {
        if let Err(error) = file.write_all(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(error.raw_os_error(), Some(28), "{error}");
}
