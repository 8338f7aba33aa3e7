//! SSH signatures of a lease, each by an answer of the connection that holds it.

use data_encoding::BASE64;

use super::house::House;
use super::leases::gone;
use crate::encoding::ssh_signed_data::SignedData;
use crate::lease::ledger::Lease;
use crate::lease::signature::{self, Permitted};
use crate::lease::text::LeaseText;
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

/// What is asked for in base64, as something that may be signed.
///
/// # Errors
/// It is no signed data; as [`permit`].
pub(super) fn read(house: &House, lease: &Lease, data: &str) -> Result<Permitted, Failure> {
    let blob = BASE64
        .decode(data.as_bytes())
        .map_err(|_| refuse("no_signature", "what is to be signed is not base64").hint(HOW))?;
    permit(house, lease, signature::read(&blob)?)
}

/// What is asked for, as something that may be signed.
///
/// # Errors
/// It is not what was touched for; the lease is over.
pub(super) fn permit(house: &House, lease: &Lease, data: SignedData) -> Result<Permitted, Failure> {
    let permit = |text: &LeaseText, _: &Material| signature::permit(text, data);
    house.ledger.with_material(lease, permit).map_err(|_| gone())?
}

/// Signs what stands in the log.
///
/// # Errors
/// The lease is over; the record's private key is not that of the public key that was shown.
pub(super) fn sign(house: &House, lease: &Lease, permitted: &Permitted) -> Result<Vec<u8>, Failure> {
    let signed = |text: &LeaseText, material: &Material| permitted.sign(text, material);
    house.ledger.with_material(lease, signed).map_err(|_| gone())?
}

const HOW: &str = "touchlease ssh agent prod/git -- git commit -S";

fn refuse(reason: &str, message: &str) -> Unhinted {
    Failure::new(Outcome::Refused, reason, message)
}
