//! Security keys: how they are found, asked, believed.

pub mod ctap;
pub mod find;
pub mod hid;
pub mod nfc;
