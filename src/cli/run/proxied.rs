//! What a command needs to go through the proxy: variables, and a file of the certificates that it is to trust.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::super::mcp::claims::SESSION;
use super::Plain;
use crate::deliver::env::Certificates;
use crate::encoding::Digest;
use crate::wire::reply::ProxyView;

/// The names under which programs look for a proxy. Some read one case only, and curl reads `http_proxy` in lower case only.
const PROXY: [&str; 6] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// Node 24 and newer take the variables above only then.
const NODE: &str = "NODE_USE_ENV_PROXY";
/// What URLs begin with for clients that know no proxy; scheme, host and path follow.
const BASE: &str = "TOUCHLEASE_BASE_URL";
/// The names under which programs look for a file of certificates: OpenSSL, Go and rustls; Node; Python's requests; curl; git; the AWS and
/// Google Cloud command lines; pip; httplib2; gRPC; Nix; Deno.
const FILES: [&str; 12] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "HTTPLIB2_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NIX_SSL_CERT_FILE",
    "DENO_CERT",
];
const FOLDER: &str = "SSL_CERT_DIR";
/// Where systems keep them in one file: Debian, Fedora, openSUSE, older Red Hat, newer Red Hat, Alpine.
const SYSTEM: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// This machine's own names, which the proxy does not pass on to.
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const LARGEST: u64 = 8 << 20;

/// What goes through the proxy, and what a person should know of it.
pub struct Proxied {
    /// Variables that are no secrets: a placeholder opens nothing, and the proxy's password nothing once the command has ended.
    pub plain: Plain,
    /// Certificates.
    pub certificates: Certificates,
    /// What to say first.
    pub notes: Vec<String>,
}

/// The environment of a command behind this proxy. `variable` reads this process's own.
pub fn behind(view: &ProxyView, variable: &dyn Fn(&str) -> Option<OsString>) -> Proxied {
    let bearer = String::from_utf8_lossy(view.bearer.0.expose());
    let url = format!("http://x:{bearer}@127.0.0.1:{}", view.port);
    let is_granted = |name: &&str| view.hosts.iter().any(|host| is_of(host, name));
    let direct: Vec<&str> = HERE.into_iter().filter(|name| !is_granted(name)).collect();
    let mut plain: Plain = PROXY.iter().map(|name| ((*name).into(), OsString::from(&url))).collect();
    plain.extend(NO_PROXY.iter().map(|name| ((*name).into(), direct.join(",").into())));
    plain.push((NODE.into(), "1".into()));
    plain.push((SESSION.into(), session(view).into()));
    let base = String::from_utf8_lossy(view.base.0.expose());
    // Under a name that a client who does know proxies goes to directly.
    let here = ["127.0.0.1", "localhost"].into_iter().find(|name| direct.contains(name));
    let here = here.unwrap_or("127.0.0.1");
    plain.push((BASE.into(), format!("http://{here}:{}/{base}", view.port).into()));
    plain.extend(
        view.placeholders
            .iter()
            .map(|given| (OsString::from(&given.env), OsString::from(&given.placeholder))),
    );
    let mut notes = vec![];
    if let Some(name) = PROXY.iter().find(|name| variable(name).is_some_and(|value| !value.is_empty())) {
        notes.push(format!(
            "touchlease: the proxy that {name} names here is not used by the command: the lease's own takes its place"
        ));
    }
    let mut pem = match trusted(variable("SSL_CERT_FILE").map(PathBuf::from)) {
        Some(pem) => pem,
        None => {
            notes.push("touchlease: no file of the system's certificates was found: the command trusts the lease's hosts alone".into());
            vec![]
        }
    };
    if !pem.is_empty() && !pem.ends_with(b"\n") {
        pem.push(b'\n');
    }
    pem.extend(view.ca.as_bytes());
    Proxied {
        plain,
        certificates: Certificates {
            pem,
            files: FILES.iter().map(OsString::from).collect(),
            folders: vec![FOLDER.into()],
        },
        notes,
    }
}

/// How leases name this proxy.
pub fn session(view: &ProxyView) -> String {
    Digest::of(view.bearer.0.expose()).to_string()
}

/// Whether a host of the rules is this machine's name, at whatever port: variables know no ports.
fn is_of(host: &str, name: &str) -> bool {
    let rest = host.strip_prefix("http://").unwrap_or(host);
    let bare = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => rest.split(':').next().unwrap_or_default(),
    };
    bare == name
}

/// Whom the command would trust without us: those whom the caller names, or the system.
fn trusted(named: Option<PathBuf>) -> Option<Vec<u8>> {
    let places = named.iter().map(PathBuf::as_path).chain(SYSTEM.iter().map(Path::new));
    places.into_iter().find_map(|place| read(place).ok())
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut pem = Vec::new();
    File::open(file)?.take(LARGEST).read_to_end(&mut pem)?;
    Ok(pem)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::secret::Secret;
    use crate::wire::Value;
    use crate::wire::reply::Placeholder;

    fn view(hosts: &[&str]) -> ProxyView {
        ProxyView {
            port: 4711,
            bearer: Value(Secret::from_slice_wiping(&mut b"0123".to_vec()).unwrap()),
            base: Value(Secret::from_slice_wiping(&mut b"4567".to_vec()).unwrap()),
            ca: "-----BEGIN CERTIFICATE-----\n".into(),
            placeholders: vec![Placeholder {
                secret: "prod/TOKEN".into(),
                env: "TOKEN".into(),
                placeholder: "ghp_PLACEHOLDER".into(),
            }],
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        }
    }

    fn value(proxied: &Proxied, name: &str) -> String {
        let found = proxied.plain.iter().find(|(key, _)| key == name);
        found.unwrap().1.to_string_lossy().into_owned()
    }

    #[test]
    fn a_command_finds_the_proxy_in_both_cases_and_the_placeholder_under_its_name() {
        let proxied = behind(&view(&["api.example.com"]), &|_| None);
        for name in PROXY {
            assert_eq!(value(&proxied, name), "http://x:0123@127.0.0.1:4711");
        }
        assert_eq!(value(&proxied, "no_proxy"), "localhost,127.0.0.1,::1");
        assert_eq!(value(&proxied, BASE), "http://127.0.0.1:4711/4567");
        assert_eq!(value(&proxied, "TOKEN"), "ghp_PLACEHOLDER");
        assert!(proxied.certificates.pem.ends_with(b"-----BEGIN CERTIFICATE-----\n"));
    }

    #[test]
    fn a_host_of_the_lease_on_this_machine_is_not_reached_around_the_proxy() {
        for (hosts, direct, here) in [
            (&["localhost:8443"][..], "127.0.0.1,::1", "127.0.0.1"),
            (&["http://[::1]:80", "127.0.0.1:8443"], "localhost", "localhost"),
            (&["localhost.example"], "localhost,127.0.0.1,::1", "127.0.0.1"),
        ] {
            let proxied = behind(&view(hosts), &|_| None);
            assert_eq!(value(&proxied, "NO_PROXY"), direct);
            assert_eq!(value(&proxied, BASE), format!("http://{here}:4711/4567"));
        }
    }

    #[test]
    fn whom_the_caller_trusts_is_trusted_and_a_proxy_of_his_that_is_given_up_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("roots.pem");
        std::fs::write(&file, "a company's").unwrap();
        let variable = |name: &str| match name {
            "SSL_CERT_FILE" => Some(file.clone().into_os_string()),
            "https_proxy" => Some("http://proxy.example:3128".into()),
            _ => None,
        };
        let proxied = behind(&view(&[]), &variable);
        assert!(proxied.certificates.pem.starts_with(b"a company's\n-----BEGIN"));
        assert!(proxied.notes[0].contains("https_proxy"), "{:?}", proxied.notes);
    }
}
