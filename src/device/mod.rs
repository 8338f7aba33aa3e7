//! Security keys: how they are found, asked, believed.
//!
//! ```text
//! broker (async, in the daemon) --socket pair--> worker (a process for each operation) --> ctap --> hid | nfc --> the key
//!    |                                                                                    `-> piv ----------------> the key
//!    `-- proof: the worker's raw answer becomes a Proof here, and nowhere else
//! ```

pub mod broker;
pub mod candidate;
pub mod ctap;
pub mod enrolled;
pub mod error;
pub mod eucleak;
pub mod find;
pub mod hid;
pub mod nfc;
pub mod pin_form;
pub mod piv;
pub mod place;
pub mod proof;
#[cfg(test)]
pub(crate) mod soft;
pub mod which;
pub mod worker;

pub use broker::Broker;
pub use enrolled::{Credential, EnrolledKey, KeyId, Link, Profile};
pub use error::DeviceError;
pub use pin_form::PinForm;
pub use place::{Place, Port};
pub use proof::{Proof, ProofError};
