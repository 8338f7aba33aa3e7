//! The hmac-secret extension (CTAP 2.1, 12.5): one or two salts in, one or two 32-byte outputs back, both encrypted for the key alone.

use zeroize::Zeroizing;

use super::cbor::{Map, Value};
use super::error::CtapError;
use super::pin::{PinProtocol, SharedSecret};

/// Name of the extension.
pub const HMAC_SECRET: &str = "hmac-secret";

/// A salt: 32 random bytes, made with a slot and kept for its life.
pub type Salt = [u8; 32];

/// The extension's input for `salts` (one or two).
///
/// # Errors
/// The system has no randomness.
pub fn input(shared: &SharedSecret, salts: &[Salt]) -> Result<Map, CtapError> {
    let encrypted = shared.encrypt(&Zeroizing::new(salts.concat()))?;
    let tag = shared.authenticate(&encrypted);
    let input = Map::new().with(1, shared.key_agreement()).with(2, encrypted).with(3, tag);
    // CTAP 2.0 keys know no fourth member; protocol one is what its absence means.
    Ok(match shared.protocol() {
        PinProtocol::One => input,
        PinProtocol::Two => input.with(4, PinProtocol::Two.number()),
    })
}

/// Decrypts the outputs out of the extension map of signed authenticator data.
///
/// # Errors
/// None there, or not as many as there were salts.
pub fn outputs(shared: &SharedSecret, extensions: &Map, salts: usize) -> Result<Zeroizing<Vec<u8>>, CtapError> {
    let Some(Value::Bytes(encrypted)) = extensions.get(HMAC_SECRET) else {
        return Err(CtapError::Form("no hmac-secret output"));
    };
    let outputs = shared.decrypt(encrypted)?;
    if outputs.len() == salts * 32 {
        Ok(outputs)
    } else {
        Err(CtapError::Form("hmac-secret outputs of a wrong length"))
    }
}
