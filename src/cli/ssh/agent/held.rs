//! A lease that this process holds, and what the daemon signs with it.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, TryLockError};

use data_encoding::BASE64;

use super::serve::locked;
use crate::cli::init::unexpected;
use crate::client::{Client, Message};
use crate::wire::signer::SessionAsk;
use crate::wire::{Answer, Event, Failure, Outcome};

/// Most that is asked for together: the daemon takes as much in one go.
const TOGETHER: usize = 32;

/// The connection of a lease. What several threads want signed while one of them uses it goes to the daemon together, which then waits for its disk
/// once.
pub(super) struct Held {
    connection: Mutex<Client>,
    queue: Mutex<Queue>,
    over: AtomicBool,
}

/// Threads that want something signed.
#[derive(Default)]
struct Queue {
    wanted: Vec<Wanted>,
    /// One of them uses the connection, and hands it on when it has its answer.
    is_led: bool,
}

/// What one thread waits for.
struct Wanted {
    answer: Answer,
    told: Sender<Told>,
}

enum Told {
    /// To use the connection, for all that wait.
    Lead,
    Signed(Signed),
}

/// What came of it.
pub(super) enum Signed {
    /// The signature, in SSH's form.
    Done(Vec<u8>),
    /// Why there is none.
    Refused(Failure),
    /// Nothing was said of it: others had the last uses of the lease, or the daemon is gone.
    Unsaid,
}

impl Held {
    pub(super) fn new(client: Client) -> Self {
        Self {
            connection: Mutex::new(client),
            queue: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    /// Whether the daemon has not said that the lease is over, as far as can be told without waiting.
    pub(super) fn is_live(&self) -> bool {
        let is_quiet = |client: &Client| client.is_waiting() && !client.is_ready();
        let quiet = match self.connection.try_lock() {
            Ok(client) => is_quiet(&client),
            Err(TryLockError::Poisoned(client)) => is_quiet(client.get_ref()),
            // Whoever uses it hears of its end.
            Err(TryLockError::WouldBlock) => true,
        };
        quiet && !self.over.load(Ordering::SeqCst)
    }

    /// Has the daemon sign: a login in its session, or what an SSH signature is over.
    pub(super) fn sign(&self, session: Option<SessionAsk>, data: &[u8]) -> Signed {
        let (tell, told) = channel();
        let data = BASE64.encode(data);
        let answer = Answer::Sign { session, data };
        let leads = {
            let mut queue = locked(&self.queue);
            queue.wanted.push(Wanted { answer, told: tell });
            !mem::replace(&mut queue.is_led, true)
        };
        if leads {
            self.lead();
        }
        loop {
            match told.recv() {
                Ok(Told::Signed(signed)) => return signed,
                Ok(Told::Lead) => self.lead(),
                Err(_) => return Signed::Unsaid,
            }
        }
    }

    /// Asks for all that is wanted by now, this thread's own among it, and lets another go on with what came meanwhile.
    fn lead(&self) {
        let mut wanted = mem::take(&mut locked(&self.queue).wanted);
        let mut client = locked(&self.connection);
        while !wanted.is_empty() {
            let rest = wanted.split_off(wanted.len().min(TOGETHER));
            self.exchange(&mut client, &wanted);
            wanted = rest;
        }
        drop(client);
        let mut queue = locked(&self.queue);
        // It waits for its answer, and for nothing else.
        let next = queue.wanted.first().map(|next| next.told.send(Told::Lead));
        queue.is_led = next.is_some();
    }

    /// Asks for all of it, and passes the answers on, which come in the same order.
    fn exchange(&self, client: &mut Client, wanted: &[Wanted]) {
        let answers: Vec<_> = wanted.iter().map(|one| &one.answer).collect();
        let mut failed = client.answers(&answers).err();
        for one in wanted {
            let signed = match &failed {
                Some(failure) => Signed::Refused(failure.clone()),
                None if self.over.load(Ordering::SeqCst) => Signed::Unsaid,
                None => self.hear(client).unwrap_or_else(|failure| {
                    failed = Some(failure.clone());
                    Signed::Refused(failure)
                }),
            };
            // It waits for that.
            let _ = one.told.send(Told::Signed(signed));
        }
        if failed.is_some() {
            self.over.store(true, Ordering::SeqCst);
        }
    }

    fn hear(&self, client: &mut Client) -> Result<Signed, Failure> {
        loop {
            match client.message()? {
                Some(Message::Event(Event::Signed {
                    signature: Some(signature),
                    ..
                })) => return BASE64.decode(signature.as_bytes()).map(Signed::Done).map_err(|_| unexpected()),
                Some(Message::Event(Event::Signed {
                    refused: Some(refused), ..
                })) => return Ok(Signed::Refused(refused)),
                // It was taken back, or its time is over: nobody is asked anew for that.
                Some(Message::Event(Event::Ended { .. })) => return Err(ended()),
                Some(Message::Event(_)) => {}
                Some(Message::Reply(_)) => return Err(unexpected()),
                None => {
                    self.over.store(true, Ordering::SeqCst);
                    return Ok(Signed::Unsaid);
                }
            }
        }
    }
}

fn ended() -> Failure {
    Failure::new(Outcome::Refused, "lease_over", "the lease ended before it could be used").hint("sign again")
}
