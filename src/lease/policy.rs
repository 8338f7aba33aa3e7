//! What may be asked of a person at all. Policy can refuse, cap, or ask. It cannot approve.

use std::time::Duration;

use super::grant::Via;
use super::request::{Judged, Request};
use super::text::TaskText;
use super::{certificate, exchange, hardware, signature, token};
use crate::config::Limits;
use crate::encoding::SecretRef;
use crate::vault::signer::SignerKind;
use crate::vault::{Delivery, SCOPES_PER_TOUCH};
use crate::wire::{Failure, Outcome, Unhinted, Uses};

/// What policy says. There is no third answer.
#[derive(Debug)]
pub enum Judgement {
    /// A person has to be asked for exactly these terms.
    Ask(Terms),
    /// Nobody is asked.
    Refuse(Failure),
}

/// What a person is asked for.
#[derive(Debug)]
pub struct Terms {
    /// The request.
    pub request: Request,
    /// Life of the lease.
    pub ttl: Duration,
    /// Limit of uses.
    pub uses: Option<u32>,
}

/// Judges a request by the rules sealed with its secrets and by the person's limits. Pure.
#[must_use]
pub fn judge(request: Request, limits: &Limits) -> Judgement {
    match terms(&request, limits) {
        Ok((ttl, uses)) => Judgement::Ask(Terms { request, ttl, uses }),
        Err(refusal) => Judgement::Refuse(refusal),
    }
}

fn terms(request: &Request, limits: &Limits) -> Result<(Duration, Option<u32>), Failure> {
    let scopes = request.scopes();
    if scopes.len() > SCOPES_PER_TOUCH {
        return Err(refuse(
            "too_many_scopes",
            format!("one touch opens {SCOPES_PER_TOUCH} scopes; this needs {}", scopes.join(", ")),
        )
        .hint("ask twice, each time for two scopes at most"));
    }
    request.grants.iter().try_for_each(check_delivery)?;
    hardware::check_alone(&request.grants, request.uses)?;
    exchange::check_alone(&request.grants)?;
    certificate::check_alone(&request.grants, request.uses.unwrap_or(Uses::Most(1)))?;
    signature::check_alone(&request.grants)?;
    Ok((life(request, limits)?, uses(request)?))
}

fn check_delivery(judged: &Judged) -> Result<(), Failure> {
    let delivery = match judged.grant.via {
        Via::Env => Delivery::Env,
        Via::File => Delivery::File,
        Via::Proxy => Delivery::Proxy,
        Via::Signer if judged.grant.certificate.is_some() => return certificate::check(judged),
        Via::Signer if judged.grant.signature.is_some() => return signature::check(judged),
        Via::Signer => return token::check(judged),
    };
    if judged.rules.allow(delivery) {
        return check_target(judged);
    }
    if let Some(signer) = &judged.rules.signer {
        let secret = &judged.grant.secret;
        let message = format!("{secret} is a signer: its private key is given to nobody");
        return Err(refuse("signer_stays", message).hint(match signer.kind() {
            SignerKind::Certificates => {
                format!("have a certificate signed with it: touchlease ssh cert {secret} --key ~/.ssh/id_ed25519.pub")
            }
            SignerKind::Signatures => format!("have something signed with it: touchlease ssh agent {secret} -- git commit -S"),
            SignerKind::Tokens if signer.exchange.is_some() => {
                format!("have its tokens exchanged: touchlease exchange openbao {secret} -- COMMAND")
            }
            SignerKind::Tokens => format!("have a token signed with it: touchlease token {secret} --aud URL"),
        }));
    }
    let (secret, via) = (&judged.grant.secret, judged.grant.via);
    let names =
        |deliveries: &mut dyn Iterator<Item = &Delivery>| deliveries.map(|one| format!("{one:?}").to_lowercase()).collect::<Vec<_>>();
    let allowed = names(&mut judged.rules.deliveries.iter());
    // Of a secret, `signer` is what nobody can say any more: records of before may have it.
    let kept = names(&mut judged.rules.deliveries.iter().filter(|one| **one != Delivery::Signer));
    // A proxy needs hosts to send it to, and that is a change that says where.
    let hosts = if via == Via::Proxy { " --host HOST" } else { "" };
    let allow = [kept, vec![via.to_string()]].concat().join(",") + hosts;
    Err(refuse(
        "delivery_forbidden",
        format!(
            "the rules of {secret} do not allow delivery by {via}; they allow {}",
            allowed.join(", ")
        ),
    )
    // What is allowed stays so: of a secret with hosts, the proxy has to.
    .hint(format!("a person can change that: touchlease edit {secret} --allow {allow}")))
}

fn check_target(judged: &Judged) -> Result<(), Failure> {
    let (secret, rules) = (&judged.grant.secret, &judged.rules);
    match judged.grant.target.wider_than(rules).filter(|_| judged.grant.via == Via::Proxy) {
        None => Ok(()),
        Some((asked, allowed)) => Err(refuse(
            "target_forbidden",
            format!("the task asks for {asked} with {secret}; the rules sealed with it allow the {allowed}"),
        )
        .hint(format!(
            "name in touchlease.toml what is allowed, or nothing; a person can change the rules: touchlease edit {secret}"
        ))),
    }
}

fn life(request: &Request, limits: &Limits) -> Result<Duration, Failure> {
    let caps = request
        .grants
        .iter()
        .filter_map(|judged| Some((Duration::from_secs(judged.rules.ttl?), Some(judged))));
    // The person's own limit is always there, so there is a least.
    let least = caps.chain([(limits.longest_ttl, None)]).min_by_key(|(cap, _)| *cap);
    let (cap, whose) = least.unwrap_or((limits.longest_ttl, None));
    match request.ttl {
        Some(asked) if asked.is_zero() => Err(refuse("ttl", "a lease of no time gives nothing".into()).hint("ask for some: --ttl 15m")),
        Some(asked) if asked > cap => {
            let whose = whose.map_or_else(
                || "limits.longest_ttl of the configuration allows".to_owned(),
                |judged| format!("the rules of {} allow", judged.grant.secret),
            );
            let [asked, cap] = in_one_unit([asked, cap]);
            Err(match request.task.as_ref().filter(|_| request.by_task.ttl) {
                Some(task) => over_in_task(
                    "ttl_over_cap",
                    task,
                    "ttl",
                    [&format!("{asked:?}"), &format!("{cap:?}")],
                    &whose,
                    &cap,
                ),
                None => refuse("ttl_over_cap", format!("{asked} were asked for; {whose} {cap}")).hint(format!("ask for less: --ttl {cap}")),
            })
        }
        Some(asked) => Ok(asked),
        // Nobody can take a token back: without a word it is short.
        None if has_tokens(request) => Ok(limits.ttl.min(cap).min(token::USUAL_LIFE)),
        None => Ok(limits.ttl.min(cap)),
    }
}

fn uses(request: &Request) -> Result<Option<u32>, Failure> {
    let caps = request.grants.iter().filter_map(|judged| {
        let cap = u32::try_from(judged.rules.uses?).unwrap_or(u32::MAX);
        Some((cap / tokens_a_use(request, judged), &judged.grant.secret))
    });
    match (request.uses, caps.min_by_key(|(cap, _)| *cap)) {
        (_, Some((0, secret))) => Err(too_many_tokens(secret)),
        (Some(Uses::Any), Some((cap, secret))) => Err(any_over_cap(request, secret, cap)),
        (Some(Uses::Most(asked)), Some((cap, secret))) if asked > cap => {
            let whose = format!("the rules of {secret} allow");
            Err(match request.task.as_ref().filter(|_| request.by_task.uses) {
                Some(task) => {
                    let cap = cap.to_string();
                    over_in_task("uses_over_cap", task, "uses", [&asked.to_string(), &cap], &whose, &cap)
                }
                None => refuse("uses_over_cap", format!("{asked} uses were asked for; {whose} {cap}"))
                    .hint(format!("ask for less: --uses {cap}")),
            })
        }
        (Some(Uses::Most(asked)), _) => Ok(Some(asked)),
        (Some(Uses::Any), None) => Ok(None),
        (None, _) if has_tokens(request) => Ok(Some(1)),
        (None, cap) => Ok(cap.map(|(cap, _)| cap)),
    }
}

/// Time alone is to be the limit, and the rules want another one too.
fn any_over_cap(request: &Request, secret: &SecretRef, cap: u32) -> Failure {
    let message = format!("any number of uses was asked for; the rules of {secret} allow {cap}");
    let of_ssh = |judged: &Judged| judged.grant.certificate.is_some() || judged.grant.signature.is_some();
    refuse("uses_over_cap", message).hint(match request.grants.iter().any(of_ssh) {
        true => {
            format!(
                "ask for less: --uses {cap}; or a person lets it sign as often as time allows: touchlease signer rotate {secret} --keep-keys --max-uses any"
            )
        }
        false => format!("ask for less: --uses {cap}"),
    })
}

/// What the rules cap is tokens of one touch, and each use makes one for each grant of the signer (T28).
fn tokens_a_use(request: &Request, judged: &Judged) -> u32 {
    if judged.grant.via != Via::Signer {
        return 1;
    }
    let of_it = |other: &&Judged| other.grant.via == Via::Signer && other.grant.secret == judged.grant.secret;
    u32::try_from(request.grants.iter().filter(of_it).count())
        .unwrap_or(u32::MAX)
        .max(1)
}

fn too_many_tokens(secret: &SecretRef) -> Failure {
    let message = format!("more tokens of {secret} were asked for than its rules allow one touch to be for");
    refuse("tokens_over_cap", message).hint(format!(
        "ask for fewer at once; touchlease signer show {secret} says how many it may be"
    ))
}

fn has_tokens(request: &Request) -> bool {
    request.grants.iter().any(|judged| judged.grant.via == Via::Signer)
}

/// What the task's file names, and no option of the command: asked for and allowed as they stand in the file, and as the option takes it.
fn over_in_task(reason: &str, task: &TaskText, name: &str, [asked, cap]: [&str; 2], whose: &str, option: &str) -> Failure {
    let task = &task.name;
    let message = format!("touchlease.toml asks for {name} = {asked} in its task {task:?}; {whose} {cap}");
    refuse(reason, message).hint(format!(
        "in touchlease.toml, under [task.{task}]: {name} = {cap}; or for this time: --{name} {option}"
    ))
}

/// As they are written in files and options, to be compared at a glance.
fn in_one_unit(times: [Duration; 2]) -> [String; 2] {
    let units = [(3600, "h"), (60, "m"), (1, "s")];
    let unit = units
        .into_iter()
        .find(|(unit, _)| times.iter().all(|time| time.as_secs() % unit == 0));
    let (unit, name) = unit.unwrap_or((1, "s"));
    times.map(|time| format!("{}{name}", time.as_secs() / unit))
}

fn refuse(reason: &str, message: String) -> Unhinted {
    Failure::new(Outcome::Refused, reason, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::encoding::Digest;
    use crate::lease::grant::{Grant, Target};
    use crate::lease::request::ByTask;
    use crate::vault::Rules;

    fn judged(secret: &str, rules: Rules) -> Judged {
        Judged {
            grant: Grant {
                secret: secret.parse().unwrap(),
                via: Via::Env,
                env: Some("A".into()),
                token: None,
                target: Target::default(),
                certificate: None,
                signature: None,
            },
            version: 1,
            rules,
            clear: vec![],
        }
    }

    fn request(grants: Vec<Judged>, ttl: Option<u64>, uses: Option<u32>) -> Request {
        Request {
            ttl: ttl.map(Duration::from_secs),
            by_task: ByTask { ttl: true, uses: true },
            ..crate::lease::request::tests::request(grants, uses.map(Uses::Most))
        }
    }

    fn env() -> Rules {
        Rules::value(&[Delivery::Env])
    }

    fn reason(judgement: Judgement) -> String {
        match judgement {
            Judgement::Refuse(failure) => failure.reason,
            Judgement::Ask(terms) => format!("asked: {:?} {:?}", terms.ttl.as_secs(), terms.uses),
        }
    }

    #[test]
    fn without_a_word_the_default_life_applies_or_the_shortest_cap() {
        let limits = Limits::default();
        assert_eq!(
            reason(judge(request(vec![judged("prod/A", env())], None, None), &limits)),
            "asked: 900 None"
        );
        let short = Rules {
            ttl: Some(60),
            uses: Some(2),
            ..env()
        };
        let grants = vec![judged("prod/A", env()), judged("prod/B", short)];
        assert_eq!(reason(judge(request(grants, None, None), &limits)), "asked: 60 Some(2)");
    }

    #[test]
    fn more_than_a_cap_allows_is_refused_and_names_it() {
        let limits = Limits::default();
        let short = || {
            vec![judged(
                "prod/B",
                Rules {
                    ttl: Some(60),
                    uses: Some(2),
                    ..env()
                },
            )]
        };
        assert_eq!(reason(judge(request(short(), Some(61), None), &limits)), "ttl_over_cap");
        assert_eq!(reason(judge(request(short(), None, Some(3)), &limits)), "uses_over_cap");
        assert_eq!(
            reason(judge(request(vec![judged("prod/A", env())], Some(28_801), None), &limits)),
            "ttl_over_cap"
        );
    }

    #[test]
    fn what_a_task_file_asks_for_over_a_cap_is_refused_by_its_name_in_the_unit_of_the_cap_with_the_edit_that_helps() {
        let rules = Rules {
            ttl: Some(600),
            uses: Some(2),
            ..env()
        };
        let refused = |ttl, uses, by_task| {
            let request = Request {
                task: Some(TaskText {
                    name: "deploy".into(),
                    about: "Deploy".into(),
                    digest: Digest::of(b"file"),
                    changed: None,
                }),
                by_task,
                ..request(vec![judged("prod/B", rules.clone())], ttl, uses)
            };
            match judge(request, &Limits::default()) {
                Judgement::Refuse(failure) => (failure.message, failure.hint.unwrap()),
                Judgement::Ask(terms) => panic!("{terms:?}"),
            }
        };
        let in_file = ByTask { ttl: true, uses: true };
        assert_eq!(
            refused(Some(7200), None, in_file),
            (
                "touchlease.toml asks for ttl = \"120m\" in its task \"deploy\"; the rules of prod/B allow \"10m\"".into(),
                "in touchlease.toml, under [task.deploy]: ttl = \"10m\"; or for this time: --ttl 10m".into()
            )
        );
        assert_eq!(
            refused(None, Some(3), in_file),
            (
                "touchlease.toml asks for uses = 3 in its task \"deploy\"; the rules of prod/B allow 2".into(),
                "in touchlease.toml, under [task.deploy]: uses = 2; or for this time: --uses 2".into()
            )
        );
        assert_eq!(
            refused(Some(601), None, ByTask::default()),
            (
                "601s were asked for; the rules of prod/B allow 600s".into(),
                "ask for less: --ttl 600s".into()
            )
        );
    }

    #[test]
    fn a_secret_with_hosts_is_not_put_into_an_environment() {
        let grants = vec![judged("prod/A", Rules::for_hosts(&["api.example.com"]))];
        assert_eq!(reason(judge(request(grants, None, None), &Limits::default())), "delivery_forbidden");
    }

    #[test]
    fn the_hint_for_a_delivery_that_is_forbidden_names_none_that_nobody_can_allow_any_more() {
        let hint = |deliveries: &[Delivery]| {
            let grants = vec![judged("prod/A", Rules::value(deliveries))];
            match judge(request(grants, None, None), &Limits::default()) {
                Judgement::Refuse(failure) => failure.hint.unwrap(),
                Judgement::Ask(_) => panic!("it was asked for"),
            }
        };
        assert!(hint(&[Delivery::Signer]).ends_with("touchlease edit prod/A --allow env"));
        assert!(hint(&[Delivery::File, Delivery::Signer]).ends_with("touchlease edit prod/A --allow file,env"));
    }

    #[test]
    fn p7_a_task_that_is_wider_than_the_sealed_rules_is_refused_with_what_is_wider() {
        let mut wide = judged("prod/A", Rules::for_hosts(&["api.example.com"]));
        wide.grant.via = Via::Proxy;
        wide.grant.target = Target::default().within(&wide.rules);
        let judgement = judge(request(vec![wide.clone()], None, None), &Limits::default());
        assert_eq!(reason(judgement), "asked: 900 None");
        wide.grant.target.hosts.push("evil.example".into());
        let Judgement::Refuse(failure) = judge(request(vec![wide], None, None), &Limits::default()) else {
            panic!("it was asked for");
        };
        assert_eq!(failure.reason, "target_forbidden");
        assert_eq!(
            failure.message,
            "the task asks for the host evil.example with prod/A; the rules sealed with it allow the hosts api.example.com"
        );
    }

    #[test]
    fn three_scopes_are_refused_before_anybody_is_asked() {
        let grants = ["a/A", "b/B", "c/C"].map(|secret| judged(secret, env())).to_vec();
        assert_eq!(reason(judge(request(grants, None, None), &Limits::default())), "too_many_scopes");
    }
}
