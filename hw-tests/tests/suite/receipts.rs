//! Every touch has a receipt that can be given away, whatever it was for.

use std::{collections::BTreeSet, process::Command};

use hw_tests::key::KeyHandle;

use crate::lab::{Lab, copy, holds};

/// A touch of each kind that the log knows, in a home of its own.
fn touched_for_everything() -> Lab {
    let lab = Lab::new();
    let out = lab.home.work().join("out.json").display().to_string();
    lab.person(&["run", "--with", "prod/TOKEN", "--", "true"]);
    lab.person(&["export", "--scope", "prod", "--out", &out]);
    lab.clock.set_by(-3_600_000);
    lab.person(&["audit", "accept-clock"]);
    let old = lab.home.path().join("old");
    copy(&lab.vault(), &old);
    lab.put("prod/NEWER", b"of-today", &[]);
    std::fs::remove_dir_all(lab.vault()).unwrap();
    copy(&old, &lab.vault());
    lab.person(&["vault", "accept-older"]);
    lab
}

#[test]
fn p10_every_touch_that_the_log_lists_has_a_receipt_to_give_away_and_to_hold_the_log_against() {
    let lab = touched_for_everything();
    let shown = String::from_utf8(lab.agent_to_its_end(&["audit", "show"]).stdout).unwrap();
    let mut kinds = BTreeSet::new();
    for (n, line) in shown.lines().filter(|line| line.contains("  id=")).enumerate() {
        let mut words = line.split("  ").filter(|word| !word.is_empty());
        let kind = words.nth(2).unwrap();
        let id = words.find_map(|word| word.strip_prefix("id=")).unwrap();
        kinds.insert(kind.to_owned());
        let folder = format!("receipt-{n}");
        let out = lab.agent_to_its_end(&["audit", "export", id, &folder]);
        assert!(out.status.success(), "{line}\n{out:?}");
        let (text, space) = if kind == "approved" {
            ("lease", "lease")
        } else {
            ("change", "change")
        };
        let check = format!(
            "ssh-keygen -Y verify -n touchlease-{space} -I \"$(cut -d ' ' -f 1 allowed_signers)\" -f allowed_signers -s {text}.sig < {text}.json"
        );
        let verified = Command::new("sh")
            .args(["-c", &check])
            .current_dir(lab.home.work().join(&folder))
            .output()
            .unwrap();
        assert!(holds(&verified.stdout, "Good \"touchlease-"), "{line}\n{verified:?}");
        lab.person(&["audit", "verify", "--since", &folder]);
    }
    let all = ["approved", "change", "clock_accepted", "exported", "older_accepted"].map(str::to_owned);
    assert_eq!(kinds, BTreeSet::from(all), "{shown}");
    // Every touch but those that sign the roster, whose signatures lie in the vault.
    let signed = lab.events().iter().filter(|(name, _)| kinds.contains(name)).count();
    assert_eq!(shown.matches("  id=").count(), signed);
    assert!(lab.key.counts().unwrap().given as usize >= signed);
}
