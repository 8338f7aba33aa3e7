//! Signers and tokens, as a person reads them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Row, must, strong};
use crate::encoding::SecretRef;
use crate::encoding::jwk::{Algorithm, PublicKey};
use crate::lease::text::{DroppedText, GrantText, KeyState, TokenText};
use crate::wire::signer::{SignerClass, SignerRules};

/// Digits of a key's name that are enough to tell it from another.
const SHOWN_KID: usize = 11;
/// Where the rules name no value.
const ANYTHING: &str = "anything";

/// Which signer signs, and where its key is.
pub(super) fn signed(grant: &GrantText) -> String {
    let class = grant.token.as_ref().map_or("", |token| class(token.class));
    let variable = grant
        .env
        .as_ref()
        .map(|env| format!(", in its environment as {env}"))
        .unwrap_or_default();
    format!(
        "a token signed by {}  {class} signer, version {}{variable}",
        grant.secret, grant.version
    )
}

/// What a token says.
pub(super) fn token_rows(rows: &mut Vec<Row>, token: &TokenText) {
    must(rows, "to", token.aud.clone());
    must(rows, "as", format!("{}, issued by {}", token.sub, token.iss));
    for (claim, said) in &token.claims {
        must(rows, "with", format!("{claim} = {}", value(said)));
    }
}

/// What may be signed with a signer that is written, each rule in a row of its own: nothing in one can look like another (T10).
pub(super) fn rows(rows: &mut Vec<Row>, signer: &SignerRules) {
    must(rows, "issuer", signer.issuer.clone());
    must(rows, "to", joined(&signer.audiences));
    must(rows, "as", joined(&signer.subjects));
    for (name, values) in &signer.claims {
        must(rows, "with", claim(name, values));
    }
    let short = |public: &str| shown(signer.alg, public);
    must(rows, "keys", format!("{} signs", short(&signer.current)));
    must(rows, "", format!("{} signs next", short(&signer.next)));
    if let Some(previous) = &signer.previous {
        must(rows, "", format!("{} signed before", short(previous)));
    }
}

/// Public keys that will be a signer's no more, each with what that means.
pub(super) fn drops(rows: &mut Vec<Row>, drops: &[DroppedText]) {
    for (i, dropped) in drops.iter().enumerate() {
        let what = match dropped.was {
            KeyState::Current => "which signs now: no token of it stays good",
            KeyState::Next => "which was to sign next",
            KeyState::Previous => "which signed before: no token of it stays good",
        };
        let text = format!("key {} of {}, {what}", shown(dropped.alg, &dropped.public), dropped.secret);
        strong(rows, if i == 0 { "drops" } else { "" }, text);
    }
}

/// What is removed: of a signer, that it is one.
pub(super) fn removed(secret: &SecretRef, drops: &[DroppedText]) -> String {
    match drops.iter().find(|dropped| dropped.secret == *secret) {
        Some(dropped) => format!("{secret}, a signer of tokens issued by {}", dropped.issuer),
        None => secret.to_string(),
    }
}

fn shown(alg: Algorithm, public: &str) -> String {
    kid(alg, public).chars().take(SHOWN_KID).collect()
}

/// A claim's value: quoted where it could be read as more than one word.
fn value(value: &str) -> String {
    match value.contains(|c: char| c.is_whitespace() || "\"'`,;".contains(c)) || value == ANYTHING {
        true => format!("{value:?}"),
        false => value.to_owned(),
    }
}

fn claim(name: &str, values: &BTreeSet<String>) -> String {
    match values.is_empty() {
        true => format!("{name} = {ANYTHING}"),
        false => format!("{name} = {}", values.iter().map(|one| value(one)).collect::<Vec<_>>().join(" or ")),
    }
}

/// What may be signed with a signer, in words.
#[must_use]
pub fn rules(signer: &SignerRules) -> String {
    let mut text = format!(
        "sealed signer ({}) of tokens issued by {}, to {}, as {}",
        signer.alg.as_str(),
        signer.issuer,
        joined(&signer.audiences),
        joined(&signer.subjects),
    );
    if !signer.claims.is_empty() {
        text += &format!(", with {}", claims(&signer.claims));
    }
    text + &format!("; key {}", shown(signer.alg, &signer.current))
}

/// Claims that a token may have: `ref` of any value, `env` of these.
#[must_use]
pub fn claims(claims: &BTreeMap<String, BTreeSet<String>>) -> String {
    claims
        .iter()
        .map(|(name, values)| claim(name, values))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The name by which verifiers know a key.
#[must_use]
pub fn kid(alg: Algorithm, public: &str) -> String {
    PublicKey::from_text(alg, public).map_or_else(|error| format!("({error})"), |key| key.thumbprint())
}

/// As prompts, lists and receipts call it.
#[must_use]
pub fn class(class: SignerClass) -> &'static str {
    match class {
        SignerClass::Sealed => "sealed",
    }
}

/// One of several.
#[must_use]
pub fn joined(texts: &BTreeSet<String>) -> String {
    texts.iter().map(String::as_str).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli::card) fn token() -> TokenText {
        TokenText {
            alg: Algorithm::EdDsa,
            aud: "https://registry.example".into(),
            claims: BTreeMap::new(),
            class: SignerClass::Sealed,
            iss: "https://id.example/touchlease".into(),
            key: crate::vault::signer::tests::keys()[0].clone(),
            sub: "deployer".into(),
        }
    }
}
