//! Tokens of a lease: what a signer's sealed rules let a person be asked for, and what is signed of what was shown.

use std::time::Duration;

use zeroize::Zeroizing;

use super::failure::{internal, locked_memory};
use super::grant::Via;
use super::request::Judged;
use super::text::{GrantText, LeaseText, Text, TokenText};
use super::{exchange, hardware};
use crate::clock::Wall;
use crate::encoding::access::Access;
use crate::encoding::jwk::{Profile, PublicKey};
use crate::encoding::plain::check_line;
use crate::mint::{Claims, MintError, Minter, Named, jwt};
use crate::secret::Secret;
use crate::vault::signer::SignerKind;
use crate::vault::{Material, Signer};
use crate::wire::signer::TokenAsk;
use crate::wire::{Failure, Outcome, Unhinted};

/// Life of a token when nobody asks for another, and its signer allows it.
pub const USUAL_LIFE: Duration = Duration::from_secs(300);
/// Longest text in a token, in bytes.
const LONGEST_TEXT: usize = 512;

/// Holds what is asked for against the signer's sealed rules. Pure.
///
/// # Errors
/// Refused by a rule, with what it allows.
pub fn check(judged: &Judged) -> Result<(), Failure> {
    let (signer, asked) = parts(judged).ok_or_else(|| {
        let message = format!("{} is a secret, and nothing is signed with it", judged.grant.secret);
        refuse("no_signer", message).hint("touchlease signer list")
    })?;
    let name = &judged.grant.secret;
    let no_tokens = || format!("{name} signs {}, and no tokens", signer.kind().what());
    match signer.kind() {
        SignerKind::Tokens => {}
        SignerKind::Certificates => {
            return Err(refuse("signs_certificates", no_tokens()).hint(format!("touchlease ssh cert {name} --key ~/.ssh/id_ed25519.pub")));
        }
        SignerKind::Signatures => {
            return Err(refuse("signs_signatures", no_tokens()).hint(format!("touchlease ssh agent {name} -- git commit -S")));
        }
    }
    for text in [Some(&asked.aud), asked.sub.as_ref()]
        .into_iter()
        .flatten()
        .chain(asked.claims.values())
    {
        check_line("the token's text", text, LONGEST_TEXT).map_err(|error| {
            Failure::new(Outcome::BadInput, "token_text", error.to_string())
                .hint("it is shown to a person: one line of characters that can be seen")
        })?;
    }
    let listed = |texts: &mut dyn Iterator<Item = &String>| texts.map(String::as_str).collect::<Vec<_>>().join(", ");
    if !signer.audiences.contains(&asked.aud) {
        let message = format!("{name} signs for {}, not for {:?}", listed(&mut signer.audiences.iter()), asked.aud);
        return Err(refuse("audience", message).hint(format!(
            "touchlease signer rotate {name} --keep-keys --aud URL says anew for whom it signs; repeat --aud for each, the old ones too"
        )));
    }
    match (&asked.sub, subject(signer, asked)) {
        (_, Some(_)) => {}
        (Some(sub), None) => {
            let message = format!("{name} speaks of {}, not of {sub:?}", listed(&mut signer.subjects.iter()));
            return Err(refuse("subject", message).hint(format!("touchlease signer show {name} lists what it may say")));
        }
        (None, None) => {
            let message = format!("{name} speaks of several subjects: {}", listed(&mut signer.subjects.iter()));
            return Err(Failure::new(Outcome::BadInput, "which_subject", message).hint("say which: --sub SUBJECT"));
        }
    }
    for (claim, value) in &asked.claims {
        let allowed = signer.claims.get(claim);
        if !allowed.is_some_and(|values| values.is_empty() || values.contains(value)) || value.is_empty() || value.trim() != value {
            let message = format!("the rules of {name} do not let a token say {claim:?} = {value:?}");
            return Err(refuse("claim", message).hint(format!("touchlease signer show {name} lists what it may say")));
        }
    }
    check_access(judged, signer, asked)?;
    exchange::check(name, signer, asked)
}

/// What is asked of a registry may only narrow one of the rules.
fn check_access(judged: &Judged, signer: &Signer, asked: &TokenAsk) -> Result<(), Failure> {
    let name = &judged.grant.secret;
    for text in &asked.access {
        let access: Access = text.parse().map_err(|error| {
            Failure::new(Outcome::BadInput, "access_form", format!("{text:?}: {error}")).hint("--access repository:team/app:pull")
        })?;
        let allowed = |rule: &String| rule.parse().is_ok_and(|rule| access.is_within(&rule));
        if !signer.access.iter().any(allowed) {
            let message = format!("the rules of {name} do not let a token do {text} at a registry");
            return Err(refuse("access", message).hint(format!("touchlease signer show {name} lists what it may do")));
        }
    }
    Ok(())
}

/// What its tokens say, as it is shown and signed; nothing for a grant of another kind.
#[must_use]
pub fn text(judged: &Judged) -> Option<TokenText> {
    let (signer, asked) = parts(judged)?;
    let profile = signer.profile(&asked.aud);
    let certificates = signer.certificates.as_ref().filter(|_| profile == Profile::X5c);
    Some(TokenText {
        access: asked.access.clone(),
        alg: signer.alg,
        aud: asked.aud.clone(),
        certificate: certificates.map(|certificates| certificates.current.clone()),
        claims: asked.claims.clone(),
        class: hardware::class(signer),
        exchange: exchange::text(signer, asked),
        iss: signer.issuer.clone(),
        key: signer.current.clone(),
        profile,
        sub: subject(signer, asked)?.to_owned(),
    })
}

fn parts(judged: &Judged) -> Option<(&Signer, &TokenAsk)> {
    Some((judged.rules.signer.as_deref()?, judged.grant.token.as_ref()?))
}

/// The subject that is asked for, or the only one, where the rules have it.
fn subject<'a>(signer: &'a Signer, asked: &TokenAsk) -> Option<&'a str> {
    let mut subjects = signer.subjects.iter();
    match &asked.sub {
        Some(sub) => signer.subjects.get(sub).map(String::as_str),
        None => subjects.next().filter(|_| subjects.next().is_none()).map(String::as_str),
    }
}

impl LeaseText {
    /// Whether it gives tokens that are printed, and nothing else.
    #[must_use]
    pub fn is_of_printed_tokens(&self) -> bool {
        let printed = |grant: &GrantText| grant.via == Via::Signer && grant.env.is_none();
        self.grants.iter().all(printed) && self.exchange().is_none()
    }

    /// Whether it gives tokens.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        self.grants.iter().any(|grant| grant.via == Via::Signer)
    }

    /// Ids and audiences of the tokens of one use, of which `left` remain after it, in the order of the grants. The only token of a lease has
    /// the lease's id; of several each has a number behind it.
    #[must_use]
    pub fn tokens(&self, left: Option<u32>) -> Vec<(String, &TokenText)> {
        let tokens: Vec<_> = self.grants.iter().filter_map(|grant| grant.token.as_ref()).collect();
        let each = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        let before = self.uses.unwrap_or(1).saturating_sub(left.unwrap_or(0)).saturating_sub(1);
        let only = self.uses == Some(1) && each == 1;
        let numbered = (1..).map(|n| before.saturating_mul(each).saturating_add(n));
        let id = |number: u32| match only {
            true => self.id.clone(),
            false => format!("{}.{number}", self.id),
        };
        numbered.map(id).zip(tokens).collect()
    }
}

/// When a token or a certificate is signed, and how long its lease still lives then.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Now.
    pub now: Wall,
    /// From now to the lease's end, by the clock that nobody can set.
    pub left: Duration,
}

impl At {
    /// When what is to live `ttl` seconds begins and ends, in seconds since 1970. Nobody can take it back, so it ends with its lease, to the second.
    pub(super) fn times(self, ttl: u64) -> (u64, u64) {
        let iat = self.now.seconds();
        let left = u64::try_from(self.left.as_millis()).unwrap_or(u64::MAX);
        let end = self.now.0.saturating_add(left).div_ceil(1000);
        (iat, end.min(iat.saturating_add(ttl)))
    }
}

/// Signs what `text` says for `grant`, in the token with the id `jti`, at `at`. It ends with the life that was shown, and with the lease.
///
/// # Errors
/// The record's private key is not that of the public key that was shown; no locked memory.
pub fn mint(text: &LeaseText, material: &Material, grant: &GrantText, jti: String, at: At) -> Result<Secret, Failure> {
    let says = says(grant)?;
    let token = match material.signed() {
        // By its touch: what it says was fixed before.
        Some(signed) => {
            let unsigned = str::from_utf8(&signed.message).map_err(|error| internal("token", error))?;
            jwt::with_signature(unsigned, &signed.signature)
        }
        None => Minter::of_text(material, &grant.secret, says.alg, &says.key)
            .and_then(|minter| minter.token(&claims(text, says, jti, at)?, named(says)))
            .map_err(|error| unminted(error, grant))?,
    };
    locked(token)
}

/// What was signed, in locked memory alone.
pub(super) fn locked(mut made: Zeroizing<String>) -> Result<Secret, Failure> {
    Secret::from_slice_wiping(&mut std::mem::take(&mut *made).into_bytes()).map_err(locked_memory)
}

/// Header and claims of what `text` says for `grant`, for a signer's key in hardware to sign.
///
/// # Errors
/// As [`mint`].
pub(super) fn unsigned(text: &LeaseText, grant: &GrantText, jti: String, at: At) -> Result<String, Failure> {
    let says = says(grant)?;
    let key = PublicKey::from_text(says.alg, &says.key).map_err(|error| internal("token", error))?;
    let claims = claims(text, says, jti, at).map_err(|error| unminted(error, grant))?;
    jwt::unsigned(&key, &claims, named(says)).map_err(|error| unminted(error, grant))
}

fn says(grant: &GrantText) -> Result<&TokenText, Failure> {
    let says = grant.token.as_ref();
    says.ok_or_else(|| internal("token", "the lease says nothing of what is to be signed"))
}

fn claims(text: &LeaseText, says: &TokenText, jti: String, at: At) -> Result<Claims, MintError> {
    let (iat, exp) = at.times(text.ttl);
    let access = says.access.iter().map(|text| text.parse()).collect::<Result<_, _>>();
    Ok(Claims {
        access: access.map_err(|_| MintError::Claims)?,
        iss: says.iss.clone(),
        sub: says.sub.clone(),
        aud: says.aud.clone(),
        jti,
        iat,
        exp: exp.min(text.not_after),
        task: text.task.as_ref().map(|task| task.name.clone()),
        // Of the bytes that were signed: what is decoded is written back to the same bytes (RFC 8785).
        lease: text.fix().map_err(|_| MintError::Claims)?.digest(),
        more: says.claims.clone(),
    })
}

fn named(says: &TokenText) -> Named<'_> {
    Named {
        profile: says.profile,
        certificate: says.certificate.as_deref(),
    }
}

pub(super) fn unminted(error: MintError, grant: &GrantText) -> Failure {
    let secret = &grant.secret;
    match error {
        MintError::NoKey | MintError::OtherKey => Failure::new(Outcome::VaultRefused, "signer_key", format!("{secret}: {error}"))
            .hint(format!("make its keys anew: touchlease signer rotate {secret} --compromised")),
        MintError::Memory => locked_memory(error),
        MintError::Times | MintError::Claims | MintError::Certificate(_) | MintError::Signing => internal("token", error),
    }
}

fn refuse(reason: &str, message: String) -> Unhinted {
    Failure::new(Outcome::Refused, reason, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::grant::Grant;
    use super::super::text::tests::sample;
    use super::*;
    use crate::vault::signer::tests::rules;

    fn judged(ask: TokenAsk) -> Judged {
        Judged {
            grant: Grant {
                secret: "prod/deployer".parse().unwrap(),
                via: Via::Signer,
                env: None,
                target: crate::lease::grant::Target::default(),
                token: Some(ask),
                certificate: None,
                signature: None,
            },
            version: 1,
            rules: rules(),
            clear: vec![],
        }
    }

    fn ask() -> TokenAsk {
        TokenAsk {
            aud: "https://registry.example".into(),
            ..TokenAsk::default()
        }
    }

    fn reason(change: impl FnOnce(&mut TokenAsk)) -> String {
        let mut asked = ask();
        change(&mut asked);
        check(&judged(asked)).map_or_else(|failure| failure.reason, |()| "asked".into())
    }

    fn claim(name: &str, value: &str) -> impl FnOnce(&mut TokenAsk) {
        move |asked| drop(asked.claims.insert(name.into(), value.into()))
    }

    #[test]
    fn t28_what_the_sealed_rules_do_not_name_is_not_asked_of_a_person() {
        assert_eq!(reason(|_| {}), "asked");
        assert_eq!(reason(|asked| asked.aud = "https://other.example".into()), "audience");
        assert_eq!(
            reason(|asked| asked.aud = "https://registry.example,https://other.example".into()),
            "audience"
        );
        assert_eq!(reason(|asked| asked.aud.clear()), "audience");
        assert_eq!(reason(|asked| asked.sub = Some("deployer".into())), "asked");
        assert_eq!(reason(|asked| asked.sub = Some("root".into())), "subject");
        assert_eq!(reason(claim("env", "prod")), "asked");
        assert_eq!(reason(claim("env", "dev")), "claim");
        assert_eq!(reason(claim("ref", "refs/heads/main")), "asked");
        assert_eq!(reason(claim("ref", "")), "claim");
        assert_eq!(reason(claim("ref", "prod   ")), "claim");
        for name in crate::vault::signer::OUR_CLAIMS.into_iter().chain(["kid", "alg", "admin"]) {
            assert_eq!(reason(claim(name, "x")), "claim", "{name}");
        }
        assert_eq!(reason(|asked| asked.aud = "https://registry.example\u{202e}".into()), "token_text");
    }

    #[test]
    fn t28_what_a_token_lets_do_at_a_registry_is_named_by_the_rules_or_less_than_that() {
        let reason = |texts: &[&str]| {
            let mut judged = judged(TokenAsk {
                access: texts.iter().map(|text| (*text).to_owned()).collect(),
                ..ask()
            });
            judged.rules.signer.as_mut().unwrap().access = ["registry:catalog:*".into(), "repository:app:pull,push".into()].into();
            check(&judged).map_or_else(|failure| failure.reason, |()| "asked".into())
        };
        for fine in [
            &[][..],
            &["repository:app:pull"],
            &["repository:app:pull,push", "registry:catalog:*"],
        ] {
            assert_eq!(reason(fine), "asked", "{fine:?}");
        }
        for wrong in [
            &["repository:app:delete"][..],
            &["repository:app:*"],
            &["repository:app:pull", "repository:other:pull"],
        ] {
            assert_eq!(reason(wrong), "access", "{wrong:?}");
        }
        for wrong in ["repository:app", "", "repository:app:push,pull"] {
            assert_eq!(reason(&[wrong]), "access_form", "{wrong:?}");
        }
        let mut none = judged(ask());
        none.grant.token.as_mut().unwrap().access = ["repository:app:pull".to_owned()].into();
        assert_eq!(check(&none).unwrap_err().reason, "access");
    }

    #[test]
    fn t28_a_token_ends_with_what_is_left_of_its_lease() {
        let times = |now, left| {
            At {
                now: Wall(now),
                left: Duration::from_millis(left),
            }
            .times(60)
        };
        // Signed at once it lives as long as was shown, also where a second begins in between.
        assert_eq!([times(1_000_005, 59_990), times(1_001_010, 59_989)], [(1000, 1060), (1001, 1061)]);
        assert_eq!(times(1_050_500, 9_500), (1050, 1060));
        assert_eq!(times(1_059_999, 1), (1059, 1060));
        assert_eq!(times(1_060_000, 1), (1060, 1061));
    }

    #[test]
    fn t28_the_cap_of_tokens_of_one_touch_holds_for_all_grants_of_a_signer_together() {
        use super::super::policy::{Judgement, judge};
        use super::super::request::tests::request;
        use crate::wire::Uses;
        let asked = |grants: u32, uses: Option<u32>, cap| {
            let one = |i: u32| {
                let mut one = judged(ask());
                one.rules.uses = Some(cap);
                one.grant.env = Some(format!("T{i}"));
                one
            };
            let request = request((0..grants).map(one).collect(), uses.map(Uses::Most));
            match judge(request, &crate::config::Limits::default()) {
                Judgement::Ask(terms) => Ok(terms.uses),
                Judgement::Refuse(failure) => Err(failure.reason),
            }
        };
        assert_eq!(asked(1, None, 1), Ok(Some(1)));
        assert_eq!(asked(2, None, 1), Err("tokens_over_cap".into()));
        assert_eq!(asked(32, None, 1), Err("tokens_over_cap".into()));
        assert_eq!(asked(2, None, 3), Ok(Some(1)));
        assert_eq!(asked(2, Some(2), 4), Ok(Some(2)));
        assert_eq!(asked(2, Some(2), 3), Err("uses_over_cap".into()));
    }

    #[test]
    fn t28_the_same_token_twice_in_one_request_is_refused() {
        let grant = |env: Option<&str>, ask: TokenAsk| Grant {
            env: env.map(str::to_owned),
            ..judged(ask).grant
        };
        let other = || TokenAsk {
            sub: Some("deployer".into()),
            ..ask()
        };
        let check = super::super::task::check_grants;
        assert!(check(&[grant(None, ask()), grant(None, ask())]).is_err());
        assert!(check(&[grant(Some("A"), ask()), grant(Some("B"), ask())]).is_err());
        assert!(check(&[grant(Some("A"), ask()), grant(Some("B"), other())]).is_ok());
    }

    #[test]
    fn a_secret_signs_nothing_and_of_several_subjects_one_has_to_be_named() {
        let mut secret = judged(ask());
        secret.rules.signer = None;
        assert_eq!(check(&secret).unwrap_err().reason, "no_signer");
        let mut several = judged(ask());
        several.rules.signer.as_mut().unwrap().subjects.insert("other".into());
        assert_eq!(check(&several).unwrap_err().reason, "which_subject");
        assert_eq!(text(&several), None);
    }

    #[test]
    fn each_token_of_a_lease_has_its_own_id_and_the_only_one_has_the_leases() {
        let token = text(&judged(ask())).unwrap();
        let grant = |token: &TokenText| GrantText {
            via: Via::Signer,
            env: None,
            token: Some(token.clone()),
            ..sample().grants[0].clone()
        };
        let ids = |tokens: usize, uses: u32, left: u32| -> Vec<String> {
            let text = LeaseText {
                id: "ab".into(),
                grants: vec![grant(&token); tokens],
                uses: Some(uses),
                ..sample()
            };
            text.tokens(Some(left)).into_iter().map(|(id, _)| id).collect()
        };
        assert_eq!(ids(1, 1, 0), ["ab"]);
        assert_eq!([ids(1, 3, 2), ids(1, 3, 1), ids(1, 3, 0)].concat(), ["ab.1", "ab.2", "ab.3"]);
        assert_eq!([ids(2, 2, 1), ids(2, 2, 0)].concat(), ["ab.1", "ab.2", "ab.3", "ab.4"]);
        assert_eq!(ids(2, 1, 0), ["ab.1", "ab.2"]);
    }
}
