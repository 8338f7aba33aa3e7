//! What a key says, as an outcome.

use crate::device::error::release;
use crate::device::{DeviceError, PinForm};
use crate::wire::{Failure, Outcome};

use super::failure::MORE_MEMORY;

/// The outcome, the sentence, the hint.
pub(super) fn of(error: &DeviceError) -> Failure {
    let (outcome, reason, hint) = case(error);
    Failure::new(outcome, reason, error.to_string()).hint(hint)
}

fn case(error: &DeviceError) -> (Outcome, &'static str, &'static str) {
    use DeviceError as E;
    match error {
        E::NoKey => (Outcome::NoKey, "no_key", "touchlease key list shows what is connected"),
        E::NotEnrolled => (
            Outcome::NoKey,
            "not_enrolled",
            "touchlease key list shows which keys are; touchlease key add NAME enrols one more",
        ),
        E::PinNeeded => (
            Outcome::Locked,
            "pin_needed",
            "touchlease unlock, or type the PIN in `touchlease watch`",
        ),
        E::PinWrong { .. } => (Outcome::Locked, "pin_wrong", "touchlease key info shows the tries left"),
        E::PinBlocked => (
            Outcome::Locked,
            "pin_blocked",
            "use another enrolled key; this one has to be reset and enrolled again",
        ),
        E::PinBlockedUntilReplug => (Outcome::Locked, "pin_blocked_until_replug", "pull the key out and plug it in again"),
        E::PinNotSet => (
            Outcome::Locked,
            "pin_not_set",
            "touchlease key pin set, or enrol the key with --touch-only",
        ),
        E::PinForm(PinForm::Empty) => (Outcome::BadInput, "empty_pin", "ask again, and type it"),
        E::PinForm(PinForm::Memory) => (Outcome::Internal, "locked_memory", MORE_MEMORY),
        E::PinForm(_) => (Outcome::BadInput, "pin_form", "ask again, and type it as it was set"),
        E::PinRefused => (Outcome::Locked, "pin_refused", "touchlease key pin change"),
        E::TimedOut => (Outcome::TimedOut, "timed_out", "ask again when somebody is at the key"),
        E::Withdrawn => (Outcome::Denied, "withdrawn", "ask again"),
        E::Denied => (Outcome::Denied, "denied_on_key", "ask the person before asking again"),
        E::CancelledElsewhere => (
            Outcome::Denied,
            "cancelled_elsewhere",
            "look which other program uses the key, then ask again",
        ),
        E::PulledOut => (Outcome::NoKey, "pulled_out", "ask again when the key is plugged in"),
        E::Busy { by } => (
            Outcome::KeyBusy,
            "key_busy",
            release(by.as_deref()).unwrap_or("end the other program's use of the key, then ask again"),
        ),
        E::Asked => (
            Outcome::KeyBusy,
            "key_asked",
            "touch the key for that request or deny it there (d), then ask again",
        ),
        E::Unfinished => (
            Outcome::KeyBusy,
            "key_unfinished",
            "touch the key once, or pull it out; then ask again",
        ),
        E::Permission => (
            Outcome::NoKey,
            "permission",
            "touchlease doctor shows the commands that let you at the key",
        ),
        E::NoService => (Outcome::NoKey, "no_pcscd", "systemctl start pcscd.socket"),
        E::TooOld { .. } => (Outcome::Refused, "too_old", "use a key with FIDO2 and hmac-secret"),
        E::ResetSinceEnrolment { .. } => (
            Outcome::NoKey,
            "reset_since_enrolment",
            "touchlease key remove NAME, then touchlease key add NAME, with another key at hand",
        ),
        E::AlwaysUv => (
            Outcome::Refused,
            "always_uv",
            "switch alwaysUv off on the key, or enrol it again with its PIN",
        ),
        E::TouchOnlyContactless => (Outcome::Refused, "touch_only_nfc", "plug the key in, or enrol it with its PIN"),
        E::CardNotAbsent => (
            Outcome::Refused,
            "card_not_absent",
            "take the card off the reader, then tap it when asked",
        ),
        E::Impostor => (Outcome::Refused, "impostor", "unplug the device; no PIN went to it"),
        E::AlreadyEnrolled => (Outcome::Refused, "already_enrolled", "touchlease key list"),
        E::WeakProtection { .. } => (
            Outcome::Refused,
            "weak_protection",
            "enrol it with --touch-only, or use another key",
        ),
        E::NotPiv => (
            Outcome::NoKey,
            "not_piv",
            "plug in the YubiKey; `ykman config usb --enable PIV` switches its PIV application on",
        ),
        E::OtherCard { .. } => (
            Outcome::NoKey,
            "signer_card",
            "touchlease signer list says on which YubiKey each is; touchlease key list, what is connected",
        ),
        E::OtherSlotKey { .. } => (
            Outcome::NoKey,
            "signer_key_gone",
            "make it a new key: touchlease signer rotate SECRET --piv; touchlease signer list says which it is",
        ),
        E::PivPinBlocked => (Outcome::Locked, "piv_pin_blocked", "ykman piv access unblock-pin"),
        E::PinUnfit => (Outcome::Locked, "pin_unfit", "type 6 to 8 characters"),
        E::PivRefused => (Outcome::Refused, "piv_refused", "pull the key out, plug it in, and try again"),
        E::PivContactless => (Outcome::Refused, "piv_nfc", "plug the key into USB"),
        E::Occupied { .. } => (
            Outcome::Refused,
            "slot_occupied",
            "ykman piv info shows what is there; name other slots, or --danger-overwrite-slot to lose it",
        ),
        E::FactoryPin => (Outcome::Locked, "factory_pin", "ykman piv access change-pin"),
        E::FactoryPuk => (Outcome::Locked, "factory_puk", "ykman piv access change-puk"),
        E::ManagementKey => (
            Outcome::Refused,
            "management_key",
            "ykman piv access change-management-key --generate --protect",
        ),
        E::SlotPolicy { .. } => (
            Outcome::Refused,
            "slot_policy",
            "use a key in which both slots were made by touchlease",
        ),
        E::Attestation(_) => (
            Outcome::Refused,
            "not_attested",
            "put the maker's root, and what it has between that and its keys, into the file of limits.piv_attestation_roots in config.toml; or use another key",
        ),
        E::NotFido => (Outcome::NoKey, "not_fido", "use a FIDO2 key"),
        E::NoSuchFingerprint => (Outcome::BadInput, "no_fingerprint", "touchlease key fingerprint list shows the ids"),
        E::FingerprintsFull => (
            Outcome::Refused,
            "fingerprints_full",
            "touchlease key fingerprint list shows which one touchlease key fingerprint remove ID can take out",
        ),
        E::FingerprintName { .. } => (
            Outcome::BadInput,
            "fingerprint_name",
            "touchlease key fingerprint add NAME, with a shorter one",
        ),
        E::OverUsbOnly => (Outcome::Refused, "over_usb_only", "plug the key into USB"),
        E::NoProof(_) => (
            Outcome::Refused,
            "no_proof",
            "the key or something between it and us lies: try another port or key",
        ),
        E::Refused(_) => (Outcome::Refused, "key_refused", "try again, or another key"),
        E::Protocol { .. } | E::OtherLink { .. } => (Outcome::Internal, "key_misbehaves", "pull the key out, plug it in, and try again"),
        E::System { .. } => (Outcome::Internal, "system", "look at the daemon's log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_cared_for_elsewhere_is_told_where_once() {
        let failure = of(&DeviceError::OverUsbOnly);
        assert!(
            failure.message.contains("over USB only") && !failure.message.contains("plug"),
            "{}",
            failure.message
        );
        assert_eq!(failure.hint.as_deref(), Some("plug the key into USB"));
    }
}
