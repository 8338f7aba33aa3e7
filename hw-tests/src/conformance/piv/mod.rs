//! What a person and a program see of YubiKeys by their PIV application, under `with-readers`: the cases that other keys have no part in.

mod attestation;
mod enrolment;
mod life;
pub mod logins;
pub mod outside;
mod pins;
mod signers;
mod signing;
mod touches;

use std::{
    error::Error,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Output},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Case, Link, Machine, Rig, Tally, Verdict, cases::ensure, machine::LIMIT, report};
use crate::{
    control::Control,
    harness::{Daemon, Home, Terminal},
    key::{KeyHandle, PIN},
    rig,
};

const PUK: &str = "87654321";
const INIT: &[&str] = &["init", "--piv", "--key", "blue", "--scope", "prod"];
const RUN: &[&str] = &["run", "--with", "prod/TOKEN", "--", "sh", "-c", "echo done"];

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        life::CASES,
        enrolment::CASES,
        attestation::CASES,
        pins::CASES,
        touches::CASES,
        signers::CASES,
        signing::CASES,
        logins::CASES,
    ]
    .concat()
}

/// Runs these of the cases, and writes a line for each, and the tally.
///
/// # Errors
/// The lines cannot be written.
pub fn run(rig: &dyn Rig, cases: &[Case], out: &mut dyn io::Write) -> io::Result<Tally> {
    let tally = report(rig, cases, out)?;
    writeln!(out, "T57 PIV cases: {} of {}", tally.held, tally.cases)?;
    Ok(tally)
}

/// Two YubiKeys from the factory, the second with older firmware; all other keys of the launcher's are out.
pub struct YubiKeys {
    program: PathBuf,
    keys: [Control; 2],
}

impl YubiKeys {
    /// Those of the launcher that started this process. `variable` looks up the environment.
    ///
    /// # Errors
    /// There is none; a key cannot be pulled.
    pub fn find(program: impl Into<PathBuf>, variable: impl Fn(&str) -> Option<OsString>) -> io::Result<Self> {
        let second = |first: &str| format!("{first}{}", rig::SECOND);
        for other in [rig::CONTACT, rig::CONTACTLESS] {
            for name in [other.to_owned(), second(other)] {
                rig::key(&name, &variable)
                    .map_or(Ok(()), |key| key.pull())
                    .map_err(io::Error::other)?;
            }
        }
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no YubiKey: run by hw-tests/with-readers");
        let found = |name: &str| rig::key(name, &variable).ok_or_else(missing);
        Ok(Self {
            program: program.into(),
            keys: [found(rig::YUBIKEY)?, found(&second(rig::YUBIKEY))?],
        })
    }
}

impl Rig for YubiKeys {
    fn name(&self) -> &str {
        "piv"
    }

    fn link(&self) -> Link {
        Link::Contact
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn keys(&self) -> [Arc<dyn KeyHandle>; 2] {
        self.keys.clone().map(|key| Arc::new(key) as Arc<dyn KeyHandle>)
    }

    fn daemon(&self, _: &Home) -> io::Result<Option<Daemon>> {
        Ok(None)
    }
}

/// Types what is chosen for a card from the factory, then does what the screen says.
fn enrol(machine: &Machine<'_>, arguments: &[&str]) -> Result<(ExitStatus, String), Box<dyn Error>> {
    let mut screen = new_secrets(machine, arguments, PIN)?;
    machine.attend(&mut screen, PIN, &mut || false)?;
    Ok(screen.finish()?)
}

/// Types what is chosen for a card from the factory, and no more.
fn new_secrets(machine: &Machine<'_>, arguments: &[&str], pin: &str) -> Result<Terminal, Box<dyn Error>> {
    let mut screen = machine.home.terminal(arguments)?;
    for (question, answer) in [
        ("new PIN: ", pin),
        ("the same again: ", pin),
        ("new PUK: ", PUK),
        ("the same again: ", PUK),
    ] {
        screen.expect_within(question, LIMIT)?;
        screen.type_in(&format!("{answer}\n"))?;
    }
    Ok(screen)
}

/// A vault with the first card as "blue", and `prod/TOKEN`.
fn vault(machine: &Machine<'_>) -> Verdict {
    let (status, shown) = enrol(machine, INIT)?;
    ensure!(status.success(), "{status} {shown}");
    machine.put("TOKEN", "correct-horse-battery")
}

/// The serial number that the launcher's YubiKey in the reader on this port has.
fn serial(port: u16) -> String {
    (24_000_000 + u32::from(port)).to_string()
}

/// How often a card was touched meanwhile.
fn touches<T>(machine: &Machine<'_>, which: usize, work: impl FnOnce() -> Result<T, Box<dyn Error>>) -> Result<(u64, T), Box<dyn Error>> {
    let before = machine.keys[which].counts()?.given;
    let done = work()?;
    Ok((machine.keys[which].counts()?.given - before, done))
}

/// Puts a card into its reader, and waits until the product has seen it there: it looks every 400 ms.
fn plug(machine: &Machine<'_>, which: usize) -> Verdict {
    machine.keys[which].plug()?;
    seen(machine, [rig::YUBIKEY_READER, rig::SECOND_YUBIKEY_READER][which].name, true)
}

/// Waits until the product has seen that a card is in this reader, or that none is.
fn seen(machine: &Machine<'_>, reader: &str, there: bool) -> Verdict {
    let is_there = |key: &Value| key["place"].as_str().is_some_and(|place| place.starts_with(reader));
    let since = Instant::now();
    while since.elapsed() < LIMIT {
        let listed = machine.json(&["key", "list"])?;
        if listed["keys"].as_array().is_some_and(|keys| keys.iter().any(is_there) == there) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(format!("a card in {reader}: not {there}").into())
}

/// What `key info` says of the only card: its rows by name.
fn rows(machine: &Machine<'_>) -> Result<Value, Box<dyn Error>> {
    let info = machine.json(&["key", "info"])?;
    let rows = info["details"].as_array().cloned().unwrap_or_default();
    let named = |row: Value| (row["name"].as_str().unwrap_or_default().to_owned(), row["value"].clone());
    let mut named: serde_json::Map<_, _> = rows.into_iter().map(named).collect();
    named.insert("pin_tries".into(), info["pin_tries"].clone());
    Ok(named.into())
}

/// Waits for a question on the screen, and types the answer.
fn answer(screen: &mut Terminal, question: &str, answer: &str) -> Verdict {
    screen.expect_within(question, LIMIT)?;
    screen.type_in(&format!("{answer}\n"))?;
    Ok(())
}

/// A program's end with this exit code and, in what it says, these sentences.
fn ended(output: &Output, code: i32, sentences: &[&str]) -> Verdict {
    let said = super::machine::said(output);
    ensure!(output.status.code() == Some(code), "not {code}: {said}");
    for sentence in sentences {
        ensure!(said.contains(sentence), "not {sentence:?}: {said}");
    }
    Ok(())
}
