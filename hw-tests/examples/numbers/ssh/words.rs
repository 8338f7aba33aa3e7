//! What an agent is told: frames of its protocol (RFC 9987), and what is signed in them.

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};

use super::super::table::Failure;

/// Of the SSH signatures that are made.
pub const NAMESPACE: &str = "file";

/// SSH_AGENTC_REQUEST_IDENTITIES.
pub const LIST: &[u8] = &[11];
/// SSH_AGENT_FAILURE, SSH_AGENT_SUCCESS, SSH_AGENT_IDENTITIES_ANSWER, SSH_AGENT_SIGN_RESPONSE.
pub const FAILURE: u8 = 5;
pub const SUCCESS: u8 = 6;
pub const IDENTITIES: u8 = 12;
pub const SIGNED: u8 = 14;

pub fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or_default();
    [&length.to_be_bytes()[..], bytes].concat()
}

/// An extension that no agent knows.
pub fn unknown() -> Vec<u8> {
    [&[27][..], &string(b"nothing@touchlease")].concat()
}

/// The body of SSH_AGENTC_SIGN_REQUEST.
pub fn sign(key: &[u8], data: &[u8]) -> Vec<u8> {
    [&[13][..], &string(key), &string(data), &[0; 4]].concat()
}

/// What `ssh-keygen -Y sign` has signed (PROTOCOL.sshsig), over something with this digest.
pub fn signed_data(digest: &[u8; 64]) -> Vec<u8> {
    let fields = [NAMESPACE.as_bytes(), b"", b"sha512", digest].map(string).concat();
    [b"SSHSIG", &fields[..]].concat()
}

/// A server's host key, and a session that it signed.
pub struct Host {
    key: Vec<u8>,
    signature: Vec<u8>,
}

const SESSION: [u8; 32] = [7; 32];

impl Host {
    pub fn new() -> Result<Self, Failure> {
        let pair = SigningKey::from_slice(&[1; 32])?;
        let point = pair.verifying_key().to_sec1_point(false);
        let key = [&b"ecdsa-sha2-nistp256"[..], b"nistp256", point.as_bytes()].map(string).concat();
        let signature: Signature = pair.sign(&SESSION);
        let bytes = signature.to_bytes();
        let numbers = [number(&bytes[..32]), number(&bytes[32..])].concat();
        let signature = [string(b"ecdsa-sha2-nistp256"), string(&numbers)].concat();
        Ok(Self { key, signature })
    }

    /// `session-bind@openssh.com` (PROTOCOL.agent), of a session that nobody forwarded.
    pub fn bind(&self) -> Vec<u8> {
        let fields = [&b"session-bind@openssh.com"[..], &self.key, &SESSION, &self.signature];
        [&[27][..], &fields.map(string).concat(), &[0]].concat()
    }

    /// A request to be let in with `key`, a key or a certificate in its wire form.
    pub fn login(&self, user: &str, key: &[u8]) -> Vec<u8> {
        let name = key.get(4..).and_then(|rest| rest.get(..usize::from(key[3]))).unwrap_or_default();
        let head = [string(&SESSION), vec![50]].concat();
        let method = b"publickey-hostbound-v00@openssh.com";
        let fields = [user.as_bytes(), b"ssh-connection", method].map(string).concat();
        [head, fields, vec![1], string(name), string(key), string(&self.key)].concat()
    }
}

/// A positive number (mpint of RFC 4251, 5).
fn number(half: &[u8]) -> Vec<u8> {
    let digits = &half[half.iter().take_while(|byte| **byte == 0).count()..];
    let sign = if digits.first().is_some_and(|byte| byte & 0x80 != 0) {
        &[0][..]
    } else {
        &[]
    };
    string(&[sign, digits].concat())
}
