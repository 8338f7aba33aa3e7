//! Calls that a client takes back while they wait for a person: whoever stops an agent does not want what it asked for any more.
//!
//! A client that has waited for as long as it waits for anything takes its call back too, and nobody has decided anything by that: it says so
//! in the reason, which is all that tells the two apart (the protocol's page on cancellation names no reasons).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::{CancelledNotificationParam, RequestId};

use super::lease::Entry;

/// The calls that wait, by the ids that the client gave them.
#[derive(Default)]
pub struct Waiting(Mutex<HashMap<RequestId, Arc<Entry>>>);

/// One of them; ends when dropped.
pub struct Waits<'a> {
    all: &'a Waiting,
    id: RequestId,
}

impl Waiting {
    pub fn begin(&self, id: RequestId, entry: &Arc<Entry>) -> Waits<'_> {
        self.all().insert(id.clone(), entry.clone());
        Waits { all: self, id }
    }

    /// Withdraws the request that such a call waits for, if nobody has decided.
    pub fn cancelled(&self, said: &CancelledNotificationParam) {
        let entry = said.request_id.as_ref().and_then(|id| self.all().remove(id));
        if let Some(entry) = entry.filter(|entry| entry.state().is_open() && !is_time_out(said.reason.as_deref())) {
            entry.give_up();
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<RequestId, Arc<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waits<'_> {
    /// Leaves it to what the client says of it, which the library hands on after it has ended the call.
    pub fn end_by_the_client(self) {
        std::mem::forget(self);
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.all.all().remove(&self.id);
    }
}

/// As the SDKs in TypeScript (`Request timed out`) and Rust (`request timeout`) say it.
fn is_time_out(reason: Option<&str>) -> bool {
    let reason = reason.unwrap_or_default().to_lowercase();
    ["timed out", "timeout", "time-out"].iter().any(|word| reason.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_whose_time_is_over_is_no_persons_word() {
        for reason in ["McpError: MCP error -32001: Request timed out", "request timeout", "Timeout"] {
            assert!(is_time_out(Some(reason)), "{reason}");
        }
        for reason in [None, Some(""), Some("AbortError: This operation was aborted"), Some("interrupt")] {
            assert!(!is_time_out(reason), "{reason:?}");
        }
    }
}
