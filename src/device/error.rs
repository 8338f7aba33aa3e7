//! What can go wrong with a key, each with a sentence that says what to do.

use thiserror::Error;

use super::ctap::Status;
use super::enrolled::{Link, Profile, Retired};
use super::pin_form::PinForm;
use super::piv::attestation::AttestationError;
use super::proof::ProofError;
use super::worker::protocol::Failure;
use crate::encoding::plain::count;

/// Why there is no proof, or no new key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DeviceError {
    /// No key was plugged in, inserted or tapped in time.
    #[error("no security key is connected: plug one in, or tap one on the reader")]
    NoKey,
    /// What is connected is a key, but none that may open this.
    #[error("the connected key is not enrolled here, or was reset since: use an enrolled one")]
    NotEnrolled,
    /// Enrolling a key twice would only make it look like two.
    #[error("this key is enrolled already")]
    AlreadyEnrolled,
    /// The key's PIN has to be typed.
    #[error("the key's PIN is needed")]
    PinNeeded,
    /// The PIN was wrong. It is forgotten, and nothing tries it again.
    #[error("the PIN is wrong{}", tries(*.left))]
    PinWrong {
        /// Tries left until only a reset helps.
        left: Option<u32>,
    },
    /// Eight wrong PINs.
    #[error("the key's PIN is blocked: only a reset makes the key usable again, and a reset destroys its credentials")]
    PinBlocked,
    /// Three wrong PINs since the key was plugged in.
    #[error("the key takes no more PINs until it is pulled out and plugged in again")]
    PinBlockedUntilReplug,
    /// The key has no PIN, and the PIN profile needs one.
    #[error("the key has no PIN: set one first")]
    PinNotSet,
    /// What was typed is no PIN; the key was not asked.
    #[error(transparent)]
    PinForm(#[from] PinForm),
    /// A PIN too short, or one that the key wants changed first.
    #[error("the key refuses the PIN: it is too short, or has to be changed first")]
    PinRefused,
    /// Nobody touched a key in time.
    #[error("nobody touched the key in time")]
    TimedOut,
    /// The request was withdrawn before anybody touched.
    #[error("the request was withdrawn")]
    Withdrawn,
    /// The person said no on the key.
    #[error("denied on the key")]
    Denied,
    /// Another program cancelled our request: nothing is asked again by itself (T05).
    #[error("another program cancelled the request on the key")]
    CancelledElsewhere,
    /// The key went away in the middle.
    #[error("the key was pulled out: plug it in and ask again")]
    PulledOut,
    /// Another program holds the key.
    #[error("the key is in use by {}: end that first", .by.as_deref().unwrap_or("another program"))]
    Busy {
        /// The program, where it could be found out.
        by: Option<String>,
    },
    /// It is asked for a touch already, and that may take minutes.
    #[error("the key waits for a touch, for another request of touchlease")]
    Asked,
    /// What it was asked before cannot be taken back: a transmission to a card ends when the card ends it.
    #[error("the key still waits for the touch of a request that is over: touch it once, or pull it out")]
    Unfinished,
    /// The device node belongs to somebody else: udev rules are missing.
    #[error("no permission to use the key: install the udev rules")]
    Permission,
    /// A reader is there, but pcscd is not.
    #[error("the smart-card service does not run: start pcscd")]
    NoService,
    /// The key lacks something that cannot be done without.
    #[error("this key cannot be used: it has no {lacks}")]
    TooOld {
        /// What it lacks.
        lacks: String,
    },
    /// The key was enrolled and does not know its credential any more; or another one of its model was put into its place.
    #[error("this key is not enrolled here; if it is \"{name}\", it was reset since it was enrolled: remove it and add it again")]
    ResetSinceEnrolment {
        /// The person's name for it.
        name: String,
    },
    /// alwaysUv was switched on under a key enrolled without PIN: its unsealing output would be another one.
    #[error("the key now asks for PIN or fingerprint every time, and was enrolled for touch only: switch alwaysUv off, or enrol it again")]
    AlwaysUv,
    /// Presence over NFC is a power-up, which a program can make.
    #[error("a key enrolled for touch only cannot be used over NFC: plug it in, or enrol it with its PIN")]
    TouchOnlyContactless,
    /// The card lay on the reader since before the question.
    #[error("the card lay on the reader already: take it off and tap it")]
    CardNotAbsent,
    /// The reader says of its card, in the middle of the work, what it did not say before. Nothing was sent to it.
    #[error("the reader contradicts itself about its card, which it says is reached by {found}: take the card out and ask again")]
    OtherLink {
        /// How it is reached, by the reader's last word.
        found: Link,
    },
    /// The device says it is an enrolled key and cannot prove it. No PIN went to it (T13).
    #[error("the device is not the enrolled key that it pretends to be: nothing was sent to it; unplug it")]
    Impostor,
    /// The key does not protect credentials by its PIN.
    #[error("the key grants protection level {granted} of 3, too little for the PIN profile: it can be enrolled for touch only")]
    WeakProtection {
        /// credProtect level granted.
        granted: u8,
    },
    /// A reader without a YubiKey's PIV application, or with one that lacks what was enrolled.
    #[error("there is no YubiKey with a PIV application")]
    NotPiv,
    /// Three wrong PINs of the PIV application, as a rule.
    #[error("the card's PIN is blocked: its PUK sets a new one")]
    PivPinBlocked,
    /// A signer's key is on the card with this number.
    #[error("YubiKey {serial}, on which the signer's key is, is not connected: plug it in")]
    OtherCard {
        /// The card's number.
        serial: u32,
    },
    /// The slot is empty, or holds another key than the one that was made there. No PIN went to the card.
    #[error("slot {slot} of YubiKey {serial} does not hold the signer's key any more: the card was reset, or another key was made there")]
    OtherSlotKey {
        /// The card's number.
        serial: u32,
        /// Which slot.
        slot: Retired,
    },
    /// A PIN, or PUK, that no card takes (NIST SP 800-73-4 part 2, 2.4.3).
    #[error("a card's PIN and PUK have 6 to 8 characters")]
    PinUnfit,
    /// A status of the card that stands for nothing better known.
    #[error("the card refuses")]
    PivRefused,
    /// Presence over NFC is a power-up, and so is the touch of a card there.
    #[error("a PIV key cannot be used over NFC: plug it in")]
    PivContactless,
    /// There is a key in the slot, of which nobody else may have a copy.
    #[error("slot {slot} of the card holds a key: nothing was changed")]
    Occupied {
        /// Which.
        slot: Retired,
    },
    /// Everybody knows it.
    #[error("the card's PIN is still the one from the factory: it needs another one")]
    FactoryPin,
    /// Everybody knows it.
    #[error("the card's PUK is still the one from the factory: it needs another one")]
    FactoryPuk,
    /// Somebody has set it, and it does not lie under the PIN.
    #[error("the card's management key is neither the factory's nor protected by the PIN, so no key can be made on the card")]
    ManagementKey,
    /// Cached or never, where it has to be always; or a key that was imported.
    #[error("the key in slot {slot} of the card does not want PIN and touch for each use")]
    SlotPolicy {
        /// Which.
        slot: Retired,
    },
    /// It is not attested under a root that the configuration names.
    #[error(transparent)]
    Attestation(#[from] AttestationError),
    /// A card without the FIDO2 applet.
    #[error("the card is no FIDO2 key")]
    NotFido,
    /// No fingerprint has this id: it was removed, or is another key's.
    #[error("the key has no fingerprint of this id")]
    NoSuchFingerprint,
    /// The sensor's storage is full.
    #[error("the key has no room for one more fingerprint")]
    FingerprintsFull,
    /// The name is longer than what the key keeps.
    #[error("the key takes a fingerprint's name of {limit} bytes at most")]
    FingerprintName {
        /// What it takes, in bytes.
        limit: u32,
    },
    /// PIN, credentials and fingerprints are cared for over USB.
    #[error("PIN, credentials and fingerprints are cared for over USB only, and the key is on a card reader")]
    OverUsbOnly,
    /// The key answered, and its answer proves nothing. See [`ProofError`].
    #[error("the key's answer is no proof of a touch: {0}")]
    NoProof(#[from] ProofError),
    /// The key refused with a status that nothing above stands for.
    #[error("the key refuses: {0}")]
    Refused(Status),
    /// Bytes that no key sends, or none at all.
    #[error("the key misbehaves: {what}")]
    Protocol {
        /// What was found.
        what: String,
    },
    /// The operating system refuses: a process, memory, randomness.
    #[error("the system refuses: {what}")]
    System {
        /// What it said.
        what: String,
    },
}

/// What ends the use of a key by the program that was found to hold it; nothing where that is the program's own matter. scdaemon keeps a
/// card for itself for as long as it runs, unless it is told otherwise (`pcsc-shared`, scdaemon(1)).
#[must_use]
pub fn release(by: Option<&str>) -> Option<&'static str> {
    let is_gpgs = by.is_some_and(|by| by.starts_with("scdaemon"));
    is_gpgs.then_some("gpgconf --kill scdaemon (`pcsc-shared` in scdaemon.conf keeps it from holding cards)")
}

impl DeviceError {
    /// Whether somebody holds the key who may let go of it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Unfinished)
    }

    /// Judges a worker's failure. `key` is the name and profile of the enrolled key that was asked, if it was one.
    pub(super) fn of(failure: Failure, key: Option<(&str, Profile)>) -> Self {
        match failure {
            Failure::Status(code) => Self::of_status(Status(code), key),
            Failure::PinWrong(left) => Self::PinWrong { left },
            Failure::Impostor => Self::Impostor,
            Failure::Lacks(lacks) => Self::TooOld { lacks },
            Failure::Malformed(what) => Self::Protocol { what },
            Failure::PulledOut => Self::PulledOut,
            Failure::Silent => Self::Protocol {
                what: "it does not answer".into(),
            },
            Failure::Busy(by) => Self::Busy { by },
            Failure::OtherLink(found) => Self::OtherLink { found },
            Failure::Cancelled => Self::Withdrawn,
            Failure::Permission => Self::Permission,
            Failure::OtherCard => Self::PulledOut,
            Failure::OtherKey => key.map_or(Self::NotEnrolled, |(name, _)| Self::ResetSinceEnrolment { name: name.to_owned() }),
            Failure::NotPiv | Failure::NotThere => Self::NotPiv,
            Failure::PivContactless => Self::PivContactless,
            Failure::NoTouch => Self::TimedOut,
            Failure::PinLost => Self::Busy { by: None },
            Failure::PivPinBlocked => Self::PivPinBlocked,
            Failure::PinUnfit => Self::PinUnfit,
            Failure::NotAllowed | Failure::Refused => Self::PivRefused,
            Failure::Occupied(slot) => Self::Occupied { slot },
            Failure::FactoryPin => Self::FactoryPin,
            Failure::FactoryPuk => Self::FactoryPuk,
            Failure::ManagementKey => Self::ManagementKey,
            Failure::Policy(slot) => Self::SlotPolicy { slot },
            Failure::NotFido => Self::NotFido,
            Failure::NoService => Self::NoService,
            Failure::NoSuchFingerprint => Self::NoSuchFingerprint,
            Failure::LongName(limit) => Self::FingerprintName { limit },
            Failure::OverUsbOnly => Self::OverUsbOnly,
            Failure::System(what) => Self::System { what },
        }
    }

    fn of_status(status: Status, key: Option<(&str, Profile)>) -> Self {
        let reset = |otherwise| match key {
            Some((name, _)) => Self::ResetSinceEnrolment { name: name.into() },
            None => otherwise,
        };
        match status {
            Status::INVALID_COMMAND => Self::TooOld { lacks: "FIDO2".into() },
            Status::FP_DATABASE_FULL => Self::FingerprintsFull,
            Status::CREDENTIAL_EXCLUDED => Self::AlreadyEnrolled,
            Status::UNSUPPORTED_ALGORITHM => Self::TooOld { lacks: "ES256".into() },
            Status::OPERATION_DENIED => Self::Denied,
            Status::KEEPALIVE_CANCEL => Self::CancelledElsewhere,
            Status::NO_CREDENTIALS => reset(Self::NotEnrolled),
            Status::USER_ACTION_TIMEOUT | Status::ACTION_TIMEOUT => Self::TimedOut,
            Status::PIN_INVALID => Self::PinWrong { left: None },
            Status::PIN_BLOCKED => Self::PinBlocked,
            Status::PIN_AUTH_BLOCKED => Self::PinBlockedUntilReplug,
            Status::PIN_NOT_SET => reset(Self::PinNotSet),
            Status::PIN_REQUIRED if key.is_some_and(|(_, profile)| profile == Profile::TouchOnly) => Self::AlwaysUv,
            Status::PIN_REQUIRED => Self::PinNeeded,
            Status::PIN_POLICY_VIOLATION => Self::PinRefused,
            status => Self::Refused(status),
        }
    }
}

fn tries(left: Option<u32>) -> String {
    match left {
        None => String::new(),
        Some(1) => ": ONE try left, then the key is useless until a reset".into(),
        Some(left) => format!(": {} left", count(left, "try")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t57_the_sentence_says_how_many_tries_are_left() {
        let say = |left| DeviceError::PinWrong { left }.to_string();
        assert_eq!(say(Some(7)), "the PIN is wrong: 7 tries left");
        assert!(say(Some(1)).contains("ONE try left"));
        assert_eq!(say(None), "the PIN is wrong");
    }

    #[test]
    fn t08_a_key_that_wants_a_pin_is_judged_by_its_profile() {
        let judge = |key| DeviceError::of(Failure::Status(Status::PIN_REQUIRED.0), key);
        assert_eq!(judge(Some(("blue", Profile::TouchOnly))), DeviceError::AlwaysUv);
        assert_eq!(judge(Some(("blue", Profile::Pin))), DeviceError::PinNeeded);
        assert_eq!(judge(None), DeviceError::PinNeeded);
    }

    #[test]
    fn t05_a_cancel_that_is_not_ours_has_its_own_error() {
        assert_eq!(DeviceError::of(Failure::Status(0x2D), None), DeviceError::CancelledElsewhere);
        assert_eq!(DeviceError::of(Failure::Cancelled, None), DeviceError::Withdrawn);
    }
}
