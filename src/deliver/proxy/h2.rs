//! HTTP/2 on both sides: its limits, and the tasks of its streams, which end with the client's connection.
//!
//! What makes floods of it cheap to answer is the library's: a client that resets streams faster than they are taken is cut off after twenty
//! (CVE-2023-44487), one that has them reset by what it does wrong after 256 (CVE-2025-8671), one whose head never ends after the frames that the
//! longest head takes (CVE-2024-27316).

use std::rc::{Rc, Weak};

use hyper::rt::Executor;
use hyper::{client, server};
use hyper_util::rt::TokioTimer;

use super::session::Tied;
use super::ways::LONGEST_HEAD;

/// As clients and servers name it in TLS (RFC 9113, 3.2).
pub const ALPN: &[u8] = b"h2";
/// The version before it.
pub const ALPN_1: &[u8] = b"http/1.1";
/// Requests of one client's connection at one time.
pub const MOST_STREAMS: u32 = 100;
/// Streams that a client reset before they were looked at.
const MOST_RESET: usize = 20;
/// Streams that were reset by what the client did wrong. One that has not read yet how many it may have at one time is to get by.
const MOST_WRONG: usize = 256;
/// Bytes that are under way in one stream, and in a connection.
const STREAM: u32 = 256 * 1024;
const CONNECTION: u32 = 1024 * 1024;
/// Bytes of a stream that wait to be sent.
const UNSENT: usize = 64 * 1024;

/// Runs the tasks of a client's connection in this thread, until that is cut.
#[derive(Clone)]
pub struct Here(Weak<Tied>);

impl<F> Executor<F> for Here
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        // What is over needs nothing more done.
        if let Some(tied) = self.0.upgrade() {
            tied.holds(&tokio::task::spawn_local(future));
        }
    }
}

/// For a client's connection.
#[must_use]
pub fn server(tied: &Rc<Tied>) -> server::conn::http2::Builder<Here> {
    let mut builder = server::conn::http2::Builder::new(Here(Rc::downgrade(tied)));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_pending_accept_reset_streams(MOST_RESET)
        .max_local_error_reset_streams(MOST_WRONG)
        .max_header_list_size(LONGEST_HEAD as u32)
        .initial_stream_window_size(STREAM)
        .initial_connection_window_size(CONNECTION)
        .max_send_buf_size(UNSENT)
        .auto_date_header(false);
    builder
}

/// For a way to a host, which serves the client's connection and no other.
#[must_use]
pub fn client(tied: &Rc<Tied>) -> client::conn::http2::Builder<Here> {
    let mut builder = client::conn::http2::Builder::new(Here(Rc::downgrade(tied)));
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(LONGEST_HEAD as u32)
        .initial_stream_window_size(STREAM)
        .initial_connection_window_size(CONNECTION)
        .max_send_buf_size(UNSENT);
    builder
}
