//! Asking all connected keys for one touch over one text.

use std::collections::{HashMap, HashSet};
mod on_card;

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use super::super::candidate::Candidate;
use super::super::enrolled::{EnrolledKey, KeyId, Link, Profile};
use super::super::error::DeviceError;
use super::super::place::{Place, Port};
use super::super::proof::{self, Expected, Proof, ProofError};
use super::super::worker::protocol::{Answer, Id, Operation, Report, SlotKey};
use super::event::{Event, Feed};
use super::{AGAIN_PAUSE, Broker, Inner, SHORT, State, Step, system, unexpected, until};
use crate::clock::{Boot, Wall};
use crate::encoding::sshsig::{Namespace, client_data_hash};
use crate::secret::Secret;

/// Pause before asking again for a key that another program holds.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Pause before trying again a key that we may not open.
const BARRED_PAUSE: Duration = Duration::from_secs(1);
/// Pause before looking again at a place whose key went away and may be back.
const LOST_PAUSE: Duration = Duration::from_secs(1);
/// How often a second way to the same key looks whether the first has ended.
const CLAIM_LOOK: Duration = Duration::from_millis(250);

/// A touch to ask for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What the touch is for.
    pub namespace: Namespace,
    /// The exact bytes it is for.
    pub text: Vec<u8>,
    /// Which keys may answer.
    pub candidates: Vec<Candidate>,
    /// Until when, on the clock that counts suspend.
    pub deadline: Boot,
    /// Only a key at this place.
    pub at: Option<Port>,
    /// A PIN that is tried in the place of those that are kept: of a key that has not shown yet that it is the one that it says.
    pub pin: Option<Arc<Secret>>,
    /// Whether a PIV key signs a lease too, with one more touch; everything else it signs anyway.
    pub receipts: bool,
    /// What a signer's key in hardware signs in the place of the text. The candidate is its card, which unseals nothing.
    pub signs: Option<Signs>,
}

/// A signer's key in hardware, and what it signs.
#[derive(Clone)]
pub struct Signs {
    /// The card's serial number.
    pub serial: u32,
    /// The key, in its slot.
    pub by: SlotKey,
    /// What is signed at a time; it has to name the text. Nothing where it cannot be written.
    pub message: Arc<dyn Fn(Wall) -> Option<Vec<u8>> + Send + Sync>,
}

impl fmt::Debug for Signs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signs").field("serial", &self.serial).finish_non_exhaustive()
    }
}

impl Ask {
    /// How often a key is touched for it: a PIV key once for each thing that it opens, and once to sign.
    #[must_use]
    pub fn touches(&self, candidate: &Candidate) -> u32 {
        match candidate.key.piv() {
            Some(_) if self.signs.is_some() => 1,
            Some(_) => u32::try_from(candidate.unseals.len()).unwrap_or(u32::MAX) + u32::from(self.signs()),
            None => 1,
        }
    }

    /// Whether a PIV key signs for it.
    fn signs(&self) -> bool {
        self.receipts || self.namespace != Namespace::Lease
    }
}

/// One ask under way, shared by the attempts at all places.
struct Prompt {
    inner: Arc<Inner>,
    ask: Ask,
    keys: Vec<EnrolledKey>,
    feed: Feed,
    progress: Mutex<Progress>,
    /// Held by this prompt alone: as long as it is there, the keys stand for themselves that it asked to be lifted and tapped.
    lifting: Arc<()>,
}

#[derive(Default)]
struct Progress {
    /// Keys that are being asked, and where: one key may be seen at two places.
    claimed: HashMap<KeyId, Port>,
    stages: HashMap<Port, Stage>,
    /// Readers that a card was invited to, and whether it has to be lifted first.
    invited: HashMap<Port, bool>,
    /// Keys for which it is over, and why.
    failed: HashMap<KeyId, DeviceError>,
    /// Places where it is not known yet which key is there.
    looking: HashSet<Port>,
    /// Names of cards that wait for a touch.
    armed: HashMap<Port, String>,
}

/// How far it got at one place.
#[derive(Clone)]
enum Stage {
    Looking,
    WaitsForPin { wrong: Option<DeviceError> },
    WaitsForTouch,
    Failed(DeviceError),
}

type Plug = (Port, u64);
type Outcome = (Plug, Result<Proof, DeviceError>);

impl Broker {
    /// Asks all connected keys that can serve for one touch, each with its own request. Keys plugged in or tapped meanwhile join in.
    /// The first that proves its touch wins; the others are cancelled. Ends when `cancel` does. Dropping the future cancels too.
    ///
    /// # Errors
    /// See [`DeviceError`]: the most telling of what was found until the deadline. Denied on a key, or cancelled there by another
    /// program: at once.
    pub async fn touch(&self, ask: Ask, feed: Feed, cancel: impl Future<Output = ()>) -> Result<Proof, DeviceError> {
        let outlook = self.inner.outlook()?;
        self.inner.linger(&outlook);
        let prompt = Arc::new(Prompt {
            inner: self.inner.clone(),
            keys: ask.candidates.iter().map(|candidate| candidate.key.clone()).collect(),
            ask,
            feed,
            progress: Mutex::default(),
            lifting: Arc::default(),
        });
        prompt.tell(Event::Waiting);
        let _waits = StillWaits(prompt.clone());
        let mut cancel = pin!(cancel);
        tokio::select! {
            biased;
            () = &mut cancel => Err(DeviceError::Withdrawn),
            result = prompt.clone().collect(outlook.places.clone()) => result,
            () = until(&*self.inner.clock, prompt.ask.deadline) => Err(prompt.verdict()),
        }
    }
}

impl Prompt {
    fn tell(&self, event: Event) {
        (self.feed)(event);
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stage(&self, port: &Port, stage: Stage) {
        self.progress().stages.insert(port.clone(), stage);
    }

    /// Starts an attempt at every place, as they come and go, until one ends it.
    async fn collect(self: Arc<Self>, mut places: super::Places) -> Result<Proof, DeviceError> {
        let mut attempts: JoinSet<Outcome> = JoinSet::new();
        let mut running: HashMap<Plug, AbortHandle> = HashMap::new();
        // Cards that lie there since before the question are no tap (T01), should they turn out to lie in a field.
        let mut lying: Option<HashSet<Plug>> = None;
        // Attempts that lost their key though its place may still be there: a card that was only reset.
        let mut lost: Vec<Plug> = Vec::new();
        loop {
            let seen = places.borrow_and_update().clone();
            if let Some(seen) = seen {
                let lying = lying.get_or_insert_with(|| cards(&seen));
                self.follow(&seen, lying, &mut attempts, &mut running);
            }
            loop {
                let ended = tokio::select! {
                    // First what ended: a key that was pulled out is said by its name, which is forgotten with its place.
                    biased;
                    Some(ended) = attempts.join_next() => ended,
                    changed = places.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return Err(system("keys cannot be watched")),
                    },
                    () = tokio::time::sleep(LOST_PAUSE), if !lost.is_empty() => {
                        lost.drain(..).for_each(|plug| drop(running.remove(&plug)));
                        break;
                    }
                };
                // An attempt that was aborted has nothing to say.
                let Ok((plug, result)) = ended else { continue };
                if matches!(result, Err(DeviceError::PulledOut)) {
                    lost.push(plug.clone());
                }
                if let Some(end) = self.settle(&plug, result) {
                    self.wipe_others(&mut attempts);
                    return end;
                }
            }
        }
    }

    fn follow(
        self: &Arc<Self>,
        seen: &[Place],
        lying: &HashSet<Plug>,
        attempts: &mut JoinSet<Outcome>,
        running: &mut HashMap<Plug, AbortHandle>,
    ) {
        let wanted = |place: &&Place| self.ask.at.as_ref().is_none_or(|port| *port == place.port);
        let now: HashSet<Plug> = seen.iter().filter(|p| !p.empty).map(plug).collect();
        running.retain(|plug, attempt| {
            let stays = now.contains(plug);
            if !stays {
                // Whoever sees the removal first says so: the worker that waits for the touch, or the look at the places.
                if !attempt.is_finished() {
                    attempt.abort();
                    self.gone(&plug.0);
                }
                self.leave(&plug.0);
            }
            stays
        });
        for place in seen.iter().filter(wanted) {
            if place.empty {
                self.invite(place, false);
            }
            if place.empty || running.contains_key(&plug(place)) {
                continue;
            }
            self.stage(&place.port, Stage::Looking);
            self.look(&place.port, true);
            let (prompt, place, lies) = (self.clone(), place.clone(), lying.contains(&plug(place)));
            let plug = plug(&place);
            let attempt = attempts.spawn(async move { (self::plug(&place), prompt.attempt(&place, lies).await) });
            running.insert(plug, attempt);
        }
    }

    /// Says at how many places it is not known yet which key is there: a card takes a second.
    fn look(&self, port: &Port, begins: bool) {
        let (changed, places) = {
            let looking = &mut self.progress().looking;
            let changed = if begins {
                looking.insert(port.clone())
            } else {
                looking.remove(port)
            };
            (changed, looking.len())
        };
        if changed {
            self.tell(Event::Looking { places });
        }
    }

    /// Says once that a card may be put there; only keys with a PIN count in a field.
    fn invite(&self, place: &Place, lift_first: bool) {
        let told = self.progress().invited.insert(place.port.clone(), lift_first);
        let counts = |key: &EnrolledKey| place.link != Link::Contactless || key.profile == Profile::Pin;
        if told != Some(lift_first) && self.keys.iter().any(counts) {
            self.tell(Event::TapNow {
                reader: place.model.clone(),
                link: place.link,
                lift_first,
            });
        }
    }

    /// Says which key went away: by its name, if it had told it.
    fn gone(&self, port: &Port) {
        let name = self.name_at(port);
        self.tell(Event::Gone { name });
    }

    fn name_at(&self, port: &Port) -> String {
        let claimed = self.progress().claimed.iter().find(|(_, at)| *at == port).map(|(key, _)| *key);
        let key = self.keys.iter().find(|key| Some(key.id()) == claimed);
        key.map_or_else(|| port.to_string(), |key| key.name.clone())
    }

    fn leave(&self, port: &Port) {
        self.look(port, false);
        let mut progress = self.progress();
        progress.stages.remove(port);
        progress.armed.remove(port);
        progress.claimed.retain(|_, at| at != port);
    }

    /// What an attempt's end means for the whole: some ends are everybody's.
    fn settle(&self, plug: &Plug, result: Result<Proof, DeviceError>) -> Option<Result<Proof, DeviceError>> {
        let error = match result {
            Ok(proof) => {
                self.count(&proof);
                return Some(Ok(proof));
            }
            Err(error) => error,
        };
        match error {
            // A person's no, and a cancel that was not ours (T05): nobody else is asked any more.
            DeviceError::Denied | DeviceError::CancelledElsewhere => return Some(Err(error)),
            DeviceError::PulledOut => {
                self.gone(&plug.0);
                self.leave(&plug.0);
                return None;
            }
            _ => {}
        }
        // The invitation to lift the card has said it.
        if error != DeviceError::CardNotAbsent {
            self.tell(Event::Problem {
                port: plug.0.clone(),
                error: error.clone(),
            });
        }
        self.stage(&plug.0, Stage::Failed(error.clone()));
        let progress = self.progress();
        let over = !self.keys.is_empty() && self.keys.iter().all(|key| progress.failed.contains_key(&key.id()));
        over.then_some(Err(error))
    }

    /// The counter is a hint only: it may be constant, or shared by all credentials of a key.
    fn count(&self, proof: &Proof) {
        let Some(now) = proof.counter() else { return };
        let was = self.inner.state().counters.insert(proof.key_id(), now);
        if let Some(was) = was
            && was > 0
            && now <= was
        {
            self.tell(Event::CounterBack {
                key: proof.key_id(),
                name: proof.key_name().into(),
                was,
                now,
            });
        }
    }

    /// Two touches may end in the same moment: the second opens nothing, and is said.
    fn wipe_others(&self, attempts: &mut JoinSet<Outcome>) {
        while let Some(ended) = attempts.try_join_next() {
            if let Ok((_, Ok(proof))) = ended {
                self.tell(Event::ExtraTouch {
                    key: proof.key_id(),
                    name: proof.key_name().into(),
                });
            }
        }
    }

    /// What to say when the time is up.
    fn verdict(&self) -> DeviceError {
        let progress = self.progress();
        let mut verdict = DeviceError::NoKey;
        let mut rank = 0;
        for stage in progress.stages.values() {
            let (weight, error) = match stage {
                Stage::WaitsForTouch => (5, DeviceError::TimedOut),
                Stage::WaitsForPin { wrong } => (4, wrong.clone().unwrap_or(DeviceError::PinNeeded)),
                Stage::Failed(DeviceError::NotEnrolled) => (2, DeviceError::NotEnrolled),
                Stage::Failed(DeviceError::NotFido) => (0, DeviceError::NoKey),
                Stage::Failed(error) => (3, error.clone()),
                Stage::Looking => (1, DeviceError::TimedOut),
            };
            if weight > rank {
                (rank, verdict) = (weight, error);
            }
        }
        match (&self.ask.signs, verdict) {
            (Some(signs), DeviceError::NoKey | DeviceError::NotEnrolled) => DeviceError::OtherCard { serial: signs.serial },
            (_, verdict) => verdict,
        }
    }

    /// Everything at one place, from recognising the key to its proof.
    async fn attempt(&self, place: &Place, lies: bool) -> Result<Proof, DeviceError> {
        let identified = self.patiently(place, || self.inner.identify(place, &self.keys)).await;
        self.look(&place.port, false);
        let key = identified?;
        let place = &self.inner.corrected(place);
        let Some(candidate) = self.ask.candidates.iter().find(|c| Some(c.key.id()) == key) else {
            return Err(self.stranger(place));
        };
        while !self.claim(place, candidate.key.id()) {
            tokio::time::sleep(CLAIM_LOOK).await;
        }
        let result = match place.link {
            Link::Contactless if candidate.key.profile == Profile::TouchOnly => Err(DeviceError::TouchOnlyContactless),
            Link::Contactless if lies => Err(DeviceError::CardNotAbsent),
            _ => self.ask_key(place, candidate).await,
        };
        if matches!(result, Err(DeviceError::CardNotAbsent | DeviceError::PinWrong { .. })) {
            // Before a person can follow it. A wrong PIN is forgotten already.
            self.inner.state().pins.lift(candidate.key.id(), &self.lifting);
            self.invite(place, true);
        }
        if let Err(error) = &result {
            let mut progress = self.progress();
            // One that went away is named once more, and then leaves.
            if *error != DeviceError::PulledOut {
                progress.claimed.remove(&candidate.key.id());
            }
            if is_final(error) {
                progress.failed.insert(candidate.key.id(), error.clone());
            }
        }
        result
    }

    /// Whether the key is asked here, and not at another place meanwhile.
    fn claim(&self, place: &Place, key: KeyId) -> bool {
        let mut progress = self.progress();
        *progress.claimed.entry(key).or_insert_with(|| place.port.clone()) == place.port
    }

    fn stranger(&self, place: &Place) -> DeviceError {
        if let Some(signs) = &self.ask.signs {
            // The same YubiKey may be there as a FIDO2 key besides, which has no part in this.
            return match place.port {
                Port::Reader(_) => DeviceError::OtherCard { serial: signs.serial },
                Port::Node(_) => DeviceError::NotEnrolled,
            };
        }
        let state = self.inner.state();
        match self.keys.iter().find(|key| state.known.was_before(place, key.id())) {
            Some(key) => DeviceError::ResetSinceEnrolment { name: key.name.clone() },
            None => DeviceError::NotEnrolled,
        }
    }

    /// Asks until the key gives a proof, or an error that asking again does not mend.
    async fn ask_key(&self, place: &Place, candidate: &Candidate) -> Result<Proof, DeviceError> {
        let key = &candidate.key;
        let mut wrong = None;
        loop {
            let pin = match key.profile {
                Profile::Pin => Some(self.pin(place, key, wrong.take()).await?),
                Profile::TouchOnly => None,
            };
            if place.link == Link::Contactless {
                if !self.inner.state().known.spend(place) {
                    return Err(DeviceError::CardNotAbsent);
                }
                self.touch_now(place, key);
            }
            self.stage(&place.port, Stage::WaitsForTouch);
            match self.prove(place, candidate, pin).await {
                // The key gave up, at about 30 s: the same request again, with a fresh token.
                Err(DeviceError::TimedOut) if place.link != Link::Contactless && self.time_is_left() => {
                    tokio::time::sleep(AGAIN_PAUSE).await;
                }
                Err(held) if held.is_held() => {
                    // Whoever holds the card kept us from asking it.
                    self.inner.state().known.unspend(place);
                    self.held(place, held).await;
                }
                Err(error @ DeviceError::PinWrong { left }) => {
                    self.inner.state().pins.forget(key.id());
                    self.tell(Event::PinWrong { key: key.id(), left });
                    // In a field that was the tap's one try: asked now, the PIN would be forgotten as the card is lifted.
                    if place.link == Link::Contactless || self.ask.pin.is_some() {
                        return Err(error);
                    }
                    wrong = Some(error);
                }
                Err(error) => {
                    if forgets_pin(&error) {
                        self.inner.state().pins.forget(key.id());
                    }
                    return Err(error);
                }
                Ok(proof) => return Ok(proof),
            }
        }
    }

    fn time_is_left(&self) -> bool {
        self.inner.clock.boot() < self.ask.deadline
    }

    /// The key's PIN, once somebody has typed it.
    async fn pin(&self, place: &Place, key: &EnrolledKey, wrong: Option<DeviceError>) -> Result<Secret, DeviceError> {
        if let Some(pin) = &self.ask.pin {
            return pin.duplicate().map_err(system);
        }
        let mut given = self.inner.given.subscribe();
        let mut asked = false;
        loop {
            given.mark_unchanged();
            let kept = self.inner.state().pins.take_copy(key.id(), self.inner.clock.boot());
            if let Some(pin) = kept.map_err(system)? {
                return Ok(pin);
            }
            if !asked {
                asked = true;
                self.stage(&place.port, Stage::WaitsForPin { wrong: wrong.clone() });
                let tries = self.tries(place, key).await?;
                self.tell(Event::PinNeeded {
                    key: key.id(),
                    name: key.name.clone(),
                    tries,
                });
            }
            // Ends only with the broker, which outlives its prompts.
            if given.changed().await.is_err() {
                return Err(DeviceError::PinNeeded);
            }
        }
    }

    async fn tries(&self, place: &Place, key: &EnrolledKey) -> Result<Option<u32>, DeviceError> {
        let asked = || async {
            match key.piv() {
                Some(piv) => self.inner.card_tries(place, piv.serial, Some(key)).await,
                None => self.inner.tries(place, Some((&key.name, key.profile))).await,
            }
        };
        let (tries, power_cycle) = self.patiently(place, asked).await?;
        match (tries, power_cycle) {
            (Some(0), _) if key.piv().is_some() => Err(DeviceError::PivPinBlocked),
            (Some(0), _) => Err(DeviceError::PinBlocked),
            (_, true) => Err(DeviceError::PinBlockedUntilReplug),
            (None, _) => Err(DeviceError::ResetSinceEnrolment { name: key.name.clone() }),
            (tries, _) => Ok(tries),
        }
    }

    async fn assert(&self, place: &Place, candidate: &Candidate, pin: Option<Secret>) -> Result<Proof, DeviceError> {
        let key = &candidate.key;
        let (feed, id, name) = (self.feed.clone(), key.id(), key.name.clone());
        let (fido2, salts) = key.fido2().zip(candidate.salts()).ok_or_else(unexpected)?;
        let step = Step {
            place,
            operation: Operation::Assert {
                credential: Id(fido2.lease.id.clone()),
                hash: client_data_hash(self.ask.namespace, &self.ask.text).0,
                salts,
                which: pin.is_some().then(|| fido2.which.clone()),
            },
            secret: pin,
            deadline: self.ask.deadline,
            key: Some((&key.name, key.profile)),
            late: Some(Box::new(move |_| feed(Event::ExtraTouch { key: id, name }))),
        };
        let done = self.inner.step(step, |report| self.hear(place, key, &report)).await?;
        let Answer::Asserted(raw) = done.answer else {
            return Err(unexpected());
        };
        let expected = Expected {
            key,
            link: place.link,
            namespace: self.ask.namespace,
            text: &self.ask.text,
            unseals: &candidate.unseals,
        };
        let proof = proof::verify(&raw.into(), halves(done.outputs)?, &expected);
        proof.map_err(|error| match error {
            ProofError::Verified => DeviceError::AlwaysUv,
            error => error.into(),
        })
    }

    fn hear(&self, place: &Place, key: &EnrolledKey, report: &Report) {
        match report {
            // In a field it was said before: the tap is the touch.
            Report::TouchNow if place.link != Link::Contactless => self.touch_now(place, key),
            Report::AnotherProgram => self.tell(Event::AnotherProgram { name: key.name.clone() }),
            _ => {}
        }
    }

    fn touch_now(&self, place: &Place, key: &EnrolledKey) {
        self.tell(Event::TouchNow {
            key: Some(key.id()),
            name: key.name.clone(),
            link: place.link,
        });
    }

    /// Repeats what fails only because somebody holds the key, or because the rules that let us at it are not installed yet.
    async fn patiently<T, F: Future<Output = Result<T, DeviceError>>>(
        &self,
        place: &Place,
        mut work: impl FnMut() -> F,
    ) -> Result<T, DeviceError> {
        loop {
            match work().await {
                Err(held) if held.is_held() => self.held(place, held).await,
                Err(DeviceError::Permission) => self.barred(place).await,
                other => return other,
            }
        }
    }

    /// Says once that the key is not ours to open, and waits a little: whoever follows that word need not ask again.
    async fn barred(&self, place: &Place) {
        let was = self
            .progress()
            .stages
            .insert(place.port.clone(), Stage::Failed(DeviceError::Permission));
        if !matches!(was, Some(Stage::Failed(DeviceError::Permission))) {
            self.tell(Event::Problem {
                port: place.port.clone(),
                error: DeviceError::Permission,
            });
        }
        tokio::time::sleep(BARRED_PAUSE).await;
    }

    async fn held(&self, place: &Place, held: DeviceError) {
        self.stage(&place.port, Stage::Failed(held.clone()));
        self.tell(match held {
            DeviceError::Busy { by } => Event::Busy {
                port: place.port.clone(),
                by,
            },
            _ => Event::Unfinished {
                name: self.name_at(&place.port),
            },
        });
        tokio::time::sleep(BUSY_PAUSE).await;
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        let State { pins, known, .. } = &mut *state;
        pins.end_lift(&self.lifting, |key| known.is_here(key));
    }
}

impl Inner {
    /// PIN tries left, and whether the key has to be pulled out before the next.
    pub(super) async fn tries(&self, place: &Place, key: Option<(&str, Profile)>) -> Result<(Option<u32>, bool), DeviceError> {
        let step = Step {
            place,
            operation: Operation::Inspect,
            secret: None,
            deadline: self.clock.boot() + SHORT,
            key,
            late: None,
        };
        match self.step(step, |_| {}).await?.answer {
            Answer::Inspected { tries, power_cycle } => Ok((tries, power_cycle || self.state().known.is_pin_blocked(place))),
            _ => Err(unexpected()),
        }
    }
}

/// Says, when a touch is not asked for any more, which cards wait on: no call ends a card's operation, and its result is thrown away. Before
/// whoever asked goes on, so that it still stands on his prompt.
struct StillWaits(Arc<Prompt>);

impl Drop for StillWaits {
    fn drop(&mut self) {
        let armed = std::mem::take(&mut self.0.progress().armed);
        armed.into_values().for_each(|name| self.0.tell(Event::StillWaits { name }));
    }
}

fn plug(place: &Place) -> Plug {
    (place.port.clone(), place.plug)
}

fn cards(places: &[Place]) -> HashSet<Plug> {
    places.iter().filter(|p| !p.empty && p.link != Link::Usb).map(plug).collect()
}

/// Errors that last for this key as long as it stays plugged in, or longer.
fn is_final(error: &DeviceError) -> bool {
    !error.is_held()
        && !matches!(
            error,
            DeviceError::PulledOut
                | DeviceError::CardNotAbsent
                | DeviceError::PinWrong { .. }
                | DeviceError::TimedOut
                | DeviceError::TouchOnlyContactless
        )
}

fn forgets_pin(error: &DeviceError) -> bool {
    use DeviceError::{
        Impostor, OtherSlotKey, PinBlocked, PinBlockedUntilReplug, PinRefused, PinUnfit, PivPinBlocked, ResetSinceEnrolment,
    };
    matches!(
        error,
        PivPinBlocked
            | PinUnfit
            | OtherSlotKey { .. }
            | PinBlocked
            | PinBlockedUntilReplug
            | PinRefused
            | Impostor
            | ResetSinceEnrolment { .. }
    )
}

fn halves(mut outputs: Secret) -> Result<Vec<Secret>, DeviceError> {
    outputs
        .expose_mut()
        .chunks_mut(32)
        .map(|half| Secret::from_slice_wiping(half).map_err(system))
        .collect()
}
