//! Touches of a YubiKey's PIV application: one for each thing that it opens, and one for each that it signs.

use sha2::{Digest as _, Sha256};

use super::super::super::candidate::{Candidate, Sealed};
use super::super::super::enrolled::{EnrolledKey, Piv};
use super::super::super::error::DeviceError;
use super::super::super::place::Place;
use super::super::super::proof::{self, Expected, PivAnswer, Proof, ProofError};
use super::super::super::worker::protocol::{Answer, Id, Operation, PivTask, Report};
use super::super::super::worker::random;
use super::super::event::Event;
use super::super::job::Done;
use super::super::{AGAIN_PAUSE, Step, system, unexpected};
use super::{Prompt, Signs};
use crate::encoding::hpke::{Agreed, Blind};
use crate::encoding::sshsig::signed_blob;
use crate::secret::Secret;

impl Prompt {
    pub(super) async fn prove(&self, place: &Place, candidate: &Candidate, pin: Option<Secret>) -> Result<Proof, DeviceError> {
        match (candidate.key.piv(), pin) {
            (Some(_), Some(pin)) if self.ask.signs.is_some() => self.by_signer(place, &candidate.key, &pin).await,
            (Some(piv), Some(pin)) => self.on_card(place, candidate, piv, &pin).await,
            (Some(_), None) => Err(DeviceError::PinNeeded),
            (None, pin) => self.assert(place, candidate, pin).await,
        }
    }

    /// One touch for each thing to open, and one for the signature, where one is wanted.
    async fn on_card(&self, place: &Place, candidate: &Candidate, piv: &Piv, pin: &Secret) -> Result<Proof, DeviceError> {
        let (key, serial) = (&candidate.key, piv.serial);
        let mut answer = PivAnswer::default();
        for sealed in candidate.sealed().ok_or_else(unexpected)? {
            let blind = blind(sealed)?;
            let agree = || PivTask::Agree {
                serial,
                by: (&piv.open).into(),
                point: Id(blind.point().to_vec()),
            };
            let Done {
                answer: Answer::Agreed,
                outputs,
                ..
            } = self.card_step(place, key, pin, agree).await?
            else {
                return Err(unexpected());
            };
            let heard = Agreed::new(outputs.expose().try_into().map_err(|_| unexpected())?);
            answer.agreed.push(blind.lift(&heard).ok_or(ProofError::NotOpened)?);
        }
        if self.ask.signs() {
            let digest = Sha256::digest(signed_blob(self.ask.namespace, &self.ask.text)).into();
            let sign = || PivTask::Sign {
                serial,
                by: (&piv.sign).into(),
                digest,
            };
            let Answer::Signed(signature) = self.card_step(place, key, pin, sign).await?.answer else {
                return Err(unexpected());
            };
            answer.signature = Some(signature.0);
        }
        let expected = Expected {
            key,
            link: place.link,
            namespace: self.ask.namespace,
            text: &self.ask.text,
            unseals: &candidate.unseals,
        };
        Ok(proof::verify_piv(&answer, &expected)?)
    }

    /// One touch, for what a signer's key signs: that is written anew each time the card is asked, with the time as it is then.
    async fn by_signer(&self, place: &Place, key: &EnrolledKey, pin: &Secret) -> Result<Proof, DeviceError> {
        let Signs { serial, by, message } = self.ask.signs.as_ref().ok_or_else(unexpected)?;
        let mut asked = Vec::new();
        let sign = || {
            asked = message(self.inner.clock.wall()).unwrap_or_default();
            PivTask::Sign {
                serial: *serial,
                by: by.clone(),
                digest: Sha256::digest(&asked).into(),
            }
        };
        let done = self.card_step(place, key, pin, sign).await.map_err(|error| match error {
            DeviceError::ResetSinceEnrolment { .. } => DeviceError::OtherSlotKey {
                serial: *serial,
                slot: by.slot,
            },
            error => error,
        })?;
        let Answer::Signed(signature) = done.answer else {
            return Err(unexpected());
        };
        let expected = Expected {
            key,
            link: place.link,
            namespace: self.ask.namespace,
            text: &self.ask.text,
            unseals: &[],
        };
        Ok(proof::verify_signer(asked, &signature.0, &by.public_key, &expected)?)
    }

    /// One touch on a card; asked for again when the card gives up, after 15 s, for as long as there is time. What was touched before it
    /// stays good.
    async fn card_step(
        &self,
        place: &Place,
        key: &EnrolledKey,
        pin: &Secret,
        mut task: impl FnMut() -> PivTask,
    ) -> Result<Done, DeviceError> {
        loop {
            let (feed, id, name) = (self.feed.clone(), key.id(), key.name.clone());
            let step = Step {
                place,
                operation: Operation::Piv(task()),
                secret: Some(pin.duplicate().map_err(system)?),
                deadline: self.ask.deadline,
                key: Some((&key.name, key.profile)),
                late: Some(Box::new(move |_| feed(Event::ExtraTouch { key: id, name }))),
            };
            let arm = |report: Report| {
                if matches!(report, Report::TouchNow) {
                    self.progress().armed.insert(place.port.clone(), key.name.clone());
                }
                self.hear(place, key, &report);
            };
            let done = self.inner.step(step, arm).await;
            // A card that answered waits for nothing; one whose time is up here may still do.
            if !matches!(done, Err(DeviceError::TimedOut)) || self.time_is_left() {
                self.progress().armed.remove(&place.port);
            }
            match done {
                Err(DeviceError::TimedOut) if self.time_is_left() => tokio::time::sleep(AGAIN_PAUSE).await,
                done => return done,
            }
        }
    }
}

/// Drawn for this touch: worker, reader and card see a point that they never saw and never see again.
fn blind(sealed: &Sealed) -> Result<Blind, DeviceError> {
    let mut bytes = Agreed::default();
    random(bytes.as_mut_slice()).map_err(system)?;
    let point = sealed.encapsulated().ok_or_else(unexpected)?;
    Blind::over(&point, &bytes).ok_or_else(unexpected)
}
