//! SSH signatures of a lease (`ssh-keygen -Y sign`, git): in the namespace that was shown, and of a lease of one use over the digest that was shown.

use data_encoding::HEXLOWER;

use super::failure::internal;
use super::hardware;
use super::request::Judged;
use super::text::{GrantText, LeaseText, SignatureText};
use super::token::unminted;
use crate::encoding::SecretRef;
use crate::encoding::plain::visible;
use crate::encoding::ssh_signed_data::SignedData;
use crate::mint::Minter;
use crate::vault::{Material, Signer};
use crate::wire::signer::SignatureAsk;
use crate::wire::{Failure, Outcome, Unhinted};

/// Something that may be signed: made by [`permit`] alone.
#[derive(Debug)]
pub struct Permitted {
    data: SignedData,
    what: String,
}

impl Permitted {
    /// What it is, in the log.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The signature, in SSH's form, by the key of `text`, which this was permitted by.
    ///
    /// # Errors
    /// The record's private key is not that of the public key that was shown.
    pub fn sign(&self, text: &LeaseText, material: &Material) -> Result<Vec<u8>, Failure> {
        let (grant, says) = text.signature().ok_or_else(none)?;
        let signed = Minter::of_text(material, &grant.secret, says.alg, &says.key).and_then(|minter| minter.ssh_signature(&self.data));
        signed.map_err(|error| unminted(error, grant))
    }
}

/// Holds what is asked for against the signer's sealed rules. Pure.
///
/// # Errors
/// Refused by a rule, with what it allows; what is no digest.
pub fn check(judged: &Judged) -> Result<(), Failure> {
    let name = &judged.grant.secret;
    let refused = |what: &str| refuse("signs_no_signatures", format!("{name} {what}, and no SSH signatures"));
    let (Some(signer), Some(asked)) = parts(judged) else {
        return Err(refused("is a secret").hint("touchlease signer list"));
    };
    let Some(namespaces) = &signer.namespaces else {
        return Err(refused(&format!("signs {}", signer.kind().what()))
            .hint("touchlease signer add NAME --scope prod --namespace git makes one that does"));
    };
    if !namespaces.contains(&asked.namespace) {
        return Err(other_namespace(name, namespaces.iter(), &asked.namespace));
    }
    let digest = HEXLOWER.decode(asked.digest.as_bytes());
    match digest.is_ok_and(|digest| digest.len() == asked.hash.length()) {
        true => Ok(()),
        false => Err(
            Failure::new(Outcome::BadInput, "digest", format!("it is no digest of {}", asked.hash))
                .hint("docs/protocol.md shows the form; ssh-keygen -Y sign has it made"),
        ),
    }
}

/// Signatures are all that a lease gives: what is held in memory for them is one key.
///
/// # Errors
/// They are asked for with something else.
pub fn check_alone(grants: &[Judged]) -> Result<(), Failure> {
    let asked = grants.iter().any(|judged| judged.grant.signature.is_some());
    match asked && grants.len() > 1 {
        true => Err(refuse("signature_alone", "SSH signatures take a lease of their own".into()).hint("ask for them by themselves")),
        false => Ok(()),
    }
}

/// What is signed, as it is shown; nothing for a grant of another kind.
#[must_use]
pub fn text(judged: &Judged) -> Option<SignatureText> {
    let (Some(signer), Some(asked)) = parts(judged) else {
        return None;
    };
    Some(SignatureText {
        alg: signer.alg,
        class: hardware::class(signer),
        digest: asked.digest.clone(),
        hash: asked.hash,
        key: signer.current.clone(),
        namespace: asked.namespace.clone(),
    })
}

fn parts(judged: &Judged) -> (Option<&Signer>, Option<&SignatureAsk>) {
    (judged.rules.signer.as_deref(), judged.grant.signature.as_ref())
}

impl LeaseText {
    /// Its SSH signatures, if it gives any.
    #[must_use]
    pub fn signature(&self) -> Option<(&GrantText, &SignatureText)> {
        self.grants.iter().find_map(|grant| Some((grant, grant.signature.as_ref()?)))
    }
}

/// Reads what is to be signed. Pure.
///
/// # Errors
/// It is anything else than the signed data of an SSH signature.
pub fn read(blob: &[u8]) -> Result<SignedData, Failure> {
    SignedData::read(blob).map_err(|error| refuse("no_signature", error.to_string()).hint("use it with ssh-keygen -Y sign, or git"))
}

/// Holds what is to be signed against what was shown for this lease. Pure.
///
/// # Errors
/// It is anything else.
pub fn permit(text: &LeaseText, data: SignedData) -> Result<Permitted, Failure> {
    let (grant, says) = text.signature().ok_or_else(none)?;
    let name = &grant.secret;
    if data.namespace != says.namespace {
        return Err(other_namespace(name, std::iter::once(&says.namespace), &data.namespace));
    }
    if text.uses == Some(1) && (data.hash, data.hex()) != (says.hash, says.digest.clone()) {
        return Err(
            refuse("other_digest", "the touch was for something else, by its digest".into()).hint("ask again, with what is to be signed")
        );
    }
    Ok(Permitted {
        what: format!("signature in {} over {} {} by {name}", data.namespace, data.hash, data.hex()),
        data,
    })
}

fn other_namespace<'a>(name: &SecretRef, allowed: impl Iterator<Item = &'a String>, asked: &str) -> Failure {
    let allowed = allowed.map(String::as_str).collect::<Vec<_>>().join(", ");
    let message = format!("{name} signs in {allowed}, not in {:?}", visible(asked));
    refuse("namespace", message).hint(format!(
        "touchlease signer rotate {name} --keep-keys --namespace NAME lets it sign in others"
    ))
}

fn none() -> Failure {
    internal("signature", "the lease is for no signature")
}

fn refuse(reason: &str, message: String) -> Unhinted {
    Failure::new(Outcome::Refused, reason, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::grant::{Grant, Target, Via};
    use super::super::text::tests::sample;
    use super::super::{certificate, token};
    use super::*;
    use crate::encoding::ssh_signed_data::Hash;
    use crate::vault::signer::tests::rules;
    use crate::wire::Uses;
    use crate::wire::signer::{CertificateAsk, TokenAsk};

    fn judged() -> Judged {
        let mut rules = rules();
        let signer = rules.signer.as_mut().unwrap();
        (signer.audiences, signer.subjects) = Default::default();
        signer.claims.clear();
        signer.issuer.clear();
        signer.namespaces = Some(["file".into(), "git".into()].into());
        Judged {
            grant: Grant {
                secret: "prod/git".parse().unwrap(),
                via: Via::Signer,
                env: None,
                token: None,
                certificate: None,
                signature: Some(SignatureAsk {
                    digest: "07".repeat(64),
                    hash: Hash::Sha512,
                    namespace: "git".into(),
                }),
                target: Target::default(),
            },
            version: 1,
            rules,
            clear: vec![],
        }
    }

    fn reason(change: impl FnOnce(&mut Judged)) -> String {
        let mut judged = judged();
        change(&mut judged);
        check(&judged).map_or_else(|failure| failure.reason, |()| "fine".into())
    }

    fn asked(judged: &mut Judged) -> &mut SignatureAsk {
        judged.grant.signature.as_mut().unwrap()
    }

    #[test]
    fn t22_only_a_namespace_of_the_sealed_rules_and_a_whole_digest_are_asked_for() {
        assert_eq!(reason(|_| {}), "fine");
        assert_eq!(reason(|judged| asked(judged).namespace = "file".into()), "fine");
        for namespace in ["", "Git", "git,file", "touchlease-lease", "git\u{202e}"] {
            assert_eq!(
                reason(|judged| asked(judged).namespace = namespace.into()),
                "namespace",
                "{namespace:?}"
            );
        }
        for digest in [String::new(), "07".repeat(32), "0G".repeat(64), "AB".repeat(64)] {
            assert_eq!(reason(|judged| asked(judged).digest = digest.clone()), "digest", "{digest}");
        }
        let kinds = |judged: &mut Judged| {
            let signer = judged.rules.signer.as_mut().unwrap();
            signer.namespaces = None;
            signer.principals = Some(["deploy".into()].into());
        };
        assert_eq!(reason(kinds), "signs_no_signatures");
        assert_eq!(reason(|judged| judged.rules.signer = None), "signs_no_signatures");
        let two = [judged(), judged()];
        assert_eq!(check_alone(&two).unwrap_err().reason, "signature_alone");
        check_alone(&two[..1]).unwrap();
    }

    #[test]
    fn t22_a_signer_of_signatures_signs_no_token_and_no_certificate() {
        let mut of_token = judged();
        of_token.grant.signature = None;
        of_token.grant.token = Some(TokenAsk {
            aud: "https://registry.example".into(),
            ..TokenAsk::default()
        });
        assert_eq!(token::check(&of_token).unwrap_err().reason, "signs_signatures");
        let mut of_certificate = judged();
        of_certificate.grant.signature = None;
        of_certificate.grant.certificate = Some(CertificateAsk::default());
        assert_eq!(certificate::check(&of_certificate).unwrap_err().reason, "no_ca");
    }

    fn lease(uses: Option<u32>) -> LeaseText {
        let judged = judged();
        LeaseText {
            grants: vec![GrantText {
                secret: judged.grant.secret.clone(),
                via: Via::Signer,
                env: None,
                signature: text(&judged),
                ..sample().grants[0].clone()
            }],
            uses,
            ..sample()
        }
    }

    fn data(namespace: &str, byte: u8) -> SignedData {
        SignedData {
            namespace: namespace.into(),
            hash: Hash::Sha512,
            digest: vec![byte; 64],
        }
    }

    #[test]
    fn any_number_of_signatures_is_asked_for_by_that_word_and_where_the_sealed_rules_leave_it_to_time() {
        use super::super::policy::{Judgement, judge};
        use super::super::request::tests::request;
        let judged_with = |cap, uses| {
            let mut one = judged();
            one.rules.uses = cap;
            match judge(request(vec![one], uses), &crate::config::Limits::default()) {
                Judgement::Ask(terms) => Ok((terms.uses, terms.ttl.as_secs())),
                Judgement::Refuse(failure) => Err((failure.reason, failure.hint.unwrap_or_default())),
            }
        };
        // It ends with its time all the same.
        assert_eq!(judged_with(None, Some(Uses::Any)), Ok((None, 300)));
        assert_eq!(judged_with(None, Some(Uses::Most(1000))), Ok((Some(1000), 300)));
        // Without a word it is one, whatever the rules allow.
        assert_eq!(judged_with(None, None), Ok((Some(1), 300)));
        let (reason, hint) = judged_with(Some(20), Some(Uses::Any)).unwrap_err();
        assert_eq!(reason, "uses_over_cap");
        assert_eq!(
            hint,
            "ask for less: --uses 20; or a person lets it sign as often as time allows: touchlease signer rotate prod/git --keep-keys --max-uses any"
        );
    }

    #[test]
    fn t09_of_one_use_only_what_was_shown_is_signed_and_of_several_whatever_is_in_the_namespace() {
        let permits = |uses, data: &[u8]| {
            read(data)
                .and_then(|data| permit(&lease(uses), data))
                .map_or_else(|failure| failure.reason, |may| may.what().to_owned())
        };
        let good = data("git", 7).to_blob();
        assert_eq!(
            permits(Some(1), &good),
            format!("signature in git over sha512 {} by prod/git", "07".repeat(64))
        );
        assert_eq!(permits(Some(1), &data("git", 8).to_blob()), "other_digest");
        for uses in [Some(2), None] {
            assert!(permits(uses, &data("git", 8).to_blob()).starts_with("signature in git"));
        }
        for uses in [Some(1), Some(2), None] {
            // Of the rules, and not of this lease.
            assert_eq!(permits(uses, &data("file", 7).to_blob()), "namespace");
            assert_eq!(permits(uses, &[&good[..], &[0]].concat()), "no_signature");
            assert_eq!(permits(uses, b"anything"), "no_signature");
        }
        assert!(permit(&sample(), data("git", 7)).is_err());
    }
}
