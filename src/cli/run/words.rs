//! The words of `run` as most people write them, understood without clap: that command comes with whatever needs a secret, and to declare
//! its arguments to clap takes longer than all else that it does before it asks.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{Agent, Args};
use crate::config::parse_duration;

/// The vault that is named, whether JSON is wanted, and the rest.
type Understood = (Option<PathBuf>, bool, Args);

/// What the words behind `run` say. Nothing where they are written in another way, are wrong, or ask for help: clap has its say then, which
/// understands alike what is understood here.
#[must_use]
pub fn understood(words: &[OsString]) -> Option<Understood> {
    // It may say the opposite of the words.
    if std::env::var_os("TOUCHLEASE_NO_MASKING").is_some() {
        return None;
    }
    let mut said = (None, false, Args::default());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.to_str()? {
            "--" => {
                said.2.command = words.cloned().collect();
                break;
            }
            "--json" => set(&mut said.1)?,
            "--no-masking" => set(&mut said.2.no_masking)?,
            "--agent" => once(&mut said.2.agent, Agent::Walled)?,
            word => {
                let joined = word.split_once('=').filter(|_| word.starts_with("--"));
                let (name, value) = match joined {
                    Some((name, value)) => (name, OsStr::new(value)),
                    None => (word, words.next().filter(|value| !value.as_bytes().starts_with(b"-"))?.as_os_str()),
                };
                take(&mut said, name, value.to_owned())?;
            }
        }
    }
    let ask = &said.2.ask;
    (ask.task.is_none() || ask.with.is_empty()).then_some(said)
}

fn take((vault, _, args): &mut Understood, name: &str, value: OsString) -> Option<()> {
    let ask = &mut args.ask;
    if value.is_empty() {
        return None;
    }
    match name {
        "--vault" => once(vault, value.into()),
        "--network" => {
            let text = value
                .into_string()
                .ok()
                .filter(|text| ["open", "granted-only"].contains(&text.as_str()))?;
            once(&mut args.network, text)
        }
        "--env-file" => {
            args.env_file.push(value.into());
            Some(())
        }
        name => {
            let text = value.into_string().ok()?;
            match name {
                "--with" | "-w" => ask.with.push(text),
                "--with-proxy" => ask.with_proxy.push(text),
                "--with-file" => ask.with_file.push(text),
                "--task" | "-t" => once(&mut ask.task, text)?,
                "--reason" => once(&mut ask.reason, text)?,
                "--ttl" => once(&mut ask.ttl, parse_duration(&text).ok()?.as_secs())?,
                "--uses" => once(&mut ask.uses, text.parse().ok().filter(|uses| *uses > 0)?)?,
                _ => return None,
            }
            Some(())
        }
    }
}

/// Said twice is wrong.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

fn set(flag: &mut bool) -> Option<()> {
    (!std::mem::replace(flag, true)).then_some(())
}
