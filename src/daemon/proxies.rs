//! The proxy's workers, one for each session. A session is the connection of a `run`: it opens with it and ends with it, and leases come
//! and go behind it. A value goes from the lease's material into the worker's socket, and nowhere else.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use tokio::process::Child;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::house::{House, OpenVault};
use crate::clock::Boot;
use crate::deliver::mask::{self, Patterns};
use crate::deliver::proxy::protocol::{GrantSpec, Network, Opening, Order, Place, Report, SUBCOMMAND, Scheme, Target, Verdict};
use crate::encoding::plain;
use crate::encoding::target::Host;
use crate::lease::failure::{internal, locked_memory};
use crate::lease::grant::Via;
use crate::lease::ledger::{Lease, NoUse, Why};
use crate::lease::office::Asker;
use crate::lease::record::{self, Journal};
use crate::lease::text::{GrantText, Holder, LeaseText};
use crate::secret::Secret;
use crate::sys::file::read_text;
use crate::vault::{Form, Header, Material, Place as Sealed};
use crate::wire::reply::{Placeholder, ProxyView};
use crate::wire::request::LeaseAsk;
use crate::wire::{Event, Failure, Outcome, Value};
use crate::worker::frame::head_and_json;
use crate::worker::{self, inbox::Inbox};

/// How long a worker may take to listen, and to take a lease in: a hundred times what it takes.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// How long a worker may take to cut what a lease carried, before it is killed (P4).
const CUT_WITHIN: Duration = Duration::from_millis(800);
/// Lines of refusals and echoes in the log, of one lease in a second: a flood of them must not fill the disk, nor hold anybody up (P4).
const LINES_A_SECOND: u32 = 20;
/// Longest path in a line of the log, in bytes.
const LONGEST_PATH: usize = 200;
/// Most certificates of a company, in bytes: with their line ends written as JSON, and the hosts beside them, they fit into one frame.
const LARGEST_ROOTS: usize = 40 * 1024;

/// A session, for as long as it is kept.
pub(super) struct Session {
    /// Nothing is sent; it closes when the session is dropped.
    _open: UnboundedSender<Grant>,
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
}

/// How many lines there were in this second.
struct Brake {
    since: Boot,
    said: u32,
    unsaid: u64,
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
    granting: Option<(String, Done)>,
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
    let Some(wanted) = looked.map_err(|_| over())?? else {
        return Ok(None);
    };
    let network = match ask.network.as_deref() {
        None | Some("open") => Network::Open,
        Some("granted-only") => Network::GrantedOnly,
        Some(other) => {
            let message = format!("{:?} is no network", plain::visible(other));
            return Err(Failure::new(Outcome::BadInput, "network", message).hint("open and granted-only are"));
        }
    };
    let mut bearer = [0; 16];
    house.random.borrow_mut().fill_bytes(&mut bearer);
    let bearer = Secret::from_slice_wiping(&mut HEXLOWER.encode(&bearer).into_bytes()).map_err(locked_memory)?;
    let opening = Opening {
        network,
        roots: roots(house.config().proxy_roots.as_deref())?,
        system_roots: true,
        hosts: wanted.hosts,
    };
    let (inbox, process, port, ca) = start(house, opening, &bearer).await?;
    let (orders, grants) = unbounded_channel();
    let keeper = Keeper {
        house: house.clone(),
        inbox,
        _process: process,
        tell: asker.tell.clone(),
        given: BTreeMap::new(),
        cutting: BTreeMap::new(),
        granting: None,
    };
    tokio::task::spawn_local(keeper.keep(grants));
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
    let view = ProxyView {
        port,
        bearer: Value(bearer),
        ca,
        placeholders: variables
            .map(|((secret, env), placeholder)| Placeholder { secret, env, placeholder })
            .collect(),
        hosts: wanted.names,
    };
    Ok(Some((Session { _open: orders }, view)))
}

/// What a worker is told of a lease, and what its requester is.
struct Wanted {
    order: Order,
    values: Secret,
    /// What its values look like.
    forms: Patterns,
    /// Hosts that the session's CA signs for.
    hosts: Vec<String>,
    /// The same as rules name them, with their ports.
    names: Vec<String>,
    /// Secret and variable of each grant.
    variables: Vec<(String, String)>,
}

/// Nothing where nothing of the lease goes by proxy.
fn order(text: &LeaseText, material: &Material) -> Result<Option<Wanted>, Failure> {
    let proxied: Vec<_> = text.grants.iter().filter(|grant| grant.via == Via::Proxy).collect();
    if proxied.is_empty() {
        return Ok(None);
    }
    let missing = || internal("material", "the lease holds no value for one of its grants");
    let value = |grant: &&GrantText| material.value(&grant.secret.scope, &grant.secret.name).ok_or_else(missing);
    let values = proxied.iter().map(value).collect::<Result<Vec<_>, _>>()?;
    let mut tail = Secret::zeroed(values.iter().map(|value| value.len()).sum()).map_err(locked_memory)?;
    let mut rest = tail.expose_mut();
    for value in &values {
        let (here, behind) = rest.split_at_mut(value.len());
        here.copy_from_slice(value.expose());
        rest = behind;
    }
    let specs = proxied.iter().zip(&values).map(|(grant, value)| spec(grant, value.len()));
    let specs = specs.collect::<Result<Vec<_>, _>>()?;
    let hosts: std::collections::BTreeSet<_> = specs
        .iter()
        .flat_map(|spec| &spec.targets)
        .map(|target| target.host.clone())
        .collect();
    let names = proxied
        .iter()
        .filter_map(|grant| grant.proxy.as_ref())
        .flat_map(|proxy| proxy.hosts.clone());
    let order = Order::Grant {
        lease: text.id.clone(),
        grants: specs,
    };
    if head_and_json(&order, tail.len()).is_err() {
        let message = "the lease has more hosts, paths or values than one proxy takes: 48 KiB of rules, 64 KiB of values";
        return Err(Failure::new(Outcome::Refused, "too_much", message).hint("ask for fewer secrets in one task"));
    }
    Ok(Some(Wanted {
        hosts: hosts.into_iter().collect(),
        names: names.collect(),
        variables: proxied
            .iter()
            .map(|grant| (grant.secret.to_string(), grant.env.clone().unwrap_or_default()))
            .collect(),
        order,
        values: tail,
        forms: forms(text, material),
    }))
}

/// How the values of all grants look, delivered in whatever way.
fn forms(text: &LeaseText, material: &Material) -> Patterns {
    let all = text.grants.iter().filter_map(|grant| {
        let value = material.value(&grant.secret.scope, &grant.secret.name)?;
        Some((grant.secret.to_string(), value))
    });
    let all: Vec<_> = all.collect();
    Patterns::new(all.iter().map(|(name, value)| (name.as_str(), value.expose())))
}

/// The text with masks where values of the lease are.
fn masked(forms: &Patterns, text: &str) -> String {
    String::from_utf8_lossy(&mask::masked(forms, text.as_bytes()).0).into_owned()
}

/// The grant as it was signed, in the worker's words.
fn spec(grant: &GrantText, value_len: usize) -> Result<GrantSpec, Failure> {
    let unsigned = || internal("grant", "what was signed does not say where the proxy may send it");
    let proxy = grant.proxy.as_ref().ok_or_else(unsigned)?;
    let form: Form = proxy.form.parse().map_err(|_| unsigned())?;
    let hosts = proxy.hosts.iter().map(|host| host.parse::<Host>().map(target));
    Ok(GrantSpec {
        secret: grant.secret.to_string(),
        value_len,
        targets: hosts.collect::<Result<_, _>>().map_err(|_| unsigned())?,
        place: place(form),
        methods: proxy.methods.clone(),
        paths: proxy.paths.clone(),
        // A company's own hosts have such addresses, and the name was sealed by a person. Those of this machine and of its link are another
        // matter, which the worker judges by the name itself.
        allow_private: true,
    })
}

fn target(host: Host) -> Target {
    Target {
        scheme: if host.plain { Scheme::Http } else { Scheme::Https },
        host: if host.name.contains(':') {
            format!("[{}]", host.name)
        } else {
            host.name
        },
        port: host.port,
    }
}

fn place(form: Form) -> Place {
    match form {
        Form::Bearer => Place::Header {
            name: "authorization".into(),
            prefix: "Bearer ".into(),
        },
        Form::Header(Header { name, prefix }) => Place::Header { name, prefix },
        Form::Place(Sealed::Basic { user }) => Place::Basic { user },
        Form::Place(Sealed::Query { name }) => Place::Query { name },
        Form::Place(Sealed::Cookie { name }) => Place::Cookie { name },
    }
}

/// Read anew for each session, from the place that the configuration names and no client does (T21).
fn roots(file: Option<&Path>) -> Result<Vec<String>, Failure> {
    let Some(file) = file else { return Ok(vec![]) };
    match read_text(file, LARGEST_ROOTS) {
        Ok(text) => Ok(vec![text]),
        Err(error) => Err(Failure::new(
            Outcome::BadInput,
            "proxy_roots",
            format!(
                "{}, named by proxy_roots in the configuration, cannot be read: {error}",
                file.display()
            ),
        )
        .hint("name a file of at most 40 KiB of certificates in PEM, the company's own and not the system's, or remove the line from config.toml")),
    }
}

/// Starts a worker, as those on keys are started, and waits until it listens.
async fn start(house: &House, opening: Opening, bearer: &Secret) -> Result<(Inbox, Child, u16, String), Failure> {
    let (socket, process) = worker::start(&house.program, SUBCOMMAND).map_err(|error| broken(&format!("no process: {error}")))?;
    let mut inbox = Inbox::new(socket).map_err(locked_memory)?;
    let ready = async {
        inbox.send(&Order::Open(opening), bearer.expose()).await?;
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
        };
        self.given.insert(id.clone(), given);
        self.granting = Some((id, grant.done));
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
            Report::Use {
                seq,
                lease,
                method,
                host,
                path,
                ..
            } => {
                let verdict = self.used(&lease, &format!("{method} {host}"), &path);
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

    /// Counts a use, and writes it down, before it happens.
    fn used(&self, lease: &str, whom: &str, path: &str) -> Verdict {
        let Some(given) = self.given.get(lease).filter(|_| !self.cutting.contains_key(lease)) else {
            return Verdict::Gone;
        };
        // Masked before it is cut: a part of a value is none of its forms.
        let what = format!("{}{}", masked(&given.forms, whom), shortened(&masked(&given.forms, path)));
        match self.house.ledger.take_use(&given.lease) {
            Err(NoUse::Gone) => Verdict::Gone,
            Err(NoUse::UsedUp) => Verdict::UsedUp,
            // What is not in the log does not happen.
            Ok(left) => match record::used(&given.log, lease, "proxy", &plain::visible(&what), left) {
                Ok(()) => Verdict::Go,
                Err(failure) => {
                    tracing::error!(reason = failure.reason, "a use could not be recorded");
                    Verdict::Gone
                }
            },
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
        if done.is_err() {
            self.given.remove(lease);
        }
        if let Some((_, granting)) = self.granting.take_if(|(granting, _)| granting == lease) {
            // Whoever asked may have gone.
            let _ = granting.send(done);
        }
    }

    /// The worker ended by itself. What the command has of its leases is placeholders, so they are over for it.
    fn gone(mut self) {
        if let Some((_, granting)) = self.granting.take() {
            let _ = granting.send(Err(broken("it ended")));
            return;
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

impl Brake {
    fn new(since: Boot) -> Self {
        Self { since, said: 0, unsaid: 0 }
    }

    /// Whether there is a line for it; then how many had none before.
    fn take(&mut self, now: Boot) -> Option<u64> {
        if now.since(self.since) >= Duration::from_secs(1) {
            (self.since, self.said) = (now, 0);
        }
        if self.said >= LINES_A_SECOND {
            self.unsaid += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

fn shortened(path: &str) -> String {
    if path.len() <= LONGEST_PATH {
        return path.to_owned();
    }
    let end = (0..=LONGEST_PATH).rev().find(|end| path.is_char_boundary(*end)).unwrap_or_default();
    format!("{}...", &path[..end])
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
    use super::*;
    use crate::deliver::proxy::rules::{Asked, Rule};
    use crate::encoding::target::{check_pattern, covers};

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
    fn what_is_sealed_for_the_proxy_is_what_its_worker_takes() {
        assert_eq!(crate::vault::LONGEST_PROXIED, crate::deliver::proxy::protocol::LONGEST_VALUE);
    }

    #[test]
    fn p4_a_flood_of_refusals_has_twenty_lines_a_second_and_says_what_it_left_out() {
        let mut brake = Brake::new(Boot(0));
        let said: Vec<u64> = (0..3000).filter_map(|ms| brake.take(Boot(ms))).collect();
        assert_eq!(said.len(), 60);
        assert_eq!((said[0], said[20], said[40], said[41]), (0, 980, 980, 0));
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
        };
        assert!(head_and_json(&Order::Open(opening), 32).is_ok());
    }

    #[test]
    fn a_long_path_is_cut_at_a_letter() {
        assert_eq!(shortened("/v4"), "/v4");
        assert_eq!(shortened(&format!("/{}ä", "x".repeat(198))), format!("/{}...", "x".repeat(198)));
    }
}
