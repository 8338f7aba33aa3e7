//! A witness in front of an authenticator: what was asked of it, byte for byte.

use std::sync::{Arc, Mutex};

use crate::{
    ctap::{CLIENT_PIN, Ctap, Done, Front},
    host::member,
    sync::lock,
};

/// Remembers every message on its way.
pub struct Recorder {
    inner: Arc<dyn Ctap>,
    requests: Mutex<Vec<Vec<u8>>>,
}

impl Recorder {
    /// Stands in front of this.
    pub fn new(inner: Arc<dyn Ctap>) -> Self {
        Self {
            inner,
            requests: Mutex::new(vec![]),
        }
    }

    /// Every message so far: a command byte and its CBOR.
    pub fn requests(&self) -> Vec<Vec<u8>> {
        lock(&self.requests).clone()
    }

    /// How many messages carried a PIN, or its hash, in encrypted form.
    pub fn pins(&self) -> usize {
        lock(&self.requests).iter().filter(|request| carries_pin(request)).count()
    }
}

/// setPIN, changePIN, and both ways to get a token by PIN (CTAP 2.1, 6.5.5).
fn carries_pin(request: &[u8]) -> bool {
    const WITH_PIN: [i128; 4] = [3, 4, 5, 9];
    let Some((&CLIENT_PIN, body)) = request.split_first() else {
        return false;
    };
    let parameters: Result<ciborium::Value, _> = ciborium::from_reader(body);
    let subcommand = parameters.ok().and_then(|map| member(&map, 2)?.as_integer());
    subcommand.is_some_and(|number| WITH_PIN.contains(&number.into()))
}

impl Front for Recorder {
    fn behind(&self) -> &dyn Ctap {
        &*self.inner
    }

    fn answer(&self, request: Vec<u8>, done: Done) {
        lock(&self.requests).push(request.clone());
        self.inner.submit(request, done);
    }
}
