//! Frames from the other end, read so that a wait given up in the middle loses nothing.

use std::io::{self, IoSlice};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::frame::{HEAD, LONGEST_JSON, LONGEST_TAIL, cut_frame, head_and_json};
use crate::secret::Secret;

/// Bytes that frames take as a rule: memory beyond them would be wiped, and so given by the kernel, for nothing.
const USUAL: usize = 4096;

/// An end of a worker's socket, in a program that waits for other things too: the daemon's, or that of a worker which serves.
pub struct Inbox {
    outbox: Outbox,
    /// Locked memory: what comes may hold unsealing outputs.
    buffer: Secret,
    filled: usize,
}

impl Inbox {
    /// At the start of a conversation.
    ///
    /// # Errors
    /// No locked memory.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        Ok(Self {
            outbox: Outbox(Arc::new(socket)),
            buffer: Secret::zeroed(USUAL)?,
            filled: 0,
        })
    }

    /// The next frame. Dropping the wait loses nothing.
    ///
    /// # Errors
    /// The other end is gone, or sends nonsense; no locked memory.
    pub async fn next<T: DeserializeOwned>(&mut self) -> io::Result<(T, Secret)> {
        loop {
            if let Some(frame) = cut_frame(self.buffer.expose_mut(), &mut self.filled)? {
                return Ok(frame);
            }
            if self.filled == self.buffer.len() {
                self.buffer = longest(&self.buffer)?;
            }
            self.outbox.0.readable().await?;
            match read_all(&self.outbox.0, &mut self.buffer.expose_mut()[self.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.filled += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a frame. Not to be given up in the middle.
    ///
    /// # Errors
    /// The other end is gone, or the frame is too long.
    pub async fn send(&mut self, message: &impl Serialize, tail: &[u8]) -> io::Result<()> {
        self.outbox.send(message, tail).await
    }

    /// The way to the other end, for whoever must not keep this one from reading.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        Outbox(self.outbox.0.clone())
    }

    /// Any byte after the request means cancel, to a worker on a key.
    pub fn cancel(&self) {
        // A worker that is gone needs none.
        let _ = self.outbox.0.try_write(&[0]);
    }
}

/// The writing half of an [`Inbox`]'s socket. One task writes at a time.
pub struct Outbox(Arc<UnixStream>);

impl Outbox {
    /// Sends a frame. Not to be given up in the middle.
    ///
    /// # Errors
    /// The other end is gone, or the frame is too long.
    pub async fn send(&mut self, message: &impl Serialize, tail: &[u8]) -> io::Result<()> {
        let (head, json) = head_and_json(message, tail.len())?;
        let mut whole = [IoSlice::new(&head), IoSlice::new(&json), IoSlice::new(tail)];
        let mut left = &mut whole[..];
        // What is empty in front is passed by.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            self.0.writable().await?;
            match self.0.try_write_vectored(left) {
                Ok(count) => IoSlice::advance_slices(&mut left, count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Reads what is there. Where it does not fill `room` there is no more, which would else be known after one more read that comes to nothing;
/// tokio's own readers do the same.
fn read_all(socket: &UnixStream, room: &mut [u8]) -> io::Result<usize> {
    let mut got = None;
    let read = socket.try_io(Interest::READABLE, || {
        let count = rustix::io::read(socket, &mut *room)?;
        got = Some(count);
        if (1..room.len()).contains(&count) {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Ok(count)
        }
    });
    got.map_or(read, Ok)
}

/// Room for the longest frame, with the start of one.
fn longest(start: &Secret) -> io::Result<Secret> {
    let mut buffer = Secret::zeroed(HEAD + LONGEST_JSON + LONGEST_TAIL)?;
    buffer.expose_mut()[..start.len()].copy_from_slice(start.expose());
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::frame::write_frame;
    use super::*;

    #[tokio::test]
    async fn frames_of_every_length_come_in_whole() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let theirs = theirs.into_std().unwrap();
        theirs.set_nonblocking(false).unwrap();
        let lengths = [0, USUAL - HEAD - 2, USUAL - HEAD - 1, 3 * USUAL, LONGEST_JSON - 2, 7];
        let writer = std::thread::spawn(move || {
            for len in lengths {
                write_frame(&theirs, &"x".repeat(len), b"1234").unwrap();
            }
        });
        let mut inbox = Inbox::new(ours).unwrap();
        for len in lengths {
            let (text, tail): (String, Secret) = inbox.next().await.unwrap();
            assert_eq!((text.len(), tail.expose()), (len, &b"1234"[..]));
        }
        writer.join().unwrap();
    }

    #[tokio::test]
    async fn two_ends_that_write_more_than_the_socket_holds_go_on_where_one_of_them_reads_meanwhile() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut ours, mut theirs) = (Inbox::new(ours).unwrap(), Inbox::new(theirs).unwrap());
        let (text, count) = ("x".repeat(30_000), 100);
        let mut out = ours.outbox();
        let writes = async {
            for _ in 0..count {
                out.send(&text, b"1234").await.unwrap();
            }
        };
        let reads = async {
            for _ in 0..count {
                let (same, tail): (String, Secret) = ours.next().await.unwrap();
                assert_eq!((same.len(), tail.expose()), (30_000, &b"1234"[..]));
            }
        };
        // It writes all of its own before it reads anything.
        let other = async {
            for _ in 0..count {
                theirs.send(&text, b"1234").await.unwrap();
            }
            for _ in 0..count {
                theirs.next::<String>().await.unwrap();
            }
        };
        let all = async { tokio::join!(writes, reads, other) };
        tokio::time::timeout(std::time::Duration::from_secs(20), all).await.unwrap();
    }
}
