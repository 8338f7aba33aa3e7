//! The agent's protocol on one connection: bodies of frames, and answers.

use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::deliver::ssh_agent::frame;

/// How long a client may leave its answer unread.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// Room for what most clients say at once.
const CHUNK: usize = 2 << 10;

pub(super) struct Frames {
    stream: UnixStream,
    read: Vec<u8>,
}

impl Frames {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, read: vec![] }
    }

    /// The body of the next frame; nothing at the end, and of a frame that has no length or too large a one.
    ///
    /// # Errors
    /// The client went away.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(length) = self.read.first_chunk() {
                let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
                if length == 0 || length > frame::LONGEST {
                    return Ok(None);
                }
                if self.read.len() >= 4 + length {
                    let rest = self.read.split_off(4 + length);
                    let mut body = mem::replace(&mut self.read, rest);
                    body.drain(..4);
                    return Ok(Some(body));
                }
            }
            self.read.reserve(CHUNK);
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// # Errors
    /// The client went away, or does not read.
    pub(super) async fn answer(&mut self, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let frame = [&length.to_be_bytes()[..], body].concat();
        let sent = match self.stream.try_write(&frame) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            sent => sent?,
        };
        if sent == frame.len() {
            return Ok(());
        }
        tokio::time::timeout(READ_WITHIN, self.stream.write_all(&frame[sent..]))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// The connection, for whoever looks at it aside.
    ///
    /// # Errors
    /// No descriptors left.
    pub(super) fn handle(&self) -> io::Result<OwnedFd> {
        self.stream.as_fd().try_clone_to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn on_one_thread(work: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(work);
    }

    #[test]
    fn frames_come_out_whole_however_they_are_cut_and_several_that_come_at_once_one_by_one() {
        on_one_thread(async {
            let said = [&[0, 0, 0, 1, 11][..], &[0, 0, 0, 3, 1, 2, 3], &[0, 0, 0, 1, 12], &[0, 0]].concat();
            for cut in 0..=said.len() {
                let (mut client, agent) = UnixStream::pair().unwrap();
                let mut frames = Frames::new(agent);
                let heard = async {
                    let mut bodies = vec![];
                    while let Some(body) = frames.next().await.unwrap() {
                        bodies.push(body);
                    }
                    bodies
                };
                let speak = async {
                    for part in [&said[..cut], &said[cut..]] {
                        client.write_all(part).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    drop(client);
                };
                let (bodies, ()) = tokio::join!(heard, speak);
                assert_eq!(bodies, [vec![11], vec![1, 2, 3], vec![12]], "cut at {cut}");
            }
        });
    }

    #[test]
    fn t22_a_frame_without_a_length_or_with_too_large_a_one_ends_the_connection_unread() {
        on_one_thread(async {
            for length in [0, u32::try_from(frame::LONGEST).unwrap() + 1, u32::MAX] {
                let (mut client, agent) = UnixStream::pair().unwrap();
                client.write_all(&length.to_be_bytes()).await.unwrap();
                // Whoever said it is still there.
                assert_eq!(Frames::new(agent).next().await.unwrap(), None, "{length}");
                drop(client);
            }
        });
    }
}
