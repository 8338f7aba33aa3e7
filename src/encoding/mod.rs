//! The byte forms that lease, vault and audit share.

pub mod access;
pub mod addresses;
pub mod digest;
pub mod es256;
pub mod exchange;
pub mod hpke;
pub mod id;
pub mod jcs;
pub mod jwk;
pub mod krl;
pub mod lines;
pub mod naming;
pub mod plain;
pub mod reference;
pub mod self_signed;
pub mod ssh_key;
pub mod ssh_session;
pub mod ssh_signed_data;
pub mod ssh_userauth;
pub mod sshsig;
pub mod target;
pub mod words;

pub use digest::Digest;
pub use reference::SecretRef;
