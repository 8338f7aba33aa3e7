//! One lease of the session: its connection to the daemon, and where it stands.

use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::run::Run;
use super::workspace::TaskFile;
use crate::client::{Message, Stream, daemon_gone};
use crate::clock::{Boot, Clock, SystemClock};
use crate::lease::task::Task;
use crate::wire::reply::{LeaseView, Placeholder};
use crate::wire::{Call, Event, Failure, Reply, TouchState};

/// Where a lease stands.
#[derive(Clone, Debug)]
pub enum State {
    /// The daemon has the request, and no person sees it yet.
    Asking {
        /// How many prompts come first.
        ahead: u32,
    },
    /// A person is asked.
    Pending {
        /// The lease's id, if it is given.
        id: String,
        /// What the person compares.
        words: [String; 4],
        /// When the prompt closes.
        until: Boot,
        /// What the person is to do now.
        now: String,
    },
    /// It was given.
    Live {
        /// As it was then.
        view: LeaseView,
        /// When.
        since: Boot,
        /// What stands for its secrets in the agent's own session, where it came to that.
        placeholders: Vec<Placeholder>,
    },
    /// It was not given.
    Refused(Failure),
    /// It is over.
    Ended {
        /// Its id, where it had one.
        id: Option<String>,
        /// As the daemon says, or `withdrawn`.
        why: String,
    },
}

/// A lease, from the request to its end.
pub struct Entry {
    /// By which the agent names it; good in this session only.
    pub name: String,
    /// The file as it was read for the request: what was approved is this one.
    pub file: TaskFile,
    /// The task in it.
    pub task: Task,
    /// What runs under it, or ran last.
    pub run: Mutex<Option<Run>>,
    state: watch::Sender<State>,
    stop: CancellationToken,
}

impl State {
    /// Whether nobody has decided.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Asking { .. } | Self::Pending { .. })
    }

    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live { .. })
    }
}

impl Entry {
    pub fn new(name: String, file: TaskFile, task: Task) -> Self {
        Self {
            name,
            file,
            task,
            run: Mutex::default(),
            state: watch::Sender::new(State::Asking { ahead: 0 }),
            stop: CancellationToken::new(),
        }
    }

    /// Where it stands, now and from now on.
    pub fn states(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Withdraws the request, or gives the lease back: its connection is closed.
    pub fn give_up(&self) {
        self.stop.cancel();
    }

    /// Says how it ended where nothing else did: it could not even be asked.
    pub fn refuse(&self, failure: Failure) {
        self.state.send_replace(State::Refused(failure));
    }

    /// Asks over this connection, and stays with it until the lease is over.
    pub async fn follow(&self, stream: Stream, call: Call) {
        if let Err(failure) = self.converse(stream, call).await {
            let over = |state: &mut State| match state {
                // What holds a lease is its connection.
                State::Live { view, .. } => {
                    let id = Some(view.id.clone());
                    *state = State::Ended { id, why: failure.reason };
                }
                State::Asking { .. } | State::Pending { .. } => *state = State::Refused(failure),
                State::Refused(_) | State::Ended { .. } => {}
            };
            self.state.send_modify(over);
        }
    }

    async fn converse(&self, mut stream: Stream, call: Call) -> Result<(), Failure> {
        stream.send(&call).await?;
        loop {
            let message = tokio::select! {
                () = self.stop.cancelled() => {
                    self.end("withdrawn");
                    return Ok(());
                }
                message = stream.message() => message?,
            };
            match message {
                Some(Message::Event(Event::Ended { why, .. })) => {
                    self.end(&why);
                    return Ok(());
                }
                Some(Message::Event(event)) => self.state.send_modify(|state| take(state, event)),
                Some(Message::Reply(reply)) => match *reply {
                    Reply::Granted(granted) => {
                        let since = SystemClock.boot();
                        self.state.send_replace(State::Live {
                            view: granted.lease,
                            since,
                            placeholders: granted.placeholders,
                        });
                    }
                    Reply::Failed(failure) => return Err(failure),
                    _ => return Err(super::super::init::unexpected()),
                },
                None => return Err(daemon_gone()),
            }
        }
    }

    fn end(&self, why: &str) {
        self.state.send_modify(|state| {
            let id = match &*state {
                State::Pending { id, .. } => Some(id.clone()),
                State::Live { view, .. } => Some(view.id.clone()),
                _ => None,
            };
            *state = State::Ended { id, why: why.into() };
        });
    }
}

fn take(state: &mut State, event: Event) {
    match (event, &mut *state) {
        (Event::Queued { ahead: more }, State::Asking { ahead }) => *ahead = more,
        (Event::Asked { id, words, left_ms, .. }, State::Asking { .. }) => {
            *state = State::Pending {
                id,
                words,
                until: Boot(SystemClock.boot().0 + left_ms),
                now: "compare the words with those that `touchlease watch` shows, and touch the key".into(),
            };
        }
        (Event::Touch { state: touch, .. }, State::Pending { now, .. }) => {
            if let Some(said) = to_do(&touch) {
                *now = said;
            }
        }
        _ => {}
    }
}

/// What the person is to do, for whoever tells it to the person.
fn to_do(touch: &TouchState) -> Option<String> {
    Some(match touch {
        TouchState::TouchNow { key, hold: false, .. } => format!("the key \"{key}\" blinks: touch it if the words are the same"),
        TouchState::TouchNow { key, hold: true, .. } => format!("hold \"{key}\" on the reader"),
        TouchState::TapNow { reader, insert: true, .. } => format!("insert the key into {reader}"),
        TouchState::TapNow { reader, .. } => format!("tap the key on {reader}"),
        TouchState::PinNeeded { key, .. } => format!("type the PIN of \"{key}\" in `touchlease watch`"),
        TouchState::AnotherProgram { key } => format!("another program is using \"{key}\": do not touch it"),
        TouchState::Busy { key, .. } => format!("\"{key}\" is in use by another program"),
        TouchState::Gone { key } => format!("\"{key}\" was pulled out: plug it in"),
        TouchState::Waiting => "plug in an enrolled key".into(),
        TouchState::Problem { what } => what.clone(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_followed_from_the_queue_to_the_person() {
        let mut state = State::Asking { ahead: 0 };
        take(&mut state, Event::Queued { ahead: 2 });
        assert!(matches!(state, State::Asking { ahead: 2 }));
        let words = ["amber", "canoe", "fifty", "tulip"].map(str::to_owned);
        take(
            &mut state,
            Event::Asked {
                prompt: 1,
                id: "ab".into(),
                words,
                left_ms: 60_000,
            },
        );
        let touch = TouchState::TouchNow {
            key: "blue".into(),
            link: "USB".into(),
            hold: false,
        };
        take(&mut state, Event::Touch { prompt: 1, state: touch });
        assert!(
            matches!(&state, State::Pending { id, now, .. } if id == "ab" && now.contains("\"blue\" blinks")),
            "{state:?}"
        );
        assert!(state.is_open() && !state.is_live());
    }
}
