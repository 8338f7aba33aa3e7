//! Asking keys for a touch.

use super::enrolled::EnrolledKey;

/// A key that can serve a request, and what to ask it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The key.
    pub key: EnrolledKey,
    /// hmac-secret salts, at most two (CTAP 2.1, 12.5); the outputs come in their order.
    pub salts: Vec<[u8; 32]>,
}
