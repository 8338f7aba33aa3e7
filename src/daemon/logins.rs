//! Logins with SSH: the key of a lease, which stays here, and what it signs.

use data_encoding::BASE64;

use super::house::{House, OpenVault};
use super::leases::gone;
use crate::encoding::ssh_session::SshSession;
use crate::lease::failure::locked_memory;
use crate::lease::ledger::Lease;
use crate::lease::login::Permitted;
use crate::lease::text::LeaseText;
use crate::lease::{certificate, login, token};
use crate::mint::LoginKey;
use crate::secret::Secret;
use crate::vault::Material;
use crate::wire::request::LeaseAsk;
use crate::wire::signer::SessionAsk;
use crate::wire::{Failure, Outcome};

/// The key of a lease, and the certificate for it: with the connection that holds the lease it is gone.
pub(super) struct Login {
    key: LoginKey,
    certificate: Vec<u8>,
}

/// Gives a request for logins a key that is made for it; nothing for one of another kind.
///
/// # Errors
/// It brings a key of its own; no locked memory.
pub(super) fn prepare(house: &House, ask: &LeaseAsk) -> Result<Option<(LeaseAsk, LoginKey)>, Failure> {
    let is_login = |asked: &LeaseAsk| {
        let mut certificates = asked.with.iter().filter_map(|grant| grant.certificate.as_ref());
        certificates.any(|certificate| certificate.login.is_some())
    };
    if !is_login(ask) {
        return Ok(None);
    }
    let mut ask = ask.clone();
    let key = LoginKey::generate(&mut |bytes| house.random.borrow_mut().fill_bytes(bytes)).map_err(locked_memory)?;
    let certificates = ask.with.iter_mut().filter_map(|grant| grant.certificate.as_mut());
    for certificate in certificates {
        if !certificate.key.is_empty() || certificate.login.is_none() {
            return Err(refuse("login_key", "the key of logins is made here, and no other is taken"));
        }
        certificate.key = key.public().to_line();
    }
    // The key is with this connection, and with no other.
    if !ask.deliver || ask.hold || ask.join_only || ask.with.len() != 1 || ask.task.is_some() {
        return Err(refuse(
            "login_alone",
            "logins take a lease of their own, held by the connection that asks",
        ));
    }
    Ok(Some((ask, key)))
}

/// The certificate of a lease that has begun, which is no use yet: a line, as `ssh-keygen` writes it.
///
/// # Errors
/// The clock contradicts the log; the lease is over.
pub(super) fn certify(house: &House, open: &OpenVault, lease: &Lease, key: LoginKey) -> Result<(Login, Secret), Failure> {
    open.log.check_clock()?;
    let at = token::At {
        now: house.clock.wall(),
        left: house.ledger.left(lease).map_err(|_| gone())?,
    };
    let mut nonce = [0; 32];
    house.random.borrow_mut().fill_bytes(&mut nonce);
    let minted = |text: &LeaseText, material: &Material| match text.certificate() {
        Some((grant, says)) if says.key == key.public().to_line() => certificate::mint(text, material, grant, &nonce, at),
        _ => Err(Failure::new(Outcome::Internal, "login", "the lease is not for the key that was made for it").ours()),
    };
    let line = house.ledger.with_material(lease, minted).map_err(|_| gone())??;
    let blob = line.expose().split(|byte| *byte == b' ').nth(1);
    let blob = blob.and_then(|base64| BASE64.decode(base64).ok());
    let certificate = blob.ok_or_else(|| Failure::new(Outcome::Internal, "login", "the certificate cannot be read").ours())?;
    Ok((Login { key, certificate }, line))
}

impl Login {
    /// The certificate, in its wire form.
    pub(super) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// What is asked for in base64, as something that may be signed.
    ///
    /// # Errors
    /// The host key did not sign the session; as [`Login::permit`].
    pub(super) fn read(&self, house: &House, lease: &Lease, session: &SessionAsk, data: &str) -> Result<Permitted, Failure> {
        let blob = BASE64
            .decode(data.as_bytes())
            .map_err(|_| refuse("no_login", "what is to be signed is not base64"))?;
        self.permit(house, lease, &login::session(session)?, &blob)
    }

    /// What is asked for, as something that may be signed.
    ///
    /// # Errors
    /// It is not what was touched for; the lease is over.
    pub(super) fn permit(&self, house: &House, lease: &Lease, session: &SshSession, blob: &[u8]) -> Result<Permitted, Failure> {
        let permit = |text: &LeaseText, _: &Material| login::permit(text, self.key.public(), &self.certificate, session, blob);
        house.ledger.with_material(lease, permit).map_err(|_| gone())?
    }

    /// Signs what stands in the log.
    ///
    /// # Errors
    /// The key is none, which nobody can make it.
    pub(super) fn sign(&self, permitted: &Permitted) -> Result<Vec<u8>, Failure> {
        permitted.sign(&self.key)
    }
}

fn refuse(reason: &str, message: &str) -> Failure {
    Failure::new(Outcome::Refused, reason, message).hint("touchlease ssh agent prod/ca")
}
