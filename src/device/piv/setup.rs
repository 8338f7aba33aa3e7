//! Making a card ready: PIN, PUK and management key that are nobody else's, and keys in slots.

use getrandom::SysRng;
use yubikey::piv::{self, AlgorithmId, ManagementSlotId, SlotId};
use yubikey::{MgmKey, PinPolicy, TouchPolicy};

use super::{Card, Fresh, METADATA_SINCE, PivCard, References, Setup, slot_id};
use crate::device::enrolled::Retired;
use crate::device::worker::protocol::Failure;
use crate::encoding::sshsig::Point;

/// The PUK of every new YubiKey.
const FACTORY_PUK: &[u8] = b"12345678";
/// "PIV admin data", an object of Yubico's: tag 80, in it 81 with flags, of which bit 1 says that the management key is under the PIN.
const ADMIN_DATA: u32 = 0x005f_ff00;
const PROTECTED: u8 = 0x02;

/// PINs and PUK, each 6 to 8 bytes; those that are not to be set are empty.
pub struct Secrets<'a> {
    /// The PIN as it is.
    pub pin: &'a [u8],
    /// In the place of the factory's.
    pub new_pin: &'a [u8],
    /// In the place of the factory's.
    pub new_puk: &'a [u8],
}

impl Card {
    pub(super) fn factory_references(&mut self) -> Result<References, Failure> {
        if self.seen.firmware < METADATA_SINCE {
            return Err(Failure::Lacks("metadata of PIV slots: firmware 5.3 or newer".into()));
        }
        let mut factory = |slot| {
            let metadata = self.call(|key| piv::metadata(key, SlotId::Management(slot)))?;
            Ok::<bool, Failure>(metadata.default == Some(true))
        };
        Ok(References {
            pin: factory(ManagementSlotId::Pin)?,
            puk: factory(ManagementSlotId::Puk)?,
            management: factory(ManagementSlotId::Management)?,
            protected: self.is_protected()?,
        })
    }

    fn is_protected(&mut self) -> Result<bool, Failure> {
        match self.call(|key| key.fetch_object(ADMIN_DATA)) {
            Ok(data) => Ok(matches!(data.as_slice(), [0x80, _, 0x81, 1, flags, ..] if flags & PROTECTED != 0)),
            Err(Failure::NotThere) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn make_keys(&mut self, task: &Setup, secrets: &Secrets<'_>) -> Result<Fresh, Failure> {
        let factory = self.factory_references()?;
        for slot in [task.open, task.sign] {
            if !task.danger_overwrite && self.held(slot)?.is_some() {
                return Err(Failure::Occupied(slot));
            }
        }
        if !factory.management && !factory.protected {
            return Err(Failure::ManagementKey);
        }
        if factory.puk {
            fits(secrets.new_puk).then_some(()).ok_or(Failure::FactoryPuk)?;
        }
        let pin = match factory.pin {
            true => {
                fits(secrets.new_pin).then_some(()).ok_or(Failure::FactoryPin)?;
                self.call(|key| key.change_pin(secrets.pin, secrets.new_pin))?;
                secrets.new_pin
            }
            false => secrets.pin,
        };
        if factory.puk {
            self.call(|key| key.change_puk(FACTORY_PUK, secrets.new_puk))?;
        }
        self.verify(pin)?;
        self.administer(factory.management)?;
        Ok(Fresh {
            open: self.generate(task.open)?,
            sign: self.generate(task.sign)?,
        })
    }

    /// Shows the management key; the factory's is replaced by one that the PIN gives out. The PIN was shown.
    fn administer(&mut self, factory: bool) -> Result<(), Failure> {
        let theirs = |failure| match failure {
            Failure::PulledOut | Failure::NoService => failure,
            _ => Failure::ManagementKey,
        };
        if !factory {
            let key = self.call(MgmKey::get_protected).map_err(theirs)?;
            return self.call(|card| card.authenticate(&key)).map_err(theirs);
        }
        self.call(|card| MgmKey::get_default(card).and_then(|key| card.authenticate(&key)))
            .map_err(theirs)?;
        self.call(|card| MgmKey::generate_for(card, &mut SysRng)?.set_protected(card))
    }

    fn generate(&mut self, slot: Retired) -> Result<Point, Failure> {
        let made = self.call(|key| piv::generate(key, slot_id(slot), AlgorithmId::EccP256, PinPolicy::Always, TouchPolicy::Always))?;
        let held = self.held(slot)?.ok_or(Failure::Policy(slot))?;
        let point = held.public_key.filter(|point| made.subject_public_key.raw_bytes() == point);
        let fits = held.pin_always && held.touch_always && held.made_here;
        point.filter(|_| fits).ok_or(Failure::Policy(slot))
    }
}

fn fits(secret: &[u8]) -> bool {
    (6..=8).contains(&secret.len())
}
