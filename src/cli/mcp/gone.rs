//! The end of the client, seen when it comes: whoever waits in a tool must not be waited for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::sync::CancellationToken;

/// Standard input, whose end cancels.
pub struct Heard<R> {
    input: R,
    gone: CancellationToken,
}

impl<R> Heard<R> {
    pub fn new(input: R, gone: CancellationToken) -> Self {
        Self { input, gone }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Heard<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.input).poll_read(context, buffer);
        let over = match &polled {
            Poll::Ready(Ok(())) => buffer.filled().len() == before && buffer.remaining() > 0,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if over {
            self.gone.cancel();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_of_the_input_is_told_and_not_before() {
        let gone = CancellationToken::new();
        let mut heard = Heard::new(&b"line\n"[..], gone.clone());
        heard.read_exact(&mut [0; 5]).await.unwrap();
        assert!(!gone.is_cancelled());
        assert_eq!(heard.read(&mut [0; 5]).await.unwrap(), 0);
        assert!(gone.is_cancelled());
    }
}
