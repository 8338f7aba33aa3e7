//! Exchanges with OpenBao, one worker for each. What it gives is the lease's: it goes out with the reply, and is taken back when the lease ends.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::house::{House, OpenVault};
use super::leases::gone;
use crate::audit::event::{self, Revoked};
use crate::deliver::openbao::protocol::{Login, Named, Order, Report, SUBCOMMAND};
use crate::encoding::plain::visible;
use crate::encoding::{SecretRef, exchange::Exchange};
use crate::lease::failure::locked_memory;
use crate::lease::ledger::{Lease, Why};
use crate::lease::record::{self, Journal};
use crate::lease::text::{LeaseText, TokenText};
use crate::lease::token;
use crate::secret::Secret;
use crate::vault::Material;
use crate::wire::reply::Delivered;
use crate::wire::request::LeaseAsk;
use crate::wire::{Failure, Outcome, Value};
use crate::worker::{self, inbox::Inbox};

/// How long a worker may take to say how it went: more than it takes itself.
const GIVEN_WITHIN: Duration = Duration::from_secs(40);
/// How long whoever ends a lease waits to hear that its token is revoked.
const HEARD_WITHIN: Duration = Duration::from_secs(5);
/// How long a daemon that stops waits for what is being revoked. A worker that needs longer does it without the daemon.
const STOPPED_WITHIN: Duration = Duration::from_secs(3);

/// The exchanges whose tokens are not revoked yet.
#[derive(Default)]
pub(super) struct Exchanges {
    open: Cell<usize>,
    one_less: Notify,
}

impl Exchanges {
    /// Until there is none, or for as long as a daemon that stops has time.
    pub(super) async fn finish(&self) {
        let none = async {
            while self.open.get() > 0 {
                self.one_less.notified().await;
            }
        };
        if timeout(STOPPED_WITHIN, none).await.is_err() {
            tracing::error!(
                count = self.open.get(),
                "tokens of OpenBao's are not revoked yet; their workers try on without the daemon"
            );
        }
    }
}

/// The end of an exchange, for whoever holds its lease.
pub(super) struct Ending(oneshot::Receiver<Option<String>>);

impl Ending {
    /// What a person has to know of it, when the lease is over: nothing where the token is revoked.
    pub(super) async fn heard(self) -> Option<String> {
        match timeout(HEARD_WITHIN, self.0).await {
            Ok(Ok(said)) => said,
            Ok(Err(_)) | Err(_) => Some(unrevoked("OpenBao has not answered yet")),
        }
    }
}

fn unrevoked(why: &str) -> String {
    format!(
        "what OpenBao gave is NOT revoked yet ({why}); it is tried on until its time is over, and touchlease audit show tells how it went"
    )
}

/// What is wrong with a request before anybody is asked for a touch: what OpenBao gives is for a lease that is delivered with its reply.
///
/// # Errors
/// It is asked for otherwise.
pub(super) fn check(ask: &LeaseAsk) -> Result<(), Failure> {
    let exchanged = ask
        .with
        .iter()
        .any(|grant| grant.token.as_ref().is_some_and(|token| token.exchange.is_some()));
    match exchanged && (!ask.deliver || ask.hold) {
        true => {
            let message = "what an exchange gives comes with the reply, and ends with the connection";
            Err(Failure::new(Outcome::BadInput, "exchange", message)
                .hint("let a command have it: touchlease exchange openbao prod/bao -- COMMAND"))
        }
        false => Ok(()),
    }
}

/// What an exchange needs to begin.
struct Begun {
    login: Login,
    secret: SecretRef,
    jwt: Secret,
}

/// Exchanges the token of a lease that is for that, and gives what came; nothing for another lease.
///
/// # Errors
/// The lease is over, the log cannot be written, OpenBao gives nothing.
pub(super) async fn deliver(house: &Rc<House>, open: &OpenVault, lease: &Lease) -> Result<Option<(Ending, Vec<Delivered>)>, Failure> {
    let is_one = |text: &LeaseText, _: &Material| text.exchange().is_some();
    if !house.ledger.with_material(lease, is_one).map_err(|_| gone())? {
        return Ok(None);
    }
    let Begun { login, secret, jwt } = begin(house, open, lease)?;
    let via = if login.wanted.files { "file" } else { "env" };
    let keeper = Keeper::start(house, open, lease, &login.exchange)?;
    let ((given, giving), (over, ending)) = (oneshot::channel(), oneshot::channel());
    tokio::task::spawn_local(keeper.keep(login, jwt, given, over));
    let (values, mut tail) = giving.await.map_err(|_| failed("worker", "its process ended"))??;
    let mut delivered = Vec::new();
    let mut rest = tail.expose_mut();
    for Named { env, len } in values {
        let (value, more) = rest
            .split_at_mut_checked(len)
            .ok_or_else(|| failed("worker", "it says what it does not send"))?;
        rest = more;
        delivered.push(Delivered {
            secret: secret.to_string(),
            via: via.into(),
            env: Some(env),
            value: Value(Secret::from_slice_wiping(value).map_err(locked_memory)?),
        });
    }
    Ok(Some((Ending(ending), delivered)))
}

/// Signs the token: one use, counted and recorded before it goes anywhere.
fn begin(house: &House, open: &OpenVault, lease: &Lease) -> Result<Begun, Failure> {
    open.log.check_clock()?;
    let left = house.ledger.left(lease).map_err(|_| gone())?;
    let at = token::At {
        now: house.clock.wall(),
        left,
    };
    let uses = house.ledger.take_use(lease).map_err(|_| gone())?;
    let what = |text: &LeaseText, _: &Material| {
        let tokens = text.tokens(uses).into_iter();
        let said = tokens.map(|(jti, token): (String, &TokenText)| format!("token {jti} for {}, exchanged with OpenBao", token.aud));
        said.collect::<Vec<_>>().join(", ")
    };
    let what = house.ledger.with_material(lease, what).map_err(|_| gone())?;
    record::used(&open.log, lease.id(), "signer", &what, uses)?;
    let sign = |text: &LeaseText, material: &Material| {
        let missing = || failed("text", "the lease says nothing of it");
        let grant = text.grants.first().ok_or_else(missing)?;
        let (_, exchange) = text.exchange().ok_or_else(missing)?;
        let jti = text.tokens(uses).into_iter().map(|(jti, _)| jti).next().unwrap_or_default();
        Ok(Begun {
            jwt: token::mint(text, material, grant, jti, at)?,
            secret: grant.secret.clone(),
            login: Login {
                exchange: exchange.rule.clone(),
                wanted: exchange.wanted.clone(),
                lease: text.id.clone(),
                left_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            },
        })
    };
    house.ledger.with_material(lease, sign).map_err(|_| gone())?
}

type Given = Result<(Vec<Named>, Secret), Failure>;

/// The daemon's side of a worker.
struct Keeper {
    house: Rc<House>,
    log: Rc<Journal>,
    lease: Lease,
    policies: Vec<String>,
    inbox: Inbox,
    /// Not killed when dropped: it revokes.
    _process: Child,
    /// Accessor of what is to be revoked, once there is something.
    accessor: Option<String>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let exchanges = &self.house.exchanges;
        exchanges.open.set(exchanges.open.get().saturating_sub(1));
        exchanges.one_less.notify_one();
    }
}

impl Keeper {
    fn start(house: &Rc<House>, open: &OpenVault, lease: &Lease, exchange: &Exchange) -> Result<Self, Failure> {
        let (socket, process) = worker::start_lasting(&house.program, SUBCOMMAND).map_err(|error| failed("worker", &error.to_string()))?;
        let inbox = Inbox::new(socket).map_err(locked_memory)?;
        let lease = house.ledger.look_up(lease.id()).ok_or_else(gone)?;
        house.exchanges.open.set(house.exchanges.open.get() + 1);
        Ok(Self {
            house: house.clone(),
            log: open.log.clone(),
            lease,
            policies: exchange.policies.iter().cloned().collect(),
            inbox,
            _process: process,
            accessor: None,
        })
    }

    /// Until OpenBao has taken back what it gave, or nobody can know any more.
    async fn keep(mut self, login: Login, jwt: Secret, given: oneshot::Sender<Given>, over: oneshot::Sender<Option<String>>) {
        let mut over = Some(over);
        let opened = async {
            self.inbox.send(&Order::Login(Box::new(login.clone())), jwt.expose()).await?;
            drop(jwt);
            self.inbox.next::<Report>().await
        };
        let opened = match timeout(GIVEN_WITHIN, opened).await {
            Ok(opened) => opened,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let began = self.opened(&login, opened);
        // Whoever waited for it may have gone, which ends the lease.
        let _ = given.send(began);
        while self.accessor.is_some() && self.house.ledger.is_live(self.lease.id()) {
            let house = self.house.clone();
            tokio::select! {
                () = house.ledger.changed() => {}
                heard = self.inbox.next::<Report>() => {
                    // It has nothing to say before the end: it is gone, and its token with it for all that anybody knows.
                    let why = heard.err().map_or_else(|| "its worker says what was not asked".to_owned(), |error| format!("its worker ended ({})", error.kind()));
                    self.ended(Revoked::Unknown, Some(why.clone()));
                    let ended = self.house.ledger.end(self.lease.id(), Why::NotDelivered);
                    self.house.record_over(&Vec::from_iter(ended));
                    say(&mut over, Some(unrevoked(&why)));
                    return;
                }
            }
        }
        self.revoke(&mut over).await;
    }

    /// What came, once it is on record.
    fn opened(&mut self, login: &Login, opened: io::Result<(Report, Secret)>) -> Given {
        let (report, tail) = opened.map_err(|error| failed("worker", &format!("its process does not answer ({})", error.kind())))?;
        match report {
            Report::Given {
                accessor,
                server,
                token,
                ttl,
                values,
            } => {
                self.accessor = Some(accessor.clone());
                if !self.house.ledger.is_live(self.lease.id()) {
                    return Err(gone());
                }
                let exchanged = event::Exchanged {
                    accessor,
                    fetched: login.wanted.fetch.iter().map(|fetch| fetch.path.clone()).collect(),
                    lease: self.lease.id().to_owned(),
                    policies: self.policies.clone(),
                    server,
                    token,
                    ttl,
                    uses: login.wanted.uses,
                };
                record::exchanged(&self.log, exchanged)?;
                Ok((values, tail))
            }
            Report::NotGiven { reason, why, left } => {
                self.accessor = left;
                if self.accessor.is_some() {
                    self.ended(Revoked::NotRevoked, Some(why.clone()));
                }
                Err(failed(&reason, &why))
            }
            _ => Err(failed("worker", "it says what was not asked")),
        }
    }

    async fn revoke(&mut self, over: &mut Option<oneshot::Sender<Option<String>>>) {
        if self.accessor.is_none() {
            return;
        }
        // One that is gone says nothing either, below.
        let _ = self.inbox.send(&Order::Revoke, &[]).await;
        let mut is_said = false;
        loop {
            match self.inbox.next::<Report>().await {
                Ok((Report::Revoked { before }, _)) => {
                    self.ended(if before { Revoked::OverBefore } else { Revoked::Revoked }, None);
                    return say(over, None);
                }
                Ok((Report::RanOut, _)) => return self.ended(Revoked::RanOut, None),
                Ok((Report::NotRevoked { why }, _)) => {
                    let why = visible(&why);
                    tracing::error!(lease = self.lease.id(), "a token of OpenBao's is not revoked: {why}");
                    if !std::mem::replace(&mut is_said, true) {
                        self.ended(Revoked::NotRevoked, Some(why.clone()));
                        say(over, Some(unrevoked(&why)));
                    }
                }
                Ok(_) | Err(_) => {
                    let why = "its worker ended";
                    self.ended(Revoked::Unknown, Some(why.into()));
                    return say(over, Some(unrevoked(why)));
                }
            }
        }
    }

    fn ended(&self, what: Revoked, why: Option<String>) {
        let event = event::ExchangeEnded {
            accessor: self.accessor.clone().unwrap_or_default(),
            lease: self.lease.id().to_owned(),
            what,
            why,
        };
        record::best_effort(&self.log, event::Event::ExchangeEnded(event));
    }
}

/// Said once.
fn say(over: &mut Option<oneshot::Sender<Option<String>>>, said: Option<String>) {
    if let Some(over) = over.take() {
        // Whoever held the lease may have gone.
        let _ = over.send(said);
    }
}

fn failed(reason: &str, why: &str) -> Failure {
    let message = format!("OpenBao gives nothing: {}", visible(why));
    match reason {
        "login" => Failure::new(Outcome::Refused, "exchange_login", message),
        "role_uses" => Failure::new(Outcome::Refused, "exchange_role_uses", message),
        "not_revocable" => Failure::new(Outcome::Refused, "exchange_not_revocable", message),
        "limits" => Failure::new(Outcome::Refused, "exchange_limits", message),
        "fetch" => Failure::new(Outcome::Refused, "exchange_fetch", message),
        "ca" => Failure::new(Outcome::Refused, "exchange_ca", message),
        _ => return Failure::new(Outcome::Internal, "exchange_worker", message).ours(),
    }
    .hint("look whether OpenBao's role and policies are as docs/signers.md has them; then run the command again")
}
