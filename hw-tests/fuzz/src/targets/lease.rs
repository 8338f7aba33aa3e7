//! What is signed, and what people write.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::config::{Config, parse_duration};
use crate::encoding::{Digest, jcs};
use crate::lease::task::{MOST_GRANTS, Task};
use crate::lease::text::{ChangeText, ClockText, EnrolText, ExportText, LeaseText, OlderText, RosterBeside, Text, UnlockText};
use crate::vault::statement::Statement;

/// A lease.
pub fn lease_text(data: &[u8]) {
    one_form::<LeaseText>(data);
}

/// A change to a vault.
pub fn change_text(data: &[u8]) {
    one_form::<ChangeText>(data);
}

/// A clock that is accepted.
pub fn clock_text(data: &[u8]) {
    one_form::<ClockText>(data);
}

/// An older copy of a vault that is accepted.
pub fn older_text(data: &[u8]) {
    one_form::<OlderText>(data);
}

/// Everything of a scope that leaves.
pub fn export_text(data: &[u8]) {
    one_form::<ExportText>(data);
}

/// What a prompt shows where nothing of it is signed.
pub fn enrol_text(data: &[u8]) {
    one_form::<EnrolText>(data);
}

/// The same for a PIN typed ahead.
pub fn unlock_text(data: &[u8]) {
    one_form::<UnlockText>(data);
}

/// What stands beside a statement of the roster: the statement's length in four bytes, the statement, the text.
pub fn roster_beside(data: &[u8]) {
    let Some((len, rest)) = data
        .split_first_chunk()
        .map(|(len, rest)| (u32::from_be_bytes(*len) as usize, rest))
    else {
        return;
    };
    let Some((statement, text)) = rest.split_at_checked(len) else {
        return;
    };
    let (Ok(statement), Ok(text)) = (Statement::from_bytes(statement), str::from_utf8(text)) else {
        return;
    };
    if let Some((beside, before)) = RosterBeside::decode(text, &statement) {
        assert_eq!(jcs::to_vec(&beside).expect("what was read can be written"), text.as_bytes());
        let again: Vec<_> = before.iter().map(|before| before.to_bytes().expect("a statement")).collect();
        assert!(again.iter().map(|bytes| Digest::of(bytes)).eq(statement.previous.iter().copied()));
    }
}

fn one_form<T: Text>(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(decoded) = T::decode(text) {
        let fixed = decoded.fix().expect("what was read can be written");
        assert_eq!((fixed.text(), fixed.id()), (text, decoded.id()));
        let _ = fixed.words();
    }
}

/// `touchlease.toml`.
pub fn task_file(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    for name in Task::names(text).unwrap_or_default() {
        if let Ok(task) = Task::parse(text, &name) {
            assert!((1..=MOST_GRANTS).contains(&task.grants.len()) && task.uses != Some(0));
            let again = Task {
                digest: task.digest,
                ..Task::parse(&written(&task), &name).expect("the same, written plainly")
            };
            assert_eq!(again, task);
            let lines = Task::lines(text, &name).expect("it has the task");
            assert!(lines.len() > task.grants.len() && !lines.concat().contains(char::is_control));
        }
    }
    assert!(Task::parse(text, "no task has a name with blanks").is_err());
    for (name, hosts) in Task::by_proxy(text).unwrap_or_default() {
        let grants = Task::parse(text, &name).expect("a task").grants;
        assert!(
            hosts
                .iter()
                .all(|host| grants.iter().any(|grant| grant.target.hosts.contains(host)))
        );
    }
}

fn written(task: &Task) -> String {
    let quoted = |text: &str| serde_json::to_string(text).expect("JSON's strings are TOML's");
    let name = quoted(&task.name);
    let command: Vec<String> = task.command.iter().map(|word| quoted(word)).collect();
    let mut text = format!(
        "[task.{name}]\nabout = {}\ncommand = [{}]\nat_end = \"{}\"\n",
        quoted(&task.about),
        command.join(", "),
        word(&task.at_end)
    );
    text.extend(task.ttl.map(|ttl| format!("ttl = \"{}s\"\n", ttl.as_secs())));
    text.extend(task.uses.map(|uses| format!("uses = {uses}\n")));
    for grant in &task.grants {
        let secret = quoted(&grant.secret.to_string());
        text += &format!(
            "[[task.{name}.grant]]\nsecret = {secret}\nvia = \"{}\"\nenv = \"{}\"\n",
            word(&grant.via),
            grant.env.as_ref().expect("a task names a variable")
        );
        let target = &grant.target;
        for (member, words) in [("hosts", &target.hosts), ("methods", &target.methods), ("paths", &target.paths)] {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            if !words.is_empty() {
                text += &format!("{member} = [{}]\n", words.join(", "));
            }
        }
        if let Some(token) = &grant.token {
            text += &format!("audience = {}\n", quoted(&token.aud));
            text.extend(token.sub.as_ref().map(|sub| format!("subject = {}\n", quoted(sub))));
            let claims: Vec<String> = token
                .claims
                .iter()
                .map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)))
                .collect();
            text += &format!("claims = {{ {} }}\n", claims.join(", "));
        }
    }
    text
}

fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .expect("a word")
}

/// `config.toml`, and a duration as people write it.
pub fn configuration(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(duration) = parse_duration(text) {
        assert_eq!(parse_duration(&format!("{}s", duration.as_secs())), Ok(duration));
        assert!(duration >= Duration::from_secs(1));
    }
    if let Ok(config) = Config::parse(text) {
        let limits = &config.limits;
        let seconds = |name: &str, time: Duration| format!("{name} = \"{}s\"\n", time.as_secs());
        let path = |(name, path): (&str, &Option<PathBuf>)| {
            let path = serde_json::to_string(path.as_ref()?).expect("a string");
            Some(format!("{name} = {path}\n"))
        };
        let paths = [("vault", &config.vault), ("proxy_roots", &config.proxy_roots)];
        let mut again: String = paths.into_iter().filter_map(path).collect();
        again.extend(config.proxy_upstream.as_ref().map(|host| format!("proxy_upstream = \"{host}\"\n")));
        again += "[limits]\n";
        again.extend(path(("piv_attestation_roots", &limits.piv_attestation_roots)));
        again.extend(limits.min_firmware.map(|least| format!("min_firmware = \"{least}\"\n")));
        again += &format!("end_when_unplugged = {}\n", limits.end_when_unplugged);
        let receipts = serde_json::to_string(&limits.receipts).expect("a word");
        again += &format!("receipts = {receipts}\n");
        let named = [
            ("prompt", limits.prompt),
            ("ttl", limits.ttl),
            ("longest_ttl", limits.longest_ttl),
            ("pin", limits.pin),
        ];
        again.extend(named.map(|(name, time)| seconds(name, time)));
        assert_eq!(Config::parse(&again).expect("the same, written plainly"), config);
        assert!(limits.digest().is_ok() && limits.ttl <= limits.longest_ttl);
    }
}
