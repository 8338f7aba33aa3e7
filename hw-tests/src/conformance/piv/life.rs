//! From the factory to a lease, and what is left to verify.

use std::fs;

use super::{INIT, RUN, ended, enrol, rows, touches, vault};
use crate::{
    conformance::{Case, Machine, Verdict, cases::ensure},
    key::PIN,
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "init names what is still the factory's, changes it, and takes three touches",
        run: init,
    },
    Case {
        name: "a change takes two touches and a lease one, which the daemon alone attests",
        run: lease,
    },
    Case {
        name: "with receipts = \"hardware\" a second touch signs the lease, and stock ssh-keygen verifies it",
        run: signed,
    },
    Case {
        name: "T57 a PIN typed ahead is kept until everything is locked",
        run: kept,
    },
];

fn init(machine: &Machine<'_>) -> Verdict {
    let before = rows(machine)?;
    ensure!(before["the factory's"] == "PIN, PUK, management key", "{before}");
    let (touched, (status, shown)) = touches(machine, 0, || enrol(machine, INIT))?;
    ensure!(status.success() && touched == 3, "{status}, {touched} touches: {shown}");
    for named in [
        "Its PIN is still the factory's",
        "Its PUK, which",
        "Its management key is still the factory's",
    ] {
        ensure!(shown.contains(named), "not {named:?}: {shown}");
    }
    let after = rows(machine)?;
    ensure!(after["the factory's"].is_null() && after["pin_tries"] == 3, "{after}");
    ensure!(after["slots in use"] == "94, 95" && after["opens by"].is_string(), "{after}");
    let listed = machine.json(&["key", "list"])?;
    ensure!(listed["keys"][0]["profile"] == "piv", "{listed}");
    Ok(())
}

fn lease(machine: &Machine<'_>) -> Verdict {
    let (status, shown) = enrol(machine, INIT)?;
    ensure!(status.success(), "{status} {shown}");
    let (changed, ()) = touches(machine, 0, || machine.put("TOKEN", "correct-horse-battery"))?;
    let (leased, output) = touches(machine, 0, || machine.approved(RUN))?;
    ended(&output, 0, &["done"])?;
    ensure!((changed, leased) == (2, 1), "{changed} touches for a change, {leased} for a lease");
    let verified = machine.json(&["audit", "verify"])?;
    ensure!(
        verified["good"] == true && verified["attested"] == 1 && verified["receipts"] == 0,
        "{verified}"
    );
    let approved = machine.events("approved")?;
    ensure!(approved[0]["kind"] == "attested" && approved[0]["sshsig"].is_null(), "{approved:?}");
    Ok(())
}

fn signed(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    machine.restart("[limits]\nreceipts = \"hardware\"\n")?;
    let (touched, output) = touches(machine, 0, || machine.approved(RUN))?;
    ended(&output, 0, &["done"])?;
    ensure!(touched == 2, "{touched} touches");
    let verified = machine.json(&["audit", "verify"])?;
    ensure!(verified["good"] == true && verified["receipts"] == 1, "{verified}");
    let approved = machine.events("approved")?;
    let text: serde_json::Value = serde_json::from_str(approved[0]["text"].as_str().unwrap_or_default())?;
    let id = text["id"].as_str().unwrap_or_default();
    let exported = machine.home.run(["audit", "export", id, "receipt"])?;
    ended(&exported, 0, &[])?;
    let folder = machine.home.work().join("receipt");
    let verify = |lease: fs::File| {
        let mut command = std::process::Command::new("ssh-keygen");
        command
            .args([
                "-Y",
                "verify",
                "-n",
                "touchlease-lease",
                "-I",
                "blue",
                "-f",
                "allowed_signers",
                "-s",
                "lease.sig",
            ])
            .current_dir(&folder)
            .stdin(lease)
            .output()
    };
    ended(&verify(fs::File::open(folder.join("lease.json"))?)?, 0, &["Good"])?;
    fs::write(folder.join("other.json"), "{}")?;
    let other = verify(fs::File::open(folder.join("other.json"))?)?;
    ensure!(!other.status.success(), "another text is good too");
    Ok(())
}

fn kept(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    machine.json(&["lock"])?;
    let mut screen = machine.home.terminal(["unlock", "blue", "--keep", "10m"])?;
    super::answer(&mut screen, "PIN of \"blue\": ", PIN)?;
    let (status, shown) = screen.finish()?;
    ensure!(status.success() && shown.contains("kept for 10 min"), "{status} {shown}");
    let mut request = machine.request(RUN)?;
    machine.approve(&mut request)?;
    ensure!(!request.watch.output().contains("PIN of"), "{}", request.watch.output());
    ended(&request.finish()?, 0, &["done"])?;
    machine.json(&["lock"])?;
    let mut request = machine.request(RUN)?;
    machine.approve(&mut request)?;
    ensure!(request.watch.output().contains("PIN of \"blue\""), "{}", request.watch.output());
    ended(&request.finish()?, 0, &["done"])
}
