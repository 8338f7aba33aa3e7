//! Logins: a certificate and a lease for each server.

use std::sync::Arc;

use data_encoding::BASE64;

use super::Args;
use super::held::{Held, Signed};
use super::serve::Agent;
use super::slots::Slots;
use crate::cli::init::unexpected;
use crate::deliver::ssh_agent::{Session, frame};
use crate::deliver::ssh_client::Frames;
use crate::encoding::SecretRef;
use crate::encoding::ssh_key::SshKey;
use crate::lease::login::comment;
use crate::wire::Failure;
use crate::wire::request::GrantAsk;
use crate::wire::signer::{CertificateAsk, LoginAsk, SessionAsk};

/// The leases of a signer of certificates, by the host key that they are for: another connection to the same server gets the same.
pub(super) struct Logins {
    ca: SecretRef,
    leases: Slots<Vec<u8>, Login>,
}

/// A lease for one server.
struct Login {
    held: Held,
    /// The certificate, in its wire form.
    certificate: Vec<u8>,
    /// The lease's id.
    id: String,
}

impl Logins {
    pub(super) fn new(ca: SecretRef) -> Self {
        Self {
            ca,
            leases: Slots::default(),
        }
    }

    /// The lease that serves a connection whose session is said to be with this server: whether it is, the daemon looks.
    pub(super) fn lender(&self, host: &[u8]) -> Option<Held> {
        // A key is its own name; of a certificate it is the key that it is for.
        let known = self.leases.known(&host.to_vec());
        let slot = known.or_else(|| self.leases.known(&SshKey::from_certificate(host).ok()?.to_blob()))?;
        let login = slot.try_lock().ok()?;
        login.as_ref().map(|login| login.held.clone()).filter(Held::is_lent_to)
    }

    /// The certificate for this server: that of a live lease, or of one that is asked for.
    pub(super) async fn list(&self, agent: &Arc<Agent>, session: &Session, client: &Frames) -> Result<Vec<u8>, Failure> {
        let slot = self.leases.place(session.checked.host().to_blob());
        let mut login = slot.lock().await;
        if login.as_ref().is_some_and(|login| !login.held.is_live()) {
            *login = None;
        }
        let login = match &mut *login {
            Some(login) => login,
            empty => empty.insert(Arc::new(self.ask(agent, session, client).await?)),
        };
        Ok(frame::identities(&[(&login.certificate, &comment(&login.id))]))
    }

    pub(super) async fn sign(&self, session: &Session, key: &[u8], data: &[u8]) -> Result<Vec<u8>, Failure> {
        // Of a server that nobody has asked for yet nothing is kept.
        let Some(slot) = self.leases.known(&session.checked.host().to_blob()) else {
            return Ok(frame::FAILURE.to_vec());
        };
        let there = slot.lock().await.clone();
        let Some(login) = there.filter(|login| login.certificate == key) else {
            return Ok(frame::FAILURE.to_vec());
        };
        let signed = login.held.sign(Some(said(session)), data).await;
        if !login.held.is_live() {
            slot.forget(&login).await;
        }
        match signed {
            Signed::Done(signature) => Ok(frame::signature(&signature)),
            Signed::Refused(refused) => Err(refused),
            // With another lease it is another certificate, of which ssh does not know.
            Signed::Unsaid => Ok(frame::FAILURE.to_vec()),
        }
    }

    async fn ask(&self, agent: &Arc<Agent>, session: &Session, client: &Frames) -> Result<Login, Failure> {
        let (granted, held) = agent.ask(self.grant(&agent.args, session), client).await?;
        let line = granted.values.first().ok_or_else(unexpected)?.value.0.expose();
        let certificate = line.split(|byte| *byte == b' ').nth(1);
        let certificate = certificate.and_then(|base64| BASE64.decode(base64).ok());
        Ok(Login {
            held,
            certificate: certificate.ok_or_else(unexpected)?,
            id: granted.lease.id,
        })
    }

    fn grant(&self, args: &Args, session: &Session) -> GrantAsk {
        let certificate = CertificateAsk {
            force_command: args.force_command.clone(),
            key: String::new(),
            login: Some(LoginAsk {
                session: said(session),
                old_server: args.old_server,
                user: args.user.clone(),
            }),
            principal: args.principal.clone(),
            pty: args.pty,
            source_addresses: args.source_addresses.clone(),
        };
        GrantAsk {
            certificate: Some(certificate),
            ..GrantAsk::of_signer(&self.ca)
        }
    }
}

fn said(session: &Session) -> SessionAsk {
    SessionAsk {
        host_key: BASE64.encode(session.checked.blob()),
        id: BASE64.encode(session.checked.id()),
        signature: BASE64.encode(&session.signature),
    }
}
