//! The exchange with OpenBao: a worker process of the daemon that logs in with a token which a touch signed, has what the lease names, and takes
//! OpenBao's token back when the lease ends, also when the daemon is gone.
//!
//! [`session`] is the page to read: from the signed token to what the command gets, and back. The token of the login never leaves the worker. What
//! is handed on is had with another one, a child of it (`auth/token/create`), which has the policies, the life and the number of requests that
//! the person saw, whatever the role gives; it and what was had with it end with the first.
//!
//! **To whom it speaks.** To the addresses in the signer's sealed rules, over TLS that leads to the roots there, and to nobody else: no redirect is
//! followed. Where one node is gone or has no leader to pass the request to, the next one is asked.
//!
//! **Where values are.** As in the proxy's worker: the HTTP and TLS libraries' buffers, and what their JSON is read into, are not wiped. The
//! process is not dumpable, leaves no core, and is gone with its lease.

pub mod client;
pub mod protocol;
pub mod session;
pub mod worker;

#[cfg(test)]
mod tests;
