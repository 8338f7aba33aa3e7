//! Signers and tokens, as a person reads them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Row, duration, must, strong};
use crate::device::enrolled::UNVERIFIED;
use crate::encoding::Digest;
use crate::encoding::SecretRef;
use crate::encoding::access::Access;
use crate::encoding::exchange::{Exchange, Fetch};
use crate::encoding::jwk::{Algorithm, Profile, PublicKey};
use crate::encoding::plain::count;
use crate::encoding::ssh_key::SshKey;
use crate::lease::text::{
    BeforeText, CertificateText, DroppedText, ExchangeText, GrantText, KeyState, LeaseText, SignatureText, TokenText,
};
use crate::vault::signer::SignerKind;
use crate::wire::signer::{HardwareRules, SignerClass, SignerRules};

/// Digits of a key's name that are enough to tell it from another.
const SHOWN_KID: usize = 11;
/// The label of what was.
const UNTIL_NOW: &str = "before";
/// Where the rules name no value.
const ANYTHING: &str = "anything";

/// Which signer signs, and where its key is.
pub(super) fn signed(grant: &GrantText) -> String {
    if let Some(certificate) = &grant.certificate {
        let class = signer_of(certificate.class);
        let what = match certificate.login {
            Some(_) => "logins by SSH, with a certificate",
            None => "an SSH certificate",
        };
        return format!("{what} signed by {}  {class}, version {}", grant.secret, grant.version);
    }
    if let Some(signature) = &grant.signature {
        let class = signer_of(signature.class);
        return format!("SSH signatures by {}  {class}, version {}", grant.secret, grant.version);
    }
    let class = grant.token.as_ref().map_or("", |token| signer_of(token.class));
    let variable = grant
        .env
        .as_ref()
        .map(|env| format!(", in its environment as {env}"))
        .unwrap_or_default();
    format!("a token signed by {}  {class}, version {}{variable}", grant.secret, grant.version)
}

/// A signer, by its class. That of one in hardware is the touch itself.
fn signer_of(class: SignerClass) -> &'static str {
    match class {
        SignerClass::Sealed => "sealed signer",
        SignerClass::Hardware => "signer in hardware",
    }
}

/// What a token says.
pub(super) fn token_rows(rows: &mut Vec<Row>, token: &TokenText) {
    must(rows, "to", token.aud.clone());
    must(rows, "as", format!("{}, issued by {}", token.sub, token.iss));
    if let Some(exchange) = &token.exchange {
        exchange_rows(rows, exchange);
    }
    for access in &token.access {
        must(rows, "may", in_words(access));
    }
    if token.profile != Profile::Thumbprint {
        must(rows, "names key", way(token.profile).to_owned());
    }
    for (claim, said) in &token.claims {
        must(rows, "with", format!("{claim} = {}", value(said)));
    }
}

/// Where a token is exchanged, and for what: nobody has it but the server.
fn exchange_rows(rows: &mut Vec<Row>, exchange: &ExchangeText) {
    let ExchangeText { rule, wanted } = exchange;
    place_rows(rows, rule);
    for fetch in &wanted.fetch {
        let (label, what) = fetched(fetch, wanted.files);
        must(rows, label, what);
    }
    if wanted.fetch.is_empty() {
        let uses = count(wanted.uses.unwrap_or_default(), "request");
        must(
            rows,
            "gives",
            format!("OpenBao's token, good for {uses} with the policies {}", all(&rule.policies)),
        );
    } else {
        must(
            rows,
            "by",
            format!("a token with the policies {}, which the command does not get", all(&rule.policies)),
        );
    }
}

fn fetched(fetch: &Fetch, files: bool) -> (&'static str, String) {
    let form = if files { "as private files in" } else { "in" };
    let said = fetch.with.iter().map(|(name, said)| format!("{name} = {}", value(said)));
    let said = said.collect::<Vec<_>>().join(", ");
    match fetch.writes() {
        true => ("writes to", format!("{}: {said}; what comes, {form} {}_*", fetch.path, fetch.name)),
        false => ("reads", format!("{}, {form} {}_*", fetch.path, fetch.name)),
    }
}

/// Where tokens are exchanged, and how the servers are known.
fn place_rows(rows: &mut Vec<Row>, rule: &Exchange) {
    must(rows, "at", format!("OpenBao: {}", joined(&rule.addresses)));
    must(
        rows,
        "",
        format!("known by {}; role {} of auth/{}", trusted(rule), rule.role, rule.mount),
    );
}

/// By what servers are known.
#[must_use]
pub fn trusted(rule: &Exchange) -> String {
    let digests = rule.roots().iter().map(|der| Digest::of(der).to_string()).collect::<Vec<_>>();
    match digests.is_empty() {
        true => "the system's certificates".to_owned(),
        false => format!("the certificate {}", digests.join(" or ")),
    }
}

/// Every one of several.
#[must_use]
pub fn all(texts: &BTreeSet<String>) -> String {
    texts.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// What an exchange may give, in words.
#[must_use]
pub fn gives(rule: &Exchange) -> String {
    let token = rule
        .token_uses
        .map(|uses| format!("a token for {} at most", count(uses, "request")));
    let paths = (!rule.paths.is_empty()).then(|| format!("what is at {}", joined(&rule.paths)));
    let what = token.into_iter().chain(paths).collect::<Vec<_>>().join(", or ");
    format!("{what}, with the policies {}", all(&rule.policies))
}

/// What may be signed with a signer that is written, each rule in a row of its own: nothing in one can look like another (T10).
/// What they were until now, where they change, stands beside them: nobody takes that for a change of keys alone.
pub(super) fn rows(rows: &mut Vec<Row>, signer: &SignerRules, before: Option<&BeforeText>) {
    let none = BeforeText::default();
    let before = before.unwrap_or(&none);
    if !signer.namespaces.is_empty() {
        changed(rows, "signs in", joined(&signer.namespaces), before.namespaces.as_ref());
    } else if signer.principals.is_empty() {
        must(rows, "issuer", signer.issuer.clone());
        changed(rows, "to", joined(&signer.audiences), before.audiences.as_ref());
        changed(rows, "as", joined(&signer.subjects), before.subjects.as_ref());
    } else {
        let users = format!("as user {}", joined(&signer.principals));
        changed(rows, "lets in", users, before.principals.as_ref());
        limit_rows(rows, signer, before);
    }
    for (name, values) in &signer.claims {
        must(rows, "with", claim(name, values));
    }
    if let Some(claims) = &before.claims {
        let said = claims.iter().map(|(name, values)| claim(name, values));
        let none = claims.is_empty().then(|| "no claims".to_owned());
        said.chain(none).for_each(|said| strong(rows, UNTIL_NOW, said));
    }
    for access in &signer.access {
        must(rows, "may", in_words(access));
    }
    if let Some(before) = &before.access {
        let none = before.is_empty().then(|| "nothing at registries".to_owned());
        let said = before.iter().map(|access| in_words(access));
        said.chain(none).for_each(|said| strong(rows, UNTIL_NOW, said));
    }
    if let Some(exchange) = &signer.exchange {
        must(rows, "only", "to be exchanged, and given to nobody".to_owned());
        place_rows(rows, exchange);
        must(rows, "gives", gives(exchange));
    }
    for (aud, profile) in &signer.profiles {
        must(rows, "names key", format!("{} to {aud}", way(*profile)));
    }
    if let Some(hardware) = &signer.hardware {
        must(rows, "in", place(hardware));
    }
    let most = most(before.ttl, before.uses);
    most.into_iter().for_each(|most| strong(rows, UNTIL_NOW, most));
    let short = |public: &str| shown(signer.alg, public);
    must(rows, "keys", format!("{} signs", short(&signer.current)));
    if let Some(next) = &signer.next {
        must(rows, "", format!("{} signs next", short(next)));
    }
    if let Some(previous) = &signer.previous {
        must(rows, "", format!("{} signed before", short(previous)));
    }
}

/// The command and the addresses that every certificate has, where the rules have some, or had. In a row of its own: a command can look like anything.
fn limit_rows(rows: &mut Vec<Row>, signer: &SignerRules, before: &BeforeText) {
    let command = |command: &str| match command {
        "" => "anything".to_owned(),
        command => format!("only {command}"),
    };
    let from = |from: &BTreeSet<String>| match from.is_empty() {
        true => "everywhere".to_owned(),
        false => joined(from),
    };
    if signer.force_command.is_some() || before.force_command.is_some() {
        must(rows, "may run", command(signer.force_command.as_deref().unwrap_or_default()));
    }
    if let Some(before) = &before.force_command {
        strong(rows, UNTIL_NOW, command(before));
    }
    if !signer.source_addresses.is_empty() || before.source_addresses.is_some() {
        must(rows, "from", from(&signer.source_addresses));
    }
    if let Some(before) = &before.source_addresses {
        strong(rows, UNTIL_NOW, from(before));
    }
}

/// Where a signer's key in hardware is.
pub fn place(hardware: &HardwareRules) -> String {
    let attested = if hardware.attested {
        "attested under a maker's root"
    } else {
        UNVERIFIED
    };
    format!("hardware: slot {} of YubiKey {}, {attested}", hardware.slot, hardware.serial)
}

/// A row of a rule, and what it was. Nothing in one has a blank, so none can look like that.
fn changed(rows: &mut Vec<Row>, label: &'static str, text: String, before: Option<&BTreeSet<String>>) {
    match before {
        Some(before) => strong(rows, label, format!("{text} (until now: {})", joined(before))),
        None => must(rows, label, text),
    }
}

/// The limits of a life and of one touch, each in words. No uses at all are any number of them.
pub(super) fn most(ttl: Option<u64>, uses: Option<u32>) -> Vec<String> {
    let ttl = ttl.map(|ttl| format!("at most {}", duration(ttl)));
    let uses = uses.map(|uses| match uses {
        0 => "any number of uses".to_owned(),
        uses => format!("at most {}", count(uses, "use")),
    });
    ttl.into_iter().chain(uses).collect()
}

/// Public keys that will be a signer's no more, each with what that means.
pub(super) fn drops(rows: &mut Vec<Row>, drops: &[DroppedText]) {
    for (i, dropped) in drops.iter().enumerate() {
        let good = match (dropped.signs, dropped.issuer.is_empty()) {
            (Some(SignerKind::Certificates), _) => "no certificate of it stays good",
            // The lines lie with whoever verifies, and a signature has no end.
            (Some(SignerKind::Signatures), _) => "what it signed is good wherever its line stays in allowed_signers",
            (Some(SignerKind::Tokens), _) | (None, false) => "no token of it stays good",
            (None, true) => "no certificate or signature of it stays good",
        };
        let what = match dropped.was {
            KeyState::Current => format!("which signs now: {good}"),
            KeyState::Next => "which was to sign next".to_owned(),
            KeyState::Previous => format!("which signed before: {good}"),
        };
        let text = format!("key {} of {}, {what}", shown(dropped.alg, &dropped.public), dropped.secret);
        strong(rows, if i == 0 { "drops" } else { "" }, text);
    }
}

/// What is removed: of a signer, that it is one.
pub(super) fn removed(secret: &SecretRef, drops: &[DroppedText]) -> String {
    match drops.iter().find(|dropped| dropped.secret == *secret) {
        Some(dropped) => format!("{secret}, {}", of_what(&dropped.issuer, dropped.signs)),
        None => secret.to_string(),
    }
}

/// What a signer signs, by whom it names as the issuer: one for SSH names nobody. A text from before there were two kinds for SSH does not
/// say which it was.
pub(super) fn of_what(issuer: &str, signs: Option<SignerKind>) -> String {
    match (signs, issuer.is_empty()) {
        (Some(SignerKind::Certificates), _) => "a signer of SSH certificates".to_owned(),
        (Some(SignerKind::Signatures), _) => "a signer of SSH signatures".to_owned(),
        (None, true) => "a signer of SSH certificates or signatures".to_owned(),
        (Some(SignerKind::Tokens) | None, _) => format!("a signer of tokens issued by {issuer}"),
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

/// What a certificate lets in.
pub(super) fn certificate_rows(rows: &mut Vec<Row>, certificate: &CertificateText) {
    if let Some(login) = &certificate.login {
        let host = SshKey::from_line(&login.host_key);
        let host = host.map_or_else(
            |error| format!("({error})"),
            |host| format!("{} {}", host.name(), host.fingerprint()),
        );
        strong(rows, "at", format!("the server with the host key {host}"));
        if login.old_server {
            strong(
                rows,
                "",
                "as whoever asks says: an OLD SERVER cannot tell, and it may be another one".into(),
            );
        }
        must(rows, "login", format!("as {}", login.user));
    }
    must(rows, "as", format!("user {}", certificate.principal));
    let key = SshKey::from_line(&certificate.key);
    must(
        rows,
        "with key",
        key.map_or_else(|error| format!("({error})"), |key| format!("{} {}", key.name(), key.fingerprint())),
    );
    if certificate.login.is_some() {
        must(rows, "", "made for this, kept by the daemon".into());
    }
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

/// What a lease without a limit of uses lets sign.
pub(super) fn signs_any(lease: &LeaseText) -> Option<&'static str> {
    let logs_in = lease.certificate().is_some_and(|(_, certificate)| certificate.login.is_some());
    match lease.uses {
        None if lease.signature().is_some() => Some("any number of signatures"),
        None if logs_in => Some("any number of logins"),
        _ => None,
    }
}

/// What an SSH signature is over: of one, exactly this; of several, more that nobody knows yet.
pub(super) fn signature_rows(rows: &mut Vec<Row>, signature: &SignatureText, uses: Option<u32>) {
    must(rows, "in", format!("the namespace {}", signature.namespace));
    let key = PublicKey::from_text(signature.alg, &signature.key).ok();
    let key = key.and_then(|key| SshKey::of(&key).ok());
    let key = key.map_or_else(|| "(none)".to_owned(), |key| format!("{} {}", key.name(), key.fingerprint()));
    must(rows, "with key", key);
    must(rows, "over", format!("{} {}", signature.hash, signature.digest));
    let more = match uses {
        Some(0 | 1) => return,
        Some(uses) => (uses - 1).to_string(),
        None => "ANY NUMBER".to_owned(),
    };
    strong(rows, "", format!("and {more} MORE in that namespace that nobody has seen yet"));
}

/// What may be signed with a signer, in words.
#[must_use]
pub fn rules(signer: &SignerRules) -> String {
    let key = shown(signer.alg, &signer.current);
    let class = match &signer.hardware {
        Some(hardware) => format!("signer in hardware (slot {} of YubiKey {})", hardware.slot, hardware.serial),
        None => format!("sealed signer ({})", signer.alg.as_str()),
    };
    if !signer.namespaces.is_empty() {
        let names = joined(&signer.namespaces);
        return format!("{class} of SSH signatures, in the namespace {names}; key {key}");
    }
    if !signer.principals.is_empty() {
        let names = joined(&signer.principals);
        let runs = signer
            .force_command
            .as_ref()
            .map(|command| format!(", to run only {command}"))
            .unwrap_or_default();
        let from = Some(joined(&signer.source_addresses)).filter(|from| !from.is_empty());
        let from = from.map(|from| format!(", from {from}")).unwrap_or_default();
        return format!("{class} of SSH certificates, which let in as {names}{from}{runs}; key {key}");
    }
    let mut text = format!(
        "{class} of tokens issued by {}, to {}, as {}",
        signer.issuer,
        joined(&signer.audiences),
        joined(&signer.subjects),
    );
    if !signer.claims.is_empty() {
        text += &format!(", with {}", claims(&signer.claims));
    }
    if !signer.access.is_empty() {
        text += &format!(", which may do {}", accesses(&signer.access, " or "));
    }
    if let Some(exchange) = &signer.exchange {
        text += &format!(", only to be exchanged at {} for {}", joined(&exchange.addresses), gives(exchange));
    }
    if !signer.profiles.is_empty() {
        text += &format!(", named {}", profiles(&signer.profiles));
    }
    text + &format!("; key {key}")
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

/// What may be done at a registry.
#[must_use]
pub fn accesses(access: &BTreeSet<String>, between: &str) -> String {
    access.iter().map(|text| in_words(text)).collect::<Vec<_>>().join(between)
}

fn in_words(access: &str) -> String {
    access
        .parse()
        .map_or_else(|error| format!("({error})"), |access: Access| access.in_words())
}

/// Audiences whose verifiers know keys in another way than by the thumbprint.
#[must_use]
pub fn profiles(profiles: &BTreeMap<String, Profile>) -> String {
    let each = profiles.iter().map(|(aud, profile)| format!("{} to {aud}", way(*profile)));
    each.collect::<Vec<_>>().join(", ")
}

fn way(profile: Profile) -> &'static str {
    match profile {
        Profile::Thumbprint => "by its thumbprint",
        Profile::Libtrust => "by its libtrust fingerprint",
        Profile::X5c => "by its certificate (x5c)",
    }
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
        SignerClass::Hardware => "in hardware",
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
    use crate::vault::signer::tests::{keys, rules as sealed};

    #[test]
    fn t27_a_signer_of_certificates_is_shown_with_whom_it_lets_in_and_never_as_one_of_tokens() {
        let mut sealed = sealed();
        let Some(signer) = sealed.signer.as_mut() else {
            panic!("no signer")
        };
        (signer.audiences, signer.subjects, signer.claims) = Default::default();
        signer.issuer.clear();
        signer.principals = Some(["deploy".to_owned(), "root".to_owned()].into());
        let said = crate::lease::change::rules_said(&sealed);
        let Some(said) = said.signer else { panic!("no signer") };
        let mut shown = Vec::new();
        rows(&mut shown, &said, None);
        let shown: Vec<_> = shown.iter().map(|row| format!("{} {}", row.label, row.text)).collect();
        assert_eq!(shown[0], "lets in as user deploy or root");
        assert!(shown[1].starts_with("keys ") && !shown.iter().any(|row| row.starts_with("issuer") || row.starts_with("to ")));
        let Ok(secret) = "prod/ca".parse::<SecretRef>() else {
            panic!("no name")
        };
        let dropped = |issuer: &str, signs| DroppedText {
            secret: secret.clone(),
            alg: Algorithm::EdDsa,
            issuer: issuer.to_owned(),
            signs,
            public: keys()[2].clone(),
            was: KeyState::Previous,
        };
        for (dropped, is, was) in [
            (
                dropped("", Some(SignerKind::Certificates)),
                "a signer of SSH certificates",
                "no certificate of it stays good",
            ),
            (
                dropped("", Some(SignerKind::Signatures)),
                "a signer of SSH signatures",
                "what it signed is good wherever its line stays in allowed_signers",
            ),
            (
                dropped("https://id.example", None),
                "a signer of tokens issued by https://id.example",
                "no token of it stays good",
            ),
            // A receipt from before there were two kinds for SSH.
            (
                dropped("", None),
                "a signer of SSH certificates or signatures",
                "no certificate or signature of it stays good",
            ),
        ] {
            let dropped = [dropped];
            assert_eq!(removed(&secret, &dropped), format!("prod/ca, {is}"));
            let mut shown = Vec::new();
            drops(&mut shown, &dropped);
            assert!(shown[0].text.ends_with(&format!("which signed before: {was}")), "{}", shown[0].text);
        }
    }

    #[test]
    fn t27_a_card_says_beside_each_rule_of_a_signer_that_changes_what_it_was_until_now() {
        let of = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        let texts = |signer: &SignerRules, before: &BeforeText| -> Vec<String> {
            let mut shown = Vec::new();
            rows(&mut shown, signer, Some(before));
            shown.iter().map(|row| format!("{} {}", row.label, row.text)).collect()
        };
        let Some(tokens) = crate::lease::change::rules_said(&sealed()).signer else {
            panic!("no signer")
        };
        let ca = SignerRules {
            principals: of(&["root"]),
            ..(*tokens).clone()
        };
        let before = BeforeText {
            principals: Some(of(&["backup", "deploy"])),
            ttl: Some(600),
            ..BeforeText::default()
        };
        let shown = texts(&ca, &before);
        assert_eq!(shown[0], "lets in as user root (until now: backup or deploy)");
        assert!(shown.contains(&"before at most 10 min".to_owned()), "{shown:?}");
        let limited = SignerRules {
            force_command: Some("/usr/bin/deploy".into()),
            source_addresses: of(&["192.0.2.0/24", "2001:db8::/32"]),
            ..ca.clone()
        };
        let shown = texts(&limited, &BeforeText::default());
        assert_eq!(shown[1..3], ["may run only /usr/bin/deploy", "from 192.0.2.0/24 or 2001:db8::/32"]);
        let before = BeforeText {
            force_command: Some(String::new()),
            source_addresses: Some(of(&["192.0.2.0/24"])),
            ..BeforeText::default()
        };
        let shown = texts(&limited, &before);
        assert_eq!((shown[2].as_str(), shown[4].as_str()), ("before anything", "before 192.0.2.0/24"));
        let before = BeforeText {
            force_command: Some("/usr/bin/deploy".into()),
            source_addresses: Some(of(&["192.0.2.0/24"])),
            ..BeforeText::default()
        };
        let shown = texts(&ca, &before);
        assert_eq!(
            shown[1..5],
            [
                "may run anything",
                "before only /usr/bin/deploy",
                "from everywhere",
                "before 192.0.2.0/24"
            ]
        );
        let before = BeforeText {
            audiences: Some(of(&["https://old.example"])),
            claims: Some(BTreeMap::new()),
            subjects: Some(of(&["robot"])),
            uses: Some(1),
            ..BeforeText::default()
        };
        let without = BeforeText {
            uses: Some(0),
            ..BeforeText::default()
        };
        assert!(texts(&tokens, &without).contains(&"before any number of uses".to_owned()));
        let shown = texts(&tokens, &before);
        for part in [
            "(until now: https://old.example)",
            "(until now: robot)",
            "before no claims",
            "before at most 1 use",
        ] {
            assert!(shown.iter().any(|row| row.contains(part)), "{part} in {shown:?}");
        }
        assert!(
            !texts(&tokens, &BeforeText::default())
                .iter()
                .any(|row| row.contains("until now") || row.starts_with("before"))
        );
    }

    pub(in crate::cli::card) fn signature() -> SignatureText {
        SignatureText {
            alg: Algorithm::EdDsa,
            class: SignerClass::Sealed,
            digest: "07".repeat(64),
            hash: crate::encoding::ssh_signed_data::Hash::Sha512,
            key: crate::vault::signer::tests::keys()[0].clone(),
            namespace: "git".into(),
        }
    }

    pub(in crate::cli::card) fn token() -> TokenText {
        TokenText {
            access: BTreeSet::new(),
            alg: Algorithm::EdDsa,
            aud: "https://registry.example".into(),
            certificate: None,
            claims: BTreeMap::new(),
            class: SignerClass::Sealed,
            exchange: None,
            iss: "https://id.example/touchlease".into(),
            key: crate::vault::signer::tests::keys()[0].clone(),
            profile: Profile::default(),
            sub: "deployer".into(),
        }
    }
}
