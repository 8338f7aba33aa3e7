//! The proxy: a worker process of the daemon that puts credentials into the requests which they are for, and into no others.

pub mod protocol;
