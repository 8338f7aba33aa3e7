//! File systems that take `A` and `a` in the name of a file for one: the product on them; run by `kernel/uml --disks`, which mounts
//! them for whoever runs the command.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use super::cards::rig;
use crate::conformance::{Machine, machine::said};

const DISKS: &str = "/run/disks";

#[test]
#[ignore = "needs hw-tests/kernel/uml --disks"]
fn names_that_differ_in_case_only_are_kept_lent_and_merged_on_ext4_that_folds_case() {
    keeps_apart("ext4");
}

#[test]
#[ignore = "needs hw-tests/kernel/uml --disks"]
fn names_that_differ_in_case_only_are_kept_lent_and_merged_on_vfat() {
    keeps_apart("vfat");
}

fn keeps_apart(kind: &str) {
    let disk = Path::new(DISKS).join(kind);
    fs::write(disk.join("probe"), "one file").unwrap();
    assert_eq!(fs::read(disk.join("PROBE")).unwrap(), b"one file", "{kind} keeps them apart itself");
    let rig = rig("hidraw");
    let machine = Machine::new(&rig).unwrap();
    for folder in ["data", "state"] {
        fs::create_dir(place(&machine, &disk, folder, "one")).unwrap();
    }
    sit_at(&machine, &disk, "one");
    machine.vault().unwrap();
    machine.put("token", "second").unwrap();
    machine.put("Token", "third").unwrap();
    for (name, value) in [("TOKEN", "CORRECT-HORSE-BATTERY"), ("token", "SECOND"), ("Token", "THIRD")] {
        assert_eq!(lent(&machine, name), value, "{kind}: {name}");
    }
    for folder in ["data", "state"] {
        let [from, to] = ["one", "two"].map(|side| place(&machine, &disk, folder, side));
        copy(&["-R"], &from, &to);
    }
    machine.put("left", "first machine").unwrap();
    sit_at(&machine, &disk, "two");
    machine.put("LEFT", "second machine").unwrap();
    machine.kill_daemon().unwrap();
    let [theirs, ours] = ["one", "two"].map(|side| place(&machine, &disk, "data", side));
    copy(&["-R", "--no-clobber"], &theirs.join("."), &ours);
    let merges = machine.json(&["merge"]).unwrap();
    assert_eq!(merges["merges"][0]["heads"], 2, "{kind}: {merges}");
    for (name, value) in [("left", "FIRST MACHINE"), ("LEFT", "SECOND MACHINE"), ("token", "SECOND")] {
        assert_eq!(lent(&machine, name), value, "{kind}: {name}");
    }
    let listed = machine.json(&["list"]).unwrap().to_string();
    for name in ["TOKEN", "token", "Token", "left", "LEFT"] {
        assert!(listed.contains(&format!("prod/{name}\"")), "{kind}: {name} in {listed}");
    }
    let healthy = machine.home.run(["doctor"]).unwrap();
    assert!(healthy.status.success(), "{kind}: {}", said(&healthy));
}

/// Where a folder of the home is, for the one or the other of two machines: the vault on the disk.
fn place(machine: &Machine<'_>, disk: &Path, folder: &str, side: &str) -> std::path::PathBuf {
    let root = if folder == "data" { disk } else { machine.home.path() };
    root.join(format!("{folder}-{side}"))
}

/// The keys go to this machine.
fn sit_at(machine: &Machine<'_>, disk: &Path, side: &str) {
    // There is none at first.
    let _ = machine.kill_daemon();
    for folder in ["data", "state"] {
        let at = machine.home.path().join(folder);
        if at.is_symlink() {
            fs::remove_file(&at).unwrap();
        }
        symlink(place(machine, disk, folder, side), at).unwrap();
    }
}

fn lent(machine: &Machine<'_>, name: &str) -> String {
    let shown = machine.approved(&[
        "run",
        "--with",
        &format!("IT=prod/{name}"),
        "--",
        "sh",
        "-c",
        "printf %s \"$IT\" | tr a-z A-Z",
    ]);
    let shown = shown.unwrap();
    assert!(shown.status.success(), "{name}: {}", said(&shown));
    String::from_utf8(shown.stdout).unwrap()
}

fn copy(options: &[&str], from: &Path, to: &Path) {
    assert!(Command::new("cp").args(options).args([from, to]).status().unwrap().success());
}
