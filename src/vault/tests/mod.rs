//! The vault as its callers see it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backup;
mod earlier;
mod earlier_attacks;
mod faults;
mod fork;
mod fork_attacks;
mod git;
mod health;
mod keys;
mod kit;
mod life;
mod older;
mod piv;
mod piv_attacks;
mod recover;
mod rig;
mod rotation;
mod scopes;
mod signers;
mod size;
mod tampering;
