//! What a connection has signed with the key of its lease, which stays here: logins by SSH, or SSH signatures.

use std::cell::Cell;
use std::rc::Rc;

use data_encoding::BASE64;

use super::house::{House, OpenVault};
use super::leases::gone;
use super::logins::Login;
use super::signatures;
use crate::encoding::jwk::PublicKey;
use crate::encoding::ssh_key::SshKey;
use crate::encoding::ssh_session::SshSession;
use crate::encoding::ssh_signed_data::SignedData;
use crate::lease::ledger::Lease;
use crate::lease::text::LeaseText;
use crate::lease::{login, record, signature};
use crate::vault::Material;
use crate::wire::signer::SessionAsk;
use crate::wire::{Failure, Outcome};

/// What is asked to be signed, in base64: a login in its session, or what an SSH signature is over. What cannot be read has no less of an answer.
pub(super) type SignAsk = Result<(Option<SessionAsk>, String), Failure>;

/// What is signed, and with which key.
pub(super) enum Signs {
    /// Logins, with the key of the lease.
    Logins(Box<Login>),
    /// SSH signatures, with the signer's key.
    Signatures,
}

/// Something that may be signed, and is not in the log yet.
enum Ready {
    Login(login::Permitted),
    Signature(signature::Permitted),
}

impl Ready {
    /// What it is, in the log.
    fn what(&self) -> &str {
        match self {
            Self::Login(permitted) => permitted.what(),
            Self::Signature(permitted) => permitted.what(),
        }
    }
}

/// The key of a lease at work. Each signature is permitted by the lease's text, counted, and in the log before it goes out.
pub(super) struct Signing {
    house: Rc<House>,
    lease: Rc<Lease>,
    signs: Signs,
    /// The vault whose log has it.
    open: Rc<OpenVault>,
    /// Whether the last use has been for one of these.
    used_up: Cell<bool>,
    /// Of SSH signatures: the key that they are asked for by, in its wire form.
    key: Vec<u8>,
    /// Whether time alone ends the lease: then its clients are served here.
    is_endless: bool,
}

impl Signing {
    /// # Errors
    /// The lease is over; its key has no form in SSH.
    pub(super) fn new(house: &Rc<House>, lease: &Rc<Lease>, signs: Signs, open: &Rc<OpenVault>) -> Result<Self, Failure> {
        let look = |text: &LeaseText, _: &Material| {
            let key = text.signature().map(|(_, says)| (says.alg, says.key.clone()));
            (key, text.uses.is_none())
        };
        let (key, is_endless) = house.ledger.with_material(lease, look).map_err(|_| gone())?;
        let key = key.map(|(algorithm, key)| SshKey::of(&PublicKey::from_text(algorithm, &key).ok()?).ok());
        let key = key.map(|key| key.map(|key| key.to_blob()).ok_or_else(signs_nothing)).transpose()?;
        Ok(Self {
            house: house.clone(),
            lease: lease.clone(),
            signs,
            open: open.clone(),
            used_up: Cell::new(false),
            key: key.unwrap_or_default(),
            is_endless,
        })
    }

    /// Whether the lease has no uses left.
    pub(super) fn is_used_up(&self) -> bool {
        self.used_up.get()
    }

    /// Whether time alone ends the lease.
    pub(super) fn is_endless(&self) -> bool {
        self.is_endless
    }

    /// The uid whose clients are served.
    pub(super) fn uid(&self) -> u32 {
        self.house.uid
    }

    /// Signs logins in their sessions, or what SSH signatures are over, in base64. What may not be signed costs no use, and what may is in the log
    /// before any signature goes out, with a limit of uses on the disk, all of it by one wait for that. With the lease's last use it ends: what comes behind that has no answer.
    pub(super) fn sign(&self, asked: Vec<SignAsk>) -> Vec<Result<String, Failure>> {
        let mut permitted = Vec::with_capacity(asked.len());
        for ask in asked {
            permitted.push(
                ask.and_then(|(session, data)| self.read(session.as_ref(), &data))
                    .and_then(|ready| self.count(ready)),
            );
            if self.used_up.get() {
                break;
            }
        }
        let recorded = self.record(permitted.iter().flatten());
        let signed = |(ready, _): (Ready, _)| recorded.clone().and_then(|()| Ok(BASE64.encode(&self.sign_one(&ready)?)));
        permitted.into_iter().map(|one| one.and_then(signed)).collect()
    }

    /// Whether the lease is for logins in this session.
    pub(super) fn is_for(&self, session: &SshSession) -> bool {
        let look = |text: &LeaseText, _: &Material| login::is_for(text, session);
        matches!(self.signs, Signs::Logins(_)) && self.house.ledger.with_material(&self.lease, look) == Ok(true)
    }

    /// The certificate for logins in this session, in its wire form, with its comment; nothing for another session than [`Signing::is_for`].
    pub(super) fn certificate(&self, session: &SshSession) -> Option<(&[u8], String)> {
        match &self.signs {
            Signs::Logins(login) if self.is_for(session) => Some((login.certificate(), login::comment(self.lease.id()))),
            _ => None,
        }
    }

    /// A login in a session, by this certificate. Nothing where it is not the lease's, may not be, or cannot be recorded: why, [`Signing::sign`] says.
    pub(super) fn sign_login(&self, session: &SshSession, certificate: &[u8], blob: &[u8]) -> Option<Vec<u8>> {
        match &self.signs {
            Signs::Logins(login) if login.certificate() == certificate => {
                let permitted = login.permit(&self.house, &self.lease, session, blob).ok()?;
                self.sign_recorded(Ready::Login(permitted))
            }
            _ => None,
        }
    }

    /// An SSH signature by this key. Nothing, as [`Signing::sign_login`].
    pub(super) fn sign_data(&self, key: &[u8], data: SignedData) -> Option<Vec<u8>> {
        if !matches!(self.signs, Signs::Signatures) || key != self.key {
            return None;
        }
        let permitted = signatures::permit(&self.house, &self.lease, data).ok()?;
        self.sign_recorded(Ready::Signature(permitted))
    }

    fn sign_recorded(&self, ready: Ready) -> Option<Vec<u8>> {
        let counted = self.count(ready).ok()?;
        self.record(std::iter::once(&counted)).ok()?;
        self.sign_one(&counted.0).ok()
    }

    /// What is asked for, as something that may be signed.
    fn read(&self, session: Option<&SessionAsk>, data: &str) -> Result<Ready, Failure> {
        match (&self.signs, session) {
            (Signs::Logins(login), Some(session)) => login.read(&self.house, &self.lease, session, data).map(Ready::Login),
            (Signs::Signatures, None) => signatures::read(&self.house, &self.lease, data).map(Ready::Signature),
            _ => Err(signs_nothing()),
        }
    }

    /// Takes a use, and says how many are left.
    fn count(&self, ready: Ready) -> Result<(Ready, Option<u32>), Failure> {
        let left = self.house.ledger.take_use(&self.lease).map_err(|_| gone())?;
        self.used_up.set(left == Some(0));
        Ok((ready, left))
    }

    fn record<'a>(&self, counted: impl Iterator<Item = &'a (Ready, Option<u32>)>) -> Result<(), Failure> {
        let uses = counted.map(|(ready, left)| (ready.what(), *left));
        record::used_together(&self.open.log, self.lease.id(), "signer", uses)
    }

    fn sign_one(&self, ready: &Ready) -> Result<Vec<u8>, Failure> {
        match (ready, &self.signs) {
            (Ready::Login(permitted), Signs::Logins(login)) => {
                // The disk may have taken longer than the lease had left (P4); its material, by which the others sign, says so by itself.
                self.house.ledger.left(&self.lease).map_err(|_| gone())?;
                login.sign(permitted)
            }
            (Ready::Signature(permitted), Signs::Signatures) => signatures::sign(&self.house, &self.lease, permitted),
            _ => Err(signs_nothing()),
        }
    }
}

/// What a lease of another kind says to whoever wants something signed by it.
pub(super) fn signs_nothing() -> Failure {
    Failure::new(
        Outcome::Refused,
        "no_login",
        "the lease of this connection is for no such signature",
    )
    .hint("touchlease ssh agent prod/ca")
}
