//! A connection before its client has said who it is: little is read from it, and not for long (T41). Afterwards it is in nobody's way.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Sleep, sleep};

/// For the head with the bearer, from the connection's beginning on.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of that head.
pub const LONGEST: usize = 16 * 1024;
/// Bytes of one read of it.
const ROOM: usize = 4096;
/// Connections that have not shown the bearer, at one time. More than are taken in one turn of the runtime, so that each has one.
pub const MOST: usize = 256;

/// Whether a connection has shown the bearer.
pub type Known = Arc<AtomicBool>;

/// A client's socket.
pub struct Entrance {
    socket: TcpStream,
    known: Known,
    left: usize,
    patience: Pin<Box<Sleep>>,
}

impl Entrance {
    /// Of a client that just came.
    #[must_use]
    pub fn new(socket: TcpStream, known: Known) -> Self {
        Self {
            socket,
            known,
            left: LONGEST,
            patience: Box::pin(sleep(PATIENCE)),
        }
    }

    /// The socket, once its client is known.
    #[must_use]
    pub fn into_inner(self) -> TcpStream {
        self.socket
    }
}

impl AsyncRead for Entrance {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.known.load(Ordering::Relaxed) {
            return Pin::new(&mut this.socket).poll_read(context, buffer);
        }
        if this.left == 0 || this.patience.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let mut room = [0; ROOM];
        let most = this.left.min(ROOM).min(buffer.remaining());
        let mut few = ReadBuf::new(&mut room[..most]);
        ready!(Pin::new(&mut this.socket).poll_read(context, &mut few))?;
        buffer.put_slice(few.filled());
        this.left -= few.filled().len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Entrance {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// Those who are not known yet, the oldest first.
#[derive(Default)]
pub struct Strangers(VecDeque<(Known, AbortHandle)>);

impl Strangers {
    /// One more; the oldest goes where there are too many.
    pub fn came(&mut self, known: Known, task: AbortHandle) {
        self.0.retain(|(known, task)| !known.load(Ordering::Relaxed) && !task.is_finished());
        if self.0.len() >= MOST
            && let Some((_, oldest)) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back((known, task));
    }
}
