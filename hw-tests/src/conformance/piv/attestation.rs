//! Under whose roots a YubiKey is attested, and what is refused where the configuration names some.

use std::{env, error::Error, fs, path::Path, sync::Arc};

use super::{INIT, RUN, ended, enrol, plug, rows, serial, vault};
use crate::{
    card::SmartCard,
    conformance::{Case, Machine, Verdict, cases::ensure},
    finger::{Finger, Mode},
    key::{Attachment as _, PIN},
    piv::{Between, Settings, YubiKey, YubiKeyCard},
    rig::{self, SECOND_YUBIKEY_READER},
    vpcd::VpcdSocket,
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a YubiKey that is attested under a root of the configuration is enrolled, and its receipts say so",
        run: attested,
    },
    Case {
        name: "without roots a YubiKey is enrolled by its own word, and key info, doctor and lease show say that",
        run: unverified,
    },
    Case {
        name: "T58 a YubiKey of another maker is refused before anything on it is changed",
        run: other_maker,
    },
    Case {
        name: "T58 a card that says its keys want a touch, and is attested to want none, is refused where there are roots",
        run: lies,
    },
    Case {
        name: "a file of roots that is not there, or has none, is named by a refusal and by doctor",
        run: no_roots,
    },
    Case {
        name: "recover --piv lets a YubiKey in by the recovery code, and the lost key is out",
        run: recovers,
    },
];

/// The configuration that trusts what is in this file.
pub(super) fn trusting(roots: &Path) -> String {
    format!("[limits]\npiv_attestation_roots = {roots:?}\n")
}

/// Where the launcher put the root of this card.
pub(super) fn root_of(name: &str) -> Result<std::path::PathBuf, Box<dyn Error>> {
    let control = env::var_os(name).ok_or("no YubiKey")?;
    Ok(Path::new(&control).with_extension("pem"))
}

/// What `lease show` says of a lease to the command that it is for: as JSON, and behind that to a person.
fn shown_lease(machine: &Machine<'_>) -> Result<String, Box<dyn Error>> {
    const SHOW: &str =
        r#"id=$("$0" --json lease list | sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p'); "$0" --json lease show "$id"; "$0" lease show "$id""#;
    let program = machine.rig.program().display().to_string();
    let output = machine.approved(&["run", "--with", "prod/TOKEN", "--", "sh", "-c", SHOW, &program])?;
    ended(&output, 0, &[])?;
    Ok(String::from_utf8(output.stdout)?)
}

fn attested(machine: &Machine<'_>) -> Verdict {
    machine.restart(&trusting(&root_of(rig::YUBIKEY)?))?;
    vault(machine)?;
    let said = rows(machine)?;
    ensure!(said["attested"] == "under a maker's root, when it was enrolled", "{said}");
    let doctor = machine.json(&["doctor"])?.to_string();
    ensure!(!doctor.contains("not_attested"), "{doctor}");
    let lease = shown_lease(machine)?;
    let said = [r#""attested":true"#, "its slots were attested under a maker's root"];
    ensure!(said.iter().all(|part| lease.contains(part)), "{lease}");
    // What the roster says of it stays when the roots are gone.
    machine.restart("")?;
    let said = rows(machine)?;
    ensure!(said["attested"] == "under a maker's root, when it was enrolled", "{said}");
    Ok(())
}

fn unverified(machine: &Machine<'_>) -> Verdict {
    const SAID: &str = "not verified against a maker's root";
    vault(machine)?;
    let said = rows(machine)?;
    ensure!(said["attested"] == SAID, "{said}");
    let doctor = machine.json(&["doctor"])?.to_string();
    ensure!(doctor.contains(SAID) && doctor.contains("not_attested"), "{doctor}");
    let lease = shown_lease(machine)?;
    ensure!(lease.contains(r#""attested":false"#) && lease.contains(SAID), "{lease}");
    Ok(())
}

fn other_maker(machine: &Machine<'_>) -> Verdict {
    let second = format!("{}{}", rig::YUBIKEY, rig::SECOND);
    machine.restart(&trusting(&root_of(&second)?))?;
    let (status, shown) = enrol(machine, INIT)?;
    ensure!(status.code() == Some(62), "{status} {shown}");
    for part in ["leads to none of the roots", "limits.piv_attestation_roots"] {
        ensure!(shown.contains(part), "not {part:?}: {shown}");
    }
    let after = rows(machine)?;
    ensure!(
        after["the factory's"] == "PIN, PUK, management key" && after["slots in use"].is_null(),
        "{after}"
    );
    Ok(())
}

/// GENERATE ASYMMETRIC KEY PAIR for whatever it is asked for makes a key without touch (tag AB); GET METADATA says that PIN and touch are wanted
/// each time (tag 02). ATTEST is the card's own.
pub(super) fn liar(card: YubiKeyCard) -> Between {
    Between::new(card, move |card, apdu| {
        let mut apdu = apdu.to_vec();
        if let [_, 0x47, ..] = apdu[..]
            && let Some(at) = apdu.windows(2).position(|two| two == [0xab, 1])
            && let Some(policy) = apdu.get_mut(at + 2)
        {
            *policy = 1;
        }
        let mut answer = card.transmit(&apdu);
        if let [_, 0xf7, _, 0x82..=0x95, ..] = apdu[..]
            && let Some(at) = answer.windows(2).position(|two| two == [0x02, 2])
            && let Some(policies) = answer.get_mut(at + 2..at + 4)
        {
            policies.copy_from_slice(&[3, 2]);
        }
        answer
    })
}

fn lies(machine: &Machine<'_>) -> Verdict {
    machine.keys[0].pull()?;
    let roots = machine.home.path().join("roots.pem");
    for trusted in [false, true] {
        let finger = Arc::new(Finger::new(Mode::Grant));
        let inside = Arc::new(YubiKey::start(Settings::default(), finger.clone())?);
        fs::write(&roots, inside.root())?;
        machine.restart(&if trusted { trusting(&roots) } else { String::new() })?;
        let card = liar(YubiKeyCard::new(inside));
        let slot = VpcdSocket::new(SECOND_YUBIKEY_READER, Box::new(card)).with_finger(finger);
        slot.plug()?;
        let folder = machine
            .home
            .path()
            .join(if trusted { "second" } else { "first" })
            .display()
            .to_string();
        let (status, shown) = enrol(machine, &[&["--vault", &folder][..], INIT].concat())?;
        let expected = if trusted { 62 } else { 0 };
        ensure!(status.code() == Some(expected), "roots: {trusted}: {status} {shown}");
        ensure!(
            !trusted || shown.contains("that it does not want PIN and touch for each use"),
            "{shown}"
        );
        slot.pull();
    }
    Ok(())
}

fn no_roots(machine: &Machine<'_>) -> Verdict {
    let file = machine.home.path().join("roots.pem");
    for text in [None, Some("no certificate")] {
        if let Some(text) = text {
            fs::write(&file, text)?;
        }
        machine.restart(&trusting(&file))?;
        let (status, shown) = enrol(machine, INIT)?;
        ensure!(
            status.code() == Some(62) && shown.contains("limits.piv_attestation_roots"),
            "{status} {shown}"
        );
        let doctor = machine.json(&["doctor"])?.to_string();
        ensure!(doctor.contains("attestation_roots"), "{doctor}");
    }
    let after = rows(machine)?;
    ensure!(after["the factory's"] == "PIN, PUK, management key", "{after}");
    Ok(())
}

fn recovers(machine: &Machine<'_>) -> Verdict {
    let (status, shown) = enrol(machine, INIT)?;
    ensure!(status.success(), "{status} {shown}");
    let is_code = |word: &&str| word.matches('-').count() >= 7;
    let code = shown.split_ascii_whitespace().find(is_code).ok_or("no code")?.to_owned();
    machine.put("TOKEN", "correct-horse-battery")?;
    machine.keys[0].pull()?;
    plug(machine, 1)?;
    let second = serial(SECOND_YUBIKEY_READER.port);
    let recover = ["recover", "green", "--lost", "blue", "--piv", "--serial", &second];
    let mut screen = super::new_secrets(machine, &recover, PIN)?;
    super::answer(&mut screen, "recovery code (not shown): ", &code)?;
    let before = machine.keys[1].counts()?.given;
    machine.attend(&mut screen, PIN, &mut || false)?;
    let (status, shown) = screen.finish()?;
    ensure!(status.success(), "{status} {shown}");
    let touched = machine.keys[1].counts()?.given - before;
    ensure!(touched == 2, "{touched} touches: {shown}");
    for part in ["key \"green\" is enrolled", "key \"blue\" is out", "prod/TOKEN"] {
        ensure!(shown.contains(part), "not {part:?}: {shown}");
    }
    let listed = machine.json(&["key", "list"])?;
    ensure!(
        listed["keys"][0]["name"] == "green" && listed["keys"][0]["profile"] == "piv",
        "{listed}"
    );
    ended(&machine.approved(RUN)?, 0, &["done"])?;
    let verified = machine.json(&["audit", "verify"])?;
    ensure!(verified["good"] == true, "{verified}");
    Ok(())
}
