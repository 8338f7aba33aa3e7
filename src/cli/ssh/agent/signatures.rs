//! SSH signatures, for `ssh-keygen -Y sign` and git: keys that are listed without a touch, and a lease for what is signed.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use tokio::sync::Mutex;

use super::frames::Frames;
use super::held::{Held, Signed};
use super::serve::{Agent, locked};
use crate::cli::ssh::signing_key;
use crate::deliver::ssh_agent::frame;
use crate::encoding::SecretRef;
use crate::encoding::ssh_key::SshKey;
use crate::encoding::ssh_session::is_signed;
use crate::encoding::ssh_signed_data::SignedData;
use crate::wire::request::GrantAsk;
use crate::wire::signer::SignatureAsk;
use crate::wire::{Failure, Outcome};

/// Whoever asks for a lease keeps it locked: what is to be signed meanwhile waits for it.
type Slot = Arc<Mutex<Option<Arc<Lease>>>>;

/// The leases of signers of signatures, by public key, in its wire form, and namespace: a lease's key stays, whatever its signer's is by then.
pub(super) struct Signatures {
    signers: Vec<SecretRef>,
    leases: std::sync::Mutex<BTreeMap<(Vec<u8>, String), Slot>>,
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
            leases: std::sync::Mutex::default(),
        }
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
        let known = locked(&self.leases).get(&place).cloned();
        let slot = match known {
            Some(slot) => slot,
            // Of a key that is none of these nothing is kept.
            None if signer(agent, &place.0).await?.is_none() => return Ok(frame::FAILURE.to_vec()),
            None => locked(&self.leases).entry(place.clone()).or_default().clone(),
        };
        let signed = sign_in(&slot, agent, &place.0, data, client).await;
        self.tidy(&place, &slot);
        signed
    }

    /// Keeps no place in which there is no lease, as of a namespace that is refused.
    fn tidy(&self, place: &(Vec<u8>, String), slot: &Slot) {
        let mut leases = locked(&self.leases);
        // Nobody else waits for it: there are the one in the list and this one.
        if Arc::strong_count(slot) == 2 && slot.try_lock().is_ok_and(|there| there.is_none()) {
            leases.remove(place);
        }
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

async fn sign_in(slot: &Slot, agent: &Arc<Agent>, key: &[u8], data: &SignedData, client: &Frames) -> Result<Vec<u8>, Failure> {
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
                forget(slot, &lease).await;
                Some(Err(Failure::new(
                    Outcome::Refused,
                    "other_key",
                    "the signer's key was changed meanwhile",
                )
                .hint("sign again")))
            }
        };
        if !lease.held.is_live() {
            forget(slot, &lease).await;
        }
        if let Some(result) = result {
            return result;
        }
    }
}

/// The live lease there, or one that is asked for; nothing for a key that no signer has any more.
async fn lease(slot: &Slot, agent: &Arc<Agent>, key: &[u8], data: &SignedData, client: &Frames) -> Result<Option<Arc<Lease>>, Failure> {
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

/// Takes a lease that is over out of its place, where there may be another by now; its connection ends with the last who uses it.
async fn forget(slot: &Slot, lease: &Arc<Lease>) {
    let mut there = slot.lock().await;
    if there.as_ref().is_some_and(|other| Arc::ptr_eq(other, lease)) {
        *there = None;
    }
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
