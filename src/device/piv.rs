//! A YubiKey's PIV application (NIST SP 800-73-4, and Yubico's extensions), on the `yubikey` crate. Only workers come here.
//!
//! The crate opens readers shared, verifies the PIN in one transaction and uses the key in the next, and gives one error for a missing PIN
//! and a missing touch: what is known beside it tells them apart. A touch is waited for inside of a call that nothing ends.

pub mod attestation;
mod said;
mod setup;

use std::path::Path;
use std::time::Duration;

use pcsc::Disposition;
use yubikey::piv::{self, AlgorithmId, Origin, RetiredSlotId, SlotAlgorithmId, SlotId};
use yubikey::{Context, Error, PinPolicy, TouchPolicy, YubiKey};
use zeroize::Zeroizing;

use super::ctap::{KeepAlive, Watch};
use super::enrolled::Retired;
use super::nfc;
use super::worker::protocol::{Failure, SlotKey};
use crate::clock::{Boot, Clock, SystemClock};
use crate::encoding::hpke::Agreed;
use crate::encoding::sshsig::Point;

pub use said::{Occupied, References, Seen, Setup};
pub use setup::Secrets;

/// Slot F9's certificate ("PIV attestation" of Yubico's developers' pages).
const ATTESTATION: u32 = 0x005f_ff01;
/// A card that refuses sooner than this did not wait for a touch: somebody else used it after the PIN was shown.
const NO_WAIT: Duration = Duration::from_secs(1);
/// The firmware that first answers GET METADATA, without which nobody sees what policies a slot has.
pub const METADATA_SINCE: [u8; 3] = [5, 3, 0];

/// A key in a slot, as GET METADATA has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its public key, if it is one for P-256.
    pub public_key: Option<Point>,
    /// Whether it wants the PIN for each use.
    pub pin_always: bool,
    /// Whether it wants a touch for each use.
    pub touch_always: bool,
    /// Whether it was made on the card, and is nowhere else.
    pub made_here: bool,
}

impl Held {
    /// Whether it is nowhere else, and wants PIN and touch for each use.
    #[must_use]
    pub fn is_for_each_use(&self) -> bool {
        self.pin_always && self.touch_always && self.made_here
    }
}

/// What a worker does with a card.
pub trait PivCard {
    /// What it says of itself.
    fn seen(&self) -> Seen;

    /// PIN tries left.
    ///
    /// # Errors
    /// `PulledOut`, and whatever PC/SC says.
    fn tries(&mut self) -> Result<u32, Failure>;

    /// ECDH of the key in `slot` with `point`, which is on the curve: the x coordinate. One touch; `pin` goes before it.
    ///
    /// # Errors
    /// `PinWrong`, `PivPinBlocked`, `NoTouch`, `PinLost`, `PulledOut`.
    fn agree(&mut self, slot: Retired, pin: &[u8], point: &Point, watch: &mut dyn Watch) -> Result<Agreed, Failure>;

    /// The signature of `digest` (SHA-256) by the key in `slot`, in DER. One touch; `pin` goes before it.
    ///
    /// # Errors
    /// As [`PivCard::agree`].
    fn sign(&mut self, slot: Retired, pin: &[u8], digest: &[u8; 32], watch: &mut dyn Watch) -> Result<Vec<u8>, Failure>;

    /// The key in `slot`; nothing where it is empty.
    ///
    /// # Errors
    /// `Lacks` for firmware that does not say; `PulledOut`, and whatever PC/SC says.
    fn held(&mut self, slot: Retired) -> Result<Option<Held>, Failure>;

    /// The certificate in slot F9, in DER; nothing where none is there.
    ///
    /// # Errors
    /// `PulledOut`, and whatever PC/SC says.
    fn attestor(&mut self) -> Result<Vec<u8>, Failure>;

    /// What the card attests of the key in `slot`: a certificate in DER, unjudged.
    ///
    /// # Errors
    /// `Refused` for a slot that is empty, or whose key was not made there; `PulledOut`.
    fn attest(&mut self, slot: Retired) -> Result<Vec<u8>, Failure>;

    /// What is still as it came from the factory.
    ///
    /// # Errors
    /// As [`PivCard::held`].
    fn references(&mut self) -> Result<References, Failure>;

    /// Puts what the factory set out of force, and makes keys that want PIN and touch for each use; reads back that they do.
    ///
    /// # Errors
    /// `Occupied` before anything is changed; `FactoryPin` and `FactoryPuk` where new ones are needed and there are none; `ManagementKey`
    /// where somebody else's is in force; `Policy` where the card says otherwise than was asked for.
    fn make(&mut self, task: &Setup, secrets: &Secrets<'_>) -> Result<Vec<SlotKey>, Failure>;
}

/// A YubiKey in a reader. Left without our PIN, and not reset: others may be at work on it.
pub struct Card {
    key: Option<YubiKey>,
    seen: Seen,
    shown: bool,
}

impl Card {
    /// Opens the YubiKey in `reader`.
    ///
    /// # Errors
    /// `NotPiv` where there is none, `Busy` with who holds it, `PulledOut`, `NoService`.
    pub fn open(reader: &str, proc_root: &Path) -> Result<Self, Failure> {
        let failed = |error| failure(error, proc_root);
        let mut context = Context::open().map_err(failed)?;
        let found = context.iter().map_err(failed)?.find(|one| one.name() == reader);
        let key = found.ok_or(Failure::PulledOut)?.open().map_err(|error| match error {
            Error::PcscError { .. } => failed(error),
            _ => Failure::NotPiv,
        })?;
        let version = key.version();
        let seen = Seen {
            serial: key.serial().0,
            firmware: [version.major, version.minor, version.patch],
        };
        Ok(Self {
            key: Some(key),
            seen,
            shown: false,
        })
    }

    /// Shows the PIN, then uses a key. The status 6982 stands for two things: without the PIN a card answers it at once, without a touch
    /// when it has waited for one.
    fn use_key<T>(&mut self, pin: &[u8], watch: &mut dyn Watch, work: impl FnOnce(&mut YubiKey) -> Result<T, Error>) -> Result<T, Failure> {
        self.verify(pin)?;
        if watch.cancelled() {
            return Err(Failure::Cancelled);
        }
        watch.keepalive(KeepAlive::UpNeeded);
        let clock = SystemClock;
        let began: Boot = clock.boot();
        self.call(work).map_err(|failure| match failure {
            Failure::NotAllowed if clock.boot().since(began) < NO_WAIT => Failure::PinLost,
            Failure::NotAllowed => Failure::NoTouch,
            failure => failure,
        })
    }

    fn verify(&mut self, pin: &[u8]) -> Result<(), Failure> {
        // An empty one would ask for the tries, and a longer one be none (SP 800-73-4 part 2, 2.4.3).
        if pin.is_empty() || pin.len() > 8 {
            return Err(Failure::PinUnfit);
        }
        self.shown = true;
        self.call(|key| key.verify_pin(pin))
    }

    fn call<T>(&mut self, work: impl FnOnce(&mut YubiKey) -> Result<T, Error>) -> Result<T, Failure> {
        let key = self.key.as_mut().ok_or(Failure::PulledOut)?;
        let error = match work(key) {
            Ok(done) => return Ok(done),
            Err(error) => failure(error, Path::new("/proc")),
        };
        // A card pulled out in the middle of a command gives success and nothing, for which the crate has no name.
        match error {
            Failure::Refused => match key.get_pin_retries().err().map(|error| failure(error, Path::new("/proc"))) {
                Some(gone @ (Failure::PulledOut | Failure::NoService)) => Err(gone),
                _ => Err(Failure::Refused),
            },
            error => Err(error),
        }
    }
}

impl PivCard for Card {
    fn seen(&self) -> Seen {
        self.seen
    }

    fn tries(&mut self) -> Result<u32, Failure> {
        self.call(YubiKey::get_pin_retries).map(u32::from)
    }

    fn agree(&mut self, slot: Retired, pin: &[u8], point: &Point, watch: &mut dyn Watch) -> Result<Agreed, Failure> {
        let agreed = self.use_key(pin, watch, |key| piv::decrypt_data(key, point, AlgorithmId::EccP256, slot_id(slot)))?;
        let agreed = agreed
            .as_slice()
            .try_into()
            .map_err(|_| Failure::Malformed("an agreement of another length".into()))?;
        Ok(Zeroizing::new(agreed))
    }

    fn sign(&mut self, slot: Retired, pin: &[u8], digest: &[u8; 32], watch: &mut dyn Watch) -> Result<Vec<u8>, Failure> {
        let signature = self.use_key(pin, watch, |key| piv::sign_data(key, digest, AlgorithmId::EccP256, slot_id(slot)))?;
        Ok(signature.to_vec())
    }

    fn held(&mut self, slot: Retired) -> Result<Option<Held>, Failure> {
        let metadata = match self.call(|key| piv::metadata(key, slot_id(slot))) {
            Ok(metadata) => metadata,
            Err(Failure::NotThere) => return Ok(None),
            Err(error) => return Err(error),
        };
        let p256 = metadata.algorithm == SlotAlgorithmId::Asymmetric(AlgorithmId::EccP256);
        let point = metadata
            .public
            .filter(|_| p256)
            .and_then(|key| key.subject_public_key.raw_bytes().try_into().ok());
        Ok(Some(Held {
            public_key: point,
            pin_always: metadata.policy.is_some_and(|(pin, _)| pin == PinPolicy::Always),
            touch_always: metadata.policy.is_some_and(|(_, touch)| touch == TouchPolicy::Always),
            made_here: metadata.origin == Some(Origin::Generated),
        }))
    }

    fn attestor(&mut self) -> Result<Vec<u8>, Failure> {
        match self.call(|key| key.fetch_object(ATTESTATION)) {
            Ok(object) => Ok(certificate_in(&object).unwrap_or_default().to_vec()),
            Err(Failure::NotThere) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn attest(&mut self, slot: Retired) -> Result<Vec<u8>, Failure> {
        self.call(|key| piv::attest(key, slot_id(slot))).map(|statement| statement.to_vec())
    }

    fn references(&mut self) -> Result<References, Failure> {
        self.factory_references()
    }

    fn make(&mut self, task: &Setup, secrets: &Secrets<'_>) -> Result<Vec<SlotKey>, Failure> {
        self.make_keys(task, secrets)
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let Some(mut key) = self.key.take() else { return };
        // The PIN would count for the next program too, until another application is selected.
        if self.shown {
            let _ = key.deauthenticate();
        }
        // The crate's own way resets the card, and with it what others have shown to it.
        let _ = key.disconnect(Disposition::LeaveCard);
    }
}

/// The certificate in its object (SP 800-73-4 part 1, appendix A): tag 70, with a length in one to three bytes.
fn certificate_in(object: &[u8]) -> Option<&[u8]> {
    let (length, rest) = match object {
        [0x70, 0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        [0x70, 0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x70, length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
        _ => return None,
    };
    rest.get(..length)
}

fn slot_id(slot: Retired) -> SlotId {
    use RetiredSlotId::{R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, R11, R12, R13, R14, R15, R16, R17, R18, R19, R20};
    const ALL: [RetiredSlotId; 20] = [
        R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, R11, R12, R13, R14, R15, R16, R17, R18, R19, R20,
    ];
    // A retired slot is one of twenty from 82 on.
    SlotId::Retired(ALL[usize::from(slot.reference() - 0x82) % ALL.len()])
}

/// What the crate's error stands for where nothing more is known.
fn failure(error: Error, proc_root: &Path) -> Failure {
    match error {
        Error::PcscError { inner: Some(error) } => nfc::error(error, proc_root).into(),
        Error::WrongPin { tries: 0 } | Error::PinLocked => Failure::PivPinBlocked,
        Error::WrongPin { tries } => Failure::PinWrong(Some(tries.into())),
        Error::SizeError => Failure::PinUnfit,
        Error::AuthenticationError => Failure::NotAllowed,
        Error::NotFound => Failure::NotThere,
        Error::NotSupported => Failure::Lacks("metadata of PIV slots: firmware 5.3 or newer".into()),
        _ => Failure::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t45_the_crates_logs_with_pins_and_secrets_in_them_are_compiled_out() {
        assert_eq!(log::STATIC_MAX_LEVEL, log::LevelFilter::Off);
    }

    #[test]
    fn every_retired_slot_is_the_one_of_its_number() {
        for slot in Retired::all() {
            assert_eq!(u8::from(slot_id(slot)), slot.reference());
        }
    }

    #[test]
    fn a_certificate_is_taken_out_of_its_object_whole_or_not_at_all() {
        assert_eq!(certificate_in(&[0x70, 2, 1, 2, 0x71, 1, 0, 0xfe, 0]), Some(&[1, 2][..]));
        assert_eq!(certificate_in(&[0x70, 0x81, 1, 9]), Some(&[9][..]));
        assert_eq!(certificate_in(&[0x70, 0x82, 0, 1, 9]), Some(&[9][..]));
        for bad in [
            &[][..],
            &[0x70],
            &[0x71, 1, 2],
            &[0x70, 2, 1],
            &[0x70, 0x82, 1, 0, 9],
            &[0x70, 0x83, 0, 0, 1, 9],
        ] {
            assert_eq!(certificate_in(bad), None);
        }
    }

    #[test]
    fn what_a_card_says_is_told_apart() {
        let say = |error| failure(error, Path::new("/nowhere"));
        assert_eq!(say(Error::WrongPin { tries: 2 }), Failure::PinWrong(Some(2)));
        assert_eq!(say(Error::WrongPin { tries: 0 }), Failure::PivPinBlocked);
        assert_eq!(say(Error::AuthenticationError), Failure::NotAllowed);
        let inner = Some(pcsc::Error::SharingViolation);
        assert_eq!(say(Error::PcscError { inner }), Failure::Busy(None));
        let inner = Some(pcsc::Error::NotTransacted);
        assert_eq!(say(Error::PcscError { inner }), Failure::PulledOut);
    }
}
