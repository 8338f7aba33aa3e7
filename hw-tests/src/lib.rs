//! Emulated security keys, and everything that tests touchlease.
//!
//! A key is real authenticator firmware on a software platform, a [`finger`] that the test moves, and a socket it is
//! plugged into: a packet socket in this process ([`hid_socket`]), the kernel's `/dev/uhid` ([`uhid`]), or a reader of a
//! private `pcscd` ([`vpcd`]). A test drives it through [`key::KeyHandle`], the same way in process and in another
//! program ([`control`]). [`stubs`] are the keys that misbehave.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "an emulated key lives in real time")]

pub mod apdu;
pub mod authenticator;
pub mod bus;
pub mod card;
pub mod conformance;
pub mod control;
pub mod ctap;
pub mod ctaphid;
pub mod faults;
pub mod finger;
pub mod harness;
pub mod hid_socket;
pub mod host;
pub mod key;
pub mod large;
pub mod piv;
mod platform;
pub mod rig;
pub mod stubs;
mod sync;
pub mod uhid;
pub mod vpcd;
