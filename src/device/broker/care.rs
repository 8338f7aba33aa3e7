//! What is plugged in, and caring for it: `touchlease key`.

use std::time::Duration;

use tokio::task::JoinSet;

use super::super::ctap::Info;
use super::super::enrolled::{EnrolledKey, KeyId, Link};
use super::super::error::DeviceError;
use super::super::place::{Place, Port};
use super::super::worker::protocol::{Answer, Fingerprint, Listed, Manage, Operation, Report};
use super::event::{Event, Feed};
use super::{Broker, Step, system, unexpected};
use crate::clock::{Boot, until};
use crate::secret::Secret;

/// How long what only looks at a key, or cares for it, waits for what it is asked: a cancel is drained for half a second.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a key has to be away to have been pulled out: the kernel takes one anew after a suspend, or on a bad cable, in about one.
const AWAY: Duration = Duration::from_secs(3);

/// A key that is plugged in, inserted, or on a reader.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Where.
    pub port: Port,
    /// Which plugging-in it is: another device there has another one.
    pub plug: u64,
    /// How it is reached.
    pub link: Link,
    /// What the device, or the reader, calls itself.
    pub model: String,
    /// Which enrolled key it proved to be.
    pub key: Option<KeyId>,
    /// Whether something of its own, such as a fingerprint, can stand in for its PIN.
    pub built_in_uv: bool,
    /// What keeps it from serving.
    pub problem: Option<DeviceError>,
}

/// What a key says of itself.
#[derive(Clone, Debug)]
pub struct KeyInfo {
    /// How it is reached.
    pub link: Link,
    /// What the device, or the reader, calls itself.
    pub model: String,
    /// getInfo.
    pub info: Info,
    /// PIN tries left; nothing without a PIN.
    pub tries: Option<u32>,
    /// No PIN is taken until the key was pulled out.
    pub power_cycle: bool,
}

/// What to do for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Care {
    /// With its PIN or its credentials.
    Key(Manage),
    /// With its fingerprints.
    Fingerprint(Fingerprint),
}

/// What caring for a key gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cared {
    /// A change was made.
    Done,
    /// A list.
    List(Vec<Listed>),
}

impl Broker {
    /// All keys that are there now, and which of `keys` they are. No touch, no PIN; a device is asked once per plugging-in.
    ///
    /// # Errors
    /// The system refuses to look; what single keys refuse stands in their `problem`.
    pub async fn seen(&self, keys: &[EnrolledKey]) -> Result<Vec<Seen>, DeviceError> {
        let outlook = self.inner.outlook()?;
        let places = self.inner.places(&outlook).await?;
        let mut looks = JoinSet::new();
        for (n, place) in places.into_iter().filter(|place| !place.empty).enumerate() {
            let (broker, keys) = (self.clone(), keys.to_vec());
            looks.spawn(async move { (n, broker.look(place, &keys).await) });
        }
        let mut seen = looks.join_all().await;
        seen.sort_by_key(|(n, _)| *n);
        Ok(seen.into_iter().map(|(_, seen)| seen).collect())
    }

    /// Ends when `key` has been away for three seconds. A device that the kernel finds anew has another plug and may be the same key: it is
    /// asked, without a touch. One that another program holds cannot be asked, and is waited for.
    ///
    /// # Errors
    /// The system refuses to look.
    pub async fn wait_away(&self, key: &EnrolledKey) -> Result<(), DeviceError> {
        let outlook = self.inner.outlook()?;
        let mut places = outlook.places.clone();
        loop {
            places.mark_unchanged();
            if self.is_there(key).await? {
                places.changed().await.map_err(|_| system("keys cannot be watched"))?;
                continue;
            }
            until(&*self.inner.clock, self.inner.clock.boot() + AWAY).await;
            if !self.is_there(key).await? {
                return Ok(());
            }
        }
    }

    /// Whether it is there, or may be.
    async fn is_there(&self, key: &EnrolledKey) -> Result<bool, DeviceError> {
        let seen = self.seen(std::slice::from_ref(key)).await?;
        let busy = |problem: &DeviceError| problem.is_held() || matches!(problem, DeviceError::Asked | DeviceError::TimedOut);
        Ok(seen
            .iter()
            .any(|one| one.key == Some(key.id()) || one.problem.as_ref().is_some_and(busy)))
    }

    async fn look(&self, place: Place, keys: &[EnrolledKey]) -> Seen {
        let identified = self.identified(&place, keys).await;
        let place = self.inner.corrected(&place);
        let (key, problem) = match identified {
            Ok(Some(key)) => (Some(key), None),
            Ok(None) => (None, self.reset(&place, keys)),
            Err(error) => (None, Some(error)),
        };
        Seen {
            // A key that could not be asked says nothing of itself.
            built_in_uv: self.inner.info(&place).is_ok_and(|info| info.built_in_uv()),
            port: place.port,
            plug: place.plug,
            link: place.link,
            model: place.model,
            key,
            problem,
        }
    }

    /// Which of `keys` it is. Where that is known, a key that waits for a touch is not asked, and so not waited for.
    async fn identified(&self, place: &Place, keys: &[EnrolledKey]) -> Result<Option<KeyId>, DeviceError> {
        if !self.inner.is_known(place, keys) {
            self.free(&place.port).await?;
        }
        self.inner.identify(place, keys).await
    }

    /// Waits until the key at `port` is asked for nothing, but not for a touch.
    async fn free(&self, port: &Port) -> Result<(), DeviceError> {
        let inner = &self.inner;
        tokio::select! {
            _ = inner.turn(port) => Ok(()),
            () = until(&*inner.clock, inner.clock.boot() + PATIENCE) => Err(DeviceError::Asked),
        }
    }

    /// A device that knows no credential of ours, of the model and in the socket where an enrolled key was: most likely that key,
    /// reset. Without such a trace nothing is claimed; a reset key looks like any new one.
    fn reset(&self, place: &Place, keys: &[EnrolledKey]) -> Option<DeviceError> {
        let state = self.inner.state();
        let key = keys.iter().find(|key| state.known.was_before(place, key.id()))?;
        Some(DeviceError::ResetSinceEnrolment { name: key.name.clone() })
    }

    /// What the key at `port` says of itself.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub async fn info(&self, port: &Port) -> Result<KeyInfo, DeviceError> {
        let outlook = self.inner.outlook()?;
        let place = self.inner.corrected(&self.inner.place(&outlook, port).await?);
        self.free(port).await?;
        let (tries, power_cycle) = self.inner.tries(&place, None).await?;
        Ok(KeyInfo {
            link: place.link,
            info: self.inner.info(&place)?,
            model: place.model,
            tries,
            power_cycle,
        })
    }

    /// Cares for the key at `port`, over USB. `secret` is the PIN, or old and new PIN one behind the other (see [`Manage`]).
    /// An enrolled `key` has to prove itself first.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub async fn manage(
        &self,
        port: &Port,
        task: Care,
        secret: Secret,
        key: Option<&EnrolledKey>,
        deadline: Boot,
        feed: Feed,
    ) -> Result<Cared, DeviceError> {
        let outlook = self.inner.outlook()?;
        let place = self.inner.place(&outlook, port).await?;
        self.free(port).await?;
        let changes_pin = matches!(task, Care::Key(Manage::SetPin | Manage::ChangePin { .. }));
        let which = key.and_then(EnrolledKey::fido2).map(|key| key.which.clone());
        let step = Step {
            place: &place,
            operation: match task {
                Care::Key(task) => Operation::Manage { task, which },
                Care::Fingerprint(task) => Operation::Fingerprint { task, which },
            },
            secret: Some(secret),
            deadline,
            key: key.map(|key| (key.name.as_str(), key.profile)),
            late: None,
        };
        let hear = |report| match report {
            Report::Sample(sample) => feed(Event::Sample(sample)),
            Report::TouchNow => feed(Event::TouchNow {
                key: key.map(EnrolledKey::id),
                name: key.map_or_else(|| place.model.clone(), |key| key.name.clone()),
                link: place.link,
            }),
            _ => {}
        };
        let result = self.inner.step(step, hear).await;
        // What is kept may be the old PIN now, or a wrong one.
        if let Some(key) = key
            && (changes_pin || matches!(result, Err(DeviceError::PinWrong { .. })))
        {
            self.forget_pin(key.id());
        }
        match (result, key) {
            (Ok(done), _) => match done.answer {
                Answer::Managed => Ok(Cared::Done),
                Answer::List(list) => Ok(Cared::List(list)),
                _ => Err(unexpected()),
            },
            // The library does not say how many tries are left; the key does.
            (Err(DeviceError::PinWrong { left: None }), _) => Err(DeviceError::PinWrong {
                left: self.inner.tries(&place, None).await.ok().and_then(|(tries, _)| tries),
            }),
            // No credential listed is no sign of a reset here.
            (Err(error), _) => Err(error),
        }
    }
}
