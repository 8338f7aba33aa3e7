//! What a YubiKey has to be to be enrolled, and what of it is not touched.

use std::sync::Arc;

use super::{INIT, RUN, ended, enrol, plug, rows, serial, vault};
use crate::{
    card::SmartCard,
    conformance::{Case, Machine, Verdict, cases::ensure, machine::LIMIT},
    finger::{Finger, Mode},
    key::Attachment as _,
    piv::{Settings, YubiKey, YubiKeyCard},
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
        name: "a slot that holds a key is left alone before any PIN is typed, and lost only by a dangerous name",
        run: occupied,
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

fn occupied(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    let other = machine.home.path().join("other").display().to_string();
    let init = [&["--vault", &other][..], INIT, &["--open-slot", "95", "--sign-slot", "93"]].concat();
    let mut screen = machine.home.terminal(&init)?;
    let refused = screen.expect_within("slot 95 of the card holds a key: nothing was changed", LIMIT)?;
    ensure!(!refused.contains("PIN of"), "{refused}");
    let (status, shown) = screen.finish()?;
    ensure!(
        status.code() == Some(62) && shown.contains("--danger-overwrite-slot"),
        "{status} {shown}"
    );
    ended(&machine.approved(RUN)?, 0, &["done"])?;
    let (status, shown) = machine.person(&[&init[..], &["--danger-overwrite-slot"]].concat())?;
    ensure!(status.success(), "{status} {shown}");
    ended(&machine.approved(RUN)?, 63, &["was reset since it was enrolled"])
}

/// A YubiKey that takes the policies of a new key for others.
struct Otherwise {
    card: YubiKeyCard,
    tag: u8,
    policy: u8,
}

impl SmartCard for Otherwise {
    fn atr(&self) -> Vec<u8> {
        self.card.atr()
    }

    fn power_up(&mut self) {
        self.card.power_up();
    }

    fn power_down(&mut self) {
        self.card.power_down();
    }

    /// GENERATE ASYMMETRIC KEY PAIR, with Yubico's tags AA (PIN) and AB (touch) of one byte.
    fn transmit(&mut self, apdu: &[u8]) -> Vec<u8> {
        let mut apdu = apdu.to_vec();
        if let [_, 0x47, ..] = apdu[..]
            && let Some(at) = apdu.windows(2).position(|two| two == [self.tag, 1])
            && let Some(policy) = apdu.get_mut(at + 2)
        {
            *policy = self.policy;
        }
        self.card.transmit(&apdu)
    }
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
        let card = Otherwise {
            card: YubiKeyCard::new(Arc::new(inside)),
            tag,
            policy,
        };
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
