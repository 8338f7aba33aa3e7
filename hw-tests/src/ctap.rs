//! What answers CTAP2 messages, whatever carries them.

use std::sync::mpsc;

/// CTAP2_OK (CTAP 2.1, 8.2).
pub const OK: u8 = 0x00;
/// CTAP2_ERR_OPERATION_DENIED.
pub const OPERATION_DENIED: u8 = 0x27;
/// CTAP2_ERR_KEEPALIVE_CANCEL.
pub const KEEPALIVE_CANCEL: u8 = 0x2d;
/// CTAP2_ERR_NO_CREDENTIALS.
pub const NO_CREDENTIALS: u8 = 0x2e;
/// CTAP2_ERR_USER_ACTION_TIMEOUT.
pub const USER_ACTION_TIMEOUT: u8 = 0x2f;
/// CTAP1_ERR_OTHER.
pub const OTHER: u8 = 0x7f;

/// authenticatorMakeCredential (CTAP 2.1, 6).
pub const MAKE_CREDENTIAL: u8 = 0x01;
/// authenticatorGetAssertion.
pub const GET_ASSERTION: u8 = 0x02;
/// authenticatorGetInfo.
pub const GET_INFO: u8 = 0x04;
/// authenticatorClientPIN.
pub const CLIENT_PIN: u8 = 0x06;
/// authenticatorReset.
pub const RESET: u8 = 0x07;

/// Called once with the answer: a status byte, and CBOR if the status is [`OK`] and there is any.
pub type Done = Box<dyn FnOnce(Vec<u8>) + Send>;

/// Something that answers CTAP2 messages: the authenticator, or somebody between it and the host.
pub trait Ctap: Send + Sync {
    /// Takes one message, a command byte and its CBOR; `done` gets the answer, on some other thread. A carrier submits
    /// one message at a time.
    fn submit(&self, request: Vec<u8>, done: Done);

    /// Ends the running operation's wait for a touch with [`KEEPALIVE_CANCEL`].
    fn cancel(&self);

    /// Whether the running operation waits for a touch.
    fn waiting(&self) -> bool;

    /// Power was lost and came back: everything that is not in flash is forgotten. Ends a running operation.
    fn power_cycle(&self);

    /// Every credential, key and PIN is gone, as new from the factory; needs no touch, unlike [`RESET`].
    fn wipe(&self);

    /// Submits a message and waits for the answer.
    fn call(&self, request: &[u8]) -> Vec<u8> {
        let (done, answer) = mpsc::channel();
        self.submit(
            request.to_vec(),
            Box::new(move |bytes| {
                let _ = done.send(bytes); // nobody waits: the caller is gone
            }),
        );
        answer.recv().unwrap_or_else(|_| vec![OTHER])
    }
}

/// Somebody between host and authenticator, whose business is messages alone: the hand that pulls, and the finger, are the
/// authenticator's.
pub trait Front: Send + Sync {
    /// What is behind.
    fn behind(&self) -> &dyn Ctap;

    /// Takes one message in its stead: see [`Ctap::submit`].
    fn answer(&self, request: Vec<u8>, done: Done);
}

impl<F: Front> Ctap for F {
    fn submit(&self, request: Vec<u8>, done: Done) {
        self.answer(request, done);
    }

    fn cancel(&self) {
        self.behind().cancel();
    }

    fn waiting(&self) -> bool {
        self.behind().waiting()
    }

    fn power_cycle(&self) {
        self.behind().power_cycle();
    }

    fn wipe(&self) {
        self.behind().wipe();
    }
}
