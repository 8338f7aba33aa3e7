//! PINs of the PIV application: wrong, blocked, changed elsewhere, not typed.

use super::{RUN, answer, ended, outside, rows, vault};
use crate::{
    conformance::{Case, Machine, Verdict, cases::ensure},
    key::PIN,
    piv::FACTORY_PIN,
    rig::YUBIKEY_READER,
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "T57 a wrong PIN is asked for again, costs one try, and the right one gives it back",
        run: wrong,
    },
    Case {
        name: "T57 the last try is named, and a blocked PIN ends with 66 and its remedy",
        run: blocked,
    },
    Case {
        name: "T57 a PIN that nobody types and a touch that nobody gives are told apart",
        run: told_apart,
    },
    Case {
        name: "T57 a PIN changed by another program is tried once, forgotten, and asked for",
        run: changed,
    },
    Case {
        name: "PIN care is left to the maker's program, by name",
        run: care,
    },
    Case {
        name: "T58 a card that was reset is said to be, and no PIN goes to it",
        run: reset,
    },
];

fn wrong(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    machine.json(&["lock"])?;
    let mut request = machine.request(RUN)?;
    answer(&mut request.watch, "PIN of \"blue\" (3 tries left): ", "no-pin")?;
    request.watch.expect("rong PIN")?;
    request.watch.expect("(2 tries left): ")?;
    let left = rows(machine)?;
    ensure!(left["pin_tries"] == 2, "{left}");
    request.watch.type_in(&format!("{PIN}\n"))?;
    machine.approve(&mut request)?;
    ended(&request.finish()?, 0, &["done"])?;
    ensure!(rows(machine)?["pin_tries"] == 3, "the right PIN gives all tries back");
    Ok(())
}

fn blocked(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    machine.json(&["lock"])?;
    let mut request = machine.request(RUN)?;
    let typed = [
        ("(3 tries left): ", "no-pin"),
        ("(2 tries left): ", "no-pin"),
        ("ONE try left before \"blue\" blocks; type yes to use it: ", "yes"),
        ("(ONE try left before the key blocks): ", "no-pin"),
    ];
    for (asked, answered) in typed {
        answer(&mut request.watch, asked, answered)?;
    }
    ended(
        &request.finish()?,
        66,
        &["the card's PIN is blocked", "ykman piv access unblock-pin"],
    )?;
    let again = machine.approved(RUN)?;
    ended(&again, 66, &["the card's PIN is blocked"])?;
    let doctor = machine.json(&["doctor"])?.to_string();
    ensure!(doctor.contains("\"piv_pin_blocked\""), "{doctor}");
    ensure!(!machine.keys[0].counts()?.waiting, "it waits for a touch");
    Ok(())
}

fn told_apart(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    machine.restart("[limits]\nprompt = \"6s\"\n")?;
    let mut request = machine.request(RUN)?;
    request.watch.expect_within("(3 tries left): ", super::LIMIT)?;
    ended(&request.finish()?, 66, &["PIN is needed"])?;
    let mut request = machine.request(RUN)?;
    answer(&mut request.watch, "(3 tries left): ", PIN)?;
    machine.blinks(0)?;
    // The card's own time is over before the prompt's: it is asked once more.
    machine.keys[0].expire()?;
    machine.blinks(0)?;
    request.watch.expect_within("do not touch \"blue\" for 15 s", super::LIMIT)?;
    ended(&request.finish()?, 61, &["nobody touched the key in time"])?;
    machine.keys[0].expire()?;
    ensure!(rows(machine)?["pin_tries"] == 3, "a try was used");
    Ok(())
}

fn changed(machine: &Machine<'_>) -> Verdict {
    const OTHER: &str = "852963";
    vault(machine)?;
    outside::Card::connect(YUBIKEY_READER)?.change_pin(PIN, OTHER)?;
    let mut request = machine.request(RUN)?;
    answer(&mut request.watch, "(2 tries left): ", OTHER)?;
    machine.approve(&mut request)?;
    ended(&request.finish()?, 0, &["done"])?;
    ensure!(rows(machine)?["pin_tries"] == 3, "the old PIN was tried more than once");
    Ok(())
}

fn care(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    let (status, shown) = machine.person(&["key", "pin", "change", "blue"])?;
    ensure!(
        status.code() == Some(62) && shown.contains("ykman piv access change-pin"),
        "{status} {shown}"
    );
    Ok(())
}

fn reset(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    machine.keys[0].reset()?;
    let output = machine.approved(RUN)?;
    ended(&output, 63, &["\"blue\"", "it was reset since it was enrolled"])?;
    machine.json(&["lock"])?;
    let request = machine.request(RUN)?;
    let output = request.finish()?;
    ended(&output, 63, &["it was reset since it was enrolled"])?;
    ensure!(rows(machine)?["pin_tries"] == 3, "a PIN went to it");
    let doctor = machine.json(&["doctor"])?.to_string();
    ensure!(doctor.contains("\"reset_since_enrolment\""), "{doctor}");
    outside::Card::connect(YUBIKEY_READER)?.verify(&FACTORY_PIN)?;
    Ok(())
}
