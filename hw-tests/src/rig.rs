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

/// The variable with the control socket of the key behind `/dev/hidraw0`.
pub const HIDRAW: &str = "EMUKEY_HIDRAW";

/// What is added to each of these for a second key of the same kind, which starts pulled out.
pub const SECOND: &str = "_SECOND";

/// How the contact reader's name begins; pcscd appends numbers.
pub const CONTACT_READER: &str = "Emulated Contact Reader";
/// How the contactless reader's name begins.
pub const CONTACTLESS_READER: &str = "Emulated Contactless Reader";
/// How the name of the contactless reader for the second key begins.
pub const SECOND_CONTACTLESS_READER: &str = "Second Contactless Reader";

/// The port of the contact reader, for another card: pull the one that is there first.
pub const CONTACT_PORT: u16 = 35963;
/// The port of the contactless reader.
pub const CONTACTLESS_PORT: u16 = 35973;

/// The key behind the control socket that this variable names, if it is set. `variable` looks it up, as
/// [`std::env::var_os`] does.
pub fn key(name: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<Control> {
    variable(name).map(Control::at)
}

#[cfg(test)]
mod cards;
#[cfg(test)]
mod tests;
