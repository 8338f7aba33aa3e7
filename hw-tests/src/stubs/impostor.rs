//! A key that pretends to be another one, to be told its PIN.

use std::sync::Arc;

use ciborium::Value;
use p256::ecdsa::{DerSignature, SigningKey, signature::Signer};
use sha2::{Digest, Sha256};

use crate::{
    ctap::{Ctap, Done, Front, GET_ASSERTION, GET_INFO, OK},
    host::{member, number_map, text_member},
};

/// How it answers a silent look for a credential that it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recognition {
    /// As it is: no such credential.
    None,
    /// It claims to have it, and signs with a key of its own.
    Forged,
}

/// A real authenticator, other than the enrolled one, that answers getInfo with the enrolled one's words.
///
/// Put a [`super::recorder::Recorder`] in front of it to see whether it was told a PIN.
pub struct Impostor {
    inner: Arc<dyn Ctap>,
    info: Vec<u8>,
    recognition: Recognition,
}

impl Impostor {
    /// `info` is the whole getInfo answer of the key it pretends to be, with its status byte; an enrolled key with a PIN
    /// says there that a PIN is wanted.
    pub fn new(inner: Arc<dyn Ctap>, info: Vec<u8>, recognition: Recognition) -> Self {
        Self { inner, info, recognition }
    }
}

impl Front for Impostor {
    fn behind(&self) -> &dyn Ctap {
        &*self.inner
    }

    fn answer(&self, request: Vec<u8>, done: Done) {
        match (request.first(), self.recognition) {
            (Some(&GET_INFO), _) => done(self.info.clone()),
            (Some(&GET_ASSERTION), Recognition::Forged) => match forged(&request[1..]) {
                Some(answer) => done(answer),
                None => self.inner.submit(request, done),
            },
            _ => self.inner.submit(request, done),
        }
    }
}

/// A silent assertion on the first credential of the list; other requests are not answered for.
fn forged(request: &[u8]) -> Option<Vec<u8>> {
    let request: Value = ciborium::from_reader(request).ok()?;
    let silent = text_member(member(&request, 5)?, "up")?.as_bool() == Some(false);
    let credential = member(&request, 3)?.as_array()?.first().filter(|_| silent)?.clone();
    let relying_party = Sha256::digest(member(&request, 1)?.as_text()?);
    let auth_data = [&relying_party[..], &[0x00, 0, 0, 0, 1]].concat();
    let key = SigningKey::from_slice(&[0x11; 32]).ok()?;
    let signature: DerSignature = key.sign(&[&auth_data[..], member(&request, 2)?.as_bytes()?].concat());
    let answer = number_map(vec![
        (1, credential),
        (2, Value::Bytes(auth_data)),
        (3, Value::Bytes(signature.as_bytes().to_vec())),
    ]);
    let mut bytes = vec![OK];
    ciborium::into_writer(&answer, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        authenticator::{Authenticator, Settings},
        ctap::NO_CREDENTIALS,
        finger::{Finger, Mode},
        host::{Host, HostError, NewAssertion, NewCredential, Protocol, permission},
        stubs::recorder::Recorder,
    };

    const RP: &str = "touchlease:which";
    const PIN: &str = "a good pin";

    fn authenticator() -> Arc<dyn Ctap> {
        let finger = Arc::new(Finger::new(Mode::Grant));
        Arc::new(Authenticator::start(Settings::default(), finger).unwrap())
    }

    #[test]
    fn an_impostor_looks_like_the_key_but_cannot_sign_for_it_and_its_pins_are_counted() {
        let enrolled = authenticator();
        let mut host = Host(enrolled.clone());
        let which = host
            .make_credential(&NewCredential {
                rp_id: RP,
                ..NewCredential::default()
            })
            .unwrap();
        host.set_pin(Protocol::Two, PIN).unwrap();
        let info = enrolled.call(&[GET_INFO]);
        let look = NewAssertion {
            rp_id: RP,
            allow: &[&which.id],
            silent: true,
            ..NewAssertion::default()
        };
        assert!(host.get_assertion(&look).unwrap().verifies(&which.public_key, &[0; 32]));

        for recognition in [Recognition::None, Recognition::Forged] {
            let impostor = Arc::new(Impostor::new(authenticator(), info.clone(), recognition));
            let witness = Arc::new(Recorder::new(impostor));
            let mut host = Host(witness.clone() as Arc<dyn Ctap>);
            assert!(host.has_pin().unwrap());
            match host.get_assertion(&look) {
                Ok(forged) => assert!(!forged.verifies(&which.public_key, &[0; 32])),
                Err(error) => assert!(matches!(error, HostError::Status(NO_CREDENTIALS))),
            }
            assert_eq!(witness.pins(), 0);
            host.token(Protocol::Two, PIN, permission::GET_ASSERTION, RP).map(drop).unwrap_err();
            assert_eq!(witness.pins(), 1);
        }
    }
}
