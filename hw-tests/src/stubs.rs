//! Keys that misbehave.
//!
//! The lying ones stand between host and authenticator and alter one thing, so that everything else stays true
//! ([`liar`], [`impostor`]); [`recorder`] alters nothing and remembers. [`noise`] alters the packets of a HID device, or
//! adds another program's; [`scripts`] are HID devices without an authenticator; [`cards`] are cards without one. [`sensor`] behaves
//! well, and is here because no firmware crate has a fingerprint sensor.

pub mod cards;
pub mod impostor;
pub mod liar;
pub mod noise;
pub mod recorder;
pub mod scripts;
pub mod sensor;
