//! touchlease lends a credential for one task after a touch on a security key.
//!
//! Secrets stay sealed to hardware keys. Somebody asks for a *lease* (these credentials, this task, this long); a touch on an
//! enrolled key approves exactly what was shown, unseals it, and signs it, all in one assertion. When the lease ends, the access ends.
//!
//! Arrows point down only:
//!
//! ```text
//! cli -> client -> wire <- daemon -> lease -> { presence, device, vault, mint, audit }
//!                                    deliver -> (knows no daemon: env in the cli process, proxy and OpenBao in workers of the daemon's)
//!                        worker: what the processes of keys and proxies have in common
//!                        config, encoding, finding, paths, secret, clock, sys: under everybody
//! ```
//!
//! `lease` and `presence` use the types of `wire` too: what a person is shown and what is refused are the same words everywhere.
//!
//! Start reading at [`lease::issue`]: the path from a request to a lease is that one function. `lease/collapse.rs` stands before it (a
//! live lease that fits is joined without a touch), `daemon/leases.rs` behind it (the values go out, and the log says `used`).

pub mod audit;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod deliver;
pub mod device;
pub mod encoding;
pub mod finding;
pub mod lease;
pub mod mint;
pub mod paths;
pub mod presence;
pub mod secret;
pub mod sys;
pub mod vault;
pub mod wire;
pub mod worker;
