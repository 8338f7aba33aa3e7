//! Requests of one holder for the same task and secrets are one lease, whatever time, uses or reason they name: a retry must not be a
//! second prompt. Whoever asks is told that he joined, and what is left.

use std::rc::Rc;

use tokio::sync::watch;

use super::issue::{Prepared, issue, prepare};
use super::ledger::{Lease, Parties, Sameness};
use super::office::{Asker, Office};
use crate::wire::request::LeaseAsk;
use crate::wire::{Failure, Outcome};

/// A question that stands before a person.
pub(super) struct UnderWay {
    sameness: Sameness,
    parties: Parties,
    ended: watch::Receiver<Option<Result<(), Failure>>>,
}

/// The questions under way.
#[derive(Default)]
pub struct Questions {
    under_way: std::cell::RefCell<Vec<Rc<UnderWay>>>,
}

/// A live lease that fits, without a touch; the outcome of the same question that already stands; or a new lease. Says whether
/// it was joined.
///
/// # Errors
/// As [`issue`].
pub async fn request(office: &Office<'_>, ask: &LeaseAsk, asker: &Asker) -> Result<(Lease, bool), Failure> {
    let prepared = prepare(office, ask, asker)?;
    let join = |prepared: &Prepared| office.ledger.join(&prepared.sameness, &asker.requester);
    if let Some(lease) = join(&prepared) {
        return Ok((lease, true));
    }
    if ask.join_only {
        return Err(
            Failure::new(Outcome::Refused, "no_live_lease", "no live lease fits, and none may be asked for")
                .hint("touchlease lease request"),
        );
    }
    if let Some(same) = office.questions.find(&prepared) {
        let mut ended = same.ended.clone();
        // The other one's connection may go away without an outcome; then this one asks.
        if let Ok(outcome) = ended.wait_for(Option::is_some).await {
            outcome.clone().unwrap_or(Ok(()))?;
        }
        if let Some(lease) = join(&prepared) {
            return Ok((lease, true));
        }
    }
    let (tx, ended) = watch::channel(None);
    let _question = office.questions.stand(UnderWay {
        sameness: prepared.sameness.clone(),
        parties: prepared.parties,
        ended,
    });
    let outcome = issue(office, prepared, asker).await;
    // Nobody may be waiting for it.
    let _ = tx.send(Some(outcome.as_ref().map(drop).map_err(Clone::clone)));
    outcome.map(|lease| (lease, false))
}

struct Guard<'a> {
    questions: &'a Questions,
    question: Rc<UnderWay>,
}

impl Questions {
    fn find(&self, prepared: &Prepared) -> Option<Rc<UnderWay>> {
        let same = |question: &&Rc<UnderWay>| {
            let parties = question.parties;
            question.sameness == prepared.sameness && parties.holder == prepared.parties.holder
        };
        self.under_way.borrow().iter().find(same).cloned()
    }

    fn stand(&self, question: UnderWay) -> Guard<'_> {
        let question = Rc::new(question);
        self.under_way.borrow_mut().push(question.clone());
        Guard { questions: self, question }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.questions
            .under_way
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, &self.question));
    }
}
