//! Credentials that are signed, not kept: what a touch makes, and nothing else can.
//!
//! Of the other rooms it knows [`crate::vault::Material`] alone: the one value that only a touch makes, and without which nothing here signs.

pub mod jwt;
pub mod key;
pub mod login;
pub mod self_signed;
pub mod ssh_cert;
pub mod ssh_signature;

pub use jwt::{Claims, MintError, Minter, Named};
pub use login::LoginKey;
pub use ssh_cert::{Certificate, CertificateError};
