//! From a request to a lease. Start at `issue`.

pub mod grant;
pub mod task;
