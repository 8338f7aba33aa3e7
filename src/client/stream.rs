//! A connection to the daemon that waits beside others: for whoever holds several leases at a time.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use serde::Serialize;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use super::{Client, Message, OTHER_VERSION, no_daemon, parse};
use crate::sys::arrived::arrived;
use crate::sys::pass;
use crate::wire::codec::{self, CodecError, LineBuffer};
use crate::wire::{Failure, Outcome};

/// See the module. No value comes over it: what is read is not kept in locked memory.
pub struct Stream {
    stream: UnixStream,
    buffer: LineBuffer,
    lines: VecDeque<Zeroizing<Vec<u8>>>,
}

impl Stream {
    pub(super) fn new(client: Client) -> io::Result<Self> {
        let Client { stream, buffer, lines, .. } = client;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: UnixStream::from_std(stream)?,
            buffer,
            lines,
        })
    }

    /// Says one message.
    ///
    /// # Errors
    /// The daemon went away.
    pub async fn send<T: Serialize>(&mut self, message: &T) -> Result<(), Failure> {
        let line = codec::encode(message).map_err(uncoded)?;
        let sent = self.stream.write_all(&line).await;
        sent.map_err(|error| no_daemon(format!("the daemon went away: {error}")))
    }

    /// Says several messages, one after the other. To a daemon that hung up nothing is said: what it said before is read next.
    ///
    /// # Errors
    /// The socket fails.
    pub async fn send_all<T: Serialize>(&mut self, messages: impl Iterator<Item = T>) -> Result<(), Failure> {
        let all = codec::encode_all(messages).map_err(uncoded)?;
        unless_hung_up(self.stream.write_all(&all).await)
    }

    /// Says one message, with a descriptor beside it; to a daemon that hung up nothing, as [`Stream::send_all`].
    ///
    /// # Errors
    /// The socket fails; there are no descriptors left.
    pub async fn send_beside<T: Serialize>(&mut self, message: &T, fd: BorrowedFd<'_>) -> Result<(), Failure> {
        let line = codec::encode(message).map_err(uncoded)?;
        let sent = async {
            let send = || pass::send(&self.stream, &line, &[fd]);
            let sent = self.stream.async_io(Interest::WRITABLE, send).await?;
            self.stream.write_all(&line[sent..]).await
        };
        unless_hung_up(sent.await)
    }

    /// The next message; nothing when the daemon closed the connection. May be dropped at any time without losing a byte.
    ///
    /// # Errors
    /// What came is no message of this protocol.
    pub async fn message(&mut self) -> Result<Option<Message>, Failure> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return parse(&line).map(Some);
            }
            let (buffer, lines) = (&mut self.buffer, &mut self.lines);
            let read = arrived(&mut self.stream, |bytes| {
                let pushed = buffer.push(bytes, |line| lines.push_back(line));
                pushed.map(|()| bytes.len())
            });
            let read = match read.await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                read => read.map_err(|error| no_daemon(format!("the daemon cannot be read: {error}")))?,
            };
            if read.map_err(|error| Failure::new(Outcome::Internal, "protocol", error.to_string()).hint(OTHER_VERSION))? == 0 {
                return Ok(None);
            }
        }
    }
}

/// What a daemon that hung up has said before is read next.
fn unless_hung_up(sent: io::Result<()>) -> Result<(), Failure> {
    match sent {
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
        sent => sent.map_err(|error| no_daemon(format!("the daemon went away: {error}"))),
    }
}

fn uncoded(error: CodecError) -> Failure {
    Failure::new(Outcome::Internal, "codec", error.to_string()).ours()
}
