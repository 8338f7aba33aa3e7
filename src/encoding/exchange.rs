//! Where the tokens of a signer are exchanged, and for what: OpenBao's side of it, as it is sealed with the signer, asked for and shown.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::plain::{check_line, check_variable};
use super::target::Host;

/// Scheme of every address.
const HTTPS: &str = "https://";
/// Most addresses of one cluster.
const MOST_ADDRESSES: usize = 9;
/// Most certificates, and the longest of them in DER.
const MOST_ROOTS: usize = 2;
const LONGEST_ROOT: usize = 2048;
/// Most policies, and paths.
const MOST: usize = 64;
/// Most requests that a token may be good for.
const MOST_USES: u32 = 10_000;
const LONGEST_NAME: usize = 128;
const LONGEST_PATH: usize = 256;
/// Most things that are fetched in one exchange, and parameters of one.
const MOST_FETCHED: usize = 16;
/// Longest parameter: a public key of SSH is one.
const LONGEST_PARAMETER: usize = 2048;
/// Mounts of OpenBao's own, under which tokens and policies are made.
const OWN_MOUNTS: [&str; 2] = ["auth", "sys"];

/// Where tokens of a signer are exchanged, and for what at most. Sealed with the signer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Nodes of one cluster, each `https://HOST` or `https://HOST:PORT`.
    pub addresses: BTreeSet<String>,
    /// Certificates that theirs have to lead to, base64url of DER; the system's roots when there is none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ca: BTreeSet<String>,
    /// Where `auth/jwt` is mounted, without `auth/` in front.
    pub mount: String,
    /// What may be read or written to have credentials: paths without `/v1/` in front.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub paths: BTreeSet<String>,
    /// The policies that every token has, and no others.
    pub policies: BTreeSet<String>,
    /// The role that lets in.
    pub role: String,
    /// For how many requests a token may be that a command gets; none where no command gets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_uses: Option<u32>,
}

/// What one exchange is for: credentials, which are fetched at once, or a token for the command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// What is fetched, in this order; the command gets a token where there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fetch: Vec<Fetch>,
    /// Whether credentials come as private files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub files: bool,
    /// For how many requests the command's token is good; as the rules have it where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
}

/// One request for credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// In front of the names of the variables that hold what comes.
    pub name: String,
    /// The path.
    pub path: String,
    /// What is written; it is read where there is nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, String>,
}

impl Exchange {
    /// The first contradiction, if there is one.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let some = |texts: &BTreeSet<String>, most: usize, is: fn(&str) -> bool| {
            (1..=most).contains(&texts.len()) && texts.iter().all(|text| is(text))
        };
        let faults = [
            (
                !some(&self.addresses, MOST_ADDRESSES, is_address),
                "an exchange has 1 to 9 addresses, each https://HOST or https://HOST:PORT, in lower case and in punycode",
            ),
            (
                self.ca.len() > MOST_ROOTS || !self.ca.iter().all(|text| root(text).is_some()),
                "an exchange has up to 2 certificates that the servers' lead to",
            ),
            (
                !is_path(&self.mount) || !is_word(&self.role),
                "an exchange has a mount and a role: letters, digits and . _ -, with / between the parts of a mount",
            ),
            (
                self.paths.len() > MOST || !self.paths.iter().all(|path| is_fetched(path)),
                "an exchange has up to 64 paths, of letters, digits and . _ - with / between, and none below auth/ or sys/",
            ),
            (
                !some(&self.policies, MOST, |policy| is_word(policy) && policy != "root"),
                "an exchange has 1 to 64 policies, letters, digits and . _ -, and never root",
            ),
            (
                self.token_uses.is_some_and(|uses| !(1..=MOST_USES).contains(&uses)),
                "a token that a command gets is for 1 to 10000 requests",
            ),
            (
                self.paths.is_empty() && self.token_uses.is_none(),
                "an exchange gives a token, or credentials of some paths, or both",
            ),
        ];
        faults.into_iter().find_map(|(wrong, fault)| wrong.then_some(fault))
    }

    /// The certificates that the servers' have to lead to, in DER.
    #[must_use]
    pub fn roots(&self) -> Vec<Vec<u8>> {
        self.ca.iter().filter_map(|text| root(text)).collect()
    }
}

impl Fetch {
    /// The first thing in it that cannot be, if there is one.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let parameter = |(name, value): (&String, &String)| {
            is_word(name) && !value.is_empty() && check_line("the parameter", value, LONGEST_PARAMETER).is_ok()
        };
        let faults = [
            (check_variable(&self.name).is_err(), "the name in front of = is that of a variable"),
            (
                !is_fetched(&self.path),
                "a path has letters, digits and . _ - with / between, and is not below auth/ or sys/",
            ),
            (
                self.with.len() > MOST_FETCHED || !self.with.iter().all(parameter),
                "a parameter is NAME=VALUE, one visible line",
            ),
        ];
        faults.into_iter().find_map(|(wrong, fault)| wrong.then_some(fault))
    }

    /// Whether it writes.
    #[must_use]
    pub fn writes(&self) -> bool {
        !self.with.is_empty()
    }
}

impl Wanted {
    /// The first thing in it that cannot be, if there is one.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let names: BTreeSet<&String> = self.fetch.iter().map(|fetch| &fetch.name).collect();
        let faults = [
            (self.fetch.len() > MOST_FETCHED, "one exchange fetches 16 things at most"),
            (names.len() != self.fetch.len(), "each thing that is fetched has a name of its own"),
            (
                !self.fetch.is_empty() && self.uses.is_some(),
                "a limit of requests is for a token that the command gets",
            ),
            (self.fetch.is_empty() && self.files, "files are for what is fetched"),
        ];
        let own = faults.into_iter().find_map(|(wrong, fault)| wrong.then_some(fault));
        own.or_else(|| self.fetch.iter().find_map(Fetch::fault))
    }
}

/// Host and port of an address.
#[must_use]
pub fn host_of(address: &str) -> Option<Host> {
    let host: Host = address.strip_prefix(HTTPS)?.parse().ok()?;
    (!host.plain).then_some(host)
}

/// The host of an address has one form (T31), so two addresses are never the same one.
fn is_address(address: &str) -> bool {
    host_of(address).is_some_and(|host| format!("{HTTPS}{host}") == address)
}

fn root(text: &str) -> Option<Vec<u8>> {
    let der = BASE64URL_NOPAD
        .decode(text.as_bytes())
        .ok()
        .filter(|der| der.len() <= LONGEST_ROOT)?;
    Certificate::from_der(&der).ok().map(|_| der)
}

fn is_word(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('.') && !text.starts_with('-')
}

fn is_path(text: &str) -> bool {
    text.len() <= LONGEST_PATH && text.split('/').all(is_word)
}

/// Nothing that is fetched is a token, nor a change of what tokens may do: OpenBao's policies say so too, and this does not lean on them.
fn is_fetched(path: &str) -> bool {
    is_path(path)
        && path
            .split('/')
            .next()
            .is_some_and(|mount| !OWN_MOUNTS.contains(&mount.to_ascii_lowercase().as_str()))
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A sound one.
    pub(crate) fn exchange() -> Exchange {
        Exchange {
            addresses: ["https://bao-1.example:8200".into(), "https://bao-2.example:8200".into()].into(),
            ca: BTreeSet::new(),
            mount: "jwt".into(),
            paths: ["secret/data/app".into(), "ssh/issue/deploy".into()].into(),
            policies: ["app".into()].into(),
            role: "deploy".into(),
            token_uses: Some(2),
        }
    }

    fn with(change: impl FnOnce(&mut Exchange)) -> bool {
        let mut one = exchange();
        change(&mut one);
        one.fault().is_none()
    }

    #[test]
    fn t31_an_exchange_is_with_hosts_that_are_named_in_their_one_form_and_over_tls() {
        assert!(with(|_| {}));
        for address in ["https://127.0.0.1:8200", "https://[::1]:8200", "https://bao.example"] {
            assert!(with(|one| one.addresses = [address.into()].into()), "{address}");
        }
        for address in [
            "",
            "bao.example",
            "http://bao.example:8200",
            "https://bao.example/",
            "https://bao.example:443",
            "https://BAO.example",
            "https://u@bao.example",
            "https://bao.example:8200/v1",
            "https://http://bao.example:8200",
            "https://",
        ] {
            assert!(!with(|one| one.addresses = [address.into()].into()), "{address}");
        }
        assert!(!with(|one| one.addresses.clear()));
    }

    #[test]
    fn t29_paths_roles_and_policies_have_no_tricks_and_none_makes_tokens() {
        for path in ["database/creds/app", "kv/data/a.b/c_d-e"] {
            assert!(with(|one| one.paths = [path.into()].into()), "{path}");
        }
        for path in [
            "",
            "/secret",
            "secret/",
            "a//b",
            "a/../b",
            "a/./b",
            "a?b",
            "a b",
            "a%2fb",
            "auth/token/create",
            "sys/policies",
            "Sys/x",
            "a/-x",
        ] {
            assert!(!with(|one| one.paths = [path.into()].into()), "{path}");
        }
        for wrong in ["", "a/b", "..", "a b", "\u{202e}"] {
            assert!(!with(|one| one.role = wrong.into()), "{wrong:?}");
            assert!(!with(|one| one.policies = [wrong.to_owned()].into()), "{wrong:?}");
        }
        assert!(!with(|one| one.policies = ["app".into(), "root".into()].into()));
        assert!(!with(|one| one.policies.clear()));
        assert!(!with(|one| one.token_uses = Some(0)));
        assert!(!with(|one| (one.token_uses, one.paths) = (None, BTreeSet::new())));
        assert!(!with(|one| one.ca = ["AAAA".into()].into()));
    }

    #[test]
    fn what_is_fetched_has_a_name_of_its_own_and_no_limit_that_is_a_tokens() {
        let fetch = |name: &str| Fetch {
            name: name.into(),
            path: "secret/data/app".into(),
            with: BTreeMap::new(),
        };
        let fault = |wanted: Wanted| wanted.fault().is_some();
        let of = |fetch: Vec<Fetch>| Wanted {
            fetch,
            ..Wanted::default()
        };
        assert!(!fault(Wanted::default()) && !fault(of(vec![fetch("A"), fetch("B")])));
        assert!(fault(of(vec![fetch("A"), fetch("A")])) && fault(of(vec![fetch("1")])) && fault(of(vec![fetch("A"); 17])));
        assert!(fault(Wanted {
            uses: Some(1),
            ..of(vec![fetch("A")])
        }));
        assert!(fault(Wanted {
            files: true,
            ..Wanted::default()
        }));
        for (name, value) in [("a", "x\ny"), ("a", ""), ("a b", "x")] {
            let with = [(name.to_owned(), value.to_owned())].into();
            assert!(fault(of(vec![Fetch { with, ..fetch("A") }])), "{name} {value:?}");
        }
    }
}
