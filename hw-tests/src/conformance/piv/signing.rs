//! What goes wrong with a signature in hardware: nothing is asked for that its rules do not allow, and nothing is handed out that its key did not sign.

use std::{
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

use super::signers::{ADD, AUD, TOKEN, printed, signer, verified};
use super::touches::held_meanwhile;
use super::{ended, new_secrets, outside, rows, seen, touches, vault};
use crate::{
    card::SmartCard,
    conformance::{Case, Machine, Verdict, cases::ensure},
    finger::{Finger, Mode},
    key::{Attachment as _, PIN},
    piv::{Between, FACTORY_PIN, Settings, YubiKey, YubiKeyCard},
    rig::{SECOND_YUBIKEY_READER, YUBIKEY_READER},
    vpcd::VpcdSocket,
};

/// GENERAL AUTHENTICATE, and the slot of the signer (SP 800-73-4 part 2, 3.2.4).
const SIGN: u8 = 0x87;
const SLOT: u8 = 0x93;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "T27 no certificate of a signer in hardware is asked for that its rules do not allow, and no signer is made that lets in everybody",
        run: certificates,
    },
    Case {
        name: "T28 no token of a signer in hardware is asked for that its rules do not allow",
        run: tokens,
    },
    Case {
        name: "T58 a card that answers with a signature that is none, an older one, or nothing has nothing handed out",
        run: signatures,
    },
    Case {
        name: "T58 a signer's card that was reset is said to be, signs nothing, and gets no PIN",
        run: reset,
    },
    Case {
        name: "T04 a signer's reader held by another program names it and its remedy, and is waited for",
        run: held,
    },
];

/// None of these may reach a person: no PIN is kept, and no screen is open to ask on.
fn refuses(machine: &Machine<'_>, commands: &[(&[&str], i32)]) -> Verdict {
    machine.json(&["lock"])?;
    let before = machine.events("asked")?.len();
    let (touched, ()) = touches(machine, 0, || {
        for (arguments, code) in commands {
            let output = machine.home.run(*arguments)?;
            ended(&output, *code, &["hint: "]).map_err(|error| format!("{arguments:?}: {error}"))?;
            ensure!(output.stdout.is_empty(), "{arguments:?} printed something");
        }
        Ok(())
    })?;
    let asked = machine.events("asked")?.len() - before;
    ensure!(touched == 0 && asked == 0, "{touched} touches, asked {asked} times");
    ensure!(rows(machine)?["pin_tries"] == 3, "a PIN went to it");
    Ok(())
}

fn certificates(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    machine.done(&["signer", "add", "prod/ca", "--principal", "deploy", "--max-ttl", "5m", "--piv"])?;
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f", "id"])
        .current_dir(machine.home.work())
        .status()?;
    ensure!(made.success(), "{made}");
    let cert = |more: &[&'static str]| [&["ssh", "cert", "prod/ca", "--key", "id.pub"], more].concat();
    let add = |principal: &'static str| vec!["signer", "add", "prod/other", "--principal", principal, "--piv"];
    let commands = [
        (cert(&["--principal", "root"]), 62),
        (cert(&["--principal", "*"]), 62),
        (cert(&["--principal", ""]), 62),
        (cert(&["--principal", "deploy,root"]), 62),
        (cert(&["--ttl", "6m"]), 62),
        (cert(&["--source-address", "0.0.0.0/0"]), 65),
        (vec!["token", "prod/ca", "--aud", AUD], 62),
        (add("*"), 65),
        (add(""), 65),
        (add("deploy,root"), 65),
    ];
    let commands: Vec<_> = commands.iter().map(|(arguments, code)| (&arguments[..], *code)).collect();
    refuses(machine, &commands)
}

fn tokens(machine: &Machine<'_>) -> Verdict {
    signer(machine)?;
    let token = |more: &[&'static str]| [TOKEN, more].concat();
    let commands = [
        (vec!["token", "prod/deployer", "--aud", "https://other.example"], 62),
        (
            vec!["token", "prod/deployer", "--aud", "https://registry.example,https://other.example"],
            62,
        ),
        (token(&["--sub", "root"]), 62),
        (token(&["--claim", "env=prod"]), 62),
        (token(&["--claim", "exp=9999999999"]), 62),
        (token(&["--ttl", "2h"]), 62),
        (token(&["--uses", "2"]), 62),
    ];
    let commands: Vec<_> = commands.iter().map(|(arguments, code)| (&arguments[..], *code)).collect();
    refuses(machine, &commands)
}

/// What the card does with a signature that it has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// One bit is another.
    Flipped,
    /// It is that of the token before.
    Older,
    /// The card says that all is well, and no more.
    Nothing,
    /// The end is missing.
    Cut,
}

#[derive(Default)]
struct Told {
    lie: Option<Lie>,
    older: Vec<u8>,
}

impl Told {
    /// The answer in the place of `answer`, which ends with the status.
    fn instead(&mut self, mut answer: Vec<u8>) -> Vec<u8> {
        let last = answer.len().saturating_sub(3);
        match self.lie {
            Some(Lie::Flipped) => answer[last] ^= 1,
            Some(Lie::Older) => return self.older.clone(),
            Some(Lie::Nothing) => return vec![0x90, 0],
            Some(Lie::Cut) => drop(answer.remove(last)),
            Some(Lie::None) | None => self.older.clone_from(&answer),
        }
        answer
    }
}

/// A signer on a card in the second reader, which lies.
fn signatures(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    machine.restart("[limits]\nprompt = \"8s\"\n")?;
    let told = Arc::new(Mutex::new(Told::default()));
    let finger = Arc::new(Finger::new(Mode::Grant));
    let inside = Arc::new(YubiKey::start(Settings::default(), finger.clone())?);
    let lies = told.clone();
    let card = Between::new(YubiKeyCard::new(inside), move |card, apdu| {
        let answer = card.transmit(apdu);
        match apdu {
            [_, SIGN, _, SLOT, ..] if answer.len() > 2 => lies.lock().unwrap_or_else(PoisonError::into_inner).instead(answer),
            _ => answer,
        }
    });
    let slot = VpcdSocket::new(SECOND_YUBIKEY_READER, Box::new(card)).with_finger(finger);
    slot.plug()?;
    seen(machine, SECOND_YUBIKEY_READER.name, true)?;
    let number = Settings::default().serial.to_string();
    let mut screen = new_secrets(machine, &[ADD, &["--serial", &number, "--slot", "93"]].concat(), PIN)?;
    machine.attend(&mut screen, PIN, &mut || false)?;
    let (status, shown) = screen.finish()?;
    ensure!(status.success(), "{status} {shown}");
    verified(machine, &printed(machine, TOKEN)?)?;
    let approved = machine.events("approved")?.len();
    for lie in [Lie::Flipped, Lie::Older, Lie::Nothing, Lie::Cut] {
        told.lock().unwrap_or_else(PoisonError::into_inner).lie = Some(lie);
        let output = machine.approved(TOKEN)?;
        let said = crate::conformance::machine::said(&output);
        ensure!(!output.status.success() && output.stdout.is_empty(), "{lie:?}: {said}");
        ensure!(output.status.code() != Some(70) && said.contains("hint: "), "{lie:?}: {said}");
        ensure!(machine.events("approved")?.len() == approved, "{lie:?} was approved");
    }
    told.lock().unwrap_or_else(PoisonError::into_inner).lie = Some(Lie::None);
    verified(machine, &printed(machine, TOKEN)?)?;
    slot.pull();
    let audit = machine.json(&["audit", "verify"])?;
    ensure!(audit["good"] == true && audit["in_hardware"] == 2, "{audit}");
    Ok(())
}

fn reset(machine: &Machine<'_>) -> Verdict {
    signer(machine)?;
    machine.keys[0].reset()?;
    machine.json(&["lock"])?;
    let mut request = machine.request(TOKEN)?;
    // Somebody who types his PIN wherever it is asked for.
    machine.approve(&mut request)?;
    let output = request.finish()?;
    ended(&output, 63, &["hint: ", "it was reset since it was enrolled"])?;
    ensure!(output.stdout.is_empty(), "it printed something");
    ensure!(rows(machine)?["pin_tries"] == 3, "a PIN went to it");
    outside::Card::connect(YUBIKEY_READER)?.verify(&FACTORY_PIN)?;
    ensure!(machine.events("approved")?.is_empty(), "it was approved");
    Ok(())
}

fn held(machine: &Machine<'_>) -> Verdict {
    signer(machine)?;
    let mut request = held_meanwhile(machine, TOKEN)?;
    let (touched, output) = touches(machine, 0, || {
        machine.approve(&mut request)?;
        request.finish()
    })?;
    ended(&output, 0, &[])?;
    ensure!(touched == 1, "{touched} touches");
    verified(machine, String::from_utf8(output.stdout)?.trim_end()).map(drop)
}
