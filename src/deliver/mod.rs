//! Delivery: the form in which a lease reaches a program.

pub mod agent;
pub mod env;
pub mod hook;
pub mod mask;
pub mod openbao;
pub mod proxy;
pub mod scan;
pub mod ssh_agent;
pub mod ssh_client;
