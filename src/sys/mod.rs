//! The only place where `unsafe` lives: system calls that no safe wrapper offers. Each block says why it is sound.

pub mod account;
pub mod arena;
pub mod arrived;
pub mod child;
pub mod client;
pub mod disk;
pub mod file;
pub mod health;
pub mod held;
mod late;
pub mod memory;
pub mod pass;
pub mod process;
pub mod signals;
pub mod spawn;
pub mod stack;
pub mod start;
pub mod wait;
pub mod walls;
