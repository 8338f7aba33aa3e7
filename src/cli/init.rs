//! `touchlease init`: a vault, its first key, its recovery code.

use serde_json::json;

use super::hint::in_vault;
use super::key::say_weaker;
use super::piv;
use super::session::Session;
use super::ui::Tone;
use crate::client::OTHER_VERSION;
use crate::wire::request::InitAsk;
use crate::wire::{Failure, Outcome, Reply, Request};

/// Make a vault that opens with a touch on a security key.
///
/// Takes four touches: two credentials, the key's way into the vault, and the signature on the first statement of who may open it.
/// Prints the recovery code once.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Call the first key this in prompts.
    #[arg(long, value_name = "NAME", default_value = "first")]
    key: String,
    /// Make this scope, a compartment of the vault; one touch opens two at most. Give the option again for a second.
    #[arg(long = "scope", value_name = "NAME", default_values_t = ["prod".to_owned(), "dev".to_owned()])]
    scopes: Vec<String>,
    /// Enrol the key without its PIN. Weaker: whoever holds the key and a copy of the vault opens it.
    #[arg(long)]
    touch_only: bool,
    #[command(flatten)]
    piv: piv::PivArgs,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let card = piv::ask(session, args.piv)?;
    let reply = session.ask(Request::Init(InitAsk {
        key: args.key.clone(),
        scopes: args.scopes,
        touch_only: args.touch_only,
        card,
    }))?;
    let Reply::Made {
        vault,
        path,
        recovery_code,
        profile,
        built_in_uv,
        trouble,
    } = reply
    else {
        return Err(unexpected());
    };
    let ui = session.ui;
    let code = String::from_utf8_lossy(recovery_code.0.expose());
    ui.json(&json!({
        "vault": vault, "path": path, "key": args.key, "profile": profile, "built_in_uv": built_in_uv, "recovery_code": code,
        "trouble": trouble,
    }));
    ui.line(&format!("vault {path} is made; key \"{}\" opens it", args.key));
    say_weaker(ui, &profile, built_in_uv);
    say_code(session, &code, trouble.as_deref());
    let spare = if args.key == "spare" { "second" } else { "spare" };
    let next = format!("Next: enrol a second key, so that losing one locks nobody out: touchlease key add {spare}");
    let next = session.vault.as_ref().map_or_else(|| next.clone(), |vault| in_vault(&next, vault));
    ui.note(Tone::Act, &next);
    Ok(())
}

/// The recovery code, once, and what went wrong after it was in force.
pub fn say_code(session: &Session, code: &str, trouble: Option<&str>) {
    if let Some(trouble) = trouble {
        session.ui.note(
            Tone::Bad,
            &format!(
                "The vault's folder failed when this was done: {trouble}.\nKeep the code below, and one that you had before, until `touchlease doctor` opens the vault."
            ),
        );
    }
    session.ui.note(
        Tone::Strong,
        "\nRecovery code. Write it on paper now; it is shown once and kept nowhere. It opens everything without a touch:\n",
    );
    session.ui.line(&format!("    {code}\n"));
}

/// The daemon answered with something else: versions differ.
pub fn unexpected() -> Failure {
    Failure::new(Outcome::Internal, "protocol", "the daemon answered something else than was asked").hint(OTHER_VERSION)
}
