//! authenticatorBioEnrollment (CTAP 2.1, 6.7): the fingerprints on a key with a sensor.
//!
//! By our own core and not by `ctap-hid-fido2`: that cannot take back a wait for the finger, says of no sample why it does not count, and
//! lists nothing where one fingerprint has no name, or where there is none.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cbor::{self, Map, Value};
use super::error::{CtapError, Status};
use super::pin::PinToken;
use super::{Command, Deaf, Session, exchange};

/// The only modality there is.
const FINGERPRINT: u8 = 0x01;

const ENROLL_BEGIN: u8 = 0x01;
const ENROLL_CAPTURE_NEXT: u8 = 0x02;
const CANCEL_CURRENT: u8 = 0x03;
const ENUMERATE: u8 = 0x04;
const SET_FRIENDLY_NAME: u8 = 0x05;
const REMOVE: u8 = 0x06;
const SENSOR_INFO: u8 = 0x07;

/// How long a key waits for one sample, in milliseconds: as long as it does for a touch.
const PATIENCE: u32 = 30_000;

/// A fingerprint on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The key's id for it.
    pub id: Vec<u8>,
    /// The person's name for it; a key may have none.
    pub name: Option<String>,
}

/// One touch of the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Whether it counts, and why not.
    pub feedback: Feedback,
    /// How many more are wanted.
    pub left: u32,
}

/// lastEnrollSampleStatus (CTAP 2.1, 6.7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Feedback(pub u8);

impl Feedback {
    /// It counts.
    pub const GOOD: Self = Self(0x00);
    /// Nobody touched the sensor.
    pub const NO_USER_ACTIVITY: Self = Self(0x0D);

    /// What the finger did otherwise than the key wants it; nothing of a sample that counts.
    #[must_use]
    pub fn trouble(self) -> Option<&'static str> {
        Some(match self.0 {
            0x00 => return None,
            0x01 => "the finger lay too high",
            0x02 => "the finger lay too low",
            0x03 => "the finger lay too far to the left",
            0x04 => "the finger lay too far to the right",
            0x05 => "the finger moved too fast",
            0x06 => "the finger moved too slowly",
            0x07 => "its quality is too poor: clean sensor and finger",
            0x08 => "the finger lay askew",
            0x09 => "the touch was too short",
            0x0A => "it does not fit the others: take the same finger",
            0x0B => "this finger is on the key already: take another one",
            0x0D => "nobody touched the sensor",
            0x0E => "the finger was not lifted in between",
            _ => "the key does not say why",
        })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.left;
        match (self.feedback.trouble(), left) {
            (None, 0) => f.write_str("the sensor has all that it wants"),
            (None, _) => write!(f, "that counts; lift the finger and touch the sensor again, {left} more"),
            (Some(why), _) => write!(f, "that does not count ({why}); touch the sensor again, {left} more"),
        }
    }
}

impl Session<'_> {
    /// Before a PIN goes to it: whether the key has a sensor.
    ///
    /// # Errors
    /// [`CtapError::Lacks`].
    pub fn has_sensor(&self) -> Result<(), CtapError> {
        self.sensor_command().map(drop)
    }

    /// The key's fingerprints.
    ///
    /// # Errors
    /// See [`CtapError`].
    pub fn fingerprints(&mut self, token: &PinToken) -> Result<Vec<Template>, CtapError> {
        match self.sensor(ENUMERATE, None, Some(token)) {
            // How a key says that it has none (6.7.6).
            Err(CtapError::Status(Status::INVALID_OPTION)) => Ok(vec![]),
            answer => parse_templates(&answer?),
        }
    }

    /// Adds one under this name: every sample goes to [`super::Watch::sample`]. Whatever ends it early, nothing is left of it on the key.
    ///
    /// # Errors
    /// See [`CtapError`]; `FP_DATABASE_FULL` where the key has no room, `USER_ACTION_TIMEOUT` where nobody touches the sensor.
    pub fn add_fingerprint(&mut self, token: &PinToken, name: &str) -> Result<(), CtapError> {
        self.check_name(name)?;
        let template = match self.capture(token) {
            Ok(template) => template,
            Err(error) => {
                // A key that is gone, or in another state, has forgotten it by itself (6.7.4).
                let _ = self.unwatched(CANCEL_CURRENT, None, None);
                return Err(error);
            }
        };
        let named = self.name_fingerprint(token, &template, name);
        if named.is_err() {
            let _ = self.unwatched(REMOVE, Some(of(&template)), Some(token));
        }
        named
    }

    /// Gives one another name.
    ///
    /// # Errors
    /// See [`CtapError`]; `INVALID_OPTION` where there is none of this id (6.7.7).
    pub fn rename_fingerprint(&mut self, token: &PinToken, id: &[u8], name: &str) -> Result<(), CtapError> {
        self.check_name(name)?;
        self.name_fingerprint(token, id, name)
    }

    /// Removes one.
    ///
    /// # Errors
    /// See [`CtapError`]; `INVALID_OPTION` where there is none of this id (6.7.8).
    pub fn remove_fingerprint(&mut self, token: &PinToken, id: &[u8]) -> Result<(), CtapError> {
        self.sensor(REMOVE, Some(of(id)), Some(token)).map(drop)
    }

    /// All samples of one finger; the id that the key gave it.
    fn capture(&mut self, token: &PinToken) -> Result<Vec<u8>, CtapError> {
        let patience = || Map::new().with(0x03, PATIENCE);
        let answer = self.sensor(ENROLL_BEGIN, Some(patience()), Some(token))?;
        let template = cbor::decode_map(&answer)?.bytes(0x04)?.to_vec();
        let mut sample = parse_sample(&answer)?;
        loop {
            self.watch.sample(sample);
            if sample.left == 0 {
                return Ok(template);
            }
            if sample.feedback == Feedback::NO_USER_ACTIVITY {
                return Err(CtapError::Status(Status::USER_ACTION_TIMEOUT));
            }
            let next = patience().with(0x01, &template[..]);
            sample = parse_sample(&self.sensor(ENROLL_CAPTURE_NEXT, Some(next), Some(token))?)?;
        }
    }

    fn name_fingerprint(&mut self, token: &PinToken, id: &[u8], name: &str) -> Result<(), CtapError> {
        self.sensor(SET_FRIENDLY_NAME, Some(of(id).with(0x02, name)), Some(token)).map(drop)
    }

    /// Before anybody touches anything: a key that takes no such name says so after the last sample only.
    fn check_name(&mut self, name: &str) -> Result<(), CtapError> {
        let answer = self.sensor(SENSOR_INFO, None, None)?;
        match cbor::decode_map(&answer)?.number(0x08)? {
            Some(limit) if name.len() > limit as usize => Err(CtapError::LongName { limit }),
            _ => Ok(()),
        }
    }

    fn sensor(&mut self, subcommand: u8, parameters: Option<Map>, token: Option<&PinToken>) -> Result<Vec<u8>, CtapError> {
        let command = self.sensor_command()?;
        self.call(command, request(subcommand, parameters, token))
    }

    /// The same when the person has stopped already, or the work has failed: what is begun is taken back.
    fn unwatched(&mut self, subcommand: u8, parameters: Option<Map>, token: Option<&PinToken>) -> Result<Vec<u8>, CtapError> {
        let mut message = vec![self.sensor_command()? as u8];
        message.extend(cbor::encode(&request(subcommand, parameters, token).into()));
        exchange(self.transport, &mut Deaf, &message)
    }

    fn sensor_command(&self) -> Result<Command, CtapError> {
        // An option that is there says that the command is; its value, whether there are fingerprints (6.4).
        match (self.info.option("bioEnroll"), self.info.option("userVerificationMgmtPreview")) {
            (Some(_), _) => Ok(Command::BioEnrollment),
            (None, Some(_)) => Ok(Command::BioEnrollmentPreview),
            (None, None) => Err(CtapError::Lacks("fingerprint sensor")),
        }
    }
}

fn of(id: &[u8]) -> Map {
    Map::new().with(0x01, id)
}

fn request(subcommand: u8, parameters: Option<Map>, token: Option<&PinToken>) -> Map {
    let signed = |token: &PinToken| {
        let parameters = parameters.clone().map(|map| cbor::encode(&map.into()));
        token.authenticate(&[&[FINGERPRINT, subcommand][..], &parameters.unwrap_or_default()].concat())
    };
    let (proof, protocol) = (token.map(signed), token.map(|token| token.protocol().number()));
    Map::new()
        .with(0x01, i64::from(FINGERPRINT))
        .with(0x02, i64::from(subcommand))
        .with_some(0x03, parameters)
        .with_some(0x04, protocol)
        .with_some(0x05, proof)
}

/// Reads how a sample went out of the answer to enrollBegin or enrollCaptureNextSample.
///
/// # Errors
/// Not a map of the specification's types.
pub fn parse_sample(answer: &[u8]) -> Result<Sample, CtapError> {
    let map = cbor::decode_map(answer)?;
    let missing = CtapError::Form("how a sample went is missing");
    let status = map.number(0x05)?.and_then(|status| u8::try_from(status).ok());
    Ok(Sample {
        feedback: Feedback(status.ok_or(missing.clone())?),
        left: map.number(0x06)?.ok_or(missing)?,
    })
}

/// Reads the answer to enumerateEnrollments.
///
/// # Errors
/// Not a map of the specification's types.
pub fn parse_templates(answer: &[u8]) -> Result<Vec<Template>, CtapError> {
    let wrong = CtapError::Form("a list of fingerprints is missing");
    let map = cbor::decode_map(answer)?;
    let Some(Value::Array(items)) = map.get(0x07) else {
        return Err(wrong);
    };
    let template = |item: &Value| match item {
        Value::Map(map) => Ok(Template {
            id: map.bytes(0x01)?.to_vec(),
            name: match map.get(0x02) {
                Some(Value::Text(name)) => Some(name.clone()),
                _ => None,
            },
        }),
        _ => Err(wrong.clone()),
    };
    items.iter().map(template).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample(status: i64, left: i64) -> Vec<u8> {
        cbor::encode(&Map::new().with(4, vec![1u8]).with(5, status).with(6, left).into())
    }

    #[test]
    fn every_way_in_which_a_sample_fails_has_its_own_words() {
        let mut said: Vec<_> = (0x01..=0x0E).filter_map(|status| Feedback(status).trouble()).collect();
        said.sort_unstable();
        said.dedup();
        // 0x0C is not given out.
        assert_eq!(said.len(), 14);
        assert_eq!(Feedback::GOOD.trouble(), None);
    }

    #[test]
    fn a_sample_says_whether_it_counts_and_how_many_more_are_wanted() {
        let said = |status, left| parse_sample(&sample(status, left)).unwrap().to_string();
        assert_eq!(said(0, 3), "that counts; lift the finger and touch the sensor again, 3 more");
        assert_eq!(
            said(9, 3),
            "that does not count (the touch was too short); touch the sensor again, 3 more"
        );
        assert_eq!(said(0, 0), "the sensor has all that it wants");
    }

    #[test]
    fn t58_answers_without_what_they_have_to_say_are_errors() {
        let of = |map: Map| cbor::encode(&map.into());
        assert!(parse_sample(&of(Map::new().with(5, 0))).is_err());
        assert!(parse_sample(&of(Map::new().with(6, 0))).is_err());
        assert!(parse_sample(&sample(0x100, 1)).is_err());
        assert!(parse_templates(&of(Map::new())).is_err());
        assert!(parse_templates(&of(Map::new().with(7, vec![Value::Int(1)]))).is_err());
        assert!(parse_templates(&of(Map::new().with(7, vec![Value::from(Map::new().with(2, "thumb"))]))).is_err());
    }

    #[test]
    fn a_fingerprint_without_a_name_is_listed() {
        let list = vec![
            Value::from(Map::new().with(1, vec![7u8])),
            Value::from(Map::new().with(1, vec![8u8]).with(2, "thumb")),
        ];
        let listed = parse_templates(&cbor::encode(&Map::new().with(7, list).into())).unwrap();
        let names: Vec<_> = listed.iter().map(|one| one.name.as_deref()).collect();
        assert_eq!(names, [None, Some("thumb")]);
    }
}
