//! **The page.** From a request to a lease: one function, read from top to bottom, in which every step consumes what the step
//! before it made.
//!
//! ```text
//! wire::LeaseAsk + Requester      what is asked, and who asks by the kernel's account
//!  -> Request                     every name exists, every text can be shown        \\ `prepare`: so far nobody
//!  -> Terms | a refusal           policy: pure, and it cannot approve               / is asked anything
//!  -> Turn                        a screen that the requester does not own, and nobody else's prompt on it
//!  -> Standing, Touchable         the vault as it stands for these scopes, and the enrolled keys that open them, or the signer's in hardware
//!  -> AskedLine                   in the log, on the disk
//!     check_clock                 the clock is the one that the log vouches for
//!  -> Fixed                       the bytes: shown, signed and logged from here on
//!  -> Prompt                      on a screen that the requester does not own
//!  -> Proof                       a touch on an enrolled key over exactly these bytes, or a signer's signature over what names them
//!  -> Material                    unsealed by that touch, and what was judged, byte for byte; of a signer in hardware, what it signed
//!  -> Approved                    the receipt in the log, on the disk, before anything is handed out
//!     Material                    again, once the heads that a merge left in its scopes are joined on the disk
//!  -> Lease                       live until time, uses or somebody ends it
//! ```

use std::time::Duration;

use super::failure::IntoFailure;
use super::grant::{Target, Via};
use super::hardware::Touchable;
use super::ledger::{Grounds, Lease, Parties, Sameness};
use super::office::{Asker, Office};
use super::policy::{Judgement, Terms, judge};
use super::record::{self, Question};
use super::request::{Judged, Request};
use super::requester::Requester;
use super::text::{GrantText, Holder, LeaseKind, LeaseText, ProxyText, TaskText, Text, VERSION};
use super::touch::touch_or_sign;
use super::{certificate, signature, token};
use crate::encoding::Digest;
use crate::vault::{Standing, Wanted};
use crate::wire::Failure;
use crate::wire::request::LeaseAsk;

/// A request that a person may be asked about.
pub struct Prepared {
    terms: Terms,
    /// What another request has to share with this one to be the same.
    pub(super) sameness: Sameness,
    /// Whose lease it would be.
    pub(super) parties: Parties,
}

/// Parses and judges. Nobody is asked yet.
///
/// # Errors
/// What cannot be read, does not exist, or is refused by policy; a refusal stands in the log.
pub fn prepare(office: &Office<'_>, ask: &LeaseAsk, asker: &Asker) -> Result<Prepared, Failure> {
    let request = Request::parse(ask, &asker.requester, &office.vault.borrow())?;
    match judge(request, &office.lobby.limits) {
        Judgement::Ask(terms) => Ok(Prepared {
            sameness: terms.sameness(office),
            parties: parties(&asker.requester, &terms),
            terms,
        }),
        Judgement::Refuse(refusal) => {
            office.refused(&refusal);
            Err(refusal)
        }
    }
}

/// Issues the lease, or says why not.
///
/// # Errors
/// Every way in which a request can end without one.
pub async fn issue(office: &Office<'_>, prepared: Prepared, asker: &Asker) -> Result<Lease, Failure> {
    let Prepared { terms, sameness, parties } = prepared;
    let turn = office.lobby.turn(asker).await.inspect_err(|refusal| office.refused(refusal))?;
    let standing = office.standing_named(&terms.request.scopes())?;
    let touchable = Touchable::of(office, &terms, &standing, asker)?;
    let asked = record::asked(office.log, &terms.question(&asker.requester))?;
    let path = async {
        office.log.check_clock()?;
        let fixed = terms
            .text(office, &asker.requester, &standing, asked.hash())?
            .fix()
            .map_err(IntoFailure::failure)?;
        let (candidates, signs) = touchable.for_text(&fixed)?;
        let prompt = office.show(turn, &fixed, &candidates, asker).await?;
        asked.shown()?;
        let proof = touch_or_sign(&office.lobby, &prompt, &fixed, candidates, signs).await?;
        let sweeps = office.ledger.sweeps();
        let material = office.unseal(&proof, &fixed, &standing, &terms.wanted())?;
        let approved = asked.approved(&proof, &fixed)?;
        terms.keep_task_file(office, &asker.requester);
        let material = office.join(material, &standing, &asked, &prompt).await?;
        let lease = office.ledger.begin(
            approved,
            material,
            Grounds {
                fixed,
                sameness,
                parties,
                sweeps,
            },
        )?;
        prompt.approved();
        Ok(lease)
    };
    path.await.inspect_err(|failure| asked.failed(failure))
}

/// Whose lease it is: `Process` names the parent of the client, which the kernel knows.
fn parties(requester: &Requester, terms: &Terms) -> Parties {
    let holder = match &terms.request.holder {
        Holder::Connection => requester.process,
        Holder::Process { .. } => requester.parent.as_ref().map_or(requester.process, |parent| parent.process),
    };
    Parties {
        asker: requester.process,
        holder,
    }
}

impl Terms {
    fn question<'a>(&'a self, requester: &'a Requester) -> Question<'a> {
        Question {
            requester,
            secrets: self.request.grants.iter().map(|judged| judged.grant.secret.to_string()).collect(),
            task: self.request.task.as_ref().map(|task| task.name.as_str()),
            reason: self.request.reason.as_deref(),
            ttl: self.ttl.as_secs(),
            uses: self.uses,
        }
    }

    /// What another request has to share with this one to be the same.
    fn sameness(&self, office: &Office<'_>) -> Sameness {
        Sameness {
            vault: office.vault.borrow().id(),
            task: self.request.task.as_ref().map(|task| (task.name.clone(), task.digest)),
            grants: self
                .request
                .grants
                .iter()
                .map(|judged| (judged.grant.clone(), judged.digest()))
                .collect(),
        }
    }

    /// The task, and what has changed of it since somebody approved it here.
    fn task(&self, office: &Office<'_>, requester: &Requester) -> Option<TaskText> {
        let task = self.request.task.clone()?;
        let file = self.request.task_file.as_deref().unwrap_or_default();
        Some(TaskText {
            changed: office.task_files.change(&requester.claimed.folder, &task.name, file).map(Box::new),
            ..task
        })
    }

    /// The file is what the next one is compared with. Where it cannot be kept, the next prompt shows no less for it.
    fn keep_task_file(&self, office: &Office<'_>, requester: &Requester) {
        if let (Some(task), Some(file)) = (&self.request.task, &self.request.task_file)
            && let Err(error) = office.task_files.keep(&requester.claimed.folder, &task.name, file)
        {
            tracing::warn!(%error, "an approved task file is not kept");
        }
    }

    fn wanted(&self) -> Vec<Wanted> {
        let wanted = |judged: &Judged| {
            let secret = &judged.grant.secret;
            Wanted {
                scope: secret.scope.clone(),
                name: secret.name.clone(),
                judged: judged.clear.clone(),
            }
        };
        self.request.grants.iter().map(wanted).collect()
    }

    fn text(&self, office: &Office<'_>, requester: &Requester, standing: &Standing, asked: Digest) -> Result<LeaseText, Failure> {
        let request = &self.request;
        let now = office.lobby.clock.wall();
        Ok(LeaseText {
            v: VERSION,
            kind: LeaseKind::Lease,
            id: office.lobby.random_id(),
            asked,
            origin: office.origin(requester, standing),
            task: self.task(office, requester),
            reason: request.reason.clone(),
            command: request.command.clone(),
            grants: request.grants.iter().map(grant_text).collect(),
            at_end: request.at_end,
            holder: request.holder.clone(),
            not_before: now.seconds(),
            // The prompt may stand open for a while before the lease begins; the deadline that counts runs from the touch.
            not_after: (now + office.lobby.limits.prompt + self.ttl + Duration::from_secs(1)).seconds(),
            ttl: self.ttl.as_secs(),
            uses: self.uses,
            policy: office.lobby.limits.digest().map_err(IntoFailure::failure)?,
        })
    }
}

fn grant_text(judged: &Judged) -> GrantText {
    GrantText {
        secret: judged.grant.secret.clone(),
        version: judged.version,
        via: judged.grant.via,
        env: judged.grant.env.clone(),
        token: token::text(judged),
        certificate: certificate::text(judged),
        signature: signature::text(judged),
        judged: judged.digest(),
        proxy: (judged.grant.via == Via::Proxy).then(|| proxy_text(judged)),
    }
}

fn proxy_text(judged: &Judged) -> ProxyText {
    let Target { hosts, methods, paths } = judged.grant.target.clone();
    ProxyText {
        form: judged.rules.form().to_string(),
        hosts,
        methods,
        paths,
    }
}
