//! The agent's side of SSH's agent protocol (RFC 9987): one connection, as far as it can be told without asking anybody.
//!
//! A connection says first with which server its session is (`session-bind@openssh.com`), then asks which keys there are, then for a
//! signature: so ssh does since OpenSSH 8.9. One that says nothing of its session, says it twice, or says that it was forwarded, has no key
//! and gets no login.
//!
//! Whoever says nothing of a session may have SSH signatures made (`ssh-keygen -Y sign`, git): the keys for these are listed to him alone, and sign
//! nothing but the signed data of such a signature, which is no request to be let in. No frame changes anything here: no key is added or removed, nothing is locked.

pub mod frame;

use self::frame::{FAILURE, Message};
use crate::encoding::ssh_session::SshSession;
use crate::encoding::ssh_signed_data::SignedData;

/// What is said of a login whose server nobody named.
const UNBOUND: &str = "a program asked for a signature and did not say for which server: OpenSSH 8.9 and newer says it";

/// What a connection has said of its session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Bound {
    /// Nothing yet.
    #[default]
    No,
    /// That it ends at this server, which is proven.
    To(Box<Session>),
    /// What makes it one that is refused for good.
    Refused,
}

/// A session and the proof of where it ends, to be shown to the daemon as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Checked.
    pub checked: SshSession,
    /// The host key's signature over the session's id.
    pub signature: Vec<u8>,
}

/// One connection.
#[derive(Debug, Default)]
pub struct Connection {
    bound: Bound,
}

/// What a frame comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It is proven now where the session ends: SSH_AGENT_SUCCESS.
    Bound,
    /// This is the answer.
    Answer(Vec<u8>),
    /// The same, and a person should know why.
    Refuse(&'static str),
    /// Which keys there are for this session.
    List(Box<Session>),
    /// Which keys there are for SSH signatures.
    ListKeys,
    /// An SSH signature.
    SignData {
        /// The key, in its wire form.
        key: Vec<u8>,
        /// What is to be signed.
        data: SignedData,
    },
    /// A signature for this session.
    Sign {
        /// The session.
        session: Box<Session>,
        /// The key, or its certificate, in its wire form.
        key: Vec<u8>,
        /// What is to be signed.
        data: Vec<u8>,
    },
}

impl Connection {
    /// Whether nothing was said of a session yet.
    #[must_use]
    pub fn is_unbound(&self) -> bool {
        self.bound == Bound::No
    }

    /// The session, where it is proven where it ends.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        match &self.bound {
            Bound::To(session) => Some(session),
            Bound::No | Bound::Refused => None,
        }
    }

    /// Takes the body of one frame.
    pub fn take(&mut self, body: &[u8]) -> Step {
        match (Message::read(body), &self.bound) {
            (Message::Bind(bind), Bound::No) => {
                if bind.is_forwarding {
                    self.bound = Bound::Refused;
                    return Step::Refuse("a connection was forwarded to another machine, and nothing is signed for it");
                }
                match SshSession::check(&bind.host_key, &bind.session, &bind.signature) {
                    Ok(checked) => {
                        let signature = bind.signature;
                        self.bound = Bound::To(Box::new(Session { checked, signature }));
                        Step::Bound
                    }
                    Err(_) => {
                        self.bound = Bound::Refused;
                        Step::Refuse("it is not proven with which server a connection's session is, and nothing is signed for it")
                    }
                }
            }
            // A second session on one connection is what a forwarded one looks like.
            (Message::Bind(_), _) => {
                self.bound = Bound::Refused;
                Step::Refuse("a connection spoke for two sessions, as a forwarded one does, and nothing is signed for it")
            }
            (Message::List, Bound::To(session)) => Step::List(session.clone()),
            (Message::List, Bound::No) => Step::ListKeys,
            (Message::List, Bound::Refused) => Step::Answer(frame::identities(&[])),
            // Flags choose a hash of RSA, and there is no such key.
            (Message::Sign { key, data, flags: 0 }, Bound::To(session)) => Step::Sign {
                session: session.clone(),
                key,
                data,
            },
            (Message::Sign { key, data, flags: 0 }, Bound::No) => match SignedData::read(&data) {
                Ok(data) => Step::SignData { key, data },
                Err(_) => Step::Refuse(UNBOUND),
            },
            (Message::Sign { .. }, Bound::No) => Step::Refuse(UNBOUND),
            _ => Step::Answer(FAILURE.to_vec()),
        }
    }
}
