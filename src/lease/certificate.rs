//! SSH certificates of a lease: what a signer's sealed rules let a person be asked for, and what is signed of what was shown.

use super::failure::internal;
use super::request::Judged;
use super::text::{CertificateText, GrantText, LeaseText};
use super::token::{At, locked, unminted};
use super::{hardware, login};
use crate::encoding::addresses::{Addresses, AddressesError};
use crate::encoding::jwk::PublicKey;
use crate::encoding::ssh_key::SshKey;
use crate::mint::ssh_cert::{self, BEFORE, check_parts};
use crate::mint::{Certificate, CertificateError, Minter};
use crate::secret::Secret;
use crate::vault::{Material, Signer};
use crate::wire::signer::CertificateAsk;
use crate::wire::{Failure, Outcome, Unhinted, Uses};

/// Hexadecimal digits of a lease's id that are its certificate's number.
const SERIAL_DIGITS: usize = 16;

/// Holds what is asked for against the signer's sealed rules. Pure.
///
/// # Errors
/// Refused by a rule, with what it allows; what is no key, command or address.
pub fn check(judged: &Judged) -> Result<(), Failure> {
    let name = &judged.grant.secret;
    let refused = |what: &str| refuse("no_ca", format!("{name} {what}, and no SSH certificates"));
    let (Some(signer), Some(asked)) = (judged.rules.signer.as_deref(), judged.grant.certificate.as_ref()) else {
        return Err(refused("is a secret").hint("touchlease signer list"));
    };
    let Some(principals) = &signer.principals else {
        return Err(refused(&format!("signs {}", signer.kind().what()))
            .hint("touchlease signer add NAME --scope prod --principal deploy makes one that does"));
    };
    SshKey::from_line(&asked.key).map_err(|error| {
        Failure::new(Outcome::BadInput, "ssh_key", error.to_string())
            .hint("name the public half: --key ~/.ssh/id_ed25519.pub; ssh-keygen -t ed25519 makes a key")
    })?;
    asked.login.as_ref().map_or(Ok(()), login::check)?;
    let names = || principals.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    match (&asked.principal, principal(signer, asked)) {
        (_, Some(_)) => {}
        (Some(asked), None) => {
            return Err(refuse("principal", format!("{name} lets in as {}, not as {asked:?}", names()))
                .hint(format!(
                    "touchlease signer rotate {name} --keep-keys --principal NAME says anew as whom it lets in; repeat it for each, the old ones too"
                )));
        }
        (None, None) => {
            let message = format!("{name} lets in as several users: {}", names());
            return Err(Failure::new(Outcome::BadInput, "which_principal", message).hint("say as which: --principal NAME"));
        }
    }
    let addresses = addresses(asked).and_then(|addresses| {
        let principal = principal(signer, asked).unwrap_or_default();
        check_parts(principal, asked.force_command.as_deref(), &addresses)?;
        Ok(addresses)
    });
    let addresses = addresses.map_err(|error| {
        Failure::new(Outcome::BadInput, "certificate", error.to_string())
            .hint("--force-command '/usr/bin/deploy' --source-address 192.0.2.0/24")
    })?;
    check_limits(judged, signer, asked, &addresses)
}

/// A command and addresses of the sealed rules are in every certificate: whoever asks can leave them out, and narrow the addresses.
fn check_limits(judged: &Judged, signer: &Signer, asked: &CertificateAsk, addresses: &[Addresses]) -> Result<(), Failure> {
    let name = &judged.grant.secret;
    if let (Some(sealed), Some(asked)) = (&signer.force_command, &asked.force_command)
        && sealed != asked
    {
        return Err(refuse("force_command", format!("{name} lets run {sealed} and nothing else"))
            .hint("leave --force-command out: it is in each of its certificates"));
    }
    let sealed = sealed(signer).map_err(|error| internal("certificate", error))?;
    let wider = addresses.iter().find(|asked| !sealed.iter().any(|sealed| asked.is_within(sealed)));
    match wider.filter(|_| !sealed.is_empty()) {
        None => Ok(()),
        Some(wider) => {
            let allowed = sealed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Err(refuse("source_address", format!("{name} lets in from {allowed}, not from {wider}"))
                .hint("leave --source-address out, or name a part of these"))
        }
    }
}

/// A certificate is all that a lease gives, and the lease is over with it: its id is the lease's. One for logins is used for as many of them as
/// the lease has uses.
///
/// # Errors
/// It is asked for with something else, or several times.
pub fn check_alone(grants: &[Judged], uses: Uses) -> Result<(), Failure> {
    let certificates = || grants.iter().filter_map(|judged| judged.grant.certificate.as_ref());
    let for_logins = certificates().any(|asked| asked.login.is_some());
    match (certificates().next().is_some(), grants.len(), uses) {
        (false, ..) | (true, 1, Uses::Most(1)) => Ok(()),
        (true, 1, _) if for_logins => Ok(()),
        _ => Err(refuse("certificate_alone", "an SSH certificate takes a touch of its own".into()).hint("ask for each by itself")),
    }
}

/// What its certificate says, as it is shown and signed; nothing for a grant of another kind.
#[must_use]
pub fn text(judged: &Judged) -> Option<CertificateText> {
    let (signer, asked) = (judged.rules.signer.as_deref()?, judged.grant.certificate.as_ref()?);
    Some(CertificateText {
        alg: signer.alg,
        ca: signer.current.clone(),
        class: hardware::class(signer),
        force_command: signer.force_command.clone().or_else(|| asked.force_command.clone()),
        key: SshKey::from_line(&asked.key).ok()?.to_line(),
        login: match &asked.login {
            Some(login) => Some(login::text(login, principal(signer, asked)?)?),
            None => None,
        },
        principal: principal(signer, asked)?.to_owned(),
        pty: asked.pty,
        source_addresses: Some(addresses(asked).ok()?)
            .filter(|asked| !asked.is_empty())
            .or(sealed(signer).ok())?,
    })
}

/// The principal that is asked for, or the only one, where the rules have it.
fn principal<'a>(signer: &'a Signer, asked: &CertificateAsk) -> Option<&'a str> {
    let principals = signer.principals.as_ref()?;
    let mut names = principals.iter();
    match &asked.principal {
        Some(name) => principals.get(name).map(String::as_str),
        None => names.next().filter(|_| names.next().is_none()).map(String::as_str),
    }
}

fn addresses(asked: &CertificateAsk) -> Result<Vec<Addresses>, CertificateError> {
    let addresses = asked.source_addresses.iter().map(|text| text.parse());
    Ok(addresses.collect::<Result<_, AddressesError>>()?)
}

/// From where it lets in at most; from everywhere when there is none.
fn sealed(signer: &Signer) -> Result<Vec<Addresses>, AddressesError> {
    signer.source_addresses.iter().map(|text| text.parse()).collect()
}

impl LeaseText {
    /// Its certificate, if it gives one.
    #[must_use]
    pub fn certificate(&self) -> Option<(&GrantText, &CertificateText)> {
        self.grants.iter().find_map(|grant| Some((grant, grant.certificate.as_ref()?)))
    }

    /// The number of its certificate: 64 of the lease's random bits.
    #[must_use]
    pub fn serial(&self) -> Option<u64> {
        u64::from_str_radix(self.id.get(..SERIAL_DIGITS)?, 16).ok()
    }
}

/// Signs what `text` says for `grant`, at `at`, with a `nonce` that is drawn for it. It ends with the life that was shown, and with the lease.
///
/// # Errors
/// The record's private key is not that of the public key that was shown; no locked memory.
pub fn mint(text: &LeaseText, material: &Material, grant: &GrantText, nonce: &[u8; 32], at: At) -> Result<Secret, Failure> {
    let (ca, certificate) = parts(text, grant, at)?;
    let made = match material.signed() {
        // By its touch: what it says was fixed before.
        Some(signed) => ssh_cert::with_signature(&ca, &certificate, &signed.message, &signed.signature),
        None => Minter::of(material, &grant.secret, &ca).and_then(|minter| minter.certificate(&certificate, nonce)),
    };
    let made = made.map_err(|error| unminted(error, grant))?;
    locked(made)
}

/// The body of what `text` says for `grant`, for a signer's key in hardware to sign.
///
/// # Errors
/// As [`mint`].
pub(super) fn unsigned(text: &LeaseText, grant: &GrantText, nonce: &[u8; 32], at: At) -> Result<Vec<u8>, Failure> {
    let (ca, certificate) = parts(text, grant, at)?;
    ssh_cert::unsigned(&ca, &certificate, nonce).map_err(|error| unminted(error, grant))
}

/// By whom, and what.
fn parts(text: &LeaseText, grant: &GrantText, at: At) -> Result<(PublicKey, Certificate), Failure> {
    let says = grant.certificate.as_ref();
    let says = says.ok_or_else(|| internal("certificate", "the lease says nothing of what is to be signed"))?;
    let ca = PublicKey::from_text(says.alg, &says.ca).map_err(|error| internal("certificate", error))?;
    let (now, end) = at.times(text.ttl);
    let certificate = Certificate {
        key: SshKey::from_line(&says.key).map_err(|error| internal("certificate", error))?,
        serial: text.serial().ok_or_else(|| internal("certificate", "the lease has no number"))?,
        id: text.id.clone(),
        principal: says.principal.clone(),
        valid: (now.saturating_sub(BEFORE), end.min(text.not_after)),
        force_command: says.force_command.clone(),
        source_addresses: says.source_addresses.clone(),
        pty: says.pty,
    };
    Ok((ca, certificate))
}

fn refuse(reason: &str, message: String) -> Unhinted {
    Failure::new(Outcome::Refused, reason, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::grant::{Grant, Via};
    use super::super::policy::{Judgement, judge};
    use super::super::request::tests::request;
    use super::super::text::tests::sample;
    use super::*;
    use crate::vault::signer::tests::rules;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOpKbEo/mkoQkCzLnDsdEBr+0sBNxgVuJQnW82hYPV4n anna@laptop";

    fn judged(change: impl FnOnce(&mut CertificateAsk)) -> Judged {
        let mut rules = rules();
        let signer = rules.signer.as_mut().unwrap();
        (signer.audiences, signer.subjects) = Default::default();
        signer.claims.clear();
        signer.issuer.clear();
        signer.principals = Some(["deploy".into()].into());
        let mut asked = CertificateAsk {
            key: KEY.into(),
            ..CertificateAsk::default()
        };
        change(&mut asked);
        Judged {
            grant: Grant {
                secret: "prod/ca".parse().unwrap(),
                via: Via::Signer,
                env: None,
                token: None,
                target: crate::lease::grant::Target::default(),
                certificate: Some(asked),
                signature: None,
            },
            version: 1,
            rules,
            clear: vec![],
        }
    }

    fn reason(change: impl FnOnce(&mut CertificateAsk)) -> String {
        check(&judged(change)).map_or_else(|failure| failure.reason, |()| "asked".into())
    }

    #[test]
    fn t27_what_the_sealed_rules_do_not_name_is_not_asked_of_a_person() {
        assert_eq!(reason(|_| {}), "asked");
        assert_eq!(reason(|asked| asked.principal = Some("deploy".into())), "asked");
        for principal in ["root", "", "*", "deploy,root", "deploy ", "Deploy"] {
            assert_eq!(
                reason(|asked| asked.principal = Some(principal.into())),
                "principal",
                "{principal:?}"
            );
        }
        assert_eq!(reason(|asked| asked.force_command = Some("a\nb".into())), "certificate");
        assert_eq!(reason(|asked| asked.source_addresses = vec!["0.0.0.0/0".into()]), "certificate");
        assert_eq!(reason(|asked| asked.key = "ssh-ed25519 AAAA".into()), "ssh_key");
    }

    #[test]
    fn of_several_principals_one_has_to_be_named_and_a_signer_of_tokens_makes_no_certificate() {
        let mut several = judged(|_| {});
        several
            .rules
            .signer
            .as_mut()
            .unwrap()
            .principals
            .as_mut()
            .unwrap()
            .insert("root".into());
        assert_eq!(check(&several).unwrap_err().reason, "which_principal");
        assert_eq!(text(&several), None);
        let tokens = Judged {
            rules: rules(),
            ..judged(|_| {})
        };
        assert_eq!(check(&tokens).unwrap_err().reason, "no_ca");
        let mut secret = judged(|_| {});
        secret.rules.signer = None;
        assert_eq!(check(&secret).unwrap_err().reason, "no_ca");
    }

    #[test]
    fn t27_a_sealed_command_and_sealed_addresses_are_in_every_certificate_whatever_is_asked_for() {
        let limited = |change: &dyn Fn(&mut CertificateAsk)| {
            let mut judged = judged(|asked| change(asked));
            let signer = judged.rules.signer.as_mut().unwrap();
            signer.force_command = Some("/usr/bin/deploy".into());
            signer.source_addresses = ["192.0.2.0/24".into(), "2001:db8::/32".into()].into();
            check(&judged).map_err(|failure| failure.reason)?;
            let said = text(&judged).unwrap();
            let from = said.source_addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            assert_eq!(said.force_command.as_deref(), Some("/usr/bin/deploy"));
            Ok::<_, String>(from)
        };
        assert_eq!(limited(&|_| {}), Ok("192.0.2.0/24,2001:db8::/32".into()));
        assert_eq!(
            limited(&|asked| asked.force_command = Some("/usr/bin/deploy".into())),
            Ok("192.0.2.0/24,2001:db8::/32".into())
        );
        assert_eq!(
            limited(&|asked| asked.source_addresses = vec!["192.0.2.7".into()]),
            Ok("192.0.2.7/32".into())
        );
        for command in ["/usr/bin/deploy ; sh", "sh", "/usr/bin/Deploy"] {
            assert_eq!(
                limited(&|asked| asked.force_command = Some(command.into())),
                Err("force_command".into()),
                "{command}"
            );
        }
        assert_eq!(
            limited(&|asked| asked.force_command = Some(String::new())),
            Err("certificate".into())
        );
        for wide in ["192.0.2.0/23", "192.0.3.1", "10.0.0.0/8", "2001:db8::/31"] {
            assert_eq!(
                limited(&|asked| asked.source_addresses = vec!["192.0.2.7".into(), wide.into()]),
                Err("source_address".into()),
                "{wide}"
            );
        }
    }

    #[test]
    fn a_certificate_takes_a_touch_of_its_own() {
        let one = || judged(|_| {});
        assert!(check_alone(&[one()], Uses::Most(1)).is_ok());
        for (grants, uses) in [
            (vec![one()], Uses::Most(2)),
            (vec![one()], Uses::Any),
            (vec![one(), one()], Uses::Most(1)),
        ] {
            assert_eq!(check_alone(&grants, uses).unwrap_err().reason, "certificate_alone");
        }
        assert!(check_alone(&[], Uses::Any).is_ok());
        // Also where the rules let one touch be for more, and where both say the same.
        let asked = |grants, uses| match judge(request(grants, uses), &crate::config::Limits::default()) {
            Judgement::Ask(terms) => Ok(terms.uses),
            Judgement::Refuse(failure) => Err(failure.reason),
        };
        assert_eq!(asked(vec![one()], None), Ok(Some(1)));
        for (grants, uses) in [
            (vec![one()], Some(Uses::Most(2))),
            (vec![one()], Some(Uses::Any)),
            (vec![one(), one()], None),
        ] {
            assert_eq!(asked(grants, uses), Err("certificate_alone".into()));
        }
    }

    #[test]
    fn what_is_shown_has_no_comment_and_its_number_is_of_the_leases_id() {
        let said = text(&judged(|asked| asked.source_addresses = vec!["192.0.2.1".into()])).unwrap();
        assert_eq!(format!("{} anna@laptop", said.key), KEY);
        assert_eq!(
            (said.principal.as_str(), said.source_addresses[0].to_string()),
            ("deploy", "192.0.2.1/32".into())
        );
        let lease = LeaseText {
            id: "000000000000000affffffffffffffff".into(),
            ..sample()
        };
        assert_eq!(lease.serial(), Some(10));
    }
}
