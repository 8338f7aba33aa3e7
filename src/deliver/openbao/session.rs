//! From a signed token to what a command gets, and back.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::client::{Answer, Ask, Cluster};
use super::protocol::{Login, Named};
use crate::encoding::exchange::Fetch;
use crate::encoding::plain::check_line;
use crate::secret::Secret;
use crate::worker::frame::LONGEST_TAIL;

/// For all requests of a login together, as long as a cluster takes to find another leader.
const WITHIN: Duration = Duration::from_secs(20);
/// For one try to revoke.
const REVOKE_WITHIN: Duration = Duration::from_secs(3);
const LONGEST_ACCESSOR: usize = 128;
/// As long as they are, in bytes: one without storage has a certificate's worth of text in it.
const LONGEST_TOKEN: usize = 8 << 10;
/// Most values of one thing that is fetched.
const MOST_FIELDS: usize = 64;
/// Variables that hold the token: OpenBao's own, and that of programs that know its parent.
const TOKEN_VARIABLES: [&str; 2] = ["BAO_TOKEN", "VAULT_TOKEN"];

/// Why an exchange came to nothing: a word and a sentence.
#[derive(Debug)]
pub struct Fault {
    /// In a word.
    pub reason: &'static str,
    /// In a sentence.
    pub why: String,
}

/// What was had.
pub struct Had {
    /// The node that gave it.
    pub server: String,
    /// Accessor of the token that is handed on, or was used.
    pub token: String,
    /// Its life in seconds.
    pub ttl: u64,
    /// What comes, in the order of `tail`.
    pub values: Vec<Named>,
    /// The values.
    pub tail: Secret,
}

/// What is to be revoked: the token of the login, of which everything else is a child.
pub struct Session {
    token: Secret,
    accessor: String,
}

/// The way to the cluster while a login lasts.
struct Way<'a> {
    cluster: &'a Cluster,
    late: Instant,
}

#[derive(Deserialize)]
struct Given {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: String,
    accessor: String,
    lease_duration: u64,
    #[serde(default)]
    num_uses: u32,
}

#[derive(Deserialize)]
struct Capabilities {
    capabilities: Vec<String>,
}

#[derive(Serialize)]
struct Jwt<'a> {
    jwt: &'a str,
    role: &'a str,
}

/// Logs in, and has what is wanted. What was logged in to is there as soon as it is, also where the rest fails.
///
/// # Errors
/// The first thing that fails.
pub async fn open(
    cluster: &Cluster,
    login: &Login,
    jwt: &Secret,
    left: impl Fn() -> Duration,
    session: &mut Option<Session>,
) -> Result<Had, Fault> {
    let way = Way {
        cluster,
        late: Instant::now() + WITHIN,
    };
    let parent = &session.insert(log_in(&way, login, jwt).await?).token;
    check_revocable(&way, parent).await?;
    let (child, auth, server) = narrow(&way, login, parent, left).await?;
    let mut values = Values::default();
    if login.wanted.fetch.is_empty() {
        for name in TOKEN_VARIABLES {
            values.put(name.into(), child.expose())?;
        }
    }
    for fetch in &login.wanted.fetch {
        values.take(&fetch.name, fetched(&way, &child, fetch).await?)?;
    }
    let (values, tail) = values.finish()?;
    Ok(Had {
        server,
        token: auth.accessor,
        ttl: auth.lease_duration,
        values,
        tail,
    })
}

async fn log_in(way: &Way<'_>, login: &Login, secret: &Secret) -> Result<Session, Fault> {
    let fault = |why| Fault { reason: "login", why };
    let jwt = str::from_utf8(secret.expose()).map_err(|_| fault("the signed token is no text".into()))?;
    let role = &login.exchange.role;
    let body = serde_json::to_vec(&Jwt { jwt, role }).map_err(|_| fault("the request cannot be written".into()))?;
    let path = format!("auth/{}/login", login.exchange.mount);
    let ask = Ask {
        path: &path,
        token: None,
        body: Some(Zeroizing::new(body)),
        secret: Some(secret),
        again: true,
    };
    let answer = way.ask(&ask).await.map_err(fault)?;
    let Given { auth } = answer.json().map_err(fault)?;
    let accessor = accessor(&auth.accessor);
    let session = Session {
        token: token(auth.client_token, "login")?,
        accessor: accessor.clone().unwrap_or_default(),
    };
    let fault = match (accessor, auth.num_uses) {
        (Ok(_), 0) => return Ok(session),
        (Err(why), _) => fault(why),
        // It would be gone, and everything that was had with it, before the lease is over. It has a use for that.
        (Ok(_), _) => Fault {
            reason: "role_uses",
            why: format!("the role {role} limits the uses of its tokens (token_num_uses), and the lease does that here: it has to be 0"),
        },
    };
    let _ = session.revoke(way.cluster).await;
    Err(fault)
}

/// A token that cannot take itself back is none to have: asked first, so that a no at the end means that it is gone.
async fn check_revocable(way: &Way<'_>, parent: &Secret) -> Result<(), Fault> {
    let path = "auth/token/revoke-self";
    let body = json!({ "paths": [path] });
    let answer = way.post("sys/capabilities-self", parent, &body, true).await;
    let may = answer.and_then(|answer| answer.json::<Capabilities>());
    match may {
        Ok(may)
            if may
                .capabilities
                .iter()
                .any(|word| ["update", "root", "sudo"].contains(&word.as_str())) =>
        {
            Ok(())
        }
        Ok(_) => Err("its policies do not let a token revoke itself".to_owned()),
        Err(why) => Err(why),
    }
    .map_err(|why| Fault {
        reason: "not_revocable",
        why: format!("{why} (the policy default, which tokens have unless the role says otherwise, lets them)"),
    })
}

/// The token that is handed on, with the limits that the person saw.
async fn narrow(way: &Way<'_>, login: &Login, parent: &Secret, left: impl Fn() -> Duration) -> Result<(Secret, Auth, String), Fault> {
    let fault = |why: String| Fault { reason: "limits", why };
    let (seconds, uses) = (left().as_secs(), login.wanted.uses.unwrap_or(0));
    if seconds == 0 {
        return Err(fault("the lease is over before OpenBao gave a token".into()));
    }
    let ttl = format!("{seconds}s");
    let body = json!({
        "display_name": "touchlease", "explicit_max_ttl": ttl, "meta": { "lease": login.lease }, "no_default_policy": true,
        "num_uses": uses, "policies": login.exchange.policies, "renewable": false, "ttl": ttl,
    });
    let answer = way.post("auth/token/create", parent, &body, true).await;
    let answer = answer.map_err(fault)?;
    let Given { mut auth } = answer.json().map_err(|why| {
        fault(format!(
            "{why} (the role's policies have to let its tokens make others: update on auth/token/create)"
        ))
    })?;
    let token = token(std::mem::take(&mut auth.client_token), "limits")?;
    if auth.lease_duration == 0 || auth.lease_duration > seconds || auth.num_uses != uses {
        return Err(fault(
            "OpenBao gave a token with other limits than those that were asked for".into(),
        ));
    }
    auth.accessor = accessor(&auth.accessor).map_err(fault)?;
    Ok((token, auth, answer.node))
}

/// It stands in the log, and may be in no other form than one that can be seen.
fn accessor(text: &str) -> Result<String, String> {
    match check_line("the accessor", text, LONGEST_ACCESSOR) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What one path gives, by its fields.
async fn fetched(way: &Way<'_>, child: &Secret, fetch: &Fetch) -> Result<BTreeMap<String, Zeroizing<String>>, Fault> {
    let fault = |why: String| Fault {
        reason: "fetch",
        why: format!("{}: {why}", fetch.path),
    };
    let answer = match fetch.writes() {
        true => way.post(&fetch.path, child, &json!(fetch.with), false).await,
        false => {
            let ask = Ask {
                path: &fetch.path,
                token: Some(child),
                body: None,
                secret: None,
                // What is read may be made by that: credentials of a database. They end with the token, as often as there are some.
                again: true,
            };
            way.ask(&ask).await
        }
    };
    let said: Map<String, Value> = answer.and_then(|answer| answer.json()).map_err(fault)?;
    let fields = fields(&said).ok_or_else(|| fault("nothing is there".into()))?;
    let text = |(name, value): (&String, &Value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return None,
        };
        Some((name.clone(), Zeroizing::new(text)))
    };
    let texts: BTreeMap<_, _> = fields.iter().filter_map(text).filter(|(_, text)| !text.is_empty()).collect();
    match texts.is_empty() || texts.len() > MOST_FIELDS {
        true => Err(fault("it has no values, or more than 64".into())),
        false => Ok(texts),
    }
}

/// Of an answer's `data`; KV version 2 puts the secret beside its metadata, one level below.
fn fields(said: &Map<String, Value>) -> Option<&Map<String, Value>> {
    let data = said.get("data")?.as_object()?;
    match (data.get("data"), data.get("metadata")) {
        (Some(Value::Object(secret)), Some(Value::Object(_))) if data.len() == 2 => Some(secret),
        _ => Some(data),
    }
}

impl Way<'_> {
    async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, String> {
        self.cluster.ask(ask, self.late.saturating_duration_since(Instant::now())).await
    }

    async fn post(&self, path: &str, token: &Secret, body: &Value, again: bool) -> Result<Answer, String> {
        let body = Zeroizing::new(body.to_string().into_bytes());
        let (token, body) = (Some(token), Some(body));
        let secret = None;
        self.ask(&Ask {
            path,
            token,
            body,
            secret,
            again,
        })
        .await
    }
}

impl Session {
    /// By which an operator finds it.
    #[must_use]
    pub fn accessor(&self) -> &str {
        &self.accessor
    }

    /// Takes it back, and everything that was had with it: one try, of every node. Whether OpenBao knew it no more.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn revoke(&self, cluster: &Cluster) -> Result<bool, String> {
        let ask = Ask {
            path: "auth/token/revoke-self",
            token: Some(&self.token),
            body: Some(Zeroizing::new(b"{}".to_vec())),
            secret: None,
            again: true,
        };
        let answer = cluster.ask(&ask, REVOKE_WITHIN).await?;
        match answer.status.as_u16() {
            200 | 204 => Ok(false),
            // It may do that as long as it is one: that was asked at the beginning.
            403 => Ok(true),
            _ => answer.json::<Value>().map(|_| false),
        }
    }
}

/// What comes, as it is collected.
#[derive(Default)]
struct Values {
    named: Vec<Named>,
    bytes: Zeroizing<Vec<u8>>,
}

impl Values {
    fn put(&mut self, env: String, value: &[u8]) -> Result<(), Fault> {
        let twice = self.named.iter().any(|named| named.env == env);
        if twice || self.bytes.len() + value.len() > LONGEST_TAIL {
            let why = match twice {
                true => format!("two values would be {env}"),
                false => format!("what comes is over {LONGEST_TAIL} bytes"),
            };
            return Err(Fault { reason: "fetch", why });
        }
        // A vector that grows leaves its bytes behind.
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(LONGEST_TAIL);
        }
        self.bytes.extend_from_slice(value);
        self.named.push(Named { env, len: value.len() });
        Ok(())
    }

    fn take(&mut self, name: &str, fields: BTreeMap<String, Zeroizing<String>>) -> Result<(), Fault> {
        let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        for (field, value) in fields {
            let field: String = field.chars().map(upper).collect();
            self.put(format!("{name}_{field}"), value.as_bytes())?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(Vec<Named>, Secret), Fault> {
        let tail = Secret::from_slice_wiping(&mut self.bytes).map_err(|error| no_memory(&error))?;
        Ok((self.named, tail))
    }
}

/// One that a header can have.
fn token(text: String, reason: &'static str) -> Result<Secret, Fault> {
    let mut bytes = text.into_bytes();
    let is_one = (1..=LONGEST_TOKEN).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    let locked = Secret::from_slice_wiping(&mut bytes).map_err(|error| no_memory(&error))?;
    match is_one {
        true => Ok(locked),
        false => Err(Fault {
            reason,
            why: "what OpenBao gave as a token is none".into(),
        }),
    }
}

fn no_memory(error: &std::io::Error) -> Fault {
    Fault {
        reason: "memory",
        why: format!("there is no locked memory: {error}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_secret_of_kv_version_2_is_told_from_one_with_a_field_that_is_called_data() {
        let of = |said: Value| fields(said.as_object().unwrap()).cloned().map(Value::Object);
        let inner = json!({ "password": "x" });
        assert_eq!(
            of(json!({ "data": { "data": inner, "metadata": { "version": 1 } } })),
            Some(inner.clone())
        );
        let plain = json!({ "data": "x", "metadata": "y" });
        assert_eq!(of(json!({ "data": plain })), Some(plain.clone()));
        assert_eq!(
            of(json!({ "data": { "username": "u", "password": "p" } })),
            Some(json!({ "username": "u", "password": "p" }))
        );
        assert_eq!(of(json!({ "data": null })), None);
    }

    #[test]
    fn t29_fields_become_names_of_variables_and_two_that_would_be_one_are_refused() {
        let field = |name: &str| (name.to_owned(), Zeroizing::new("v".to_owned()));
        let mut values = Values::default();
        values.take("DB", [field("user-name"), field("pass word")].into()).unwrap();
        values.take("OTHER", [field("user-name")].into()).unwrap();
        let names: Vec<_> = values.named.iter().map(|named| named.env.as_str()).collect();
        assert_eq!(names, ["DB_PASS_WORD", "DB_USER_NAME", "OTHER_USER_NAME"]);
        assert!(values.take("DB", [field("user_name")].into()).is_err());
        assert!(values.put("LARGE".into(), &[0; LONGEST_TAIL]).is_err());
        assert_eq!(values.finish().unwrap().1.len(), 3);
    }
}
