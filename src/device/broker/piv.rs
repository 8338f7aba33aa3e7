//! Cards: which they are, what they hold, and making keys on them.

use std::sync::Arc;

use super::super::enrolled::{Always, EnrolledKey, KeyId, Link, PivSlot, Retired, Seen as SeenBy};
use super::super::error::DeviceError;
use super::super::piv::attestation::{Authority, Claim, Roots};
use super::super::piv::{Occupied, References, Seen, Setup};
use super::super::place::{Place, Port};
use super::super::worker::protocol::{Answer, Operation, PivTask, SlotKey};
use super::job::ENDED_EARLY;
use super::{Broker, Inner, SHORT, Step, system, unexpected};
use crate::clock::Boot;
use crate::secret::Secret;

/// A YubiKey by its PIV application, before it is enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardSeen {
    /// Which plugging-in it is.
    pub plug: u64,
    /// Which it is.
    pub seen: Seen,
    /// What of it is the factory's.
    pub factory: References,
    /// Slots for retired keys that hold one.
    pub occupied: Vec<Occupied>,
    /// PIN tries left.
    pub tries: Option<u32>,
}

impl CardSeen {
    /// Whether this slot holds a key.
    #[must_use]
    pub fn is_occupied(&self, slot: Retired) -> bool {
        self.occupied.iter().any(|occupied| occupied.slot == slot)
    }

    /// Whether it holds this key, where it was made.
    #[must_use]
    pub fn holds(&self, made: &PivSlot) -> bool {
        self.occupied.iter().any(|occupied| occupied.is(made.slot, &made.public_key))
    }
}

/// Keys to be made on a card.
pub struct MakeKeys {
    /// Where it is.
    pub port: Port,
    /// Which plugging-in it was when the person was asked.
    pub plug: u64,
    /// What it said of itself then: firmware and serial number were judged by that.
    pub seen: Seen,
    /// What is made.
    pub setup: Setup,
    /// Its PIN.
    pub pin: Secret,
    /// Another one, where the PIN is the factory's.
    pub new_pin: Option<Secret>,
    /// Another one, where the PUK is the factory's.
    pub new_puk: Option<Secret>,
    /// Roots under which what was made has to be attested, if there are any.
    pub roots: Option<Arc<Roots>>,
    /// Until when it has to be done.
    pub deadline: Boot,
}

impl Broker {
    /// What the YubiKey in this reader is and holds. No touch, no PIN.
    ///
    /// # Errors
    /// [`DeviceError::NotPiv`]; [`DeviceError::TooOld`] for firmware that does not say; see there.
    pub async fn card(&self, port: &Port) -> Result<CardSeen, DeviceError> {
        let outlook = self.inner.outlook()?;
        let place = self.inner.place(&outlook, port).await?;
        let seen = self.inner.look_at_card(&place).await?.ok_or(DeviceError::NotPiv)?;
        let serial = seen.serial;
        let (tries, _) = self.inner.card_tries(&place, serial, None).await?;
        let answer = self.inner.short_on_card(&place, PivTask::Inspect { serial }).await?;
        let Answer::CardState { factory, occupied } = answer else {
            return Err(unexpected());
        };
        let plug = place.plug;
        Ok(CardSeen {
            plug,
            seen,
            factory,
            occupied,
            tries,
        })
    }

    /// Every YubiKey with a PIV application that is in a reader with contacts, as USB has them.
    ///
    /// # Errors
    /// What kept the one that could not be looked at, if there is no other.
    pub async fn cards(&self) -> Result<Vec<(Port, CardSeen)>, DeviceError> {
        let outlook = self.inner.outlook()?;
        let places = self.inner.places(&outlook).await?;
        let in_slot = |place: &&Place| matches!(place.port, Port::Reader(_)) && !place.empty && place.link != Link::Contactless;
        let (mut cards, mut failed) = (Vec::new(), None);
        for place in places.iter().filter(in_slot) {
            match self.card(&place.port).await {
                Ok(card) => cards.push((place.port.clone(), card)),
                Err(DeviceError::NotPiv) => {}
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if cards.is_empty() => Err(error),
            _ => Ok(cards),
        }
    }

    /// Whether the YubiKey in this reader is of a maker under one of `roots`, by the certificate that it gives out: before anything on it is
    /// changed. Whether it has that certificate's key is seen by what it attests afterwards.
    ///
    /// # Errors
    /// [`DeviceError::Attestation`]; see there.
    pub async fn check_maker(&self, port: &Port, serial: u32, roots: &Roots) -> Result<(), DeviceError> {
        let outlook = self.inner.outlook()?;
        let place = self.inner.place(&outlook, port).await?;
        self.inner.attested(&place, serial, &[], roots).await.map(drop)
    }

    /// Puts what the factory set out of force and makes keys on a card, whose policies are read back; they come back in the order of their
    /// slots. No touch: those that show that the keys work are the vault's to ask for.
    ///
    /// # Errors
    /// See [`DeviceError`]: [`DeviceError::Occupied`] before anything is changed; [`DeviceError::Attestation`] afterwards.
    pub async fn make_keys(&self, ask: MakeKeys) -> Result<Vec<PivSlot>, DeviceError> {
        let outlook = self.inner.outlook()?;
        let place = self.inner.place(&outlook, &ask.port).await?;
        if place.plug != ask.plug {
            return Err(DeviceError::PulledOut);
        }
        let seen = self.inner.look_at_card(&place).await?.ok_or(DeviceError::NotPiv)?;
        if seen != ask.seen {
            // Not the card that was judged, or one that says now this, now that.
            return Err(DeviceError::PulledOut);
        }
        let parts = [Some(&ask.pin), ask.new_pin.as_ref(), ask.new_puk.as_ref()];
        let lengths = parts.map(|part| part.map_or(0, Secret::len));
        let mut secret = Secret::zeroed(lengths.iter().sum()).map_err(system)?;
        let mut at = 0;
        for part in parts.into_iter().flatten() {
            secret.expose_mut()[at..at + part.len()].copy_from_slice(part.expose());
            at += part.len();
        }
        let make = PivTask::Make {
            serial: seen.serial,
            task: ask.setup.clone(),
            pin_len: lengths[0],
            new_pin_len: lengths[1],
        };
        let step = Step {
            place: &place,
            operation: Operation::Piv(make),
            secret: Some(secret),
            deadline: ask.deadline,
            key: None,
            late: None,
        };
        let Answer::CardMade(fresh) = self.inner.step(step, |_| {}).await?.answer else {
            return Err(unexpected());
        };
        if !fresh.iter().map(|made| made.slot).eq(ask.setup.slots.iter().copied()) {
            return Err(unexpected());
        }
        let seen_by = match &ask.roots {
            Some(roots) => self.inner.check_attested(&place, &seen, &fresh, roots).await?,
            None => SeenBy::Metadata,
        };
        let slot = |made: SlotKey| PivSlot {
            slot: made.slot,
            public_key: made.public_key,
            pin: Always::Always,
            touch: Always::Always,
            seen: seen_by,
        };
        Ok(fresh.into_iter().map(slot).collect())
    }
}

/// A card that answered just now, and does not. One that is pulled out in the middle of ATTEST takes the worker along: the crate looks at the
/// first byte of an empty answer.
fn gone(error: DeviceError) -> DeviceError {
    match error {
        DeviceError::NotPiv => DeviceError::PulledOut,
        DeviceError::System { what } if what.starts_with(ENDED_EARLY) => DeviceError::PulledOut,
        error => error,
    }
}

impl Inner {
    /// Which enrolled PIV key is in a reader, by its serial number, which proves nothing: what it opens and signs does.
    pub(super) async fn card(&self, place: &Place, keys: &[EnrolledKey]) -> Result<Option<KeyId>, DeviceError> {
        // In a field a look would be all that a tap is good for, and no PIV key counts there.
        let is_one = keys.iter().any(|key| key.piv().is_some());
        if !is_one || !matches!(place.port, Port::Reader(_)) || place.link == Link::Contactless {
            return Ok(None);
        }
        let Some(seen) = self.look_at_card(place).await? else {
            return Ok(None);
        };
        let has_serial = |key: &&EnrolledKey| key.piv().is_some_and(|piv| piv.serial == seen.serial);
        Ok(keys.iter().find(has_serial).map(EnrolledKey::id))
    }

    /// The certificate of slot F9, which is under one of `roots`, and the statements of these slots, unjudged.
    async fn attested(
        &self,
        place: &Place,
        serial: u32,
        slots: &[Retired],
        roots: &Roots,
    ) -> Result<(Authority, Vec<Vec<u8>>), DeviceError> {
        let slots = slots.to_vec();
        let asked = slots.len();
        let answer = self.short_on_card(place, PivTask::Attest { serial, slots }).await.map_err(gone)?;
        match answer {
            Answer::Attested { authority, statements } if statements.len() == asked => {
                let authority = roots.authority(&authority.0)?;
                Ok((authority, statements.into_iter().map(|statement| statement.0).collect()))
            }
            _ => Err(unexpected()),
        }
    }

    /// What was made is what the card attests.
    async fn check_attested(&self, place: &Place, seen: &Seen, fresh: &[SlotKey], roots: &Roots) -> Result<SeenBy, DeviceError> {
        let slots: Vec<Retired> = fresh.iter().map(|made| made.slot).collect();
        let (authority, statements) = self.attested(place, seen.serial, &slots, roots).await?;
        for (statement, public_key) in statements.iter().zip(fresh.iter().map(|made| made.public_key)) {
            let claim = Claim {
                serial: seen.serial,
                firmware: seen.firmware,
                public_key,
            };
            authority.attests(statement, &claim)?;
        }
        Ok(SeenBy::Attested)
    }

    async fn look_at_card(&self, place: &Place) -> Result<Option<Seen>, DeviceError> {
        match self.short_on_card(place, PivTask::Look).await? {
            Answer::Card(seen) => Ok(seen),
            _ => Err(unexpected()),
        }
    }

    /// PIN tries left, of an enrolled card only while it holds what was made there.
    pub(super) async fn card_tries(
        &self,
        place: &Place,
        serial: u32,
        enrolled: Option<&EnrolledKey>,
    ) -> Result<(Option<u32>, bool), DeviceError> {
        let made = enrolled.and_then(EnrolledKey::piv).map(|piv| [&piv.open, &piv.sign]);
        let held = made.into_iter().flatten().map(SlotKey::from).collect();
        let step = Step {
            key: enrolled.map(|key| (key.name.as_str(), key.profile)),
            ..self.short(place, PivTask::Tries { serial, held })
        };
        match self.step(step, |_| {}).await?.answer {
            Answer::Inspected { tries, power_cycle } => Ok((tries, power_cycle)),
            _ => Err(unexpected()),
        }
    }

    async fn short_on_card(&self, place: &Place, task: PivTask) -> Result<Answer, DeviceError> {
        Ok(self.step(self.short(place, task), |_| {}).await?.answer)
    }

    /// Without PIN and touch.
    fn short<'a>(&self, place: &'a Place, task: PivTask) -> Step<'a> {
        Step {
            place,
            operation: Operation::Piv(task),
            secret: None,
            deadline: self.clock.boot() + SHORT,
            key: None,
            late: None,
        }
    }
}
