//! `touchlease issuer export`: the public keys of signers, as any web server serves them to those who verify.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::init::unexpected;
use super::session::Session;
use super::signer::{keys, signers, unvouched, what_of_it};
use super::ui::Tone;
use crate::encoding::jwk::{Algorithm, PublicKey};
use crate::encoding::plain::count;
use crate::wire::signer::SignerView;
use crate::wire::{Failure, Outcome};

/// Where OpenID Connect Discovery 1.0, section 4, looks for what an issuer says of itself.
const FOLDER: &str = ".well-known";
const CONFIGURATION: &str = "openid-configuration";
const KEYS: &str = "jwks.json";

/// Write what verifiers read: an issuer and its public keys.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write the discovery document and the public keys of an issuer, without a touch.
    ///
    /// FOLDER/.well-known/openid-configuration and FOLDER/.well-known/jwks.json, for any static web server under the issuer's URL: the keys that
    /// sign, those that will sign next, and those that signed before the last rotation. Write them anew after each `signer add`,
    /// `signer rotate` and `signer remove`. A signer that no touch on this machine has shown to be as the folder says is refused.
    Export {
        /// Write below this folder, which is made where it is missing.
        folder: PathBuf,
        /// Write this issuer [default: the only one that there is].
        #[arg(long, value_name = "URL")]
        issuer: Option<String>,
    },
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, command: Command) -> Result<(), Failure> {
    let Command::Export { folder, issuer } = command;
    let (signers, unreadable) = signers(session, vec![])?;
    // What is not readable may have been its only one.
    let issuer = which(&signers, issuer).map_err(|failure| unreadable.first().map_or(failure, |file| not_there(file)))?;
    let of_it: Vec<&SignerView> = signers.iter().filter(|view| issuer_of(view) == Some(&issuer)).collect();
    if let Some(view) = of_it.iter().find(|view| !view.vouched) {
        return Err(Failure::new(Outcome::VaultRefused, "not_vouched", unvouched(&view.signer)).hint(what_of_it(view)));
    }
    if let Some(file) = unreadable.first() {
        return Err(not_there(file));
    }
    check_subjects(&of_it)?;
    let documents = Documents::of(&issuer, &of_it)?;
    documents.write(&folder).map_err(|error| {
        let message = format!("{} cannot be written: {error}", folder.display());
        Failure::new(Outcome::BadInput, "folder", message).hint("name a folder that you may write to")
    })?;
    let below = folder.join(FOLDER);
    let names: Vec<&str> = of_it.iter().map(|view| view.signer.as_str()).collect();
    session.ui.json(&json!({
        "issuer": issuer,
        "signers": names,
        "kids": documents.kids,
        "files": [below.join(CONFIGURATION), below.join(KEYS)],
    }));
    session.ui.line(&format!(
        "{} of {} written below {}",
        count(documents.kids.len(), "key"),
        issuer,
        below.display()
    ));
    session.ui.note(Tone::Dim, &format!("signers: {}", names.join(", ")));
    Ok(())
}

/// It may have been one of the issuer's: what is written would take its keys away.
fn not_there(file: &str) -> Failure {
    let message = format!("a record of the vault is not there, or not readable: {file}");
    let hint = "put the folder back as it was, as git has it; if another machine changed it, the next touch for that scope takes the change in; \
                touchlease doctor tells what else can be done";
    Failure::new(Outcome::VaultRefused, "unreadable", message).hint(hint)
}

/// Verifiers tell signers of one issuer apart by the subject: two machines may have made two with the same.
fn check_subjects(signers: &[&SignerView]) -> Result<(), Failure> {
    let mut whose: BTreeMap<&str, &str> = BTreeMap::new();
    for view in signers {
        for subject in view.rules.signer.iter().flat_map(|signer| &signer.subjects) {
            if let Some(other) = whose.insert(subject, &view.signer) {
                let message = format!(
                    "{other} and {} both speak of {subject}, and verifiers could not tell them apart",
                    view.signer
                );
                return Err(Failure::new(Outcome::BadInput, "subject_taken", message).hint(format!(
                    "give one of them other subjects: touchlease signer rotate {} --sub SUBJECT",
                    view.signer
                )));
            }
        }
    }
    Ok(())
}

fn issuer_of(view: &SignerView) -> Option<&String> {
    // One of SSH certificates has none.
    view.rules
        .signer
        .as_deref()
        .map(|signer| &signer.issuer)
        .filter(|issuer| !issuer.is_empty())
}

fn which(signers: &[SignerView], named: Option<String>) -> Result<String, Failure> {
    let issuers: BTreeSet<&String> = signers.iter().filter_map(issuer_of).collect();
    let list = || issuers.iter().map(|issuer| issuer.as_str()).collect::<Vec<_>>().join(", ");
    match (named, issuers.len()) {
        (_, 0) => {
            Err(Failure::new(Outcome::BadInput, "no_issuer", "there are no signers, so there is no issuer").hint("touchlease signer list"))
        }
        (Some(named), _) if issuers.contains(&named) => Ok(named),
        (Some(named), _) => {
            let message = format!("no signer issues as {named:?}");
            Err(Failure::new(Outcome::BadInput, "no_issuer", message).hint(format!("there are: {}", list())))
        }
        (None, 1) => issuers.first().map(|issuer| (*issuer).clone()).ok_or_else(unexpected),
        (None, _) => {
            let message = format!("there are several issuers: {}", list());
            Err(Failure::new(Outcome::Usage, "which_issuer", message).hint("name one with --issuer, and give each a folder of its own"))
        }
    }
}

struct Documents {
    configuration: Value,
    keys: Value,
    kids: Vec<String>,
}

impl Documents {
    fn of(issuer: &str, signers: &[&SignerView]) -> Result<Self, Failure> {
        // By name: two signers may not share a key, and one that did would stand there once.
        let mut set: BTreeMap<String, Value> = BTreeMap::new();
        let mut algorithms: BTreeSet<&str> = BTreeSet::new();
        for signer in signers.iter().filter_map(|view| view.rules.signer.as_deref()) {
            algorithms.insert(signer.alg.as_str());
            for (_, public) in keys(signer) {
                let key = entry(signer.alg, public)?;
                set.insert(key.0, key.1);
            }
        }
        let claims = ["aud", "exp", "iat", "iss", "jti", "lease_sha256", "nbf", "sub", "task"];
        Ok(Self {
            kids: set.keys().cloned().collect(),
            configuration: json!({
                "issuer": issuer,
                "jwks_uri": format!("{issuer}/{FOLDER}/{KEYS}"),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": algorithms,
                "claims_supported": claims,
            }),
            keys: json!({ "keys": set.into_values().collect::<Vec<_>>() }),
        })
    }

    /// Keys first: whoever reads the configuration finds them.
    fn write(&self, folder: &Path) -> io::Result<()> {
        let below = folder.join(FOLDER);
        fs::create_dir_all(&below)?;
        let text = |json: &Value| Ok::<_, io::Error>([serde_json::to_vec_pretty(json)?, b"\n".to_vec()].concat());
        replace(&below, KEYS.as_ref(), &text(&self.keys)?)?;
        replace(&below, CONFIGURATION.as_ref(), &text(&self.configuration)?)
    }
}

/// A key as it stands in a set (RFC 7517, 5), under its name.
fn entry(alg: Algorithm, public: &str) -> Result<(String, Value), Failure> {
    let key = PublicKey::from_text(alg, public).map_err(|_| unexpected())?;
    let kid = key.thumbprint();
    let mut value = json!(key.jwk());
    for (name, text) in [("alg", alg.as_str()), ("kid", &kid), ("use", "sig")] {
        value[name] = json!(text);
    }
    Ok((kid, value))
}

/// Whole or as before, whenever somebody reads (rename(2)); public, as it is to be served.
///
/// # Errors
/// What the system says; the file is as it was then.
pub fn replace(folder: &Path, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!(".tmp-{}-{}", name.display(), std::process::id()));
    let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, folder.join(name)));
    if written.is_err() {
        // What was half written is of no use; what cannot be removed is named by the error that led here.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
