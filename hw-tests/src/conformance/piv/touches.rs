//! Touches of cards, of which no call ends the wait: given up, denied, pulled out, kept off by others.

use std::{
    error::Error,
    fs,
    process::{Command, Output, Stdio},
};

use super::{RUN, answer, ended, enrol, outside, plug, serial, touches, vault};
use crate::{
    conformance::{
        Case, Machine, Verdict,
        cases::ensure,
        machine::{LIMIT, Request},
    },
    key::PIN,
    rig::{SECOND_YUBIKEY_READER, YUBIKEY_READER},
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a request that is denied while the card blinks says not to touch it for 15 s",
        run: denied,
    },
    Case {
        name: "so does one whose program goes away",
        run: abandoned,
    },
    Case {
        name: "T56 a card pulled out while it blinks is said, and serves when it is back",
        run: pulled,
    },
    Case {
        name: "T04 a reader held by another program names it and its remedy, and is waited for",
        run: held,
    },
    Case {
        name: "of two cards one is touched, and the other one is not to be",
        run: two,
    },
];

fn blinking(machine: &Machine<'_>, words: &[&str]) -> Result<Request, Box<dyn Error>> {
    let mut request = machine.request(words)?;
    request.watch.expect_within("now: it blinks", LIMIT)?;
    machine.blinks(0)?;
    Ok(request)
}

/// What a command ends with whose card is pulled out while it blinks, and touched when it is back.
pub(super) fn pulled_and_back(machine: &Machine<'_>, words: &[&str]) -> Result<Output, Box<dyn Error>> {
    let mut request = blinking(machine, words)?;
    machine.keys[0].pull()?;
    request.watch.expect_within("\"blue\" was pulled out", LIMIT)?;
    machine.is_gone("blue")?;
    plug(machine, 0)?;
    // The PIN went with the card.
    answer(&mut request.watch, "PIN of \"blue\" (3 tries left): ", PIN)?;
    let (touched, ()) = touches(machine, 0, || machine.approve(&mut request))?;
    ensure!(touched == 1, "{touched} touches");
    request.finish()
}

/// A command whose reader another program has held, until it and its remedy were named.
pub(super) fn held_meanwhile(machine: &Machine<'_>, words: &[&str]) -> Result<Request, Box<dyn Error>> {
    // The name alone is looked for: another program of this name is beside the one that holds the reader.
    let program = machine.home.path().join("scdaemon");
    fs::copy("/bin/sleep", &program)?;
    let mut scdaemon = Command::new(&program).arg("60").stdin(Stdio::null()).spawn()?;
    let holder = outside::Card::hold(YUBIKEY_READER)?;
    let mut request = machine.request(words)?;
    let said = request.watch.expect_within("is in use by scdaemon", LIMIT).map(drop);
    let remedy = request.watch.expect_within("gpgconf --kill scdaemon", LIMIT).map(drop);
    drop(holder);
    scdaemon.kill()?;
    scdaemon.wait()?;
    said?;
    remedy?;
    Ok(request)
}

fn denied(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    let mut request = blinking(machine, RUN)?;
    request.watch.type_in("d")?;
    request.watch.expect_within("do not touch \"blue\" for 15 s", LIMIT)?;
    request.watch.expect_within("denied", LIMIT)?;
    ended(
        &request.finish()?,
        60,
        &["a person denied this request", "do not touch \"blue\" for 15 s"],
    )?;
    // What a touch gives then is thrown away.
    ensure!(machine.keys[0].press()?, "it does not wait any more");
    ensure!(machine.events("approved")?.is_empty(), "it was approved");
    // The card serves on.
    ended(&machine.approved(RUN)?, 0, &["done"])
}

fn abandoned(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    let mut watch = blinking(machine, RUN)?.abandon()?;
    watch.expect_within("do not touch \"blue\" for 15 s", LIMIT)?;
    watch.expect_within("not approved", LIMIT)?;
    machine.keys[0].expire()?;
    Ok(())
}

fn pulled(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    ended(&pulled_and_back(machine, RUN)?, 0, &["done"])?;
    let shown = machine.json(&["audit", "verify"])?;
    ensure!(shown["good"] == true, "{shown}");
    Ok(())
}

fn held(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    let mut request = held_meanwhile(machine, RUN)?;
    machine.approve(&mut request)?;
    ended(&request.finish()?, 0, &["done"])
}

fn two(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    plug(machine, 1)?;
    let serial = serial(SECOND_YUBIKEY_READER.port);
    let (status, shown) = enrol(machine, &["key", "add", "spare", "--piv", "--serial", &serial])?;
    ensure!(status.success(), "{status} {shown}");
    let mut request = blinking(machine, RUN)?;
    machine.blinks(1)?;
    machine.keys[1].press()?;
    request.watch.expect_within("do not touch \"blue\" for 15 s", LIMIT)?;
    request.watch.expect_within("approved", LIMIT)?;
    ended(&request.finish()?, 0, &["done"])?;
    let approved = machine.events("approved")?;
    ensure!(approved[0]["name"] == "spare", "{approved:?}");
    ensure!(machine.keys[0].expire()?, "\"blue\" does not wait any more");
    Ok(())
}
