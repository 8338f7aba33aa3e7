//! The agent's protocol on one connection: bodies of frames, and answers. Agent and daemon read a client by the same.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as Socket;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::ssh_agent::frame;

/// How long a client may leave its answer unread.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// Room for what most clients say at once.
const CHUNK: usize = 2 << 10;
/// Bytes of a frame's length, in front of its body.
const LENGTH: usize = 4;

/// A client, and what it has said and nobody has answered: at most one whole frame and what came with it.
pub struct Frames {
    stream: UnixStream,
    read: Vec<u8>,
    /// How much of it has been answered.
    done: usize,
    /// The answer that is sent.
    answer: Vec<u8>,
}

impl Frames {
    /// Of one that has said nothing yet.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            read: vec![],
            done: 0,
            answer: vec![],
        }
    }

    /// Of one that has said `unanswered`.
    ///
    /// # Errors
    /// The runtime takes no more.
    pub fn again(socket: Socket, unanswered: Vec<u8>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            read: unanswered,
            ..Self::new(UnixStream::from_std(socket)?)
        })
    }

    /// Waits until a whole frame is there, which stays until it is answered. None at the end, and of a frame that has no length or too large a one. May
    /// be dropped at any time without losing a byte.
    ///
    /// # Errors
    /// The client went away.
    pub async fn next(&mut self) -> io::Result<bool> {
        loop {
            match self.length() {
                Some(length) if length == 0 || length > frame::LONGEST => return Ok(false),
                Some(_) if self.is_next_there() => return Ok(true),
                _ => {}
            }
            self.read.drain(..self.done);
            self.done = 0;
            self.read.reserve(CHUNK);
            let (stream, read) = (&self.stream, &mut self.read);
            let receive = || Ok(recv(stream, spare_capacity(read), RecvFlags::DONTWAIT)?.1);
            if stream.async_io(Interest::READABLE, receive).await? == 0 {
                return Ok(false);
            }
        }
    }

    /// Whether there is a whole frame that nobody has answered, without waiting for one.
    #[must_use]
    pub fn is_next_there(&self) -> bool {
        self.length().is_some_and(|length| self.unanswered().len() >= LENGTH + length)
    }

    /// The body of the frame that [`Frames::next`] waited for.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        let length = self.length().unwrap_or(0);
        self.unanswered().get(LENGTH..LENGTH + length).unwrap_or_default()
    }

    /// What it has said and nobody has answered: frames, of which the last may be half.
    #[must_use]
    pub fn unanswered(&self) -> &[u8] {
        &self.read[self.done..]
    }

    /// Answers the frame that [`Frames::next`] waited for.
    ///
    /// # Errors
    /// The client went away, or does not read.
    pub async fn answer(&mut self, body: &[u8]) -> io::Result<()> {
        self.done += LENGTH + self.body().len();
        self.answer.clear();
        self.answer
            .extend_from_slice(&u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes());
        self.answer.extend_from_slice(body);
        let sent = match self.stream.try_io(Interest::WRITABLE, || say(&self.stream, &self.answer)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            sent => sent?,
        };
        if sent == self.answer.len() {
            return Ok(());
        }
        tokio::time::timeout(READ_WITHIN, say_all(&self.stream, &self.answer[sent..]))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// The connection, for whoever looks at it aside.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn handle(&self) -> io::Result<OwnedFd> {
        self.stream.as_fd().try_clone_to_owned()
    }

    /// The connection, to which nobody listens from now on, and what it has said and nobody has answered.
    ///
    /// # Errors
    /// The runtime does not let go of it.
    pub fn into_parts(mut self) -> io::Result<(Socket, Vec<u8>)> {
        self.read.drain(..self.done);
        Ok((self.stream.into_std()?, self.read))
    }

    fn length(&self) -> Option<usize> {
        let length = self.unanswered().first_chunk()?;
        Some(usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX))
    }
}

/// Says what is taken now. Whether a socket blocks is up to everybody who has it, as who lent it does: no call here leaves it to that.
fn say(stream: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

async fn say_all(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = stream.async_io(Interest::WRITABLE, || say(stream, bytes)).await?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::AsyncWriteExt;

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
                    while frames.next().await.unwrap() {
                        bodies.push(frames.body().to_vec());
                        frames.answer(&[]).await.unwrap();
                    }
                    (bodies, frames.unanswered().to_vec())
                };
                let speak = async {
                    for part in [&said[..cut], &said[cut..]] {
                        client.write_all(part).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    client.shutdown().await.unwrap();
                };
                let ((bodies, half), ()) = tokio::join!(heard, speak);
                assert_eq!(bodies, [vec![11], vec![1, 2, 3], vec![12]], "cut at {cut}");
                assert_eq!(half, [0, 0], "cut at {cut}");
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
                assert!(!Frames::new(agent).next().await.unwrap(), "{length}");
                drop(client);
            }
        });
    }

    #[test]
    fn a_client_that_changes_hands_in_the_middle_of_a_frame_loses_no_byte() {
        on_one_thread(async {
            let said = [&[0, 0, 0, 1, 11][..], &[0, 0, 0, 3, 1, 2, 3], &[0, 0, 0, 1, 12]].concat();
            for cut in 5..said.len() {
                let (mut client, agent) = UnixStream::pair().unwrap();
                client.write_all(&said[..cut]).await.unwrap();
                let mut frames = Frames::new(agent);
                assert!(frames.next().await.unwrap());
                frames.answer(&[6]).await.unwrap();
                let (socket, unanswered) = frames.into_parts().unwrap();
                assert_eq!(unanswered, said[5..cut], "cut at {cut}");
                client.write_all(&said[cut..]).await.unwrap();
                let mut again = Frames::again(socket, unanswered).unwrap();
                for body in [&[1, 2, 3][..], &[12]] {
                    assert!(again.next().await.unwrap());
                    assert_eq!(again.body(), body);
                    again.answer(&[6]).await.unwrap();
                }
                assert!(again.unanswered().is_empty() && !again.is_next_there());
            }
        });
    }

    #[test]
    fn t12_t19_a_socket_that_its_lender_lets_block_keeps_nobody_else_waiting() {
        on_one_thread(async {
            let (mut client, lent) = Socket::pair().unwrap();
            let mut frames = Frames::again(lent.try_clone().unwrap(), vec![]).unwrap();
            // A frame of which a chunk's length has come and no byte more: whoever reads till there is nothing reads once too often.
            let length = u32::try_from(4 * CHUNK).unwrap().to_be_bytes();
            std::io::Write::write_all(&mut client, &[&length[..], &[1; 8 * CHUNK][..CHUNK - 4]].concat()).unwrap();
            tokio::task::yield_now().await;
            lent.set_nonblocking(false).unwrap();
            let waited = tokio::time::timeout(Duration::from_millis(100), frames.next());
            assert!(waited.await.is_err(), "half a frame");
            // Nor one whose client does not read: its answer waits, and everybody else goes on.
            std::io::Write::write_all(&mut client, &[1; 3 * CHUNK + 4]).unwrap();
            assert!(frames.next().await.unwrap());
            let answered = tokio::time::timeout(Duration::from_millis(100), frames.answer(&[0; 4 << 20]));
            assert!(answered.await.is_err(), "nobody reads");
        });
    }
}
