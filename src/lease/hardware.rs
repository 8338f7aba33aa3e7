//! Signers in hardware: each signature is a touch, and the touch of the lease that gives it.
//!
//! Nothing is unsealed: what the folder says of the signer has to be what a touch on this machine has shown before. What is signed names the lease
//! by the digest of its bytes, so the token, or the certificate, is itself the proof that somebody touched for exactly this lease.

use std::sync::Arc;
use std::time::Duration;

use super::failure::{IntoFailure, internal};
use super::office::{Asker, Office};
use super::policy::Terms;
use super::request::Judged;
use super::text::{Fixed, GrantText, LeaseText, Text};
use super::token::At;
use super::{certificate, token};
use crate::clock::Wall;
use crate::device::EnrolledKey;
use crate::device::broker::{Candidate, Signs};
use crate::device::enrolled::PivSlot;
use crate::encoding::Digest;
use crate::vault::{Hardware, Signer, Standing};
use crate::wire::signer::SignerClass;
use crate::wire::{Failure, Outcome, Uses};

/// Who can touch for a lease: enrolled keys that open its scopes, or the card of the signer that it is of.
pub struct Touchable {
    /// Whom to ask.
    pub candidates: Vec<Candidate>,
    signer: Option<(u32, PivSlot)>,
}

/// Where a signer's private key is.
#[must_use]
pub fn class(signer: &Signer) -> SignerClass {
    match signer.hardware {
        Some(_) => SignerClass::Hardware,
        None => SignerClass::Sealed,
    }
}

/// Its signature is the touch of the lease: for one use, and for nothing besides. Pure.
///
/// # Errors
/// It is asked for with something else, or several times.
pub fn check_alone(grants: &[Judged], uses: Option<Uses>) -> Result<(), Failure> {
    let in_hardware = |judged: &&Judged| slot(judged).is_some();
    let Some(signer) = grants.iter().find(in_hardware) else {
        return Ok(());
    };
    let name = &signer.grant.secret;
    let refuse = |reason: &str, message: String| {
        Err(
            Failure::new(Outcome::Refused, reason, message).hint(match signer.grant.certificate {
                Some(_) => format!("ask for one certificate: touchlease ssh cert {name} --key ~/.ssh/id_ed25519.pub"),
                None => format!("ask for one token, as often as you need one: touchlease token {name} --aud URL"),
            }),
        )
    };
    let several = match uses {
        Some(Uses::Most(uses)) if uses > 1 => Some(uses.to_string()),
        Some(Uses::Any) => Some("any number".to_owned()),
        _ => None,
    };
    match several {
        Some(several) => refuse(
            "one_touch_each",
            format!("{name} signs in hardware, where each signature is a touch of its own: one touch is not for {several}"),
        ),
        _ if grants.len() > 1 => refuse(
            "signer_alone",
            format!("{name} signs in hardware, and its signature is the touch of a lease that gives nothing else"),
        ),
        _ => Ok(()),
    }
}

fn slot(judged: &Judged) -> Option<(u32, PivSlot)> {
    let signer = judged.rules.signer.as_deref()?;
    let Hardware { serial, .. } = signer.hardware.as_ref()?;
    Some((*serial, signer.slot()?))
}

impl Touchable {
    /// Of these terms.
    ///
    /// # Errors
    /// What the vault says; nobody can; no touch on this machine has shown the signer.
    pub fn of(office: &Office<'_>, terms: &Terms, standing: &Standing, asker: &Asker) -> Result<Self, Failure> {
        let of_signer = terms.request.grants.iter().find_map(|judged| Some((judged, slot(judged)?)));
        let Some((judged, (serial, slot))) = of_signer else {
            return Ok(Self {
                candidates: office.candidates(standing, asker)?,
                signer: None,
            });
        };
        let vault = office.vault.borrow();
        let secret = &judged.grant.secret;
        let found = vault.find(&secret.scope, &secret.name).map_err(IntoFailure::failure)?;
        if found.clear != judged.clear || !vault.is_vouched(&found).map_err(IntoFailure::failure)? {
            let message =
                format!("no touch on this machine has shown that {secret} is as the folder says, and its key opens nothing that would");
            return Err(Failure::new(Outcome::VaultRefused, "not_vouched", message).hint(format!(
                "look at it: touchlease signer show {secret}; if it is yours, an enrolled key shows that: touchlease signer rotate {secret} --keep-keys"
            )));
        }
        let firmware = judged
            .rules
            .signer
            .as_deref()
            .and_then(|signer| Some(signer.hardware.as_ref()?.firmware));
        // An enrolled YubiKey is asked under its name, and with the PIN that is kept for it.
        let enrolled = vault
            .keys()
            .into_iter()
            .find(|key| key.piv().is_some_and(|piv| piv.serial == serial));
        let key = enrolled.unwrap_or_else(|| {
            let name = card_name(serial);
            EnrolledKey::on_card(name, serial, firmware.unwrap_or_default(), slot.clone(), slot.clone())
        });
        Ok(Self {
            candidates: vec![Candidate { key, unseals: vec![] }],
            signer: Some((serial, slot)),
        })
    }

    /// Whom to ask, and what a signer's key is to sign where that is who.
    ///
    /// # Errors
    /// The text is not that of a lease of the signer.
    pub fn for_text(self, fixed: &Fixed) -> Result<(Vec<Candidate>, Option<Signs>), Failure> {
        let Self { candidates, signer } = self;
        let Some((serial, slot)) = signer else {
            return Ok((candidates, None));
        };
        let text = LeaseText::decode(fixed.text()).map_err(IntoFailure::failure)?;
        let [grant] = text.grants.as_slice() else {
            return Err(internal("signer", "a lease of a signer in hardware gives one thing"));
        };
        let (grant, digest) = (grant.clone(), fixed.digest());
        let signs = Signs {
            serial,
            by: (&slot).into(),
            message: Arc::new(move |now| message(&text, &grant, &digest, now)),
        };
        Ok((candidates, Some(signs)))
    }
}

/// What a YubiKey is called that is not enrolled by its PIV application.
#[must_use]
pub fn card_name(serial: u32) -> String {
    format!("YubiKey {serial}")
}

/// What is signed when the card is asked at `now`: its touch comes within the card's own time, and its lease begins then.
fn message(text: &LeaseText, grant: &GrantText, digest: &Digest, now: Wall) -> Option<Vec<u8>> {
    let at = At {
        now,
        left: Duration::from_secs(text.ttl),
    };
    // The digest of a text with 128 random bits: a nonce that nobody else has chosen, and that names the lease.
    let made = match grant.certificate {
        Some(_) => certificate::unsigned(text, grant, &digest.0, at),
        None => token::unsigned(text, grant, text.id.clone(), at).map(String::into_bytes),
    };
    // What cannot be written is not signed: the proof has to name the text.
    made.inspect_err(|failure| tracing::error!(%failure.message, "what a signer's key was to sign"))
        .ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::grant::{Grant, Target, Via};
    use super::super::policy::{Judgement, judge};
    use super::super::request::tests::request;
    use super::super::text::tests::sample;
    use super::*;
    use crate::device::soft::SoftKey;
    use crate::encoding::jwk::{Algorithm, PublicKey};
    use crate::encoding::naming;
    use crate::vault::signer::tests::{in_hardware, rules};
    use crate::wire::signer::{CertificateAsk, TokenAsk};

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOpKbEo/mkoQkCzLnDsdEBr+0sBNxgVuJQnW82hYPV4n";

    fn token() -> Judged {
        Judged {
            grant: Grant {
                secret: "prod/deployer".parse().unwrap(),
                via: Via::Signer,
                env: None,
                target: Target::default(),
                token: Some(TokenAsk {
                    aud: "https://registry.example".into(),
                    ..TokenAsk::default()
                }),
                certificate: None,
                signature: None,
            },
            version: 1,
            rules: in_hardware(),
            clear: vec![],
        }
    }

    fn certificate() -> Judged {
        let mut judged = token();
        let signer = judged.rules.signer.as_mut().unwrap();
        (signer.audiences, signer.subjects, signer.claims) = Default::default();
        signer.issuer.clear();
        signer.principals = Some(["deploy".into()].into());
        judged.grant.token = None;
        judged.grant.certificate = Some(CertificateAsk {
            key: KEY.into(),
            ..CertificateAsk::default()
        });
        judged
    }

    fn asked(grants: Vec<Judged>, uses: Option<Uses>) -> Result<Option<u32>, String> {
        match judge(request(grants, uses), &crate::config::Limits::default()) {
            Judgement::Ask(terms) => Ok(terms.uses),
            Judgement::Refuse(failure) => Err(failure.reason),
        }
    }

    #[test]
    fn one_touch_in_hardware_is_for_one_signature_and_nothing_besides() {
        let other = || Judged {
            rules: rules(),
            grant: Grant {
                secret: "prod/sealed".parse().unwrap(),
                env: Some("A".into()),
                ..token().grant
            },
            ..token()
        };
        assert_eq!(asked(vec![token()], None), Ok(Some(1)));
        assert_eq!(asked(vec![token()], Some(Uses::Most(1))), Ok(Some(1)));
        assert_eq!(asked(vec![certificate()], None), Ok(Some(1)));
        assert_eq!(asked(vec![token()], Some(Uses::Most(3))), Err("one_touch_each".into()));
        for uses in [Uses::Most(2), Uses::Any] {
            assert_eq!(asked(vec![certificate()], Some(uses)), Err("one_touch_each".into()));
        }
        assert_eq!(asked(vec![token(), other()], None), Err("signer_alone".into()));
        // A sealed one, as its rules allow.
        assert_eq!(asked(vec![other()], Some(Uses::Most(3))), Ok(Some(3)));
    }

    #[test]
    fn t09_what_a_signers_key_signs_names_its_lease_is_written_anew_each_time_and_is_that_leases_touch() {
        let card = SoftKey::piv("card", 3);
        let public = PublicKey::from_bytes(Algorithm::Es256, card.enrolled().signer()).unwrap();
        for mut judged in [token(), certificate()] {
            judged.rules.signer.as_mut().unwrap().current = public.to_text();
            let text = LeaseText {
                grants: vec![GrantText {
                    secret: judged.grant.secret.clone(),
                    via: Via::Signer,
                    env: None,
                    token: token::text(&judged),
                    certificate: certificate::text(&judged),
                    ..sample().grants[0].clone()
                }],
                ttl: 60,
                uses: Some(1),
                ..sample()
            };
            let fixed = text.fix().unwrap();
            let candidate = Candidate {
                key: card.enrolled(),
                unseals: vec![],
            };
            let touchable = Touchable {
                candidates: vec![candidate],
                signer: slot(&judged),
            };
            let (_, signs) = touchable.for_text(&fixed).unwrap();
            let signs = signs.unwrap();
            let at = |second| (signs.message)(Wall((sample().not_before + second) * 1000)).unwrap();
            let message = at(0);
            assert!(naming::names(&message, &fixed.digest()));
            assert_ne!(message, at(1), "it has the time at which the card is asked");
            let proof = card.sign(fixed.text().as_bytes(), message).unwrap();
            assert!(proof.is_over(fixed.text().as_bytes()));
            assert!(card.sign(b"another lease", at(0)).is_err());
            // Past the lease's own end nothing is signed.
            assert_eq!((signs.message)(Wall((sample().not_after + 60) * 1000)), None);
        }
    }
}
