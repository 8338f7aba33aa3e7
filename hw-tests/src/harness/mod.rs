//! A machine for one test: a home of its own, a daemon, terminals, keys.

pub mod drawn;
mod home;
mod reach;
mod terminal;

pub use home::{AGENT, Daemon, Home};
pub use reach::{EmulatedReach, UsbKey};
pub use terminal::{Echo, ROWS, Terminal};
