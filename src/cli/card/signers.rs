//! Signers and tokens, as a person reads them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Row, must};
use crate::encoding::jwk::{Algorithm, PublicKey};
use crate::encoding::ssh_key::SshKey;
use crate::lease::text::{CertificateText, GrantText, TokenText};
use crate::wire::signer::{SignerClass, SignerRules};

/// Digits of a key's name that are enough to tell it from another.
const SHOWN_KID: usize = 11;

/// Which signer signs, and where its key is.
pub(super) fn signed(grant: &GrantText) -> String {
    if let Some(certificate) = &grant.certificate {
        let class = class(certificate.class);
        return format!(
            "an SSH certificate signed by {}  {class} signer, version {}",
            grant.secret, grant.version
        );
    }
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
    for (claim, value) in &token.claims {
        must(rows, "with", format!("{claim} = {value}"));
    }
}

/// What a certificate lets in.
pub(super) fn certificate_rows(rows: &mut Vec<Row>, certificate: &CertificateText) {
    must(rows, "as", format!("user {}", certificate.principal));
    let key = SshKey::from_line(&certificate.key);
    must(
        rows,
        "with key",
        key.map_or_else(|error| format!("({error})"), |key| format!("{} {}", key.name(), key.fingerprint())),
    );
    let runs = match &certificate.force_command {
        Some(command) => format!("only {command}"),
        None => "anything".to_owned(),
    };
    let terminal = if certificate.pty {
        ", with a terminal"
    } else {
        ", without a terminal"
    };
    must(rows, "may run", runs + terminal);
    let from: Vec<String> = certificate.source_addresses.iter().map(ToString::to_string).collect();
    must(rows, "from", if from.is_empty() { "everywhere".into() } else { from.join(" or ") });
}

/// What may be signed with a signer, in words.
#[must_use]
pub fn rules(signer: &SignerRules) -> String {
    let key: String = kid(signer.alg, &signer.current).chars().take(SHOWN_KID).collect();
    if !signer.principals.is_empty() {
        let (alg, names) = (signer.alg.as_str(), joined(&signer.principals));
        return format!("sealed signer ({alg}) of SSH certificates, which let in as {names}; key {key}");
    }
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
    text + &format!("; key {key}")
}

/// Claims that a token may have: `ref` of any value, `env` of these.
#[must_use]
pub fn claims(claims: &BTreeMap<String, BTreeSet<String>>) -> String {
    let one = |(name, values): (&String, &BTreeSet<String>)| match values.is_empty() {
        true => format!("{name} = anything"),
        false => format!("{name} = {}", joined(values)),
    };
    claims.iter().map(one).collect::<Vec<_>>().join(", ")
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
