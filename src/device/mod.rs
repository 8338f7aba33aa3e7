//! Security keys: who is enrolled, and what a touch proves.

pub mod broker;
pub mod enrolled;
pub mod proof;
#[cfg(test)]
pub mod soft;
