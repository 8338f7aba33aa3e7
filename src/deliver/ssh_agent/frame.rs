//! Frames of the agent protocol (RFC 9987, section 4; for `session-bind@openssh.com` PROTOCOL.agent of OpenSSH, section 1).

use crate::encoding::sshsig::{put, take};

/// Longest frame that is read, in bytes: what OpenSSH's agent reads too.
pub const LONGEST: usize = 256 << 10;
/// SSH_AGENT_FAILURE.
pub const FAILURE: &[u8] = &[5];
/// SSH_AGENT_SUCCESS.
pub const SUCCESS: &[u8] = &[6];

/// SSH_AGENTC_REQUEST_IDENTITIES, and its answer.
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
/// SSH_AGENTC_SIGN_REQUEST, and its answer.
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// SSH_AGENTC_EXTENSION.
const EXTENSION: u8 = 27;
const SESSION_BIND: &[u8] = b"session-bind@openssh.com";

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// Which keys are there?
    List,
    /// Sign this.
    Sign {
        /// With this key, or its certificate, in its wire form.
        key: Vec<u8>,
        /// What.
        data: Vec<u8>,
        /// SSH_AGENT_RSA_SHA2_256 and such.
        flags: u32,
    },
    /// With which server this connection's session is.
    Bind(Bind),
    /// Anything else, and what has no form: nothing is done for it.
    Other,
}

/// See [`Message::Bind`].
#[derive(Debug, PartialEq, Eq)]
pub struct Bind {
    /// The server's host key, or its certificate, in its wire form.
    pub host_key: Vec<u8>,
    /// The session's id.
    pub session: Vec<u8>,
    /// The host key's signature over it.
    pub signature: Vec<u8>,
    /// The connection was passed on to that server, and whoever speaks next sits there.
    pub is_forwarding: bool,
}

impl Message {
    /// Reads the body of a frame.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        Self::parse(body).unwrap_or(Self::Other)
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let (kind, mut rest) = body.split_first()?;
        let read = match *kind {
            REQUEST_IDENTITIES => Self::List,
            SIGN_REQUEST => Self::Sign {
                key: take(&mut rest).ok()?,
                data: take(&mut rest).ok()?,
                flags: number(&mut rest)?,
            },
            EXTENSION if take(&mut rest).ok()? == SESSION_BIND => Self::Bind(Bind {
                host_key: take(&mut rest).ok()?,
                session: take(&mut rest).ok()?,
                signature: take(&mut rest).ok()?,
                is_forwarding: flag(&mut rest)?,
            }),
            _ => return None,
        };
        rest.is_empty().then_some(read)
    }
}

/// The answer to [`Message::List`]: keys, or their certificates, each with a comment.
#[must_use]
pub fn identities(keys: &[(&[u8], &str)]) -> Vec<u8> {
    let mut body = vec![IDENTITIES_ANSWER];
    body.extend(u32::try_from(keys.len()).unwrap_or(0).to_be_bytes());
    for (key, comment) in keys {
        put(&mut body, key);
        put(&mut body, comment.as_bytes());
    }
    body
}

/// The answer to [`Message::Sign`].
#[must_use]
pub fn signature(signature: &[u8]) -> Vec<u8> {
    let mut body = vec![SIGN_RESPONSE];
    put(&mut body, signature);
    body
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u32::from_be_bytes(*bytes))
}

/// RFC 4251, 5: whatever is not zero is true.
fn flag(rest: &mut &[u8]) -> Option<bool> {
    let (byte, behind) = rest.split_first()?;
    *rest = behind;
    Some(*byte != 0)
}
