//! The file `format`, which says that a folder is a vault, and of which format.

use super::error::VaultError;
use super::statement::FORMAT;
use super::store::Store;

/// Its path.
pub const FILE: &str = "format";
const TEXT: &str = "touchlease vault ";
const LONGEST: usize = 64;

/// The file of this format.
#[must_use]
pub fn to_bytes() -> Vec<u8> {
    write(FORMAT)
}

/// Reads the format's number, of this version or another.
///
/// # Errors
/// [`VaultError::Damaged`]: anything but the one form of a number.
pub fn parse(text: &[u8]) -> Result<u64, VaultError> {
    let number = str::from_utf8(text)
        .ok()
        .and_then(|text| text.strip_prefix(TEXT)?.strip_suffix('\n')?.parse().ok());
    number
        .filter(|number| write(*number) == text)
        .ok_or_else(|| VaultError::damaged(FILE, "not the marker of a vault"))
}

/// Whether the folder is a vault that this version reads.
///
/// # Errors
/// [`VaultError::NoVault`], [`VaultError::Newer`], [`VaultError::Damaged`].
pub fn check(store: &Store) -> Result<(), VaultError> {
    let no_vault = || VaultError::NoVault {
        folder: store.folder().display().to_string(),
    };
    match parse(&store.read_if_there(FILE, LONGEST)?.ok_or_else(no_vault)?)? {
        FORMAT => Ok(()),
        found if found > FORMAT => Err(VaultError::Newer { found, known: FORMAT }),
        _ => Err(VaultError::damaged(FILE, "not the marker of a vault")),
    }
}

fn write(format: u64) -> Vec<u8> {
    format!("{TEXT}{format}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_format_has_one_marker() {
        assert_eq!(parse(&to_bytes()).unwrap(), FORMAT);
        assert_eq!(parse(b"touchlease vault 27\n").unwrap(), 27);
        for text in [
            "",
            "1\n",
            "touchlease vault 1",
            "touchlease vault 01\n",
            "touchlease vault +1\n",
            "touchlease vault 1\n\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
