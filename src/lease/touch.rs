//! Between prompt and proof: keys are asked, PINs are typed, a person may say no.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::failure::IntoFailure;
use super::office::Lobby;
use super::record;
use super::text::Fixed;
use crate::audit::Event as AuditEvent;
use crate::audit::event::{CounterBack, ExtraTouch, KeyTrouble, Trouble};
use crate::clock::until;
use crate::config::Receipts;
use crate::device::Port;
use crate::device::broker::{Ask, Candidate, Event, Feed, Signs};
use crate::device::{DeviceError, EnrolledKey, KeyId, Link, Proof};
use crate::encoding::plain::count;
use crate::encoding::sshsig::Namespace;
use crate::presence::Prompt;
use crate::secret::Secret;
use crate::wire::{Failure, Outcome, TouchState};

/// One touch over the text that stands on the screen, by any of the candidates.
///
/// # Errors
/// Denied, timed out, no key, PIN trouble, and what else [`DeviceError`] says.
pub async fn touch(lobby: &Lobby<'_>, prompt: &Prompt<'_>, fixed: &Fixed, candidates: Vec<Candidate>) -> Result<Proof, Failure> {
    let text = fixed.text().as_bytes();
    ask(lobby, prompt, fixed.namespace(), text, candidates, None, None).await
}

/// The same where a signer's key in hardware is to sign something that names the text, in its place.
///
/// # Errors
/// As [`touch`].
pub async fn touch_or_sign(
    lobby: &Lobby<'_>,
    prompt: &Prompt<'_>,
    fixed: &Fixed,
    candidates: Vec<Candidate>,
    signs: Option<Signs>,
) -> Result<Proof, Failure> {
    let text = fixed.text().as_bytes();
    ask(lobby, prompt, fixed.namespace(), text, candidates, None, signs).await
}

/// The same for a text that has no id of its own, and for a key whose PIN is not kept yet.
///
/// # Errors
/// As [`touch`].
pub async fn touch_text(
    lobby: &Lobby<'_>,
    prompt: &Prompt<'_>,
    namespace: Namespace,
    text: &[u8],
    candidates: Vec<Candidate>,
    pin: Option<Arc<Secret>>,
) -> Result<Proof, Failure> {
    ask(lobby, prompt, namespace, text, candidates, pin, None).await
}

async fn ask(
    lobby: &Lobby<'_>,
    prompt: &Prompt<'_>,
    namespace: Namespace,
    text: &[u8],
    candidates: Vec<Candidate>,
    pin: Option<Arc<Secret>>,
    signs: Option<Signs>,
) -> Result<Proof, Failure> {
    let keys: Vec<_> = candidates.iter().map(|candidate| candidate.key.clone()).collect();
    let ask = Ask {
        namespace,
        text: text.to_vec(),
        candidates,
        deadline: prompt.deadline(),
        at: None,
        pin,
        receipts: lobby.limits.receipts == Receipts::Hardware,
        signs,
    };
    for candidate in &ask.candidates {
        let touches = ask.touches(candidate);
        if touches > 1 {
            prompt.tell(&TouchState::Touches {
                key: candidate.key.name.clone(),
                touches,
            });
        }
    }
    loop {
        let (feed, events) = feed_for(namespace, ask.signs.is_some());
        let asking = lobby.broker.touch(ask.clone(), feed, std::future::pending());
        match attend(lobby, prompt, &keys, events, &mut |_| {}, asking).await? {
            Attended::Done(proof) => return Ok(proof),
            // The key was told to stop; it is asked anew once a person can see what for.
            Attended::Hidden => seen_again(lobby, prompt).await?,
        }
    }
}

fn feed_for(namespace: Namespace, signs: bool) -> (Feed, UnboundedReceiver<Event>) {
    match namespace {
        // While a key comes or goes, or a signer's signs, others are connected that have no part in this touch.
        _ if !signs && matches!(namespace, Namespace::Lease | Namespace::Change) => feed(),
        _ => feed_but(&|event| {
            matches!(
                event,
                Event::Problem {
                    error: DeviceError::NotEnrolled,
                    ..
                }
            )
        }),
    }
}

async fn seen_again(lobby: &Lobby<'_>, prompt: &Prompt<'_>) -> Result<(), Failure> {
    let seen = tokio::select! {
        biased;
        outcome = prompt.refused() => Err(refusal(outcome)),
        () = prompt.shown() => Ok(()),
        () = until(lobby.clock, prompt.deadline()) => Err(DeviceError::TimedOut.failure()),
    };
    seen.inspect_err(|failure| prompt.failed(failure.outcome))
}

/// A feed for the broker, and where it arrives.
pub fn feed() -> (Feed, UnboundedReceiver<Event>) {
    feed_but(&|_| false)
}

/// The same without events of one kind.
fn feed_but(without: &'static (dyn Fn(&Event) -> bool + Send + Sync)) -> (Feed, UnboundedReceiver<Event>) {
    let (tx, rx) = unbounded_channel();
    let feed: Feed = Arc::new(move |event| {
        if !without(&event) {
            // Nobody listens any more: then nobody has to know.
            let _ = tx.send(event);
        }
    });
    (feed, rx)
}

/// How waiting for a key went.
pub(super) enum Attended<T> {
    /// It gave what it was asked for.
    Done(T),
    /// The prompt was hidden, and what the key was asked is withdrawn.
    Hidden,
}

/// What is said of keys while they are asked, heard to the end also where whoever asked is gone: a card that waits on has to be named while
/// the prompt still stands.
struct Hearing<'a, 'b> {
    lobby: &'a Lobby<'b>,
    prompt: &'a Prompt<'b>,
    events: UnboundedReceiver<Event>,
    wrong: HashSet<KeyId>,
}

impl Hearing<'_, '_> {
    fn hear(&mut self, event: Event) {
        hear(self.lobby, self.prompt, &mut self.wrong, event);
    }

    fn hear_the_rest(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.hear(event);
        }
    }
}

impl Drop for Hearing<'_, '_> {
    fn drop(&mut self) {
        self.hear_the_rest();
    }
}

/// Waits for what a key is asked, while the person is told, may type PINs, and may say no; as long as the prompt is to be seen.
pub(super) async fn attend<T>(
    lobby: &Lobby<'_>,
    prompt: &Prompt<'_>,
    keys: &[EnrolledKey],
    events: UnboundedReceiver<Event>,
    heard: &mut dyn FnMut(&Event),
    asking: impl Future<Output = Result<T, DeviceError>>,
) -> Result<Attended<T>, Failure> {
    let mut hearing = Hearing {
        lobby,
        prompt,
        events,
        wrong: HashSet::new(),
    };
    // Given up before the rest is heard, so declared after it.
    let mut asking = Box::pin(asking);
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = prompt.refused() => break Err(refusal(outcome)),
            () = prompt.hidden() => break Ok(Attended::Hidden),
            Some(event) = hearing.events.recv() => {
                heard(&event);
                hearing.hear(event);
            }
            (name, pin) = prompt.pin() => {
                let key = keys.iter().find(|key| key.name == name);
                // A PIN for a key that was not asked for goes nowhere.
                if let Some(key) = key && let Err(error) = lobby.broker.give_pin(key.id(), pin, lobby.limits.pin) {
                    break Err(error.failure());
                }
            }
            done = &mut asking => break done.map(Attended::Done).map_err(|error| trouble(lobby, error)),
        }
    };
    drop(asking);
    hearing.hear_the_rest();
    listen_on(lobby, std::mem::replace(&mut hearing.events, unbounded_channel().1));
    outcome.inspect_err(|failure| prompt.failed(failure.outcome))
}

/// A key that was cancelled and touched all the same says so after the others are done: that still belongs into the log. Ends when
/// the last worker has.
fn listen_on(lobby: &Lobby<'_>, mut events: UnboundedReceiver<Event>) {
    let Some(log) = lobby.log.cloned() else { return };
    tokio::task::spawn_local(async move {
        while let Some(event) = events.recv().await {
            if let Some(line) = line(&event) {
                record::best_effort(&log, line);
            }
        }
    });
}

pub(super) fn refusal(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Denied => Failure::new(outcome, "denied", "a person denied this request").hint("ask the person before asking again"),
        _ => Failure::new(
            Outcome::NoScreen,
            "screen_gone",
            "the screen was closed before the request was answered",
        )
        .hint("run `touchlease watch` in another terminal, and ask again"),
    }
}

/// For what cannot be taken up again.
pub(super) fn hidden() -> Failure {
    Failure::new(
        Outcome::NoScreen,
        "screen_small",
        "the terminal became too small for this request while a key was asked, so it was taken back",
    )
    .hint("enlarge the terminal, and run the command again")
}

/// What the broker reports: to the screens, and into the log where it matters later.
fn hear(lobby: &Lobby<'_>, prompt: &Prompt<'_>, wrong: &mut HashSet<KeyId>, event: Event) {
    if let Some(line) = line(&event) {
        note(lobby, line);
    }
    let state = match event {
        Event::Waiting => TouchState::Waiting,
        Event::TouchNow { name, link, .. } => TouchState::TouchNow {
            key: name,
            link: link.to_string(),
            hold: link == Link::Contactless,
        },
        Event::TapNow { reader, link, lift_first } => TouchState::TapNow {
            reader,
            insert: link != Link::Contactless,
            lift_first,
        },
        Event::PinNeeded { key, name, tries } => TouchState::PinNeeded {
            key: name,
            tries,
            wrong: wrong.remove(&key),
        },
        Event::PinWrong { key, .. } => {
            wrong.insert(key);
            return;
        }
        Event::AnotherProgram { name } => TouchState::AnotherProgram { key: name },
        Event::Gone { name } => TouchState::Gone { key: name },
        Event::Looking { places } => TouchState::Looking {
            places: u32::try_from(places).unwrap_or(u32::MAX),
        },
        Event::StillWaits { name } => TouchState::StillWaits { key: name },
        Event::Busy { port, by } => TouchState::Busy { key: port.to_string(), by },
        Event::Unfinished { name } => TouchState::Unfinished { key: name },
        Event::Problem { port, error } => TouchState::Problem {
            what: problem(&port, &error),
        },
        Event::ExtraTouch { name, .. } => TouchState::ExtraTouch { key: name },
        Event::CounterBack { name, was, now, .. } => TouchState::CounterBack {
            key: name,
            before: was,
            now,
        },
        Event::Sample(_) => return,
    };
    tracing::debug!(?state, "the touch");
    prompt.tell(&state);
}

/// With several keys and readers about, what has no name of ours is told by its place.
fn problem(port: &Port, error: &DeviceError) -> String {
    match error {
        DeviceError::NotEnrolled => format!("the key at {port} is not enrolled in this vault"),
        DeviceError::NotFido => format!("the card at {port} is no FIDO2 key"),
        error => error.to_string(),
    }
}

fn note(lobby: &Lobby<'_>, line: AuditEvent) {
    if let Some(log) = lobby.log {
        record::best_effort(log, line);
    }
}

fn line(event: &Event) -> Option<AuditEvent> {
    Some(match event {
        Event::ExtraTouch { key, name } => AuditEvent::ExtraTouch(ExtraTouch {
            asked: None,
            key: key.0,
            name: name.clone(),
        }),
        Event::CounterBack { key, name, was, now } => AuditEvent::CounterBack(CounterBack {
            before: *was,
            key: key.0,
            name: name.clone(),
            now: *now,
        }),
        Event::PinWrong { key, left } => {
            let left = left.map_or_else(String::new, |left| format!(", {} left", count(left, "try")));
            trouble_line(Some(*key), Trouble::PinWrong, format!("the PIN was wrong{left}"))
        }
        Event::Problem { error, .. } => trouble_line(None, what(error)?, error.to_string()),
        _ => return None,
    })
}

/// The error as an outcome; what looks like an attack stands in the log.
fn trouble(lobby: &Lobby<'_>, error: DeviceError) -> Failure {
    if let Some(what) = what(&error) {
        note(lobby, trouble_line(None, what, error.to_string()));
    }
    error.failure()
}

fn trouble_line(key: Option<KeyId>, what: Trouble, detail: String) -> AuditEvent {
    AuditEvent::Key(KeyTrouble {
        asked: None,
        detail,
        key: key.map(|key| key.0),
        name: None,
        what,
    })
}

fn what(error: &DeviceError) -> Option<Trouble> {
    Some(match error {
        DeviceError::CancelledElsewhere => Trouble::CancelledElsewhere,
        DeviceError::Impostor => Trouble::Impostor,
        DeviceError::NoProof(_) => Trouble::BadAnswer,
        DeviceError::PulledOut => Trouble::Removed,
        DeviceError::PinBlocked | DeviceError::PinBlockedUntilReplug => Trouble::PinBlocked,
        DeviceError::ResetSinceEnrolment { .. } => Trouble::Reset,
        _ => return None,
    })
}
