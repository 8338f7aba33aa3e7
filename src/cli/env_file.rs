//! The environment file of `touchlease run`: plain variables, and references to secrets, which become grants.

use super::dotenv::{self, Line};
use crate::encoding::SecretRef;
use crate::encoding::reference::SCHEME;
use crate::wire::request::GrantAsk;
use crate::wire::{Failure, Outcome};

/// A plain variable: its name and its value.
pub type Variable = (String, String);

/// The plain variables and the grants, each in the order of the file. `shown` is what messages call it.
///
/// # Errors
/// A line that is not `NAME=value`, a reference that names no secret.
pub fn parse(text: &[u8], shown: &str) -> Result<(Vec<Variable>, Vec<GrantAsk>), Failure> {
    let (mut plain, mut grants) = (vec![], vec![]);
    for line in dotenv::lines(text) {
        match line {
            Line::Pair { number, value, .. } if value.starts_with(SCHEME) && value.trim_end() != value => {
                return Err(wrong(format!("{shown}, line {number}: a blank stands behind the reference")));
            }
            Line::Pair { number, name, value } if value.starts_with(SCHEME) => {
                let at = |failure: Failure| Failure {
                    message: format!("{shown}, line {number}: {}", failure.message),
                    ..failure
                };
                grants.push(grant(&format!("{name}={value}"), "any").map_err(at)?);
            }
            Line::Pair { number, value, .. } if value.trim_start().starts_with(SCHEME) => {
                return Err(wrong(format!("{shown}, line {number}: a blank stands in front of {SCHEME}")));
            }
            Line::Pair { name, value, .. } => plain.push((name, value)),
            // Not the line itself: it may hold a value.
            Line::Other { number, why } => return Err(wrong(format!("{shown}, line {number}: {why}"))),
        }
    }
    Ok((plain, grants))
}

/// Something about the file.
pub fn wrong(what: String) -> Failure {
    Failure::new(Outcome::BadInput, "env_file", what).hint("it has lines like NAME='a value', or NAME=touchlease://prod/TOKEN")
}

/// A grant of `prod/TOKEN`, or `VARIABLE=prod/TOKEN`, delivered `via`.
///
/// # Errors
/// No secret, or no variable, is called so.
pub fn grant(text: &str, via: &str) -> Result<GrantAsk, Failure> {
    let (env, reference) = text.split_once('=').map_or((None, text), |(env, reference)| (Some(env), reference));
    let wrong = |what: &str, error: &dyn std::fmt::Display| Failure::new(Outcome::BadInput, "reference", format!("{what}: {error}"));
    let secret: SecretRef = reference.parse().map_err(|error| {
        // What stands behind = may be the value itself, of somebody who took this for NAME=value.
        let what = text
            .split_once('=')
            .map_or_else(|| format!("{text:?}"), |(env, _)| format!("what follows {env}="));
        wrong(&what, &error).hint("touchlease list shows what there is")
    })?;
    let env = env.unwrap_or(&secret.name).to_owned();
    crate::encoding::plain::check_variable(&env)
        .map_err(|error| wrong(&format!("{env:?}"), &error).hint(format!("name a variable: --with VARIABLE={secret}")))?;
    Ok(GrantAsk {
        secret: secret.to_string(),
        via: via.into(),
        env: Some(env),
        token: None,
        certificate: None,
        signature: None,
    })
}
