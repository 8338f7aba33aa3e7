//! What a look at the vault finds, without a touch.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::device::enrolled::Profile;
use crate::device::soft::SoftKey;
use crate::finding::{Finding, Level};
use crate::vault::health::{Health, examine};

use super::keys::{add, remove_from};
use super::rig::Rig;

fn look(rig: &Rig) -> Health {
    examine(&rig.folder(), &rig.home.join("state"))
}

/// All that is not as it should be.
fn wrong(rig: &Rig) -> Vec<(Level, String)> {
    let wrong = look(rig).findings.into_iter().filter(|finding| finding.level > Level::Ok);
    wrong.map(|finding| (finding.level, finding.reason)).collect()
}

fn private(rig: &Rig) {
    std::fs::set_permissions(rig.folder(), std::fs::Permissions::from_mode(0o700)).unwrap();
}

fn with_two_keys() -> Rig {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    rig.put("prod", "A", b"1").unwrap();
    add(&rig, &SoftKey::new("spare", Profile::Pin, 2), &["prod"]).unwrap();
    private(&rig);
    rig
}

fn one(level: Level, reason: &str) -> Vec<(Level, String)> {
    vec![(level, reason.into())]
}

#[test]
fn a_vault_with_two_keys_is_as_it_should_be_and_nothing_in_it_changes() {
    let rig = with_two_keys();
    let before = rig.files();
    let health = look(&rig);
    assert!(
        health.findings.iter().all(|finding| finding.level == Level::Ok),
        "{:?}",
        health.findings
    );
    assert_eq!((health.id, health.keys.len()), (Some(rig.vault().id()), 2));
    assert_eq!(rig.files(), before);
}

#[test]
fn a_scope_that_one_key_opens_is_a_warning() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    private(&rig);
    assert_eq!(wrong(&rig), one(Level::Warning, "one_key_opens"));
}

#[test]
fn a_key_that_is_not_yet_in_a_scope_and_a_slot_older_than_a_removal_are_named() {
    let rig = Rig::new();
    private(&rig);
    add(&rig, &SoftKey::new("spare", Profile::Pin, 2), &["prod"]).unwrap();
    let found = look(&rig).findings;
    let not_in = found.iter().find(|finding| finding.reason == "not_yet_in").unwrap();
    assert!(not_in.what.contains("\"spare\"") && not_in.what.contains("dev"), "{not_in:?}");
    add(&rig, &SoftKey::new("third", Profile::Pin, 3), &["prod", "dev"]).unwrap();
    assert!(!look(&rig).findings.iter().any(|finding| finding.reason == "old_slot"));
    remove_from(&rig.vault(), "third", &rig.blue).unwrap();
    let old: Vec<Finding> = look(&rig)
        .findings
        .into_iter()
        .filter(|finding| finding.reason == "old_slot")
        .collect();
    assert!(old.iter().any(|finding| finding.what.contains("\"spare\"")), "{old:?}");
}

#[test]
fn every_missing_or_changed_file_of_roster_slots_heads_and_index_is_found() {
    let rig = with_two_keys();
    let files = rig.files();
    let mut looked = BTreeMap::new();
    for (path, bytes) in &files {
        let folder = path.iter().next().unwrap().to_string_lossy().into_owned();
        if !["roster", "slots", "scopes", "heads", "index", "records"].contains(&folder.as_str()) {
            continue;
        }
        // An index node or record that is gone is known to the touch alone.
        if ["roster", "slots", "heads"].contains(&folder.as_str()) {
            std::fs::remove_file(rig.folder().join(path)).unwrap();
            assert!(wrong(&rig).iter().any(|(level, _)| *level == Level::Problem), "{path:?} gone");
        }
        // What is sealed and authenticated by a touch only is looked at for its length and digest.
        let cut = if folder == "records" { 40 } else { bytes.len() / 2 };
        std::fs::write(rig.folder().join(path), &bytes[..cut]).unwrap();
        assert!(wrong(&rig).iter().any(|(level, _)| *level == Level::Problem), "{path:?} cut");
        std::fs::write(rig.folder().join(path), bytes).unwrap();
        *looked.entry(folder).or_insert(0) += 1;
    }
    assert_eq!(wrong(&rig), []);
    assert!(
        looked["roster"] >= 4 && looked["slots"] >= 5 && looked["heads"] == 1 && looked["records"] == 1,
        "{looked:?}"
    );
}

#[test]
fn a_slot_that_no_touch_signed_is_named_with_the_command_that_removes_it() {
    let rig = with_two_keys();
    let path = rig.folder().join("slots/0123456789abcdef0123456789abcdef.half");
    std::fs::write(&path, "mine").unwrap();
    let found = look(&rig).findings;
    let finding = found.iter().find(|finding| finding.reason == "unsigned_slot").unwrap();
    assert_eq!(finding.remedy.as_deref(), Some(format!("rm {}", path.display()).as_str()));
    assert!(
        std::process::Command::new("sh")
            .args(["-c", finding.remedy.as_deref().unwrap()])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(wrong(&rig), []);
}

#[test]
fn an_interrupted_change_is_a_note() {
    let rig = with_two_keys();
    let vault = rig.vault();
    vault.store.faults.cut_at(9);
    super::rig::apply(&vault, &rig.blue, "prod", super::rig::put("B", b"2")).unwrap_err();
    drop(vault);
    assert!(wrong(&rig).contains(&(Level::Note, "unfinished".into())), "{:?}", wrong(&rig));
    drop(rig.vault());
    assert_eq!(wrong(&rig), []);
}

#[test]
fn an_old_copy_a_newer_format_and_no_vault_are_told_apart() {
    let rig = Rig::with(Profile::Pin, &["prod"]);
    private(&rig);
    let old = rig.files();
    add(&rig, &SoftKey::new("spare", Profile::Pin, 2), &["prod"]).unwrap();
    drop(rig.vault());
    rig.restore(&old);
    assert!(wrong(&rig).contains(&(Level::Problem, "older".into())), "{:?}", wrong(&rig));
    std::fs::write(rig.folder().join("format"), "touchlease vault 2\n").unwrap();
    assert_eq!(wrong(&rig), one(Level::Problem, "newer_format"));
    let nowhere = examine(Path::new("/nowhere"), Path::new("/nowhere"));
    assert_eq!(nowhere.findings[0].reason, "no_vault");
    assert!(nowhere.id.is_none() && nowhere.keys.is_empty());
}

#[test]
fn a_folder_that_others_write_to_or_read_is_said_with_the_command_that_closes_it() {
    let rig = with_two_keys();
    for (mode, level, reason) in [(0o777, Level::Warning, "others_write"), (0o755, Level::Note, "others_read")] {
        std::fs::set_permissions(rig.folder(), std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(wrong(&rig), one(level, reason));
        let found = look(&rig).findings;
        let remedy = found.iter().find_map(|finding| finding.remedy.clone()).unwrap();
        assert!(std::process::Command::new("sh").args(["-c", &remedy]).status().unwrap().success());
        assert_eq!(wrong(&rig), []);
    }
}

#[test]
fn a_scope_that_was_changed_in_two_places_is_a_note_until_the_next_touch() {
    let rig = with_two_keys();
    let start = rig.files();
    rig.put("prod", "B", b"2").unwrap();
    let here = rig.files();
    rig.restore(&start);
    std::fs::remove_dir_all(rig.home.join("state")).unwrap();
    rig.put("prod", "C", b"3").unwrap();
    // What a merge leaves: the files of both.
    rig.restore(&here.into_iter().chain(rig.files()).collect());
    private(&rig);
    assert_eq!(wrong(&rig), one(Level::Note, "two_heads"));
    rig.put("prod", "D", b"4").unwrap();
    assert_eq!(wrong(&rig), []);
}

#[test]
fn t53_a_file_with_a_foreign_name_costs_itself_only_and_is_named_with_what_removes_it() {
    use std::os::unix::ffi::OsStrExt;
    let rig = with_two_keys();
    let foreign = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    let mut places = vec![rig.folder()];
    let mut at = 0;
    while at < places.len() {
        let below = std::fs::read_dir(&places[at]).unwrap().map(|entry| entry.unwrap().path());
        places.extend(below.filter(|path| path.is_dir() && !path.ends_with(".git")).collect::<Vec<_>>());
        at += 1;
    }
    assert!(places.len() > 8, "{places:?}");
    for place in &places {
        std::fs::write(place.join(foreign), "x").unwrap();
    }
    std::fs::create_dir(rig.folder().join("records").join(std::ffi::OsStr::from_bytes(b"a\xff"))).unwrap();
    let (listed, unreadable) = rig.vault().list(None).unwrap();
    assert_eq!(listed.len(), 1);
    assert!(unreadable.iter().any(|file| file.path.ends_with("\\xff\\xfe")), "{unreadable:?}");
    assert_eq!(super::rig::get(&rig.vault(), &rig.blue, "prod", "A").unwrap(), b"1");
    rig.put("prod", "B", b"2").unwrap();
    let mut archive = Vec::new();
    crate::vault::backup::create(&rig.folder(), &mut archive).unwrap();
    let found = look(&rig).findings;
    let strangers: Vec<_> = found.iter().filter(|finding| finding.reason == "stranger").collect();
    assert_eq!(strangers.len(), places.len() + 1, "{found:#?}");
    assert!(!found.iter().any(|finding| finding.level == Level::Problem), "{found:#?}");
    for stranger in strangers {
        let removed = std::process::Command::new("sh")
            .args(["-c", stranger.remedy.as_ref().unwrap()])
            .status();
        assert!(removed.unwrap().success(), "{stranger:?}");
    }
    assert!(wrong(&rig).is_empty(), "{:?}", wrong(&rig));
}

#[test]
fn a_folder_in_which_something_with_a_foreign_name_lies_is_not_empty() {
    use std::os::unix::ffi::OsStrExt;
    let rig = with_two_keys();
    let store = crate::vault::store::Store::create(&rig.home.join("other")).unwrap();
    assert!(crate::vault::genesis::check_free(store.folder()).is_ok());
    std::fs::write(store.folder().join(std::ffi::OsStr::from_bytes(b"\xff")), "x").unwrap();
    assert!(crate::vault::genesis::check_free(store.folder()).is_err());
}
