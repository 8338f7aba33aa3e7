//! The proxy's workers, one for each session. A session is the connection of a `run`: it opens with it and ends with it, and leases come
//! and go behind it. A value goes from the lease's material into the worker's socket, and nowhere else.

mod brake;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use tokio::process::Child;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use self::brake::{Brake, shortened};
use super::house::{House, OpenVault};
use super::proxied::{Wanted, masked, order, roots, target};
use crate::deliver::mask::Patterns;
use crate::deliver::proxy::protocol::{Again, Network, Offer, Opening, Order, Report, SUBCOMMAND, Target, Use, Verdict};
use crate::encoding::Digest;
use crate::encoding::plain;
use crate::lease::failure::locked_memory;
use crate::lease::ledger::{Lease, NoUse, Why};
use crate::lease::office::Asker;
use crate::lease::record::{self, Journal};
use crate::lease::task::{self, Task};
use crate::lease::text::Holder;
use crate::secret::Secret;
use crate::wire::reply::{Placeholder, ProxyView};
use crate::wire::request::{LeaseAsk, ProxyAsk, TaskAsk};
use crate::wire::{Event, Failure, Outcome, Value};
use crate::worker::{self, inbox::Inbox};

/// How long a worker may take to listen, and to take a lease in: a hundred times what it takes.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// How long a worker may take to cut what a lease carried, before it is killed (P4).
const CUT_WITHIN: Duration = Duration::from_millis(800);
/// How leases are used here, in the log.
const DELIVERY: &str = "proxy";
/// Hosts of tasks that a session is told of.
const MOST_OFFERS: usize = 256;

/// A session, for as long as it is kept.
pub(super) struct Session {
    /// It closes when the session is dropped.
    orders: UnboundedSender<Grant>,
    /// By which leases name it.
    key: Digest,
    sessions: Rc<Sessions>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.open.borrow_mut().remove(&self.key);
    }
}

/// The sessions that there are.
#[derive(Default)]
pub(super) struct Sessions {
    /// By the digests of their bearers: who knows a bearer may send leases to its session, as he may use them there.
    open: RefCell<HashMap<Digest, WeakUnboundedSender<Grant>>>,
    /// Leases that workers have, of all sessions.
    given: Cell<usize>,
    one_less: Notify,
}

/// That a worker has a lease.
struct Had(Rc<Sessions>);

impl Had {
    fn new(sessions: &Rc<Sessions>) -> Self {
        sessions.given.set(sessions.given.get() + 1);
        Self(sessions.clone())
    }
}

impl Drop for Had {
    fn drop(&mut self) {
        self.0.given.set(self.0.given.get().saturating_sub(1));
        self.0.one_less.notify_one();
    }
}

/// How a session is reached.
struct Opened {
    session: Session,
    port: u16,
    bearer: Secret,
    /// Of the reverse form.
    base: Secret,
    ca: String,
}

/// Who waits for a lease's placeholders.
type Done = oneshot::Sender<Result<Vec<String>, Failure>>;

/// A lease to be taken in.
struct Grant {
    lease: Lease,
    log: Rc<Journal>,
    order: Order,
    values: Secret,
    forms: Patterns,
    done: Done,
}

/// A lease that a worker has.
struct Given {
    lease: Lease,
    log: Rc<Journal>,
    /// `scope/NAME`, in the order of its grants.
    secrets: Vec<String>,
    /// All values of the lease, those that the command has too: none of them gets into the log.
    forms: Patterns,
    brake: Brake,
    _had: Had,
    /// Once the worker has taken it in.
    placeholders: Option<Vec<String>>,
}

/// The daemon's side of a worker.
struct Keeper {
    house: Rc<House>,
    inbox: Inbox,
    /// Killed when dropped.
    _process: Child,
    tell: UnboundedSender<Event>,
    given: BTreeMap<String, Given>,
    /// Leases that the worker has been told are over, and by when it has to have said so.
    cutting: BTreeMap<String, Instant>,
    /// Who waits for the worker to take a lease in.
    granting: BTreeMap<String, Done>,
}

/// Opens a session for a lease, if something of it goes by proxy: what the requester needs to use it.
///
/// # Errors
/// The worker does not start or does not take the lease; the configuration's roots cannot be read; the lease is over.
pub(super) async fn deliver(
    house: &Rc<House>,
    open: &OpenVault,
    lease: &Lease,
    ask: &LeaseAsk,
    asker: &Asker,
) -> Result<Option<(Session, ProxyView)>, Failure> {
    let looked = house.ledger.with_material(lease, order);
    let Some(mut wanted) = looked.map_err(|_| over())?? else {
        return Ok(None);
    };
    let opening = Opening {
        network: network(ask.network.as_deref())?,
        roots: roots(house.config().proxy_roots.as_deref())?,
        system_roots: true,
        hosts: std::mem::take(&mut wanted.hosts),
        offers: vec![],
        upstream: upstream(house),
    };
    let names = std::mem::take(&mut wanted.names);
    let opened = open_session(house, opening, asker).await?;
    let placeholders = give(house, open, lease, wanted, &opened.session.orders).await?;
    let (session, view) = opened.view(placeholders, names);
    Ok(Some((session, view)))
}

/// Opens a session without a lease. Its authority signs for any host: which ones leases will name is not known, as rules are sealed.
///
/// # Errors
/// A network that is none, a task file that is none; as [`deliver`].
pub(super) async fn open(house: &Rc<House>, ask: &ProxyAsk, asker: &Asker) -> Result<(Session, ProxyView), Failure> {
    let (offers, names) = offers(ask.tasks.as_deref())?;
    let opening = Opening {
        network: network(ask.network.as_deref())?,
        roots: roots(house.config().proxy_roots.as_deref())?,
        system_roots: true,
        hosts: vec![],
        offers,
        upstream: upstream(house),
    };
    Ok(open_session(house, opening, asker).await?.view(vec![], names))
}

/// What is wrong with a request before anybody is asked for a touch: a network that is none, roots that cannot be read, a session that is none.
///
/// # Errors
/// The first of them.
pub(super) fn check(house: &House, ask: &LeaseAsk) -> Result<(), Failure> {
    network(ask.network.as_deref())?;
    if let Some(key) = &ask.session {
        if ask.deliver {
            let message = "a lease that is delivered has a proxy of its own, and comes to no other session";
            return Err(Failure::new(Outcome::BadInput, "session", message).hint("ask without session, or without deliver"));
        }
        house.sessions.find(key)?;
    }
    let in_task = |task: &TaskAsk| Task::by_proxy(&task.file).is_ok_and(|tasks| tasks.iter().any(|(name, _)| *name == task.name));
    if ask.deliver && (ask.with.iter().any(|grant| grant.via == "proxy") || ask.task.as_ref().is_some_and(in_task)) {
        roots(house.config().proxy_roots.as_deref())?;
    }
    Ok(())
}

/// Gives a lease to a session that runs already: its placeholders there; none where nothing of it goes by proxy.
///
/// # Errors
/// There is no such session, or it does not take the lease.
pub(super) async fn join(house: &Rc<House>, open: &OpenVault, lease: &Lease, key: &str) -> Result<Vec<Placeholder>, Failure> {
    let orders = house.sessions.find(key)?;
    match house.ledger.with_material(lease, order).map_err(|_| over())?? {
        Some(wanted) => give(house, open, lease, wanted, &orders).await,
        None => Ok(vec![]),
    }
}

impl Sessions {
    /// Until no worker has a lease, when all of them are over: by then it is in the log what was done last. A worker that does not say so is killed.
    pub(super) async fn finish(&self) {
        let none = async {
            while self.given.get() > 0 {
                self.one_less.notified().await;
            }
        };
        let _ = timeout(2 * CUT_WITHIN, none).await;
    }

    fn find(&self, key: &str) -> Result<UnboundedSender<Grant>, Failure> {
        let known = Digest::from_hex(key).and_then(|key| self.open.borrow().get(&key).and_then(WeakUnboundedSender::upgrade));
        known.ok_or_else(|| {
            Failure::new(Outcome::BadInput, "no_session", "the proxy that is named is not running")
                .hint("ask from within a session that runs: touchlease run --proxy -- COMMAND")
        })
    }
}

impl Opened {
    fn view(self, placeholders: Vec<Placeholder>, hosts: Vec<String>) -> (Session, ProxyView) {
        let view = ProxyView {
            port: self.port,
            bearer: Value(self.bearer),
            base: Value(self.base),
            ca: self.ca,
            placeholders,
            hosts,
        };
        (self.session, view)
    }
}

fn network(word: Option<&str>) -> Result<Network, Failure> {
    match word {
        None | Some("open") => Ok(Network::Open),
        Some("granted-only") => Ok(Network::GrantedOnly),
        Some(other) => {
            let message = format!("{:?} is no network", plain::visible(other));
            Err(Failure::new(Outcome::BadInput, "network", message).hint("open and granted-only are"))
        }
    }
}

/// The proxy behind the proxy, which the configuration names and no client does.
fn upstream(house: &House) -> Option<Target> {
    house.config().proxy_upstream.clone().map(target)
}

/// The hosts that tasks of a file name, each as often as there are tasks; and as rules name them.
fn offers(tasks: Option<&str>) -> Result<(Vec<Offer>, Vec<String>), Failure> {
    let Some(tasks) = tasks else { return Ok((vec![], vec![])) };
    let tasks = Task::by_proxy(tasks).map_err(|error| Failure::new(Outcome::BadInput, "task", error.to_string()).hint(task::EXAMPLE))?;
    let offer = |task: &str, host: &str| {
        let offer = Offer {
            task: task.to_owned(),
            target: target(host.parse().ok()?),
        };
        Some((offer, host.to_owned()))
    };
    let all = tasks
        .iter()
        .flat_map(|(task, hosts)| hosts.iter().filter_map(move |host| offer(task, host)));
    Ok(all.take(MOST_OFFERS).unzip())
}

async fn open_session(house: &Rc<House>, opening: Opening, asker: &Asker) -> Result<Opened, Failure> {
    let (bearer, base) = (draw(house)?, draw(house)?);
    let mut both = Secret::zeroed(bearer.len() + base.len()).map_err(locked_memory)?;
    let (first, second) = both.expose_mut().split_at_mut(bearer.len());
    first.copy_from_slice(bearer.expose());
    second.copy_from_slice(base.expose());
    let (inbox, process, port, ca) = start(house, opening, &both).await?;
    let (orders, grants) = unbounded_channel();
    let keeper = Keeper {
        house: house.clone(),
        inbox,
        _process: process,
        tell: asker.tell.clone(),
        given: BTreeMap::new(),
        cutting: BTreeMap::new(),
        granting: BTreeMap::new(),
    };
    tokio::task::spawn_local(keeper.keep(grants));
    let (key, sessions) = (Digest::of(bearer.expose()), house.sessions.clone());
    sessions.open.borrow_mut().insert(key, orders.downgrade());
    let session = Session { orders, key, sessions };
    Ok(Opened {
        session,
        port,
        bearer,
        base,
        ca,
    })
}

/// A new bearer.
fn draw(house: &House) -> Result<Secret, Failure> {
    let mut bytes = [0; 16];
    house.random.borrow_mut().fill_bytes(&mut bytes);
    Secret::from_slice_wiping(&mut HEXLOWER.encode(&bytes).into_bytes()).map_err(locked_memory)
}

/// Sends a lease to a session's worker, and waits for its placeholders.
async fn give(
    house: &House,
    open: &OpenVault,
    lease: &Lease,
    wanted: Wanted,
    orders: &UnboundedSender<Grant>,
) -> Result<Vec<Placeholder>, Failure> {
    let (done, granted) = oneshot::channel();
    let grant = Grant {
        lease: house.ledger.look_up(lease.id()).ok_or_else(over)?,
        log: open.log.clone(),
        order: wanted.order,
        values: wanted.values,
        forms: wanted.forms,
        done,
    };
    let _ = orders.send(grant);
    let granted = timeout(READY_WITHIN, granted).await.map_err(|_| silent())?;
    let placeholders = granted.map_err(|_| silent())??;
    let variables = wanted.variables.into_iter().zip(placeholders);
    Ok(variables
        .map(|((secret, env), placeholder)| Placeholder { secret, env, placeholder })
        .collect())
}

/// Starts a worker, as those on keys are started, and waits until it listens.
async fn start(house: &House, opening: Opening, bearers: &Secret) -> Result<(Inbox, Child, u16, String), Failure> {
    let (socket, process) = worker::start(&house.program, SUBCOMMAND).map_err(|error| broken(&format!("no process: {error}")))?;
    let mut inbox = Inbox::new(socket).map_err(locked_memory)?;
    let ready = async {
        inbox.send(&Order::Open(opening), bearers.expose()).await?;
        let (report, _): (Report, Secret) = inbox.next().await?;
        Ok::<_, io::Error>(report)
    };
    match timeout(READY_WITHIN, ready).await {
        Ok(Ok(Report::Ready { port, ca_pem })) => Ok((inbox, process, port, ca_pem)),
        Ok(Ok(Report::Failed { why })) => Err(broken(&why)),
        Ok(Ok(_)) => Err(broken("it says what was not asked")),
        Ok(Err(error)) => Err(broken(&format!("it ended ({})", error.kind()))),
        Err(_) => Err(silent()),
    }
}

impl Keeper {
    /// Until the session is dropped, or the worker is gone.
    async fn keep(mut self, mut grants: UnboundedReceiver<Grant>) {
        let house = self.house.clone();
        loop {
            // Before anything is waited for: a lease may have ended while something was done here.
            let done = async {
                self.cut().await?;
                let late = self.cutting.values().min().copied();
                tokio::select! {
                    biased;
                    grant = grants.recv() => match grant {
                        Some(grant) => self.grant(grant).await,
                        None => Ok(false),
                    },
                    () = house.ledger.changed() => Ok(true),
                    () = sleep_until(late.unwrap_or_else(Instant::now)), if late.is_some() => Err(io::ErrorKind::TimedOut.into()),
                    heard = self.inbox.next::<Report>() => {
                        let (report, _) = heard?;
                        // A flood of requests keeps nobody from ending leases.
                        house.turns.each(self.hear(report)).await?;
                        Ok(true)
                    }
                }
            };
            let done: io::Result<bool> = done.await;
            match done {
                Ok(true) => {}
                Ok(false) => return self.finish().await,
                Err(error) => {
                    tracing::warn!(kind = %error.kind(), "a proxy's worker is gone");
                    return self.gone();
                }
            }
        }
    }

    async fn grant(&mut self, grant: Grant) -> io::Result<bool> {
        let id = grant.lease.id().to_owned();
        if let Some(there) = self.given.get(&id) {
            // It was given before: joined again, by a request that is the same.
            let again = there.placeholders.clone().filter(|_| !self.cutting.contains_key(&id));
            let _ = grant.done.send(again.ok_or_else(over));
            return Ok(true);
        }
        let secrets = match &grant.order {
            Order::Grant { grants, .. } => grants.iter().map(|spec| spec.secret.clone()).collect(),
            _ => vec![],
        };
        self.say(&grant.order, grant.values.expose()).await?;
        let given = Given {
            lease: grant.lease,
            log: grant.log,
            secrets,
            forms: grant.forms,
            brake: Brake::new(self.house.clock.boot()),
            _had: Had::new(&self.house.sessions),
            placeholders: None,
        };
        self.given.insert(id.clone(), given);
        self.granting.insert(id, grant.done);
        Ok(true)
    }

    /// Tells the worker of leases that are over.
    async fn cut(&mut self) -> io::Result<()> {
        self.revoke(|house, lease| !house.ledger.is_live(lease)).await
    }

    async fn revoke(&mut self, which: impl Fn(&House, &str) -> bool) -> io::Result<()> {
        let told = |lease: &String| self.cutting.contains_key(lease);
        let over: Vec<String> = self
            .given
            .keys()
            .filter(|lease| !told(lease) && which(&self.house, lease))
            .cloned()
            .collect();
        for lease in over {
            self.cutting.insert(lease.clone(), Instant::now() + CUT_WITHIN);
            self.say(&Order::Revoke { lease }, &[]).await?;
        }
        Ok(())
    }

    /// The session is over. What the worker saw until then still goes into the log: it says so before it says that a lease is revoked.
    async fn finish(mut self) {
        if self.revoke(|_, _| true).await.is_err() {
            return;
        }
        while let Some(late) = self.cutting.values().max().copied() {
            let heard = timeout_at(late, self.inbox.next::<Report>()).await;
            let Ok(Ok((report, _))) = heard else { return };
            if self.house.clone().turns.each(self.hear(report)).await.is_err() {
                return;
            }
        }
    }

    /// A worker that does not listen is as good as gone, and nobody waits for it.
    async fn say(&mut self, order: &Order, tail: &[u8]) -> io::Result<()> {
        timeout(CUT_WITHIN, self.inbox.send(order, tail))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn hear(&mut self, report: Report) -> io::Result<()> {
        match report {
            Report::Use { seq, lease, used } => {
                let verdict = self.used(&lease, &used);
                self.say(&Order::Answer { seq, verdict }, &[]).await?;
            }
            Report::Repeated { seq, lease, again } => {
                let verdict = self.used_again(&lease, &again);
                self.say(&Order::Answer { seq, verdict }, &[]).await?;
            }
            Report::Granted { lease, placeholders } => self.answer(&lease, Ok(placeholders)),
            Report::NotGranted { lease, index, why } => {
                let secret = self.given.get(&lease).and_then(|given| given.secrets.get(index));
                let message = format!("{} cannot go through the proxy: {why}", secret.map_or("a secret", String::as_str));
                let failure = Failure::new(Outcome::Refused, "not_proxied", message);
                self.answer(
                    &lease,
                    Err(failure.hint("put a value that fits into a request: touchlease put SECRET")),
                );
            }
            Report::Revoked { lease } => {
                self.cutting.remove(&lease);
                self.given.remove(&lease);
            }
            Report::Echoed { lease, index, host } => {
                let boot = self.house.clock.boot();
                if let Some(given) = self.given.get_mut(&lease)
                    && let Some(unsaid) = given.brake.take(boot)
                {
                    let secret = given.secrets.get(index).cloned().unwrap_or_default();
                    record::echoed(&given.log, &lease, &secret, &plain::visible(&host), unsaid);
                }
            }
            Report::Refused {
                grant,
                reason,
                method,
                host,
            } => self.refused(grant, &reason, &method, &host),
            // Said once, before anything else.
            Report::Ready { .. } | Report::Failed { .. } => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(())
    }

    /// Counts a use, and writes it down, before it happens. Without a limit of uses the same may be done again without a question.
    fn used(&self, lease: &str, used: &Use) -> Verdict {
        let Some(given) = self.given.get(lease).filter(|_| !self.cutting.contains_key(lease)) else {
            return Verdict::Gone;
        };
        let left = match self.house.ledger.take_use(&given.lease) {
            Err(NoUse::Gone) => return Verdict::Gone,
            Err(NoUse::UsedUp) => return Verdict::UsedUp,
            Ok(left) => left,
        };
        match record::used(&given.log, lease, DELIVERY, &given.says(used), left) {
            Ok(()) if left.is_none() => Verdict::GoOn,
            Ok(()) => Verdict::Go,
            // What is not in the log does not happen.
            Err(failure) => unrecorded(&failure),
        }
    }

    /// Writes down what was done again a moment ago, also of a lease that is over since, and says whether it may go on.
    fn used_again(&self, lease: &str, again: &[Again]) -> Verdict {
        let Some(given) = self.given.get(lease) else { return Verdict::Gone };
        let said = again.iter().map(|again| (given.says(&again.used), again.times));
        match record::used_again(&given.log, lease, DELIVERY, said) {
            Ok(()) if self.house.ledger.look_up(lease).is_some() => {
                let times = again.iter().map(|again| u64::from(again.times)).sum();
                self.house.ledger.count_again(&given.lease, times);
                Verdict::GoOn
            }
            Ok(()) => Verdict::Gone,
            Err(failure) => unrecorded(&failure),
        }
    }

    fn refused(&mut self, grant: Option<(String, usize)>, reason: &str, method: &str, host: &str) {
        let boot = self.house.clock.boot();
        // What is nobody's in particular is said of the first lease: there is one in most sessions.
        let (lease, index) = match grant {
            Some((lease, index)) => (Some(lease), Some(index)),
            None => (self.given.keys().next().cloned(), None),
        };
        let Some(given) = lease.as_ref().and_then(|lease| self.given.get_mut(lease)) else {
            return;
        };
        let Some(unsaid) = given.brake.take(boot) else { return };
        let secret = index.and_then(|index| given.secrets.get(index)).cloned();
        let what = plain::visible(&masked(&given.forms, &format!("{method} {host}")));
        record::not_sent(&given.log, given.lease.id(), secret.as_deref(), reason, &what, unsaid);
    }

    fn answer(&mut self, lease: &str, done: Result<Vec<String>, Failure>) {
        match &done {
            Ok(placeholders) => {
                if let Some(given) = self.given.get_mut(lease) {
                    given.placeholders = Some(placeholders.clone());
                }
            }
            Err(_) => drop(self.given.remove(lease)),
        }
        if let Some(granting) = self.granting.remove(lease) {
            // Whoever asked may have gone.
            let _ = granting.send(done);
        }
    }

    /// The worker ended by itself. What the command has of its leases is placeholders, so they are over for it.
    fn gone(mut self) {
        let granting = std::mem::take(&mut self.granting);
        for (lease, granting) in granting {
            self.given.remove(&lease);
            let _ = granting.send(Err(broken("it ended")));
        }
        for given in self.given.values().filter(|given| !self.cutting.contains_key(given.lease.id())) {
            let id = given.lease.id().to_owned();
            let is_its_own = self
                .house
                .ledger
                .with_material(&given.lease, |text, _| matches!(text.holder, Holder::Connection));
            if is_its_own == Ok(true) {
                let over = self.house.ledger.end(&id, Why::NotDelivered);
                self.house.record_over(&Vec::from_iter(over));
            }
            let _ = self.tell.send(Event::Ended {
                id,
                why: Why::NotDelivered.as_str().to_owned(),
            });
        }
    }
}

impl Given {
    /// What the log says of a use. Masked before it is cut: a part of a value is none of its forms.
    fn says(&self, used: &Use) -> String {
        let whom = masked(&self.forms, &format!("{} {}", used.method, used.host));
        let path = shortened(&masked(&self.forms, &used.path));
        plain::visible(&format!("{whom}{path}"))
    }
}

fn unrecorded(failure: &Failure) -> Verdict {
    tracing::error!(reason = failure.reason, "a use could not be recorded");
    Verdict::Unrecorded
}

fn over() -> Failure {
    Failure::new(Outcome::Refused, "lease_over", "the lease ended before it could be used").hint("ask again")
}

fn broken(why: &str) -> Failure {
    Failure::new(Outcome::Internal, "proxy", format!("the proxy cannot start: {why}"))
        .hint("touchlease doctor looks at the machine; then run the command again")
}

fn silent() -> Failure {
    broken("it does not answer")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::proxied::{LARGEST_ROOTS, place};
    use super::*;
    use crate::deliver::proxy::book::Book;
    use crate::deliver::proxy::protocol::{GrantSpec, Scheme};
    use crate::deliver::proxy::rules::{Asked, Rule};
    use crate::encoding::target::{check_pattern, covers};
    use crate::vault::{Form, Header, Place as Sealed};
    use crate::worker::frame::head_and_json;

    #[test]
    fn p7_every_pattern_that_can_be_sealed_is_one_that_the_worker_takes_and_matches_alike() {
        let pieces = [
            "", "*", "a", "b", "a%20b", "..", ".", ";x", "a;x", "a*", "%2e", "%", "a%41", "@s", "..x", ".x", ".%20", "a%3f",
        ];
        let mut paths = vec![String::new()];
        let mut sound = vec![];
        for _ in 0..3 {
            paths = paths
                .iter()
                .flat_map(|path| pieces.map(|piece| format!("{path}/{piece}")))
                .collect();
            sound.extend(paths.iter().filter(|pattern| check_pattern(pattern).is_ok()).cloned());
        }
        let rule = |pattern: &String| {
            Rule::new(&GrantSpec {
                secret: "prod/A".into(),
                value_len: 1,
                targets: vec![target("a.example".parse().unwrap())],
                place: place(Form::Bearer),
                methods: vec![],
                paths: vec![pattern.clone()],
                allow_private: true,
            })
        };
        let mut compared = 0;
        for wide in &sound {
            let rule = rule(wide).unwrap();
            // A pattern without a star is a path.
            for path in sound.iter().filter(|path| !path.contains('*')) {
                let asked = Asked {
                    scheme: Scheme::Https,
                    host: "a.example",
                    port: 443,
                    method: "GET",
                    path,
                };
                assert_eq!(covers(wide, path), rule.judge(asked).is_ok(), "{wide} {path}");
                compared += 1;
            }
        }
        assert!(compared > 10_000, "{compared}");
    }

    #[test]
    fn p7_every_form_that_can_be_sealed_is_a_place_that_the_worker_takes() {
        let takes = |form: Form| {
            let spec = GrantSpec {
                secret: "prod/A".into(),
                value_len: 9,
                targets: vec![target("a.example".parse().unwrap())],
                place: place(form),
                methods: vec![],
                paths: vec![],
                allow_private: true,
            };
            let value = Secret::from_slice_wiping(&mut b"a-value-9".to_vec()).unwrap();
            Book::default().grant("L", vec![spec], &value, |_| true).is_ok()
        };
        let names = "host content-length content-type content-encoding accept-encoding transfer-encoding connection upgrade te trailer \
                     expect keep-alive cookie proxy-authenticate proxy-authorization proxy-connection x-api-key authorization";
        let names = names.split_whitespace().map(str::to_owned);
        let odd = (0x20..0x7f_u8).map(|byte| format!("x{}", char::from(byte)));
        let (mut sealed, mut not) = (0, 0);
        for name in names.chain(odd).chain([String::new(), "x".repeat(64), "x".repeat(65)]) {
            for form in [
                Form::Header(Header {
                    name: name.to_ascii_lowercase(),
                    prefix: "token ".into(),
                }),
                Form::Place(Sealed::Query { name: name.clone() }),
                Form::Place(Sealed::Cookie { name: name.clone() }),
                Form::Place(Sealed::Basic { user: Some(name.clone()) }),
            ] {
                let is_sound = form.is_sound();
                // What is refused before the touch needs no second refusal behind it; the other way round costs a touch.
                assert!(!is_sound || takes(form.clone()), "{form}");
                sealed += usize::from(is_sound);
                not += usize::from(!is_sound);
            }
        }
        assert!(sealed > 100 && not > 50, "{sealed} {not}");
    }

    #[test]
    fn what_is_sealed_for_the_proxy_is_what_its_worker_takes() {
        assert_eq!(crate::vault::LONGEST_PROXIED, crate::deliver::proxy::protocol::LONGEST_VALUE);
    }

    #[test]
    fn p5_a_value_of_the_lease_in_a_path_is_masked_in_the_log_before_the_path_is_cut() {
        let value = "ghp_Sup3rS3cretValueThatNobodyMaySee0123";
        let forms = Patterns::new([("prod/BOT", value.as_bytes())]);
        for path in [
            format!("/bot{value}/x"),
            format!("/{}{value}", "x".repeat(180)),
            format!("/x{}", &value[..20]),
        ] {
            let said = shortened(&masked(&forms, &path));
            assert!(!said.contains(&value[..8]) && said.contains("<touch"), "{said}");
        }
        let escaped: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(masked(&forms, &format!("/bot{escaped}/x")), "/bot<touchlease:prod/BOT>/x");
        assert_eq!(masked(&forms, "/v4/accounts"), "/v4/accounts");
    }

    #[test]
    fn the_largest_roots_fit_into_the_first_order() {
        let line = format!("{}\n", "x".repeat(64));
        let opening = Opening {
            network: Network::Open,
            roots: vec![line.repeat(LARGEST_ROOTS / line.len())],
            system_roots: true,
            hosts: vec!["x".repeat(253); 24],
            offers: vec![],
            upstream: None,
        };
        assert!(head_and_json(&Order::Open(opening), 32).is_ok());
    }
}
