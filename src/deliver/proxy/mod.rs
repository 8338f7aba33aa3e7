//! The proxy: a worker process of the daemon that puts credentials into the requests which they are for, and into no others. A client has
//! the proxy's address, with the session's bearer in it, and placeholders; no value is ever in its process.
//!
//! What the worker knows are messages ([`protocol`]): no vault, no lease's life, no daemon. [`exchange`] is the page to read: one request
//! from the client's words to the host's answer. Beside it, [`rules`] says whether a credential may go with a request, [`uses`] whether now,
//! [`inject`] where in it, [`address`] and [`upstream`] to whom, [`answer`] what comes back.
//!
//! **What is not in it.** HTTP/2 without TLS, WebSockets within HTTP/2 (RFC 8441), and any other change of the protocol, towards hosts that are
//! looked into. Hosts that are not have all of it, through their tunnels.
//!
//! **Where values are.** In locked memory; as forms to be masked on the heap, wiped behind them; and, for as long as a request with one is
//! written, in the HTTP library's and the TLS library's buffers, which are not wiped. The process is not dumpable, leaves no core, and is
//! gone with its session.

pub mod address;
pub mod answer;
pub mod beyond;
pub mod book;
pub mod ca;
pub mod decode;
mod entrance;
pub mod exchange;
pub mod form;
pub mod front;
pub mod h2;
pub mod handshake;
pub mod hosts;
pub mod idle;
pub mod inject;
pub mod kinds;
pub mod names;
mod peer;
pub mod placeholder;
pub mod prefix;
pub mod protocol;
pub mod refuse;
pub mod reverse;
pub mod rules;
pub mod scan;
pub mod session;
pub mod timer;
pub mod tunnel;
pub mod upstream;
pub mod uses;
pub mod ways;
pub mod websocket;
pub mod worker;

#[cfg(test)]
mod tests;
