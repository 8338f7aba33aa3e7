//! Live leases, in memory only: what they give, whose they are, and when they end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::failure::{IntoFailure, internal};
use super::grant::Grant;
use super::record::Approved;
use super::requester::{ProcessId, Requester};
use super::text::{Fixed, Holder, LeaseText, Text};
use crate::clock::{Boot, Clock, Wall};
use crate::device::KeyId;
use crate::encoding::Digest;
use crate::vault::Material;
use crate::wire::reply::LeaseView;
use crate::wire::{Event, Failure, Outcome};

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its time was over.
    Expired,
    /// Its last use was used, and its holder is done with it.
    UsedUp,
    /// It was given back.
    Ended,
    /// It was taken away.
    Revoked,
    /// Everything was locked.
    Locked,
    /// Its holder ended.
    RequesterGone,
    /// The key that approved it was pulled out, and the configuration says that this ends it.
    KeyRemoved,
    /// Its proxy ended by itself.
    NotDelivered,
    /// The daemon stopped.
    DaemonStopped,
}

/// What two requests have to share to be one: what is given. Time, uses and reason are those of the lease that is joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sameness {
    /// Vault id.
    pub vault: Digest,
    /// Name of the task and digest of its file.
    pub task: Option<(String, Digest)>,
    /// Grants, each with the digest of what was judged.
    pub grants: Vec<(Grant, Digest)>,
}

/// A lease: that somebody touched a key for exactly this, and that it is on record. Made by `Ledger::begin` alone.
///
/// ```compile_fail
/// use touchlease::lease::ledger::Lease;
/// fn forged(lease: Lease) -> Lease {
///     Lease { ..lease }
/// }
/// ```
///
/// The same compiles where nothing is forged, so it is the fields that the compiler objects to:
///
/// ```
/// use touchlease::lease::ledger::Lease;
/// fn kept(lease: Lease) -> Lease {
///     lease
/// }
/// ```
#[derive(Debug)]
pub struct Lease {
    id: String,
}

impl Lease {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

struct Live {
    text: LeaseText,
    fixed: Fixed,
    approved: Approved,
    sameness: Sameness,
    /// The process that asked, and the one whose end is the lease's.
    asker: ProcessId,
    holder: ProcessId,
    deadline: Boot,
    ceiling: Wall,
    uses_left: Option<u32>,
    /// Uses that were taken.
    used: u64,
    material: Material,
    /// Connections whose child uses it now.
    users: u32,
    /// Whether a connection holds it that uses nothing: the lease ends with that one.
    kept: bool,
    listeners: Vec<UnboundedSender<Event>>,
}

/// All live leases of the daemon.
pub struct Ledger {
    clock: Arc<dyn Clock>,
    leases: RefCell<BTreeMap<String, Live>>,
    closed: Cell<bool>,
    /// How often all leases were ended.
    sweeps: Cell<u64>,
    changed: Notify,
}

/// Whose end is a lease's end, by kernel's account.
#[derive(Clone, Copy, Debug)]
pub struct Parties {
    /// The process that asked.
    pub asker: ProcessId,
    /// The process that holds it.
    pub holder: ProcessId,
}

/// What was granted, and to whom.
pub struct Grounds {
    /// Its bytes, as they were signed.
    pub fixed: Fixed,
    /// What another request has to share with it.
    pub sameness: Sameness,
    /// Whose it is.
    pub parties: Parties,
    /// [`Ledger::sweeps`] when it was touched for.
    pub sweeps: u64,
}

/// What a lease ended with, for the log.
#[derive(Clone, Debug)]
pub struct Over {
    /// The vault it was of.
    pub vault: Digest,
    /// Its id.
    pub id: String,
    /// Why.
    pub why: Why,
}

/// What a connection has to do with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stake {
    /// Its child has what the lease gives.
    Uses,
    /// It holds the lease and uses nothing of it: whoever uses it is another connection of the same process.
    Keeps,
}

/// Why a lease gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoUse {
    /// No such lease is live.
    Gone,
    /// Its uses are used up.
    UsedUp,
}

impl Ledger {
    /// A ledger without leases.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            leases: RefCell::default(),
            closed: Cell::new(false),
            sweeps: Cell::new(0),
            changed: Notify::new(),
        }
    }

    /// Makes the lease. Takes all that has to be before it: the record of the approval, and the material that the same touch unsealed.
    ///
    /// # Errors
    /// The approval is of another text; its time is over already; all leases were ended since the touch; the daemon stops.
    pub(super) fn begin(&self, approved: Approved, material: Material, grounds: Grounds) -> Result<Lease, Failure> {
        let Grounds {
            fixed,
            sameness,
            parties,
            sweeps,
        } = grounds;
        let text = LeaseText::decode(fixed.text()).map_err(IntoFailure::failure)?;
        if approved.text() != fixed.digest() {
            return Err(internal("approval", "the approval is of another lease"));
        }
        let ceiling = Wall(text.not_after * 1000);
        if self.closed.get() || self.clock.wall() >= ceiling {
            return Err(Failure::new(Outcome::Refused, "too_late", "the lease would begin after its end").hint("ask again"));
        }
        if self.sweeps.get() != sweeps {
            return Err(Failure::new(Outcome::Refused, "lease_over", "all leases were ended while this one was made").hint("ask again"));
        }
        let id = text.id.clone();
        let live = Live {
            deadline: self.clock.boot() + Duration::from_secs(text.ttl),
            ceiling,
            uses_left: text.uses,
            used: 0,
            asker: parties.asker,
            holder: parties.holder,
            text,
            fixed,
            approved,
            sameness,
            material,
            users: 0,
            kept: false,
            listeners: vec![],
        };
        self.leases.borrow_mut().insert(id.clone(), live);
        self.changed.notify_waiters();
        Ok(Lease { id })
    }

    /// How often all leases were ended: one that was touched for before does not begin after (P4).
    #[must_use]
    pub fn sweeps(&self) -> u64 {
        self.sweeps.get()
    }

    /// From now on no lease begins.
    pub fn close(&self) {
        self.closed.set(true);
    }

    /// Whether its time is not over: the timer that ends leases may be late.
    fn is_in_time(&self, live: &Live) -> bool {
        live.deadline > self.clock.boot() && live.ceiling > self.clock.wall()
    }

    /// A live lease that `requester` may use as well, because it belongs to one of its ancestors or to itself (T20).
    #[must_use]
    pub fn join(&self, sameness: &Sameness, requester: &Requester) -> Option<Lease> {
        let leases = self.leases.borrow();
        let mine = |live: &&Live| {
            let is_below = || requester.lineage.iter().any(|kin| kin.process == live.holder);
            live.sameness == *sameness
                && (live.asker == requester.process || matches!(live.text.holder, Holder::Process { .. }) && is_below())
        };
        let fresh = |live: &&Live| live.uses_left != Some(0) && self.is_in_time(live);
        leases
            .values()
            .filter(mine)
            .filter(fresh)
            .max_by_key(|live| live.deadline)
            .map(|live| Lease { id: live.text.id.clone() })
    }

    /// A live lease by its id, for whoever delivers it in parts.
    #[must_use]
    pub fn look_up(&self, id: &str) -> Option<Lease> {
        let leases = self.leases.borrow();
        let live = leases.get(id).filter(|live| self.is_in_time(live))?;
        Some(Lease { id: live.text.id.clone() })
    }

    /// Counts one use. Returns what is left of a limit.
    ///
    /// # Errors
    /// See [`NoUse`].
    pub fn take_use(&self, lease: &Lease) -> Result<Option<u32>, NoUse> {
        let mut leases = self.leases.borrow_mut();
        let live = leases.get_mut(&lease.id).filter(|live| self.is_in_time(live)).ok_or(NoUse::Gone)?;
        if let Some(left) = &mut live.uses_left {
            *left = left.checked_sub(1).ok_or(NoUse::UsedUp)?;
        }
        live.used += 1;
        Ok(live.uses_left)
    }

    /// Counts what was done again so many times, of a lease without a limit of uses.
    pub fn count_again(&self, lease: &Lease, times: u64) {
        if let Some(live) = self.leases.borrow_mut().get_mut(&lease.id) {
            live.used += times;
        }
    }

    /// Looks at what a live lease gives.
    ///
    /// # Errors
    /// [`NoUse::Gone`].
    pub fn with_material<T>(&self, lease: &Lease, look: impl FnOnce(&LeaseText, &Material) -> T) -> Result<T, NoUse> {
        let leases = self.leases.borrow();
        let live = leases.get(&lease.id).filter(|live| self.is_in_time(live));
        live.map(|live| look(&live.text, &live.material)).ok_or(NoUse::Gone)
    }

    /// Time that is left of it, on the clock that nobody can set.
    ///
    /// # Errors
    /// It is over.
    pub fn left(&self, lease: &Lease) -> Result<Duration, NoUse> {
        let leases = self.leases.borrow();
        let live = leases.get(&lease.id).filter(|live| self.is_in_time(live));
        live.map(|live| live.deadline.since(self.clock.boot()))
            .filter(|left| !left.is_zero())
            .ok_or(NoUse::Gone)
    }

    /// A connection uses the lease from now on, or keeps it, and `tx` hears of its end.
    pub fn listen(&self, lease: &Lease, stake: Stake, tx: UnboundedSender<Event>) {
        if let Some(live) = self.leases.borrow_mut().get_mut(&lease.id) {
            match stake {
                Stake::Uses => live.users += 1,
                Stake::Keeps => live.kept = true,
            }
            live.listeners.push(tx);
        }
    }

    /// A connection is done with the lease. It ends the lease if it held it, or if it was the last to use the last use.
    pub fn release(&self, lease: &Lease, stake: Stake, why: Why) -> Option<Over> {
        let over = {
            let mut leases = self.leases.borrow_mut();
            let live = leases.get_mut(&lease.id)?;
            live.listeners.retain(|listener| !listener.is_closed());
            if stake == Stake::Uses {
                live.users = live.users.saturating_sub(1);
            }
            let spent = live.uses_left == Some(0) && live.users == 0;
            match live.text.holder {
                _ if stake == Stake::Keeps => Some(why),
                Holder::Connection if live.users == 0 && !live.kept => Some(if spent { Why::UsedUp } else { why }),
                Holder::Connection | Holder::Process { .. } if spent => Some(Why::UsedUp),
                _ => None,
            }
        };
        self.end(&lease.id, over?)
    }

    /// The process whose end is the lease's.
    #[must_use]
    pub fn holder(&self, lease: &Lease) -> Option<ProcessId> {
        self.leases.borrow().get(&lease.id).map(|live| live.holder)
    }

    /// Live leases of a vault, oldest first.
    #[must_use]
    pub fn views(&self, vault: &Digest) -> Vec<LeaseView> {
        let leases = self.leases.borrow();
        let mut live: Vec<_> = leases.values().filter(|live| live.sameness.vault == *vault).collect();
        live.sort_by_key(|live| live.text.not_before);
        live.into_iter().map(|live| live.view(self.clock.boot())).collect()
    }

    /// Ids of all live leases.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.leases.borrow().keys().cloned().collect()
    }

    /// One live lease: in short, its text, its receipt, if anything was signed.
    #[must_use]
    pub fn show(&self, id: &str) -> Option<(LeaseView, String, Option<String>)> {
        let leases = self.leases.borrow();
        let live = leases.get(id)?;
        Some((
            live.view(self.clock.boot()),
            live.fixed.text().to_owned(),
            live.approved.sshsig().map(str::to_owned),
        ))
    }

    /// The vault that a live lease is of, and the key that approved it.
    #[must_use]
    pub fn approved_by(&self, id: &str) -> Option<(Digest, KeyId)> {
        let leases = self.leases.borrow();
        leases.get(id).map(|live| (live.sameness.vault, live.approved.key_id()))
    }

    /// Whether lease `id` is live.
    #[must_use]
    pub fn is_live(&self, id: &str) -> bool {
        self.leases.borrow().contains_key(id)
    }

    /// Ends one lease now; nothing when it was not live.
    pub fn end(&self, id: &str, why: Why) -> Option<Over> {
        let live = self.leases.borrow_mut().remove(id)?;
        for listener in &live.listeners {
            // Whoever does not listen any more has ended already.
            let _ = listener.send(Event::Ended {
                id: id.to_owned(),
                why: why.as_str().to_owned(),
            });
        }
        self.changed.notify_waiters();
        Some(Over {
            vault: live.sameness.vault,
            id: id.to_owned(),
            why,
        })
    }

    /// Ends all leases that `which` picks.
    pub fn end_all(&self, why: Why, which: impl Fn(&LeaseText) -> bool) -> Vec<Over> {
        self.sweeps.update(|sweeps| sweeps + 1);
        let ids: Vec<_> = self
            .leases
            .borrow()
            .values()
            .filter(|live| which(&live.text))
            .map(|live| live.text.id.clone())
            .collect();
        // Who holds none of them may have something that ends with them.
        self.changed.notify_waiters();
        ids.iter().filter_map(|id| self.end(id, why)).collect()
    }

    /// Ends what is past its deadline, or past its wall-clock ceiling.
    pub fn end_expired(&self) -> Vec<Over> {
        let past = |live: &&Live| !self.is_in_time(live);
        let ids: Vec<_> = self
            .leases
            .borrow()
            .values()
            .filter(past)
            .map(|live| live.text.id.clone())
            .collect();
        ids.iter().filter_map(|id| self.end(id, Why::Expired)).collect()
    }

    /// The nearest deadline and the nearest ceiling; nothing when no lease is live.
    #[must_use]
    pub fn next_end(&self) -> Option<(Boot, Wall)> {
        let leases = self.leases.borrow();
        let boot = leases.values().map(|live| live.deadline).min()?;
        let wall = leases.values().map(|live| live.ceiling).min()?;
        Some((boot, wall))
    }

    /// Ends when a lease began or ended.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Live {
    fn view(&self, now: Boot) -> LeaseView {
        LeaseView {
            id: self.text.id.clone(),
            task: self.text.task.as_ref().map(|task| task.name.clone()),
            secrets: self.text.grants.iter().map(|grant| grant.secret.to_string()).collect(),
            words: self.fixed.words().map(str::to_owned),
            requester: self.text.origin.requester.claimed.in_short(),
            key: self.approved.key().to_owned(),
            not_after: self.text.not_after,
            left: self.deadline.since(now).as_secs(),
            uses_left: self.uses_left,
            used: self.used,
        }
    }
}

impl Why {
    /// In the log and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::UsedUp => "used_up",
            Self::Ended => "ended",
            Self::Revoked => "revoked",
            Self::Locked => "locked",
            Self::RequesterGone => "requester_gone",
            Self::KeyRemoved => "key_removed",
            Self::NotDelivered => "not_delivered",
            Self::DaemonStopped => "daemon_stopped",
        }
    }
}
