//! The path of a change to the vault: like a lease's, one touch for the whole batch, and the record before the deed.

use std::collections::BTreeSet;

use super::failure::{IntoFailure, internal};
use super::making::make;
use super::office::{Asker, Office};
use super::record::{self, Question};
use super::text::{BeforeText, ChangeKind, ChangeText, DroppedText, KeepText, KeyState, Text, VERSION, WriteText};
use super::touch::touch;
use crate::device::enrolled::Seen;
use crate::encoding::plain::{count, visible};
use crate::encoding::{Digest, SecretRef};
use crate::vault::{Changes, Delivery, Form, Random, Rules, Signer, Standing, VaultError};
use crate::wire::request::RulesAsk;
use crate::wire::signer::{HardwareRules, SignerRules};
use crate::wire::{Failure, Outcome};

/// A batch for one scope.
pub struct Batch {
    /// The scope.
    pub scope: String,
    /// What changes.
    pub changes: Changes,
    /// Which versions stay, of secrets that were written apart: [`Changes::keeps`], as it is shown.
    pub keeps: Vec<KeepText>,
}

/// Asks for the touch and makes the change. Gives the names that were written or removed.
///
/// # Errors
/// Every way in which a request can end without it; the vault is as it was then.
pub async fn change(office: &Office<'_>, batch: Batch, asker: &Asker) -> Result<Vec<String>, Failure> {
    batch.changes.check().map_err(IntoFailure::failure)?;
    let turn = office.lobby.turn(asker).await.inspect_err(|refusal| office.refused(refusal))?;
    let standing = if batch.changes.join {
        office.standing(&[&batch.scope])
    } else {
        office.standing_named(&[&batch.scope])
    }?;
    let candidates = office.candidates(&standing, asker)?;
    let names = batch.names();
    let what = batch.what();
    let asked = record::asked(office.log, &Question::of_change(&asker.requester, names.clone(), &what))?;
    let path = async {
        office.log.check_clock()?;
        let text = batch.text(office, asker, &standing, asked.hash())?;
        let fixed = text.fix().map_err(IntoFailure::failure)?;
        let prompt = office.show(turn, &fixed, &candidates, asker).await?;
        asked.shown()?;
        let proof = touch(&office.lobby, &prompt, &fixed, candidates).await?;
        asked.changed(&proof, &fixed, names.clone())?;
        let (vault, changes, digest) = (office.vault_now(), batch.changes, fixed.digest());
        let apply = move |random: &mut Random| vault.apply(&proof, digest, &standing, &changes, text.at, random);
        make(office.lobby.writer, &asked, Some(&prompt), apply).await?;
        prompt.approved();
        Ok(names)
    };
    path.await.inspect_err(|failure| asked.failed(failure))
}

impl Batch {
    /// A batch that keeps none of several versions.
    #[must_use]
    pub fn new(scope: String, changes: Changes) -> Self {
        Self {
            scope,
            changes,
            keeps: vec![],
        }
    }

    fn secret(&self, name: &str) -> SecretRef {
        SecretRef {
            scope: self.scope.clone(),
            name: name.to_owned(),
        }
    }

    /// In words: the names stand beside it.
    fn what(&self) -> String {
        let changes = &self.changes;
        let parts = [
            ("write", changes.puts.len()),
            ("change the rules of", changes.rules.len()),
            ("rotate the key of", changes.turns.len()),
            ("remove", changes.removes.len()),
            ("keep one version of", self.keeps.len()),
        ];
        let said = parts.iter().filter(|(_, many)| *many > 0);
        let said: Vec<_> = said.map(|(verb, many)| format!("{verb} {}", count(*many, "secret"))).collect();
        if said.is_empty() {
            "join what was changed apart".into()
        } else {
            said.join(", ")
        }
    }

    fn names(&self) -> Vec<String> {
        self.changes.names().map(|name| self.secret(name).to_string()).collect()
    }

    fn text(&self, office: &Office<'_>, asker: &Asker, standing: &Standing, asked: Digest) -> Result<ChangeText, Failure> {
        let put = |put: &crate::vault::Put| self.write(office, &put.name, true, &put.rules);
        let puts = self.changes.puts.iter().map(put);
        let rules = self
            .changes
            .rules
            .iter()
            .map(|(name, rules)| self.write(office, name, false, rules));
        let turns = self
            .changes
            .turns
            .iter()
            .map(|turn| self.write(office, &turn.name, true, &turn.rules));
        Ok(ChangeText {
            v: VERSION,
            kind: ChangeKind::Change,
            id: office.lobby.random_id(),
            asked,
            origin: office.origin(&asker.requester, standing),
            writes: puts.chain(rules).chain(turns).collect::<Result<_, _>>()?,
            removes: self.changes.removes.iter().map(|name| self.secret(name)).collect(),
            keeps: self.keeps.clone(),
            drops: self.drops(office)?,
            at: office.lobby.clock.wall().seconds(),
        })
    }

    /// Keys of signers as they stand in the vault, which the batch takes away.
    fn drops(&self, office: &Office<'_>) -> Result<Vec<DroppedText>, Failure> {
        let Changes { puts, turns, removes, .. } = &self.changes;
        let written = puts.iter().map(|put| (&put.name, Some(&put.rules)));
        let written = written.chain(turns.iter().map(|turn| (&turn.name, Some(&turn.rules))));
        let mut drops = Vec::new();
        for (name, rules) in written.chain(removes.iter().map(|name| (name, None))) {
            let before = match office.vault.borrow().find(&self.scope, name) {
                Ok(found) => found.listed.rules.signer,
                Err(VaultError::NoSecret { .. }) => None,
                Err(error) => return Err(error.failure()),
            };
            if let Some(before) = before {
                drops.extend(dropped(
                    &self.secret(name),
                    &before,
                    rules.and_then(|rules| rules.signer.as_deref()),
                ));
            }
        }
        Ok(drops)
    }

    fn write(&self, office: &Office<'_>, name: &str, value: bool, rules: &Rules) -> Result<WriteText, Failure> {
        let now = match office.vault.borrow().find(&self.scope, name) {
            Ok(found) => Some(found.listed),
            Err(VaultError::NoSecret { .. }) if value => None,
            Err(error) => return Err(error.failure()),
        };
        let rules = rules_said(rules);
        Ok(WriteText {
            secret: self.secret(name),
            version: now.as_ref().map(|now| now.version + 1),
            value,
            before: now.and_then(|now| before(&rules_said(&now.rules), &rules)),
            rules,
        })
    }
}

/// What a signer's rules say `now`, of those that are others in `then`: whom it lets in is not changed in passing with its keys.
fn before(now: &RulesAsk, then: &RulesAsk) -> Option<BeforeText> {
    let (is, will) = (now.signer.as_deref()?, then.signer.as_deref()?);
    let changes = |is: &BTreeSet<String>, will: &BTreeSet<String>| (is != will).then(|| is.clone());
    let before = BeforeText {
        access: changes(&is.access, &will.access),
        audiences: changes(&is.audiences, &will.audiences),
        claims: (is.claims != will.claims).then(|| is.claims.clone()),
        force_command: (is.force_command != will.force_command).then(|| is.force_command.clone().unwrap_or_default()),
        namespaces: changes(&is.namespaces, &will.namespaces),
        principals: changes(&is.principals, &will.principals),
        source_addresses: changes(&is.source_addresses, &will.source_addresses),
        subjects: changes(&is.subjects, &will.subjects),
        ttl: now.ttl.filter(|ttl| then.ttl != Some(*ttl)),
        uses: (now.uses != then.uses).then(|| now.uses.unwrap_or(0)),
    };
    (before != BeforeText::default()).then_some(before)
}

/// Keys of `before` that `after` has not.
fn dropped(secret: &SecretRef, before: &Signer, after: Option<&Signer>) -> Vec<DroppedText> {
    let keys = |signer: &Signer| {
        let previous = signer.previous.clone().map(|key| (KeyState::Previous, key));
        let next = signer.next.clone().map(|key| (KeyState::Next, key));
        let current = std::iter::once((KeyState::Current, signer.current.clone()));
        current.chain(next).chain(previous).collect::<Vec<_>>()
    };
    let kept = after.map(keys).unwrap_or_default();
    let gone = keys(before)
        .into_iter()
        .filter(|(_, key)| !kept.iter().any(|(_, other)| other == key));
    let text = |(was, public)| DroppedText {
        secret: secret.clone(),
        alg: before.alg,
        issuer: before.issuer.clone(),
        signs: before.for_ssh(),
        public,
        was,
    };
    gone.map(text).collect()
}

/// Rules as they are sealed, from what was asked.
///
/// # Errors
/// A delivery that there is not.
pub fn rules_meant(asked: &RulesAsk) -> Result<Rules, Failure> {
    let mut rules = Rules::value(&[]);
    for delivery in &asked.deliveries {
        rules.deliveries.insert(match delivery.as_str() {
            "env" => Delivery::Env,
            "file" => Delivery::File,
            "proxy" => Delivery::Proxy,
            "signer" => {
                let message = "a private key that is brought from outside is no signer's: somebody else may have it";
                return Err(Failure::new(Outcome::BadInput, "signer", message)
                    .hint("make one inside: touchlease signer add NAME --scope prod --issuer https://id.example.com --aud https://api.example.com"));
            }
            other => {
                return Err(
                    Failure::new(Outcome::BadInput, "delivery", format!("{other:?} is no delivery")).hint("env, file and proxy are"),
                );
            }
        });
    }
    if asked.signer.is_some() {
        return Err(Failure::new(
            Outcome::BadInput,
            "signer",
            "a signer's keys are made inside, and its rules are not put",
        )
        .hint("touchlease signer --help"));
    }
    rules.hosts = asked.hosts.iter().cloned().collect();
    rules.methods = asked.methods.iter().cloned().collect();
    rules.paths = asked.paths.iter().cloned().collect();
    let form = asked.send_as.as_deref().map_or(Ok(Form::Bearer), str::parse);
    let form = form.map_err(|why| {
        let asked = asked.send_as.as_deref().map(visible).unwrap_or_default();
        Failure::new(Outcome::BadInput, "form", format!("{asked:?} is no place in a request: {why}"))
            .hint("as a header: --send-as header:x-api-key")
    })?;
    rules = rules.in_form(form);
    rules.ttl = asked.ttl;
    rules.uses = asked.uses.map(u64::from);
    rules.check().map_err(IntoFailure::failure)?;
    Ok(rules)
}

/// Rules as they are shown.
#[must_use]
pub fn rules_said(rules: &Rules) -> RulesAsk {
    let name = |delivery: &Delivery| match delivery {
        Delivery::Env => "env",
        Delivery::File => "file",
        Delivery::Proxy => "proxy",
        Delivery::Signer => "signer",
    };
    RulesAsk {
        deliveries: rules.deliveries.iter().map(|delivery| name(delivery).to_owned()).collect(),
        hosts: rules.hosts.iter().cloned().collect(),
        methods: rules.methods.iter().cloned().collect(),
        paths: rules.paths.iter().cloned().collect(),
        send_as: Some(rules.form()).filter(|form| *form != Form::Bearer).map(|form| form.to_string()),
        ttl: rules.ttl,
        uses: rules.uses.and_then(|uses| u32::try_from(uses).ok()),
        signer: rules.signer.as_deref().map(|signer| Box::new(signer_said(signer))),
    }
}

fn signer_said(signer: &Signer) -> SignerRules {
    let Signer {
        access,
        alg,
        audiences,
        certificates,
        claims,
        current,
        exchange,
        force_command,
        hardware,
        issuer,
        namespaces,
        next,
        previous,
        principals,
        profiles,
        source_addresses,
        subjects,
    } = signer.clone();
    SignerRules {
        access,
        alg,
        audiences,
        certificates,
        claims,
        current,
        exchange,
        force_command,
        hardware: hardware.map(|hardware| HardwareRules {
            attested: hardware.seen == Seen::Attested,
            firmware: hardware.firmware,
            serial: hardware.serial,
            slot: hardware.slot.to_string(),
        }),
        issuer,
        namespaces: namespaces.unwrap_or_default(),
        next,
        previous,
        principals: principals.unwrap_or_default(),
        profiles,
        source_addresses,
        subjects,
    }
}

/// Splits `scope/NAME`s into the one scope that they share and their names.
///
/// # Errors
/// A name that is none, two scopes, or nothing.
pub fn one_scope(secrets: &[String]) -> Result<(String, Vec<String>), Failure> {
    let parsed = secrets
        .iter()
        .map(|secret| secret.parse::<SecretRef>())
        .collect::<Result<Vec<_>, _>>();
    let parsed = parsed.map_err(|error| Failure::new(Outcome::BadInput, "reference", error.to_string()).hint("touchlease list"))?;
    let scope = parsed
        .first()
        .map(|secret| secret.scope.clone())
        .ok_or_else(|| internal("nothing", "no secret is named"))?;
    if parsed.iter().any(|secret| secret.scope != scope) {
        return Err(several_scopes());
    }
    Ok((scope, parsed.into_iter().map(|secret| secret.name).collect()))
}

/// One change is for one scope.
#[must_use]
pub fn several_scopes() -> Failure {
    Failure::new(Outcome::BadInput, "several_scopes", "one change is for one scope").hint("make one change for each scope")
}
