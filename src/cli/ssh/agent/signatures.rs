//! SSH signatures, for `ssh-keygen -Y sign` and git: keys that are listed without a touch, and a lease for what is signed.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use super::held::Held;
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
type Slot = Arc<Mutex<Option<Lease>>>;

/// The leases of signers of signatures, by signer and namespace.
pub(super) struct Signatures {
    signers: Vec<SecretRef>,
    leases: Mutex<BTreeMap<(String, String), Slot>>,
}

struct Lease {
    held: Held,
    /// The key that signs, as it was when the lease was asked for.
    key: Vec<u8>,
}

impl Signatures {
    pub(super) fn new(signers: Vec<SecretRef>) -> Self {
        Self {
            signers,
            leases: Mutex::default(),
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

    /// Signs with a live lease of the namespace that has a use left, or with one that is asked for.
    pub(super) fn sign(&self, agent: &Agent, key: &[u8], data: &SignedData, stream: &UnixStream) -> Result<Vec<u8>, Failure> {
        let keys = self.keys(agent)?;
        let Some((signer, public)) = keys.into_iter().find(|(_, known)| known.to_blob() == key) else {
            return Ok(frame::FAILURE.to_vec());
        };
        let place = (signer.to_string(), data.namespace.clone());
        let slot = locked(&self.leases).entry(place).or_default().clone();
        let mut lease = locked(&slot);
        if lease.as_ref().is_some_and(|lease| !lease.held.is_live() || lease.key != key) {
            *lease = None;
        }
        let live = match &mut *lease {
            Some(lease) => lease,
            empty => {
                let (_, held) = agent.ask(grant(signer, data), stream)?;
                empty.insert(Lease { held, key: key.to_vec() })
            }
        };
        let blob = data.to_blob();
        let signed = live.held.sign(None, &blob);
        // Rotated while somebody was asked: nobody would look for the key that signed.
        let is_of_it = signed.as_ref().is_ok_and(|signature| is_signed(&public, &blob, signature));
        if !live.held.is_live() || signed.is_ok() && !is_of_it {
            *lease = None;
        }
        match signed? {
            signature if is_of_it => Ok(frame::signature(&signature)),
            _ => Err(Failure::new(Outcome::Refused, "other_key", "the signer's key was changed meanwhile").hint("sign again")),
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
