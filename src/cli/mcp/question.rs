//! Elicitation: where the client can put something to the person, it says that a touch is wanted, for what, and the four words.
//!
//! It asks for nothing: the form has no members, and no answer approves anything. One answer counts, and only against the lease: who cancels
//! withdraws the request.

use std::collections::BTreeMap;
use std::time::Duration;

use rmcp::model::{ClientResult, ElicitRequest, ElicitRequestParams, ElicitationAction, ElicitationSchema, ServerRequest};
use rmcp::service::{PeerRequestOptions, RequestContext, RequestHandle, RoleServer};

use super::lease::{Entry, State};
use crate::clock::{Boot, Clock, SystemClock};

/// The protocol's versions in which a server may ask: later ones have no requests of a server's.
const FIRST: &str = "2025-06-18";
const BEFORE: &str = "2026";
/// Nobody reads four words sooner: such an answer is the client's own, which has nobody to ask (`codex exec`, `claude -p`).
const READ_AFTER: Duration = Duration::from_secs(1);

/// What was put to the person, once there was something to put.
#[derive(Default)]
pub struct Question {
    put: Option<(RequestHandle<RoleServer>, Boot)>,
    done: bool,
}

impl Question {
    /// Puts it, if a person is asked for this lease, it was not put yet, and the client can.
    pub async fn put(&mut self, context: &RequestContext<RoleServer>, entry: &Entry) {
        let State::Pending { words, .. } = entry.state() else { return };
        if self.done || self.put.is_some() || !can(context) {
            return;
        }
        let params = ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: message(entry, &words),
            requested_schema: ElicitationSchema::new(BTreeMap::new()),
        };
        let request = ServerRequest::ElicitRequest(ElicitRequest::new(params));
        let sent = context
            .peer
            .send_cancellable_request(request, PeerRequestOptions::no_options())
            .await;
        self.put = sent.ok().map(|handle| (handle, SystemClock.boot()));
        self.done = true;
    }

    /// Waits for an answer that withdraws the request; for ever where none does.
    pub async fn withdrawn(&mut self) {
        if let Some((handle, since)) = &mut self.put {
            let answer = (&mut handle.rx).await;
            let read = SystemClock.boot().since(*since) >= READ_AFTER;
            self.put = None;
            if let Ok(Ok(ClientResult::ElicitResult(answer))) = answer
                && answer.action == ElicitationAction::Cancel
                && read
            {
                return;
            }
        }
        std::future::pending().await
    }

    /// Takes it back where it still stands: somebody has decided, or the call is over.
    pub async fn take_back(self) {
        if let Some((handle, _)) = self.put {
            // Whoever has gone reads nothing.
            let _ = handle.cancel(Some("it is decided, or asked anew".into())).await;
        }
    }
}

fn can(context: &RequestContext<RoleServer>) -> bool {
    let asks = context
        .protocol_version()
        .is_some_and(|version| (FIRST..BEFORE).contains(&version.as_str()));
    let Some(client) = context.peer.peer_info().filter(|_| asks) else {
        return false;
    };
    // One that names no mode has the first one, forms.
    client
        .capabilities
        .elicitation
        .as_ref()
        .is_some_and(|can| can.form.is_some() || can.url.is_none())
}

fn message(entry: &Entry, words: &[String; 4]) -> String {
    let secrets: Vec<String> = entry.task.grants.iter().map(|grant| grant.secret.to_string()).collect();
    format!(
        "The agent asks for {} for the task {:?}. It is approved by a touch of your security key, and by nothing else: compare the words {} with \
         those that `touchlease watch` shows, and touch the key there. Nothing is typed here; to cancel withdraws the request.",
        secrets.join(", "),
        entry.task.name,
        words.join(" ")
    )
}
