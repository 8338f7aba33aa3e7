//! The keys that a launcher starts around a command, as that command finds them.
//!
//! Inside `with-readers`, `pcscd` belongs to the command alone and has two readers with a card each. Inside `kernel/uml`
//! and `kernel/qemu`, `/dev/hidraw0` is a key. Outside, none of the variables is set.

use std::ffi::OsString;

use crate::control::Control;

/// The variable with the control socket of the card in the contact reader.
pub const CONTACT: &str = "EMUKEY_CONTACT";
/// The variable with the control socket of the card on the contactless reader.
pub const CONTACTLESS: &str = "EMUKEY_CONTACTLESS";

/// The variable with the control socket of the YubiKey, which starts pulled out.
pub const YUBIKEY: &str = "EMUKEY_YUBIKEY";

/// The variable with the control socket of the key behind `/dev/hidraw0`.
pub const HIDRAW: &str = "EMUKEY_HIDRAW";

/// What is added to each of these for a second key of the same kind, which starts pulled out.
pub const SECOND: &str = "_SECOND";

/// A reader of `with-readers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader {
    /// How its name begins; pcscd appends numbers.
    pub name: &'static str,
    /// Where its driver waits for a card. For another card than the one that is there, pull that one first.
    pub port: u16,
}

/// The reader with contacts.
pub const CONTACT_READER: Reader = Reader {
    name: "Emulated Contact Reader",
    port: 35963,
};
/// The reader without.
pub const CONTACTLESS_READER: Reader = Reader {
    name: "Emulated Contactless Reader",
    port: 35973,
};
/// The one with contacts for the second key.
pub const SECOND_CONTACT_READER: Reader = Reader {
    name: "Second Contact Reader",
    port: 35983,
};
/// The one without for the second key.
pub const SECOND_CONTACTLESS_READER: Reader = Reader {
    name: "Second Contactless Reader",
    port: 35993,
};

/// The one that a YubiKey is, named as the kernel's driver names it: programs for YubiKeys look for the name.
pub const YUBIKEY_READER: Reader = Reader {
    name: "Yubico YubiKey CCID",
    port: 36003,
};
/// A second one, with older firmware.
pub const SECOND_YUBIKEY_READER: Reader = Reader {
    name: "Yubico YubiKey OTP+CCID",
    port: 36013,
};

impl Reader {
    /// The reader whose driver waits on this port.
    pub fn on(port: u16) -> Option<Self> {
        let all = [
            CONTACT_READER,
            CONTACTLESS_READER,
            SECOND_CONTACT_READER,
            SECOND_CONTACTLESS_READER,
            YUBIKEY_READER,
            SECOND_YUBIKEY_READER,
        ];
        all.into_iter().find(|reader| reader.port == port)
    }
}

/// The key behind the control socket that this variable names, if it is set. `variable` looks it up, as
/// [`std::env::var_os`] does.
pub fn key(name: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<Control> {
    variable(name).map(Control::at)
}

#[cfg(test)]
mod cards;
#[cfg(test)]
mod folded;
#[cfg(test)]
mod full;
#[cfg(test)]
mod piv;
#[cfg(test)]
mod pulled;
#[cfg(test)]
mod tests;
