//! The owner of all keys: one operation at a time for each, a deadline on everything, PINs kept and forgotten.
//!
//! Async, for a runtime of one thread. Everything that a key says is judged here, not in the worker that heard it.

mod care;
mod enrol;
mod event;
mod health;
mod job;
mod known;
mod pins;
mod piv;
mod reach;
mod touch;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, watch};
use tokio::task::JoinHandle;

pub use super::candidate::Candidate;
pub use care::{Care, Cared, KeyInfo, Seen};
pub use enrol::{Enrol, NewKey};
pub use event::{Event, Feed};
pub use health::ENROL_PIV;
pub use piv::{CardSeen, MakeKeys};
pub use reach::{Places, Processes, Reach, Worker};
pub use touch::{Ask, Signs};

use super::ctap::Frames;
use super::ctap::get_assertion::RawAssertion;
use super::enrolled::{EnrolledKey, KeyId, Link, Profile};
use super::error::DeviceError;
use super::pin_form;
use super::place::{Place, Port};
use super::which;
use super::worker::protocol::{Answer, Failure, Id, Operation, Report, Request};
use super::worker::random;
use crate::clock::{Boot, Clock, until};
use crate::secret::Secret;
use job::{Done, Job, Late};
use known::{Known, Recall};
use pins::Pins;

/// What needs no person is done in this time, or not at all.
const SHORT: Duration = Duration::from_secs(10);
/// Pause before sending a request again that a key gave up: one that gives up at once shall not keep us busy.
const AGAIN_PAUSE: Duration = Duration::from_millis(500);

/// How long the places are watched after a touch was asked for: the next one finds its key without a process to start.
const LINGER: Duration = Duration::from_secs(300);

/// See the module. Cheap to clone; all clones are one broker.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

struct Inner {
    reach: Box<dyn Reach>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Counts PINs given, for those who wait for one.
    given: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    known: Known,
    pins: Pins<Arc<Outlook>>,
    turns: HashMap<Port, Arc<tokio::sync::Mutex<()>>>,
    outlook: Weak<Outlook>,
    /// Holds the outlook until then.
    lingering: Option<(Arc<Outlook>, Boot)>,
    counters: HashMap<KeyId, u32>,
    frames: Frames,
}

/// Watching the places, for as long as somebody holds this: an operation, a while after a touch, or a PIN that is to be forgotten at
/// its key's removal.
struct Outlook {
    places: Places,
    keeper: JoinHandle<()>,
}

impl Drop for Outlook {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Broker {
    /// A broker that reaches keys through `reach`.
    pub fn new(reach: impl Reach, clock: Arc<dyn Clock>) -> Self {
        let inner = Inner {
            reach: Box::new(reach),
            clock,
            state: Mutex::default(),
            given: watch::Sender::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Keeps a key's PIN for `lifetime`, forgotten earlier at the key's removal and at the first time the key calls it wrong. A card that
    /// is lifted because a prompt asks for that is not removed as long as the prompt is there.
    /// A touch that waits for it goes on. The PIN is not tried now.
    ///
    /// # Errors
    /// It is no PIN; the system refuses to watch for the key's removal.
    pub fn give_pin(&self, key: KeyId, pin: Secret, lifetime: Duration) -> Result<(), DeviceError> {
        let pin = pin_form::checked(pin)?;
        let outlook = self.inner.outlook()?;
        let now = self.inner.clock.boot();
        self.inner.state().pins.give(key, pin, now, lifetime, outlook);
        self.inner.given.send_modify(|n| *n += 1);
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            let Some(clock) = inner.upgrade().map(|inner| inner.clock.clone()) else {
                return;
            };
            // Only the wiping waits for this: a PIN past its time is not used, however late the look.
            until(&*clock, now + lifetime).await;
            if let Some(inner) = inner.upgrade() {
                inner.state().pins.expire(clock.boot());
            }
        });
        Ok(())
    }

    /// Forgets one PIN.
    pub fn forget_pin(&self, key: KeyId) {
        self.inner.state().pins.forget(key);
    }

    /// Forgets all PINs.
    pub fn forget_all(&self) {
        self.inner.state().pins.forget_all();
    }

    /// Whose PINs are kept, and until when.
    #[must_use]
    pub fn pins(&self) -> Vec<(KeyId, Boot)> {
        self.inner.state().pins.list(self.inner.clock.boot())
    }

    /// Frames of the last finished operation, keepalives not counted.
    #[must_use]
    pub fn last_frames(&self) -> Frames {
        self.inner.state().frames
    }
}

/// One operation at one place.
struct Step<'a> {
    place: &'a Place,
    operation: Operation,
    secret: Option<Secret>,
    deadline: Boot,
    /// The enrolled key that is asked, for judging its failure.
    key: Option<(&'a str, Profile)>,
    late: Option<Late>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock panics; if it did, the memory of plugs and PINs would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outlook(self: &Arc<Self>) -> Result<Arc<Outlook>, DeviceError> {
        let mut state = self.state();
        if let Some(outlook) = state.outlook.upgrade() {
            return Ok(outlook);
        }
        let places = self.reach.places().map_err(system)?;
        let keeper = tokio::spawn(keep(Arc::downgrade(self), places.clone()));
        let outlook = Arc::new(Outlook { places, keeper });
        state.outlook = Arc::downgrade(&outlook);
        Ok(outlook)
    }

    /// Watches on for a while, counted from the last call.
    fn linger(self: &Arc<Self>, outlook: &Arc<Outlook>) {
        let mut end = self.clock.boot() + LINGER;
        if self.state().lingering.replace((outlook.clone(), end)).is_some() {
            return;
        }
        let (inner, clock) = (Arc::downgrade(self), self.clock.clone());
        tokio::spawn(async move {
            loop {
                until(&*clock, end).await;
                let Some(inner) = inner.upgrade() else { return };
                let lingering = &mut inner.state().lingering;
                match lingering {
                    Some((_, later)) if *later > end => end = *later,
                    _ => {
                        *lingering = None;
                        return;
                    }
                }
            }
        });
    }

    /// The places as they are now.
    async fn places(self: &Arc<Self>, outlook: &Outlook) -> Result<Vec<Place>, DeviceError> {
        let mut places = outlook.places.clone();
        let deadline = self.clock.boot() + SHORT;
        tokio::select! {
            seen = places.wait_for(Option::is_some) => match seen {
                Ok(seen) => Ok(seen.clone().unwrap_or_default()),
                Err(_) => Err(system("keys cannot be watched")),
            },
            () = until(&*self.clock, deadline) => Err(system("keys cannot be watched")),
        }
    }

    async fn place(self: &Arc<Self>, outlook: &Outlook, port: &Port) -> Result<Place, DeviceError> {
        let places = self.places(outlook).await?;
        places.into_iter().find(|p| p.port == *port && !p.empty).ok_or(DeviceError::NoKey)
    }

    /// Waits for the place's turn. Turns are taken in the order in which they were asked for.
    async fn turn(&self, port: &Port) -> OwnedMutexGuard<()> {
        let turn = self.state().turns.entry(port.clone()).or_default().clone();
        turn.lock_owned().await
    }

    /// Runs one operation, with a deadline on all of it.
    async fn step(&self, step: Step<'_>, hear: impl FnMut(Report)) -> Result<Done, DeviceError> {
        let Step {
            place,
            operation,
            secret,
            deadline,
            key,
            late,
        } = step;
        let work = async {
            let turn = self.turn(&place.port).await;
            let unfinished = self.state().known.unfinished(place);
            // PIV is not to be touched after its request, and its prompt has said so.
            let asks_again = matches!(operation, Operation::Assert { .. } | Operation::MakeCredential { .. });
            let goes_on = if asks_again { unfinished.clone() } else { Arc::default() };
            let request = Request {
                port: place.port.clone(),
                link: place.link,
                warm: self.state().known.take_warm(place),
                operation,
            };
            let worker = self.reach.start().map_err(system)?;
            let job = Job::new(worker, turn, goes_on, late).map_err(system)?;
            let secret = secret.as_ref().map_or(&[][..], Secret::expose);
            let done = job.run(&request, secret, hear).await;
            if let Err(Failure::Busy(_)) = done {
                if unfinished.load(Ordering::Relaxed) {
                    return Err(DeviceError::Unfinished);
                }
            } else {
                unfinished.store(false, Ordering::Relaxed);
            }
            done.map_err(|failure| {
                if let Failure::OtherLink(found) = failure {
                    self.state().known.learn_link(place, found);
                }
                let error = DeviceError::of(failure, key);
                if error == DeviceError::PinBlockedUntilReplug {
                    self.state().known.block_pin(place);
                }
                error
            })
        };
        let done = tokio::select! {
            done = work => done?,
            () = until(&*self.clock, deadline) => return Err(DeviceError::TimedOut),
        };
        let mut state = self.state();
        state.frames = done.frames;
        state.known.keep_warm(place, done.warm.clone());
        Ok(done)
    }

    /// The place with the reader's own word about its card, once it was heard.
    fn corrected(&self, place: &Place) -> Place {
        self.state().known.correct(place)
    }

    /// Which of `keys` is plugged in at `place`: from memory, or by its silent signature. The first look at a card is also when its
    /// reader may contradict the answer to reset; the place is then to be [`Inner::corrected`].
    async fn identify(&self, place: &Place, keys: &[EnrolledKey]) -> Result<Option<KeyId>, DeviceError> {
        match self.look(&self.corrected(place), keys).await {
            Err(DeviceError::OtherLink { .. }) => self.look(&self.corrected(place), keys).await,
            other => other,
        }
    }

    /// Whether it is known which of `keys` is plugged in at `place`, without a question to the device.
    fn is_known(&self, place: &Place, keys: &[EnrolledKey]) -> bool {
        self.state().known.recall(place, keys) != Recall::Ask
    }

    async fn look(&self, place: &Place, keys: &[EnrolledKey]) -> Result<Option<KeyId>, DeviceError> {
        match self.state().known.recall(place, keys) {
            Recall::Key(key) => return Ok(Some(key)),
            Recall::None => return Ok(None),
            Recall::Ask => {}
        }
        let key = match self.card(place, keys).await? {
            Some(key) => Some(key),
            None => self.credential(place, keys).await?,
        };
        self.state().known.learn(place, keys, key);
        Ok(key)
    }

    /// Which FIDO2 key is there, by its silent signature.
    async fn credential(&self, place: &Place, keys: &[EnrolledKey]) -> Result<Option<KeyId>, DeviceError> {
        let candidates: Vec<Id> = keys
            .iter()
            .filter_map(EnrolledKey::fido2)
            .map(|key| Id(key.which.id.clone()))
            .collect();
        // With none to ask for a look still tells what else is there, unless a card was looked for already.
        if candidates.is_empty() && !keys.is_empty() && place.link != Link::Usb {
            return Ok(None);
        }
        let mut challenge = [0; 32];
        random(&mut challenge).map_err(system)?;
        let step = Step {
            place,
            operation: Operation::Which { candidates, challenge },
            secret: None,
            deadline: self.clock.boot() + SHORT,
            key: None,
            late: None,
        };
        let Answer::Which(answer) = self.step(step, |_| {}).await?.answer else {
            return Err(unexpected());
        };
        answer.map(|raw| recognise(&raw.into(), keys, &challenge)).transpose()
    }
}

/// A device that signs must have signed rightly: one that claims a credential and cannot use it is an impostor.
fn recognise(raw: &RawAssertion, keys: &[EnrolledKey], challenge: &[u8; 32]) -> Result<KeyId, DeviceError> {
    let credentials = keys.iter().filter_map(|key| Some((key, &key.fido2()?.which)));
    let claimed = credentials
        .into_iter()
        .find(|(_, which)| Some(&which.id) == raw.credential.as_ref());
    match claimed {
        Some((key, which)) if which::answers(raw, which, challenge) => Ok(key.id()),
        _ => Err(DeviceError::Impostor),
    }
}

/// Forgets what was known of keys as they go.
async fn keep(inner: Weak<Inner>, mut places: Places) {
    loop {
        let seen = places.borrow_and_update().clone();
        let Some(inner) = inner.upgrade() else { return };
        if let Some(seen) = seen {
            let mut state = inner.state();
            for key in state.known.prune(&seen) {
                state.pins.gone(key);
            }
        }
        drop(inner);
        if places.changed().await.is_err() {
            return;
        }
    }
}

fn system(error: impl ToString) -> DeviceError {
    DeviceError::System { what: error.to_string() }
}

fn unexpected() -> DeviceError {
    DeviceError::of(Failure::Malformed("another answer than asked for".into()), None)
}

#[cfg(test)]
mod tests;
