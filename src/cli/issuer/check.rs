//! What is served, held against what this vault would export: each difference in a sentence.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use super::documents::{Documents, Whose};

/// Members of a key that only its owner has (RFC 7518, 6.2.2, 6.3.2 and 6.4.1).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// Members that make a key the one that it is, and say what it is for.
const PUBLIC: [&str; 7] = ["kty", "crv", "x", "y", "alg", "use", "x5c"];

/// Something that is served in another way than it would be exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The exact case, in `snake_case`; stable.
    pub reason: &'static str,
    /// One sentence, without a full stop.
    pub what: String,
}

fn difference(reason: &'static str, what: String) -> Difference {
    Difference { reason, what }
}

/// A document that was asked for: its name, and the bytes or why there are none.
pub struct Read {
    /// As a person finds it.
    pub name: String,
    /// What came.
    pub bytes: Result<Vec<u8>, String>,
}

impl Read {
    fn json(&self) -> Result<Map<String, Value>, Difference> {
        let bytes = self
            .bytes
            .as_ref()
            .map_err(|why| difference("not_read", format!("{} {why}", self.name)))?;
        serde_json::from_slice(bytes).map_err(|error| difference("not_json", format!("{} is no JSON object: {error}", self.name)))
    }
}

/// Every difference, the discovery document's first.
#[must_use]
pub fn compare(ours: &Documents, configuration: &Read, keys: &Read) -> Vec<Difference> {
    let discovery = configuration.json().map_or_else(
        |not| vec![not],
        |served| discovery(&ours.configuration, &served, &configuration.name),
    );
    let set = keys
        .json()
        .map_or_else(|not| vec![not], |served| key_set(ours, &served, &keys.name));
    [discovery, set].concat()
}

/// Members beyond ours are the site's own affair.
fn discovery(ours: &Value, served: &Map<String, Value>, name: &str) -> Vec<Difference> {
    let members = ours.as_object().into_iter().flatten();
    let differs = |(member, value): (&String, &Value)| match served.get(member) {
        None => Some(difference(
            "discovery",
            format!("{name} says nothing of {member}, which is {value}"),
        )),
        Some(other) if same(other, value) => None,
        Some(other) => {
            let reason = if member == "issuer" { "issuer" } else { "discovery" };
            Some(difference(
                reason,
                format!("{name} says {member} is {}, and it is {value}", short(other)),
            ))
        }
    };
    members.filter_map(differs).collect()
}

/// A list of what is supported has no order.
fn same(one: &Value, other: &Value) -> bool {
    let set = |value: &Value| {
        value
            .as_array()
            .map(|items| items.iter().map(Value::to_string).collect::<BTreeSet<_>>())
    };
    match (set(one), set(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

fn key_set(ours: &Documents, served: &Map<String, Value>, name: &str) -> Vec<Difference> {
    let Some(listed) = served.get("keys").and_then(Value::as_array) else {
        return vec![difference("key_form", format!("{name} has no list of keys"))];
    };
    let mut found = Vec::new();
    let mut theirs: BTreeMap<&str, &Value> = BTreeMap::new();
    for key in listed {
        let kid = key.get("kid").and_then(Value::as_str);
        let shown = kid.map_or_else(|| "a key without a kid".to_owned(), |kid| format!("the key {}", short_text(kid)));
        for member in PRIVATE.iter().filter(|member| key.get(*member).is_some()) {
            let what = format!("{name} shows the private half of {shown} ({member}): whoever reads it can sign");
            found.push(difference("private_key", what));
        }
        match kid {
            None => found.push(difference("key_form", format!("{name} has {shown}"))),
            Some(kid) if theirs.insert(kid, key).is_some() => {
                found.push(difference(
                    "key_twice",
                    format!("{name} has two keys that are called {}", short_text(kid)),
                ));
            }
            Some(_) => {}
        }
    }
    for (kid, key) in &ours.keys {
        found.extend(one_key(ours.whose(kid), kid, key, theirs.get(kid.as_str()).copied(), name));
    }
    let strange = theirs.keys().filter(|kid| !ours.keys.contains_key(**kid));
    found.extend(strange.map(|kid| {
        let what = format!(
            "{name} has the key {}, which is none of this vault's: who has it can sign as this issuer",
            short_text(kid)
        );
        difference("key_strange", what)
    }));
    found
}

fn one_key(whose: Option<&Whose>, kid: &str, ours: &Value, theirs: Option<&Value>, name: &str) -> Vec<Difference> {
    let of = whose.map(Whose::in_words).unwrap_or_default();
    let Some(theirs) = theirs else {
        return vec![difference("key_missing", format!("{name} lacks the key {kid}, {of}"))];
    };
    let differs = |member: &&str| ours.get(*member) != theirs.get(*member);
    let members: Vec<&str> = PUBLIC.iter().filter(|member| differs(member)).copied().collect();
    match members.is_empty() {
        true => vec![],
        false => vec![difference(
            "key_other",
            format!("{name} has another {} for the key {kid}, {of}", members.join(", ")),
        )],
    }
}

/// What somebody else wrote, in a length that a line has.
fn short(value: &Value) -> String {
    short_text(&value.to_string())
}

fn short_text(text: &str) -> String {
    const LONGEST: usize = 120;
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::wire::signer::{SignerClass, SignerView};

    const ISSUER: &str = "https://id.example/touchlease";

    fn ours() -> Documents {
        let view = SignerView {
            signer: "prod/deployer".into(),
            version: 1,
            class: SignerClass::Sealed,
            rules: crate::lease::change::rules_said(&crate::vault::signer::tests::rules()),
            vouched: true,
        };
        Documents::of(ISSUER, &[&view]).unwrap()
    }

    /// What is said of the documents with these changes.
    fn reasons(change: impl FnOnce(&mut Value, &mut Value)) -> Vec<&'static str> {
        let ours = ours();
        let (mut configuration, mut keys) = (ours.configuration.clone(), ours.set());
        change(&mut configuration, &mut keys);
        let read = |name: &str, value: &Value| Read {
            name: name.into(),
            bytes: Ok(value.to_string().into_bytes()),
        };
        let found = compare(&ours, &read("configuration", &configuration), &read("keys", &keys));
        assert!(
            found.iter().all(|one| !one.what.ends_with('.') && !one.what.is_empty()),
            "{found:?}"
        );
        found.iter().map(|one| one.reason).collect()
    }

    #[test]
    fn what_would_be_exported_has_no_difference_and_what_a_site_adds_to_the_discovery_document_is_its_own_affair() {
        assert!(reasons(|_, _| {}).is_empty());
        assert!(
            reasons(|configuration, keys| {
                configuration["token_endpoint"] = json!("https://id.example/token");
                configuration["claims_supported"].as_array_mut().unwrap().reverse();
                keys["keys"].as_array_mut().unwrap().reverse();
            })
            .is_empty()
        );
    }

    #[test]
    fn every_member_of_the_discovery_document_that_is_missing_or_another_one_is_said() {
        let members: Vec<String> = ours().configuration.as_object().unwrap().keys().cloned().collect();
        assert_eq!(members.len(), 6);
        for member in &members {
            let reason = if member == "issuer" { "issuer" } else { "discovery" };
            assert_eq!(
                reasons(|configuration, _| drop(configuration.as_object_mut().unwrap().remove(member))),
                ["discovery"]
            );
            assert_eq!(
                reasons(|configuration, _| configuration[member] = json!(ISSUER.to_uppercase())),
                [reason],
                "{member}"
            );
        }
    }

    #[test]
    fn a_key_that_is_missing_strange_twice_or_another_one_is_said() {
        assert_eq!(reasons(|_, keys| drop(keys["keys"].as_array_mut().unwrap().pop())), ["key_missing"]);
        assert_eq!(reasons(|_, keys| keys["keys"] = json!([])), ["key_missing", "key_missing"]);
        assert_eq!(reasons(|_, keys| keys["keys"] = json!({})), ["key_form"]);
        assert_eq!(
            reasons(|_, keys| keys["keys"][0]["kid"] = json!("other")),
            ["key_missing", "key_strange"]
        );
        assert_eq!(
            reasons(|_, keys| drop(keys["keys"][0].as_object_mut().unwrap().remove("kid"))),
            ["key_form", "key_missing"]
        );
        let twice = |_: &mut Value, keys: &mut Value| {
            let first = keys["keys"][0].clone();
            keys["keys"].as_array_mut().unwrap().push(first);
        };
        assert_eq!(reasons(twice), ["key_twice"]);
        for member in ["kty", "crv", "x", "alg", "use"] {
            assert_eq!(
                reasons(|_, keys| keys["keys"][1][member] = json!("other")),
                ["key_other"],
                "{member}"
            );
        }
    }

    #[test]
    fn t45_a_private_half_among_the_public_keys_is_said_whatever_its_form() {
        for member in PRIVATE {
            assert_eq!(
                reasons(|_, keys| keys["keys"][0][member] = json!("AAAA")),
                ["private_key"],
                "{member}"
            );
            assert_eq!(
                reasons(|_, keys| keys["keys"][0][member] = Value::Null),
                ["private_key"],
                "{member}"
            );
        }
        let nameless = |_: &mut Value, keys: &mut Value| keys["keys"].as_array_mut().unwrap().push(json!({ "kty": "oct", "k": "AAAA" }));
        assert_eq!(reasons(nameless), ["private_key", "key_form"]);
    }

    #[test]
    fn what_is_not_there_or_no_json_is_said_of_each_document() {
        let ours = ours();
        let read = |bytes: Result<Vec<u8>, String>| Read { name: "it".into(), bytes };
        let found = compare(
            &ours,
            &read(Err("is not served: the answer is 404".into())),
            &read(Ok(b"[]".to_vec())),
        );
        assert_eq!(found.iter().map(|one| one.reason).collect::<Vec<_>>(), ["not_read", "not_json"]);
        assert_eq!(found[0].what, "it is not served: the answer is 404");
    }
}
