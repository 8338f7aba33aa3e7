//! Calls about signers.

pub(super) mod hardware;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::house::{House, OpenVault};
use crate::encoding::SecretRef;
use crate::encoding::addresses::Addresses;
use crate::encoding::jwk::{Algorithm, Profile, PublicKey};
use crate::encoding::self_signed::Certificates;
use crate::lease::change::{Batch, change, one_scope, rules_said};
use crate::lease::failure::{IntoFailure, locked_memory};
use crate::lease::hardware::class;
use crate::lease::ledger::Why;
use crate::lease::office::Asker;
use crate::lease::text::LeaseText;
use crate::mint::{key, self_signed};
use crate::secret::Secret;
use crate::vault::signer::{MOST_TOKENS, PRIVATE, SignerKind};
use crate::vault::{Changes, Delivery, Found, Listed, Put, Rules, Signer, Turn, Vault, VaultError, Vouched};
use crate::wire::signer::{MayAsk, SignerAddAsk, SignerClass, SignerRotateAsk, SignerView};
use crate::wire::{Failure, Outcome, Reply, Uses};

/// Longest life of a token, in seconds, and how many one touch is for, when whoever makes a signer says nothing of it.
const USUAL_TTL: u64 = 600;
const USUAL_USES: Uses = Uses::Most(1);

/// All signers, or those that are named; no touch.
///
/// # Errors
/// The folder cannot be read; one that is named is not there, or is none.
pub(super) async fn list(house: &House, path: &Path, named: &[String]) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    if named.is_empty() {
        let listed = all(&open, &mut unreadable).await?;
        found.extend(listed.into_iter().map(|one| SecretRef {
            scope: one.scope,
            name: one.name,
        }));
        found.sort_by(|a, b| (&a.scope, &a.name).cmp(&(&b.scope, &b.name)));
    } else {
        for name in named {
            found.push(name.parse().map_err(|_| no_signer(name))?);
        }
    }
    let vault = open.vault.borrow();
    let mut signers = Vec::new();
    for secret in found {
        match signer(&vault, &secret) {
            Ok(found) => signers.push(found),
            // One that contradicts itself hides none of the others.
            Err(failure) if named.is_empty() => unreadable.push(format!("{secret}: {}", failure.message)),
            Err(failure) => return Err(failure),
        }
    }
    if named.is_empty() {
        unreadable.extend(missing(&vault, &signers)?);
    }
    Ok(Reply::Signers {
        signers: views(&vault, &signers)?,
        unreadable,
    })
}

/// All signers, as the folder claims them, and what in it cannot be read.
async fn all(open: &OpenVault, unreadable: &mut Vec<String>) -> Result<Vec<Listed>, Failure> {
    let shelves = open.vault.borrow().shelves(None).map_err(IntoFailure::failure)?;
    let mut signers = Vec::new();
    for shelf in shelves {
        let (listed, files) = open.vault.borrow().list_shelf(&shelf).map_err(IntoFailure::failure)?;
        unreadable.extend(files.into_iter().map(|file| format!("{}: {}", file.path, file.why)));
        signers.extend(listed.into_iter().filter(|one| one.rules.signer.is_some()));
        // Others are served in between.
        tokio::task::yield_now().await;
    }
    Ok(signers)
}

/// A verifier tells signers of one issuer apart by the subject, and nothing else: whoever may touch for one scope speaks for no other's.
async fn check_subjects(open: &OpenVault, secret: &SecretRef, signer: &Signer) -> Result<(), Failure> {
    for other in all(open, &mut Vec::new()).await? {
        let Some(theirs) = other.rules.signer.as_deref() else { continue };
        if (&other.scope, &other.name) == (&secret.scope, &secret.name) || theirs.issuer != signer.issuer {
            continue;
        }
        if let Some(subject) = theirs.subjects.intersection(&signer.subjects).next() {
            let message = format!(
                "{}/{} speaks of {subject} for the same issuer, {}",
                other.scope, other.name, signer.issuer
            );
            return Err(Failure::new(Outcome::BadInput, "subject_taken", message)
                .hint("name other subjects with --sub, or make a signer with an issuer of its own: touchlease signer add --help"));
        }
    }
    Ok(())
}

/// Signers that the folder does not show as a touch here has: an export without them would take their keys from verifiers.
fn missing(vault: &Vault, found: &[Found]) -> Result<Vec<String>, Failure> {
    let mut missing = Vec::new();
    for scope in vault.scopes() {
        let ids = vault.missing_signers(scope, found).map_err(IntoFailure::failure)?;
        missing.extend(
            ids.into_iter()
                .map(|id| format!("a signer of {scope} is not in the folder as a touch has shown it (record {id})")),
        );
    }
    Ok(missing)
}

/// # Errors
/// The name is taken; what may be signed contradicts itself; see [`Failure`].
pub(super) async fn add(house: &House, path: &Path, ask: SignerAddAsk, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let (scope, name) = name_of(&ask.signer)?;
    match open.vault.borrow().find(&scope, &name) {
        Err(VaultError::NoSecret { .. }) => {}
        Err(error) => return Err(error.failure()),
        Ok(found) => return Err(taken(&ask.signer, &found)),
    }
    let (current, next) = (fresh(house, ask.alg)?, fresh(house, ask.alg)?);
    let in_hardware = ask.hardware.is_some();
    if in_hardware && ask.alg != Algorithm::Es256 {
        return Err(Failure::new(Outcome::BadInput, "alg", "a signer in hardware signs by ES256").hint("leave --alg out"));
    }
    let kind = SignerKind::of(!ask.may.principals.is_empty(), !ask.may.namespaces.is_empty());
    check_uses(&ask.signer, kind, in_hardware, ask.may.uses)?;
    let (mut subjects, principals, namespaces) = (ask.may.subjects, ask.may.principals, ask.may.namespaces);
    if subjects.is_empty() && principals.is_empty() && namespaces.is_empty() {
        subjects.insert(name.clone());
    }
    let profiles = profiles(ask.may.profiles, ask.alg, in_hardware)?;
    let certificates = match profiles.is_empty() {
        true => None,
        false => Some(certificates(&current, &next)?),
    };
    let mut signer = Signer {
        access: ask.may.access,
        alg: ask.alg,
        audiences: ask.may.audiences,
        certificates,
        claims: ask.may.claims,
        current: current.1.to_text(),
        exchange: ask.exchange,
        force_command: ask.may.force_command,
        hardware: None,
        issuer: ask.issuer,
        namespaces: Some(namespaces).filter(|namespaces| !namespaces.is_empty()),
        next: Some(next.1.to_text()),
        previous: None,
        principals: Some(principals).filter(|principals| !principals.is_empty()),
        profiles,
        source_addresses: addresses(&ask.may.source_addresses),
        subjects,
    };
    let secret = SecretRef {
        scope: scope.clone(),
        name: name.clone(),
    };
    check_subjects(&open, &secret, &signer).await?;
    let (ttl, uses) = (ask.may.ttl.unwrap_or(USUAL_TTL), limit(ask.may.uses.unwrap_or(USUAL_USES)));
    let mut value = both(&current.0, &next.0)?;
    let mut made = None;
    if let Some(hardware) = ask.hardware {
        // What is wrong with the rules is said before a key is made for them.
        rules(signer.clone(), ttl, uses).check().map_err(IntoFailure::failure)?;
        let key = hardware::make(house, &open, &secret, hardware, asker).await?;
        made = Some(key.hardware.clone());
        (signer.current, signer.next) = (hardware::public(&key)?, None);
        (signer.hardware, value) = (Some(key.hardware), hardware::no_private()?);
    }
    let changes = Changes {
        puts: vec![Put {
            name: name.clone(),
            rules: rules(signer, ttl, uses),
            value,
        }],
        ..Changes::default()
    };
    let reply = changed(house, &open, &scope, name, changes, asker).await;
    reply.map_err(|failure| hardware::left(failure, made.as_ref()))
}

/// How many one touch may be for: in hardware each signature is one, and nobody can take a token back.
fn check_uses(signer: &str, kind: SignerKind, in_hardware: bool, uses: Option<Uses>) -> Result<(), Failure> {
    match uses {
        Some(uses) if in_hardware && uses != Uses::Most(1) => {
            let many = limit(uses).map_or("any number".to_owned(), |uses| uses.to_string());
            let message = format!("{signer} signs in hardware, where each signature is a touch of its own: one touch is not for {many}");
            Err(Failure::new(Outcome::BadInput, "one_touch_each", message)
                .hint("leave --max-uses out, or make a sealed signer, without --piv"))
        }
        Some(Uses::Any) if kind == SignerKind::Tokens => {
            let message = format!("{signer} signs tokens, which nobody can take back: one touch is for {MOST_TOKENS} at most");
            Err(Failure::new(Outcome::BadInput, "any_tokens", message).hint("say for how many: --max-uses 20"))
        }
        _ => Ok(()),
    }
}

/// As rules have it.
fn limit(uses: Uses) -> Option<u64> {
    match uses {
        Uses::Most(most) => Some(u64::from(most)),
        Uses::Any => None,
    }
}

/// # Errors
/// No such signer; see [`Failure`].
pub(super) async fn rotate(house: &House, path: &Path, ask: SignerRotateAsk, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let (scope, name) = name_of(&ask.signer)?;
    let found = signer(
        &open.vault.borrow(),
        &SecretRef {
            scope: scope.clone(),
            name: name.clone(),
        },
    )?;
    // A plain rotation takes over the next key that the folder shows, and publishes the current one: that has to be ours (T53). Where the keys stay
    // as they are, the touch opens the record, and shows that.
    if !ask.compromised && !ask.keep_keys && !open.vault.borrow().is_vouched(&found).map_err(IntoFailure::failure)? {
        return Err(not_vouched(&ask.signer));
    }
    let before = found.listed.rules;
    let mut signer = before.signer.map(|signer| *signer).ok_or_else(|| no_signer(&ask.signer))?;
    let in_hardware = signer.hardware.is_some();
    if !ask.keep_keys && in_hardware != ask.hardware.is_some() {
        return Err(other_class(&ask.signer, in_hardware));
    }
    check_uses(&ask.signer, signer.kind(), in_hardware, ask.may.uses)?;
    check_kind(&ask.signer, &signer, &ask.may)?;
    take_over(&mut signer, &ask);
    signer.profiles = profiles(std::mem::take(&mut signer.profiles), signer.alg, in_hardware)?;
    let secret = SecretRef {
        scope: scope.clone(),
        name: name.clone(),
    };
    if !ask.may.subjects.is_empty() {
        check_subjects(&open, &secret, &signer).await?;
    }
    let ttl = ask.may.ttl.or(before.ttl).unwrap_or(USUAL_TTL);
    let uses = ask.may.uses.map_or(before.uses, limit);
    let mut changes = Changes {
        judged: [(name.clone(), found.clear)].into(),
        ..Changes::default()
    };
    let mut made = None;
    if ask.keep_keys {
        check_certified(&mut signer, &ask.signer)?;
        changes.rules.push((name.clone(), rules(signer, ttl, uses)));
    } else if let Some(hardware) = ask.hardware {
        rules(signer.clone(), ttl, uses).check().map_err(IntoFailure::failure)?;
        let key = hardware::make(house, &open, &secret, hardware, asker).await?;
        made = Some(key.hardware.clone());
        let previous = std::mem::replace(&mut signer.current, hardware::public(&key)?);
        signer.previous = Some(previous).filter(|_| !ask.compromised);
        signer.hardware = Some(key.hardware);
        changes.puts.push(Put {
            name: name.clone(),
            rules: rules(signer, ttl, uses),
            value: hardware::no_private()?,
        });
    } else {
        let drawn = fresh(house, signer.alg)?;
        if ask.compromised {
            let next = fresh(house, signer.alg)?;
            signer.certificates = match signer.profiles.is_empty() {
                true => None,
                false => Some(certificates(&drawn, &next)?),
            };
            (signer.current, signer.next, signer.previous) = (drawn.1.to_text(), Some(next.1.to_text()), None);
            changes.puts.push(Put {
                name: name.clone(),
                rules: rules(signer, ttl, uses),
                value: both(&drawn.0, &next.0)?,
            });
        } else {
            signer.certificates = turned(&signer, &drawn, &ask.signer)?;
            let next = signer.next.replace(drawn.1.to_text()).ok_or_else(|| no_signer(&ask.signer))?;
            signer.previous = Some(std::mem::replace(&mut signer.current, next));
            changes.turns.push(Turn {
                name: name.clone(),
                rules: rules(signer, ttl, uses),
                fresh: drawn.0,
            });
        }
    }
    let reply = changed(house, &open, &scope, name, changes, asker).await;
    let reply = reply.map_err(|failure| hardware::left(failure, made.as_ref()))?;
    if ask.compromised {
        end_leases(house, &open, &secret);
    }
    Ok(reply)
}

fn other_class(signer: &str, in_hardware: bool) -> Failure {
    let (message, hint) = match in_hardware {
        true => (
            format!("{signer} is in hardware, and its new key is made on a YubiKey"),
            format!("touchlease signer rotate {signer} --piv"),
        ),
        false => (
            format!("{signer} is sealed in the vault, and stays so"),
            format!("touchlease signer rotate {signer}"),
        ),
    };
    Failure::new(Outcome::BadInput, "signer_class", message).hint(hint)
}

/// A lease that signs with a key that nobody is to trust any more ends with it.
fn end_leases(house: &House, open: &OpenVault, signer: &SecretRef) {
    let vault = open.vault.borrow().id();
    let is_of_it = |text: &LeaseText| text.origin.vault.id == vault && text.grants.iter().any(|grant| grant.secret == *signer);
    house.record_over(&house.ledger.end_all(Why::Revoked, is_of_it));
}

/// # Errors
/// No such signer; see [`Failure`].
pub(super) async fn remove(house: &House, path: &Path, signer_name: &str, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let (scope, name) = name_of(signer_name)?;
    let secret = SecretRef {
        scope: scope.clone(),
        name: name.clone(),
    };
    signer(&open.vault.borrow(), &secret)?;
    let changes = Changes {
        removes: vec![name],
        ..Changes::default()
    };
    let secrets = change(&house.office(&open), Batch::new(scope, changes), asker).await?;
    end_leases(house, &open, &secret);
    Ok(Reply::Changed { secrets })
}

/// What `put` and `edit` do not touch: a signer's keys are made inside, and its rules belong to them.
///
/// # Errors
/// `found` is a signer.
pub(super) fn refuse_signer(secret: &str, found: &Found) -> Result<(), Failure> {
    if found.listed.rules.signer.is_none() {
        return Ok(());
    }
    let message = format!("{secret} is a signer: its keys are made inside, and its rules are changed with them");
    Err(Failure::new(Outcome::BadInput, "is_signer", message).hint(format!(
        "touchlease signer rotate {secret}, with the rules that change; or remove it first: touchlease signer remove {secret}"
    )))
}

/// Makes the change, and shows the signer as it is then.
async fn changed(house: &House, open: &OpenVault, scope: &str, name: String, changes: Changes, asker: &Asker) -> Result<Reply, Failure> {
    changes.check().map_err(|error| match error.failure() {
        // What is usually said next is of a secret's rules.
        failure if failure.reason == "rules" => failure.hint("touchlease signer add --help says what a signer's rules are"),
        failure => failure,
    })?;
    change(&house.office(open), Batch::new(scope.to_owned(), changes), asker).await?;
    let vault = open.vault.borrow();
    let secret = SecretRef {
        scope: scope.to_owned(),
        name,
    };
    Ok(Reply::Signers {
        signers: views(&vault, &[signer(&vault, &secret)?])?,
        unreadable: vec![],
    })
}

/// What is remembered of a scope is read once for all of its signers.
fn views(vault: &Vault, found: &[Found]) -> Result<Vec<SignerView>, Failure> {
    let mut scopes: BTreeMap<&str, Vouched> = BTreeMap::new();
    let mut views = Vec::new();
    for found in found {
        let (scope, rules) = (found.listed.scope.as_str(), &found.listed.rules);
        let vouched = match scopes.entry(scope) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(free) => free.insert(vault.vouched(scope).map_err(IntoFailure::failure)?),
        };
        views.push(SignerView {
            signer: format!("{scope}/{}", found.listed.name),
            version: found.listed.version,
            class: rules.signer.as_deref().map_or(SignerClass::Sealed, class),
            rules: rules_said(rules),
            vouched: vouched.has(found),
        });
    }
    Ok(views)
}

fn signer(vault: &Vault, secret: &SecretRef) -> Result<Found, Failure> {
    match vault.find(&secret.scope, &secret.name) {
        Ok(found) if found.listed.rules.signer.is_some() => Ok(found),
        Ok(_) | Err(VaultError::NoSecret { .. }) => Err(no_signer(&secret.to_string())),
        Err(error) => Err(error.failure()),
    }
}

fn rules(signer: Signer, ttl: u64, uses: Option<u64>) -> Rules {
    Rules {
        signer: Some(Box::new(signer)),
        ttl: Some(ttl),
        uses,
        ..Rules::value(&[Delivery::Signer])
    }
}

/// A signer of the one stays none of another: verifiers of either would trust a key for what they do not know of.
fn check_kind(name: &str, signer: &Signer, may: &MayAsk) -> Result<(), Failure> {
    let of_tokens = may.audiences.is_empty() && may.subjects.is_empty() && may.claims.is_empty();
    let for_tokens = !(of_tokens && may.access.is_empty() && may.profiles.is_empty());
    let kind = signer.kind();
    let asked = [
        (
            for_tokens,
            SignerKind::Tokens,
            "make another one: touchlease signer add NAME --scope prod --issuer https://id.example.com --aud https://api.example.com",
        ),
        (
            !may.principals.is_empty(),
            SignerKind::Certificates,
            "make another one: touchlease signer add NAME --scope prod --principal deploy",
        ),
        (
            !may.namespaces.is_empty(),
            SignerKind::Signatures,
            "make another one: touchlease signer add NAME --scope prod --namespace git",
        ),
    ];
    match asked.into_iter().find(|(asked, other, _)| *asked && *other != kind) {
        None => Ok(()),
        Some((_, other, hint)) => {
            let message = format!("{name} signs {}, and no {}, and that stays so", kind.what(), other.what());
            Err(Failure::new(Outcome::BadInput, "rules", message).hint(hint))
        }
    }
}

/// As rules have them; what is no address stays as it is, for [`Rules::check`] to refuse.
fn addresses(asked: &BTreeSet<String>) -> BTreeSet<String> {
    let written = |text: &String| {
        text.parse()
            .map_or_else(|_| text.clone(), |addresses: Addresses| addresses.to_string())
    };
    asked.iter().map(written).collect()
}

fn take_over(signer: &mut Signer, ask: &SignerRotateAsk) {
    let may = &ask.may;
    if !may.audiences.is_empty() {
        signer.audiences.clone_from(&may.audiences);
    }
    if !may.subjects.is_empty() {
        signer.subjects.clone_from(&may.subjects);
    }
    if !may.principals.is_empty() {
        signer.principals = Some(may.principals.clone());
    }
    if !may.namespaces.is_empty() {
        signer.namespaces = Some(may.namespaces.clone());
    }
    if ask.no_force_command || may.force_command.is_some() {
        signer.force_command.clone_from(&may.force_command);
    }
    if ask.no_source_addresses || !may.source_addresses.is_empty() {
        signer.source_addresses = addresses(&may.source_addresses);
    }
    if ask.no_claims {
        signer.claims.clear();
        signer.access.clear();
    }
    if !may.claims.is_empty() {
        signer.claims.clone_from(&may.claims);
    }
    if !may.access.is_empty() {
        signer.access.clone_from(&may.access);
    }
    if !may.profiles.is_empty() {
        signer.profiles.clone_from(&may.profiles);
    }
    // An audience that is gone takes its profile with it, where nobody names one.
    signer
        .profiles
        .retain(|aud, _| signer.audiences.contains(aud) || may.profiles.contains_key(aud));
}

/// Without the thumbprint, which every audience has that is not named.
fn profiles(mut asked: BTreeMap<String, Profile>, alg: Algorithm, in_hardware: bool) -> Result<BTreeMap<String, Profile>, Failure> {
    asked.retain(|_, profile| *profile != Profile::Thumbprint);
    match alg {
        // Certificates are signed by the key that they are of: that would be another touch.
        _ if in_hardware && !asked.is_empty() => Err(Failure::new(
            Outcome::BadInput,
            "profile_hardware",
            "a signer in hardware has no certificate, and its key is known by the thumbprint alone",
        )
        .hint("leave --profile out, or make a sealed signer, without --piv")),
        Algorithm::EdDsa if !asked.is_empty() => Err(Failure::new(
            Outcome::BadInput,
            "profile_algorithm",
            "verifiers that know keys by libtrust or by a certificate know no Ed25519 keys",
        )
        .hint("leave --alg out: es256 is the default")),
        _ => Ok(asked),
    }
}

fn certificates(current: &(Secret, PublicKey), next: &(Secret, PublicKey)) -> Result<Certificates, Failure> {
    Ok(Certificates {
        current: certificate(current)?,
        next: certificate(next)?,
        previous: None,
    })
}

fn certificate((private, public): &(Secret, PublicKey)) -> Result<String, Failure> {
    self_signed::certificate(private.expose(), public)
        .ok_or_else(|| crate::lease::failure::internal("certificate", "a fresh key signs no certificate of its own"))
}

/// Rules change without new keys: a profile needs certificates that were made with the keys, and without one there are none.
fn check_certified(signer: &mut Signer, name: &str) -> Result<(), Failure> {
    if signer.profiles.is_empty() {
        signer.certificates = None;
    }
    match signer.profiles.is_empty() == signer.certificates.is_none() {
        true => Ok(()),
        false => Err(no_certificates(name)),
    }
}

fn no_certificates(name: &str) -> Failure {
    let message = format!("the keys of {name} have no certificates, which a profile needs: they are made with the keys");
    Failure::new(Outcome::BadInput, "no_certificates", message).hint(format!(
        "make all of its keys anew with it: touchlease signer rotate {name} --compromised --profile AUD=libtrust"
    ))
}

/// The certificates after a plain rotation, in which nobody but the touch gets at the private half of the key that signs from then on.
fn turned(signer: &Signer, fresh: &(Secret, PublicKey), name: &str) -> Result<Option<Certificates>, Failure> {
    if signer.profiles.is_empty() {
        return Ok(None);
    }
    let before = signer.certificates.as_ref().ok_or_else(|| no_certificates(name))?;
    Ok(Some(Certificates {
        current: before.next.clone(),
        next: certificate(fresh)?,
        previous: Some(before.current.clone()),
    }))
}

fn fresh(house: &House, algorithm: Algorithm) -> Result<(Secret, PublicKey), Failure> {
    let mut random = house.random.borrow_mut();
    key::generate(algorithm, &mut |bytes| random.fill_bytes(bytes)).map_err(locked_memory)
}

fn both(current: &Secret, next: &Secret) -> Result<Secret, Failure> {
    let mut both = Secret::zeroed(2 * PRIVATE).map_err(locked_memory)?;
    let (front, back) = both.expose_mut().split_at_mut(PRIVATE);
    front.copy_from_slice(current.expose());
    back.copy_from_slice(next.expose());
    Ok(both)
}

fn name_of(signer: &str) -> Result<(String, String), Failure> {
    let (scope, mut names) = one_scope(&[signer.to_owned()])?;
    Ok((scope, names.pop().unwrap_or_default()))
}

fn taken(signer: &str, found: &Found) -> Failure {
    let hint = match found.listed.rules.signer {
        Some(_) => format!("another key for it: touchlease signer rotate {signer}"),
        None => "choose another name; touchlease list shows those that there are".to_owned(),
    };
    Failure::new(Outcome::BadInput, "name_taken", format!("there is a {signer} already")).hint(hint)
}

fn not_vouched(signer: &str) -> Failure {
    let message = format!("no touch on this machine has shown that {signer} is as the folder says, so none of its keys is kept");
    Failure::new(Outcome::VaultRefused, "not_vouched", message).hint(format!(
        "look at it: touchlease signer show {signer}; if it is yours, a token or certificate of it shows that, or make all of its keys anew: \
         touchlease signer rotate {signer} --compromised; if not: touchlease signer remove {signer}"
    ))
}

fn no_signer(name: &str) -> Failure {
    let message = format!("there is no signer {}", crate::encoding::plain::visible(name));
    Failure::new(Outcome::BadInput, "no_such_signer", message).hint("touchlease signer list shows what there is")
}
