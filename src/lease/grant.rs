//! What a lease gives, and in which form.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::encoding::SecretRef;
use crate::encoding::target::{Host, TargetError, check_method, check_pattern, covers};
use crate::vault::Rules;
use crate::wire::signer::{CertificateAsk, SignatureAsk, TokenAsk};

/// The form in which a secret reaches a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// In the child's environment.
    Env,
    /// In a private file; the environment holds its path.
    File,
    /// Put into requests by the daemon's proxy; the environment holds a placeholder.
    Proxy,
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
    /// Name of the variable that holds the value, the file's path, the placeholder or the token. A token that is printed has none.
    pub env: Option<String>,
    /// What a token is to say.
    pub token: Option<TokenAsk>,
    /// What an SSH certificate is to say.
    pub certificate: Option<CertificateAsk>,
    /// What an SSH signature is to be over.
    pub signature: Option<SignatureAsk>,
    /// Where the proxy may send it; empty for the other forms.
    pub target: Target,
}

/// Where the proxy may send a secret. In a task: what is not named is as the rules sealed with the secret have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Target {
    /// Hosts, ascending.
    pub hosts: Vec<String>,
    /// Methods, ascending; none for any.
    pub methods: Vec<String>,
    /// Patterns of paths, ascending; none for any.
    pub paths: Vec<String>,
}

impl Target {
    /// Checks each word, and puts them in order.
    ///
    /// # Errors
    /// The first that names nothing, and why.
    pub fn new(hosts: Vec<String>, methods: Vec<String>, paths: Vec<String>) -> Result<Self, String> {
        let wrong = |what: &str, error: TargetError| format!("{what:?}: {error}");
        for host in &hosts {
            host.parse::<Host>().map_err(|error| wrong(host, error))?;
        }
        for method in &methods {
            check_method(method).map_err(|error| wrong(method, error))?;
        }
        for path in &paths {
            check_pattern(path).map_err(|error| wrong(path, error))?;
        }
        let in_order = |words: Vec<String>| words.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        Ok(Self {
            hosts: in_order(hosts),
            methods: in_order(methods),
            paths: in_order(paths),
        })
    }

    /// Whether it names nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.methods.is_empty() && self.paths.is_empty()
    }

    /// What a lease gives: what is not named here is as `rules` have it.
    #[must_use]
    pub fn within(self, rules: &Rules) -> Self {
        let or = |named: Vec<String>, sealed: &BTreeSet<String>| {
            if named.is_empty() {
                sealed.iter().cloned().collect()
            } else {
                named
            }
        };
        Self {
            hosts: or(self.hosts, &rules.hosts),
            methods: or(self.methods, &rules.methods),
            paths: or(self.paths, &rules.paths),
        }
    }

    /// The first thing in which it is wider than `rules`, as what is asked for and what is allowed. A task can only narrow.
    #[must_use]
    pub fn wider_than(&self, rules: &Rules) -> Option<(String, String)> {
        let same = |sealed: &String, host: &String| sealed.parse::<Host>().is_ok_and(|sealed| host.parse() == Ok(sealed));
        let allowed = |what: &str, words: &BTreeSet<String>| format!("{what} {}", words.iter().cloned().collect::<Vec<_>>().join(" "));
        if let Some(host) = self.hosts.iter().find(|host| !rules.hosts.iter().any(|sealed| same(sealed, host))) {
            return Some((format!("the host {host}"), allowed("hosts", &rules.hosts)));
        }
        let method = self.methods.iter().find(|method| !rules.methods.contains(*method));
        if let Some(method) = method.filter(|_| !rules.methods.is_empty()) {
            return Some((format!("the method {method}"), allowed("methods", &rules.methods)));
        }
        let path = self
            .paths
            .iter()
            .find(|path| !rules.paths.iter().any(|sealed| covers(sealed, path)));
        path.filter(|_| !rules.paths.is_empty())
            .map(|path| (format!("the path {path}"), allowed("paths", &rules.paths)))
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Env => "env",
            Self::File => "file",
            Self::Proxy => "proxy",
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn target(hosts: &[&str], methods: &[&str], paths: &[&str]) -> Result<Target, String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Target::new(words(hosts), words(methods), words(paths))
    }

    fn rules() -> Rules {
        Rules {
            methods: ["GET".to_owned(), "PUT".to_owned()].into(),
            paths: ["/v4/accounts/*".to_owned(), "/status".to_owned()].into(),
            ..Rules::for_hosts(&["api.example.com", "localhost:8443", "http://localhost:8080"])
        }
    }

    #[test]
    fn p7_a_task_narrows_what_is_sealed_and_what_it_does_not_name_is_as_it_is_sealed() {
        let all = Target::default().within(&rules());
        assert_eq!(all.hosts.len(), 3);
        assert_eq!((all.methods.len(), all.paths.len()), (2, 2));
        assert_eq!(all.wider_than(&rules()), None);
        for narrow in [
            target(&["api.example.com"], &["GET"], &["/v4/accounts/7"]),
            target(&["api.example.com:443"], &[], &["/v4/accounts/*/pages", "/status"]),
            target(&["http://localhost:8080"], &[], &[]),
        ] {
            assert_eq!(narrow.unwrap().within(&rules()).wider_than(&rules()), None);
        }
    }

    #[test]
    fn p7_the_first_thing_that_is_wider_is_named() {
        for (wide, asked) in [
            (target(&["api.example.com", "evil.example"], &[], &[]), "the host evil.example"),
            (target(&["localhost:8080"], &[], &[]), "the host localhost:8080"),
            (target(&["api.example.com:8443"], &[], &[]), "the host api.example.com:8443"),
            (
                target(&["http://api.example.com:443"], &[], &[]),
                "the host http://api.example.com:443",
            ),
            (target(&[], &["DELETE", "GET"], &[]), "the method DELETE"),
            (target(&[], &[], &["/v4/accounts"]), "the path /v4/accounts"),
            (target(&[], &[], &["/*"]), "the path /*"),
            (target(&[], &[], &["/v4/*/accounts"]), "the path /v4/*/accounts"),
        ] {
            let wider = wide.unwrap().within(&rules()).wider_than(&rules());
            assert_eq!(wider.unwrap().0, asked);
        }
    }

    #[test]
    fn t31_words_that_name_no_host_method_or_path_are_refused() {
        for wrong in [
            target(&["*.example.com"], &[], &[]),
            target(&["API.example.com"], &[], &[]),
            target(&["b\u{fc}cher.example"], &[], &[]),
            target(&[], &["get"], &[]),
            target(&[], &[], &["/a/../b"]),
        ] {
            assert!(wrong.is_err(), "{wrong:?}");
        }
    }
}
