//! A key that can serve, and what to ask it.

use super::enrolled::EnrolledKey;

/// A key that may answer, and what it is to unseal.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The key.
    pub key: EnrolledKey,
    /// For hmac-secret, at most two; the outputs come back in this order.
    pub salts: Vec<[u8; 32]>,
}
