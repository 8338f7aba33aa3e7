//! `touchlease token`: a token that a signer signs, and nothing else on standard output.

use std::collections::BTreeMap;

use serde_json::json;

use super::change::{how_many, seconds};
use super::init::unexpected;
use super::session::Session;
use crate::encoding::SecretRef;
use crate::wire::request::{GrantAsk, LeaseAsk};
use crate::wire::signer::TokenAsk;
use crate::wire::{Answer, Failure, Outcome, Reply, Request, Uses};

/// Print a token that a signer signs: one touch.
///
/// A JSON Web Token in the compact form, for one audience, with an end. Nothing else is printed on standard output; with --uses, one token a
/// line, all of them under one touch. What may be in it, and how long it may live, is sealed with the signer.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The signer, as scope/NAME.
    #[arg(value_name = "SIGNER")]
    signer: SecretRef,
    /// For whom the token is; one that the signer's rules name.
    #[arg(long, value_name = "URL")]
    aud: String,
    /// Of whom it speaks [default: the signer's only subject].
    #[arg(long, value_name = "SUBJECT")]
    sub: Option<String>,
    /// Add a claim that the signer's rules allow: NAME=VALUE. Repeat for more.
    #[arg(long = "claim", value_name = "CLAIM", value_parser = claim)]
    claims: Vec<(String, String)>,
    /// Let it do this at a registry, within what the signer's rules allow: TYPE:NAME:ACTIONS, as repository:team/app:pull,push. Repeat for more.
    #[arg(long, value_name = "SCOPE")]
    access: Vec<String>,
    /// Let it live this long, as 90s or 5m [default: 5m, or less where the rules say so].
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    ttl: Option<u64>,
    /// Print this many tokens under the one touch, each with an id of its own [default: 1].
    #[arg(long, value_name = "N", value_parser = how_many::<u32>)]
    uses: Option<u32>,
    /// Say why, in one line, to the person who touches.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let token = TokenAsk {
        access: args.access.into_iter().collect(),
        aud: args.aud,
        claims: each_once(args.claims)?,
        exchange: None,
        sub: args.sub,
    };
    let ask = LeaseAsk {
        with: vec![GrantAsk {
            token: Some(token),
            ..GrantAsk::of_signer(&args.signer)
        }],
        ttl: args.ttl,
        uses: args.uses.map(Uses::Most),
        reason: args.reason,
        deliver: true,
        ..LeaseAsk::default()
    };
    let (reply, mut client) = session.ask_held(Request::Lease(ask))?;
    let Reply::Granted(granted) = reply else { return Err(unexpected()) };
    let tokens: Vec<&str> = granted
        .values
        .iter()
        .filter_map(|delivered| str::from_utf8(delivered.value.0.expose()).ok())
        .collect();
    session.ui.json(&json!({ "tokens": tokens, "lease": granted.lease.id }));
    for token in tokens {
        session.ui.line(token);
    }
    // It is over when nothing of it is left, which it is; a daemon that is gone has ended it too.
    let _ = client.answer(&Answer::Done);
    Ok(())
}

pub(super) fn claim(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn each_once(claims: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut each = BTreeMap::new();
    for (name, value) in claims {
        if each.insert(name.clone(), value).is_some() {
            return Err(
                Failure::new(Outcome::Usage, "claim_twice", format!("the claim {name:?} is given twice")).hint("give each claim once"),
            );
        }
    }
    Ok(each)
}
