//! A connection to the daemon that waits beside others: for whoever holds several leases at a time.

use std::collections::VecDeque;
use std::io;

use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use zeroize::{Zeroize, Zeroizing};

use super::{Client, Message, OTHER_VERSION, no_daemon, parse};
use crate::wire::codec::{self, LineBuffer};
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
        let line = codec::encode(message).map_err(|error| Failure::new(Outcome::Internal, "codec", error.to_string()).ours())?;
        let sent = self.stream.write_all(&line).await;
        sent.map_err(|error| no_daemon(format!("the daemon went away: {error}")))
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
            let unread = |error: io::Error| no_daemon(format!("the daemon cannot be read: {error}"));
            self.stream.readable().await.map_err(unread)?;
            let mut chunk = [0; 4 << 10];
            match self.stream.try_read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(n) => {
                    let lines = &mut self.lines;
                    let pushed = self.buffer.push(&chunk[..n], |line| lines.push_back(line));
                    chunk[..n].zeroize();
                    pushed.map_err(|error| Failure::new(Outcome::Internal, "protocol", error.to_string()).hint(OTHER_VERSION))?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(unread(error)),
            }
        }
    }
}
