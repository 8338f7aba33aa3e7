//! Logins by the agent with a CA in hardware: the certificate is the touch, and the key that it is for is the daemon's.

use std::{
    error::Error,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
};

use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};

use super::{ended, touches, vault};
use crate::conformance::{Case, Machine, Verdict, cases::ensure};

/// The word by which a case has `conformance` started, as what asks the agent.
pub const PROGRAM: &str = "ssh-login";
const SESSION: [u8; 32] = [7; 32];

pub(super) const CASES: &[Case] = &[Case {
    name: "T22 the agent lets in with a certificate of a signer in hardware: one touch, one login, and two are refused with a sentence",
    run: logins,
}];

fn logins(machine: &Machine<'_>) -> Verdict {
    vault(machine)?;
    machine.done(&["signer", "add", "prod/ca", "--principal", "deploy", "--piv"])?;
    // Not this program: it may be a test's. The one that knows the word lies beside the product.
    let program = machine.rig.program().with_file_name("conformance").display().to_string();
    let agent = |more: &[&str]| {
        let asks = ["--", &program, PROGRAM, "deploy"];
        machine.approved(&[&["ssh", "agent", "prod/ca"], more, &asks].concat())
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

/// Speaks to the agent as ssh does, for a session that a host key of this program's signed, and prints `signed` if it lets in as `user`.
///
/// # Errors
/// There is no agent, no certificate, or no signature.
pub fn ask(user: &str, socket: &str) -> Result<(), Box<dyn Error>> {
    let mut stream = UnixStream::connect(socket)?;
    let host = SigningKey::from_slice(&[1; 32])?;
    let point = host.verifying_key().to_sec1_point(false);
    let key = [&b"ecdsa-sha2-nistp256"[..], b"nistp256", point.as_bytes()].map(string).concat();
    let signature: Signature = host.sign(&SESSION);
    let numbers = signature.to_bytes();
    let numbers = [&numbers[..32], &numbers[32..]].map(number).concat();
    let signature = [string(b"ecdsa-sha2-nistp256"), string(&numbers)].concat();
    let bind = [&b"session-bind@openssh.com"[..], &key[..], &SESSION[..], &signature[..]]
        .map(string)
        .concat();
    exchange(&mut stream, 6, &[&[27][..], &bind, &[0]].concat())?;
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
    let sign = [&[13][..], &string(certificate), &string(&login.concat()), &[0; 4]].concat();
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
