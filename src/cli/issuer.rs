//! `touchlease issuer`: the public keys of signers, as any web server serves them to those who verify, and whether it does.

mod check;
mod documents;
mod served;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use self::check::{Difference, Read, compare};
use self::documents::Documents;
use self::served::Place;
use super::init::unexpected;
use super::session::Session;
use super::signer::{signers, unvouched, what_of_it};
use super::ui::Tone;
use crate::deliver::proxy::upstream::roots;
use crate::encoding::plain::{self, count};
use crate::lease::failure::internal;
use crate::sys::file::read_text;
use crate::vault::signer::is_issuer;
use crate::wire::signer::SignerView;
use crate::wire::{Failure, Outcome};

/// Largest file of certificates, in bytes.
const LARGEST_CA: usize = 1 << 20;
/// Where OpenID Connect Discovery 1.0, section 4, looks for what an issuer says of itself.
const FOLDER: &str = ".well-known";
const CONFIGURATION: &str = "openid-configuration";
const KEYS: &str = "jwks.json";
/// For registries of distribution 2 (`auth.token.rootcertbundle`): the certificates of the keys, where a profile needs them.
const BUNDLE: &str = "rootcertbundle.pem";

/// Write what verifiers read, an issuer and its public keys, and check what is served.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write the discovery document and the public keys of an issuer, without a touch.
    ///
    /// FOLDER/.well-known/openid-configuration and FOLDER/.well-known/jwks.json, for any static web server under the issuer's URL: the keys that
    /// sign, those that will sign next, and those that signed before the last rotation; FOLDER/rootcertbundle.pem, for registries, where a
    /// signer has a profile that needs certificates. Write them anew after each `signer add`,
    /// `signer rotate` and `signer remove`. A signer that no touch on this machine has shown to be as the folder says is refused.
    Export {
        /// Write below this folder, which is made where it is missing.
        folder: PathBuf,
        /// Write this issuer [default: the only one that there is].
        #[arg(long, value_name = "URL")]
        issuer: Option<String>,
    },
    /// Hold what is served, or what lies in a folder, against what `issuer export` would write.
    ///
    /// Reads WHERE/.well-known/openid-configuration and WHERE/.well-known/jwks.json and says each difference in a sentence: another issuer, a key
    /// that is missing, strange, changed, or shown with its private half. Without a touch. With a URL this is the one command of touchlease that
    /// connects to another machine for itself: to this host, with TLS, without following redirects and without any credential. Ends with 65 when
    /// there is a difference.
    Check {
        /// An https URL, usually the issuer's, or a folder.
        #[arg(value_name = "WHERE")]
        place: String,
        /// Hold it against this issuer [default: the one of this URL, or the only one that there is].
        #[arg(long, value_name = "URL")]
        issuer: Option<String>,
        /// Trust the certificates in this file, in PEM form, beside the system's.
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
    },
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Export { folder, issuer } => export(session, &folder, issuer).map(|()| 0),
        Command::Check { place, issuer, ca } => check(session, &place, issuer, ca.as_deref()),
    }
}

fn export(session: &Session, folder: &Path, issuer: Option<String>) -> Result<(), Failure> {
    let (issuer, names, documents) = documents(session, issuer, None)?;
    documents.write(folder).map_err(|error| {
        let message = format!("{} cannot be written: {error}", folder.display());
        Failure::new(Outcome::BadInput, "folder", message).hint("name a folder that you may write to")
    })?;
    session.ui.json(&json!({
        "issuer": issuer,
        "signers": names,
        "kids": documents.keys.keys().collect::<Vec<_>>(),
        "files": documents.files(folder),
    }));
    session.ui.line(&format!(
        "{} of {} written below {}",
        count(documents.count, "key"),
        issuer,
        folder.join(FOLDER).display()
    ));
    session.ui.note(Tone::Dim, &format!("signers: {}", names.join(", ")));
    Ok(())
}

/// The issuer that is named, or that of `url`, or the only one; its signers; and what is said of it.
fn documents(session: &Session, named: Option<String>, url: Option<&str>) -> Result<(String, Vec<String>, Documents), Failure> {
    let (signers, unreadable) = signers(session, vec![])?;
    let of_url = || url.filter(|url| signers.iter().any(|view| issuer_of(view).is_some_and(|issuer| issuer == url)));
    let named = named.or_else(|| of_url().map(str::to_owned));
    // What is not readable may have been its only one.
    let issuer = which(&signers, named).map_err(|failure| unreadable.first().map_or(failure, |file| not_there(file)))?;
    let of_it: Vec<&SignerView> = signers.iter().filter(|view| issuer_of(view) == Some(&issuer)).collect();
    if let Some(view) = of_it.iter().find(|view| !view.vouched) {
        return Err(Failure::new(Outcome::VaultRefused, "not_vouched", unvouched(&view.signer)).hint(what_of_it(view)));
    }
    if let Some(file) = unreadable.first() {
        return Err(not_there(file));
    }
    check_subjects(&of_it)?;
    let documents = Documents::of(&issuer, &of_it)?;
    let names = of_it.iter().map(|view| view.signer.clone()).collect();
    Ok((issuer, names, documents))
}

fn check(session: &Session, named: &str, issuer: Option<String>, ca: Option<&Path>) -> Result<u8, Failure> {
    let place = place(named, ca)?;
    let url = match &place {
        Place::Site { url, .. } => Some(url.as_str()),
        Place::Folder(_) => None,
    };
    let elsewhere = issuer.is_none();
    let (issuer, _, ours) = documents(session, issuer, url)?;
    let read = |name: &str| {
        let path = Path::new(FOLDER).join(name);
        Read {
            name: place.name(&path),
            bytes: place.read(&path),
        }
    };
    let mut differences = compare(&ours, &read(CONFIGURATION), &read(KEYS));
    if let Some(url) = url.filter(|url| elsewhere && *url != issuer) {
        let what = format!("it was read below {url}, and verifiers look below {issuer}");
        differences.push(Difference { reason: "place", what });
    }
    differences.extend(bundle(&place, &ours));
    session
        .ui
        .json(&json!({ "issuer": issuer, "where": named, "keys": ours.count, "differences": differences }));
    for one in &differences {
        session.ui.entry(Tone::Bad, "differs", &one.what);
    }
    if differences.is_empty() {
        session
            .ui
            .line(&format!("{} of {issuer} as they would be exported", count(ours.count, "key")));
        return Ok(0);
    }
    session
        .ui
        .note(Tone::Act, "write it anew and serve that: touchlease issuer export FOLDER");
    Ok(Outcome::BadInput.exit_code())
}

/// Certificates are for a registry's own file, and need not be served.
fn bundle(place: &Place, ours: &Documents) -> Option<Difference> {
    let Place::Folder(_) = place else { return None };
    let path = Path::new(BUNDLE);
    let there = place.read(path).ok();
    let wanted = Some(ours.bundle.as_bytes()).filter(|bundle| !bundle.is_empty());
    (there.as_deref() != wanted).then(|| Difference {
        reason: "certificates",
        what: format!(
            "{} does not hold the certificates of the keys that would be exported, each once",
            place.name(path)
        ),
    })
}

fn place(named: &str, ca: Option<&Path>) -> Result<Place, Failure> {
    if !named.contains("://") {
        return match ca {
            None => Ok(Place::Folder(named.into())),
            Some(_) => {
                Err(Failure::new(Outcome::Usage, "ca_of_folder", "a folder has no certificate").hint("leave --ca out, or name a URL"))
            }
        };
    }
    let url = named.strip_suffix('/').unwrap_or(named);
    if !is_issuer(url) {
        let message = format!("{} is no URL of an issuer", plain::visible(named));
        return Err(
            Failure::new(Outcome::BadInput, "url", message).hint("write it as https://id.example.com, in lower case up to the path")
        );
    }
    let extra = match ca {
        None => vec![],
        Some(file) => vec![read_text(file, LARGEST_CA).map_err(|error| no_roots(file, &error))?],
    };
    let roots = roots(&extra, true).map_err(|error| no_roots(ca.unwrap_or(Path::new("")), &error))?;
    Place::site(url.to_owned(), roots).map_err(|error| internal("tls", error))
}

fn no_roots(file: &Path, error: &io::Error) -> Failure {
    let message = format!("{} cannot be read as certificates: {error}", file.display());
    Failure::new(Outcome::BadInput, "ca", message).hint("name a file with certificates in PEM form: --ca FILE")
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
