//! What a PIN has to look like: seen before it is sent, for a key counts what breaks its rules as a wrong one.

use thiserror::Error;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::secret::Secret;

/// Fewest code points (CTAP 2.1, 6.5.1).
const SHORTEST: usize = 4;
/// Most bytes, as UTF-8 (CTAP 2.1, 6.5.1).
const LONGEST: usize = 63;

/// Why what was typed is no PIN.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PinForm {
    /// Enter alone.
    #[error("no PIN was typed")]
    Empty,
    /// Fewer code points than any key takes.
    #[error("a PIN has {SHORTEST} characters or more: nothing was sent to the key")]
    Short,
    /// More bytes than any key takes.
    #[error("a PIN has {LONGEST} bytes at most: nothing was sent to the key")]
    Long,
    /// Bytes that are no UTF-8, or a NUL, which ends a PIN on the key.
    #[error("a PIN is text: nothing was sent to the key")]
    NotText,
    /// It would have to be written anew.
    #[error("no more memory can be locked")]
    Memory,
}

/// The PIN as every platform writes it, so that one set elsewhere is the same here: UTF-8 in normal form C (CTAP 2.1, 6.5.1).
///
/// # Errors
/// See [`PinForm`].
pub fn checked(typed: Secret) -> Result<Secret, PinForm> {
    let text = str::from_utf8(typed.expose()).map_err(|_| PinForm::NotText)?;
    if text.is_empty() {
        return Err(PinForm::Empty);
    }
    if text.contains('\0') {
        return Err(PinForm::NotText);
    }
    // Putting letters together leaves copies of them in memory that is not wiped: only where there is something to put together.
    let is_normal = is_nfc_quick(text.chars()) == IsNormalized::Yes;
    let (points, bytes) = if is_normal {
        (text.chars().count(), text.len())
    } else {
        (text.nfc().count(), text.nfc().map(char::len_utf8).sum())
    };
    if points < SHORTEST {
        return Err(PinForm::Short);
    }
    if bytes > LONGEST {
        return Err(PinForm::Long);
    }
    if is_normal {
        return Ok(typed);
    }
    let mut pin = Secret::zeroed(bytes).map_err(|_| PinForm::Memory)?;
    let mut at = 0;
    for c in text.nfc() {
        at += c.encode_utf8(&mut pin.expose_mut()[at..]).len();
    }
    Ok(pin)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn said(typed: &[u8]) -> Result<Vec<u8>, PinForm> {
        checked(Secret::from_slice_wiping(&mut typed.to_vec()).unwrap()).map(|pin| pin.expose().to_vec())
    }

    #[test]
    fn t57_a_pin_has_four_code_points_and_sixty_three_bytes() {
        for (typed, form) in [
            ("", PinForm::Empty),
            ("123", PinForm::Short),
            ("éèà", PinForm::Short),
            // Four code points that are two once they are put together.
            ("e\u{301}e\u{301}", PinForm::Short),
            (&"1".repeat(64), PinForm::Long),
            (&"€".repeat(22), PinForm::Long),
            ("1234\0", PinForm::NotText),
        ] {
            assert_eq!(said(typed.as_bytes()), Err(form), "{typed:?}");
        }
        assert_eq!(said(b"12\xff34"), Err(PinForm::NotText));
        for typed in ["1234", "éèàù", &"1".repeat(63), &"€".repeat(21)] {
            assert_eq!(said(typed.as_bytes()), Ok(typed.as_bytes().to_vec()));
        }
    }

    #[test]
    fn a_pin_is_the_same_however_its_letters_were_typed() {
        assert_eq!(said("pe\u{301}pe\u{301}".as_bytes()), Ok("pépé".as_bytes().to_vec()));
    }
}
