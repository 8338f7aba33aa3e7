//! Reading what has arrived, in a buffer that is there for no longer than that.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::UnixStream;
use zeroize::Zeroize;

use super::pass;

/// Most bytes at once.
const CHUNK: usize = 16 << 10;

/// Waits for bytes, gives them to `take`, and wipes them; none are the end. May be dropped at any time without losing a byte.
///
/// The runtime is told by what was read that there is no more, where it would try again in vain after `readable` and `try_read`; and a
/// connection that waits has no buffer.
///
/// # Errors
/// The socket fails.
pub async fn arrived<T>(stream: &mut UnixStream, mut take: impl FnMut(&[u8]) -> T) -> io::Result<T> {
    poll_fn(|context| {
        let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
        let mut read = ReadBuf::uninit(&mut chunk);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut read))?;
        let taken = take(read.filled());
        read.filled_mut().zeroize();
        Poll::Ready(Ok(taken))
    })
    .await
}

/// The same, with the descriptors that came beside the bytes.
///
/// # Errors
/// The socket fails; more descriptors came at once than [`pass::MOST`], and all of them are closed.
pub async fn arrived_beside<T>(stream: &UnixStream, mut take: impl FnMut(&[u8], Vec<OwnedFd>) -> T) -> io::Result<T> {
    let receive = || {
        let mut chunk = [0; CHUNK];
        let (count, beside) = pass::receive(stream, &mut chunk)?;
        let taken = take(&chunk[..count], beside);
        chunk[..count].zeroize();
        Ok(taken)
    };
    stream.async_io(Interest::READABLE, receive).await
}
