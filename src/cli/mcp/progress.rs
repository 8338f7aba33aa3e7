//! Progress of a call, where its client asked to be told.

use rmcp::Peer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::{RequestContext, RoleServer};
use tokio_util::sync::CancellationToken;

/// See the module.
pub struct Progress {
    peer: Peer<RoleServer>,
    /// The client has gone.
    gone: CancellationToken,
    token: Option<ProgressToken>,
    /// It has to grow with each message.
    told: f64,
    last: String,
}

impl Progress {
    pub fn of(context: &RequestContext<RoleServer>, gone: CancellationToken) -> Self {
        Self {
            peer: context.peer.clone(),
            gone,
            token: context.meta.get_progress_token(),
            told: 0.0,
            last: String::new(),
        }
    }

    /// Tells it, unless it was the last that was told.
    pub async fn say(&mut self, message: &str) {
        let Some(token) = self.token.clone().filter(|_| message != self.last) else {
            return;
        };
        message.clone_into(&mut self.last);
        self.told += 1.0;
        let told = ProgressNotificationParam::new(token, self.told).with_message(message);
        // Whoever has gone is told nothing: by then nobody takes what is to be sent, and the library waits five seconds for this call.
        let _ = self.gone.run_until_cancelled(self.peer.notify_progress(told)).await;
    }
}
