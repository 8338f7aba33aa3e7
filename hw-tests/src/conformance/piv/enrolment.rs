//! What a YubiKey has to be to be enrolled, and what of it is not touched.

use std::{error::Error, fs, io, sync::Arc};

use touchlease::{
    encoding::sshsig::Point,
    vault::{Statement, roster},
};

use super::{INIT, RUN, ended, enrol, plug, rows, serial, vault};
use crate::{
    card::SmartCard,
    conformance::{Case, Machine, Verdict, cases::ensure, machine::LIMIT},
    finger::{Finger, Mode},
    key::{Attachment as _, PIN},
    piv::{Between, Settings, YubiKey, YubiKeyCard},
    rig::{SECOND_YUBIKEY_READER, YUBIKEY_READER},
    vpcd::VpcdSocket,
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "of two YubiKeys one is enrolled that was named by its serial number",
        run: named,
    },
    Case {
        name: "firmware before 5.7 is named with EUCLEAK before enrolment, while enrolling, and after",
        run: eucleak,
    },
    Case {
        name: "min_firmware refuses an older YubiKey, and changes nothing on it",
        run: too_old,
    },
    Case {
        name: "a slot that holds a key is left alone before any PIN is typed",
        run: occupied,
    },
    Case {
        name: "T29 a key of another vault is not lost, by a dangerous name either",
        run: known,
    },
    Case {
        name: "T29 a key of a vault that nobody knows of is lost by a dangerous name, once that was shown and agreed to",
        run: unknown,
    },
    Case {
        name: "P2 what becomes of a card is shown with its slots, and nothing of it happens before somebody types its new PIN below",
        run: agreed,
    },
    Case {
        name: "T13 a card that says its new key is one that is enrolled is refused, and that one's PIN stays kept",
        run: claimed,
    },
    Case {
        name: "T58 a card that makes keys with cached touch, without touch, or with the PIN once is refused",
        run: other_policies,
    },
    Case {
        name: "T29 a slot that is none, or the same for both, is refused, and nothing is changed",
        run: no_slot,
    },
];

fn named(machine: &Machine<'_>) -> Verdict {
    plug(machine, 1)?;
    let (status, shown) = machine.person(INIT)?;
    let (first, second) = (serial(YUBIKEY_READER.port), serial(SECOND_YUBIKEY_READER.port));
    ensure!(status.code() == Some(65), "{status} {shown}");
    ensure!(shown.contains(&first) && shown.contains(&second), "{shown}");
    let (status, shown) = enrol(machine, &[INIT, &["--serial", &second]].concat())?;
    ensure!(status.success(), "{status} {shown}");
    machine.put("TOKEN", "correct-horse-battery")?;
    ensure!(!machine.keys[0].counts()?.waiting, "the other one blinks");
    let listed = machine.json(&["key", "list"])?;
    let place = listed["keys"][0]["place"].as_str().unwrap_or_default();
    ensure!(place.starts_with(SECOND_YUBIKEY_READER.name), "{listed}");
    Ok(())
}

fn eucleak(machine: &Machine<'_>) -> Verdict {
    let newer = rows(machine)?;
    ensure!(newer["firmware"] == "5.7.1" && newer["note"].is_null(), "{newer}");
    machine.keys[0].pull()?;
    plug(machine, 1)?;
    let older = rows(machine)?;
    let names = |text: &str| text.contains("EUCLEAK") && text.contains("5.4.3");
    ensure!(names(older["note"].as_str().unwrap_or_default()), "{older}");
    let (status, shown) = enrol(machine, INIT)?;
    ensure!(status.success() && names(&shown), "{status} {shown}");
    let enrolled = rows(machine)?;
    ensure!(names(enrolled["note"].as_str().unwrap_or_default()), "{enrolled}");
    let doctor = machine.json(&["doctor"])?.to_string();
    ensure!(names(&doctor), "{doctor}");
    Ok(())
}

fn too_old(machine: &Machine<'_>) -> Verdict {
    machine.restart("[limits]\nmin_firmware = \"5.7\"\n")?;
    machine.keys[0].pull()?;
    plug(machine, 1)?;
    let (status, shown) = enrol(machine, INIT)?;
    ensure!(status.code() == Some(62), "{status} {shown}");
    ensure!(shown.contains("firmware 5.4.3") && shown.contains("limits.min_firmware"), "{shown}");
    let after = rows(machine)?;
    ensure!(
        after["the factory's"] == "PIN, PUK, management key" && after["slots in use"].is_null(),
        "{after}"
    );
    Ok(())
}

/// A vault as [`vault`] makes it, laid where no daemon has seen it.
fn unknown_vault(machine: &Machine<'_>) -> Result<String, Box<dyn Error>> {
    vault(machine)?;
    let other = machine.home.path().join("other");
    fs::rename(machine.home.places()?.vault, &other)?;
    machine.restart("")?;
    Ok(other.display().to_string())
}

fn occupied(machine: &Machine<'_>) -> Verdict {
    let elsewhere = unknown_vault(machine)?;
    let init = [INIT, &["--open-slot", "95", "--sign-slot", "93"]].concat();
    let mut screen = machine.home.terminal(&init)?;
    let refused = screen.expect_within("slot 95 of the card holds a key: nothing was changed", LIMIT)?;
    ensure!(!refused.contains("PIN of"), "{refused}");
    let (status, shown) = screen.finish()?;
    ensure!(
        status.code() == Some(62) && shown.contains("--danger-overwrite-slot"),
        "{status} {shown}"
    );
    let of_other = [&["--vault", &elsewhere][..], RUN].concat();
    ended(&machine.approved(&of_other)?, 0, &["done"])
}

const OVER_BOTH: &[&str] = &["--open-slot", "95", "--sign-slot", "94", "--danger-overwrite-slot"];

fn known(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    let (first, other) = (machine.home.places()?.vault, machine.home.path().join("other"));
    let other = other.display().to_string();
    let (status, shown) = machine.person(&[&["--vault", &other][..], INIT, OVER_BOTH].concat())?;
    let said = format!("holds a key of the vault in {}", first.display());
    ensure!(status.code() == Some(62) && flat(&shown).contains(&said), "{status} {shown}");
    ensure!(shown.contains("\"blue\"") && !shown.contains("PIN of"), "{shown}");
    ended(&machine.approved(RUN)?, 0, &["done"])
}

fn unknown(machine: &Machine<'_>) -> Verdict {
    let elsewhere = unknown_vault(machine)?;
    let again = [INIT, OVER_BOTH].concat();
    let mut screen = machine.home.terminal(&again)?;
    let shown = flat(&screen.expect_within("PIN of \"blue\"", LIMIT)?);
    let lost = "LOSES the key that is in its slot 95, and the one in its slot 94";
    ensure!(shown.contains(lost), "{shown}");
    screen.type_in("no-pin\n")?;
    let (status, shown) = screen.finish()?;
    ensure!(status.code() == Some(66), "{status} {shown}");
    let of_other = [&["--vault", &elsewhere][..], RUN].concat();
    ended(&machine.approved(&of_other)?, 0, &["done"])?;
    // By now it is known.
    machine.restart("")?;
    let (status, shown) = machine.person(&again)?;
    ensure!(status.success(), "{status} {shown}");
    ended(&machine.approved(&of_other)?, 63, &["was reset since it was enrolled"])?;
    let doctor = machine.json(&["--vault", &elsewhere, "doctor"])?.to_string();
    ensure!(doctor.contains("another key is in its place"), "{doctor}");
    ensure!(!doctor.contains("can serve"), "{doctor}");
    Ok(())
}

fn agreed(machine: &Machine<'_>) -> Verdict {
    let mut screen = super::new_secrets(machine, INIT, PIN)?;
    let shown = flat(&screen.expect_within("PIN of \"blue\"", LIMIT)?);
    let serial = serial(YUBIKEY_READER.port);
    for part in [
        &format!("YubiKey {serial}: a new key in its slot 95, to open, and one in its slot 94, to sign"),
        "what is still the factory's: its PIN, its PUK, its management key",
        "by typing its new PIN; nothing on it is changed before",
    ] {
        ensure!(shown.contains(part), "not {part:?}: {shown}");
    }
    screen.type_in("000000\n")?;
    screen.expect_within("rong PIN", LIMIT)?;
    let before = rows(machine)?;
    ensure!(
        before["the factory's"] == "PIN, PUK, management key" && before["slots in use"].is_null() && before["pin_tries"] == 3,
        "{before}"
    );
    machine.attend(&mut screen, PIN, &mut || false)?;
    let (status, shown) = screen.finish()?;
    ensure!(status.success(), "{status} {shown}");
    Ok(())
}

/// The key by which the first one of the roster signs.
fn signer(machine: &Machine<'_>) -> Result<Point, Box<dyn Error>> {
    let folder = fs::read_dir(machine.home.places()?.vault.join(roster::FOLDER))?;
    let statements = folder.map(|file| Ok(Statement::from_bytes(&fs::read(file?.path())?).ok()));
    let mut statements = statements.collect::<io::Result<Vec<_>>>()?.into_iter().flatten();
    let keys = statements.next().ok_or("no statement")?.keys;
    Ok(*keys.first().ok_or("no key")?.signer())
}

fn claimed(machine: &Machine<'_>) -> Verdict {
    const OTHER: &str = "852963";
    vault(machine)?;
    let enrolled = signer(machine)?;
    let finger = Arc::new(Finger::new(Mode::Grant));
    let inside = YubiKey::start(Settings::default(), finger.clone())?;
    // GENERATE ASYMMETRIC KEY PAIR and GET METADATA of the slot that signs: the point is tag 86.
    let card = Between::new(YubiKeyCard::new(Arc::new(inside)), move |card, apdu| {
        let mut answer = card.transmit(apdu);
        if let [_, 0x47 | 0xf7, _, 0x94, ..] = apdu
            && let Some(at) = answer.windows(3).position(|three| three == [0x86, 65, 4])
            && let Some(point) = answer.get_mut(at + 2..at + 67)
        {
            point.copy_from_slice(&enrolled);
        }
        answer
    });
    let slot = VpcdSocket::new(SECOND_YUBIKEY_READER, Box::new(card)).with_finger(finger);
    slot.plug()?;
    let serial = Settings::default().serial.to_string();
    let mut screen = super::new_secrets(machine, &["key", "add", "spare", "--piv", "--serial", &serial], OTHER)?;
    super::answer(&mut screen, "PIN of \"spare\": ", OTHER)?;
    let (status, shown) = screen.finish()?;
    ensure!(
        status.code() == Some(62) && shown.contains("is enrolled already"),
        "{status} {shown}"
    );
    slot.pull();
    let mut request = machine.request(RUN)?;
    machine.approve(&mut request)?;
    ensure!(!request.watch.output().contains("PIN of"), "{}", request.watch.output());
    ended(&request.finish()?, 0, &["done"])?;
    ensure!(rows(machine)?["pin_tries"] == 3, "the other card's PIN was tried on it");
    Ok(())
}

/// What stands on a screen, however it is coloured (ECMA-48, 8.3.117) and broken into lines.
fn flat(shown: &str) -> String {
    let pieces = shown.split("\u{1b}[").enumerate();
    let plain = pieces.map(|(n, piece)| {
        if n == 0 {
            piece
        } else {
            piece.split_once('m').map_or(piece, |(_, rest)| rest)
        }
    });
    plain.collect::<String>().split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// A YubiKey that takes the policies of a new key for others: GENERATE ASYMMETRIC KEY PAIR, with Yubico's tags AA (PIN) and AB (touch) of one
/// byte.
fn otherwise(card: YubiKeyCard, tag: u8, policy: u8) -> Between {
    Between::new(card, move |card, apdu| {
        let mut apdu = apdu.to_vec();
        if let [_, 0x47, ..] = apdu[..]
            && let Some(at) = apdu.windows(2).position(|two| two == [tag, 1])
            && let Some(other) = apdu.get_mut(at + 2)
        {
            *other = policy;
        }
        card.transmit(&apdu)
    })
}

fn other_policies(machine: &Machine<'_>) -> Verdict {
    const NO_TOUCH: (u8, u8) = (0xab, 1);
    const CACHED: (u8, u8) = (0xab, 3);
    const NO_PIN: (u8, u8) = (0xaa, 1);
    const PIN_ONCE: (u8, u8) = (0xaa, 2);
    machine.keys[0].pull()?;
    for (tag, policy) in [NO_TOUCH, CACHED, NO_PIN, PIN_ONCE] {
        let finger = Arc::new(Finger::new(Mode::Grant));
        let inside = YubiKey::start(Settings::default(), finger.clone())?;
        let card = otherwise(YubiKeyCard::new(Arc::new(inside)), tag, policy);
        let slot = VpcdSocket::new(SECOND_YUBIKEY_READER, Box::new(card)).with_finger(finger);
        slot.plug()?;
        let (status, shown) = enrol(machine, INIT)?;
        ensure!(status.code() == Some(62), "{tag:02x} {policy}: {status} {shown}");
        ensure!(shown.contains("does not want PIN and touch for each use"), "{shown}");
        ensure!(!machine.home.places()?.vault.exists(), "it left a vault");
    }
    Ok(())
}

fn no_slot(machine: &Machine<'_>) -> Verdict {
    for slot in ["9a", "96", "82;", "../82", "-1", "", "8"] {
        let (status, shown) = machine.person(&[INIT, &[&format!("--open-slot={slot}")]].concat())?;
        ensure!(status.code() == Some(64), "{slot:?}: {status} {shown}");
        ensure!(shown.contains("82 to 95"), "{slot:?}: {shown}");
    }
    let (status, shown) = enrol(machine, &[INIT, &["--open-slot", "95", "--sign-slot", "95"]].concat())?;
    ensure!(
        status.code() == Some(65) && shown.contains("one slot cannot open and sign"),
        "{status} {shown}"
    );
    let after = rows(machine)?;
    ensure!(after["the factory's"] == "PIN, PUK, management key", "{after}");
    Ok(())
}
