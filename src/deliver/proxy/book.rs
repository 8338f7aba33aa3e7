//! The leases behind a session, as they come and go: what is live, what was, and what has to be masked.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use super::placeholder;
use super::protocol::{GrantSpec, LONGEST_VALUE, Place, Scheme};
use super::rules::Rule;
use crate::deliver::mask::{Patterns, SHORTEST, is_too_short};
use crate::secret::Secret;

/// Placeholders of ended leases that are remembered, so that whoever still uses one is told what is wrong.
const MOST_ENDED: usize = 4096;

/// A lease and the place of a grant in it.
pub type GrantId = (String, usize);

/// A credential that may go into requests.
pub struct Live {
    /// Whose it is.
    pub id: GrantId,
    /// The secret's name.
    pub secret: String,
    /// Where it may go.
    pub rule: Rule,
    /// Where in a request.
    pub place: Place,
    /// Whether its hosts' names may stand for private addresses.
    pub allow_private: bool,
    placeholder: String,
    value: Secret,
}

impl Live {
    /// What the client has in its place.
    #[must_use]
    pub fn placeholder(&self) -> &str {
        &self.placeholder
    }

    /// Visible ASCII: checked when it came.
    #[must_use]
    pub fn value(&self) -> &Secret {
        &self.value
    }
}

/// What is known of a placeholder.
#[derive(Clone)]
pub enum Standing {
    /// It stands for this.
    Live(Rc<Live>),
    /// It did, for a lease that ended.
    Ended(GrantId),
}

/// All leases of a session.
pub struct Book {
    live: Vec<Rc<Live>>,
    placeholders: HashMap<String, Standing>,
    /// Hosts and ports that a lease named at some time: what goes there is looked into for the rest of the session, so that a placeholder
    /// whose lease is over gets an answer that says so.
    seen: HashSet<(String, u16)>,
    patterns: Arc<Patterns>,
    /// Whose values they are of.
    ids: Rc<[GrantId]>,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            live: Vec::new(),
            placeholders: HashMap::new(),
            seen: HashSet::new(),
            patterns: Arc::new(Patterns::new([])),
            ids: Rc::new([]),
        }
    }
}

impl Book {
    /// Takes a lease's grants, and gives their placeholders. Hosts with TLS are those that the session's authority `covers`.
    ///
    /// # Errors
    /// Which grant is not sound, and why; nothing was taken then.
    pub fn grant(
        &mut self,
        lease: &str,
        grants: Vec<GrantSpec>,
        values: &Secret,
        covers: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, (usize, String)> {
        if self.live.iter().any(|live| live.id.0 == lease) {
            return Err((0, "the lease is already in force".into()));
        }
        let (mut taken, mut at) = (Vec::new(), 0_usize);
        for (index, spec) in grants.into_iter().enumerate() {
            let value = values.expose().get(at..at.saturating_add(spec.value_len));
            at = at.saturating_add(spec.value_len);
            let value = value.ok_or((index, "its value did not come".to_owned()))?;
            taken.push(Rc::new(live(lease, index, spec, value, &covers).map_err(|why| (index, why))?));
        }
        if at != values.len() {
            return Err((taken.len(), "more values came than grants".into()));
        }
        for live in &taken {
            self.placeholders.insert(live.placeholder.clone(), Standing::Live(live.clone()));
            let hosts = live.rule.targets().iter().map(|target| (target.host.clone(), target.port));
            self.seen.extend(hosts);
        }
        let placeholders = taken.iter().map(|live| live.placeholder.clone()).collect();
        self.live.extend(taken);
        self.renew();
        Ok(placeholders)
    }

    /// Forgets a lease's values.
    pub fn revoke(&mut self, lease: &str) {
        self.live.retain(|live| live.id.0 != lease);
        let ended = self
            .placeholders
            .values()
            .filter(|standing| matches!(standing, Standing::Ended(_)))
            .count();
        if ended >= MOST_ENDED {
            self.placeholders.retain(|_, standing| matches!(standing, Standing::Live(_)));
        }
        for standing in self.placeholders.values_mut() {
            if let Standing::Live(live) = standing
                && live.id.0 == lease
            {
                *standing = Standing::Ended(live.id.clone());
            }
        }
        self.renew();
    }

    fn renew(&mut self) {
        let secrets = self.live.iter().map(|live| (live.secret.as_str(), live.value.expose()));
        self.patterns = Arc::new(Patterns::new(secrets));
        self.ids = self.live.iter().map(|live| live.id.clone()).collect();
    }

    /// What is looked for in answers, and whose it is, in the order of the mask's numbers.
    #[must_use]
    pub fn masks(&self) -> (Arc<Patterns>, Rc<[GrantId]>) {
        (self.patterns.clone(), self.ids.clone())
    }

    /// What a placeholder stands for.
    #[must_use]
    pub fn standing(&self, placeholder: &str) -> Option<Standing> {
        self.placeholders.get(placeholder).cloned()
    }

    /// A placeholder of this session somewhere in `text`.
    #[must_use]
    pub fn inside(&self, text: &[u8]) -> Option<GrantId> {
        let here = |placeholder: &str| text.windows(placeholder.len()).any(|window| window == placeholder.as_bytes());
        let (_, standing) = self.placeholders.iter().find(|(placeholder, _)| here(placeholder))?;
        Some(match standing {
            Standing::Live(live) => live.id.clone(),
            Standing::Ended(id) => id.clone(),
        })
    }

    /// The values that are in a header's name, where letters have lost their case; by their places in [`Book::masks`].
    #[must_use]
    pub fn in_name(&self, name: &str) -> Vec<u32> {
        let here = |value: &[u8]| {
            name.len() >= value.len()
                && !is_too_short(value)
                && name
                    .as_bytes()
                    .windows(value.len())
                    .any(|window| window.eq_ignore_ascii_case(value))
        };
        (0..)
            .zip(&self.live)
            .filter(|(_, live)| here(live.value.expose()))
            .map(|(number, _)| number)
            .collect()
    }

    /// Whether a lease names, or named, this host and port.
    #[must_use]
    pub fn knows(&self, host: &str, port: u16) -> bool {
        self.seen.iter().any(|(name, at)| name == host && *at == port)
    }

    /// The grants in force for this host.
    pub fn grants_for<'a>(&'a self, scheme: Scheme, host: &'a str, port: u16) -> impl Iterator<Item = &'a Rc<Live>> {
        self.live.iter().filter(move |live| {
            let here = |target: &super::protocol::Target| target.scheme == scheme && target.host == host && target.port == port;
            live.rule.targets().iter().any(here)
        })
    }

    /// Whether a grant is still in force.
    #[must_use]
    pub fn is_live(&self, id: &GrantId) -> bool {
        self.live.iter().any(|live| live.id == *id)
    }
}

fn live(lease: &str, index: usize, spec: GrantSpec, value: &[u8], covers: &dyn Fn(&str) -> bool) -> Result<Live, String> {
    let rule = Rule::new(&spec)?;
    check_value(value, &spec.place)?;
    check_place(&spec.place)?;
    if let Some(target) = rule
        .targets()
        .iter()
        .find(|target| target.scheme == Scheme::Https && !covers(&target.host))
    {
        return Err(format!("{} is none of the hosts that this session was opened for", target.host));
    }
    let mut copy = Secret::zeroed(value.len()).map_err(|error| format!("there is no locked memory: {error}"))?;
    copy.expose_mut().copy_from_slice(value);
    let placeholder = placeholder::make(value, getrandom::fill).map_err(|error| format!("there is no randomness: {error}"))?;
    Ok(Live {
        id: (lease.to_owned(), index),
        secret: spec.secret,
        rule,
        place: spec.place,
        allow_private: spec.allow_private,
        placeholder,
        value: copy,
    })
}

/// What goes into a line must not end it, and what goes between separators must have none.
fn check_value(value: &[u8], place: &Place) -> Result<(), String> {
    if value.is_empty() || value.len() > LONGEST_VALUE {
        return Err(format!("a value for a proxy has 1 to {LONGEST_VALUE} bytes"));
    }
    if is_too_short(value) {
        return Err(format!(
            "a value of fewer than {SHORTEST} bytes cannot be masked in what hosts send back"
        ));
    }
    let visible = value.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    if !visible || value.starts_with(b" ") || value.ends_with(b" ") {
        return Err("the value has characters that a request's head cannot carry".into());
    }
    // RFC 6265, 4.1.1: cookie-octet.
    if matches!(place, Place::Cookie { .. }) && value.iter().any(|byte| b" \",;\\".contains(byte)) {
        return Err("the value has characters that a cookie cannot carry".into());
    }
    Ok(())
}

/// Headers by which hosts and proxies tell requests apart are no places for a value.
fn check_place(place: &Place) -> Result<(), String> {
    const FRAMING: [&str; 16] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "keep-alive",
        "cookie",
        "content-encoding",
        "content-type",
        "accept-encoding",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
    ];
    let made_of = |text: &str, more: &[u8]| {
        (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    let sound = match place {
        Place::Header { name, prefix } => {
            let visible = prefix.len() <= 64 && prefix.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            // RFC 9110, 5.6.2.
            made_of(name, b"!#$%&'*+-.^_`|~") && *name == name.to_ascii_lowercase() && !FRAMING.contains(&name.as_str()) && visible
        }
        Place::Basic { user } => user
            .as_ref()
            .is_none_or(|user| user.bytes().all(|byte| (byte.is_ascii_graphic() || byte == b' ') && byte != b':')),
        Place::Query { name } | Place::Cookie { name } => made_of(name, b"-_."),
    };
    if sound {
        Ok(())
    } else {
        Err("a credential cannot be put into such a place of a request".into())
    }
}
