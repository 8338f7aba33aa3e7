//! Logins: a certificate and a lease for each server.

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::BASE64;
use tokio::sync::Mutex;

use super::Args;
use super::frames::Frames;
use super::held::{Held, Signed};
use super::serve::{Agent, locked};
use crate::cli::init::unexpected;
use crate::deliver::ssh_agent::{Session, frame};
use crate::encoding::SecretRef;
use crate::wire::Failure;
use crate::wire::request::GrantAsk;
use crate::wire::signer::{CertificateAsk, LoginAsk, SessionAsk};

/// Whoever asks for a lease keeps it locked: another connection to the same server gets the same.
type Slot = Arc<Mutex<Option<Arc<Login>>>>;

/// The leases of a signer of certificates, by the host key that they are for.
pub(super) struct Logins {
    ca: SecretRef,
    leases: std::sync::Mutex<BTreeMap<Vec<u8>, Slot>>,
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
            leases: std::sync::Mutex::default(),
        }
    }

    /// The certificate for this server: that of a live lease, or of one that is asked for.
    pub(super) async fn list(&self, agent: &Arc<Agent>, session: &Session, client: &Frames) -> Result<Vec<u8>, Failure> {
        let slot = self.slot(session);
        let mut login = slot.lock().await;
        if login.as_ref().is_some_and(|login| !login.held.is_live()) {
            *login = None;
        }
        let login = match &mut *login {
            Some(login) => login,
            empty => empty.insert(Arc::new(self.ask(agent, session, client).await?)),
        };
        Ok(frame::identities(&[(&login.certificate, &format!("touchlease {}", login.id))]))
    }

    pub(super) async fn sign(&self, session: &Session, key: &[u8], data: &[u8]) -> Result<Vec<u8>, Failure> {
        // Of a server that nobody has asked for yet nothing is kept.
        let known = locked(&self.leases).get(&session.checked.host().to_blob()).cloned();
        let Some(slot) = known else { return Ok(frame::FAILURE.to_vec()) };
        let there = slot.lock().await.clone();
        let Some(login) = there.filter(|login| login.certificate == key) else {
            return Ok(frame::FAILURE.to_vec());
        };
        let signed = login.held.sign(Some(said(session)), data).await;
        if !login.held.is_live() {
            let mut there = slot.lock().await;
            if there.as_ref().is_some_and(|other| Arc::ptr_eq(other, &login)) {
                *there = None;
            }
        }
        match signed {
            Signed::Done(signature) => Ok(frame::signature(&signature)),
            Signed::Refused(refused) => Err(refused),
            // With another lease it is another certificate, of which ssh does not know.
            Signed::Unsaid => Ok(frame::FAILURE.to_vec()),
        }
    }

    fn slot(&self, session: &Session) -> Slot {
        let host = session.checked.host().to_blob();
        locked(&self.leases).entry(host).or_default().clone()
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
