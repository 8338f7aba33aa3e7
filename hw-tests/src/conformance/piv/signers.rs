//! Signers whose key is in a slot of a YubiKey: each signature is a touch, and the touch of its lease.

use std::{
    env,
    error::Error,
    ffi::OsStr,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use data_encoding::BASE64URL_NOPAD;
use p256::ecdsa::{Signature, VerifyingKey, signature::Verifier};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::attestation::{liar, root_of, trusting};
use super::touches::pulled_and_back;
use super::{answer, ended, enrol, new_secrets, plug, seen, serial, touches, vault};
use crate::{
    card::SmartCard,
    conformance::{Case, Machine, Verdict, cases::ensure, machine::LIMIT},
    finger::{Finger, Mode},
    key::{Attachment as _, PIN},
    piv::{Between, Settings, YubiKey, YubiKeyCard},
    rig::{SECOND, SECOND_YUBIKEY_READER, YUBIKEY, YUBIKEY_READER},
    vpcd::VpcdSocket,
};

pub(super) const AUD: &str = "https://registry.example";
pub(super) const ADD: &[&str] = &[
    "signer",
    "add",
    "deployer",
    "--scope",
    "prod",
    "--issuer",
    "https://id.example",
    "--aud",
    AUD,
    "--piv",
];
pub(super) const TOKEN: &[&str] = &["token", "prod/deployer", "--aud", AUD];
const ROTATE: &[&str] = &["signer", "rotate", "prod/deployer", "--piv"];

pub(super) const CASES: &[Case] = &[
    Case {
        name: "T33 a token of a signer in hardware is one touch, verifies by the key that is exported, names its lease, and is in no log",
        run: token,
    },
    Case {
        name: "one touch of a signer in hardware is for one token: three are refused with a sentence",
        run: three,
    },
    Case {
        name: "T26 an SSH certificate of a signer in hardware is one touch, and stock ssh-keygen verifies it",
        run: certificate,
    },
    Case {
        name: "T29 a slot that holds a key, of the vault or of nobody, is left alone by a signer; by a dangerous name the latter is lost",
        run: occupied,
    },
    Case {
        name: "T57 a wrong PIN for a signature is asked for again, and a blocked one ends with 66 and its remedy",
        run: pins,
    },
    Case {
        name: "T56 a card pulled out while it is to sign is said, and signs when it is back",
        run: pulled,
    },
    Case {
        name: "T56 another YubiKey in the place of the signer's is told that it is another, and gets no PIN",
        run: other_card,
    },
    Case {
        name: "T58 a key for a signer with cached touch, without touch, or with the PIN once is refused",
        run: other_policies,
    },
    Case {
        name: "a signer's slot is attested under a root of the configuration, and under none but these a key is made",
        run: attested,
    },
    Case {
        name: "T58 a card that says a signer's key wants a touch, and is attested to want none, is refused where there are roots",
        run: lies,
    },
    Case {
        name: "T56 a signer's key that somebody put another in the place of signs nothing, and no PIN goes to the card",
        run: replaced,
    },
    Case {
        name: "a rotation in hardware makes a key in another slot, or in the same one by a dangerous name, and keeps the public key before",
        run: rotated,
    },
    Case {
        name: "a signer in hardware that is removed leaves its key on the card, and says so",
        run: removed,
    },
    Case {
        name: "a task over two scopes takes two touches of a YubiKey, and says so before the first",
        run: two_scopes,
    },
];

/// A vault with the first card as "blue", and `prod/deployer` on it.
pub(super) fn signer(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    machine.done(ADD).map(drop)
}

pub(super) fn printed(machine: &Machine<'_>, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = machine.approved(arguments)?;
    ended(&output, 0, &[])?;
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn part(text: &str) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes())?)?)
}

/// Claims of a token that is signed by one of the keys that are exported now.
pub(super) fn verified(machine: &Machine<'_>, token: &str) -> Result<Value, Box<dyn Error>> {
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        return Err(format!("no token: {token}").into());
    };
    let site = machine.home.work().join("site");
    ended(&machine.home.run(["issuer", "export", &site.display().to_string()])?, 0, &[])?;
    let set: Value = serde_json::from_slice(&fs::read(site.join(".well-known/jwks.json"))?)?;
    let kid = part(header)?["kid"].clone();
    let keys = set["keys"].as_array().cloned().unwrap_or_default();
    let key = keys.iter().find(|key| key["kid"] == kid).ok_or("by a key that is not exported")?;
    let coordinate = |name: &str| BASE64URL_NOPAD.decode(key[name].as_str().unwrap_or_default().as_bytes());
    let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
    let signature = Signature::from_slice(&BASE64URL_NOPAD.decode(signature.as_bytes())?)?;
    VerifyingKey::from_sec1_bytes(&point)?.verify(format!("{header}.{payload}").as_bytes(), &signature)?;
    if let Some(python) = env::var_os("VERIFIER") {
        relying_party(&python, &site, part(payload)?["aud"].as_str().unwrap_or_default(), token)?;
    }
    part(payload)
}

/// PyJWT as an OpenID Connect relying party, where `hw-tests/with-verifiers` has put it: accepts the token, and refuses it for another audience.
fn relying_party(python: &OsStr, site: &Path, audience: &str, token: &str) -> Verdict {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("verifiers/relying-party.py");
    for (audience, accepted) in [(audience, true), ("https://elsewhere.example", false)] {
        let mut party = Command::new(python);
        party.arg("-B").arg(&program).arg(site).args(["https://id.example", audience]);
        let mut party = party.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        writeln!(party.stdin.take().ok_or("no pipe")?, "{token}")?;
        let said = party.wait_with_output()?;
        ensure!(said.status.success() == accepted, "{audience}: {said:?}");
    }
    Ok(())
}

fn token(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    let (added, shown) = touches(machine, 0, || machine.done(ADD))?;
    // One opens the scope, one signs the change; none makes the key, for which the PIN is typed.
    ensure!(added == 2, "{added} touches: {shown}");
    ensure!(shown.contains("hardware: slot 93 of YubiKey"), "{shown}");
    let (signed, token) = touches(machine, 0, || printed(machine, TOKEN))?;
    ensure!(signed == 1, "{signed} touches");
    let claims = verified(machine, &token)?;
    let approved = machine.events("approved")?;
    let text = approved[0]["text"].as_str().unwrap_or_default();
    let digest: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(claims["lease_sha256"] == digest.as_str() && claims["aud"] == AUD, "{claims}");
    ensure!(approved[0]["kind"] == "signer" && approved[0]["sshsig"].is_null(), "{approved:?}");
    let lease: Value = serde_json::from_str(text)?;
    ensure!(
        lease["grants"][0]["token"]["class"] == "hardware" && claims["jti"] == lease["id"],
        "{lease}"
    );
    let audit = machine.json(&["audit", "verify"])?;
    ensure!(
        audit["good"] == true && audit["in_hardware"] == 1 && audit["attested"] == 0,
        "{audit}"
    );
    let log = machine.json(&["audit", "show"])?.to_string();
    let signature = token.rsplit('.').next().unwrap_or_default();
    ensure!(signature.len() == 86 && !log.contains(signature), "the token is in the log");
    let listed = machine.json(&["signer", "list"])?;
    let entry = &listed["signers"][0];
    ensure!(
        entry["class"] == "hardware" && entry["hardware"]["slot"] == "93" && entry["uses"] == 1 && entry["vouched"] == true,
        "{listed}"
    );
    let listed = machine.home.run(["signer", "list"])?;
    ended(&listed, 0, &["in hardware"])?;
    // What is seen before the touch.
    let mut request = machine.request(TOKEN)?;
    request.watch.expect_within("signer in hardware", LIMIT)?;
    request.watch.expect_within("now: it blinks", LIMIT)?;
    machine.touch(0, &mut request.watch)?;
    ended(&request.finish()?, 0, &[])
}

fn three(machine: &Machine<'_>) -> Verdict {
    signer(machine)?;
    let refused = machine.home.run([TOKEN, &["--uses", "3"]].concat())?;
    ended(
        &refused,
        62,
        &["each signature is a touch of its own", "touchlease token prod/deployer"],
    )?;
    let (status, shown) = machine.person(
        &[ADD, &["--max-uses", "3"]]
            .concat()
            .iter()
            .map(|word| if *word == "deployer" { "more" } else { word })
            .collect::<Vec<_>>(),
    )?;
    ensure!(
        status.code() == Some(65) && shown.contains("each signature is a touch of its own"),
        "{status} {shown}"
    );
    let (status, shown) = machine.person(&["signer", "rotate", "prod/deployer"])?;
    ensure!(status.code() == Some(65) && shown.contains("is in hardware"), "{status} {shown}");
    ensure!(!machine.keys[0].counts()?.waiting, "it blinks");
    Ok(())
}

fn certificate(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    machine.done(&["signer", "add", "prod/ca", "--principal", "deploy", "--piv"])?;
    let work = machine.home.work();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f", "id"])
        .current_dir(&work)
        .status()?;
    ensure!(made.success(), "{made}");
    let cert = ["ssh", "cert", "prod/ca", "--key", "id.pub", "--ttl", "5m"];
    let (touched, line) = touches(machine, 0, || printed(machine, &cert))?;
    ensure!(touched == 1, "{touched} touches");
    fs::write(work.join("id-cert.pub"), format!("{line}\n"))?;
    let read = Command::new("ssh-keygen")
        .args(["-L", "-f", "id-cert.pub"])
        .current_dir(&work)
        .output()?;
    ended(&read, 0, &["deploy", "ECDSA", "using ecdsa-sha2-nistp256"])?;
    // A body that was changed is none that ssh-keygen reads.
    let changed = line.replacen("AAAAB3", "AAAAB4", 1);
    let at = line.len() / 2;
    let other = if &line[at..=at] == "A" { "B" } else { "A" };
    let changed = if changed == line {
        format!("{}{other}{}", &line[..at], &line[at + 1..])
    } else {
        changed
    };
    fs::write(work.join("id-cert.pub"), format!("{changed}\n"))?;
    let read = Command::new("ssh-keygen")
        .args(["-L", "-f", "id-cert.pub"])
        .current_dir(&work)
        .output()?;
    ensure!(!read.status.success(), "another body is read too");
    let cas = machine.home.run(["ssh", "ca", "prod/ca"])?;
    ended(&cas, 0, &["ecdsa-sha2-nistp256", "touchlease:prod/ca:current"])?;
    ensure!(
        cas.stdout.iter().filter(|byte| **byte == b'\n').count() == 1,
        "more keys than there are"
    );
    let id = machine.events("ended")?;
    let id = id[0]["lease"].as_str().unwrap_or_default().to_owned();
    ended(&machine.home.run(["ssh", "krl", "krl", "--lease", &id])?, 0, &["1 certificate"])?;
    fs::write(work.join("id-cert.pub"), format!("{line}\n"))?;
    let revoked = Command::new("ssh-keygen")
        .args(["-Q", "-f", "krl", "id-cert.pub"])
        .current_dir(&work)
        .output()?;
    ensure!(!revoked.status.success(), "it is not revoked");
    let audit = machine.json(&["audit", "verify"])?;
    ensure!(audit["good"] == true && audit["in_hardware"] == 1, "{audit}");
    Ok(())
}

fn occupied(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    for danger in [&[][..], &["--danger-overwrite-slot"]] {
        let (status, shown) = machine.person(&[ADD, &["--slot", "95"], danger].concat())?;
        ensure!(
            status.code() == Some(62) && shown.contains("holds a key of the vault in"),
            "{status} {shown}"
        );
        ensure!(!shown.contains("PIN of"), "{shown}");
    }
    machine.done(ADD)?;
    // Nor is a signer's own key lost, to another signer or to an enrolment.
    let other = [
        "signer",
        "add",
        "prod/other",
        "--issuer",
        "https://id.example",
        "--aud",
        AUD,
        "--piv",
        "--slot",
        "93",
    ];
    let (status, shown) = machine.person(&[&other[..], &["--danger-overwrite-slot"]].concat())?;
    ensure!(status.code() == Some(62) && shown.contains("\"prod/deployer\""), "{status} {shown}");
    machine.done(&["signer", "remove", "prod/deployer"])?;
    // Nobody's by now, and still there.
    let (status, shown) = machine.person(&other)?;
    ensure!(
        status.code() == Some(62) && shown.contains("slot 93 of the card holds a key: nothing was changed"),
        "{status} {shown}"
    );
    let shown = machine.done(&[&other[..], &["--danger-overwrite-slot"]].concat())?;
    ensure!(shown.contains("LOSES"), "{shown}");
    let token = printed(machine, &["token", "prod/other", "--aud", AUD])?;
    verified(machine, &token).map(drop)
}

fn pins(machine: &Machine<'_>) -> Verdict {
    signer(machine)?;
    machine.json(&["lock"])?;
    let mut request = machine.request(TOKEN)?;
    answer(&mut request.watch, "PIN of \"blue\" (3 tries left): ", "no-pin")?;
    answer(&mut request.watch, "(2 tries left): ", PIN)?;
    machine.approve(&mut request)?;
    ended(&request.finish()?, 0, &[])?;
    machine.json(&["lock"])?;
    let mut request = machine.request(TOKEN)?;
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
    ended(&machine.approved(TOKEN)?, 66, &["the card's PIN is blocked"])?;
    ensure!(!machine.keys[0].counts()?.waiting, "it waits for a touch");
    Ok(())
}

fn pulled(machine: &Machine<'_>) -> Verdict {
    signer(machine)?;
    let output = pulled_and_back(machine, TOKEN)?;
    ended(&output, 0, &[])?;
    verified(machine, String::from_utf8(output.stdout)?.trim_end())?;
    let audit = machine.json(&["audit", "verify"])?;
    ensure!(audit["good"] == true && audit["in_hardware"] == 1, "{audit}");
    Ok(())
}

fn other_card(machine: &Machine<'_>) -> Verdict {
    signer(machine)?;
    machine.restart("[limits]\nprompt = \"6s\"\n")?;
    machine.keys[0].pull()?;
    plug(machine, 1)?;
    let named = format!(
        "YubiKey {}, on which the signer's key is, is not connected",
        serial(YUBIKEY_READER.port)
    );
    let (touched, output) = touches(machine, 1, || {
        let mut request = machine.request(TOKEN)?;
        // Somebody who would touch whatever blinks.
        machine.approve(&mut request)?;
        request.finish()
    })?;
    ended(&output, 63, &[&named, "touchlease signer list"])?;
    ensure!(touched == 0, "the other one was touched");
    machine.keys[1].pull()?;
    let request = machine.request(TOKEN)?;
    ended(&request.finish()?, 63, &[&named])
}

fn other_policies(machine: &Machine<'_>) -> Verdict {
    const NO_TOUCH: (u8, u8) = (0xab, 1);
    const CACHED: (u8, u8) = (0xab, 3);
    const PIN_ONCE: (u8, u8) = (0xaa, 2);
    vault(machine)?;
    for (tag, policy) in [NO_TOUCH, CACHED, PIN_ONCE] {
        let finger = Arc::new(Finger::new(Mode::Grant));
        let inside = YubiKey::start(Settings::default(), finger.clone())?;
        // GENERATE ASYMMETRIC KEY PAIR, with Yubico's tags AA (PIN) and AB (touch) of one byte.
        let card = Between::new(YubiKeyCard::new(Arc::new(inside)), move |card, apdu| {
            let mut apdu = apdu.to_vec();
            if let [_, 0x47, ..] = apdu[..]
                && let Some(at) = apdu.windows(2).position(|two| two == [tag, 1])
                && let Some(other) = apdu.get_mut(at + 2)
            {
                *other = policy;
            }
            card.transmit(&apdu)
        });
        let slot = VpcdSocket::new(SECOND_YUBIKEY_READER, Box::new(card)).with_finger(finger);
        slot.plug()?;
        seen(machine, SECOND_YUBIKEY_READER.name, true)?;
        let number = Settings::default().serial.to_string();
        let mut screen = new_secrets(machine, &[ADD, &["--serial", &number]].concat(), PIN)?;
        machine.attend(&mut screen, PIN, &mut || false)?;
        let (status, shown) = screen.finish()?;
        slot.pull();
        seen(machine, SECOND_YUBIKEY_READER.name, false)?;
        ensure!(status.code() == Some(62), "{tag:02x} {policy}: {status} {shown}");
        ensure!(shown.contains("does not want PIN and touch for each use"), "{shown}");
        let listed = machine.json(&["signer", "list"])?;
        ensure!(listed["signers"].as_array().is_some_and(Vec::is_empty), "{listed}");
    }
    Ok(())
}

fn attested(machine: &Machine<'_>) -> Verdict {
    let second = root_of(&format!("{YUBIKEY}{SECOND}"))?;
    machine.restart(&trusting(&root_of(YUBIKEY)?))?;
    signer(machine)?;
    let said = |machine: &Machine<'_>| -> Result<Value, Box<dyn Error>> {
        Ok(machine.json(&["signer", "show", "prod/deployer"])?["signer"]["hardware"].clone())
    };
    let before = said(machine)?;
    ensure!(before["attested"] == true, "{before}");
    let shown = String::from_utf8(machine.home.run(["signer", "show", "prod/deployer"])?.stdout)?;
    ensure!(shown.contains("attested under a maker's root"), "{shown}");
    verified(machine, &printed(machine, TOKEN)?)?;
    // Another maker's root: no key is made, the one that there is signs on, and what was sealed of it stays.
    machine.restart(&trusting(&second))?;
    let (status, shown) = machine.person(ROTATE)?;
    ensure!(
        status.code() == Some(62) && shown.contains("leads to none of the roots"),
        "{status} {shown}"
    );
    ensure!(said(machine)? == before, "{}", said(machine)?);
    verified(machine, &printed(machine, TOKEN)?)?;
    // Without roots a key is made by the card's word, and that is said.
    machine.restart("")?;
    machine.done(ROTATE)?;
    let after = said(machine)?;
    ensure!(after["attested"] == false && after["slot"] != before["slot"], "{after}");
    Ok(())
}

fn lies(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    let roots = machine.home.path().join("roots.pem");
    for trusted in [false, true] {
        let finger = Arc::new(Finger::new(Mode::Grant));
        let inside = Arc::new(YubiKey::start(Settings::default(), finger.clone())?);
        fs::write(&roots, inside.root())?;
        machine.restart(&if trusted { trusting(&roots) } else { String::new() })?;
        let slot = VpcdSocket::new(SECOND_YUBIKEY_READER, Box::new(liar(YubiKeyCard::new(inside)))).with_finger(finger);
        slot.plug()?;
        seen(machine, SECOND_YUBIKEY_READER.name, true)?;
        let number = Settings::default().serial.to_string();
        let mut screen = new_secrets(machine, &[ADD, &["--serial", &number]].concat(), PIN)?;
        machine.attend(&mut screen, PIN, &mut || false)?;
        let (status, shown) = screen.finish()?;
        slot.pull();
        seen(machine, SECOND_YUBIKEY_READER.name, false)?;
        let (code, signers) = if trusted { (62, 0) } else { (0, 1) };
        ensure!(status.code() == Some(code), "roots: {trusted}: {status} {shown}");
        ensure!(
            !trusted || shown.contains("that it does not want PIN and touch for each use"),
            "{shown}"
        );
        let listed = machine.json(&["signer", "list"])?;
        ensure!(listed["signers"].as_array().is_some_and(|all| all.len() == signers), "{listed}");
        if !trusted {
            machine.done(&["signer", "remove", "prod/deployer"])?;
        }
    }
    Ok(())
}

fn replaced(machine: &Machine<'_>) -> Verdict {
    signer(machine)?;
    // Another vault, of which the daemon knows, and which does not know of the first, makes a signer's key in its slot.
    let first = machine.home.path().join("first");
    fs::rename(machine.home.places()?.vault, &first)?;
    machine.restart("")?;
    let (status, shown) = machine.person(&[
        "init",
        "--piv",
        "--key",
        "green",
        "--scope",
        "prod",
        "--open-slot",
        "91",
        "--sign-slot",
        "90",
    ])?;
    ensure!(status.success(), "{status} {shown}");
    machine.done(&[ADD, &["--slot", "93", "--danger-overwrite-slot"]].concat())?;
    verified(machine, &printed(machine, TOKEN)?)?;
    let first = first.display().to_string();
    let mut request = machine.request(&[&["--vault", &first][..], TOKEN].concat())?;
    // A wrong PIN, which the card would count.
    answer(&mut request.watch, "PIN of \"blue\" (3 tries left): ", "no-pin")?;
    ended(
        &request.finish()?,
        63,
        &["does not hold the signer's key any more", "signer rotate SECRET --piv"],
    )?;
    let left = super::rows(machine)?;
    ensure!(left["pin_tries"] == 3, "{left}");
    ensure!(!machine.keys[0].counts()?.waiting, "it waits for a touch");
    Ok(())
}

fn rotated(machine: &Machine<'_>) -> Verdict {
    signer(machine)?;
    let first = printed(machine, TOKEN)?;
    let shown = machine.done(ROTATE)?;
    ensure!(shown.contains("slot 92 of YubiKey"), "{shown}");
    let second = printed(machine, TOKEN)?;
    verified(machine, &first)?;
    verified(machine, &second)?;
    // In the same slot only by a dangerous name.
    let same = [ROTATE, &["--slot", "92"]].concat();
    let (status, shown) = machine.person(&same)?;
    ensure!(
        status.code() == Some(62) && shown.contains("slot 92 of the card holds a key"),
        "{status} {shown}"
    );
    machine.done(&[&same[..], &["--danger-overwrite-slot"]].concat())?;
    let third = printed(machine, TOKEN)?;
    ensure!(verified(machine, &first).is_err(), "a key that was rotated out twice is exported");
    verified(machine, &second)?;
    verified(machine, &third)?;
    machine.done(&[ROTATE, &["--compromised"]].concat())?;
    ensure!(verified(machine, &third).is_err(), "a key that nobody is to trust is exported");
    verified(machine, &printed(machine, TOKEN)?)?;
    // The rules alone, with the key as it is: another audience.
    let show = || machine.json(&["signer", "show", "prod/deployer"]);
    let before = show()?;
    machine.done(&["signer", "rotate", "prod/deployer", "--keep-keys", "--aud", "https://other.example"])?;
    let after = show()?;
    ensure!(before["signer"]["keys"] == after["signer"]["keys"], "{before} {after}");
    let token = printed(machine, &["token", "prod/deployer", "--aud", "https://other.example"])?;
    verified(machine, &token).map(drop)
}

fn removed(machine: &Machine<'_>) -> Verdict {
    signer(machine)?;
    let shown = machine.done(&["signer", "remove", "prod/deployer"])?;
    let stays = format!("its key stays in slot 93 of YubiKey {}", serial(YUBIKEY_READER.port));
    ensure!(shown.contains(&stays) && shown.contains("ykman piv keys delete 93"), "{shown}");
    let after = super::rows(machine)?;
    ensure!(after["slots in use"] == "93, 94, 95", "{after}");
    Ok(())
}

fn two_scopes(machine: &Machine<'_>) -> Verdict {
    let (status, shown) = enrol(machine, &["init", "--piv", "--key", "blue", "--scope", "prod", "--scope", "dev"])?;
    ensure!(status.success(), "{status} {shown}");
    machine.put("TOKEN", "correct-horse-battery")?;
    fs::write(machine.home.work().join("value"), "another-horse-battery")?;
    machine.done(&["put", "dev/OTHER", "--from-file", "value"])?;
    let task = "[task.deploy]\nabout = \"Deploy\"\n\
                [[task.deploy.grant]]\nsecret = \"prod/TOKEN\"\nvia = \"env\"\nenv = \"A\"\n\
                [[task.deploy.grant]]\nsecret = \"dev/OTHER\"\nvia = \"env\"\nenv = \"B\"\n";
    fs::write(machine.home.work().join("touchlease.toml"), task)?;
    let run = ["run", "--task", "deploy", "--", "sh", "-c", "echo done"];
    let mut request = machine.request(&run)?;
    let before = request.watch.expect_within("now: it blinks", LIMIT)?;
    ensure!(before.contains("\"blue\" is touched 2 times for this"), "{before}");
    let (touched, ()) = touches(machine, 0, || machine.approve(&mut request))?;
    ended(&request.finish()?, 0, &["done"])?;
    ensure!(touched == 2, "{touched} touches");
    Ok(())
}
