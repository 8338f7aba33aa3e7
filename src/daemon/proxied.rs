//! What a proxy's worker is told: the grants of a lease as they were signed, their values, and whom to trust at hosts.

use std::path::Path;

use crate::deliver::mask::{self, Patterns};
use crate::deliver::proxy::protocol::{GrantSpec, Order, Place, Scheme, Target};
use crate::encoding::target::Host;
use crate::lease::failure::{internal, locked_memory};
use crate::lease::grant::Via;
use crate::lease::text::{GrantText, LeaseText};
use crate::secret::Secret;
use crate::sys::file::read_text;
use crate::vault::{Form, Header, Material, Place as Sealed};
use crate::wire::{Failure, Outcome};
use crate::worker::frame::head_and_json;

/// Most certificates of a company, in bytes: with their line ends written as JSON, and the hosts beside them, they fit into one frame.
pub(super) const LARGEST_ROOTS: usize = 40 * 1024;

/// What a worker is told of a lease, and what its requester is.
pub(super) struct Wanted {
    pub(super) order: Order,
    pub(super) values: Secret,
    /// What its values look like.
    pub(super) forms: Patterns,
    /// Hosts that the session's CA signs for.
    pub(super) hosts: Vec<String>,
    /// The same as rules name them, with their ports.
    pub(super) names: Vec<String>,
    /// Secret and variable of each grant.
    pub(super) variables: Vec<(String, String)>,
}

/// Nothing where nothing of the lease goes by proxy.
pub(super) fn order(text: &LeaseText, material: &Material) -> Result<Option<Wanted>, Failure> {
    let proxied: Vec<_> = text.grants.iter().filter(|grant| grant.via == Via::Proxy).collect();
    if proxied.is_empty() {
        return Ok(None);
    }
    let missing = || internal("material", "the lease holds no value for one of its grants");
    let value = |grant: &&GrantText| material.value(&grant.secret.scope, &grant.secret.name).ok_or_else(missing);
    let values = proxied.iter().map(value).collect::<Result<Vec<_>, _>>()?;
    let mut tail = Secret::zeroed(values.iter().map(|value| value.len()).sum()).map_err(locked_memory)?;
    let mut rest = tail.expose_mut();
    for value in &values {
        let (here, behind) = rest.split_at_mut(value.len());
        here.copy_from_slice(value.expose());
        rest = behind;
    }
    let specs = proxied.iter().zip(&values).map(|(grant, value)| spec(grant, value.len()));
    let specs = specs.collect::<Result<Vec<_>, _>>()?;
    let hosts: std::collections::BTreeSet<_> = specs
        .iter()
        .flat_map(|spec| &spec.targets)
        .map(|target| target.host.clone())
        .collect();
    let names = proxied
        .iter()
        .filter_map(|grant| grant.proxy.as_ref())
        .flat_map(|proxy| proxy.hosts.clone());
    let order = Order::Grant {
        lease: text.id.clone(),
        grants: specs,
    };
    if head_and_json(&order, tail.len()).is_err() {
        let message = "the lease has more hosts, paths or values than one proxy takes: 48 KiB of rules, 64 KiB of values";
        return Err(Failure::new(Outcome::Refused, "too_much", message).hint("ask for fewer secrets in one task"));
    }
    Ok(Some(Wanted {
        hosts: hosts.into_iter().collect(),
        names: names.collect(),
        variables: proxied
            .iter()
            .map(|grant| (grant.secret.to_string(), grant.env.clone().unwrap_or_default()))
            .collect(),
        order,
        values: tail,
        forms: forms(text, material),
    }))
}

/// How the values of all grants look, delivered in whatever way.
fn forms(text: &LeaseText, material: &Material) -> Patterns {
    let all = text.grants.iter().filter_map(|grant| {
        let value = material.value(&grant.secret.scope, &grant.secret.name)?;
        Some((grant.secret.to_string(), value))
    });
    let all: Vec<_> = all.collect();
    Patterns::new(all.iter().map(|(name, value)| (name.as_str(), value.expose())))
}

/// The text with masks where values of the lease are.
pub(super) fn masked(forms: &Patterns, text: &str) -> String {
    String::from_utf8_lossy(&mask::masked(forms, text.as_bytes()).0).into_owned()
}

/// The grant as it was signed, in the worker's words.
fn spec(grant: &GrantText, value_len: usize) -> Result<GrantSpec, Failure> {
    let unsigned = || internal("grant", "what was signed does not say where the proxy may send it");
    let proxy = grant.proxy.as_ref().ok_or_else(unsigned)?;
    let form: Form = proxy.form.parse().map_err(|_| unsigned())?;
    let hosts = proxy.hosts.iter().map(|host| host.parse::<Host>().map(target));
    Ok(GrantSpec {
        secret: grant.secret.to_string(),
        value_len,
        targets: hosts.collect::<Result<_, _>>().map_err(|_| unsigned())?,
        place: place(form),
        methods: proxy.methods.clone(),
        paths: proxy.paths.clone(),
        // A company's own hosts have such addresses, and the name was sealed by a person. Those of this machine and of its link are another
        // matter, which the worker judges by the name itself.
        allow_private: true,
    })
}

pub(super) fn target(host: Host) -> Target {
    Target {
        scheme: if host.plain { Scheme::Http } else { Scheme::Https },
        host: if host.name.contains(':') {
            format!("[{}]", host.name)
        } else {
            host.name
        },
        port: host.port,
    }
}

pub(super) fn place(form: Form) -> Place {
    match form {
        Form::Bearer => Place::Header {
            name: "authorization".into(),
            prefix: "Bearer ".into(),
        },
        Form::Header(Header { name, prefix }) => Place::Header { name, prefix },
        Form::Place(Sealed::Basic { user }) => Place::Basic { user },
        Form::Place(Sealed::Query { name }) => Place::Query { name },
        Form::Place(Sealed::Cookie { name }) => Place::Cookie { name },
    }
}

/// Read anew for each session, from the place that the configuration names and no client does (T21).
pub(super) fn roots(file: Option<&Path>) -> Result<Vec<String>, Failure> {
    let Some(file) = file else { return Ok(vec![]) };
    match read_text(file, LARGEST_ROOTS) {
        Ok(text) => Ok(vec![text]),
        Err(error) => Err(Failure::new(
            Outcome::BadInput,
            "proxy_roots",
            format!(
                "{}, named by proxy_roots in the configuration, cannot be read: {error}",
                file.display()
            ),
        )
        .hint("name a file of at most 40 KiB of certificates in PEM, the company's own and not the system's, or remove the line from config.toml")),
    }
}
