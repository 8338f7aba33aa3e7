//! A lease that this process holds, and what the daemon signs with it.

use data_encoding::BASE64;

use crate::cli::init::unexpected;
use crate::client::{Client, Message, daemon_gone};
use crate::wire::signer::SessionAsk;
use crate::wire::{Answer, Event, Failure};

/// The connection of a lease.
pub(super) struct Held(Client);

impl Held {
    pub(super) fn new(client: Client) -> Self {
        Self(client)
    }

    /// Whether the daemon has said nothing yet, which would be that the lease is over.
    pub(super) fn is_live(&self) -> bool {
        self.0.is_waiting() && !self.0.is_ready()
    }

    /// Has the daemon sign: a login in its session, or what an SSH signature is over.
    pub(super) fn sign(&mut self, session: Option<SessionAsk>, data: &[u8]) -> Result<Vec<u8>, Failure> {
        self.0.answer(&Answer::Sign {
            session,
            data: BASE64.encode(data),
        })?;
        loop {
            match self.0.message()? {
                Some(Message::Event(Event::Signed {
                    signature: Some(signature),
                    ..
                })) => return BASE64.decode(signature.as_bytes()).map_err(|_| unexpected()),
                Some(Message::Event(Event::Signed {
                    refused: Some(refused), ..
                })) => return Err(refused),
                // The lease's end, which may come at any time.
                Some(Message::Event(_)) => {}
                Some(Message::Reply(_)) => return Err(unexpected()),
                None => return Err(daemon_gone()),
            }
        }
    }
}
