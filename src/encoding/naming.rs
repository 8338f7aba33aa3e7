//! What is signed in the place of a text, and names that text: a token, or a certificate, of a lease.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::Digest;

/// The claim of a token that names its lease (`docs/signers.md`).
pub const LEASE_CLAIM: &str = "lease_sha256";

/// Whether `message` names the text with this digest: the first two parts of a compact JWS (RFC 7515, 7.1) by the claim [`LEASE_CLAIM`], the body
/// of an SSH certificate (PROTOCOL.certkeys) by its nonce, of which a text with 128 random bits makes one that nobody else has chosen.
#[must_use]
pub fn names(message: &[u8], text: &Digest) -> bool {
    claim(message).or_else(|| nonce(message)).as_ref() == Some(text)
}

fn claim(message: &[u8]) -> Option<Digest> {
    let (_, payload) = str::from_utf8(message).ok()?.split_once('.')?;
    let claims: Value = serde_json::from_slice(&BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?).ok()?;
    Digest::from_hex(claims[LEASE_CLAIM].as_str()?)
}

fn nonce(message: &[u8]) -> Option<Digest> {
    let (_, rest) = string(message)?;
    let (nonce, _) = string(rest)?;
    Some(Digest(nonce.try_into().ok()?))
}

/// A string of SSH (RFC 4251, 5), and what is behind it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::sshsig::put;
    use super::*;

    fn token(claims: &str) -> Vec<u8> {
        format!("e30.{}", BASE64URL_NOPAD.encode(claims.as_bytes())).into_bytes()
    }

    #[test]
    fn t09_what_is_signed_names_one_text_and_no_other() {
        let (text, other) = (Digest([1; 32]), Digest([2; 32]));
        let good = token(&format!("{{\"lease_sha256\":\"{text}\"}}"));
        assert!(names(&good, &text) && !names(&good, &other));
        let mut body = Vec::new();
        put(&mut body, b"ssh-ed25519-cert-v01@openssh.com");
        put(&mut body, &text.0);
        put(&mut body, &other.0);
        assert!(names(&body, &text) && !names(&body, &other));
        for bad in [
            Vec::new(),
            text.0.to_vec(),
            text.to_string().into_bytes(),
            token("{}"),
            token(&format!("{{\"lease\":\"{text}\"}}")),
            token(&format!("{{\"lease_sha256\":[\"{text}\"]}}")),
            body[..40].to_vec(),
        ] {
            assert!(!names(&bad, &text), "{bad:?}");
        }
    }
}
