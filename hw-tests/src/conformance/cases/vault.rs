//! Secrets in the vault.

use std::fs;

use super::ensure;
use crate::conformance::{Case, Machine, Verdict, machine::said};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "secrets are put, listed, edited and removed with a touch each",
        run: life,
    },
    Case {
        name: "a value of 1 MiB with every byte arrives as it was put",
        run: large,
    },
    Case {
        name: "a change that is denied changes nothing",
        run: denied,
    },
];

fn life(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    machine.put("OTHER", "another value")?;
    machine.put("TOKEN", "a newer value")?;
    machine.done(&["edit", "prod/OTHER", "--max-uses", "3"])?;
    let list = machine.json(&["list"])?;
    let found = |name: &str, version: u64| {
        let secrets = list["secrets"].as_array().into_iter().flatten();
        secrets
            .filter(|secret| secret["secret"] == name && secret["version"] == version)
            .count()
            == 1
    };
    ensure!(found("prod/TOKEN", 2) && found("prod/OTHER", 2), "{list}");
    machine.done(&["rm", "prod/OTHER"])?;
    let list = machine.json(&["list"])?;
    ensure!(list["secrets"].as_array().map(Vec::len) == Some(1), "{list}");
    let changes = machine.events("change")?.len();
    ensure!(changes == 5, "{changes} changes in the log, not 5");
    Ok(())
}

fn large(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let value: Vec<u8> = (0..1 << 20).map(|n: u32| (n ^ (n >> 8)) as u8).collect();
    fs::write(machine.home.work().join("value"), &value)?;
    machine.done(&["put", "prod/BLOB", "--from-file", "value"])?;
    let output = machine.approved(&["run", "--with-file", "BLOB=prod/BLOB", "--", "sh", "-c", "cmp \"$BLOB\" value"])?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(())
}

fn denied(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let before = machine.json(&["list"])?;
    let mut screen = machine.home.terminal(["rm", "prod/TOKEN"])?;
    screen.expect("d deny")?;
    screen.type_in("d")?;
    let (status, shown) = screen.finish()?;
    ensure!(status.code() == Some(60), "{status} {shown}");
    ensure!(machine.json(&["list"])? == before, "the vault changed");
    Ok(())
}
