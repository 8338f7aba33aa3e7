//! Where randomness comes from: an argument, so that tests can bring their own.

use getrandom::SysRng;
use hpke::rand_core::{CryptoRng, UnwrapErr};

use super::bytes::Hex;

/// A source of cryptographic randomness.
pub type Random = dyn CryptoRng;

/// The operating system's source (`getrandom(2)`), which on Linux fails only before it was ever seeded.
#[must_use]
pub fn system() -> impl CryptoRng {
    UnwrapErr(SysRng)
}

/// `N` fresh bytes.
pub fn bytes<const N: usize>(random: &mut Random) -> [u8; N] {
    let mut out = [0; N];
    random.fill_bytes(&mut out);
    out
}

/// A fresh name.
pub fn id<const N: usize>(random: &mut Random) -> Hex<N> {
    Hex(bytes(random))
}
