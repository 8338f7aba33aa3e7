//! A request that can be judged: every secret in it exists, every text in it can be shown.

use std::time::Duration;

use super::failure::IntoFailure;
use super::grant::{AtEnd, Grant, Target, Via};
use super::requester::{self, Requester};
use super::task::{self, GrantsError, Task, check_grants};
use super::text::{Holder, TaskText};
use crate::encoding::plain::{check_line, check_variable};
use crate::encoding::{Digest, SecretRef};
use crate::vault::{Delivery, Rules, Vault};
use crate::wire::request::{GrantAsk, LeaseAsk};
use crate::wire::{Failure, Outcome, Uses};

/// Longest reason, in bytes.
pub(super) const LONGEST_REASON: usize = 200;

/// A grant with what the vault says of its secret, before any touch: a claim, checked again after unsealing.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What is asked.
    pub grant: Grant,
    /// Version of the secret.
    pub version: u64,
    /// The rules for its use.
    pub rules: Rules,
    /// The record's clear part, byte for byte.
    pub clear: Vec<u8>,
}

/// A request, parsed.
#[derive(Clone, Debug)]
pub struct Request {
    /// The task.
    pub task: Option<TaskText>,
    /// The whole file in which that stands.
    pub task_file: Option<String>,
    /// What is asked for.
    pub grants: Vec<Judged>,
    /// Life, where one was asked for.
    pub ttl: Option<Duration>,
    /// Limit of uses, or none, where it was asked for.
    pub uses: Option<Uses>,
    /// Whether the life, and the limit, are those of the task's file.
    pub by_task: ByTask,
    /// Why.
    pub reason: Option<String>,
    /// What will get it, as claimed.
    pub command: Vec<String>,
    /// What happens to children at the end.
    pub at_end: AtEnd,
    /// Whose end is its end.
    pub holder: Holder,
}

/// What the task's file asks for and the command line does not.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByTask {
    /// The life.
    pub ttl: bool,
    /// The limit of uses.
    pub uses: bool,
}

impl Request {
    /// Reads what was asked. Names have to exist in the vault, texts have to be fit for a screen.
    ///
    /// # Errors
    /// `bad_input` for what cannot be read, and what the vault says of a name.
    pub fn parse(ask: &LeaseAsk, requester: &Requester, vault: &Vault) -> Result<Self, Failure> {
        let task = ask.task.as_ref().map(|task| Task::parse(&task.file, &task.name)).transpose();
        let task = task.map_err(|error| Failure::new(Outcome::BadInput, "task", error.to_string()).hint(task::EXAMPLE))?;
        let mut grants = task.as_ref().map(|task| task.grants.clone()).unwrap_or_default();
        for asked in &ask.with {
            grants.push(ad_hoc(asked, vault)?);
        }
        check_grants(&grants).map_err(|problem| {
            Failure::new(Outcome::BadInput, "grants", format!("the request is refused: {problem}")).hint(other_grants(&problem))
        })?;
        let grants = grants.into_iter().map(|grant| look_up(vault, grant)).collect::<Result<_, _>>()?;
        if let Some(reason) = &ask.reason {
            check_line("the reason", reason, LONGEST_REASON).map_err(|error| plain(&error))?;
        }
        if ask.uses == Some(Uses::Most(0)) {
            return Err(Failure::new(Outcome::BadInput, "uses", "a lease of no uses gives nothing").hint("ask for one at least: --uses 1"));
        }
        Ok(Self {
            ttl: ask.ttl.map(Duration::from_secs).or(task.as_ref().and_then(|task| task.ttl)),
            uses: ask.uses.or(task.as_ref().and_then(|task| task.uses).map(Uses::Most)),
            by_task: ByTask {
                ttl: ask.ttl.is_none(),
                uses: ask.uses.is_none(),
            },
            reason: ask.reason.clone(),
            command: shown_command(&ask.command),
            at_end: task.as_ref().map(|task| task.at_end).unwrap_or_default(),
            holder: holder(ask.deliver || ask.hold, requester)?,
            task: task.map(|task| TaskText {
                name: task.name,
                about: task.about,
                digest: task.digest,
                changed: None,
            }),
            task_file: ask.task.as_ref().map(|task| task.file.clone()),
            grants,
        })
    }

    /// Scopes that it needs, each once, sorted.
    #[must_use]
    pub fn scopes(&self) -> Vec<&str> {
        let mut scopes: Vec<_> = self.grants.iter().map(|judged| judged.grant.secret.scope.as_str()).collect();
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }
}

impl Judged {
    /// SHA-256 of the clear part.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.clear)
    }
}

/// What to ask for instead.
fn other_grants(problem: &GrantsError) -> String {
    match problem {
        GrantsError::None => "name the task or the secrets: --task deploy, --with prod/TOKEN".into(),
        GrantsError::Many(_) => "ask for some of them now, and for the others by a request of their own".into(),
        GrantsError::Token(_) => "ask for it once; a number of them: --uses 2".into(),
        GrantsError::Variable { secret, via, .. } => {
            let option = match via {
                Via::File => "--with-file",
                Via::Proxy => "--with-proxy",
                Via::Env | Via::Signer => "--with",
            };
            format!("name it once, or give the other one a variable of its own: {option} OTHER={secret}")
        }
    }
}

fn ad_hoc(asked: &GrantAsk, vault: &Vault) -> Result<Grant, Failure> {
    let secret: SecretRef = asked
        .secret
        .parse()
        .map_err(|error| Failure::new(Outcome::BadInput, "reference", format!("{:?}: {error}", asked.secret)).hint("touchlease list"))?;
    let via = match asked.via.as_str() {
        "env" => Via::Env,
        "file" => Via::File,
        "proxy" => Via::Proxy,
        "any" => any_form(&vault.find(&secret.scope, &secret.name).map_err(IntoFailure::failure)?.listed.rules),
        "signer" => Via::Signer,
        other => {
            return Err(Failure::new(Outcome::BadInput, "via", format!("{other:?} is no delivery")).hint("env, file, proxy and signer are"));
        }
    };
    let signs = [asked.token.is_some(), asked.certificate.is_some(), asked.signature.is_some()];
    let signs = signs.into_iter().filter(|is| *is).count();
    // A token alone goes into an environment.
    let is_bare = asked.certificate.is_some() || asked.signature.is_some();
    let is_signer = via == Via::Signer;
    if usize::from(is_signer) != signs || !is_signer && asked.env.is_none() || is_bare && asked.env.is_some() {
        let message = "env, file and proxy need a variable, and signer, and nothing else, what is to be signed";
        return Err(Failure::new(Outcome::BadInput, "grant", message).hint("docs/protocol.md shows each form"));
    }
    asked.env.as_deref().map_or(Ok(()), check_variable).map_err(|error| plain(&error))?;
    Ok(Grant {
        secret,
        via,
        env: asked.env.clone(),
        target: Target::default(),
        token: asked.token.clone(),
        certificate: asked.certificate.clone(),
        signature: asked.signature.clone(),
    })
}

/// Of whoever names no form. Where neither is allowed the refusal is about the environment, which is what was meant.
fn any_form(rules: &Rules) -> Via {
    if rules.allow(Delivery::Proxy) && !rules.allow(Delivery::Env) {
        Via::Proxy
    } else {
        Via::Env
    }
}

fn look_up(vault: &Vault, mut grant: Grant) -> Result<Judged, Failure> {
    let found = vault.find(&grant.secret.scope, &grant.secret.name).map_err(IntoFailure::failure)?;
    if grant.via == Via::Proxy {
        grant.target = grant.target.within(&found.listed.rules);
    }
    Ok(Judged {
        version: found.listed.version,
        rules: found.listed.rules,
        clear: found.clear,
        grant,
    })
}

/// A lease that comes with its values, or is to be held so, ends with the connection; another belongs to the process that ran the client. When that is gone
/// already, whoever adopted the client (the system's first process, a session's manager) would hold the lease for all of its children.
fn holder(by_connection: bool, requester: &Requester) -> Result<Holder, Failure> {
    if by_connection {
        return Ok(Holder::Connection);
    }
    let refused = |why: String| {
        Failure::new(Outcome::Refused, "no_holder", why)
            .hint("ask in the shell that is to hold the lease, or let the command hold it: touchlease run -- COMMAND")
    };
    let Some(parent) = &requester.parent else {
        return Err(refused("no process is left above this command that could hold the lease".into()));
    };
    let name = requester::fit(&parent.name);
    let named = format!("{name} (pid {})", parent.process.pid);
    if parent.uid != requester.uid {
        return Err(refused(format!(
            "{named}, under which this command runs, is of uid {} and cannot hold its lease",
            parent.uid
        )));
    }
    if parent.session != requester.whereabouts.session {
        return Err(refused(format!(
            "{named}, under which this command runs, is of another session: it would hold the lease for everything below it"
        )));
    }
    Ok(Holder::Process {
        name,
        pid: parent.process.pid,
    })
}

fn shown_command(words: &[String]) -> Vec<String> {
    let claimed = super::requester::Claimed {
        command: words.to_vec(),
        ..Default::default()
    };
    claimed.for_screen().command
}

fn plain(error: &crate::encoding::plain::PlainError) -> Failure {
    Failure::new(Outcome::BadInput, "text", format!("{error}"))
        .hint("it is shown to a person: one short line of characters that can be seen")
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::requester::{Claimed, Late, Lineage, Parent, ProcessId};
    use super::*;
    use crate::presence::Whereabouts;

    pub(in crate::lease) fn requester(parent: Option<Parent>) -> Requester {
        let process = ProcessId { pid: 20, started: 7 };
        Requester {
            uid: 1000,
            process,
            lineage: Lineage::new(std::iter::empty()).into(),
            parent,
            whereabouts: Late::new(Box::new(|| Whereabouts {
                pid: 20,
                session: 19,
                ..Whereabouts::default()
            })),
            own_screen: None,
            claimed: Late::new(Box::new(Claimed::default)),
        }
    }

    /// A request without a task, for what is asked of it alone.
    pub(in crate::lease) fn request(grants: Vec<Judged>, uses: Option<Uses>) -> Request {
        Request {
            task: None,
            task_file: None,
            grants,
            ttl: None,
            uses,
            by_task: ByTask::default(),
            reason: None,
            command: vec![],
            at_end: AtEnd::Kill,
            holder: Holder::Connection,
        }
    }

    fn shell() -> Parent {
        Parent {
            process: ProcessId { pid: 19, started: 5 },
            name: "zsh".into(),
            uid: 1000,
            session: 19,
        }
    }

    #[test]
    fn t20_the_shell_that_ran_the_client_holds_the_lease() {
        let held = holder(false, &requester(Some(shell()))).unwrap();
        let name = "zsh".into();
        assert_eq!(held, Holder::Process { name, pid: 19 });
        assert_eq!(holder(true, &requester(None)).unwrap(), Holder::Connection);
    }

    #[test]
    fn t20_who_adopted_the_client_of_a_shell_that_is_gone_holds_nothing() {
        let manager = Parent {
            session: 1,
            name: "systemd\u{1b}[2J".into(),
            ..shell()
        };
        let root = Parent { uid: 0, ..shell() };
        for (parent, said) in [
            (None, "no process is left above this command"),
            (
                Some(manager),
                "systemd<U+001B>[2J (pid 19), under which this command runs, is of another session",
            ),
            (Some(root), "zsh (pid 19), under which this command runs, is of uid 0"),
        ] {
            let refusal = holder(false, &requester(parent)).unwrap_err();
            assert_eq!((refusal.outcome, refusal.reason.as_str()), (Outcome::Refused, "no_holder"));
            assert!(refusal.message.starts_with(said), "{}", refusal.message);
            assert!(refusal.hint.unwrap().contains("touchlease run"));
        }
    }
}
