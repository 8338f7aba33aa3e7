//! From a request to a lease. Start at `issue`.

pub mod grant;
pub mod requester;
pub mod task;
pub mod text;
