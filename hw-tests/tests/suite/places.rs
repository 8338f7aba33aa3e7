//! Whoever starts the daemon first chooses nothing for those who come later.

use std::process::{Command, Output};

use hw_tests::{
    harness::{EmulatedReach, Home},
    key::KeyHandle,
};

use crate::lab::{Lab, error_of, product, until};

fn with(home: &Home, variable: &str, value: &str, arguments: &[&str]) -> Output {
    let mut command = home.command([&["--json"], arguments].concat());
    command.env(variable, home.path().join(value)).output().unwrap()
}

#[test]
fn t21_a_daemon_that_was_started_with_other_places_is_not_used_and_the_hint_stops_it() {
    let home = Home::new(product()).unwrap();
    let first = with(&home, "XDG_STATE_HOME", "evil", &["status"]);
    assert!(first.status.success(), "{first:?}");
    let (code, error) = error_of(&home.run(["--json", "status"]).unwrap());
    assert_eq!((code, error["reason"].as_str()), (Some(69), Some("other_places")), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("/evil/touchlease") && message.contains("/state/touchlease"),
        "{message}"
    );
    let hint = error["hint"].as_str().unwrap();
    let stop = hint.split_once("kill ").unwrap().1.split_once(' ').unwrap().0;
    assert!(Command::new("kill").arg(stop).status().unwrap().success(), "{hint}");
    until("the daemon's end", || !home.places().unwrap().socket().exists());
    let status = home.run(["--json", "status"]).unwrap();
    assert!(status.status.success(), "{status:?}");
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert!(Command::new("kill").arg(status["pid"].to_string()).status().unwrap().success());
}

#[test]
fn t21_whoever_has_other_places_gets_nothing_is_told_by_every_command_and_may_end_leases() {
    let lab = Lab::new();
    let (asked, home) = (lab.key.counts().unwrap().asked, &lab.home);
    let _watch = home.watch().unwrap();
    for variable in ["XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        for arguments in [
            &["run", "--with", "prod/TOKEN", "--", "true"][..],
            &["list"],
            &["rm", "prod/TOKEN"],
            &["status"],
        ] {
            let (code, error) = error_of(&with(home, variable, "evil", arguments));
            assert_eq!(
                (code, error["reason"].as_str()),
                (Some(69), Some("other_places")),
                "{variable} {arguments:?}"
            );
        }
        let doctor = with(home, variable, "evil", &["doctor"]);
        let found = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(doctor.status.code() == Some(69) && found.contains("\"other_places\""), "{found}");
        assert!(with(home, variable, "evil", &["lock"]).status.success(), "{variable}");
    }
    assert_eq!((lab.key.counts().unwrap().asked, lab.status()["leases"].as_u64()), (asked, Some(0)));
    // The vault is everybody's own choice, where it is named.
    let vault = lab.vault().display().to_string();
    let named = with(home, "XDG_DATA_HOME", "evil", &["--vault", &vault, "list"]);
    assert!(named.status.success(), "{named:?}");
}

#[test]
fn another_way_to_the_same_places_is_the_same() {
    let home = Home::new(product()).unwrap();
    let _daemon = home.daemon(EmulatedReach::default()).unwrap();
    std::fs::create_dir_all(home.places().unwrap().state).unwrap();
    std::os::unix::fs::symlink(home.path().join("state"), home.path().join("link")).unwrap();
    let status = with(&home, "XDG_STATE_HOME", "link", &["status"]);
    assert!(status.status.success(), "{status:?}");
}
