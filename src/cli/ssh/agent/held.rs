//! A lease that this process holds, and what the daemon does with it: it signs what is passed on, and serves clients that are lent.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use data_encoding::BASE64;
use rustix::net::{Shutdown, shutdown};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::cli::init::unexpected;
use crate::client::{Message, Stream};
use crate::deliver::ssh_client::Frames;
use crate::wire::signer::SessionAsk;
use crate::wire::{Answer, Event, Failure, Outcome};

/// Most that is asked for together: the daemon takes as much in one go.
const TOGETHER: usize = 32;

/// The connection of a lease, which a task has. What several want signed while it waits for the daemon goes there together, and is answered
/// together: with a limit of uses the daemon waits for its disk once. The connection, and with it the lease, ends when the last of these is dropped.
#[derive(Clone)]
pub(super) struct Held {
    queue: UnboundedSender<Wanted>,
    /// Whether time alone ends it.
    is_endless: bool,
}

/// What somebody waits for.
enum Wanted {
    Signature {
        answer: Answer,
        told: oneshot::Sender<Signed>,
    },
    /// That a client is served, which is lent for that.
    Service {
        client: OwnedFd,
        lent: Lent,
    },
}

/// A client that the daemon has, or is to have.
struct Lent {
    said: Vec<u8>,
    told: oneshot::Sender<Back>,
}

/// A client that came back.
pub(super) struct Back {
    /// The body of the frame that has bound it meanwhile.
    pub(super) bound: Option<Vec<u8>>,
    /// What it has said and nobody has answered.
    said: Vec<u8>,
    /// It went away, or has to.
    is_closed: bool,
}

/// What came of it.
pub(super) enum Signed {
    /// The signature, in SSH's form.
    Done(Vec<u8>),
    /// Why there is none.
    Refused(Failure),
    /// Nothing was said of it: others had the last uses of the lease, it was over before it was asked, or the daemon is gone.
    Unsaid,
}

impl Held {
    /// Has a task of the runtime that this is called in.
    pub(super) fn new(daemon: Stream, is_endless: bool) -> Self {
        let (queue, wanted) = unbounded_channel();
        let connection = Connection {
            daemon,
            lent: BTreeMap::new(),
            next: 0,
        };
        tokio::spawn(connection.pass_on(wanted));
        Self { queue, is_endless }
    }

    /// Whether nothing was heard of the lease's end.
    pub(super) fn is_live(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Whether clients are lent to it.
    pub(super) fn is_lent_to(&self) -> bool {
        self.is_endless && self.is_live()
    }

    /// Has the daemon sign: a login in its session, or what an SSH signature is over.
    pub(super) async fn sign(&self, session: Option<SessionAsk>, data: &[u8]) -> Signed {
        let (told, signed) = oneshot::channel();
        let data = BASE64.encode(data);
        let answer = Answer::Sign { session, data };
        // Of one that is over nothing is said.
        let _ = self.queue.send(Wanted::Signature { answer, told });
        signed.await.unwrap_or(Signed::Unsaid)
    }

    /// Has the daemon serve a client until it says something that is not the lease's matter, or the lease is over; nothing of one that went away, or of
    /// which nobody knows what it has been told.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(super) async fn lend(self, client: Frames) -> io::Result<Option<(Frames, Back)>> {
        let (socket, said) = client.into_parts()?;
        let (told, back) = oneshot::channel();
        let wanted = Wanted::Service {
            client: socket.as_fd().try_clone_to_owned()?,
            lent: Lent { said, told },
        };
        let back = match self.queue.send(wanted) {
            Ok(()) => back.await.ok(),
            // It was over before.
            Err(unsent) => match unsent.0 {
                Wanted::Service { lent, .. } => Some(Back::unserved(lent.said)),
                Wanted::Signature { .. } => None,
            },
        };
        match back.filter(|back| !back.is_closed) {
            Some(mut back) => Ok(Some((Frames::again(socket, std::mem::take(&mut back.said))?, back))),
            // The daemon may have it for a moment still.
            None => shutdown(&socket, Shutdown::Both).map(|()| None).or(Ok(None)),
        }
    }
}

impl Back {
    fn unserved(said: Vec<u8>) -> Self {
        Self {
            bound: None,
            said,
            is_closed: false,
        }
    }
}

/// The connection, and the clients that are lent over it.
struct Connection {
    daemon: Stream,
    lent: BTreeMap<u64, Lent>,
    next: u64,
}

impl Connection {
    /// Passes on what is wanted, until the lease is over or nobody can want anything any more. Who still waits for a signature then is told nothing.
    /// A client that the daemon has when it goes away is lost; at the end of the lease it has given back all that it had.
    async fn pass_on(mut self, mut queue: UnboundedReceiver<Wanted>) {
        let mut wanted = Vec::with_capacity(TOGETHER);
        let is_over = loop {
            tokio::select! {
                // What has been said of its end by now counts for what is wanted now.
                biased;
                said = self.daemon.message() => match said {
                    Ok(Some(Message::Event(Event::Ended { .. }))) => break true,
                    Ok(Some(Message::Event(event))) => self.hear_back(event),
                    _ => break false,
                },
                count = queue.recv_many(&mut wanted, TOGETHER) => {
                    if count == 0 {
                        break false;
                    }
                    match self.exchange(&mut wanted).await {
                        Standing::Live => {}
                        Standing::Over => break true,
                        Standing::Gone => break false,
                    }
                }
            }
        };
        // From here on nobody sends anything, and what was not passed on was heard by nobody.
        queue.close();
        while let Ok(unsent) = queue.try_recv() {
            if let Wanted::Service { lent, .. } = unsent {
                lent.come_back();
            }
        }
        if is_over {
            self.lent.into_values().for_each(Lent::come_back);
        }
    }

    /// Lends clients, asks for all signatures, and passes the answers on, which come in the same order.
    async fn exchange(&mut self, wanted: &mut Vec<Wanted>) -> Standing {
        let (mut answers, mut waiting) = (vec![], vec![]);
        let mut failed = None;
        for one in wanted.drain(..) {
            match one {
                Wanted::Signature { answer, told } => {
                    answers.push(answer);
                    waiting.push(told);
                }
                Wanted::Service { lent, .. } if failed.is_some() => lent.come_back(),
                Wanted::Service { client, lent } => failed = self.lend(&client, lent).await.err(),
            }
        }
        if failed.is_none() && !answers.is_empty() {
            failed = self.daemon.send_all(answers.iter()).await.err();
        }
        let mut standing = Standing::Live;
        for told in waiting {
            let signed = match &failed {
                Some(failure) => Signed::Refused(failure.clone()),
                None if standing != Standing::Live => Signed::Unsaid,
                None => self.hear(&mut standing).await.unwrap_or_else(|failure| {
                    failed = Some(failure.clone());
                    Signed::Refused(failure)
                }),
            };
            // It waits for that.
            let _ = told.send(signed);
        }
        if failed.is_some() && standing == Standing::Live {
            Standing::Gone
        } else {
            standing
        }
    }

    async fn lend(&mut self, client: &OwnedFd, lent: Lent) -> Result<(), Failure> {
        let id = self.next;
        self.next += 1;
        let line = Answer::Lend {
            id,
            frames: BASE64.encode(&lent.said),
        };
        self.lent.insert(id, lent);
        self.daemon.send_beside(&line, client.as_fd()).await
    }

    async fn hear(&mut self, standing: &mut Standing) -> Result<Signed, Failure> {
        loop {
            match self.daemon.message().await? {
                Some(Message::Event(Event::Signed {
                    signature: Some(signature),
                    ..
                })) => return BASE64.decode(signature.as_bytes()).map(Signed::Done).map_err(|_| unexpected()),
                Some(Message::Event(Event::Signed {
                    refused: Some(refused), ..
                })) => return Ok(Signed::Refused(refused)),
                // It was taken back, or its time is over: nobody is asked anew for that.
                Some(Message::Event(Event::Ended { .. })) => {
                    *standing = Standing::Over;
                    return Err(ended());
                }
                Some(Message::Event(event)) => self.hear_back(event),
                Some(Message::Reply(_)) => return Err(unexpected()),
                None => {
                    *standing = Standing::Gone;
                    return Ok(Signed::Unsaid);
                }
            }
        }
    }

    /// A client that is given back; of everything else there is nothing to do.
    fn hear_back(&mut self, event: Event) {
        let Event::Back { id, bound, frames, closed } = event else { return };
        let Some(lent) = self.lent.remove(&id) else { return };
        let bytes = |text: &str| BASE64.decode(text.as_bytes()).ok();
        let bound = bound.map(|bound| bytes(&bound));
        let back = match (bytes(&frames), bound) {
            (Some(said), bound) if !closed && bound != Some(None) => Back {
                bound: bound.flatten(),
                said,
                is_closed: false,
            },
            _ => Back {
                bound: None,
                said: vec![],
                is_closed: true,
            },
        };
        // Its task may be gone.
        let _ = lent.told.send(back);
    }
}

impl Lent {
    /// Nobody has heard it.
    fn come_back(self) {
        let _ = self.told.send(Back::unserved(self.said));
    }
}

/// How the lease stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Live,
    /// Its end was heard of: the daemon has given back what it had.
    Over,
    /// The daemon is gone, or nothing is known any more.
    Gone,
}

fn ended() -> Failure {
    Failure::new(Outcome::Refused, "lease_over", "the lease ended before it could be used").hint("sign again")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::client::Client;
    use crate::wire::codec;

    const SAID: &[u8] = &[0, 0, 0, 1, 11, 0, 0];

    /// What a client has said and whether it is bound, once it was lent to a daemon which says `lines` and then hangs up; none of one that is cut off.
    fn lent(lines: &[Event], is_heard: bool) -> Option<(Vec<u8>, bool)> {
        let (agent, daemon) = UnixStream::pair().unwrap();
        let (mut client, other) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let lines: Vec<_> = lines.iter().map(|line| codec::encode(line).unwrap().to_vec()).collect();
        let says = std::thread::spawn(move || {
            let mut line = String::new();
            if is_heard {
                BufReader::new(daemon.try_clone().unwrap()).read_line(&mut line).unwrap();
                assert_eq!(line, "{\"answer\":\"lend\",\"id\":0,\"frames\":\"AAAAAQsAAA==\"}\n");
            }
            (&daemon).write_all(&lines.concat()).unwrap();
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let back = runtime.block_on(async {
            let held = Held::new(Client::over(agent).into_stream().unwrap(), true);
            assert!(held.is_lent_to());
            if !is_heard {
                while held.is_live() {
                    tokio::task::yield_now().await;
                }
            }
            held.lend(Frames::again(other, SAID.to_vec()).unwrap()).await.unwrap()
        });
        says.join().unwrap();
        assert_eq!(client.read(&mut [0]).is_ok(), back.is_none(), "it is cut off");
        back.map(|(frames, back)| (frames.unanswered().to_vec(), back.bound.is_some()))
    }

    fn back(id: u64, frames: &[u8], bound: Option<&str>, closed: bool) -> Event {
        Event::Back {
            id,
            bound: bound.map(str::to_owned),
            frames: BASE64.encode(frames),
            closed,
        }
    }

    fn over() -> Event {
        Event::Ended {
            id: "1".into(),
            why: "revoked".into(),
        }
    }

    #[test]
    fn t17_a_client_that_a_daemon_has_when_it_dies_is_cut_off_and_one_that_it_had_not_or_gave_back_goes_on() {
        assert_eq!(lent(&[], true), None, "nobody knows what it has been told");
        assert_eq!(lent(&[back(1, SAID, None, false)], true), None, "that is another one");
        assert_eq!(lent(&[back(0, &[], None, true)], true), None, "it has to go");
        assert_eq!(lent(&[back(0, &[], Some("not base64"), false)], true), None);
        assert_eq!(
            lent(&[back(0, &SAID[5..], Some("AA=="), false)], true),
            Some((SAID[5..].to_vec(), true))
        );
        assert_eq!(lent(&[back(0, SAID, None, false), over()], true), Some((SAID.to_vec(), false)));
        // A daemon that says that the lease is over has given back what it had: this one it never had.
        assert_eq!(lent(&[over()], true), Some((SAID.to_vec(), false)));
        assert_eq!(lent(&[over()], false), Some((SAID.to_vec(), false)));
    }
}
