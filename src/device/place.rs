//! Where keys are plugged in, inserted or tapped.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::enrolled::Link;

/// What a worker opens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Port {
    /// A hidraw node.
    Node(PathBuf),
    /// A PC/SC reader, by its name.
    Reader(String),
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(path) => write!(f, "{}", path.display()),
            Self::Reader(name) => f.write_str(name),
        }
    }
}

/// One place and what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// What to open.
    pub port: Port,
    /// Changes with every plugging-in or insertion, not with a reset.
    pub plug: u64,
    /// How a key there is reached; in an empty reader, how one would most likely be.
    pub link: Link,
    /// What the device, or the reader, calls itself.
    pub model: String,
    /// The physical socket, the same after a replug: USB path or reader.
    pub socket: String,
    /// A reader without a card.
    pub empty: bool,
}
