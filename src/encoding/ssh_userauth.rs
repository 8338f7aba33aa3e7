//! What an agent is asked to sign: a request to be let in at a server (RFC 4252, section 7), with the host key in it where the server knows
//! `publickey-hostbound-v00@openssh.com` (PROTOCOL of OpenSSH, section 3).
//!
//! Nothing else is read: what is signed is exactly what can be shown.

use thiserror::Error;

use super::sshsig::{put, take};

/// SSH_MSG_USERAUTH_REQUEST (RFC 4250, 4.1.2).
const USERAUTH_REQUEST: u8 = 50;
const SERVICE: &[u8] = b"ssh-connection";
const PLAIN: &[u8] = b"publickey";
const HOST_BOUND: &[u8] = b"publickey-hostbound-v00@openssh.com";

/// It is not a request to be let in, or has more or less in it than one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("it is not a request of SSH to be let in with a key, and nothing else is signed")]
pub struct NotUserAuth;

/// A request to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAuth {
    /// The session in which it is sent.
    pub session: Vec<u8>,
    /// The user as whom.
    pub user: String,
    /// The algorithm of the key, or of its certificate.
    pub algorithm: String,
    /// The key, or its certificate, in its wire form.
    pub key: Vec<u8>,
    /// The server's host key, where the server wants it in the request.
    pub host: Option<Vec<u8>>,
}

impl UserAuth {
    /// Reads the bytes that are to be signed.
    ///
    /// # Errors
    /// See [`NotUserAuth`].
    pub fn read(blob: &[u8]) -> Result<Self, NotUserAuth> {
        let mut rest = blob;
        let session = field(&mut rest)?;
        byte(&mut rest, USERAUTH_REQUEST)?;
        let user = text(&mut rest)?;
        let service = field(&mut rest)?;
        let method = field(&mut rest)?;
        let is_bound = method == HOST_BOUND;
        if service != SERVICE || !is_bound && method != PLAIN {
            return Err(NotUserAuth);
        }
        // That a signature follows.
        byte(&mut rest, 1)?;
        let (algorithm, key) = (text(&mut rest)?, field(&mut rest)?);
        let host = if is_bound { Some(field(&mut rest)?) } else { None };
        let read = Self {
            session,
            user,
            algorithm,
            key,
            host,
        };
        // One request has one form: what is signed is what was read, byte for byte.
        (rest.is_empty() && read.to_blob() == blob).then_some(read).ok_or(NotUserAuth)
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn to_blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        put(&mut blob, &self.session);
        blob.push(USERAUTH_REQUEST);
        put(&mut blob, self.user.as_bytes());
        put(&mut blob, SERVICE);
        put(&mut blob, if self.host.is_some() { HOST_BOUND } else { PLAIN });
        blob.push(1);
        put(&mut blob, self.algorithm.as_bytes());
        put(&mut blob, &self.key);
        if let Some(host) = &self.host {
            put(&mut blob, host);
        }
        blob
    }
}

fn field(rest: &mut &[u8]) -> Result<Vec<u8>, NotUserAuth> {
    take(rest).map_err(|_| NotUserAuth)
}

fn text(rest: &mut &[u8]) -> Result<String, NotUserAuth> {
    String::from_utf8(field(rest)?).map_err(|_| NotUserAuth)
}

fn byte(rest: &mut &[u8], wanted: u8) -> Result<(), NotUserAuth> {
    let (first, behind) = rest.split_first().ok_or(NotUserAuth)?;
    *rest = behind;
    (*first == wanted).then_some(()).ok_or(NotUserAuth)
}
