//! A YubiKey's PIV application on its way into a vault: looked at, shown, agreed to, and only then changed.

use std::sync::Arc;

use super::enrol::{Known, ask_pin, unless_refused};
use super::failure::{IntoFailure, internal, locked_memory};
use super::hardware::card_name;
use super::office::{Asker, Lobby};
use super::text::{CardText, EnrolKind, EnrolText, FactoryText, RequesterText, Text, VERSION};
use crate::config::{Firmware, LONGEST_PROMPT};
use crate::device::broker::{CardSeen, MakeKeys};
use crate::device::enrolled::{PivSlot, Retired};
use crate::device::piv::attestation::Roots;
use crate::device::piv::{Seen, Setup};
use crate::device::{DeviceError, EnrolledKey, KeyId, Port};
use crate::encoding::sshsig::Point;
use crate::encoding::{Digest, SecretRef};
use crate::presence::Prompt;
use crate::secret::Secret;
use crate::vault::Hardware;
use crate::wire::{Failure, Outcome};

/// The PIN of every new YubiKey's PIV application.
const FACTORY_PIN: [u8; 6] = *b"123456";

/// A card of which two keys are made, to be enrolled.
pub struct CardPlan {
    /// Its serial number.
    pub serial: u32,
    /// Where keys are made: to enrol it the one that unseals, then the one that signs; for a signer its one.
    pub slots: Vec<Retired>,
    /// Keys that are there are lost.
    pub danger_overwrite: bool,
    /// In the place of the factory's PIN.
    pub new_pin: Option<Secret>,
    /// In the place of the factory's PUK.
    pub new_puk: Option<Secret>,
}

/// A card that was looked at, and not changed: what will be is fixed from here on.
pub struct Survey {
    plan: CardPlan,
    port: Port,
    card: CardSeen,
    setup: Setup,
    roots: Option<Arc<Roots>>,
}

impl Survey {
    /// Looks at the card of `plan`, which is to join `enrolled`.
    ///
    /// # Errors
    /// It is enrolled; as [`Survey::look`].
    pub async fn begin(
        lobby: &Lobby<'_>,
        plan: CardPlan,
        roots: Option<Roots>,
        enrolled: &[EnrolledKey],
        known: &[Known],
    ) -> Result<Self, Failure> {
        if enrolled.iter().any(|key| key.piv().is_some_and(|piv| piv.serial == plan.serial)) {
            return Err(DeviceError::AlreadyEnrolled.failure());
        }
        Self::look(lobby, plan, roots, known).await
    }

    /// Looks at the card of `plan`. Where there are `roots`, it has to be attested under one of them.
    ///
    /// # Errors
    /// It is not there, too old, or of another maker; its slots hold keys that were not given up, or that open one of the vaults of `known`; what the
    /// factory set would stay.
    pub async fn look(lobby: &Lobby<'_>, plan: CardPlan, roots: Option<Roots>, known: &[Known]) -> Result<Self, Failure> {
        let cards = lobby.broker.cards().await.map_err(IntoFailure::failure)?;
        let card = cards.into_iter().find(|(_, card)| card.seen.serial == plan.serial);
        let (port, card) = card.ok_or_else(|| DeviceError::NotPiv.failure())?;
        if let Some(least) = lobby.limits.min_firmware.filter(|least| card.seen.firmware < least.0) {
            return Err(too_old(card.seen.firmware, least));
        }
        if let Some(roots) = &roots {
            let checked = lobby.broker.check_maker(&port, plan.serial, roots).await;
            checked.map_err(IntoFailure::failure)?;
        }
        let lost: Vec<Retired> = plan.slots.iter().copied().filter(|slot| card.is_occupied(*slot)).collect();
        for &slot in &lost {
            if let Some(owner) = known.iter().find(|owner| owner.is_in(slot, &card)) {
                return Err(in_use(slot, owner));
            }
            if !plan.danger_overwrite {
                return Err(DeviceError::Occupied { slot }.failure());
            }
        }
        let stays = match &card.factory {
            factory if !factory.management && !factory.protected => Some(DeviceError::ManagementKey),
            factory if factory.puk && plan.new_puk.is_none() => Some(DeviceError::FactoryPuk),
            factory if factory.pin && plan.new_pin.is_none() => Some(DeviceError::FactoryPin),
            _ => None,
        };
        if let Some(error) = stays {
            return Err(error.failure());
        }
        let setup = Setup {
            slots: plan.slots.clone(),
            danger_overwrite: lost,
        };
        Ok(Self {
            plan,
            port,
            card,
            setup,
            roots: roots.map(Arc::new),
        })
    }

    /// What a person has to see of it.
    pub(super) fn text(&self) -> CardText {
        let factory = &self.card.factory;
        let parts = [
            (factory.pin, FactoryText::Pin),
            (factory.puk, FactoryText::Puk),
            (factory.management, FactoryText::ManagementKey),
        ];
        CardText {
            serial: self.plan.serial,
            slots: self.setup.slots.clone(),
            overwrites: self.setup.danger_overwrite.clone(),
            factory: parts.into_iter().filter_map(|(is, part)| is.then_some(part)).collect(),
        }
    }

    /// What it says of itself.
    pub(super) fn seen(&self) -> Seen {
        self.card.seen
    }

    /// The keys in its slots, and its PIN, once the person has agreed by typing the PIN that it will have.
    pub(super) async fn make(&self, lobby: &Lobby<'_>, prompt: &Prompt<'_>, name: &str) -> Result<(Vec<PivSlot>, Secret), Failure> {
        let copy = |secret: &Option<Secret>| secret.as_ref().map(Secret::duplicate).transpose().map_err(locked_memory);
        let new_pin = copy(&self.plan.new_pin)?.filter(|_| self.card.factory.pin);
        let agreed = agreement(lobby, prompt, name, new_pin.as_ref(), self.card.tries).await?;
        let pin = match new_pin {
            Some(_) => Secret::from_slice_wiping(&mut FACTORY_PIN.to_owned()).map_err(locked_memory)?,
            None => agreed.duplicate().map_err(locked_memory)?,
        };
        let make = MakeKeys {
            port: self.port.clone(),
            plug: self.card.plug,
            seen: self.card.seen,
            setup: self.setup.clone(),
            pin,
            new_pin,
            new_puk: copy(&self.plan.new_puk)?,
            roots: self.roots.clone(),
            deadline: prompt.deadline(),
        };
        let made = lobby.broker.make_keys(make).await.map_err(IntoFailure::failure)?;
        Ok((made, agreed))
    }
}

/// Makes the key of the signer `signer` on the card of `survey`, once a person has seen that and typed the card's PIN. The PIN is kept as that of any key.
///
/// # Errors
/// Denied; what the card says. Nothing on it is changed before the PIN was typed.
pub async fn signer_key(
    lobby: &Lobby<'_>,
    signer: &SecretRef,
    survey: &Survey,
    enrolled: &[EnrolledKey],
    asker: &Asker,
) -> Result<SignerKey, Failure> {
    let Seen { serial, firmware } = survey.seen();
    let own = enrolled.iter().find(|key| key.piv().is_some_and(|piv| piv.serial == serial));
    let name = own.map_or_else(|| card_name(serial), |key| key.name.clone());
    let text = EnrolText {
        v: VERSION,
        kind: EnrolKind::Enrol,
        id: lobby.random_id(),
        requester: RequesterText::of(&asker.requester),
        key: name.clone(),
        scopes: vec![signer.scope.clone()],
        touches: 0,
        recovers: None,
        card: Some(survey.text()),
        signer: Some(signer.clone()),
    };
    let fixed = text.fix().map_err(IntoFailure::failure)?;
    let turn = lobby.turn(asker).await?;
    let prompt = lobby.show(turn, &fixed, vec![name.clone()], LONGEST_PROMPT, asker).await?;
    let (made, pin) = unless_refused(&prompt, survey.make(lobby, &prompt, &name)).await?;
    let [made] = made
        .try_into()
        .map_err(|_| internal("card", "another number of keys than was asked for"))?;
    prompt.approved();
    let PivSlot {
        slot,
        public_key,
        pin: pin_policy,
        touch,
        seen,
    } = made;
    let id = own.map_or_else(|| KeyId(Digest::of(&public_key)), EnrolledKey::id);
    lobby.broker.give_pin(id, pin, lobby.limits.pin).map_err(IntoFailure::failure)?;
    Ok(SignerKey {
        public_key,
        hardware: Hardware {
            firmware,
            pin: pin_policy,
            seen,
            serial,
            slot,
            touch,
        },
    })
}

/// A key that was made for a signer.
pub struct SignerKey {
    /// Its public half.
    pub public_key: Point,
    /// Where it is.
    pub hardware: Hardware,
}

/// No key is touched for what is made on a card, and one from the factory takes a PIN that everybody knows: so whoever sees what is made types
/// the PIN that holds from then on.
async fn agreement(
    lobby: &Lobby<'_>,
    prompt: &Prompt<'_>,
    name: &str,
    new_pin: Option<&Secret>,
    tries: Option<u32>,
) -> Result<Secret, Failure> {
    let Some(new_pin) = new_pin else {
        return ask_pin(lobby, prompt, name, tries, false).await;
    };
    let mut wrong = false;
    loop {
        let typed = ask_pin(lobby, prompt, name, None, wrong).await?;
        if typed.expose() == new_pin.expose() {
            return Ok(typed);
        }
        wrong = true;
    }
}

fn in_use(slot: Retired, owner: &Known) -> Failure {
    let Known { vault, key } = owner;
    let message = format!(
        "slot {slot} of the card holds a key of the vault in {vault}, where it is called \"{}\": nothing was changed",
        key.name
    );
    Failure::new(Outcome::Refused, "slot_in_use", message).hint(
        "name other slots, or remove what has it from that vault first: touchlease key remove NAME, or touchlease signer remove SECRET",
    )
}

fn too_old(firmware: [u8; 3], least: Firmware) -> Failure {
    let [major, minor, patch] = firmware;
    let message = format!("the key has firmware {major}.{minor}.{patch}, and the configuration wants {least} at least");
    Failure::new(Outcome::Refused, "old_firmware", message).hint("use a newer key, or change limits.min_firmware in config.toml")
}
