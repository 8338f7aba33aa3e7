//! Calls about leases.

use std::path::Path;
use std::rc::Rc;

use super::connection::Handled;
use super::house::{House, OpenVault};
use super::loans::Loans;
use super::logins;
use super::signing::{SignAsk, Signing, Signs, signs_nothing};
use super::{exchanges, peer, proxies, signatures};
use crate::device::enrolled::Piv;
use crate::device::{EnrolledKey, KeyId};
use crate::encoding::Digest;
use crate::encoding::id::{self, IdError};
use crate::encoding::plain;
use crate::lease::failure::locked_memory;
use crate::lease::grant::Via;
use crate::lease::ledger::{Lease, Over, Stake, Why};
use crate::lease::office::Asker;
use crate::lease::text::{GrantText, Holder, LeaseText};
use crate::lease::{certificate, collapse, record, token};
use crate::mint::LoginKey;
use crate::secret::Secret;
use crate::sys;
use crate::vault::Material;
use crate::wire::reply::{Delivered, Granted, Placeholder, ProxyView};
use crate::wire::request::{LeaseAsk, ProxyAsk};
use crate::wire::{Call, Failure, Outcome, Reply, Request, Value};

/// What a connection keeps for as long as it lasts.
pub(super) enum Kept {
    /// A stake in a lease.
    Lease(Held),
    /// A proxy without a lease.
    Proxy(proxies::Session),
}

impl Kept {
    /// Whether this lease's end is the connection's.
    pub(super) fn is_of(&self, lease: &str) -> bool {
        matches!(self, Self::Lease(held) if held.id() == lease)
    }

    /// As [`Signing::sign`].
    pub(super) fn sign(&self, asked: Vec<SignAsk>) -> Vec<Result<String, Failure>> {
        match self.signing() {
            Some(signing) => signing.sign(asked),
            None => asked.iter().map(|_| Err(signs_nothing())).collect(),
        }
    }

    /// Whether the lease has no uses left, as far as it is for signatures and has a limit.
    pub(super) fn is_used_up(&self) -> bool {
        self.signing().is_some_and(|signing| signing.is_used_up())
    }

    /// A lease of signatures that time alone limits has clients lent to it.
    pub(super) fn loans(&self) -> Option<Loans> {
        self.signing().filter(|signing| signing.is_endless()).map(Loans::new)
    }

    fn signing(&self) -> Option<&Rc<Signing>> {
        match self {
            Self::Lease(held) => held.signing.as_ref(),
            Self::Proxy(_) => None,
        }
    }

    /// The child has ended, or the lease before it: what there is to hear of what was exchanged.
    pub(super) fn done(self, why: Why) -> Option<exchanges::Ending> {
        match self {
            Self::Lease(held) => held.done(why),
            Self::Proxy(session) => {
                drop(session);
                None
            }
        }
    }
}

/// What a lease is to sign for its connection, before there is one.
enum ToSign {
    /// Logins, with this key.
    Logins(LoginKey),
    /// SSH signatures.
    Signatures,
}

/// What goes out with the reply.
#[derive(Default)]
struct Out {
    values: Vec<Delivered>,
    proxy: Option<ProxyView>,
    placeholders: Vec<Placeholder>,
}

/// A connection's stake in a lease; given up when dropped.
pub(super) struct Held {
    house: Rc<House>,
    lease: Rc<Lease>,
    stake: Stake,
    /// The proxy of the connection, which ends with it.
    _proxy: Option<proxies::Session>,
    /// Of one whose key stays here: what it has signed.
    signing: Option<Rc<Signing>>,
    /// What OpenBao gave, for a lease that is for that.
    exchange: Option<exchanges::Ending>,
    given_up: bool,
}

impl Held {
    /// From now on the connection hears of the lease's end.
    pub(super) fn new(house: &Rc<House>, lease: Lease, stake: Stake, asker: &Asker) -> Self {
        house.ledger.listen(&lease, stake, asker.tell.clone());
        Self {
            house: house.clone(),
            lease: Rc::new(lease),
            stake,
            _proxy: None,
            signing: None,
            exchange: None,
            given_up: false,
        }
    }

    pub(super) fn id(&self) -> &str {
        self.lease.id()
    }

    /// A lease whose key stays here: for logins the certificate goes out.
    fn begin_signing(&mut self, open: &Rc<OpenVault>, signs: ToSign) -> Result<Out, Failure> {
        let mut out = Out::default();
        let signs = match signs {
            ToSign::Signatures => Signs::Signatures,
            ToSign::Logins(key) => {
                let (login, certificate) = logins::certify(&self.house, open, &self.lease, key)?;
                let sent = |text: &LeaseText, _: &Material| text.values().next().map(|grant| sent(grant, certificate));
                out.values
                    .extend(self.house.ledger.with_material(&self.lease, sent).map_err(|_| gone())?);
                Signs::Logins(Box::new(login))
            }
        };
        self.signing = Some(Rc::new(Signing::new(&self.house, &self.lease, signs, open)?));
        Ok(out)
    }

    /// A lease of values: of those that OpenBao gives, or of sealed ones, each on its way.
    async fn hand_out(&mut self, open: &Rc<OpenVault>, ask: &LeaseAsk, asker: &Asker) -> Result<Out, Failure> {
        let house = self.house.clone();
        let mut out = Out::default();
        if let Some((ending, values)) = exchanges::deliver(&house, open, &self.lease).await? {
            self.exchange = Some(ending);
            out.values = values;
            return Ok(out);
        }
        if let Some(session) = &ask.session {
            out.placeholders = proxies::join(&house, open, &self.lease, session).await?;
        } else {
            (self._proxy, out.proxy) = proxies::deliver(&house, open, &self.lease, ask, asker).await?.unzip();
        }
        if self.stake == Stake::Uses {
            out.values = values(&house, open, &self.lease, ask)?;
        }
        Ok(out)
    }

    fn done(mut self, why: Why) -> Option<exchanges::Ending> {
        self.give_up(why);
        self.exchange.take()
    }

    fn give_up(&mut self, why: Why) {
        if std::mem::replace(&mut self.given_up, true) {
            return;
        }
        let ended = self.house.ledger.release(&self.lease, self.stake, why);
        self.house.record_over(&Vec::from_iter(ended));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_up(Why::RequesterGone);
    }
}

/// A lease, new or joined.
///
/// # Errors
/// See [`Failure`].
pub(super) async fn request(house: &Rc<House>, path: &Path, ask: &LeaseAsk, asker: &Asker) -> Result<Handled, Failure> {
    let open = house.open(path)?;
    let office = house.office(&open);
    proxies::check(house, ask)?;
    exchanges::check(ask)?;
    let (ask, key) = match logins::prepare(house, ask)? {
        Some((ask, key)) => (&{ ask }, Some(key)),
        None => (ask, None),
    };
    let signing = match key {
        Some(key) => Some(ToSign::Logins(key)),
        None => signatures::check(ask)?.then_some(ToSign::Signatures),
    };
    let (lease, joined) = collapse::request(&office, ask, asker).await?;
    // By what it was judged by: the file may say something else since the prompt came up.
    if office.lobby.limits.end_when_unplugged && !joined {
        watch_key(house, &open, &lease);
    }
    if !ask.deliver && !ask.hold {
        if !joined {
            watch_holder(house, &lease);
        }
        let out = Out {
            placeholders: come_to(house, &open, &lease, joined, ask).await?,
            ..Out::default()
        };
        return Ok(Handled {
            reply: granted(house, &lease, joined, out)?,
            held: None,
        });
    }
    // From here on whatever goes wrong gives the lease up.
    let stake = if ask.deliver { Stake::Uses } else { Stake::Keeps };
    let mut held = Held::new(house, lease, stake, asker);
    let out = match signing {
        Some(signing) => held.begin_signing(&open, signing)?,
        None => held.hand_out(&open, ask, asker).await?,
    };
    Ok(Handled {
        reply: granted(house, &held.lease, joined, out)?,
        held: Some(Kept::Lease(held)),
    })
}

/// The lease's placeholders in the session that it is asked for, if it is. A new one that does not get there is over.
async fn come_to(house: &Rc<House>, open: &OpenVault, lease: &Lease, joined: bool, ask: &LeaseAsk) -> Result<Vec<Placeholder>, Failure> {
    let Some(session) = &ask.session else { return Ok(vec![]) };
    let came = proxies::join(house, open, lease, session).await;
    if came.is_err() && !joined {
        let over = house.ledger.end(lease.id(), Why::NotDelivered);
        house.record_over(&Vec::from_iter(over));
    }
    came
}

/// A proxy for a connection, without a lease.
///
/// # Errors
/// See [`Failure`].
pub(super) async fn proxy(house: &Rc<House>, ask: &ProxyAsk, asker: &Asker) -> Result<Handled, Failure> {
    let (session, view) = proxies::open(house, ask, asker).await?;
    Ok(Handled {
        reply: Reply::Proxy(view),
        held: Some(Kept::Proxy(session)),
    })
}

fn granted(house: &House, lease: &Lease, joined: bool, out: Out) -> Result<Reply, Failure> {
    let (view, _, _) = house.ledger.show(lease.id()).ok_or_else(gone)?;
    let at_end = house.ledger.with_material(lease, |text, _| text.at_end).map_err(|_| gone())?;
    Ok(Reply::Granted(Granted {
        lease: view,
        joined,
        values: out.values,
        at_end: at_end.to_string(),
        proxy: out.proxy.map(Box::new),
        placeholders: out.placeholders,
    }))
}

/// The values: one use, counted and recorded before they go out. Tokens that are printed are one use each, all that the lease has. What goes
/// by proxy alone is used by its requests.
fn values(house: &House, open: &OpenVault, lease: &Lease, ask: &LeaseAsk) -> Result<Vec<Delivered>, Failure> {
    if house
        .ledger
        .with_material(lease, |text, _| text.values().next().is_none())
        .map_err(|_| gone())?
    {
        return Ok(vec![]);
    }
    let look = |text: &LeaseText, _: &Material| (text.is_of_printed_tokens(), text.has_tokens());
    let (printed, has_tokens) = house.ledger.with_material(lease, look).map_err(|_| gone())?;
    let mut values = Vec::new();
    loop {
        if has_tokens {
            // Their end is a time of the wall clock.
            open.log.check_clock()?;
        }
        let at = token::At {
            now: house.clock.wall(),
            left: house.ledger.left(lease).map_err(|_| gone())?,
        };
        let left = house.ledger.take_use(lease).map_err(|_| gone())?;
        let said = |text: &LeaseText, _: &Material| (text.deliveries(), what(text, ask, left));
        let (delivery, what) = house.ledger.with_material(lease, said).map_err(|_| gone())?;
        record::used(&open.log, lease.id(), &delivery, &what, left)?;
        let mut nonce = [0; 32];
        house.random.borrow_mut().fill_bytes(&mut nonce);
        let delivered = |text: &LeaseText, material: &Material| delivered(text, material, left, at, &nonce);
        values.extend(house.ledger.with_material(lease, delivered).map_err(|_| gone())??);
        if !printed || left.is_none_or(|left| left == 0) {
            return Ok(values);
        }
    }
}

/// What a use is for, in the log: a command, and each token or certificate by its id.
fn what(text: &LeaseText, ask: &LeaseAsk, left: Option<u32>) -> String {
    let command = ask.command.first().filter(|_| !text.is_of_printed_tokens());
    let command = command.map(|command| plain::visible(command));
    let tokens = text.tokens(left).into_iter();
    let tokens = tokens.map(|(jti, token)| format!("token {jti} for {}", token.aud));
    let certificate = text.certificate().into_iter();
    let certificate = certificate.map(|(grant, says)| format!("certificate {} by {} for {}", text.id, grant.secret, says.principal));
    command.into_iter().chain(tokens).chain(certificate).collect::<Vec<_>>().join(", ")
}

pub(super) fn gone() -> Failure {
    Failure::new(Outcome::Refused, "lease_over", "the lease ended before it could be used").hint("ask again")
}

fn delivered(text: &LeaseText, material: &Material, left: Option<u32>, at: token::At, nonce: &[u8; 32]) -> Result<Vec<Delivered>, Failure> {
    let mut ids = text.tokens(left).into_iter().map(|(id, _)| id);
    let mut one = |grant: &GrantText| {
        if grant.certificate.is_some() {
            let value = certificate::mint(text, material, grant, nonce, at)?;
            return Ok(sent(grant, value));
        }
        if grant.via == Via::Signer {
            let value = token::mint(text, material, grant, ids.next().unwrap_or_default(), at)?;
            return Ok(sent(grant, value));
        }
        let missing = || Failure::new(Outcome::Internal, "material", "the lease holds no value for one of its grants").ours();
        let value = material.value(&grant.secret.scope, &grant.secret.name).ok_or_else(missing)?;
        let value = value.duplicate().map_err(locked_memory)?;
        Ok(sent(grant, value))
    };
    text.values().map(&mut one).collect()
}

fn sent(grant: &GrantText, value: Secret) -> Delivered {
    Delivered {
        secret: grant.secret.to_string(),
        via: grant.via.to_string(),
        env: grant.env.clone(),
        value: Value(value),
    }
}

/// A lease ends when the key that approved it is pulled out (T18).
fn watch_key(house: &Rc<House>, open: &OpenVault, lease: &Lease) {
    let approved = house.ledger.show(lease.id()).map(|(view, _, _)| view.key);
    let keys = open.vault.borrow().keys();
    let Some(key) = keys.into_iter().find(|key| Some(&key.name) == approved.as_ref()) else {
        return;
    };
    let broker = house.broker.clone();
    end_after(house, lease, Why::KeyRemoved, async move {
        // A key that cannot be watched may be away.
        if let Err(error) = broker.wait_away(&key).await {
            tracing::error!(%error, "the key that approved a lease cannot be watched");
        }
    });
}

/// Ends a lease when `over` ends, unless it is over before.
fn end_after(house: &Rc<House>, lease: &Lease, why: Why, over: impl Future<Output = ()> + 'static) {
    let (house, id) = (house.clone(), lease.id().to_owned());
    tokio::task::spawn_local(async move {
        let ended = async {
            while house.ledger.is_live(&id) {
                house.ledger.changed().await;
            }
        };
        tokio::select! {
            () = over => {}
            () = ended => return,
        }
        let over = house.ledger.end(&id, why);
        house.record_over(&Vec::from_iter(over));
    });
}

/// A lease that a process holds ends with that process.
fn watch_holder(house: &Rc<House>, lease: &Lease) {
    let Ok(holder) = house
        .ledger
        .with_material(lease, |text, _| matches!(text.holder, Holder::Process { .. }))
    else {
        return;
    };
    let Some(process) = house.ledger.holder(lease).filter(|_| holder) else {
        return;
    };
    end_after(house, lease, Why::RequesterGone, async move {
        // A holder that is gone already, or whose end cannot be waited for, holds nothing.
        if let Some(pidfd) = peer::open(process)
            && let Ok(ended) = sys::wait::readable(pidfd)
        {
            let _ = ended.readable().await;
        }
    });
}

/// # Errors
/// What the vault says.
pub(super) fn list(house: &House, path: &Path) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let id = open.vault.borrow().id();
    Ok(Reply::Leases {
        leases: house.ledger.views(&id),
    })
}

/// # Errors
/// No such lease.
pub(super) fn show(house: &House, path: &Path, id: &str) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let (lease, text, receipt) = house.ledger.show(&named(house, id)?).ok_or_else(|| no_lease(id))?;
    let (vault, keys) = (open.vault.borrow().id(), open.vault.borrow().keys());
    let attested = attested(vault, &keys, house.ledger.approved_by(&lease.id));
    Ok(Reply::Lease {
        lease,
        text,
        receipt,
        attested,
    })
}

/// Of the key that was touched, while it is in the lease's own vault: another may have its name.
fn attested(vault: Digest, keys: &[EnrolledKey], approved_by: Option<(Digest, KeyId)>) -> Option<bool> {
    let touched = keys.iter().find(|key| Some((vault, key.id())) == approved_by)?;
    touched.piv().map(Piv::is_attested)
}

/// What ends leases: it needs to know nothing of who asks.
///
/// # Errors
/// No such lease; what the vault says whose leases are meant.
pub(super) fn finish(house: &House, call: &Call) -> Result<Reply, Failure> {
    match &call.request {
        Request::LeaseEnd { id } => end(house, id),
        Request::LeaseRevoke { id } => revoke(house, call.vault.as_deref(), id.as_deref()),
        Request::Lock => Ok(lock(house)),
        _ => Err(Failure::new(Outcome::Internal, "no_end", "this ends no lease").ours()),
    }
}

fn end(house: &House, id: &str) -> Result<Reply, Failure> {
    let over = house.ledger.end(&named(house, id)?, Why::Ended).ok_or_else(|| no_lease(id))?;
    Ok(ended(house, vec![over]))
}

/// Works whether or not the log can be written (T55).
fn revoke(house: &House, vault: Option<&Path>, id: Option<&str>) -> Result<Reply, Failure> {
    let over = match id {
        Some(id) => vec![house.ledger.end(&named(house, id)?, Why::Revoked).ok_or_else(|| no_lease(id))?],
        None => {
            // What is wrong with a configuration stands in nobody's way here.
            let _ = house.configure();
            let path = house
                .vault_path(vault)
                .map_err(|failure| failure.hint("`touchlease lock` ends every lease of every vault"))?;
            // Nothing is read: a vault with a live lease is open, and whoever names another folder keeps nobody waiting (P4).
            let vault = house.known(&path).map(|open| open.vault.borrow().id());
            house.ledger.end_all(Why::Revoked, |text| Some(text.origin.vault.id) == vault)
        }
    };
    Ok(ended(house, over))
}

fn lock(house: &House) -> Reply {
    house.broker.forget_all();
    let over = house.ledger.end_all(Why::Locked, |_| true);
    ended(house, over)
}

fn ended(house: &House, over: Vec<Over>) -> Reply {
    house.record_over(&over);
    Reply::Ended {
        ids: over.into_iter().map(|over| over.id).collect(),
    }
}

/// The whole id of a live lease, of which a person may have typed the beginning.
fn named(house: &House, typed: &str) -> Result<String, Failure> {
    id::named(house.ledger.ids(), typed).map_err(|error| match error {
        IdError::None => no_lease(typed),
        error => Failure::new(Outcome::BadInput, "which_id", error.to_string()).hint("touchlease lease list"),
    })
}

fn no_lease(id: &str) -> Failure {
    Failure::new(
        Outcome::BadInput,
        "no_lease",
        format!("no live lease has the id {:?}", plain::visible(id)),
    )
    .hint("touchlease lease list")
}

impl LeaseText {
    /// The grants of which the requester gets the value, or what is signed with it.
    fn values(&self) -> impl Iterator<Item = &GrantText> {
        self.grants.iter().filter(|grant| grant.via != Via::Proxy)
    }

    /// `env`, `file`, `signer`, or several of them: how values are handed over.
    fn deliveries(&self) -> String {
        let mut forms: Vec<_> = self.values().map(|grant| grant.via.to_string()).collect();
        forms.sort_unstable();
        forms.dedup();
        forms.join("+")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::soft::SoftKey;

    #[test]
    fn t58_whether_a_key_is_attested_is_said_of_the_key_that_was_touched_and_of_none_that_has_its_name() {
        let [mut touched, namesake] = [1, 2].map(|seed| SoftKey::piv("card", seed).enrolled());
        if let crate::device::enrolled::Kind::Piv(piv) = &mut touched.kind {
            piv.open.seen = crate::device::enrolled::Seen::Attested;
            piv.sign.seen = crate::device::enrolled::Seen::Attested;
        }
        let (vault, other) = (Digest([1; 32]), Digest([2; 32]));
        let by = Some((vault, touched.id()));
        assert_eq!(attested(vault, &[namesake.clone(), touched.clone()], by), Some(true));
        assert_eq!(attested(vault, std::slice::from_ref(&namesake), by), None);
        assert_eq!(attested(other, std::slice::from_ref(&touched), by), None);
        assert_eq!(
            attested(vault, std::slice::from_ref(&namesake), Some((vault, namesake.id()))),
            Some(false)
        );
    }
}
