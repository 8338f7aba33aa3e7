//! The daemon: one per user, on one thread, and one that writes into vaults.

pub mod boot;
mod connection;
pub mod doctor;
mod exchanges;
mod forks;
pub mod house;
mod keys;
mod leases;
mod listener;
mod loans;
mod logins;
mod merges;
pub mod peer;
mod places;
mod proxied;
mod proxies;
mod scans;
mod scopes;
pub mod serve;
mod shelf;
mod signatures;
mod signers;
mod signing;
mod turns;
mod vaults;
