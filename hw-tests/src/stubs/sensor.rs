//! A key with a fingerprint sensor, and nothing else: getInfo, clientPIN and authenticatorBioEnrollment (CTAP 2.1, 6.4, 6.5, 6.7).
//!
//! What it takes, it checks as the specification says: the PIN by its hash, a token by its permission, every parameter by its tag.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use ciborium::Value;
use p256::SecretKey;
use sha2::{Digest, Sha256};

use crate::{
    ctap::{CLIENT_PIN, Ctap, Done, GET_INFO, KEEPALIVE_CANCEL, OK, OPERATION_DENIED, USER_ACTION_TIMEOUT},
    finger::{Finger, Outcome},
    host::{
        member, number_map,
        pin::{Protocol, Session, cose_key, random, secret_key},
        text_map,
    },
    sync::lock,
};

/// authenticatorBioEnrollment.
const BIO_ENROLLMENT: u8 = 0x09;
/// Its permission, `be` (CTAP 2.1, 6.5.5.7).
const PERMISSION: u8 = 0x08;

const INVALID_COMMAND: u8 = 0x01;
const INVALID_PARAMETER: u8 = 0x02;
const INVALID_LENGTH: u8 = 0x03;
const MISSING_PARAMETER: u8 = 0x14;
const FP_DATABASE_FULL: u8 = 0x17;
const INVALID_OPTION: u8 = 0x2c;
const NOT_ALLOWED: u8 = 0x30;
const PIN_INVALID: u8 = 0x31;
const PIN_BLOCKED: u8 = 0x32;
const PIN_AUTH_INVALID: u8 = 0x33;
const PUAT_REQUIRED: u8 = 0x36;

/// lastEnrollSampleStatus when nobody came (CTAP 2.1, 6.7.4).
const NO_USER_ACTIVITY: u8 = 0x0d;

/// Good samples that make a fingerprint.
pub const SAMPLES: u32 = 4;
/// Fingerprints that it has room for.
pub const ROOM: usize = 3;
/// Longest name, in bytes.
pub const LONGEST_NAME: usize = 15;
/// PIN tries of a fresh key.
const TRIES: u8 = 8;

/// A fingerprint as the key keeps it: id and name.
pub type Template = (Vec<u8>, Option<String>);

/// See the module.
pub struct Sensor {
    finger: Arc<Finger>,
    state: Arc<Mutex<State>>,
}

struct State {
    pair: Option<SecretKey>,
    pin: Option<[u8; 16]>,
    tries: u8,
    token: Option<([u8; 32], u8)>,
    templates: Vec<Template>,
    next_id: u8,
    /// The enrolment under way: its id, and how many samples are wanted.
    begun: Option<(Vec<u8>, u32)>,
    /// How the next samples go; good ones after these.
    samples: VecDeque<u8>,
    /// Enrolments that were taken back.
    taken_back: usize,
}

type Answer = Result<Option<Value>, u8>;

impl Sensor {
    /// A key as new, under this finger.
    #[must_use]
    pub fn new(finger: Arc<Finger>) -> Self {
        let state = State {
            pair: secret_key(),
            pin: None,
            tries: TRIES,
            token: None,
            templates: vec![],
            next_id: 1,
            begun: None,
            samples: VecDeque::new(),
            taken_back: 0,
        };
        Self {
            finger,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// How the next samples go (CTAP 2.1, 6.7.4: lastEnrollSampleStatus); those after these are good.
    pub fn samples(&self, statuses: &[u8]) {
        lock(&self.state).samples.extend(statuses);
    }

    /// Puts a fingerprint there that has no name, as another program may.
    pub fn add_nameless(&self) {
        lock(&self.state).store();
    }

    /// What is on the key.
    #[must_use]
    pub fn templates(&self) -> Vec<Template> {
        lock(&self.state).templates.clone()
    }

    /// Whether an enrolment is under way.
    #[must_use]
    pub fn is_enrolling(&self) -> bool {
        lock(&self.state).begun.is_some()
    }

    /// How many enrolments were taken back by cancelCurrentEnrollment.
    #[must_use]
    pub fn taken_back(&self) -> usize {
        lock(&self.state).taken_back
    }
}

impl Ctap for Sensor {
    fn submit(&self, request: Vec<u8>, done: Done) {
        let operation = self.finger.submit();
        let (finger, state) = (self.finger.clone(), self.state.clone());
        thread::spawn(move || {
            finger.begin(operation);
            done(encoded(answer(&state, &finger, &request)));
        });
    }

    fn cancel(&self) {
        self.finger.cancel();
    }

    fn waiting(&self) -> bool {
        self.finger.counts().waiting
    }

    fn power_cycle(&self) {
        self.finger.cancel();
        let mut state = lock(&self.state);
        (state.pair, state.token, state.begun) = (secret_key(), None, None);
    }

    fn wipe(&self) {
        self.power_cycle();
        let mut state = lock(&self.state);
        (state.pin, state.tries) = (None, TRIES);
        state.templates.clear();
    }
}

fn encoded(answer: Answer) -> Vec<u8> {
    let map = match answer {
        Ok(map) => map,
        Err(status) => return vec![status],
    };
    let mut bytes = vec![OK];
    if let Some(map) = map {
        // Into a vector nothing fails.
        let _ = ciborium::into_writer(&map, &mut bytes);
    }
    bytes
}

fn answer(state: &Mutex<State>, finger: &Finger, request: &[u8]) -> Answer {
    let (&command, body) = request.split_first().ok_or(INVALID_LENGTH)?;
    let parameters = match body {
        [] => Value::Null,
        body => ciborium::from_reader(body).map_err(|_| INVALID_PARAMETER)?,
    };
    match command {
        GET_INFO => Ok(Some(lock(state).info())),
        CLIENT_PIN => lock(state).client_pin(&parameters),
        BIO_ENROLLMENT => bio_enrollment(state, finger, &parameters),
        _ => Err(INVALID_COMMAND),
    }
}

/// The only command that waits for the finger: the state is free meanwhile.
fn bio_enrollment(state: &Mutex<State>, finger: &Finger, request: &Value) -> Answer {
    let subcommand = number(request, 2)?;
    let parameters = member(request, 3).cloned().unwrap_or(Value::Null);
    // getFingerprintSensorInfo and cancelCurrentEnrollment need no token (6.7.3, 6.7.5).
    match subcommand {
        3 => return lock(state).take_back(),
        7 => {
            let members = [(2, 1.into()), (3, SAMPLES.into()), (8, (LONGEST_NAME as u64).into())];
            return Ok(Some(number_map(members.to_vec())));
        }
        _ => lock(state).authorise(request, subcommand)?,
    }
    match subcommand {
        1 => lock(state).begin()?,
        2 => lock(state).goes_on(&parameters)?,
        4 => return lock(state).enumerate(),
        5 => return lock(state).rename(&parameters),
        6 => return lock(state).remove(&parameters),
        _ => return Err(INVALID_PARAMETER),
    }
    let patience = Duration::from_millis(number(&parameters, 3)?);
    let outcome = finger.ask(patience);
    let mut state = lock(state);
    match (outcome, subcommand) {
        (Outcome::Touched, _) => state.sampled(),
        (Outcome::Denied, _) => Err(OPERATION_DENIED),
        (Outcome::Cancelled, _) => Err(KEEPALIVE_CANCEL),
        // Both forms of the same occur.
        (Outcome::TimedOut, 1) => Err(USER_ACTION_TIMEOUT),
        (Outcome::TimedOut, _) => state.sample(NO_USER_ACTIVITY),
    }
}

impl State {
    fn info(&self) -> Value {
        let options = [
            ("up", true),
            ("uv", !self.templates.is_empty()),
            ("bioEnroll", !self.templates.is_empty()),
            ("clientPin", self.pin.is_some()),
            ("pinUvAuthToken", true),
        ];
        number_map(vec![
            (1, Value::Array(vec![Value::Text("FIDO_2_1".into())])),
            (3, Value::Bytes(vec![0x5e; 16])),
            (4, text_map(options.map(|(name, on)| (name, on.into())))),
            (5, 1200.into()),
            (6, Value::Array(vec![2.into(), 1.into()])),
        ])
    }

    fn client_pin(&mut self, request: &Value) -> Answer {
        match number(request, 2)? {
            1 => Ok(Some(number_map(vec![(3, self.tries.into())]))),
            2 => {
                let pair = self.pair.as_ref().ok_or(INVALID_PARAMETER)?;
                Ok(Some(number_map(vec![(1, cose_key(&pair.public_key()))])))
            }
            3 => self.set_pin(request),
            9 => self.token(request),
            _ => Err(INVALID_PARAMETER),
        }
    }

    fn agreed(&self, request: &Value) -> Result<Session, u8> {
        let protocol = Protocol::from_number(number(request, 1)?).ok_or(INVALID_PARAMETER)?;
        let peer = member(request, 3).ok_or(MISSING_PARAMETER)?;
        let session = self.pair.as_ref().and_then(|pair| Session::of(protocol, pair, peer));
        session.ok_or(INVALID_PARAMETER)
    }

    fn set_pin(&mut self, request: &Value) -> Answer {
        let session = self.agreed(request)?;
        let sealed = bytes(request, 5)?;
        if self.pin.is_some() || session.authenticate(sealed) != *bytes(request, 4)? {
            return Err(PIN_AUTH_INVALID);
        }
        let padded = session.decrypt(sealed).ok_or(INVALID_PARAMETER)?;
        let pin = padded.split(|byte| *byte == 0).next().unwrap_or_default();
        self.pin = Some(half_digest(pin));
        Ok(None)
    }

    fn token(&mut self, request: &Value) -> Answer {
        let session = self.agreed(request)?;
        let pin = self.pin.ok_or(INVALID_PARAMETER)?;
        self.tries = self.tries.checked_sub(1).ok_or(PIN_BLOCKED)?;
        if session.decrypt(bytes(request, 6)?).as_deref() != Some(&pin[..]) {
            self.pair = secret_key();
            return Err(PIN_INVALID);
        }
        self.tries = TRIES;
        let permissions = u8::try_from(number(request, 9)?).map_err(|_| INVALID_PARAMETER)?;
        let token = random();
        self.token = Some((token, permissions));
        Ok(Some(number_map(vec![(2, Value::Bytes(session.encrypt(&token)))])))
    }

    /// Whether the tag is a token's over modality, subcommand and parameters (6.7.4 and on).
    fn authorise(&self, request: &Value, subcommand: u64) -> Result<(), u8> {
        if number(request, 1)? != 1 {
            return Err(INVALID_PARAMETER);
        }
        let tag = bytes(request, 5).map_err(|_| PUAT_REQUIRED)?;
        let protocol = Protocol::from_number(number(request, 4)?).ok_or(INVALID_PARAMETER)?;
        let (token, permissions) = self.token.as_ref().ok_or(PIN_AUTH_INVALID)?;
        let mut signed = vec![1, u8::try_from(subcommand).map_err(|_| INVALID_PARAMETER)?];
        if let Some(parameters) = member(request, 3) {
            ciborium::into_writer(parameters, &mut signed).map_err(|_| INVALID_PARAMETER)?;
        }
        let good = permissions & PERMISSION != 0 && protocol.authenticate(token, &signed) == *tag;
        good.then_some(()).ok_or(PIN_AUTH_INVALID)
    }

    fn begin(&mut self) -> Result<(), u8> {
        if self.templates.len() >= ROOM {
            return Err(FP_DATABASE_FULL);
        }
        self.begun = Some((vec![self.next_id], SAMPLES));
        Ok(())
    }

    fn goes_on(&self, parameters: &Value) -> Result<(), u8> {
        match &self.begun {
            Some((id, _)) if id == bytes(parameters, 1)? => Ok(()),
            Some(_) => Err(INVALID_OPTION),
            None => Err(NOT_ALLOWED),
        }
    }

    fn sampled(&mut self) -> Answer {
        let status = self.samples.pop_front().unwrap_or(0);
        if let (0, Some((_, left))) = (status, &mut self.begun) {
            *left = left.saturating_sub(1);
        }
        self.sample(status)
    }

    fn sample(&mut self, status: u8) -> Answer {
        let (id, left) = self.begun.clone().ok_or(NOT_ALLOWED)?;
        if left == 0 {
            self.begun = None;
            self.store();
        }
        Ok(Some(number_map(vec![(4, Value::Bytes(id)), (5, status.into()), (6, left.into())])))
    }

    fn store(&mut self) {
        self.templates.push((vec![self.next_id], None));
        self.next_id += 1;
    }

    fn take_back(&mut self) -> Answer {
        self.taken_back += usize::from(self.begun.take().is_some());
        Ok(None)
    }

    fn enumerate(&self) -> Answer {
        if self.templates.is_empty() {
            return Err(INVALID_OPTION);
        }
        let template = |(id, name): &Template| {
            let mut members = vec![(1, Value::Bytes(id.clone()))];
            members.extend(name.clone().map(|name| (2, Value::Text(name))));
            number_map(members)
        };
        let list = self.templates.iter().map(template).collect();
        Ok(Some(number_map(vec![(7, Value::Array(list))])))
    }

    fn rename(&mut self, parameters: &Value) -> Answer {
        let name = member(parameters, 2).and_then(Value::as_text).ok_or(MISSING_PARAMETER)?;
        if name.len() > LONGEST_NAME {
            return Err(INVALID_LENGTH);
        }
        let id = bytes(parameters, 1)?;
        let found = self.templates.iter_mut().find(|(known, _)| known == id);
        found.ok_or(INVALID_OPTION)?.1 = Some(name.to_owned());
        Ok(None)
    }

    fn remove(&mut self, parameters: &Value) -> Answer {
        let id = bytes(parameters, 1)?;
        let at = self.templates.iter().position(|(known, _)| known == id);
        self.templates.remove(at.ok_or(INVALID_OPTION)?);
        Ok(None)
    }
}

fn half_digest(pin: &[u8]) -> [u8; 16] {
    let digest = Sha256::digest(pin);
    std::array::from_fn(|at| digest[at])
}

fn number(map: &Value, key: i64) -> Result<u64, u8> {
    let number = member(map, key)
        .and_then(Value::as_integer)
        .and_then(|number| number.try_into().ok());
    number.ok_or(MISSING_PARAMETER)
}

fn bytes(map: &Value, key: i64) -> Result<&Vec<u8>, u8> {
    member(map, key).and_then(Value::as_bytes).ok_or(MISSING_PARAMETER)
}
