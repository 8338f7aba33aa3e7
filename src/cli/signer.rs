//! `touchlease signer`: private keys that are made inside the vault and sign tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use super::card::duration;
use super::card::signers::{accesses, claims, class, gives, joined, kid, place, profiles, trusted};
use super::change::{how_many, seconds, uses};
use super::init::unexpected;
use super::piv::{SignerPivArgs, ask_for_signer};
use super::session::Session;
use super::table::Table;
use super::ui::Tone;
use crate::encoding::SecretRef;
use crate::encoding::exchange::Exchange;
use crate::encoding::jwk::{Algorithm, Profile, PublicKey};
use crate::encoding::plain::count;
use crate::sys::file::read_text;
use crate::vault::signer::SignerKind;
use crate::wire::signer::{HardwareRules, MayAsk, SignerAddAsk, SignerRotateAsk, SignerRules, SignerView};
use crate::wire::{Failure, Outcome, Reply, Request, Uses};

/// Largest file of certificates.
const LARGEST_CA: usize = 64 << 10;
/// The firmware that first deletes a single key.
const DELETES_SINCE: [u8; 3] = [5, 7, 0];

/// Make and look at signers: private keys, inside the vault or in hardware, that sign tokens, SSH certificates or SSH signatures.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a signer: one touch.
    ///
    /// The daemon makes its private keys, the one that signs and the one that will sign next, and seals them; nobody ever gets them. The rules
    /// for what may be signed are sealed with them. `touchlease issuer export` writes the public keys for those who verify. With --piv the key is
    /// made on a YubiKey, and never leaves it: each signature takes its PIN and its touch.
    Add(Box<AddArgs>),
    /// List signers with what they may sign, without a touch.
    List,
    /// Show one signer with its public keys, without a touch.
    Show {
        /// As scope/NAME.
        signer: SecretRef,
    },
    /// Let a signer's next key sign from now on: one touch.
    ///
    /// The key that signed until now is kept, its public half only, so that what it signed is good to its end. Export the issuer anew
    /// afterwards. With --compromised every key is new, and nothing that was signed is good any more once verifiers have read that. A signer in
    /// hardware has no next key: with --piv one is made, which signs from now on.
    Rotate(Box<RotateArgs>),
    /// Remove a signer: one touch.
    Remove {
        /// As scope/NAME.
        signer: SecretRef,
    },
}

#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// A name, with --scope, or scope/NAME.
    #[arg(value_name = "NAME")]
    name: String,
    /// Make it in this scope.
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// Sign with this algorithm.
    #[arg(long, value_name = "ALGORITHM", default_value = "es256")]
    alg: Alg,
    /// Name this issuer in every token: the https URL under which `issuer export` is served.
    #[arg(long, value_name = "URL", required_unless_present_any = ["principals", "namespaces"], conflicts_with_all = ["principals", "namespaces"])]
    issuer: Option<String>,
    #[command(flatten)]
    piv: SignerPivArgs,
    #[command(flatten)]
    may: MayArgs,
    #[command(flatten)]
    exchange: ExchangeArgs,
}

#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    /// As scope/NAME.
    #[arg(value_name = "SIGNER")]
    signer: SecretRef,
    /// Trust none of its keys any more: somebody else may have them.
    #[arg(long)]
    compromised: bool,
    /// Change its rules alone, and keep its keys. Without a rule this shows by a touch that the signer is as the folder says.
    #[arg(long, conflicts_with_all = ["compromised", "piv"])]
    keep_keys: bool,
    /// Let tokens have no claim any more but those that every token has.
    #[arg(long, conflicts_with = "claims")]
    no_claims: bool,
    /// Let certificates run anything, as far as whoever asks says.
    #[arg(long, conflicts_with = "force_command")]
    no_force_command: bool,
    /// Let certificates let in from everywhere, as far as whoever asks says.
    #[arg(long, conflicts_with = "source_addresses")]
    no_source_address: bool,
    #[command(flatten)]
    piv: SignerPivArgs,
    #[command(flatten)]
    may: MayArgs,
}

#[derive(Debug, clap::Args)]
pub struct MayArgs {
    /// Let tokens be for this audience. Repeat for more; each token is for one.
    #[arg(long = "aud", value_name = "URL")]
    audiences: Vec<String>,
    /// Let tokens speak of this subject [default: the signer's name]. Repeat for more.
    #[arg(long = "sub", value_name = "SUBJECT")]
    subjects: Vec<String>,
    /// Let tokens have this claim: NAME, or NAME=VALUE for this value only. Repeat for more.
    #[arg(long = "claim", value_name = "CLAIM")]
    claims: Vec<String>,
    /// Let tokens do this at a registry, or less: TYPE:NAME:ACTIONS, as repository:team/app:pull,push. Repeat for more.
    #[arg(long, value_name = "SCOPE")]
    access: Vec<String>,
    /// Name the key as the verifiers of this audience know it: AUDIENCE=libtrust or =x5c (a certificate in the header), for registries of
    /// distribution 2; =thumbprint, as all others. Repeat for more.
    #[arg(long = "profile", value_name = "PROFILE", value_parser = profile)]
    profiles: Vec<(String, Profile)>,
    /// Sign SSH certificates, and no tokens: let one let in as this user. Repeat for more; each certificate is for one.
    #[arg(long = "principal", value_name = "USER", conflicts_with_all = ["audiences", "subjects", "claims", "access", "profiles"])]
    principals: Vec<String>,
    /// Let each SSH certificate run this command and nothing else, whatever whoever asks for it says.
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["audiences", "namespaces"])]
    force_command: Option<String>,
    /// Let each SSH certificate let in from this address at most, or from a range as 192.0.2.0/24. Repeat for more.
    #[arg(long = "source-address", value_name = "ADDRESS", conflicts_with_all = ["audiences", "namespaces"])]
    source_addresses: Vec<String>,
    /// Sign SSH signatures, of git's commits and tags or of files, and nothing else: let them be in this namespace, as git or file. Repeat for more.
    #[arg(long = "namespace", value_name = "NAMESPACE", conflicts_with_all = ["audiences", "subjects", "claims", "access", "profiles", "principals", "piv"])]
    namespaces: Vec<String>,
    /// Let no token or certificate, or lease of signatures, live longer, as 5m; 1h at most [default: 10m].
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    max_ttl: Option<u64>,
    /// Let one touch be for this many tokens, logins or signatures, 100 at most, or for any number of logins or signatures: any [default: 1].
    #[arg(long, value_name = "N", value_parser = uses)]
    max_uses: Option<Uses>,
}

/// Where tokens are exchanged. It is sealed with the signer, and stays so: another place is another signer.
#[derive(Debug, clap::Args)]
#[group(skip)]
struct ExchangeArgs {
    /// Sign only to exchange the token at once with the OpenBao at this address, https://HOST:PORT. Repeat for more nodes of it.
    #[arg(long = "exchange", value_name = "URL", requires = "exchange_role", requires = "exchange_policies", conflicts_with_all = ["principals", "access", "profiles"])]
    addresses: Vec<String>,
    /// Trust this certificate of an authority for it, and no other: a file in PEM [default: the system's].
    #[arg(long, value_name = "FILE", requires = "addresses")]
    exchange_ca: Option<PathBuf>,
    /// Where auth/jwt is mounted there.
    #[arg(long, value_name = "MOUNT", default_value = "jwt", requires = "addresses")]
    exchange_mount: String,
    /// Log in with this role.
    #[arg(long, value_name = "ROLE", requires = "addresses")]
    exchange_role: Option<String>,
    /// Let what comes have this policy, of those that the role gives. Repeat for more.
    #[arg(long = "exchange-policy", value_name = "POLICY", requires = "addresses")]
    exchange_policies: Vec<String>,
    /// Let a command have what is at this path, as database/creds/app. Repeat for more.
    #[arg(long = "exchange-path", value_name = "PATH", requires = "addresses")]
    exchange_paths: Vec<String>,
    /// Let a command have a token, good for this many requests at most.
    #[arg(long, value_name = "N", value_parser = how_many::<u32>, requires = "addresses")]
    exchange_uses: Option<u32>,
}

impl ExchangeArgs {
    fn rule(self) -> Result<Option<Exchange>, Failure> {
        if self.addresses.is_empty() {
            return Ok(None);
        }
        let exchange = Exchange {
            addresses: self.addresses.into_iter().collect(),
            ca: self.exchange_ca.as_deref().map(read_ca).transpose()?.unwrap_or_default(),
            mount: self.exchange_mount,
            paths: self.exchange_paths.into_iter().collect(),
            policies: self.exchange_policies.into_iter().collect(),
            role: self.exchange_role.unwrap_or_default(),
            token_uses: self.exchange_uses,
        };
        match exchange.fault() {
            Some(fault) => {
                Err(Failure::new(Outcome::BadInput, "rules", fault).hint("touchlease signer add --help says what each option is"))
            }
            None => Ok(Some(exchange)),
        }
    }
}

/// The certificates of a file in PEM, as they are sealed.
fn read_ca(path: &Path) -> Result<BTreeSet<String>, Failure> {
    let wrong = |why: String| {
        let message = format!("{}: {why}", path.display());
        Failure::new(Outcome::BadInput, "ca", message).hint("name a file with certificates in PEM: --exchange-ca ca.pem")
    };
    let text = read_text(path, LARGEST_CA).map_err(|error| wrong(error.to_string()))?;
    let each = CertificateDer::pem_slice_iter(text.as_bytes());
    let each = each.map(|der| der.map(|der| BASE64URL_NOPAD.encode(&der)));
    let all = each.collect::<Result<BTreeSet<_>, _>>().map_err(|error| wrong(error.to_string()))?;
    match all.is_empty() {
        true => Err(wrong("no certificate is in it".into())),
        false => Ok(all),
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Alg {
    /// ECDSA on P-256 with SHA-256, which every verifier knows
    Es256,
    /// Ed25519
    Eddsa,
}

impl From<MayArgs> for MayAsk {
    fn from(args: MayArgs) -> Self {
        let mut claims: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for claim in args.claims {
            match claim.split_once('=') {
                Some((name, value)) => drop(claims.entry(name.to_owned()).or_default().insert(value.to_owned())),
                None => drop(claims.entry(claim).or_default()),
            }
        }
        Self {
            access: args.access.into_iter().collect(),
            audiences: args.audiences.into_iter().collect(),
            claims,
            force_command: args.force_command,
            namespaces: args.namespaces.into_iter().collect(),
            principals: args.principals.into_iter().collect(),
            profiles: args.profiles.into_iter().collect(),
            source_addresses: args.source_addresses.into_iter().collect(),
            subjects: args.subjects.into_iter().collect(),
            ttl: args.max_ttl,
            uses: args.max_uses,
        }
    }
}

fn profile(text: &str) -> Result<(String, Profile), String> {
    // An audience may have a = in it.
    let (aud, name) = text.rsplit_once('=').ok_or("write it as AUDIENCE=PROFILE")?;
    let profile = match name {
        "thumbprint" => Profile::Thumbprint,
        "libtrust" => Profile::Libtrust,
        "x5c" => Profile::X5c,
        _ => return Err("a profile is thumbprint, libtrust or x5c".to_owned()),
    };
    Ok((aud.to_owned(), profile))
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::Add(args) => add(session, *args),
        Command::List => list(session),
        Command::Show { signer } => show(session, &signer),
        Command::Rotate(args) => rotate(session, *args),
        Command::Remove { signer } => remove(session, &signer),
    }
}

/// The signers that are named, or all.
///
/// # Errors
/// See [`Failure`].
pub fn signers(session: &Session, named: Vec<String>) -> Result<(Vec<SignerView>, Vec<String>), Failure> {
    match session.ask(Request::SignerList { signers: named })? {
        Reply::Signers { signers, unreadable } => Ok((signers, unreadable)),
        _ => Err(unexpected()),
    }
}

fn add(session: &Session, args: AddArgs) -> Result<(), Failure> {
    let signer = match (args.scope, args.name.contains('/')) {
        (Some(scope), false) => format!("{scope}/{}", args.name),
        (None, true) => args.name,
        (None, false) => {
            let message = format!("say in which scope {} is to be", args.name);
            return Err(Failure::new(Outcome::Usage, "no_scope_named", message).hint("name it as scope/NAME, or with --scope"));
        }
        (Some(_), true) => {
            return Err(
                Failure::new(Outcome::Usage, "scope_twice", "the scope is named twice").hint("name it as scope/NAME, or with --scope")
            );
        }
    };
    if args.may.audiences.is_empty() && args.may.principals.is_empty() && args.may.namespaces.is_empty() {
        let message = "a signer signs for somebody: say for whom";
        return Err(Failure::new(Outcome::Usage, "no_audience", message).hint("--aud https://registry.example.com; repeat it for more"));
    }
    let ask = SignerAddAsk {
        signer,
        alg: match args.alg {
            Alg::Es256 => Algorithm::Es256,
            Alg::Eddsa => Algorithm::EdDsa,
        },
        issuer: args.issuer.unwrap_or_default(),
        exchange: args.exchange.rule()?,
        hardware: ask_for_signer(session, args.piv)?,
        may: args.may.into(),
    };
    changed(session, Request::SignerAdd(ask), "made")
}

fn rotate(session: &Session, args: RotateArgs) -> Result<(), Failure> {
    let ask = SignerRotateAsk {
        signer: args.signer.to_string(),
        compromised: args.compromised,
        keep_keys: args.keep_keys,
        no_claims: args.no_claims,
        no_force_command: args.no_force_command,
        no_source_addresses: args.no_source_address,
        hardware: ask_for_signer(session, args.piv)?,
        may: args.may.into(),
    };
    let verb = if ask.keep_keys { "changed" } else { "rotated" };
    changed(session, Request::SignerRotate(ask), verb)
}

fn changed(session: &Session, request: Request, verb: &str) -> Result<(), Failure> {
    let Reply::Signers { signers, .. } = session.ask(request)? else {
        return Err(unexpected());
    };
    session
        .ui
        .json(&json!({ "signers": signers.iter().map(as_json).collect::<Vec<_>>() }));
    for view in &signers {
        session.ui.line(&format!("{} {verb}", view.signer));
        entries(session, view);
        let verifiers = match kind(view) {
            SignerKind::Certificates => format!(
                "for servers: touchlease ssh ca {} prints the lines for TrustedUserCAKeys",
                view.signer
            ),
            SignerKind::Signatures => format!(
                "for those who verify: touchlease ssh allowed-signers {} prints the lines for their file of allowed signers",
                view.signer
            ),
            SignerKind::Tokens => {
                "for those who verify: touchlease issuer export FOLDER writes the public keys; serve them under the issuer's URL".to_owned()
            }
        };
        session.ui.note(Tone::Dim, &verifiers);
    }
    Ok(())
}

fn remove(session: &Session, signer: &SecretRef) -> Result<(), Failure> {
    let views = signers(session, vec![signer.to_string()])?.0;
    let request = Request::SignerRemove {
        signer: signer.to_string(),
    };
    let Reply::Changed { secrets } = session.ask(request)? else {
        return Err(unexpected());
    };
    session.ui.json(&json!({ "changed": secrets }));
    session.ui.line(&format!("{signer} removed"));
    let hardware = views.first().and_then(|view| view.rules.signer.as_deref()?.hardware.as_ref());
    if let Some(HardwareRules {
        serial, slot, firmware, ..
    }) = hardware
    {
        session.ui.note(Tone::Act, &stays(*serial, slot, *firmware));
    }
    session.ui.note(
        Tone::Dim,
        "verifiers trust its keys until they read an issuer that does not name them: touchlease issuer export FOLDER; servers, until their TrustedUserCAKeys does not",
    );
    Ok(())
}

/// What becomes of the key of a signer that is removed: nobody but a person takes it off the card. MOVE and DELETE KEY came with firmware 5.7.
fn stays(serial: u32, slot: &str, firmware: [u8; 3]) -> String {
    let how = match firmware < DELETES_SINCE {
        true => "its firmware deletes no single key; one that is made there takes its place".to_owned(),
        false => format!("ykman piv keys delete {slot} deletes it"),
    };
    format!("its key stays in slot {slot} of YubiKey {serial}: {how}")
}

fn list(session: &Session) -> Result<(), Failure> {
    let (signers, unreadable) = signers(session, vec![])?;
    session
        .ui
        .json(&json!({ "signers": signers.iter().map(as_json).collect::<Vec<_>>(), "unreadable": unreadable }));
    let head = ["SIGNER", "CLASS", "ALG", "ISSUER", "FOR", "AS", "LIMITS"];
    let table = Table::new(head, signers.iter().filter_map(row));
    session.ui.table(
        &table,
        "no signers yet: touchlease signer add NAME --scope prod --issuer URL --aud URL",
    );
    for view in signers.iter().filter(|view| !view.vouched) {
        session
            .ui
            .note(Tone::Bad, &format!("{}; {}", unvouched(&view.signer), what_of_it(view)));
    }
    for file in &unreadable {
        session.ui.note(Tone::Bad, &format!("not readable: {file}"));
    }
    Ok(())
}

fn show(session: &Session, signer: &SecretRef) -> Result<(), Failure> {
    let (signers, _) = signers(session, vec![signer.to_string()])?;
    let view = signers.first().ok_or_else(unexpected)?;
    session.ui.json(&json!({ "signer": as_json(view) }));
    entries(session, view);
    if !view.vouched {
        session
            .ui
            .note(Tone::Bad, &format!("{}; {}", unvouched(&view.signer), what_of_it(view)));
    }
    Ok(())
}

/// What is said of a signer that the folder shows, and no touch here.
pub fn unvouched(signer: &str) -> String {
    format!("no touch on this machine has shown that {signer} is as the folder says, so its keys are not exported")
}

/// What can be done about it: somebody else may have put it there, whose keys nobody is to trust.
pub fn what_of_it(view: &SignerView) -> String {
    let signer = &view.signer;
    let shows = match kind(view) {
        SignerKind::Certificates => format!("a certificate of it shows that: touchlease ssh cert {signer} --key ~/.ssh/id_ed25519.pub"),
        SignerKind::Signatures => format!("a touch shows that: touchlease signer rotate {signer} --keep-keys"),
        SignerKind::Tokens if is_exchanged(view) => {
            format!("an exchange by it shows that: touchlease exchange openbao {signer} -- COMMAND")
        }
        SignerKind::Tokens => format!("a token of it shows that: touchlease token {signer} --aud URL"),
    };
    format!("look at it: touchlease signer show {signer}; if it is yours, {shows}; if not: touchlease signer remove {signer}")
}

/// What has to be done about those of `secrets` that are signers: whoever could read one has its next key too, and may have used its last.
pub fn exposed_signers(secrets: &[String], views: &[SignerView]) -> Vec<String> {
    let exposed = views.iter().map(|view| &view.signer).filter(|signer| secrets.contains(signer));
    exposed
        .map(|signer| format!("{signer} is a signer, and its next key could be read too: touchlease signer rotate {signer} --compromised"))
        .collect()
}

fn row(view: &SignerView) -> Option<[String; 7]> {
    let signer = view.rules.signer.as_deref()?;
    Some([
        view.signer.clone(),
        class(view.class).to_owned(),
        signer.alg.as_str().to_owned(),
        signer.issuer.clone(),
        joined(&signer.audiences),
        joined(match kind(view) {
            SignerKind::Certificates => &signer.principals,
            SignerKind::Signatures => &signer.namespaces,
            SignerKind::Tokens => &signer.subjects,
        }),
        limits(view),
    ])
}

fn limits(view: &SignerView) -> String {
    let life = view.rules.ttl.map(duration).unwrap_or_default();
    let each = match (kind(view), view.rules.uses) {
        (SignerKind::Certificates, Some(1)) => "1 certificate or login".into(),
        (SignerKind::Certificates, uses) => format!("1 certificate or {}", how_often(uses, "login")),
        (SignerKind::Signatures, uses) => how_often(uses, "signature"),
        (SignerKind::Tokens, uses) => how_often(uses, "token"),
    };
    format!("{life}, {each} a touch")
}

/// How many of these one touch is for.
fn how_often(uses: Option<u32>, what: &str) -> String {
    uses.map_or_else(|| format!("any number of {what}s"), |uses| count(uses, what))
}

/// What it signs.
pub fn kind(view: &SignerView) -> SignerKind {
    let of = |signer: &SignerRules| SignerKind::of(!signer.principals.is_empty(), !signer.namespaces.is_empty());
    view.rules.signer.as_deref().map_or(SignerKind::Tokens, of)
}

/// Whether its tokens are given to nobody but an OpenBao.
fn is_exchanged(view: &SignerView) -> bool {
    view.rules.signer.as_deref().is_some_and(|signer| signer.exchange.is_some())
}

/// Its public keys, each with what it is for.
pub fn keys(signer: &SignerRules) -> Vec<(&'static str, &str)> {
    let previous = signer.previous.as_deref().map(|key| ("previous", key));
    let next = signer.next.as_deref().map(|key| ("next", key));
    let current = std::iter::once(("current", signer.current.as_str()));
    current.chain(next).chain(previous).collect()
}

fn entries(session: &Session, view: &SignerView) {
    let Some(signer) = view.rules.signer.as_deref() else { return };
    let place = match &signer.hardware {
        Some(hardware) => format!("in {}", place(hardware)),
        None => format!("{} in the vault", class(view.class)),
    };
    let class = format!("{place}, {}, version {}", signer.alg.as_str(), view.version);
    let users = joined(&signer.principals);
    let mut rows = vec![
        ("signer", view.signer.clone()),
        ("class", class),
        ("issuer", signer.issuer.clone()),
        ("for", joined(&signer.audiences)),
        ("as", joined(&signer.subjects)),
        ("lets in", if users.is_empty() { users } else { format!("as {users}") }),
        ("runs only", signer.force_command.clone().unwrap_or_default()),
        ("from", joined(&signer.source_addresses)),
        ("signs in", joined(&signer.namespaces)),
        ("with", claims(&signer.claims)),
        ("may", accesses(&signer.access, ", or ")),
        ("names keys", profiles(&signer.profiles)),
        ("only", signer.exchange.as_ref().map(exchange).unwrap_or_default()),
        ("limits", limits(view)),
    ];
    rows.extend(keys(signer).into_iter().map(|(state, key)| (state, kid(signer.alg, key))));
    for (word, text) in rows.iter().filter(|(_, text)| !text.is_empty()) {
        session.ui.entry(Tone::Plain, word, text);
    }
}

/// Where its tokens are exchanged, and for what.
fn exchange(rule: &Exchange) -> String {
    let place = format!("OpenBao at {}, known by {}", joined(&rule.addresses), trusted(rule));
    format!(
        "exchanged with {place}, role {} of auth/{}, for {}",
        rule.role,
        rule.mount,
        gives(rule)
    )
}

/// For a program: the keys with their names.
fn as_json(view: &SignerView) -> serde_json::Value {
    let Some(signer) = view.rules.signer.as_deref() else {
        return json!(view);
    };
    let key = |(state, public): (&str, &str)| {
        let libtrust = PublicKey::from_text(signer.alg, public).ok().and_then(|key| key.libtrust());
        json!({ "state": state, "kid": kid(signer.alg, public), "libtrust": libtrust, "public": public })
    };
    json!({
        "signer": view.signer,
        "class": view.class,
        "version": view.version,
        "alg": signer.alg,
        "issuer": signer.issuer,
        "access": signer.access,
        "audiences": signer.audiences,
        "force_command": signer.force_command,
        "namespaces": signer.namespaces,
        "principals": signer.principals,
        "profiles": signer.profiles,
        "exchange": signer.exchange,
        "source_addresses": signer.source_addresses,
        "subjects": signer.subjects,
        "claims": signer.claims,
        "hardware": signer.hardware,
        "ttl": view.rules.ttl,
        "uses": view.rules.uses,
        "keys": keys(signer).into_iter().map(key).collect::<Vec<_>>(),
        "vouched": view.vouched,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t53_of_what_a_removed_key_could_read_each_signer_is_said_with_the_rotation_that_helps() {
        let view = |signer: &str| SignerView {
            signer: signer.into(),
            version: 1,
            class: crate::wire::signer::SignerClass::Sealed,
            rules: crate::lease::change::rules_said(&crate::vault::signer::tests::rules()),
            vouched: true,
        };
        let secrets = ["prod/TOKEN".to_owned(), "prod/deployer".to_owned()];
        let said = exposed_signers(&secrets, &[view("dev/other"), view("prod/deployer")]);
        assert_eq!(said.len(), 1);
        assert!(
            said[0].ends_with("touchlease signer rotate prod/deployer --compromised"),
            "{said:?}"
        );
    }
}
