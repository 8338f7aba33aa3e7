//! One connection: its peer, its call, its answers, its reply, and the lease that it may hold.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use zeroize::Zeroizing;

use super::house::House;
use super::loans::{self, Loans};
use super::peer::Peer;
use super::{doctor, forks, keys, leases, merges, peer, places, scans, scopes, signers, vaults};
use crate::lease::ledger::Why;
use crate::lease::office::Asker;
use crate::lease::requester::Requester;
use crate::presence::{Attached, ScreenKind, Whereabouts};
use crate::sys;
use crate::sys::arrived::{arrived, arrived_beside};
use crate::wire::codec::{self, LineBuffer};
use crate::wire::{Answer, Call, Event, Failure, LONGEST_CALL, MOST_PUT_BYTES, MOST_PUTS, Outcome, Reply, Request, Unhinted, VERSION};

/// How long a client has to say what it wants.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// How long where its connection is one of the few that are kept for what cannot wait.
const URGENT_WITHIN: Duration = Duration::from_secs(2);
/// How long a client may leave what it is sent unread.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Most descriptors that wait for their lines.
const MOST_BESIDE: usize = 16;

/// The lines of one socket.
struct Lines {
    stream: UnixStream,
    buffer: LineBuffer,
    ready: VecDeque<Zeroizing<Vec<u8>>>,
    /// Descriptors that came beside the lines, in their order, where they are taken; elsewhere the kernel closes what comes.
    beside: Option<VecDeque<OwnedFd>>,
}

/// What a call comes to: a reply, and a lease that the connection uses from then on.
pub(super) struct Handled {
    pub(super) reply: Reply,
    pub(super) held: Option<leases::Kept>,
}

/// Serves one client to its end.
pub async fn serve(house: Rc<House>, stream: UnixStream) {
    let caller = Caller::of(&house, &stream);
    let mut lines = Lines::new(stream);
    let served = async {
        // To a stranger nothing is said but that he is one (T44).
        let caller = match caller {
            Ok(caller) => caller,
            Err(failure) => return lines.send(&Reply::Failed(failure)).await,
        };
        // In a turn of its own, and most often before the call comes.
        let mut looking = pin!(house.turns.each(async { caller.look() }));
        let mut seen = None;
        let heard = {
            let mut hearing = pin!(hear(&mut lines, CALL_WITHIN));
            loop {
                tokio::select! {
                    biased;
                    heard = &mut hearing => break heard?,
                    peer = &mut looking, if seen.is_none() => seen = Some(peer),
                }
            }
        };
        let call = match heard {
            None => return Ok(()),
            Some(Ok(call)) => take_more(&mut lines, call).await?,
            Some(Err(failure)) => Err(failure),
        };
        let look = async {
            match seen {
                Some(peer) => peer,
                None => looking.await,
            }
        };
        match call {
            Ok(call) => serve_call(&house, &mut lines, look, call).await,
            Err(failure) => lines.send(&Reply::Failed(failure)).await,
        }
    };
    ended(served.await);
}

/// What ends leases is done when it is heard, whoever else waits, and before anybody is looked at (P4). The rest has its turns.
async fn serve_call(house: &Rc<House>, lines: &mut Lines, look: impl Future<Output = Result<Peer, Failure>>, call: Call) -> io::Result<()> {
    if call.request.ends_leases() {
        let done = places::check(&house.places, &call).and_then(|()| leases::finish(house, &call));
        return lines.send(&done.unwrap_or_else(Reply::Failed)).await;
    }
    match look.await {
        Ok(peer) => talk(house, lines, peer, call).await,
        Err(failure) => lines.send(&Reply::Failed(failure)).await,
    }
}

/// A connection on one of the few places that are kept for what cannot wait.
#[derive(Default)]
pub(super) struct Guest {
    /// Its place is another one's now.
    pub(super) shown_out: Notify,
    /// It has said that it ends leases, and is served.
    pub(super) is_heard: Cell<bool>,
}

/// Serves one client on a connection that is kept for what cannot wait: whoever holds all others must not keep leases from being ended
/// (P4). Says whether it was for that.
pub(super) async fn serve_urgent(house: Rc<House>, stream: UnixStream, guest: &Guest, most: usize) -> bool {
    let caller = Caller::of(&house, &stream);
    let mut lines = Lines::new(stream);
    let mut served = false;
    let done = async {
        let caller = match caller {
            Ok(caller) => caller,
            Err(failure) => return lines.send(&Reply::Failed(failure)).await,
        };
        let failure = match hear_guest(&mut lines, guest, most).await? {
            None => return Ok(()),
            Some(Ok(call)) if call.request.is_urgent() => {
                guest.is_heard.set(call.request.ends_leases());
                tokio::select! {
                    biased;
                    done = serve_call(&house, &mut lines, house.turns.each(async { caller.look() }), call) => {
                        served = true;
                        return done;
                    }
                    () = guest.shown_out.notified() => full(most),
                }
            }
            Some(Ok(_)) => too_many_connections(most).hint(
                "end commands that wait for a touch or hold a lease, then ask again; `touchlease lock`, `lease end`, `lease revoke` and `status` are served meanwhile",
            ),
            Some(Err(failure)) => failure,
        };
        lines.send(&Reply::Failed(failure)).await
    };
    ended(done.await);
    served
}

/// As [`hear`]. A guest that is shown out is heard if what it wants has come already, and told to ask again if not.
async fn hear_guest(lines: &mut Lines, guest: &Guest, most: usize) -> io::Result<Option<Result<Call, Failure>>> {
    tokio::select! {
        biased;
        call = hear(lines, URGENT_WITHIN) => return call,
        () = guest.shown_out.notified() => {}
    }
    // What has come on a fresh socket is known here only once the runtime has looked.
    tokio::task::yield_now().await;
    tokio::select! {
        biased;
        call = hear(lines, URGENT_WITHIN) => call,
        () = std::future::ready(()) => Ok(Some(Err(full(most)))),
    }
}

/// Says that there are too many already, without waiting for anybody, and without looking at more than the uid.
pub(super) fn turn_away(house: &House, stream: &UnixStream, most: usize) {
    let failure = admit(house, stream).err().unwrap_or_else(|| full(most));
    if let Ok(line) = codec::encode(&Reply::Failed(failure)) {
        // A fresh socket takes a line; one that does not belongs to nobody who reads.
        let _ = stream.try_write(&line);
    }
}

fn full(most: usize) -> Failure {
    let stop = format!("ask again; or stop the daemon, which ends all leases: kill {}", std::process::id());
    too_many_connections(most).hint(stop)
}

fn too_many_connections(most: usize) -> Unhinted {
    let message = format!("the daemon serves {most} connections already, and no more at a time");
    Failure::new(Outcome::NoDaemon, "too_many_connections", message)
}

fn ended(served: io::Result<()>) {
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Pid and uid at the other end, which is served.
fn admit(house: &House, stream: &UnixStream) -> Result<(i32, u32), Failure> {
    let cred = stream.peer_cred().map_err(|error| stranger(&error))?;
    let pid = cred.pid().ok_or_else(|| stranger(&"the kernel does not say who connects"))?;
    Peer::admit(cred.uid(), house.uid).map_err(|error| stranger(&error))?;
    Ok((pid, cred.uid()))
}

/// The process at the other end, not looked at yet.
struct Caller {
    uid: u32,
    pid: i32,
    pidfd: OwnedFd,
}

impl Caller {
    fn of(house: &House, stream: &UnixStream) -> Result<Self, Failure> {
        let (pid, uid) = admit(house, stream)?;
        let pidfd = peer::connected(stream.as_fd(), pid).map_err(|error| stranger(&error))?;
        Ok(Self { uid, pid, pidfd })
    }

    fn look(self) -> Result<Peer, Failure> {
        Peer::look(self.pidfd, self.pid, self.uid).map_err(|error| stranger(&error))
    }
}

fn stranger(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Outcome::Refused, "peer", error.to_string())
        .hint("it serves the user who started it, and nobody else: start a daemon of your own")
}

/// The call; nothing from a client that said nothing in time, or went away.
async fn hear(lines: &mut Lines, within: Duration) -> io::Result<Option<Result<Call, Failure>>> {
    match tokio::time::timeout(within, lines.next()).await {
        Err(_) | Ok(Ok(None)) => Ok(None),
        Ok(line) => Ok(Some(read_call(line?))),
    }
}

async fn talk(house: &Rc<House>, lines: &mut Lines, peer: Peer, mut call: Call) -> io::Result<()> {
    let (mut requester, pidfd) = peer.requester(std::mem::take(&mut call.labels));
    if let Err(failure) = places::check(&house.places, &call) {
        return lines.send(&Reply::Failed(failure)).await;
    }
    let (tell, mut events) = unbounded_channel();
    let screen = screen(house, &call, &requester, &tell);
    let screen_id = screen.as_ref().map(Attached::id);
    requester.own_screen = screen_id.filter(|_| !matches!(call.request, Request::Watch));
    // The descriptor may have been passed on: the call ends with the process that connected all the same (T19).
    let ended = sys::wait::readable(pidfd)?;
    let asker = Asker { requester, tell };
    let handled = {
        let mut handling = pin!(house.turns.each(handle(house, call, screen_id, &asker)));
        loop {
            tokio::select! {
                // What was said before the reply goes out before it.
                biased;
                Some(event) = events.recv() => lines.tell(&event).await?,
                handled = &mut handling => break handled,
                // The client went away: dropping the call takes its prompt off the screen and cancels the key.
                _ = ended.readable() => return Ok(()),
                line = lines.next() => match line? {
                    None => return Ok(()),
                    Some(line) => answer(house, screen_id, &line)?,
                },
            }
        }
    };
    while let Ok(event) = events.try_recv() {
        lines.tell(&event).await?;
    }
    match handled {
        Err(failure) => lines.send(&Reply::Failed(failure)).await,
        Ok(Handled { reply, held: None }) => lines.send(&reply).await,
        Ok(Handled { reply, held: Some(held) }) => {
            lines.send(&reply).await?;
            tokio::select! {
                // A client that gives its lease back and ends at once has given it back.
                biased;
                over = pass_on(lines, &mut events, held) => over,
                _ = ended.readable() => Ok(()),
            }
        }
    }
}

/// The connection uses a lease: it passes the lease's end on, and its own end is the lease's if it held it.
async fn pass_on(lines: &mut Lines, events: &mut UnboundedReceiver<Event>, held: leases::Kept) -> io::Result<()> {
    let mut loans = held.loans();
    lines.beside = loans.is_some().then(VecDeque::new);
    let why = loop {
        tokio::select! {
            biased;
            Some(event) = events.recv() => {
                let over = matches!(&event, Event::Ended { id, .. } if held.is_of(id));
                if let Some(loans) = loans.as_mut().filter(|_| over) {
                    lines.send_all(loans.all_back().await.into_iter()).await?;
                }
                lines.send(&event).await?;
                if over {
                    break Why::Ended;
                }
            }
            back = back(&mut loans) => lines.send_all(back.into_iter()).await?,
            line = lines.next() => match line? {
                None => return Ok(()),
                Some(line) => if let Some(why) = sign(lines, &held, &mut loans, line).await? {
                    break why;
                },
            },
        }
    };
    // Of what was exchanged its holder hears whether it is taken back.
    if let Some(ending) = held.done(why)
        && let Some(what) = ending.heard().await
    {
        lines.send(&Event::Note { what }).await?;
    }
    Ok(())
}

/// The next clients that go back; none of a lease that has none lent.
async fn back(loans: &mut Option<Loans>) -> Vec<Event> {
    match loans {
        Some(loans) => loans.back().await,
        None => std::future::pending().await,
    }
}

/// Signs what this line and those that came with it ask for, and takes the clients that they lend; why the lease is over, if it is.
async fn sign(lines: &mut Lines, held: &leases::Kept, loans: &mut Option<Loans>, line: Zeroizing<Vec<u8>>) -> io::Result<Option<Why>> {
    let (mut asked, mut said, mut over) = (vec![], vec![], None);
    let mut next = Some(line);
    while let Some(line) = next {
        match codec::decode(&line) {
            Ok(Answer::Sign { session, data }) => asked.push(Ok((session, data))),
            Ok(Answer::Lend { id, frames }) => {
                let client = lines.beside.as_mut().and_then(VecDeque::pop_front);
                said.extend(match loans {
                    Some(loans) => loans.take(id, client, frames),
                    None => Some(loans::unserved(id, frames)),
                });
            }
            Ok(Answer::Done) => {
                over = Some(Why::Ended);
                break;
            }
            // What answers a prompt may come too late.
            Ok(_) => {}
            // Answers are told apart by their order.
            Err(error) => asked.push(Err(unreadable(&error.to_string()))),
        }
        next = lines.ready.pop_front();
    }
    let signed = held.sign(asked).into_iter().map(|signed| match signed {
        Ok(signature) => Event::Signed {
            signature: Some(signature),
            refused: None,
        },
        Err(refused) => Event::Signed {
            signature: None,
            refused: Some(refused),
        },
    });
    lines.send_all(signed.chain(said)).await?;
    Ok(if held.is_used_up() { Some(Why::UsedUp) } else { over })
}

async fn handle(house: &Rc<House>, call: Call, screen: Option<u64>, asker: &Asker) -> Result<Handled, Failure> {
    let configured = house.configure();
    let always = call.request.is_urgent() || matches!(call.request, Request::Watch);
    if !always && !matches!(call.request, Request::Doctor) {
        configured?;
    }
    let path = house.vault_path(call.vault.as_deref())?;
    if !always {
        house.wait_for_writer(&path).await;
    }
    let reply = match call.request {
        Request::Watch => watch(screen, asker, house.agents).await?,
        Request::Status => vaults::status(house, &path),
        Request::Doctor => doctor::serve(house, &path).await,
        Request::Cards => keys::cards(house).await?,
        Request::Init(ask) => vaults::init(house, &path, ask, asker).await?,
        Request::KeyList => keys::list(house, &path).await?,
        Request::KeyInfo { key } => keys::info(house, &path, key.as_deref()).await?,
        Request::KeyManage { key, what } => keys::manage(house, &path, key.as_deref(), what, asker).await?,
        Request::KeyAdd(ask) => keys::add(house, &path, ask, asker).await?,
        Request::KeyRemove(ask) => keys::remove(house, &path, ask, asker).await?,
        Request::VaultFork => forks::look(house, &path)?,
        Request::VaultJoin(ask) => forks::join(house, &path, ask, asker).await?,
        Request::Recover(ask) => keys::recover(house, &path, ask, asker).await?,
        Request::NewCode { key } => keys::new_code(house, &path, key.as_deref(), asker).await?,
        Request::KeyAdmit { name, scopes } => keys::admit(house, &path, name, &scopes, asker).await?,
        Request::ScopeList => scopes::list(house, &path)?,
        Request::ScopeAdd { name, keys } => scopes::add(house, &path, &name, &keys, asker).await?,
        Request::ScopeRename { name, to } => scopes::rename(house, &path, &name, &to, asker).await?,
        Request::ScopeRemove { name } => scopes::remove(house, &path, &name, asker).await?,
        Request::Rotate(ask) => scopes::rotate(house, &path, ask, asker).await?,
        Request::Unlock { key, keep } => keys::unlock(house, &path, key, keep, asker).await?,
        Request::Put { puts, .. } => vaults::put(house, &path, puts, asker).await?,
        Request::SignerList { signers } => signers::list(house, &path, &signers).await?,
        Request::SignerAdd(ask) => signers::add(house, &path, ask, asker).await?,
        Request::SignerRotate(ask) => signers::rotate(house, &path, ask, asker).await?,
        Request::SignerRemove { signer } => signers::remove(house, &path, &signer, asker).await?,
        Request::Edit { secret, rules } => vaults::edit(house, &path, &secret, &rules, asker).await?,
        Request::Remove { secrets } => vaults::remove(house, &path, &secrets, asker).await?,
        Request::List { scope, secrets } => vaults::list(house, &path, scope.as_deref(), &secrets, asker).await?,
        Request::Merges => merges::list(house, &path)?,
        Request::Merge { scope, keep } => merges::join(house, &path, scope, keep, asker).await?,
        Request::Export(ask) => vaults::export(house, &path, &ask, asker).await?,
        Request::Scan(ask) => scans::scan(house, &path, &ask, asker).await?,
        Request::Audit => vaults::audit(house, &path, asker).await?,
        Request::AcceptOlder => vaults::accept_older(house, &path, asker).await?,
        Request::AcceptClock => vaults::accept_clock(house, &path, asker).await?,
        Request::Lease(ask) => return leases::request(house, &path, &ask, asker).await,
        Request::Proxy(ask) => return leases::proxy(house, &ask, asker).await,
        Request::LeaseList => leases::list(house, &path)?,
        Request::LeaseShow { id } => leases::show(house, &path, &id)?,
        Request::LeaseEnd { .. } | Request::LeaseRevoke { .. } | Request::Lock => leases::finish(house, &call)?,
    };
    Ok(Handled { reply, held: None })
}

fn screen<'a>(
    house: &'a House,
    call: &Call,
    requester: &Requester,
    tell: &tokio::sync::mpsc::UnboundedSender<Event>,
) -> Option<Attached<'a>> {
    let kind = if matches!(call.request, Request::Watch) {
        ScreenKind::Watch
    } else {
        ScreenKind::Own
    };
    let is_seated = |at: &Whereabouts| at.terminal.is_some() && at.foreground && !requester.claimed.is_agent(house.agents);
    let attach = || house.desk.attach(kind, requester.whereabouts.clone(), tell.clone());
    (call.screen && is_seated(&requester.whereabouts)).then(attach)
}

fn answer(house: &House, screen: Option<u64>, line: &[u8]) -> io::Result<()> {
    let answer: Answer = codec::decode(line).map_err(io::Error::other)?;
    if let Some(screen) = screen {
        house.desk.answer(screen, answer);
    }
    Ok(())
}

/// A watch has nothing to be told but that it is one, and prompts, until it goes away.
async fn watch(screen: Option<u64>, asker: &Asker, agents: &[&str]) -> Result<Reply, Failure> {
    match screen {
        Some(_) => {
            // Whoever asked may have gone.
            let _ = asker.tell.send(Event::Watching);
            std::future::pending().await
        }
        None if asker.requester.claimed.is_agent(agents) => Err(Failure::new(
            Outcome::NoScreen,
            "agents_screen",
            "watch was started by an agent: what it shows may be seen by nobody",
        )
        .hint("open a terminal window yourself and run `touchlease watch` there")),
        None => Err(Failure::new(
            Outcome::NoScreen,
            "no_terminal",
            "watch needs a terminal, in the foreground, in which a person can see the request",
        )
        .hint("open a terminal window and run `touchlease watch` there")),
    }
}

fn read_call(line: Option<Zeroizing<Vec<u8>>>) -> Result<Call, Failure> {
    let line = line.unwrap_or_default();
    codec::decode::<Call>(&line)
        .map_err(|error| unreadable(&error.to_string()))
        .and_then(check_version)
}

/// Reads the secrets that a `put` said would follow it, each into locked memory before the next.
async fn take_more(lines: &mut Lines, mut call: Call) -> io::Result<Result<Call, Failure>> {
    let Request::Put { puts, more } = &mut call.request else {
        return Ok(Ok(call));
    };
    for _ in 0..*more {
        let size: usize = puts.iter().map(|put| put.value.0.len()).sum();
        if puts.len() >= MOST_PUTS || size > MOST_PUT_BYTES {
            return Ok(Err(too_many()));
        }
        let line = tokio::time::timeout(CALL_WITHIN, lines.next()).await??;
        match codec::decode(&line.ok_or(io::ErrorKind::UnexpectedEof)?) {
            Ok(Answer::Put(put)) => puts.push(put),
            Ok(_) => return Ok(Err(unreadable("a secret was announced and something else came"))),
            Err(error) => return Ok(Err(unreadable(&error.to_string()))),
        }
    }
    Ok(Ok(call))
}

fn too_many() -> Failure {
    let message = format!("more than {MOST_PUTS} secrets, or {MOST_PUT_BYTES} bytes of values, wait for one touch");
    Failure::new(Outcome::BadInput, "too_large", message).hint("put fewer or smaller secrets at a time")
}

fn check_version(call: Call) -> Result<Call, Failure> {
    if call.v == VERSION {
        return Ok(call);
    }
    Err(Failure::new(
        Outcome::BadInput,
        "protocol_version",
        format!(
            "this daemon speaks version {VERSION} of the protocol, the client version {}",
            call.v
        ),
    )
    .hint("stop the daemon; the next command starts one of its own version"))
}

fn unreadable(what: &str) -> Failure {
    Failure::new(Outcome::BadInput, "protocol", format!("the call cannot be read: {what}")).hint("docs/protocol.md describes it")
}

impl Lines {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            buffer: LineBuffer::new(LONGEST_CALL),
            ready: VecDeque::new(),
            beside: None,
        }
    }

    /// The next line; nothing at the end. May be dropped at any time without losing a byte.
    async fn next(&mut self) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            let (buffer, ready) = (&mut self.buffer, &mut self.ready);
            let mut push = |bytes: &[u8]| {
                let pushed = buffer.push(bytes, |line| ready.push_back(line));
                pushed.map(|()| bytes.len())
            };
            let read = match &mut self.beside {
                None => arrived(&mut self.stream, push).await?,
                Some(beside) => {
                    let read = arrived_beside(&self.stream, |bytes, fds| {
                        beside.extend(fds);
                        push(bytes)
                    });
                    let read = read.await?;
                    // Nobody has so many lines under way that each have one.
                    if beside.len() > MOST_BESIDE {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    read
                }
            };
            if read.map_err(io::Error::other)? == 0 {
                return Ok(None);
            }
        }
    }

    /// Sends an event, and the descriptor that goes with it.
    async fn tell(&mut self, event: &Event) -> io::Result<()> {
        let Event::Scanning {
            channel: Some(channel), ..
        } = event
        else {
            return self.send(event).await;
        };
        let line = codec::encode(event).map_err(io::Error::other)?;
        let whole = async {
            let send = || sys::pass::send(&self.stream, &line, &[channel.as_fd()]);
            let sent = self.stream.async_io(Interest::WRITABLE, send).await?;
            self.stream.write_all(&line[sent..]).await
        };
        tokio::time::timeout(READ_WITHIN, whole)
            .await
            .map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn send<T: serde::Serialize>(&mut self, message: &T) -> io::Result<()> {
        self.send_all(std::iter::once(message)).await
    }

    async fn send_all<T: serde::Serialize>(&mut self, messages: impl Iterator<Item = T>) -> io::Result<()> {
        let all = codec::encode_all(messages).map_err(io::Error::other)?;
        if all.is_empty() {
            return Ok(());
        }
        // Most often it is taken at once, and nobody has to watch the time.
        let sent = match self.stream.try_write(&all) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            sent => sent?,
        };
        if sent == all.len() {
            return Ok(());
        }
        // A client that does not read must not keep a prompt open.
        tokio::time::timeout(READ_WITHIN, self.stream.write_all(&all[sent..]))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)?
    }
}
