//! SSH signatures, for `ssh-keygen -Y sign` and git: keys that are listed without a touch, and a lease for what is signed.

use std::sync::{Arc, OnceLock};

use super::held::{Held, Signed};
use super::serve::Agent;
use super::slots::{Slot, Slots};
use crate::cli::ssh::signing_key;
use crate::deliver::ssh_agent::frame;
use crate::deliver::ssh_client::Frames;
use crate::encoding::SecretRef;
use crate::encoding::ssh_key::SshKey;
use crate::encoding::ssh_session::is_signed;
use crate::encoding::ssh_signed_data::SignedData;
use crate::wire::request::GrantAsk;
use crate::wire::signer::SignatureAsk;
use crate::wire::{Failure, Outcome};

/// A public key, in its wire form, and a namespace.
type Place = (Vec<u8>, String);

/// The leases of signers of signatures, by public key and namespace: a lease's key stays, whatever its signer's is by then.
pub(super) struct Signatures {
    signers: Vec<SecretRef>,
    leases: Slots<Place, Lease>,
}

struct Lease {
    held: Held,
    /// The key that it is for.
    key: SshKey,
    /// Whether that is what it signs with, which the first signature shows: it is one and the same key for as long as the lease lives.
    is_of_it: OnceLock<bool>,
}

impl Signatures {
    pub(super) fn new(signers: Vec<SecretRef>) -> Self {
        Self {
            signers,
            leases: Slots::default(),
        }
    }

    /// The lease that serves a connection which has this key sign in this namespace.
    pub(super) fn lender(&self, key: Vec<u8>, namespace: String) -> Option<Held> {
        let slot = self.leases.known(&(key, namespace))?;
        let lease = slot.try_lock().ok()?;
        lease.as_ref().map(|lease| lease.held.clone()).filter(Held::is_lent_to)
    }

    /// Public keys that sign now: nothing in them is secret, so nobody is asked.
    pub(super) fn list(&self, agent: &Agent) -> Result<Vec<u8>, Failure> {
        let keys = self.keys(agent)?;
        let keys: Vec<_> = keys
            .iter()
            .map(|(signer, key)| (key.to_blob(), format!("touchlease:{signer}")))
            .collect();
        let keys: Vec<(&[u8], &str)> = keys.iter().map(|(key, comment)| (&key[..], comment.as_str())).collect();
        Ok(frame::identities(&keys))
    }

    /// Signs with a live lease of this key in the namespace that has a use left, or with one that is asked for.
    pub(super) async fn sign(&self, agent: &Arc<Agent>, key: Vec<u8>, data: &SignedData, client: &Frames) -> Result<Vec<u8>, Failure> {
        let place = (key, data.namespace.clone());
        let slot = match self.leases.known(&place) {
            Some(slot) => slot,
            // Of a key that is none of these nothing is kept.
            None if signer(agent, &place.0).await?.is_none() => return Ok(frame::FAILURE.to_vec()),
            None => self.leases.place(place.clone()),
        };
        sign_in(&slot, agent, &place.0, data, client).await
    }

    fn keys(&self, agent: &Agent) -> Result<Vec<(SecretRef, SshKey)>, Failure> {
        if self.signers.is_empty() {
            return Ok(vec![]);
        }
        let caller = agent.caller(None);
        let key = |signer: &SecretRef| Ok((signer.clone(), signing_key(&caller, signer)?));
        self.signers.iter().map(key).collect()
    }
}

async fn sign_in(
    slot: &Slot<'_, Place, Lease>,
    agent: &Arc<Agent>,
    key: &[u8],
    data: &SignedData,
    client: &Frames,
) -> Result<Vec<u8>, Failure> {
    let blob = data.to_blob();
    loop {
        let Some(lease) = lease(slot, agent, key, data, client).await? else {
            return Ok(frame::FAILURE.to_vec());
        };
        let signed = lease.held.sign(None, &blob).await;
        // Rotated while somebody was asked: nobody would look for the key that signed.
        let is_of_it = |signature: &[u8]| *lease.is_of_it.get_or_init(|| is_signed(&lease.key, &blob, signature));
        let result = match signed {
            // Others had the last of its uses.
            Signed::Unsaid => None,
            Signed::Refused(refused) => Some(Err(refused)),
            Signed::Done(signature) if is_of_it(&signature) => Some(Ok(frame::signature(&signature))),
            Signed::Done(_) => {
                slot.forget(&lease).await;
                Some(Err(Failure::new(
                    Outcome::Refused,
                    "other_key",
                    "the signer's key was changed meanwhile",
                )
                .hint("sign again")))
            }
        };
        if !lease.held.is_live() {
            slot.forget(&lease).await;
        }
        if let Some(result) = result {
            return result;
        }
    }
}

/// The live lease there, or one that is asked for; nothing for a key that no signer has any more.
async fn lease(
    slot: &Slot<'_, Place, Lease>,
    agent: &Arc<Agent>,
    key: &[u8],
    data: &SignedData,
    client: &Frames,
) -> Result<Option<Arc<Lease>>, Failure> {
    let mut there = slot.lock().await;
    if let Some(lease) = there.as_ref().filter(|lease| lease.held.is_live()) {
        return Ok(Some(lease.clone()));
    }
    *there = None;
    // It may have been rotated since.
    let Some((signer, key)) = signer(agent, key).await? else {
        return Ok(None);
    };
    let (_, held) = agent.ask(grant(signer, data), client).await?;
    let is_of_it = OnceLock::new();
    Ok(Some(there.insert(Arc::new(Lease { held, key, is_of_it })).clone()))
}

/// The signer whose key this is, now.
async fn signer(agent: &Arc<Agent>, key: &[u8]) -> Result<Option<(SecretRef, SshKey)>, Failure> {
    let keys = agent.aside(|agent| agent.signatures.keys(agent)).await?;
    Ok(keys.into_iter().find(|(_, known)| known.to_blob() == key))
}

fn grant(signer: SecretRef, data: &SignedData) -> GrantAsk {
    GrantAsk {
        signature: Some(SignatureAsk {
            digest: data.hex(),
            hash: data.hash,
            namespace: data.namespace.clone(),
        }),
        ..GrantAsk::of_signer(&signer)
    }
}
