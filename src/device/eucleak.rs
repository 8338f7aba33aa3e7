//! YubiKeys whose signing keys can be copied in a laboratory: EUCLEAK (Yubico's security advisory YSA-2024-03).
//!
//! Their chip's ECDSA tells, through the field around it while it signs, how long it works. What seals secrets here, hmac-secret, is
//! no ECDSA; what signs leases and the roster is.

use super::ctap::Info;

/// Fixed in this firmware, and in the later one for keys with a fingerprint sensor.
pub const FIXED: [u8; 3] = [5, 7, 0];
const FIXED_WITH_SENSOR: [u8; 3] = [5, 7, 2];

/// What is to be said of such a key, by its name.
#[must_use]
pub fn note(name: &str, firmware: [u8; 3]) -> String {
    let [major, minor, patch] = firmware;
    format!(
        "{name} has firmware {major}.{minor}.{patch}: whoever has it in a laboratory for hours can copy what it signs with (EUCLEAK), and \
        sign as it; what it seals stays sealed"
    )
}

/// The firmware of a key that has the flaw. `model` is what the device calls itself: only Yubico's firmware numbers are known.
#[must_use]
pub fn exposed(model: &str, info: &Info) -> Option<[u8; 3]> {
    // One byte for each number, as `ykman fido info` and libfido2 read it.
    let [0, firmware @ ..] = info.firmware_version?.to_be_bytes() else {
        return None;
    };
    let fixed = if info.option("uv").is_some() { FIXED_WITH_SENSOR } else { FIXED };
    let is_yubicos = ["Yubico", "YubiKey"].iter().any(|maker| model.contains(maker));
    (is_yubicos && firmware < fixed).then_some(firmware)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(firmware: u32) -> Info {
        let mut info = Info::default();
        info.firmware_version = Some(firmware);
        info
    }

    #[test]
    fn a_yubikey_before_5_7_is_exposed_and_nothing_else_is() {
        const MODEL: &str = "Yubico YubiKey OTP+FIDO+CCID";
        assert_eq!(exposed(MODEL, &with(0x05_04_03)), Some([5, 4, 3]));
        assert_eq!(exposed(MODEL, &with(0x05_06_ff)), Some([5, 6, 255]));
        assert_eq!(exposed(MODEL, &with(0x05_07_00)), None);
        assert_eq!(exposed("Yubico Security Key by Yubico", &with(0x05_02_04)), Some([5, 2, 4]));
        assert_eq!(exposed("Some Key", &with(0x05_04_03)), None);
        assert_eq!(exposed(MODEL, &Info::default()), None);
        assert_eq!(exposed(MODEL, &with(0xff_05_04_03)), None);
    }
}
