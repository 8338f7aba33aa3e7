//! Making a card ready: PIN, PUK and management key that are nobody else's, and keys in slots.

use getrandom::SysRng;
use yubikey::piv::{self, AlgorithmId, ManagementSlotId, SlotId};
use yubikey::{MgmKey, PinPolicy, TouchPolicy};
use zeroize::Zeroizing;

use super::{Card, METADATA_SINCE, PivCard, References, Setup, slot_id};
use crate::device::enrolled::Retired;
use crate::device::worker::protocol::{Failure, SlotKey};

/// The PUK of every new YubiKey.
const FACTORY_PUK: &[u8] = b"12345678";
/// "PIV admin data", an object of Yubico's: tag 80, in it 81 with flags, of which bit 1 says that the management key is under the PIN.
const ADMIN_DATA: u32 = 0x005f_ff00;
const PROTECTED: u8 = 0x02;
/// The printed information, which is read with the PIN alone: tag 88, in it 89 with the management key.
const PRINTED: u32 = 0x005f_c109;

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

    pub(super) fn make_keys(&mut self, task: &Setup, secrets: &Secrets<'_>) -> Result<Vec<SlotKey>, Failure> {
        let factory = self.factory_references()?;
        for &slot in &task.slots {
            if !task.danger_overwrite.contains(&slot) && self.held(slot)?.is_some() {
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
        task.slots.iter().map(|slot| self.generate(*slot)).collect()
    }

    /// Shows the management key; the factory's is replaced by one that the PIN gives out. The PIN was shown.
    fn administer(&mut self, factory: bool) -> Result<(), Failure> {
        if !factory {
            return self.show_kept();
        }
        let shown = self.call(|card| MgmKey::get_default(card).and_then(|key| card.authenticate(&key)));
        self.or_theirs(shown)?;
        let key = self.call(|card| MgmKey::generate_for(card, &mut SysRng))?;
        self.keep_under_pin(key.as_ref())?;
        self.call(|card| key.set_protected(card))?;
        self.show_kept()
    }

    /// Shows the management key that lies under the PIN.
    fn show_kept(&mut self) -> Result<(), Failure> {
        let shown = self.call(|card| MgmKey::get_protected(card).and_then(|key| card.authenticate(&key)));
        self.or_theirs(shown)
    }

    /// The crate takes a card that was pulled out for one that refuses its management key: whether it is there is asked.
    fn or_theirs<T>(&mut self, shown: Result<T, Failure>) -> Result<T, Failure> {
        shown.map_err(|_| match self.tries() {
            Err(gone @ (Failure::PulledOut | Failure::NoService)) => gone,
            _ => Failure::ManagementKey,
        })
    }

    /// Before it is in force: the crate sets a management key and then keeps it, and a card that is pulled out in between is administered by
    /// nobody any more. What is kept for a factory's key in force is not asked for.
    fn keep_under_pin(&mut self, key: &[u8]) -> Result<(), Failure> {
        let mut printed = Zeroizing::new(tlv(0x88, &Zeroizing::new(tlv(0x89, key))));
        self.call(|card| card.save_object(PRINTED, &mut printed))?;
        let read = self.call(|card| card.fetch_object(PRINTED))?;
        if *read != *printed {
            return Err(Failure::Malformed("an object that is not what was written there".into()));
        }
        let before = match self.call(|card| card.fetch_object(ADMIN_DATA)) {
            Ok(data) => data.to_vec(),
            Err(Failure::NotThere) => Vec::new(),
            Err(error) => return Err(error),
        };
        self.call(|card| card.save_object(ADMIN_DATA, &mut protected(&before)))
    }

    fn generate(&mut self, slot: Retired) -> Result<SlotKey, Failure> {
        let made = self.call(|key| piv::generate(key, slot_id(slot), AlgorithmId::EccP256, PinPolicy::Always, TouchPolicy::Always))?;
        let held = self.held(slot)?.ok_or(Failure::Policy(slot))?;
        let point = held.public_key.filter(|point| made.subject_public_key.raw_bytes() == point);
        let public_key = point.filter(|_| held.is_for_each_use()).ok_or(Failure::Policy(slot))?;
        Ok(SlotKey { slot, public_key })
    }
}

/// The admin data, saying besides that the management key is under the PIN. The flags stand first, where there are any, as `ykman` writes
/// them; data of another form are nobody's.
fn protected(admin: &[u8]) -> Vec<u8> {
    let (flags, rest) = match admin {
        [0x80, _, 0x81, 1, flags, rest @ ..] => (*flags, rest),
        [0x80, length, rest @ ..] if usize::from(*length) == rest.len() => (0, rest),
        _ => (0, &[][..]),
    };
    tlv(0x80, &[&[0x81, 1, flags | PROTECTED], rest].concat())
}

/// A tag of one byte, and a value of less than 128.
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    [&[tag, value.len() as u8], value].concat()
}

fn fits(secret: &[u8]) -> bool {
    (6..=8).contains(&secret.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_data_keep_what_else_they_say() {
        assert_eq!(protected(&[]), [0x80, 3, 0x81, 1, 2]);
        assert_eq!(protected(&[0x80, 3, 0x81, 1, 1]), [0x80, 3, 0x81, 1, 3]);
        let stamp = [0x83, 4, 1, 2, 3, 4];
        let with = |flags: &[u8]| tlv(0x80, &[flags, &stamp].concat());
        assert_eq!(protected(&with(&[0x81, 1, 1])), with(&[0x81, 1, 3]));
        assert_eq!(protected(&with(&[])), with(&[0x81, 1, 2]));
        assert_eq!(protected(b"something else"), [0x80, 3, 0x81, 1, 2]);
    }
}
