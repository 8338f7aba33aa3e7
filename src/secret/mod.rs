//! Bytes that must not be printed, copied, written out or left behind.

pub mod signing_key;

use std::fmt;
use std::io;

use zeroize::Zeroize;

use crate::sys::arena::LockedBytes;

pub use signing_key::{LoadError, SigningKey};

/// Secret bytes in locked memory: not swapped, not in core dumps, not inherited by a fork, wiped when dropped.
///
/// There is deliberately no `Clone`, `Serialize`, `Deref` or `PartialEq`: every look at the bytes says [`Secret::expose`].
///
/// ```compile_fail
/// let s = touchlease::secret::Secret::zeroed(4).unwrap();
/// let copy = s.clone();
/// ```
///
/// ```compile_fail
/// let s = touchlease::secret::Secret::zeroed(4).unwrap();
/// serde_json::to_string(&s).unwrap();
/// ```
///
/// The same compiles where each look is said:
///
/// ```
/// let s = touchlease::secret::Secret::zeroed(4).unwrap();
/// let copy = s.duplicate().unwrap();
/// serde_json::to_string(s.expose()).unwrap();
/// ```
pub struct Secret(LockedBytes);

impl Secret {
    /// `len` zero bytes, to be filled through [`Secret::expose_mut`].
    ///
    /// # Errors
    /// The kernel refuses to lock more memory (`RLIMIT_MEMLOCK`): nothing secret is ever kept unlocked instead.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        LockedBytes::new(len).map(Self)
    }

    /// Moves `bytes` in: the source is wiped, whether or not this succeeds.
    ///
    /// # Errors
    /// As [`Secret::zeroed`].
    pub fn from_slice_wiping(bytes: &mut [u8]) -> io::Result<Self> {
        let secret = Self::zeroed(bytes.len()).map(|mut secret| {
            secret.expose_mut().copy_from_slice(bytes);
            secret
        });
        bytes.zeroize();
        secret
    }

    /// A second holder of the same bytes, said in full where it is needed.
    ///
    /// # Errors
    /// As [`Secret::zeroed`].
    pub fn duplicate(&self) -> io::Result<Self> {
        let mut copy = Self::zeroed(self.len())?;
        copy.expose_mut().copy_from_slice(self.expose());
        Ok(copy)
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The bytes, to be filled.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        self.0.as_mut_slice()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_slice().len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Secret {
    /// Says only that there is one: not even the length, which narrows a guess.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_source_is_wiped_when_a_secret_is_made_of_it() {
        let mut typed = *b"correct horse";
        let secret = Secret::from_slice_wiping(&mut typed).unwrap();
        assert_eq!(secret.expose(), b"correct horse");
        assert_eq!(typed, [0; 13]);
    }

    #[test]
    fn debug_output_shows_no_byte_and_no_length() {
        let secret = Secret::from_slice_wiping(&mut b"hunter2".to_vec()).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn an_empty_secret_and_one_over_a_page_both_work() {
        assert!(Secret::zeroed(0).unwrap().is_empty());
        let mut big = Secret::zeroed(10_000).unwrap();
        big.expose_mut()[9_999] = 7;
        assert_eq!(big.duplicate().unwrap().expose()[9_999], 7);
    }
}
