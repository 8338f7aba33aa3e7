//! SSH signatures of a lease, each by an answer of the connection that holds it.

use data_encoding::BASE64;

use super::house::{House, OpenVault};
use super::leases::gone;
use crate::lease::ledger::Lease;
use crate::lease::text::LeaseText;
use crate::lease::{record, signature};
use crate::vault::Material;
use crate::wire::request::LeaseAsk;
use crate::wire::{Failure, Outcome, Unhinted};

/// Whether it is a request for SSH signatures.
///
/// # Errors
/// Nobody would hold the lease to have them made.
pub(super) fn check(ask: &LeaseAsk) -> Result<bool, Failure> {
    if ask.with.iter().all(|grant| grant.signature.is_none()) {
        return Ok(false);
    }
    match ask.deliver && !ask.hold && !ask.join_only && ask.with.len() == 1 && ask.task.is_none() {
        true => Ok(true),
        false => Err(refuse(
            "signature_alone",
            "SSH signatures take a lease of their own, held by the connection that asks",
        )
        .hint(HOW)),
    }
}

/// Signs once: what may not be signed costs no use, and what may is on the disk before the signature goes out.
///
/// # Errors
/// It is not what was touched for; the lease is over; the log cannot be written.
pub(super) fn sign(house: &House, open: &OpenVault, lease: &Lease, data: &str) -> Result<(String, Option<u32>), Failure> {
    let blob = BASE64
        .decode(data.as_bytes())
        .map_err(|_| refuse("no_signature", "what is to be signed is not base64").hint(HOW))?;
    let permit = |text: &LeaseText, _: &Material| signature::permit(text, &blob);
    let permitted = house.ledger.with_material(lease, permit).map_err(|_| gone())??;
    let left = house.ledger.take_use(lease).map_err(|_| gone())?;
    record::used(&open.log, lease.id(), "signer", permitted.what(), left)?;
    let signed = |text: &LeaseText, material: &Material| permitted.sign(text, material);
    let signature = house.ledger.with_material(lease, signed).map_err(|_| gone())??;
    Ok((BASE64.encode(&signature), left))
}

const HOW: &str = "touchlease ssh agent prod/git -- git commit -S";

fn refuse(reason: &str, message: &str) -> Unhinted {
    Failure::new(Outcome::Refused, reason, message)
}
