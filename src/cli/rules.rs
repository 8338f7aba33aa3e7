//! The rules for a secret's use as they are typed: `put`, `edit`, `import`.

mod slips;

use self::slips::{Slip, meant_host, meant_method};
use super::change::{how_many, seconds};
use crate::encoding::plain::shell_word;
use crate::encoding::target::{Host, check_method, is_registered};
use crate::lease::change::rules_meant;
use crate::vault::Form;
use crate::wire::request::RulesAsk;
use crate::wire::{Failure, Outcome};

/// What may be said of the rules for a secret.
#[derive(Clone, Debug, clap::Args)]
pub struct RulesArgs {
    /// Allow these deliveries only [default: env,file; with --host: proxy].
    ///
    /// In this version env, file and proxy work.
    #[arg(long = "allow", value_name = "DELIVERY", value_delimiter = ',', value_parser = ["env", "file", "proxy"])]
    allow: Vec<String>,
    /// Let only the proxy use it, towards this host, as api.example.com or api.example.com:8443. Repeat for more.
    ///
    /// Over TLS; a host that is spoken to without is written http://HOST:PORT.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Let the proxy use it for requests with these methods only, as GET,PUT [default: any].
    #[arg(long = "method", value_name = "METHOD", value_delimiter = ',')]
    methods: Vec<String>,
    /// The same for methods that IANA's registry does not have, as LIST or PURGE.
    ///
    /// They are taken as they stand: a slip of the pen in one matches no request.
    #[arg(long = "custom-method", value_name = "METHOD", value_delimiter = ',')]
    custom_methods: Vec<String>,
    /// Let the proxy use it for this path only, as '/v4/accounts/*'. Repeat for more [default: any].
    ///
    /// A * stands for one whole segment, and at the end for all that is below.
    #[arg(long = "path", value_name = "PATTERN")]
    paths: Vec<String>,
    /// Where in a request the proxy puts it: bearer, basic[:USER], header:NAME[:PREFIX], query:NAME or cookie:NAME [default: bearer].
    #[arg(long, value_name = "FORM")]
    send_as: Option<Form>,
    /// Refuse leases longer than this, as 10m.
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    max_ttl: Option<u64>,
    /// Limit every lease to this many uses.
    #[arg(long, value_name = "N", value_parser = how_many::<u32>)]
    max_uses: Option<u32>,
}

impl RulesArgs {
    /// Whether none is given.
    pub fn is_default(&self) -> bool {
        let said = [&self.allow, &self.hosts, &self.methods, &self.custom_methods, &self.paths];
        said.iter().all(|words| words.is_empty()) && self.send_as.is_none() && self.max_ttl.is_none() && self.max_uses.is_none()
    }

    /// These rules in the place of those that `before` has. A secret that gets its first host goes through a proxy from now on, as a
    /// new one would.
    pub fn over(&self, before: RulesAsk) -> RulesAsk {
        let first_host = before.hosts.is_empty() && !self.hosts.is_empty();
        let or = |said: &Vec<String>, before: Vec<String>| if said.is_empty() { before } else { said.clone() };
        RulesAsk {
            deliveries: if self.allow.is_empty() && !first_host {
                before.deliveries
            } else {
                self.rules().deliveries
            },
            hosts: or(&self.hosts, before.hosts),
            methods: or(&self.all_methods(), before.methods),
            paths: or(&self.paths, before.paths),
            send_as: match &self.send_as {
                Some(form) => said(form),
                None => before.send_as,
            },
            ttl: self.max_ttl.or(before.ttl),
            uses: self.max_uses.or(before.uses),
            signer: None,
        }
    }

    /// A secret with hosts goes through a proxy only, unless something else is allowed in so many words.
    pub fn rules(&self) -> RulesAsk {
        let deliveries = match (self.allow.is_empty(), self.hosts.is_empty()) {
            (false, _) => self.allow.clone(),
            (true, true) => vec!["env".into(), "file".into()],
            (true, false) => vec!["proxy".into()],
        };
        RulesAsk {
            deliveries,
            hosts: self.hosts.clone(),
            methods: self.all_methods(),
            paths: self.paths.clone(),
            send_as: self.send_as.as_ref().and_then(said),
            ttl: self.max_ttl,
            uses: self.max_uses,
            signer: None,
        }
    }

    fn all_methods(&self) -> Vec<String> {
        [&self.methods[..], &self.custom_methods].concat()
    }

    /// Looks at what was typed before anybody types a value, or is asked for a touch. `meant` are the rules that come of it; `command` is
    /// what stands in front of them, where the hint can be the whole line.
    ///
    /// # Errors
    /// `rules`: what cannot be sealed, or is a slip of the pen, with the line that is meant.
    pub fn check(&self, command: Option<&str>, meant: &RulesAsk) -> Result<(), Failure> {
        let line = |rules: &Self| {
            let options = rules.options().join(" ");
            command.map_or_else(
                || format!("with these rules: {options}"),
                |command| format!("touchlease {command} {options}"),
            )
        };
        let (rules, slips) = self.corrected();
        if let Some(slip) = slips.first() {
            let besides: Vec<_> = slips.iter().filter_map(|slip| slip.besides.clone()).collect();
            let hint = [vec![line(&rules)], besides].concat().join("; ");
            return Err(Failure::new(Outcome::BadInput, "rules", slip.what.clone()).hint(hint));
        }
        rules_meant(meant).map(drop).map_err(|failure| {
            let proxy = |delivery: &String| delivery == "proxy";
            if failure.reason != "rules" || meant.hosts.is_empty() || self.allow.is_empty() || self.allow.iter().any(proxy) {
                return failure;
            }
            // A host, and deliveries that know none.
            let allow = ["proxy".to_owned()].into_iter().chain(self.allow.clone()).collect();
            failure.hint(line(&Self { allow, ..self.clone() }))
        })
    }

    /// These rules as they were meant, and what was wrong with them.
    fn corrected(&self) -> (Self, Vec<Slip>) {
        let (mut rules, mut slips) = (self.clone(), vec![]);
        for host in rules.hosts.iter_mut().filter(|host| host.parse::<Host>().is_err()) {
            let Some(meant) = meant_host(host) else { continue };
            *host = meant.host;
            rules.paths.extend(meant.path);
            slips.push(meant.slip);
        }
        for method in std::mem::take(&mut rules.methods) {
            if is_registered(&method) {
                rules.methods.push(method);
            } else if let Some((meant, slip)) = meant_method(&method) {
                rules.methods.push(meant.to_owned());
                slips.push(slip);
            } else if check_method(&method).is_ok() {
                slips.push(Slip {
                    what: format!("{method} is in no registry of HTTP's methods"),
                    besides: Some(format!("that is for a server that has {method}: is it one of them?")),
                });
                rules.custom_methods.push(method);
            } else {
                // Refused for what it is.
                rules.methods.push(method);
            }
        }
        (rules, slips)
    }

    /// These rules as options.
    fn options(&self) -> Vec<String> {
        let mut options = vec![];
        let mut add = |name: &str, value: &str| options.push(format!("{name} {}", shell_word(value)));
        for (name, words) in [
            ("--allow", &self.allow),
            ("--method", &self.methods),
            ("--custom-method", &self.custom_methods),
        ] {
            if !words.is_empty() {
                add(name, &words.join(","));
            }
        }
        self.hosts.iter().for_each(|host| add("--host", host));
        self.paths.iter().for_each(|path| add("--path", path));
        if let Some(form) = &self.send_as {
            add("--send-as", &form.to_string());
        }
        if let Some(seconds) = self.max_ttl {
            add("--max-ttl", &format!("{seconds}s"));
        }
        if let Some(uses) = self.max_uses {
            add("--max-uses", &uses.to_string());
        }
        options
    }
}

/// On the wire, where a Bearer token is what is meant when nothing is said.
fn said(form: &Form) -> Option<String> {
    (*form != Form::Bearer).then(|| form.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        rules: RulesArgs,
    }

    fn read(line: &str) -> RulesArgs {
        Line::try_parse_from(["line"].into_iter().chain(line.split_whitespace()))
            .unwrap()
            .rules
    }

    fn refusal(line: &str) -> (String, String) {
        let rules = read(line);
        let failure = rules.check(Some("put dev/A"), &rules.rules()).unwrap_err();
        assert_eq!((failure.outcome, failure.reason.as_str()), (Outcome::BadInput, "rules"));
        (failure.message, failure.hint.unwrap())
    }

    #[test]
    fn what_was_meant_stands_in_the_hint_with_everything_else_as_it_was_typed() {
        for (typed, hint) in [
            (
                "--host https://API.example.com/ --max-ttl 10m --max-uses 3",
                "touchlease put dev/A --host api.example.com --max-ttl 600s --max-uses 3",
            ),
            (
                "--host a.example --host https://b.example:8443/v1/x --send-as basic:me",
                "touchlease put dev/A --host a.example --host b.example:8443 --path /v1/x --send-as basic:me",
            ),
            (
                "--host http://a.example",
                "touchlease put dev/A --host a.example; without TLS it is --host http://a.example:80",
            ),
            (
                "--host a.example --method GTE,PUT",
                "touchlease put dev/A --method GET,PUT --host a.example; if the server has GTE: --custom-method GTE",
            ),
            (
                "--host a.example --method get",
                "touchlease put dev/A --method GET --host a.example",
            ),
            (
                "--host a.example --method GET,LIST",
                "touchlease put dev/A --method GET --custom-method LIST --host a.example; that is for a server that has LIST: is it one of them?",
            ),
            (
                "--host a.example --allow env",
                "touchlease put dev/A --allow proxy,env --host a.example",
            ),
        ] {
            assert_eq!(refusal(typed).1, hint, "{typed}");
        }
        let (message, _) = refusal("--host https://a.example");
        assert_eq!(message, "a host is named without https://, by which it is reached anyway");
    }

    #[test]
    fn what_a_hint_proposes_is_taken() {
        for typed in [
            "--host https://a.example/v1",
            "--host A.example --method psot,LIST",
            "--host a.example --allow file,env --path /x",
            "--host a.example --method PURGE",
        ] {
            let (_, hint) = refusal(typed);
            let (_, options) = hint.split_once("dev/A ").unwrap();
            let rules = read(options.split("; ").next().unwrap());
            rules.check(None, &rules.rules()).unwrap();
        }
    }

    #[test]
    fn rules_that_nobody_can_guess_are_refused_by_what_is_wrong_with_them() {
        for (typed, says) in [
            ("--host u@a.example", "a host is a lower-case name"),
            ("--host a.example --method CONNECT", "carry no credential"),
            ("--allow proxy", "needs the hosts"),
            ("--host a.example --max-ttl 9h", "1 second to 8 hours"),
            ("--path /x", "for delivery by proxy"),
        ] {
            let (message, _) = refusal(typed);
            assert!(message.contains(says), "{typed}: {message}");
        }
    }

    #[test]
    fn methods_of_a_servers_own_are_sealed_beside_the_registered_ones() {
        let rules = read("--host a.example --method GET,PROPFIND --custom-method LIST,M-SEARCH");
        assert_eq!(rules.rules().methods, ["GET", "PROPFIND", "LIST", "M-SEARCH"]);
        rules.check(None, &rules.rules()).unwrap();
        assert_eq!(read("--custom-method LIST").over(rules.rules()).methods, ["LIST"]);
    }
}
