//! Lines that are no JSON, answered: JSON-RPC 2.0 (section 5.1) has an error for them, and the library drops them without a word.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rmcp::RoleServer;
use rmcp::model::{ErrorData, ServerJsonRpcMessage};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde::de::IgnoredAny;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Answers that wait to be written. Whoever sends more junk than that meanwhile is answered for a part of it.
const MOST_WAITING: usize = 64;
/// As the library skips it (RFC 8259, 8.1).
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    NoJson,
    TooLong,
}

/// Standard input, whose lines are looked at as they pass.
pub struct Looked<R> {
    input: R,
    longest: usize,
    line: Vec<u8>,
    is_long: bool,
    faults: Sender<Fault>,
}

/// A transport that answers for the faults of its input.
pub struct Answering<T> {
    transport: T,
    faults: Receiver<Fault>,
}

impl<R> Looked<R> {
    /// Lines may have `longest` bytes, with their end.
    pub fn new(input: R, longest: usize) -> (Self, Receiver<Fault>) {
        let (faults, told) = channel(MOST_WAITING);
        let looked = Self {
            input,
            longest,
            line: vec![],
            is_long: false,
            faults,
        };
        (looked, told)
    }

    fn look(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.is_long |= self.line.len() + part.len() > self.longest;
            if self.is_long {
                self.line = vec![];
            } else {
                self.line.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                let fault = if self.is_long { Some(Fault::TooLong) } else { fault(&self.line) };
                self.line.clear();
                self.is_long = false;
                // Full: see there.
                let _ = fault.map(|fault| self.faults.try_send(fault));
            }
        }
    }
}

/// Nothing where the line is empty, or JSON: whether it is a message is the library's to say, and it does.
fn fault(line: &[u8]) -> Option<Fault> {
    let Ok(text) = str::from_utf8(line) else {
        return Some(Fault::NoJson);
    };
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let is_empty = text.trim_end_matches(['\r', '\n']).is_empty();
    (!is_empty && serde_json::from_str::<IgnoredAny>(text).is_err()).then_some(Fault::NoJson)
}

impl Fault {
    fn answer(self) -> ServerJsonRpcMessage {
        let why = match self {
            Self::NoJson => "this line is no JSON",
            Self::TooLong => "this line is longer than a message may be",
        };
        // Of whom it was cannot be known, so no id is in it.
        ServerJsonRpcMessage::error(ErrorData::parse_error(why, None), None)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Looked<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.input).poll_read(context, buffer);
        self.look(&buffer.filled()[before..]);
        polled
    }
}

impl<T> Answering<T> {
    pub fn new(transport: T, faults: Receiver<Fault>) -> Self {
        Self { transport, faults }
    }
}

impl<T: Transport<RoleServer>> Transport<RoleServer> for Answering<T> {
    type Error = T::Error;

    fn send(&mut self, item: TxJsonRpcMessage<RoleServer>) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.transport.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            tokio::select! {
                message = self.transport.receive() => {
                    if message.is_none() {
                        while let Ok(fault) = self.faults.try_recv() {
                            // Whoever has gone reads nothing.
                            let _ = self.transport.send(fault.answer()).await;
                        }
                    }
                    return message;
                }
                // By itself: what polls this gives it up whenever something else is to be done.
                Some(fault) = self.faults.recv() => drop(tokio::spawn(self.transport.send(fault.answer()))),
            }
        }
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.transport.close()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::AsyncReadExt;

    use super::*;

    fn faults(input: &[u8], longest: usize) -> Vec<Fault> {
        let (mut looked, mut told) = Looked::new(input, longest);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut passed = vec![];
        runtime.block_on(async {
            let mut chunk = [0; 3];
            while let n @ 1.. = looked.read(&mut chunk).await.unwrap() {
                passed.extend_from_slice(&chunk[..n]);
            }
        });
        assert_eq!(passed, input, "what passes is not changed");
        std::iter::from_fn(|| told.try_recv().ok()).collect()
    }

    #[test]
    fn each_line_that_is_no_json_is_told_and_no_other() {
        let good = b"{\"a\":1}\n\n\r\n [1,2]\r\n\"x\"\n\xef\xbb\xbf{}\n";
        assert_eq!(faults(good, 1000), []);
        assert_eq!(
            faults(b"not json\n{}\n{\n\xff\xfe\n\"\xff\"\n{} {}\nopen", 1000),
            [Fault::NoJson; 5]
        );
    }

    #[test]
    fn p13_a_line_that_is_too_long_is_told_once_and_held_nowhere() {
        let long = [&b"[".repeat(100)[..], b"\n{}\n"].concat();
        assert_eq!(faults(&long, 100), [Fault::TooLong]);
        let (mut looked, _told) = Looked::new(&b""[..], 100);
        looked.look(&b"[".repeat(1000));
        assert!(looked.line.capacity() == 0 && looked.is_long);
    }

    #[test]
    fn a_flood_of_junk_waits_in_bounded_memory() {
        assert_eq!(faults(&b"x\n".repeat(1000), 100).len(), MOST_WAITING);
    }
}
