//! Exchanges of a lease: what a signer's sealed rules let a person be asked for. The token that a touch signs goes to the server that these rules
//! name, and nowhere else; what that gives back is the lease's, and ends with it.

use super::request::Judged;
use super::text::{ExchangeText, LeaseText, TokenText};
use crate::encoding::SecretRef;
use crate::encoding::exchange::Wanted;
use crate::vault::Signer;
use crate::wire::signer::TokenAsk;
use crate::wire::{Failure, Outcome, Unhinted};

/// Holds what is asked for against the signer's sealed rules. Pure.
///
/// # Errors
/// Refused by a rule, with what it allows.
pub(super) fn check(name: &SecretRef, signer: &Signer, asked: &TokenAsk) -> Result<(), Failure> {
    let (rule, wanted) = match (&signer.exchange, &asked.exchange) {
        (None, None) => return Ok(()),
        (Some(_), None) => {
            let message = format!("the tokens of {name} are for an exchange with OpenBao, and are given to nobody");
            return Err(refuse("exchange_only", message).hint(format!("touchlease exchange openbao {name} -- COMMAND")));
        }
        (None, Some(_)) => {
            let message = format!("the rules of {name} name no OpenBao where its tokens are exchanged");
            return Err(refuse("no_exchange", message).hint("make a signer for it: touchlease signer add --help, --exchange"));
        }
        (Some(rule), Some(wanted)) => (rule, wanted),
    };
    if let Some(fault) = wanted.fault() {
        return Err(Failure::new(Outcome::BadInput, "exchange", fault).hint("touchlease exchange openbao --help shows each form"));
    }
    let shows = || format!("touchlease signer show {name} lists what it may have");
    if let Some(fetch) = wanted.fetch.iter().find(|fetch| !rule.paths.contains(&fetch.path)) {
        let message = format!("the rules of {name} do not allow {}", fetch.path);
        return Err(refuse("path_forbidden", message).hint(shows()));
    }
    match (wanted.fetch.is_empty(), rule.token_uses, wanted.uses) {
        (true, None, _) => Err(refuse(
            "no_token",
            format!("the rules of {name} give a command credentials, and no token of OpenBao's"),
        )
        .hint(format!(
            "name what to fetch: touchlease exchange openbao {name} --read APP=PATH -- COMMAND; {}",
            shows()
        ))),
        (true, Some(most), Some(uses)) if uses > most || uses == 0 => {
            let message = format!("{uses} requests with one token were asked for; the rules of {name} allow {most}");
            Err(refuse("uses_over_cap", message).hint(format!("ask for less: --uses {most}")))
        }
        _ => Ok(()),
    }
}

/// It is the only thing that its lease gives, so that it ends when that ends, and once. Pure.
///
/// # Errors
/// It is asked for with something else.
pub(super) fn check_alone(grants: &[Judged]) -> Result<(), Failure> {
    let is_one = |judged: &&Judged| judged.grant.token.as_ref().is_some_and(|token| token.exchange.is_some());
    match grants.iter().find(is_one) {
        Some(judged) if grants.len() > 1 || judged.grant.env.is_some() => {
            let message = format!("an exchange by {} is for a lease that gives nothing else", judged.grant.secret);
            Err(refuse("exchange_alone", message).hint("ask for each by itself"))
        }
        _ => Ok(()),
    }
}

/// What is exchanged for what, as it is shown and approved.
pub(super) fn text(signer: &Signer, asked: &TokenAsk) -> Option<ExchangeText> {
    let (rule, wanted) = (signer.exchange.as_ref()?, asked.exchange.as_ref()?);
    let uses = wanted.uses.or(rule.token_uses).filter(|_| wanted.fetch.is_empty());
    Some(ExchangeText {
        rule: rule.clone(),
        wanted: Wanted { uses, ..wanted.clone() },
    })
}

impl LeaseText {
    /// The exchange that it is for, with its token.
    #[must_use]
    pub fn exchange(&self) -> Option<(&TokenText, &ExchangeText)> {
        self.grants
            .iter()
            .find_map(|grant| grant.token.as_ref().and_then(|token| Some((token, token.exchange.as_ref()?))))
    }
}

fn refuse(reason: &str, message: String) -> Unhinted {
    Failure::new(Outcome::Refused, reason, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::encoding::exchange::Fetch;
    use crate::encoding::exchange::tests::exchange;
    use crate::vault::signer::tests::rules;

    fn reason(wanted: Option<Wanted>, change: impl FnOnce(&mut Signer)) -> String {
        let mut signer = *rules().signer.unwrap();
        signer.exchange = Some(exchange());
        change(&mut signer);
        let asked = TokenAsk {
            exchange: wanted,
            ..TokenAsk::default()
        };
        let checked = check(&"prod/bao".parse().unwrap(), &signer, &asked);
        checked.map_or_else(|failure| failure.reason, |()| "asked".into())
    }

    fn fetch(path: &str) -> Wanted {
        Wanted {
            fetch: vec![Fetch {
                name: "APP".into(),
                path: path.into(),
                ..Fetch::default()
            }],
            ..Wanted::default()
        }
    }

    #[test]
    fn t28_a_signer_for_an_exchange_signs_for_nothing_else_and_another_one_for_no_exchange() {
        assert_eq!(reason(None, |_| {}), "exchange_only");
        assert_eq!(reason(Some(Wanted::default()), |signer| signer.exchange = None), "no_exchange");
        assert_eq!(reason(Some(Wanted::default()), |_| {}), "asked");
        assert_eq!(reason(None, |signer| signer.exchange = None), "asked");
    }

    #[test]
    fn t28_what_is_fetched_and_for_how_many_requests_a_token_is_are_within_the_sealed_rules() {
        assert_eq!(reason(Some(fetch("secret/data/app")), |_| {}), "asked");
        for path in ["secret/data/other", "secret/data/app/more", "secret/data"] {
            assert_eq!(reason(Some(fetch(path)), |_| {}), "path_forbidden", "{path}");
        }
        assert_eq!(reason(Some(fetch("secret/../app")), |_| {}), "exchange");
        let uses = |uses| {
            Some(Wanted {
                uses: Some(uses),
                ..Wanted::default()
            })
        };
        let reasons = [0, 1, 2, 3].map(|n| reason(uses(n), |_| {}));
        assert_eq!(reasons, ["uses_over_cap", "asked", "asked", "uses_over_cap"]);
        let no_token = |signer: &mut Signer| signer.exchange.as_mut().unwrap().token_uses = None;
        assert_eq!(reason(uses(1), no_token), "no_token");
        assert_eq!(reason(Some(fetch("secret/data/app")), no_token), "asked");
    }

    #[test]
    fn t10_a_tokens_limit_is_shown_also_where_nobody_asked_for_one() {
        let mut signer = *rules().signer.unwrap();
        signer.exchange = Some(exchange());
        let shown = |wanted: Wanted| {
            let asked = TokenAsk {
                exchange: Some(wanted),
                ..TokenAsk::default()
            };
            text(&signer, &asked).unwrap().wanted.uses
        };
        assert_eq!(shown(Wanted::default()), Some(2));
        assert_eq!(
            shown(Wanted {
                uses: Some(1),
                ..Wanted::default()
            }),
            Some(1)
        );
        assert_eq!(shown(fetch("secret/data/app")), None);
    }
}
