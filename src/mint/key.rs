//! Private keys of sealed signers: how they are made.

use std::io;

use crate::encoding::jwk::{Algorithm, PublicKey};
use crate::secret::Secret;
pub use crate::secret::signing_key::public_of;
use crate::vault::signer::PRIVATE;

/// Draws of a P-256 scalar before the source of randomness is taken for broken: one in 2^32 is out of range.
const DRAWS: u32 = 8;

/// A fresh private key in locked memory, and its public half. `fill` brings fresh random bytes.
///
/// # Errors
/// No locked memory; a source of randomness that repeats what is no key.
pub fn generate(algorithm: Algorithm, fill: &mut dyn FnMut(&mut [u8])) -> io::Result<(Secret, PublicKey)> {
    let mut private = Secret::zeroed(PRIVATE)?;
    for _ in 0..DRAWS {
        fill(private.expose_mut());
        if let Some(public) = public_of(algorithm, private.expose()) {
            return Ok((private, public));
        }
    }
    Err(io::Error::other("the random bytes are no private key"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_draw_that_is_no_scalar_is_drawn_again_and_a_dead_source_is_an_error() {
        let mut draws = 0;
        let (_, public) = generate(Algorithm::Es256, &mut |bytes| {
            draws += 1;
            bytes.fill(if draws == 1 { 0xff } else { 7 });
        })
        .unwrap();
        assert_eq!((draws, public), (2, public_of(Algorithm::Es256, &[7; 32]).unwrap()));
        assert!(generate(Algorithm::Es256, &mut |bytes| bytes.fill(0)).is_err());
    }
}
