//! `touchlease ssh`: certificates that let in at servers for minutes, whom these trust, and what is taken back.

mod agent;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::audit::certificates;
use super::change::seconds;
use super::init::unexpected;
use super::issuer::replace;
use super::session::Session;
use super::signer::{keys, kind, signers, unvouched, what_of_it};
use super::ui::Tone;
use crate::clock::{Clock, SystemClock};
use crate::encoding::SecretRef;
use crate::encoding::jwk::PublicKey;
use crate::encoding::krl::{self, What};
use crate::encoding::plain::{count, visible};
use crate::encoding::ssh_key::{LONGEST_LINE, SshKey};
use crate::sys::file::read_text;
use crate::vault::signer::{SignerKind, is_namespace};
use crate::wire::request::{GrantAsk, LeaseAsk};
use crate::wire::signer::{CertificateAsk, SignerView};
use crate::wire::{Answer, Failure, Outcome, Reply, Request};

/// What is to be done with a list.
const WHERE: &str = "put it where RevokedKeys of sshd_config names it, whole and at once: sshd refuses everybody where it cannot read it";

/// Get in at servers with SSH certificates, and sign commits and files, each by a touch.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print an SSH user certificate that a signer signs: one touch.
    ///
    /// It is for one public key and one user, has an end, and permits no forwarding. Nothing else is printed on standard output. Beside the key, as
    /// KEY-cert.pub, ssh finds it. Who may be let in, and for how long, is sealed with the signer: `touchlease signer add NAME --scope prod
    /// --principal USER` makes one.
    Cert(CertArgs),
    Agent(agent::Args),
    /// Print the public keys of a signer, for the file that TrustedUserCAKeys of sshd_config names, without a touch.
    ///
    /// The key that signs, and the one that will sign next: `touchlease signer rotate` locks nobody out.
    Ca {
        /// As scope/NAME.
        signer: SecretRef,
    },
    /// Print the keys of a signer of SSH signatures as lines for the file of allowed signers of ssh-keygen -Y verify and git, without a touch.
    ///
    /// The key that signs, the one that will sign next, and the one that signed before, each for the signer's namespaces alone. Keep the lines of
    /// older keys where what they signed is to stay good.
    AllowedSigners {
        /// As scope/NAME.
        signer: SecretRef,
        /// Name whoever signs so, as you@example.com [default: the signer].
        #[arg(long = "principal", value_name = "NAME")]
        principal: Option<String>,
    },
    /// Write a list of certificates that are taken back, for the file that RevokedKeys of sshd_config names, without a touch.
    ///
    /// sshd reads it at each login; an open session stays. It has exactly the certificates that are named: name those of the list before again.
    /// Whichever key signed one, also of a signer that was rotated or removed, it lets in no more.
    Krl {
        /// Write this file, and replace it.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Take back the certificate of this lease: its key id, which sshd logs, and which is the lease's whole id. Repeat for more.
        #[arg(long = "lease", value_name = "ID", required_unless_present = "all", value_parser = lease_id)]
        leases: Vec<String>,
        /// Take back what this machine's log does not know, too: made on another machine, or in a log that was moved aside.
        #[arg(long)]
        anyway: bool,
        /// Take back every certificate of this signer's key that signs and of the one that signed before, those to come as well: rotate it then.
        #[arg(long, value_name = "SIGNER", conflicts_with_all = ["leases", "anyway"])]
        all: Option<SecretRef>,
    },
}

#[derive(Debug, clap::Args)]
pub struct CertArgs {
    /// The signer, as scope/NAME.
    #[arg(value_name = "SIGNER")]
    signer: SecretRef,
    /// Let in as this user [default: the signer's only principal].
    #[arg(long, value_name = "USER")]
    principal: Option<String>,
    /// Let in with this key: the file of its public half.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Let run this command and nothing else, whatever is asked for.
    #[arg(long, value_name = "COMMAND")]
    force_command: Option<String>,
    /// Let in from this address, or from a range as 192.0.2.0/24. Repeat for more.
    #[arg(long = "source-address", value_name = "ADDRESS")]
    source_addresses: Vec<String>,
    /// Let have a terminal.
    #[arg(long)]
    pty: bool,
    /// Let it live this long, as 90s or 10m [default: 5m, or less where the rules say so].
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    ttl: Option<u64>,
    /// Say why, in one line, to the person who touches.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, command: Command) -> Result<u8, Failure> {
    let done = match command {
        Command::Agent(args) => return agent::run(session, args),
        Command::Cert(args) => cert(session, args),
        Command::Ca { signer } => ca(session, &signer),
        Command::AllowedSigners { signer, principal } => allowed_signers(session, &signer, principal),
        Command::Krl {
            file, all: Some(signer), ..
        } => revoke_all(session, &signer, &file),
        Command::Krl { file, leases, anyway, .. } => revoke(session, &file, &leases, anyway),
    };
    done.map(|()| 0)
}

fn cert(session: &Session, args: CertArgs) -> Result<(), Failure> {
    let ask = CertificateAsk {
        force_command: args.force_command,
        key: public_key(&args.key)?,
        login: None,
        principal: args.principal,
        pty: args.pty,
        source_addresses: args.source_addresses,
    };
    let ask = LeaseAsk {
        with: vec![GrantAsk {
            certificate: Some(ask),
            ..GrantAsk::of_signer(&args.signer)
        }],
        ttl: args.ttl,
        reason: args.reason,
        deliver: true,
        ..LeaseAsk::default()
    };
    let (reply, mut client) = session.ask_held(Request::Lease(ask))?;
    let Reply::Granted(granted) = reply else { return Err(unexpected()) };
    let made = granted.values.first().ok_or_else(unexpected)?;
    let made = str::from_utf8(made.value.0.expose()).map_err(|_| unexpected())?;
    session.ui.json(&json!({ "certificate": made, "lease": granted.lease.id }));
    session.ui.line(made);
    // It is over when nothing of it is left, which it is; a daemon that is gone has ended it too.
    let _ = client.answer(&Answer::Done);
    Ok(())
}

/// The line of a public key. A private one is told by its first line, and goes nowhere.
fn public_key(path: &Path) -> Result<String, Failure> {
    let bad = |why: String| {
        Failure::new(Outcome::BadInput, "ssh_key", format!("{}: {why}", path.display()))
            .hint("name the public half: --key ~/.ssh/id_ed25519.pub; ssh-keygen -t ed25519 makes a key")
    };
    let text = read_text(path, LONGEST_LINE).map_err(|error| bad(error.to_string()))?;
    if text.starts_with("-----BEGIN") {
        return Err(bad("it is a private key".into()));
    }
    Ok(SshKey::from_line(&text).map_err(|error| bad(error.to_string()))?.to_line())
}

fn ca(session: &Session, signer: &SecretRef) -> Result<(), Failure> {
    let view = vouched_ca(session, signer)?;
    let states = ["current", "next"];
    let lines: Vec<_> = public_keys(&view)?
        .into_iter()
        .filter(|(state, _)| states.contains(state))
        .map(|(state, key)| json!({ "state": state, "key": key.to_line(), "fingerprint": key.fingerprint() }))
        .collect();
    session.ui.json(&json!({ "signer": view.signer, "keys": lines }));
    for line in &lines {
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        session.ui.line(&format!("{} touchlease:{signer}:{}", text("key"), text("state")));
    }
    Ok(())
}

fn allowed_signers(session: &Session, signer: &SecretRef, principal: Option<String>) -> Result<(), Failure> {
    let principal = principal.unwrap_or_else(|| signer.to_string());
    // A pattern would be for others too (ssh-keygen(1), ALLOWED SIGNERS).
    if !is_namespace(&principal) {
        let message = format!("{:?} is no name for a list of allowed signers", visible(&principal));
        return Err(Failure::new(Outcome::BadInput, "principal_name", message)
            .hint("name a person or a machine in letters, digits and . _ - @ + /: --principal you@example.com"));
    }
    let view = vouched(session, signer, SignerKind::Signatures)?;
    let namespaces: Vec<_> = view.rules.signer.iter().flat_map(|signer| &signer.namespaces).cloned().collect();
    let lines: Vec<_> = public_keys(&view)?
        .into_iter()
        .map(|(state, key)| json!({ "state": state, "key": key.to_line(), "fingerprint": key.fingerprint() }))
        .collect();
    session
        .ui
        .json(&json!({ "signer": view.signer, "principal": principal, "namespaces": namespaces, "keys": lines }));
    for line in &lines {
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        session.ui.line(&format!(
            "{principal} namespaces=\"{}\" {} touchlease:{signer}:{}",
            namespaces.join(","),
            text("key"),
            text("state")
        ));
    }
    Ok(())
}

fn revoke(session: &Session, file: &Path, leases: &[String], anyway: bool) -> Result<(), Failure> {
    // A digit that is wrong takes back nothing, and would be said to.
    if !anyway {
        let known = certificates(session)?;
        if let Some(id) = leases.iter().find(|id| !known.contains(*id)) {
            let message = format!("the log of this machine knows no certificate of a lease {id}");
            return Err(Failure::new(Outcome::BadInput, "no_certificate", message).hint(
                "touchlease audit show has the ids; where another machine made it, or before the log was moved aside, say --anyway too",
            ));
        }
    }
    let ids: Vec<String> = leases.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let now = SystemClock.wall().seconds();
    written(file, &krl::list(What::Ids(&ids), now, now))?;
    session.ui.json(&json!({ "file": file, "revoked": ids }));
    session.ui.line(&format!(
        "{} written: {} taken back",
        file.display(),
        count(ids.len(), "certificate")
    ));
    session.ui.note(Tone::Dim, WHERE);
    Ok(())
}

/// What the keys that have signed so far let in with, and will: the key that signs next is not among them.
fn revoke_all(session: &Session, signer: &SecretRef, file: &Path) -> Result<(), Failure> {
    let view = vouched_ca(session, signer)?;
    let cas: Vec<SshKey> = public_keys(&view)?
        .into_iter()
        .filter(|(state, _)| *state != "next")
        .map(|(_, key)| key)
        .collect();
    let now = SystemClock.wall().seconds();
    written(file, &krl::list(What::AllOf(&cas), now, now))?;
    let keys: Vec<String> = cas.iter().map(SshKey::fingerprint).collect();
    session
        .ui
        .json(&json!({ "file": file, "signer": view.signer, "revoked": [], "revoked_keys": keys }));
    let what = format!(
        "{} written: every certificate of {} taken back",
        file.display(),
        count(keys.len(), "key")
    );
    session.ui.line(&what);
    session.ui.note(Tone::Dim, WHERE);
    session.ui.note(
        Tone::Strong,
        &format!("{signer} lets in nowhere now: touchlease signer rotate {signer} goes on with its next key"),
    );
    Ok(())
}

fn written(file: &Path, list: &[u8]) -> Result<(), Failure> {
    write(file, list).map_err(|error| {
        let message = format!("{} cannot be written: {error}", file.display());
        Failure::new(Outcome::BadInput, "file", message).hint("name a file in a folder that you may write to")
    })
}

/// A signer as the folder has it, and what it signs.
fn named(session: &Session, signer: &SecretRef) -> Result<(SignerKind, SignerView), Failure> {
    let (mut found, _) = signers(session, vec![signer.to_string()])?;
    let view = found.pop().ok_or_else(unexpected)?;
    Ok((kind(&view), view))
}

fn other_kind(signer: &SecretRef, is: SignerKind, wanted: SignerKind) -> Failure {
    let message = format!("{signer} signs {}, and no {}", is.what(), wanted.what());
    let failure = match wanted {
        SignerKind::Signatures => Failure::new(Outcome::BadInput, "no_signatures", message),
        SignerKind::Certificates | SignerKind::Tokens => Failure::new(Outcome::BadInput, "no_ca", message),
    };
    failure.hint("touchlease signer list shows which signers there are")
}

/// A signer of certificates, of which a touch on this machine has shown that it is as the folder says.
fn vouched_ca(session: &Session, signer: &SecretRef) -> Result<SignerView, Failure> {
    vouched(session, signer, SignerKind::Certificates)
}

/// The key that signs SSH signatures now, of a signer that a touch on this machine has shown.
fn signing_key(session: &Session, signer: &SecretRef) -> Result<SshKey, Failure> {
    let view = vouched(session, signer, SignerKind::Signatures)?;
    let mut keys = public_keys(&view)?.into_iter();
    keys.find(|(state, _)| *state == "current")
        .map(|(_, key)| key)
        .ok_or_else(unexpected)
}

fn vouched(session: &Session, signer: &SecretRef, wanted: SignerKind) -> Result<SignerView, Failure> {
    let (is, view) = named(session, signer)?;
    if is != wanted {
        return Err(other_kind(signer, is, wanted));
    }
    if !view.vouched {
        return Err(Failure::new(Outcome::VaultRefused, "not_vouched", unvouched(&view.signer)).hint(what_of_it(&view)));
    }
    Ok(view)
}

/// Its public keys, each with what it is for.
fn public_keys(view: &SignerView) -> Result<Vec<(&'static str, SshKey)>, Failure> {
    let signer = view.rules.signer.as_deref().ok_or_else(unexpected)?;
    let key = |(state, text): (&'static str, &str)| {
        let key = PublicKey::from_text(signer.alg, text).ok().and_then(|key| SshKey::of(&key).ok());
        Ok((state, key.ok_or_else(unexpected)?))
    };
    keys(signer).into_iter().map(key).collect()
}

/// Whole or as before, whenever sshd reads it.
fn write(file: &Path, list: &[u8]) -> io::Result<()> {
    let name = file.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    replace(folder.unwrap_or(Path::new(".")), name, list)
}

/// A lease's whole id: of a beginning nobody could say which certificates it takes back.
fn lease_id(text: &str) -> Result<String, &'static str> {
    let is_id = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
    is_id
        .then(|| text.to_owned())
        .ok_or("a lease's id has 32 digits, 0 to 9 and a to f; it is the key id of its certificate")
}
