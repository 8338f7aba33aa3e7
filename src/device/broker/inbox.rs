//! Frames from a worker, read so that a wait given up in the middle loses nothing.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::super::worker::protocol::{HEAD, LONGEST_JSON, LONGEST_TAIL, cut_frame, head_and_json};
use crate::secret::Secret;

/// The daemon's end of a worker's socket.
pub(super) struct Inbox {
    socket: UnixStream,
    /// Locked memory: what comes may hold unsealing outputs.
    buffer: Secret,
    filled: usize,
}

impl Inbox {
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        Ok(Self {
            socket,
            buffer: Secret::zeroed(HEAD + LONGEST_JSON + LONGEST_TAIL)?,
            filled: 0,
        })
    }

    /// The next frame. Dropping the wait loses nothing.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<(T, Secret)> {
        loop {
            if let Some(frame) = cut_frame(self.buffer.expose_mut(), &mut self.filled)? {
                return Ok(frame);
            }
            self.socket.readable().await?;
            match self.socket.try_read(&mut self.buffer.expose_mut()[self.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.filled += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) async fn send(&mut self, message: &impl Serialize, tail: &[u8]) -> io::Result<()> {
        let (head, json) = head_and_json(message, tail.len())?;
        self.socket.write_all(&head).await?;
        self.socket.write_all(&json).await?;
        self.socket.write_all(tail).await
    }

    /// Any byte after the request means cancel.
    pub(super) fn cancel(&self) {
        // A worker that is gone needs none.
        let _ = self.socket.try_write(&[0]);
    }
}
