//! The parsers of touchlease with nothing else of it, and what has to hold for each whatever bytes it gets.
//!
//! The modules up to [`wire`] are the product's own files, taken in by their paths: no daemon, no command line, no reader of cards.
//! Each of the [`targets`] runs one parser over arbitrary bytes and asserts that what parses is written back as the same bytes, and
//! that memory stays within a factor of the input ([`meter`]). What they are fed first ([`samples`]) is made by the product's writers.
#![allow(
    dead_code,
    unused_imports,
    reason = "the product's files are taken in whole, and only what parses is called"
)]

#[path = "../../../src/audit"]
pub mod audit {
    pub mod clock_rule;
    pub mod error;
    pub mod event;
    pub mod file;
    pub mod log;
    pub mod read;
    pub mod receipt;
    pub mod record;
    pub mod report;
    pub mod testing;
    pub mod verify;

    pub use error::AuditError;
    pub use event::Event;
    pub use receipt::Receipt;
    pub use record::Line;
    pub use report::Report;
    pub use verify::{SignerKey, verify};
}
/// Readers of other programs' files.
#[path = "../../../src/cli"]
pub mod cli {
    pub mod dotenv;
    pub mod env_file;
    #[path = "import"]
    pub mod import {
        pub mod cost;
        pub mod env;
        pub mod onepux;
        pub mod source;
    }
    #[path = "issuer"]
    pub mod issuer {
        pub mod check;

        /// What `check` holds against what is served: no parser makes it.
        pub mod documents {
            use std::collections::BTreeMap;

            use serde_json::Value;

            /// What verifiers read of an issuer.
            pub struct Documents {
                /// The discovery document.
                pub configuration: Value,
                /// Its keys, by their names.
                pub keys: BTreeMap<String, Value>,
            }

            /// Whose key it is.
            pub struct Whose;

            impl Documents {
                /// Nobody's.
                #[must_use]
                pub fn whose(&self, _kid: &str) -> Option<&Whose> {
                    None
                }
            }

            impl Whose {
                /// In words.
                #[must_use]
                pub fn in_words(&self) -> String {
                    String::new()
                }
            }
        }
    }
    #[path = "scan"]
    pub mod scan {
        pub mod objects;
    }
}
#[path = "../../../src/clock.rs"]
pub mod clock;
#[path = "../../../src/config.rs"]
pub mod config;
/// The mask, and of the proxy what reads requests and answers.
#[path = "../../../src/deliver"]
pub mod deliver {
    pub mod mask;
    #[path = "proxy"]
    pub mod proxy {
        pub mod address;
        pub mod book;
        pub mod decode;
        pub mod form;
        pub mod handshake;
        pub mod hosts;
        pub mod inject;
        pub mod placeholder;
        pub mod prefix;
        pub mod protocol;
        pub mod refuse;
        pub mod rules;
    }
    pub mod ssh_agent;
}
#[path = "../../../src/device"]
pub mod device {
    pub mod candidate;
    pub mod ctap;
    pub mod enrolled;
    pub mod find;
    pub mod hid;
    #[path = "nfc"]
    pub mod nfc {
        pub mod applet;
    }
    #[path = "piv"]
    pub mod piv {
        pub mod attestation;
        pub mod said;
        pub use said::{Occupied, References, Seen, Setup};
    }
    pub mod place;
    pub mod proof;
    pub mod soft;
    pub mod which;
    #[path = "worker"]
    pub mod worker {
        pub mod protocol;
    }

    pub use enrolled::{Credential, EnrolledKey, KeyId, Link, Profile};
    pub use proof::Proof;
}
#[path = "../../../src/encoding/mod.rs"]
pub mod encoding;
#[path = "../../../src/finding.rs"]
pub mod finding;
#[path = "../../../src/lease"]
pub mod lease {
    pub mod grant;
    pub mod requester;
    pub mod task;
    pub mod text;
}
/// What `lease::requester` names and no parser looks at.
pub mod presence {
    /// Where a process stands towards screens.
    #[derive(Clone, Debug)]
    pub struct Whereabouts;
}
#[path = "../../../src/mint/mod.rs"]
pub mod mint;
#[path = "../../../src/secret/mod.rs"]
pub mod secret;
#[path = "../../../src/sys"]
pub mod sys {
    pub mod arena;
    pub mod disk;
    pub mod file;
    pub mod held;
    pub mod memory;
    pub mod stack;
    pub mod wait;
}
#[path = "../../../src/vault/mod.rs"]
pub mod vault;
#[path = "../../../src/wire/mod.rs"]
pub mod wire;
#[path = "../../../src/worker"]
pub mod worker {
    pub mod frame;
}

pub mod meter;
pub mod samples;
pub mod targets;
