//! Logins by the agent with a CA in hardware: the certificate is the touch, and the key that it is for is the daemon's.

use std::{
    error::Error,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
};

use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};

use super::touches::pulled_and_back;
use super::{answer, ended, touches, vault};
use crate::conformance::{Case, Machine, Verdict, cases::ensure};

/// The word by which a case has `conformance` started, as what asks the agent.
pub const PROGRAM: &str = "ssh-login";
const SESSION: [u8; 32] = [7; 32];
/// In which other ways than ssh's it asks: says nothing of a session, one that was forwarded, one that another host key than the one that is
/// named has signed, or has other data signed.
const UNBOUND: &str = "unbound";
const FORWARDED: &str = "forwarded";
const OTHER_HOST: &str = "other-host";
const OTHER_DATA: &str = "other-data";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "T22 the agent lets in with a certificate of a signer in hardware: one touch, one login, and two are refused with a sentence",
        run: logins,
    },
    Case {
        name: "T22 without a session, over a forwarded one, with another host key or for other data the agent has no touch asked for, in hardware either",
        run: others,
    },
    Case {
        name: "T56 a card pulled out during the touch for a login is said, and lets in when it is back",
        run: pulled,
    },
    Case {
        name: "T57 a PIN that is blocked while ssh waits ends its login with the remedy, and no certificate is made",
        run: blocked,
    },
];

/// What asks the agent `prod/ca` in hardware for a login, as `how` says.
fn asks(machine: &Machine<'_>, more: &[&str], how: Option<&'static str>) -> Vec<String> {
    // Not this program: it may be a test's. The one that knows the word lies beside the product.
    let program = machine.rig.program().with_file_name("conformance").display().to_string();
    let asks = ["--", &program, PROGRAM, "deploy"];
    let words = [&["ssh", "agent", "prod/ca"], more, &asks].concat();
    words.into_iter().chain(how).map(str::to_owned).collect()
}

fn others(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    machine.done(&["signer", "add", "prod/ca", "--principal", "deploy", "--piv"])?;
    let before = machine.events("asked")?.len();
    for how in [UNBOUND, FORWARDED, OTHER_HOST] {
        let (touched, output) = touches(machine, 0, || Ok(machine.home.run(asks(machine, &[], Some(how)))?))?;
        ended(&output, 1, &[]).map_err(|error| format!("{how}: {error}"))?;
        ensure!(touched == 0 && output.stdout.is_empty(), "{how}: {touched} touches");
    }
    ensure!(machine.events("asked")?.len() == before, "somebody was asked");
    // With a certificate that was touched for, and for which nothing else is signed.
    let words = asks(machine, &[], Some(OTHER_DATA));
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let (touched, output) = touches(machine, 0, || machine.approved(&words))?;
    ended(&output, 1, &["and Some(5) came"])?;
    ensure!(touched == 1 && machine.events("used")?.is_empty(), "it was signed");
    Ok(())
}

fn pulled(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    machine.done(&["signer", "add", "prod/ca", "--principal", "deploy", "--piv"])?;
    let words = asks(machine, &[], None);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    ended(&pulled_and_back(machine, &words)?, 0, &["signed"])?;
    ensure!(machine.events("used")?.len() == 1, "it was not signed once");
    Ok(())
}

fn blocked(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    machine.done(&["signer", "add", "prod/ca", "--principal", "deploy", "--piv"])?;
    machine.json(&["lock"])?;
    let words = asks(machine, &[], None);
    let mut request = machine.request(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    for (asked, answered) in [
        ("(3 tries left): ", "no-pin"),
        ("(2 tries left): ", "no-pin"),
        ("ONE try left before \"blue\" blocks; type yes to use it: ", "yes"),
        ("(ONE try left before the key blocks): ", "no-pin"),
    ] {
        answer(&mut request.watch, asked, answered)?;
    }
    ended(
        &request.finish()?,
        1,
        &["the card's PIN is blocked", "ykman piv access unblock-pin"],
    )?;
    ensure!(
        machine.events("approved")?.is_empty() && machine.events("used")?.is_empty(),
        "a certificate was made"
    );
    ensure!(!machine.keys[0].counts()?.waiting, "it waits for a touch");
    Ok(())
}

fn logins(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    machine.done(&["signer", "add", "prod/ca", "--principal", "deploy", "--piv"])?;
    let agent = |more: &[&str]| {
        let words = asks(machine, more, None);
        machine.approved(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for times in 1..=2 {
        let (touched, output) = touches(machine, 0, || agent(&[]))?;
        ended(&output, 0, &["signed"])?;
        ensure!(touched == 1, "{touched} touches");
        ensure!(machine.events("used")?.len() == times, "not {times} logins in the log");
    }
    let (touched, output) = touches(machine, 0, || agent(&["--uses", "2"]))?;
    ended(&output, 1, &["one touch is not for 2"])?;
    ensure!(touched == 0, "{touched} touches for what is refused");
    let audit = machine.json(&["audit", "verify"])?;
    ensure!(audit["good"] == true && audit["in_hardware"] == 2, "{audit}");
    Ok(())
}

/// Speaks to the agent as ssh does, for a session that a host key of this program's signed, and prints `signed` if it lets in as `user`. With a
/// word for `how`, in another way.
///
/// # Errors
/// There is no agent, no certificate, or no signature.
pub fn ask(user: &str, how: &str, socket: &str) -> Result<(), Box<dyn Error>> {
    let mut stream = UnixStream::connect(socket)?;
    let host = SigningKey::from_slice(&[1; 32])?;
    let point = host.verifying_key().to_sec1_point(false);
    let key = [&b"ecdsa-sha2-nistp256"[..], b"nistp256", point.as_bytes()].map(string).concat();
    let signs = if how == OTHER_HOST {
        SigningKey::from_slice(&[2; 32])?
    } else {
        host
    };
    let signature: Signature = signs.sign(&SESSION);
    let numbers = signature.to_bytes();
    let numbers = [&numbers[..32], &numbers[32..]].map(number).concat();
    let signature = [string(b"ecdsa-sha2-nistp256"), string(&numbers)].concat();
    let bind = [&b"session-bind@openssh.com"[..], &key[..], &SESSION[..], &signature[..]]
        .map(string)
        .concat();
    if how != UNBOUND {
        let answer = exchange(&mut stream, 6, &[&[27][..], &bind, &[u8::from(how == FORWARDED)]].concat());
        // Who is refused goes on all the same.
        answer
            .map(drop)
            .or_else(|refused| if how.is_empty() { Err(refused) } else { Ok(()) })?;
    }
    let listed = exchange(&mut stream, 12, &[11])?;
    let certificate = listed.get(4..).and_then(field).ok_or("no certificate is listed")?;
    let login = [
        string(&SESSION),
        vec![50],
        [user.as_bytes(), b"ssh-connection", b"publickey-hostbound-v00@openssh.com"]
            .map(string)
            .concat(),
        vec![1],
        [&b"ssh-ed25519-cert-v01@openssh.com"[..], certificate, &key[..]]
            .map(string)
            .concat(),
    ];
    let login = if how == OTHER_DATA { b"anything".to_vec() } else { login.concat() };
    let sign = [&[13][..], &string(certificate), &string(&login), &[0; 4]].concat();
    exchange(&mut stream, 14, &sign)?;
    Ok(writeln!(io::stdout(), "signed")?)
}

/// Says a frame; what stands behind the number of the answer, which has to be `wanted`.
fn exchange(stream: &mut UnixStream, wanted: u8, body: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    stream.write_all(&string(body))?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length))?];
    stream.read_exact(&mut answer)?;
    match answer.split_first() {
        Some((number, rest)) if *number == wanted => Ok(rest.to_vec()),
        _ => Err(format!("{wanted} was wanted, and {:?} came", answer.first()).into()),
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

fn field(rest: &[u8]) -> Option<&[u8]> {
    let (length, rest) = rest.split_first_chunk()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// RFC 4251, 5.
fn number(half: &[u8]) -> Vec<u8> {
    let digits = &half[half.iter().take_while(|byte| **byte == 0).count()..];
    let sign = digits.first().is_some_and(|first| *first >= 0x80);
    string(&[if sign { &[0][..] } else { &[] }, digits].concat())
}
