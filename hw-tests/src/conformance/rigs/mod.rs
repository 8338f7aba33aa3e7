//! The rigs.

mod in_process;
mod plugged;
mod real;

pub use in_process::InProcess;
pub use plugged::Plugged;
pub use real::Real;
