//! Answers of the proxy's own: JSON with a reason's code and a hint, for programs and for models.

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, PROXY_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::protocol::Verdict;

/// The codes of what is also found out behind the daemon's first yes.
pub const LEASE_ENDED: &str = "lease_ended";
/// See [`LEASE_ENDED`].
pub const NOT_RECORDED: &str = "not_recorded";

/// Why a request got no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of the answer.
    pub status: StatusCode,
    /// `refused` by a rule, or `failed` on the way.
    pub outcome: &'static str,
    /// A code that stays.
    pub reason: &'static str,
    /// What to do, for whoever reads it.
    pub hint: Box<str>,
    /// The secret's name, where a placeholder told it.
    pub secret: Option<Box<str>>,
    /// The task that a lease can be asked for, where one is known.
    pub task: Option<Box<str>>,
}

impl Refusal {
    /// A rule says no.
    #[must_use]
    pub fn rule(reason: &'static str, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "refused", reason, hint)
    }

    /// The request is not one.
    #[must_use]
    pub fn malformed(reason: &'static str, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "refused", reason, hint)
    }

    /// The host did not do its part.
    #[must_use]
    pub fn upstream(status: StatusCode, reason: &'static str, hint: impl Into<String>) -> Self {
        Self::new(status, "failed", reason, hint)
    }

    /// The daemon lets no credential of a lease go out.
    #[must_use]
    pub fn verdict(verdict: Verdict) -> Self {
        match verdict {
            Verdict::UsedUp => Self::rule("used_up", "the lease's uses are used up; ask for the task again"),
            Verdict::Unrecorded => Self::rule(
                NOT_RECORDED,
                "the log cannot be written, and what is not in it does not happen; `touchlease doctor` says what is wrong with it",
            ),
            Verdict::Go | Verdict::GoOn | Verdict::Gone => Self::rule(LEASE_ENDED, "the lease is over; ask for the task again"),
        }
    }

    fn new(status: StatusCode, outcome: &'static str, reason: &'static str, hint: impl Into<String>) -> Self {
        Self {
            status,
            outcome,
            reason,
            hint: hint.into().into_boxed_str(),
            secret: None,
            task: None,
        }
    }

    /// Names the secret.
    #[must_use]
    pub fn of(mut self, secret: &str) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Names the task to ask for.
    #[must_use]
    pub fn ask_for(mut self, task: Option<&str>) -> Self {
        self.task = task.map(Into::into);
        self
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let mut body = json!({ "v": 1, "outcome": self.outcome, "reason": self.reason, "hint": self.hint });
        if let Some(secret) = &self.secret {
            body["secret"] = (**secret).into();
        }
        if let Some(task) = &self.task {
            body["task"] = (**task).into();
        }
        Bytes::from(format!("{body}\n"))
    }

    /// The answer, with `body` made of [`Refusal::body`].
    #[must_use]
    pub fn answer<B>(&self, body: impl FnOnce(Bytes) -> B) -> Response<B> {
        let mut answer = Response::new(body(self.body()));
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            // Who does not know the bearer keeps no place.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            headers.insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"touchlease\""));
        }
        answer
    }
}

/// Without the session's bearer nobody learns more than that there is a proxy (T41).
#[must_use]
pub fn no_bearer() -> Refusal {
    Refusal::new(
        StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        "refused",
        "no_bearer",
        "use the proxy's whole URL, as it stands in HTTP_PROXY, or in TOUCHLEASE_BASE_URL",
    )
}
