//! What the daemon and the proxy's worker say to each other, in [frames](crate::worker::frame). Values and the session's bearers are in a
//! frame's tail only, never in its JSON.
//!
//! The daemon begins with [`Order::Open`], and the worker answers [`Report::Ready`] or [`Report::Failed`]. From then on either speaks
//! when it has to: each [`Order::Grant`] is answered by one [`Report::Granted`] or [`Report::NotGranted`], each [`Order::Revoke`] by one
//! [`Report::Revoked`], each [`Report::Use`] and each [`Report::Repeated`] by one [`Order::Answer`]. A worker whose daemon is gone is gone too.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The hidden subcommand of the worker.
pub const SUBCOMMAND: &str = "proxy-worker";
/// Characters of a bearer: 16 random bytes in lower-case hex.
pub const BEARER: usize = 32;
/// The user's name before the bearer in the proxy's URL, `http://x:BEARER@127.0.0.1:PORT`.
pub const USER: &str = "x";
/// Longest value that a proxy puts into a request, in bytes.
pub const LONGEST_VALUE: usize = 16 * 1024;
/// How long the worker keeps to itself that something was done again. With the time that the log's lines are grouped, less than a second.
pub const TOLD_WITHIN: Duration = Duration::from_millis(200);
/// How long a yes to the same holds from when the daemon was last asked or told something of the lease: by then everything is refused that
/// a daemon which does not answer any more, or has ended the lease, would refuse (P4).
pub const GOOD_FOR: Duration = Duration::from_millis(800);

/// What the daemon says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Order {
    /// The first frame. The tail is the bearers, of [`BEARER`] characters each: that of the proxy, then that of its reverse form.
    Open(Opening),
    /// A lease is live: its credentials go into requests from now on. The tail is the values, one after the other.
    Grant {
        /// Its id.
        lease: String,
        /// Its grants: the index of each is its place here.
        grants: Vec<GrantSpec>,
    },
    /// The lease ended: every connection that carries or carried its credentials is cut, its values are wiped.
    Revoke {
        /// Its id.
        lease: String,
    },
    /// The answer to [`Report::Use`] and to [`Report::Repeated`].
    Answer {
        /// Whose.
        seq: u64,
        /// What it is.
        verdict: Verdict,
    },
}

/// What holds for the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// What becomes of hosts that no lease names.
    pub network: Network,
    /// Certificates that are trusted at upstream hosts beside the system's, as PEM: from the configuration, and for tests.
    pub roots: Vec<String>,
    /// Whether the system's roots are trusted too.
    pub system_roots: bool,
    /// Hosts that leases of this session may come to name, where that is known: the session's CA is then constrained to them, and a lease
    /// for another one is not granted. Empty where it is not known.
    pub hosts: Vec<String>,
    /// Tasks that a lease can be asked for, for whoever wants a host that no lease names.
    pub offers: Vec<Offer>,
    /// The HTTP proxy through which hosts are reached, where the configuration names one.
    pub upstream: Option<Target>,
}

/// A task, and a host that it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Its name in the task file.
    pub task: String,
    /// One of its hosts.
    pub target: Target,
}

/// What becomes of hosts that no lease of the session names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// They are reached as without the proxy, through a tunnel that nobody looks into; never on this machine itself.
    Open,
    /// They are refused.
    GrantedOnly,
}

/// One credential, and where it may go: the sealed rules of the secret, narrowed by the task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantSpec {
    /// The secret's name, as it stands in masks and messages.
    pub secret: String,
    /// Bytes of its value in the tail; 1 to [`LONGEST_VALUE`], all of them visible ASCII or spaces within.
    pub value_len: usize,
    /// The hosts, at least one.
    pub targets: Vec<Target>,
    /// Where in a request.
    pub place: Place,
    /// Methods in upper case; all of them where there is none.
    pub methods: Vec<String>,
    /// Patterns of paths (see [`rules`](super::rules)); all of them where there is none.
    pub paths: Vec<String>,
    /// Whether a host's name may stand for an address of a private network (RFC 1918, RFC 4193, RFC 6598). Loopback and link-local ones
    /// are reached only where a target is that address, or `localhost`, itself.
    pub allow_private: bool,
}

/// A host that a credential may be sent to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// How.
    pub scheme: Scheme,
    /// Its name in lower case and punycode, its IPv4 address, or its IPv6 address in brackets. No port.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// With TLS.
    Https,
    /// Without: only where the sealed rules say so.
    Http,
}

/// Where in a request a credential goes. The client puts the placeholder there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Place {
    /// In a header, after a prefix such as `Bearer `. In `authorization`, the client may write `Basic` with the placeholder as password,
    /// too, as git does with tokens.
    Header {
        /// Its name, lower case.
        name: String,
        /// What comes before the value.
        prefix: String,
    },
    /// As the password of `Authorization: Basic`.
    Basic {
        /// The only user that the client may name; any, where there is none.
        user: Option<String>,
    },
    /// As the value of a parameter of the query.
    Query {
        /// Its name.
        name: String,
    },
    /// As the value of a cookie.
    Cookie {
        /// Its name.
        name: String,
    },
}

/// A use of a lease, by what of the request stands in the log. The same once more is another use of the same kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// The grant.
    pub index: usize,
    /// The request's method.
    pub method: String,
    /// Host, with the port where it is not the scheme's.
    pub host: String,
    /// The raw path, without the query.
    pub path: String,
}

/// How often something was done again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Again {
    /// What.
    pub used: Use,
    /// How often since it was last told; at least once.
    pub times: u32,
}

/// Whether a use may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// This one: it is counted and in the log, on the disk.
    Go,
    /// It is in the log, and the lease has no limit of uses: the same may be done again without a question, as long as it is told soon.
    GoOn,
    /// The lease is no more.
    Gone,
    /// Its uses are.
    UsedUp,
    /// The log cannot be written: what is not in it does not happen.
    Unrecorded,
}

/// What the worker says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Report {
    /// It listens.
    Ready {
        /// On 127.0.0.1, at this port.
        port: u16,
        /// The session's CA, as PEM.
        ca_pem: String,
    },
    /// The last word: it cannot.
    Failed {
        /// Why, as a sentence.
        why: String,
    },
    /// A lease's placeholders, in the order of its grants.
    Granted {
        /// The lease.
        lease: String,
        /// Looks like the value, of which it has nothing but a publicly known prefix.
        placeholders: Vec<String>,
    },
    /// A lease whose grants are not sound: none of them is in force.
    NotGranted {
        /// The lease.
        lease: String,
        /// The grant.
        index: usize,
        /// Why, as a sentence.
        why: String,
    },
    /// The lease's values are wiped and its connections cut.
    Revoked {
        /// The lease.
        lease: String,
    },
    /// A credential is about to be put into a request, which waits for the answer.
    Use {
        /// To tell answers apart.
        seq: u64,
        /// The lease.
        lease: String,
        /// What for.
        used: Use,
    },
    /// What was done again of what the daemon let [go on](Verdict::GoOn). It is told within [`TOLD_WITHIN`], and before [`Report::Revoked`].
    Repeated {
        /// As in [`Report::Use`].
        seq: u64,
        /// The lease.
        lease: String,
        /// Each kind once. None where the question is only whether the lease still is.
        again: Vec<Again>,
    },
    /// An answer had the value in it, and went on masked. Once for each answer and grant.
    Echoed {
        /// The lease.
        lease: String,
        /// The grant.
        index: usize,
        /// The host that sent it.
        host: String,
    },
    /// A request with a placeholder was refused.
    Refused {
        /// The lease whose placeholder it was, and its grant, where that is known.
        grant: Option<(String, usize)>,
        /// The reason's code, as in the answer that the client got.
        reason: String,
        /// The request's method.
        method: String,
        /// Where it was for.
        host: String,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::secret::Secret;
    use crate::worker::frame::{read_frame, write_frame};

    #[test]
    fn a_value_is_in_the_tail_and_nowhere_in_the_json() {
        let order = Order::Grant {
            lease: "L".into(),
            grants: vec![GrantSpec {
                secret: "prod/TOKEN".into(),
                value_len: 5,
                targets: vec![Target {
                    scheme: Scheme::Https,
                    host: "a.example".into(),
                    port: 443,
                }],
                place: Place::Basic { user: None },
                methods: vec!["GET".into()],
                paths: vec![],
                allow_private: false,
            }],
        };
        let mut wire = Vec::new();
        write_frame(&mut wire, &order, b"v4lue").unwrap();
        let (same, tail): (Order, Secret) = read_frame(&wire[..]).unwrap();
        assert_eq!((same, tail.expose()), (order, &b"v4lue"[..]));
        assert!(wire.ends_with(b"v4lue") && wire.windows(5).filter(|part| part == b"v4lue").count() == 1);
    }

    #[test]
    fn words_that_nobody_agreed_on_are_errors() {
        for json in [
            r#"{"Open":{"network":"open","roots":[],"system_roots":true}}"#,
            r#"{"Open":{"network":"shut","roots":[],"system_roots":true,"hosts":[]}}"#,
            r#"{"Revoke":{"lease":"L","soon":true}}"#,
            r#"{"Answer":{"seq":-1,"verdict":"Go"}}"#,
        ] {
            assert!(serde_json::from_str::<Order>(json).is_err(), "{json}");
        }
    }
}
