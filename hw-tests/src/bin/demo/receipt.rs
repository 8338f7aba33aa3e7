//! The receipt, by the commands that docs/verify.md gives to everybody.

use std::{path::Path, process::Command};

use serde_json::Value;

use super::Failure;

const VERIFY: &str = include_str!("../../../../docs/verify.md");

/// The id of the lease that was approved last, from `audit show --json`.
pub fn last_lease(log: &[u8]) -> Result<String, Failure> {
    let log: Value = serde_json::from_slice(log)?;
    let lines = log["lines"].as_array().ok_or("the log has no lines")?;
    let text = lines.iter().rev().find_map(|line| line["event"]["approved"]["text"].as_str());
    let lease: Value = serde_json::from_str(text.ok_or("the log holds no approved lease")?)?;
    Ok(lease["id"].as_str().ok_or("the lease has no id")?.to_owned())
}

/// Runs the shell blocks of the sections on text, key, touch and fixed fields in the receipt's folder, and gives their
/// output.
pub fn verify(folder: &Path) -> Result<String, Failure> {
    let history = VERIFY.find("\n## 4.").ok_or("docs/verify.md has no section 4")?;
    let script = blocks(&VERIFY[..history]);
    let ran = Command::new("sh").arg("-euc").arg(&script).current_dir(folder).output()?;
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    if ran.status.success() {
        Ok(said)
    } else {
        Err(format!("the commands of docs/verify.md failed:\n{said}").into())
    }
}

fn blocks(page: &str) -> String {
    let blocks = page.split("```sh\n").skip(1);
    blocks.filter_map(|rest| rest.split("```").next()).collect()
}
