//! What is on record.

use std::{fs, process::Stdio};

use super::ensure;
use crate::conformance::{Case, Machine, Verdict, machine::said};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a receipt verifies with ssh-keygen and says that the key was touched and its PIN typed",
        run: receipt,
    },
    Case {
        name: "the log verifies, and does not once a byte of it is changed",
        run: log,
    },
];

fn receipt(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let output = machine.approved(&["run", "--with", "prod/TOKEN", "--", "true"])?;
    ensure!(output.status.success(), "{}", said(&output));
    let ids = machine.events("approved")?;
    let text = ids
        .last()
        .and_then(|event| event["text"].as_str())
        .ok_or("no approval in the log")?;
    let lease: serde_json::Value = serde_json::from_str(text)?;
    let id = lease["id"].as_str().ok_or("a lease without id")?;
    machine.json(&["audit", "export", id, "receipt"])?;
    let folder = machine.home.work().join("receipt");
    let signer = fs::read_to_string(folder.join("allowed_signers"))?;
    let name = signer.split(' ').next().unwrap_or_default();
    let verify = |lease: &std::path::Path| -> std::io::Result<bool> {
        let mut command = std::process::Command::new("ssh-keygen");
        command.args([
            "-Y",
            "verify",
            "-n",
            "touchlease-lease",
            "-I",
            name,
            "-f",
            "allowed_signers",
            "-s",
            "lease.sig",
        ]);
        let status = command
            .current_dir(&folder)
            .stdin(fs::File::open(lease)?)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(status.success())
    };
    ensure!(verify(&folder.join("lease.json"))?, "ssh-keygen does not say Good");
    fs::write(folder.join("other.json"), text.replacen("prod/TOKEN", "prod/TOKEM", 1))?;
    ensure!(!verify(&folder.join("other.json"))?, "ssh-keygen says Good to another lease");
    // UP, UV, extension data (WebAuthn, 6.1).
    ensure!(
        flags(&fs::read_to_string(folder.join("lease.sig"))?) == Some(0x85),
        "the flags are not 0x85"
    );
    let good = machine.home.run(["audit", "verify", "--since", "receipt"])?;
    ensure!(good.status.success(), "{}", said(&good));
    Ok(())
}

/// The flags byte of an armored SSHSIG, found as docs/verify.md finds it.
fn flags(armored: &str) -> Option<u8> {
    let script = "sed '/^-----/d' | base64 -d | od -An -v -tu1";
    let mut child = std::process::Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    std::io::Write::write_all(&mut child.stdin.take()?, armored.as_bytes()).ok()?;
    let printed = child.wait_with_output().ok()?.stdout;
    let bytes: Vec<u8> = String::from_utf8_lossy(&printed)
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    let next = |at: usize| Some(at + 4 + u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let signature = (0..4).try_fold(10, |at, _| next(at))?;
    bytes.get(next(next(signature + 4)?)?).copied()
}

fn log(machine: &Machine<'_>) -> Verdict {
    machine.vault()?;
    let output = machine.approved(&["run", "--with", "prod/TOKEN", "--", "true"])?;
    ensure!(output.status.success(), "{}", said(&output));
    let good = machine.json(&["audit", "verify"])?;
    ensure!(good["good"] == true && good["receipts"] == 1, "{good}");
    let path = machine.home.log()?;
    let text = fs::read_to_string(&path)?;
    ensure!(!text.contains("correct-horse"), "the value is in the log");
    machine.restart("")?;
    fs::write(&path, text.replacen("prod/TOKEN", "prod/TOKEM", 1))?;
    let bad = machine.home.run(["audit", "verify"])?;
    ensure!(bad.status.code() == Some(72), "{}", said(&bad));
    Ok(())
}
