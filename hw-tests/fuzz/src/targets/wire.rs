//! Lines between client and daemon.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::codec::{LineBuffer, decode, encode};
use crate::wire::{Answer, Call, Event, Reply};

/// What a client may say.
pub fn call(data: &[u8]) {
    settles::<Call>(data);
    settles::<Answer>(data);
}

/// What a daemon may say.
pub fn reply(data: &[u8]) {
    settles::<Reply>(data);
    settles::<Event>(data);
}

/// The protocol is JSON, which has many forms for one message: what is read is written in one of them, and read again from there.
fn settles<T: Serialize + DeserializeOwned>(data: &[u8]) {
    if let Ok(message) = decode::<T>(data) {
        let line = encode(&message).expect("what was read can be written");
        let same = decode::<T>(&line).expect("our own line");
        assert_eq!(encode(&same).expect("JSON").as_slice(), line.as_slice());
    }
}

/// Lines as they come, in pieces of any size: the first byte says how large.
pub fn lines(data: &[u8]) {
    let Some((size, data)) = data.split_first() else { return };
    let limit = 100;
    let (mut buffer, mut together, mut long) = (LineBuffer::new(limit), Vec::new(), false);
    for piece in data.chunks(1 + usize::from(*size)) {
        let taken = buffer.push(piece, |line| {
            assert!(line.len() <= limit);
            together.extend_from_slice(&line);
            together.push(b'\n');
        });
        long |= taken.is_err();
        if long {
            break;
        }
    }
    assert_eq!(long, data.split(|b| *b == b'\n').any(|line| line.len() > limit));
    if !long {
        let whole = data.iter().rposition(|b| *b == b'\n').map_or(0, |last| last + 1);
        assert_eq!(together, data[..whole]);
    }
}
