//! Keys into and out of a vault: several touches, each said before it is asked for.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::card::Survey;
use super::failure::{IntoFailure, internal, locked_memory};
use super::making::make;
use super::office::{Asker, Lobby, Office, names};
use super::record::{self, Journal, Question};
use super::text::{EnrolKind, EnrolText, Fixed, RecoversText, RequesterText, RosterBeside, StatesText, Text, VERSION};
use super::touch::{Attended, attend, feed, hidden, refusal, touch, touch_text};
use crate::clock::until;
use crate::config::LONGEST_PROMPT;
use crate::device::broker::{Candidate, CardSeen, Enrol, Event as KeyEvent, NewKey, Seen};
use crate::device::enrolled::Retired;
use crate::device::{DeviceError, EnrolledKey, Profile, Proof, pin_form};
use crate::encoding::Digest;
use crate::encoding::plain::check_name;
use crate::encoding::sshsig::Namespace;
use crate::presence::Prompt;
use crate::secret::Secret;
use crate::vault::{Addition, Enrolment, Fork, Genesis, InForce, Plan, Purpose, Random, SCOPES_PER_TOUCH, Vault, VaultError};
use crate::wire::{Event, Failure, Outcome, TouchState};

/// Touches for the two credentials of a key.
const CREDENTIALS: usize = 2;
/// What they are for.
const PURPOSES: [&str; CREDENTIALS] = ["make the credential by which it is recognised", "make its credential"];
/// How often the keys are looked at while the one to enrol is not plugged in yet.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A key of a vault that this daemon knows.
pub struct Known {
    /// The vault's folder.
    pub vault: String,
    /// The key.
    pub key: EnrolledKey,
}

impl Known {
    /// Whether this slot of a card holds one of its two.
    pub(super) fn is_in(&self, slot: Retired, card: &CardSeen) -> bool {
        let made = self.key.piv().map(|piv| [&piv.open, &piv.sign]);
        made.into_iter().flatten().any(|made| made.slot == slot && card.holds(made))
    }
}

/// A key that was enrolled.
pub struct Enrolled {
    /// Its public data.
    pub key: EnrolledKey,
    /// Whether something of its own, such as a fingerprint, can stand in for its PIN.
    pub built_in_uv: bool,
}

/// A key that says which it is, and has not shown it yet: until then its PIN is kept under no name.
pub(super) struct Newcomer {
    pub(super) enrolled: Enrolled,
    pin: Option<Arc<Secret>>,
}

impl Newcomer {
    pub(super) fn key(&self) -> &EnrolledKey {
        &self.enrolled.key
    }
}

/// A key to be enrolled.
pub struct Candidacy<'a> {
    /// Its name.
    pub name: &'a str,
    /// Without PIN.
    pub touch_only: bool,
    /// What it will open.
    pub scopes: &'a [String],
    /// Where the recovery code lets it in: what becomes of the others.
    pub recovers: Option<RecoversText>,
    /// By the PIV application of this card.
    pub card: Option<&'a Survey>,
    /// Keys of other vaults: it is none of them.
    pub known: &'a [Known],
}

impl Candidacy<'_> {
    /// Steps in which the new key is touched.
    fn steps(&self) -> usize {
        match self.card {
            Some(_) => 1,
            None => CREDENTIALS + self.scopes.len().div_ceil(SCOPES_PER_TOUCH),
        }
    }

    /// Its touches: a card shows by one that it opens, and by one that it signs.
    pub(super) fn touches(&self) -> usize {
        self.steps() + usize::from(self.card.is_some())
    }
}

/// Touches of a ceremony, counted for the person.
pub(super) struct Steps<'a> {
    asker: &'a Asker,
    number: u32,
    of: u32,
}

impl<'a> Steps<'a> {
    pub(super) fn new(asker: &'a Asker, touches: usize) -> Self {
        Self {
            asker,
            number: 0,
            of: count(touches),
        }
    }

    fn next(&mut self, what: &str) {
        self.next_of(what, 1);
    }

    /// The same for something that takes several.
    fn next_of(&mut self, what: &str, touches: u32) {
        let number = self.number + 1;
        self.number += touches;
        // Whoever asked may have gone; the ceremony ends with his connection.
        let _ = self.asker.tell.send(Event::Step {
            number,
            of: self.of,
            what: what.to_owned(),
        });
    }
}

/// A vault that was made.
pub struct Made {
    /// Its id.
    pub vault: Digest,
    /// Its recovery code, as it is printed: told nowhere else, so told whatever else happens.
    pub code: Secret,
    /// Its first key.
    pub new: Enrolled,
    /// What failed once it was made.
    pub trouble: Option<VaultError>,
}

/// Makes a vault: the first key's touches, then its touch for the first statement of the roster. Gives the recovery code, once; from
/// when the vault is made on nobody could be told it after a failure. So `ready` is called before, with the vault's id, for everything
/// that the vault needs besides its folder.
///
/// # Errors
/// Every way in which it can end before; no vault is left then.
pub async fn init(
    lobby: &Lobby<'_>,
    folder: &Path,
    states: &Path,
    key: &Candidacy<'_>,
    ready: impl FnOnce(Digest) -> Result<(), Failure>,
    asker: &Asker,
) -> Result<Made, Failure> {
    own_screen(asker)?;
    let mut steps = Steps::new(asker, key.touches() + 1);
    let (founding, new) = {
        let prompt = enrol_prompt(lobby, key, asker).await?;
        let new = keys_of(lobby, &prompt, key, &[], &mut steps).await?;
        let (at, scopes, first) = (folder.to_owned(), key.scopes.to_vec(), new.key().clone());
        let begin = move |random: &mut Random| {
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            Genesis::begin(&at, &vault_name(&at), &scopes, first.clone(), random)
        };
        let genesis = lobby.writer.when_free(begin).await?;
        let proofs = slots_of(lobby, &prompt, &new, genesis.enrolments(), &mut steps).await?;
        let founding = genesis
            .seal(&refs(&proofs), lobby.clock.wall().seconds(), &mut **lobby.random.borrow_mut())
            .map_err(IntoFailure::failure)?;
        prompt.approved();
        (founding, new.enrolled)
    };
    steps.next("sign who may open the vault");
    let signer = Candidate {
        key: new.key.clone(),
        unseals: vec![],
    };
    let proof = sign(lobby, founding.text(), vec![], None, vec![signer], asker).await?;
    let code = Secret::from_slice_wiping(&mut founding.code().to_text().to_string().into_bytes());
    let code = code.map_err(locked_memory)?;
    let vault = founding.vault();
    ready(vault)?;
    let states = states.to_owned();
    let finish = move |random: &mut Random| founding.finish(&proof, &states, random);
    let in_force = lobby.writer.when_free(finish).await?;
    Ok(Made {
        vault,
        code,
        new,
        trouble: in_force.trouble,
    })
}

/// Enrols one more key: its own touches, then those of an enrolled key, which sign the statement and open the scopes.
///
/// # Errors
/// Every way in which it can end before; the roster is as it was then.
pub async fn add(office: &Office<'_>, key: &Candidacy<'_>, asker: &Asker) -> Result<Enrolled, Failure> {
    own_screen(asker)?;
    let lobby = &office.lobby;
    let enrolled = office.vault.borrow().keys();
    if enrolled.iter().any(|old| old.name == key.name) {
        return Err(
            Failure::new(Outcome::BadInput, "name_taken", format!("a key is called \"{}\" already", key.name)).hint("touchlease key list"),
        );
    }
    let slots = key.scopes.len().div_ceil(SCOPES_PER_TOUCH);
    let mut steps = Steps::new(asker, key.touches() + slots);
    let scopes: Vec<&str> = key.scopes.iter().map(String::as_str).collect();
    office
        .vault
        .borrow()
        .check_addition(key.name, &scopes)
        .map_err(IntoFailure::failure)?;
    let (plan, new) = {
        let prompt = enrol_prompt(lobby, key, asker).await?;
        let new = keys_of(lobby, &prompt, key, &enrolled, &mut steps).await?;
        let addition = Addition::begin(
            &office.vault.borrow(),
            new.key().clone(),
            &scopes,
            lobby.clock.wall().seconds(),
            &mut **lobby.random.borrow_mut(),
        );
        let addition = addition.map_err(IntoFailure::failure)?;
        let proofs = slots_of(lobby, &prompt, &new, addition.enrolments(), &mut steps).await?;
        let plan = addition
            .seal(&office.vault.borrow(), &refs(&proofs), &mut **lobby.random.borrow_mut())
            .map_err(IntoFailure::failure)?;
        prompt.approved();
        (plan, new.enrolled)
    };
    commit(
        lobby,
        office.log,
        office.vault_now(),
        plan,
        format!("key add {}", key.name),
        &mut steps,
        asker,
    )
    .await?
    .sure()
    .map_err(IntoFailure::failure)?;
    Ok(new)
}

/// What a plan is made for: a vault, or a fork of its roster.
pub(super) trait Ground: Send + Sync {
    fn candidates(&self, plan: &Plan, touch: usize) -> Result<Vec<Candidate>, VaultError>;
    fn follows(&self, plan: &Plan) -> Result<Vec<Vec<u8>>, VaultError>;
    fn commit(&self, plan: &Plan, proofs: &[&Proof], random: &mut Random) -> Result<InForce, VaultError>;
}

impl Ground for Vault {
    fn candidates(&self, plan: &Plan, touch: usize) -> Result<Vec<Candidate>, VaultError> {
        plan.candidates(self, touch)
    }

    fn follows(&self, plan: &Plan) -> Result<Vec<Vec<u8>>, VaultError> {
        plan.follows(self)
    }

    fn commit(&self, plan: &Plan, proofs: &[&Proof], random: &mut Random) -> Result<InForce, VaultError> {
        plan.commit(self, proofs, random)
    }
}

impl Ground for Fork {
    fn candidates(&self, plan: &Plan, touch: usize) -> Result<Vec<Candidate>, VaultError> {
        self.candidates(plan, touch)
    }

    fn follows(&self, plan: &Plan) -> Result<Vec<Vec<u8>>, VaultError> {
        self.follows(plan)
    }

    fn commit(&self, plan: &Plan, proofs: &[&Proof], random: &mut Random) -> Result<InForce, VaultError> {
        self.commit(plan, proofs, random)
    }
}

/// The touches of enrolled keys that a plan needs, and the plan's effect. In the log before it takes effect: who asks, then the
/// statement; the roster holds the signature.
pub(super) async fn commit(
    lobby: &Lobby<'_>,
    log: &Rc<Journal>,
    ground: Arc<dyn Ground>,
    plan: Plan,
    what: String,
    steps: &mut Steps<'_>,
    asker: &Asker,
) -> Result<InForce, Failure> {
    let asked = record::asked(log, &Question::of_change(&asker.requester, vec![], &what))?;
    let path = async {
        let mut proofs = vec![];
        for touch in 0..plan.touches() {
            steps.next(&plan.purpose(touch).map_or_else(String::new, |purpose| said(&purpose)));
            let candidates = ground.candidates(&plan, touch).map_err(IntoFailure::failure)?;
            let before = ground.follows(&plan).map_err(IntoFailure::failure)?;
            let joins = StatesText::of(&plan.heads(), &plan.claims());
            proofs.push(sign(lobby, plan.text(), before, joins, candidates, asker).await?);
        }
        asked.roster(Digest::of(plan.text()))?;
        let commit = move |random: &mut Random| ground.commit(&plan, &refs(&proofs), random);
        make(lobby.writer, &asked, None, commit).await
    };
    path.await.inspect_err(|failure| asked.failed(failure))
}

/// What a touch of an enrolled key is for.
fn said(purpose: &Purpose) -> String {
    let (opens, makes) = (purpose.opens.join(" and "), purpose.makes.join(" and "));
    match &purpose.key {
        Some(key) if opens.is_empty() => format!("\"{key}\" makes its way into {makes}"),
        Some(key) => format!("\"{key}\" signs the new key of {opens}, and gets a new way in"),
        None => "an enrolled key signs who may open the vault".into(),
    }
}

/// One touch over a statement of the roster, which stands on the screen with who asks, with what it changes in those `before` it, and
/// with what is joined by it.
async fn sign(
    lobby: &Lobby<'_>,
    statement: &[u8],
    before: Vec<Vec<u8>>,
    joins: Option<StatesText>,
    candidates: Vec<Candidate>,
    asker: &Asker,
) -> Result<Proof, Failure> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| internal("statement", error));
    let beside = RosterBeside {
        v: VERSION,
        requester: RequesterText::of(&asker.requester),
        before: before.into_iter().map(text).collect::<Result<_, _>>()?,
        joins,
    };
    let fixed = Fixed::roster(text(statement.to_vec())?, &lobby.random_id(), &beside).map_err(IntoFailure::failure)?;
    let turn = lobby.turn(asker).await?;
    let prompt = lobby.show(turn, &fixed, names(&candidates), lobby.limits.prompt, asker).await?;
    let proof = touch(lobby, &prompt, &fixed, candidates).await?;
    prompt.approved();
    Ok(proof)
}

pub(super) async fn enrol_prompt<'a>(lobby: &'a Lobby<'_>, key: &Candidacy<'_>, asker: &Asker) -> Result<Prompt<'a>, Failure> {
    check_names(key)?;
    let text = EnrolText {
        v: VERSION,
        kind: EnrolKind::Enrol,
        id: lobby.random_id(),
        requester: RequesterText::of(&asker.requester),
        key: key.name.to_owned(),
        scopes: key.scopes.to_vec(),
        touches: count(key.touches()),
        recovers: key.recovers.clone(),
        card: key.card.map(Survey::text),
        signer: None,
    };
    let fixed = text.fix().map_err(IntoFailure::failure)?;
    let turn = lobby.turn(asker).await?;
    lobby.show(turn, &fixed, vec![key.name.to_owned()], LONGEST_PROMPT, asker).await
}

/// Before anybody looks at them, and before the key makes anything under them.
fn check_names(key: &Candidacy<'_>) -> Result<(), Failure> {
    let scopes = key.scopes.iter().map(|scope| check_name("the scope's name", scope));
    let checked = std::iter::once(check_name("the key's name", key.name))
        .chain(scopes)
        .collect::<Result<(), _>>();
    checked.map_err(|error| Failure::new(Outcome::BadInput, "name", error.to_string()).hint("names have letters, digits and _ - . + @ ="))
}

/// What the new key makes for the vault: credentials, or keys in its slots. Its PIN is not kept yet: a device may say that it is a key that
/// is enrolled, and what is kept for that one stays.
pub(super) async fn keys_of(
    lobby: &Lobby<'_>,
    prompt: &Prompt<'_>,
    key: &Candidacy<'_>,
    enrolled: &[EnrolledKey],
    steps: &mut Steps<'_>,
) -> Result<Newcomer, Failure> {
    let work = async {
        let (enrolled_key, built_in_uv, pin) = match key.card {
            Some(card) => {
                let (made, pin) = card.make(lobby, prompt, key.name).await?;
                let [open, sign] = made
                    .try_into()
                    .map_err(|_| internal("card", "another number of keys than was asked for"))?;
                let seen = card.seen();
                (
                    EnrolledKey::on_card(key.name.to_owned(), seen.serial, seen.firmware, open, sign),
                    false,
                    Some(pin),
                )
            }
            None => {
                let (new, pin) = credentials(lobby, prompt, key, enrolled, steps).await?;
                (new.key, new.info.built_in_uv(), pin)
            }
        };
        let id = enrolled_key.id();
        let others = key.known.iter().map(|known| &known.key);
        if enrolled.iter().chain(others).any(|other| other.id() == id) {
            return Err(DeviceError::AlreadyEnrolled.failure());
        }
        Ok(Newcomer {
            enrolled: Enrolled {
                key: enrolled_key,
                built_in_uv,
            },
            pin: pin.map(Arc::new),
        })
    };
    unless_refused(prompt, work).await
}

/// The two credentials of the key that is plugged in and not enrolled, and its PIN, where it is for its PIN.
async fn credentials(
    lobby: &Lobby<'_>,
    prompt: &Prompt<'_>,
    key: &Candidacy<'_>,
    enrolled: &[EnrolledKey],
    steps: &mut Steps<'_>,
) -> Result<(NewKey, Option<Secret>), Failure> {
    let Seen { port, plug, .. } = find(lobby, prompt, enrolled).await?;
    let info = lobby.broker.info(&port).await.map_err(IntoFailure::failure)?;
    let has_pin = info.info.pin_is_set();
    let profile = if has_pin && !key.touch_only {
        Profile::Pin
    } else {
        Profile::TouchOnly
    };
    if has_pin {
        takes_pins(info.tries, info.power_cycle)?;
    } else if !key.touch_only {
        // Before its first touch, so that whoever wants a PIN can stop here. Whoever asked may have gone.
        let _ = steps.asker.tell.send(Event::Note {
            what: "this key has no PIN: it is enrolled for touch only, and whoever holds it and a copy of the vault opens it; to give it one first, stop with Ctrl-C and take: touchlease key pin set".into(),
        });
    }
    let mut purposes = PURPOSES.iter().enumerate().peekable();
    let mut heard = |event: &KeyEvent| {
        // A key that gave up is asked again: that is no further touch. It has an id once its first credential is made.
        let KeyEvent::TouchNow { key, .. } = event else { return };
        if let Some((_, purpose)) = purposes.next_if(|(made, _)| *made == usize::from(key.is_some())) {
            steps.next(purpose);
        }
    };
    let (mut tries, mut wrong) = (info.tries, false);
    let (new, kept) = loop {
        // Some keys make no credential without their PIN once they have one (CTAP 2.1, 6.1.2, makeCredUvNotRqd).
        let pin = match has_pin {
            true => Some(ask_pin(lobby, prompt, key.name, tries, wrong).await?),
            false => None,
        };
        let kept = pin.as_ref().map(Secret::duplicate).transpose().map_err(locked_memory)?;
        let enrol = Enrol {
            port: port.clone(),
            plug,
            name: key.name.to_owned(),
            user_name: format!("touchlease {}", key.name),
            profile,
            pin,
            enrolled: enrolled.to_vec(),
            deadline: prompt.deadline(),
        };
        let (feed, events) = feed();
        let asking = async {
            match lobby.broker.enrol(enrol, feed).await {
                Err(DeviceError::PinWrong { left }) => Ok(Err(left)),
                other => other.map(Ok),
            }
        };
        match attend(lobby, prompt, &[], events, &mut heard, asking).await? {
            Attended::Done(Ok(new)) => break (new, kept),
            Attended::Done(Err(left)) => (tries, wrong) = (left, true),
            Attended::Hidden => return Err(hidden()),
        }
    };
    let kept = kept.filter(|_| new.key.profile == Profile::Pin);
    Ok((new, kept))
}

/// The one key that is connected and not enrolled; waits for it.
async fn find(lobby: &Lobby<'_>, prompt: &Prompt<'_>, enrolled: &[EnrolledKey]) -> Result<Seen, Failure> {
    let mut told: Option<Vec<String>> = None;
    loop {
        let seen = lobby.broker.seen(enrolled).await.map_err(IntoFailure::failure)?;
        let is_free = |seen: &Seen| seen.key.is_none() && is_usable(seen.problem.as_ref());
        let mut free: Vec<Seen> = seen.into_iter().filter(is_free).collect();
        if free.len() == 1 {
            return Ok(free.remove(0));
        }
        let at = free.iter().map(|seen| seen.port.to_string()).collect();
        if told.as_ref() != Some(&at) {
            prompt.tell(&TouchState::WhichToEnrol { at: at.clone() });
            told = Some(at);
        }
        if lobby.clock.boot() >= prompt.deadline() {
            return Err(DeviceError::NoKey.failure());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// A key that was reset may be enrolled anew; a card that is none may not.
fn is_usable(problem: Option<&DeviceError>) -> bool {
    matches!(problem, None | Some(DeviceError::ResetSinceEnrolment { .. }))
}

/// Nobody is asked for a PIN that the key would not look at.
fn takes_pins(tries: Option<u32>, power_cycle: bool) -> Result<(), Failure> {
    match (tries, power_cycle) {
        (Some(0), _) => Err(DeviceError::PinBlocked.failure()),
        (_, true) => Err(DeviceError::PinBlockedUntilReplug.failure()),
        _ => Ok(()),
    }
}

/// The PIN that a person types for a key that no roster names yet; asked for as long as the prompt stands.
pub(super) async fn ask_pin(lobby: &Lobby<'_>, prompt: &Prompt<'_>, key: &str, tries: Option<u32>, wrong: bool) -> Result<Secret, Failure> {
    prompt.tell(&TouchState::PinNeeded {
        key: key.to_owned(),
        tries,
        wrong,
    });
    let asked = async {
        let (_, typed) = prompt.pin().await;
        pin_form::checked(typed).map_err(|form| DeviceError::from(form).failure())
    };
    tokio::select! {
        typed = asked => typed,
        () = until(lobby.clock, prompt.deadline()) => Err(DeviceError::PinNeeded.failure()),
    }
}

/// The new key's touches for its slots: each signs what the slots are, and gives what seals them. By then it has shown which it is, and its PIN
/// is kept.
pub(super) async fn slots_of(
    lobby: &Lobby<'_>,
    prompt: &Prompt<'_>,
    new: &Newcomer,
    enrolments: Result<Vec<Enrolment>, VaultError>,
    steps: &mut Steps<'_>,
) -> Result<Vec<Proof>, Failure> {
    let mut proofs = vec![];
    for enrolment in enrolments.map_err(IntoFailure::failure)? {
        match new.key().piv() {
            Some(_) => steps.next_of(
                "show by this touch that it opens what is sealed to it, and by the next that it signs",
                2,
            ),
            None => steps.next("seal its way into the vault"),
        }
        let candidate = Candidate {
            key: new.key().clone(),
            unseals: enrolment.unseals().to_vec(),
        };
        proofs.push(touch_text(lobby, prompt, Namespace::Enrol, enrolment.text(), vec![candidate], new.pin.clone()).await?);
    }
    if let Some(pin) = &new.pin {
        let pin = pin.duplicate().map_err(locked_memory)?;
        let given = lobby.broker.give_pin(new.key().id(), pin, lobby.limits.pin);
        given.map_err(IntoFailure::failure)?;
    }
    Ok(proofs)
}

pub(super) async fn unless_refused<T>(prompt: &Prompt<'_>, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let failure = tokio::select! {
        biased;
        outcome = prompt.refused() => refusal(outcome),
        () = prompt.hidden() => hidden(),
        done = work => return done,
    };
    prompt.failed(failure.outcome);
    Err(failure)
}

/// Says at the asker's terminal, before he is asked, which scopes have states that are not joined on the way.
pub(super) fn tell_aside(asker: &Asker, scopes: &[String]) {
    for scope in scopes {
        let what = format!(
            "scope {scope} has a state under an earlier key, perhaps of a key that was removed: nothing of it is taken in; afterwards `touchlease merge` shows it, and `touchlease merge {scope}` joins it"
        );
        // Whoever asked may have gone.
        let _ = asker.tell.send(Event::Note { what });
    }
}

/// Who may open a vault, what becomes of a key, and that everything leaves, is decided at a person's own terminal.
///
/// # Errors
/// There is none, or the command does not run in its foreground.
pub fn own_screen(asker: &Asker) -> Result<(), Failure> {
    match asker.requester.own_screen {
        Some(_) => Ok(()),
        None => Err(Failure::new(
            Outcome::NoScreen,
            "no_terminal",
            "this is for a person at a terminal, and there is none",
        )
        .hint("run this command yourself in a terminal, in the foreground: what an agent starts has no screen of its own")),
    }
}

fn vault_name(folder: &Path) -> String {
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    if crate::encoding::plain::check_name("the vault's name", &name).is_ok() {
        name
    } else {
        "vault".into()
    }
}

pub(super) fn refs(proofs: &[Proof]) -> Vec<&Proof> {
    proofs.iter().collect()
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
