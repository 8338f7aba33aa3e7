//! A scan looks where its requester may look, and its worker tells nobody else.

use std::os::unix::fs::MetadataExt;

use super::*;

#[test]
fn t23_t24_a_scan_reads_with_the_rights_of_who_asks_and_its_worker_cannot_be_looked_into() {
    if !inside("scan::t23_t24_a_scan_reads_with_the_rights_of_who_asks_and_its_worker_cannot_be_looked_into") {
        return;
    }
    let rigged = Rigged::new(NOBODY, None);
    let _watch = rigged.home.watch().unwrap();
    let tree = rigged.home.work().join("tree");
    fs::create_dir(&tree).unwrap();
    for name in ["mine", "roots"] {
        fs::write(tree.join(name), CANARY).unwrap();
    }
    own(&tree, NOBODY);
    own(&tree.join("roots"), 0);
    fs::set_permissions(tree.join("roots"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let scan = |arguments: &[&str]| {
        let out = rigged.agent(&[&["--json", "scan"], arguments].concat());
        (
            out.status.code(),
            serde_json::from_slice::<Value>(&out.stdout).unwrap_or_else(|_| panic!("{out:?}")),
        )
    };
    let (code, said) = scan(&["tree"]);
    let places: Vec<_> = said["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["place"].clone())
        .collect();
    assert_eq!(
        (code, places),
        (Some(1), vec![tree.join("mine").display().to_string().into()]),
        "{said}"
    );
    let unread = &said["unread"][0];
    assert!(unread["path"].as_str().unwrap().ends_with("/roots"), "{said}");

    // While it lasts: as long as its client is stopped.
    let (_folder, probe) = for_everybody(Path::new(PROBE));
    let asks = rigged.background(&["--json", "scan", "/usr"]);
    let worker = child(rigged.daemon_pid(), "scan-worker");
    signal(asks.id(), "STOP");
    // Until it has closed itself it is open (docs/security.md, "Not held with T0"): its files are root's from then on (proc(5)).
    until("the worker to be closed", || {
        fs::metadata(format!("/proc/{worker}/environ")).is_ok_and(|found| found.uid() == 0)
    });
    let of = |file: &str| fs::read(format!("/proc/{worker}/{file}")).unwrap();
    assert!(of("environ").is_empty() && !holds(&of("cmdline"), CANARY));
    let out = Command::new(&probe)
        .arg(worker.to_string())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let open = said.lines().filter(|line| line.ends_with(" open")).count();
    println!("T23 of a scan's worker: {open} of {} open", said.lines().count());
    assert!(open == 0 && said.lines().count() == 7, "{said}");
    assert!(holds(&of("cmdline"), "scan-worker"), "it was there all the time");
    signal(asks.id(), "KILL");
    asks.wait_with_output().unwrap();
    until("the worker's end", || !Path::new(&format!("/proc/{worker}")).exists());

    // Behind the walls there is no daemon to ask.
    let (_bin, program) = for_everybody(&product());
    let out = rigged.agent(&["run", "--agent", "--", program.to_str().unwrap(), "--json", "scan", "."]);
    assert!(out.status.code() == Some(62) && holds(&out.stdout, "behind_walls"), "{out:?}");
}
