//! What a lease gives, and in which form.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::encoding::SecretRef;
use crate::wire::signer::{CertificateAsk, TokenAsk};

/// The form in which a secret reaches a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// In the child's environment.
    Env,
    /// In a private file; the environment holds its path.
    File,
    /// As a token that is signed with it.
    Signer,
}

/// What happens to the children of `run` when the lease ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AtEnd {
    /// SIGTERM, and SIGKILL five seconds later.
    #[default]
    Terminate,
    /// SIGINT, as Ctrl-C, and SIGKILL five seconds later.
    Interrupt,
    /// SIGKILL.
    Kill,
}

/// One secret, and how it may be used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Which.
    pub secret: SecretRef,
    /// In which form.
    pub via: Via,
    /// Name of the variable that holds the value, the file's path, or the token. A token that is printed has none.
    pub env: Option<String>,
    /// What a token is to say.
    pub token: Option<TokenAsk>,
    /// What an SSH certificate is to say.
    pub certificate: Option<CertificateAsk>,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Env => "env",
            Self::File => "file",
            Self::Signer => "signer",
        })
    }
}

impl fmt::Display for AtEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "terminate",
            Self::Interrupt => "interrupt",
            Self::Kill => "kill",
        })
    }
}
