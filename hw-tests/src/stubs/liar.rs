//! A man in the middle who alters one thing.
//!
//! To sign what it altered, the liar is there from the enrolment on: the public keys in makeCredential's answers are its
//! own, one per credential. So an altered assertion carries a *valid* signature of the enrolled key, and only the lie
//! itself can give it away.

use std::{
    io::Cursor,
    sync::{Arc, Mutex},
};

use ciborium::Value;
use p256::ecdsa::{DerSignature, SigningKey, signature::Signer};
use sha2::{Digest, Sha256};

use crate::{
    ctap::{Ctap, Done, Front, GET_ASSERTION, MAKE_CREDENTIAL, OK},
    host::{member, text_member},
    sync::lock,
};

/// What is altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// The assertion says that nobody was present.
    NoPresence,
    /// The assertion says that nobody was verified.
    NoVerification,
    /// The assertion is for another relying party.
    OtherRelyingParty,
    /// The assertion is signed by a key that nobody enrolled.
    ForeignSignature,
    /// The assertion is signed over another challenge.
    OtherChallenge,
    /// The assertion names another credential.
    OtherCredential,
    /// The signature counter is 1.
    CounterBack,
    /// The secrets of hmac-secret have one bit changed.
    OtherSecret,
    /// The assertion has no hmac-secret output, and says so.
    NoSecret,
    /// makeCredential claims protection level 1, whatever was asked.
    LowerProtection,
    /// Every answer ends in the middle.
    Truncated,
    /// Every answer is padded with garbage to 7,600 bytes, nearly all that CTAPHID carries.
    Oversized,
    /// Every answer says "success" and nothing else.
    Bare,
    /// Every answer is empty: not even a status byte.
    Empty,
}

/// The man in the middle. Honest until told to lie.
pub struct Liar {
    inner: Arc<dyn Ctap>,
    keys: Arc<Keys>,
    lie: Mutex<Option<Lie>>,
}

impl Liar {
    /// Stands in front of this; `seed` makes its keys.
    pub fn new(inner: Arc<dyn Ctap>, seed: [u8; 32]) -> Self {
        Self {
            inner,
            keys: Arc::new(Keys(seed)),
            lie: Mutex::new(None),
        }
    }

    /// What to alter from the next message on; `None` to be honest again.
    pub fn lie(&self, lie: Option<Lie>) {
        *lock(&self.lie) = lie;
    }
}

impl Front for Liar {
    fn behind(&self) -> &dyn Ctap {
        &*self.inner
    }

    fn answer(&self, request: Vec<u8>, done: Done) {
        let lie = *lock(&self.lie);
        let keys = self.keys.clone();
        let exchange = Exchange {
            lie,
            keys,
            request: request.clone(),
        };
        self.inner.submit(request, Box::new(move |answer| done(exchange.alter(answer))));
    }
}

/// The liar's keys, one for each credential.
struct Keys([u8; 32]);

impl Keys {
    fn of(&self, credential: &[u8]) -> Option<SigningKey> {
        // A digest is no valid scalar once in 2^32 times; the next one is.
        (0..4_u8).find_map(|attempt| {
            let scalar = Sha256::new()
                .chain_update(self.0)
                .chain_update(credential)
                .chain_update([attempt])
                .finalize();
            SigningKey::from_slice(&scalar).ok()
        })
    }
}

struct Exchange {
    lie: Option<Lie>,
    keys: Arc<Keys>,
    request: Vec<u8>,
}

/// Where things are in authenticator data (WebAuthn, 6.1).
mod at {
    pub const FLAGS: usize = 32;
    pub const COUNTER: std::ops::Range<usize> = 33..37;
    pub const EXTENSIONS: usize = 37;
    pub const ID_LENGTH: usize = 53;
    pub const ID: usize = 55;
}

const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const HAS_EXTENSIONS: u8 = 0x80;

impl Exchange {
    fn alter(&self, answer: Vec<u8>) -> Vec<u8> {
        if answer.first() != Some(&OK) {
            return answer;
        }
        let altered = match self.request.first() {
            Some(&MAKE_CREDENTIAL) => self.credential(&answer[1..]).unwrap_or(answer),
            Some(&GET_ASSERTION) => self.assertion(&answer[1..]).unwrap_or(answer),
            _ => answer,
        };
        self.form(altered)
    }

    /// The lie is told of touches: whoever lied when it is asked in silence which key it is would get no further.
    fn is_silent(&self) -> bool {
        let request = ciborium::from_reader::<Value, _>(&self.request[1..]).ok();
        request.and_then(|request| text_member(member(&request, 5)?, "up")?.as_bool()) == Some(false)
    }

    fn form(&self, mut answer: Vec<u8>) -> Vec<u8> {
        match self.lie {
            Some(Lie::Truncated) => answer.truncate(answer.len() / 2),
            Some(Lie::Oversized) => answer.resize(7600, 0xff),
            Some(Lie::Bare) => answer.truncate(1),
            Some(Lie::Empty) => answer.clear(),
            _ => {}
        }
        answer
    }

    fn credential(&self, body: &[u8]) -> Option<Vec<u8>> {
        let mut map: Value = ciborium::from_reader(body).ok()?;
        let mut auth_data = member(&map, 2)?.as_bytes()?.clone();
        let length = u16::from_be_bytes(auth_data.get(at::ID_LENGTH..at::ID)?.try_into().ok()?);
        let key_at = at::ID + usize::from(length);
        let key = self.keys.of(auth_data.get(at::ID..key_at)?)?;

        let mut reader = Cursor::new(auth_data.get(key_at..)?);
        let mut cose: Value = ciborium::from_reader(&mut reader).ok()?;
        let extensions_at = key_at + usize::try_from(reader.position()).ok()?;
        let mut extensions = auth_data.split_off(extensions_at);
        auth_data.truncate(key_at);
        let point = key.verifying_key().to_sec1_point(false);
        replace(&mut cose, -2, Value::Bytes(point.x()?.to_vec()))?;
        replace(&mut cose, -3, Value::Bytes(point.y()?.to_vec()))?;
        ciborium::into_writer(&cose, &mut auth_data).ok()?;
        // Of a credential that says nothing of its level there is nothing to lie about.
        if self.lie == Some(Lie::LowerProtection)
            && let Some(lower) = with_protection(&extensions, 1)
        {
            extensions = lower;
        }
        auth_data.extend(extensions);

        let signature = self.sign(&key, &auth_data, 1, self.lie)?;
        let mut statement = member(&map, 3)?.clone();
        replace_text(&mut statement, "sig", Value::Bytes(signature))?;
        replace(&mut map, 2, Value::Bytes(auth_data))?;
        replace(&mut map, 3, statement)?;
        success(&map)
    }

    fn assertion(&self, body: &[u8]) -> Option<Vec<u8>> {
        let mut map: Value = ciborium::from_reader(body).ok()?;
        let mut auth_data = member(&map, 2)?.as_bytes()?.clone();
        let id = text_member(member(&map, 1)?, "id")?.as_bytes()?.clone();
        let lie = self.lie.filter(|_| !self.is_silent());
        let key = match lie {
            Some(Lie::ForeignSignature) => self.keys.of(b"nobody enrolled this")?,
            _ => self.keys.of(&id)?,
        };
        match lie {
            Some(Lie::NoPresence) => *auth_data.get_mut(at::FLAGS)? &= !PRESENT,
            Some(Lie::NoVerification) => *auth_data.get_mut(at::FLAGS)? &= !VERIFIED,
            Some(Lie::OtherRelyingParty) => *auth_data.first_mut()? ^= 1,
            Some(Lie::CounterBack) => auth_data.get_mut(at::COUNTER)?.copy_from_slice(&1_u32.to_be_bytes()),
            Some(Lie::OtherSecret) => *auth_data.last_mut()? ^= 1,
            Some(Lie::NoSecret) => {
                *auth_data.get_mut(at::FLAGS)? &= !HAS_EXTENSIONS;
                auth_data.truncate(at::EXTENSIONS);
            }
            Some(Lie::OtherCredential) => {
                let mut descriptor = member(&map, 1)?.clone();
                let mut other = id;
                *other.last_mut()? ^= 1;
                replace_text(&mut descriptor, "id", Value::Bytes(other))?;
                replace(&mut map, 1, descriptor)?;
            }
            _ => {}
        }
        let signature = self.sign(&key, &auth_data, 2, lie)?;
        replace(&mut map, 2, Value::Bytes(auth_data))?;
        replace(&mut map, 3, Value::Bytes(signature))?;
        success(&map)
    }

    /// Signs authenticator data and the request's clientDataHash, which is the parameter with this number.
    fn sign(&self, key: &SigningKey, auth_data: &[u8], parameter: i64, lie: Option<Lie>) -> Option<Vec<u8>> {
        let request: Value = ciborium::from_reader(self.request.get(1..)?).ok()?;
        let mut hash = member(&request, parameter)?.as_bytes()?.clone();
        if lie == Some(Lie::OtherChallenge) {
            *hash.first_mut()? ^= 1;
        }
        let signature: DerSignature = key.sign(&[auth_data, &hash].concat());
        Some(signature.as_bytes().to_vec())
    }
}

fn with_protection(extensions: &[u8], level: u8) -> Option<Vec<u8>> {
    let mut map: Value = ciborium::from_reader(extensions).ok()?;
    replace_text(&mut map, "credProtect", level.into())?;
    let mut bytes = vec![];
    ciborium::into_writer(&map, &mut bytes).ok()?;
    Some(bytes)
}

fn success(map: &Value) -> Option<Vec<u8>> {
    let mut answer = vec![OK];
    ciborium::into_writer(map, &mut answer).ok()?;
    Some(answer)
}

fn replace(map: &mut Value, key: i64, value: Value) -> Option<()> {
    let key = Value::from(key);
    let (_, old) = map.as_map_mut()?.iter_mut().find(|(name, _)| *name == key)?;
    *old = value;
    Some(())
}

fn replace_text(map: &mut Value, key: &str, value: Value) -> Option<()> {
    let (_, old) = map.as_map_mut()?.iter_mut().find(|(name, _)| name.as_text() == Some(key))?;
    *old = value;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        authenticator::{Authenticator, Settings},
        finger::{Finger, Mode},
        host::{Assertion, Credential, Host, HostError, NewAssertion, NewCredential, Protocol},
    };

    const HASH: [u8; 32] = [7; 32];

    struct Rig {
        liar: Arc<Liar>,
        credential: Credential,
    }

    impl Rig {
        fn new() -> Self {
            let finger = Arc::new(Finger::new(Mode::Grant));
            let key = Arc::new(Authenticator::start(Settings::default(), finger).unwrap());
            let liar = Arc::new(Liar::new(key, [3; 32]));
            let credential = make(&liar).unwrap();
            Self { liar, credential }
        }

        fn told(&self, lie: Option<Lie>) -> Result<Assertion, HostError> {
            self.liar.lie(lie);
            let new = NewAssertion {
                rp_id: "a.example",
                client_data_hash: HASH,
                allow: &[&self.credential.id],
                salts: Some((Protocol::Two, &[1; 64])),
                ..NewAssertion::default()
            };
            Host(self.liar.clone() as Arc<dyn Ctap>).get_assertion(&new)
        }

        fn verifies(&self, assertion: &Assertion) -> bool {
            assertion.verifies(&self.credential.public_key, &HASH)
        }
    }

    fn make(liar: &Arc<Liar>) -> Result<Credential, HostError> {
        let new = NewCredential {
            rp_id: "a.example",
            client_data_hash: HASH,
            hmac_secret: true,
            cred_protect: Some(2),
            ..NewCredential::default()
        };
        Host(liar.clone() as Arc<dyn Ctap>).make_credential(&new)
    }

    #[test]
    fn an_honest_liar_is_a_key_like_any_other() {
        let rig = Rig::new();
        let assertion = rig.told(None).unwrap();
        assert!(rig.verifies(&assertion));
        assert_eq!(assertion.flags(), 0x81);
        assert_eq!(assertion.secrets.unwrap().len(), 64);
        assert_eq!(rig.credential.cred_protect, Some(2));
    }

    #[test]
    fn each_lie_about_signed_data_alters_one_thing_under_a_valid_signature() {
        let rig = Rig::new();
        let honest = rig.told(None).unwrap();
        for lie in [
            Lie::NoPresence,
            Lie::OtherRelyingParty,
            Lie::CounterBack,
            Lie::OtherSecret,
            Lie::NoSecret,
        ] {
            let assertion = rig.told(Some(lie)).unwrap();
            assert!(rig.verifies(&assertion), "{lie:?}");
            assert_eq!(assertion.flags() & PRESENT == 0, lie == Lie::NoPresence);
            assert_eq!(assertion.auth_data[..32] == honest.auth_data[..32], lie != Lie::OtherRelyingParty);
            assert_eq!(assertion.counter() <= honest.counter(), lie == Lie::CounterBack);
            assert_eq!(
                assertion.secrets == honest.secrets,
                ![Lie::OtherSecret, Lie::NoSecret].contains(&lie)
            );
        }
    }

    #[test]
    fn lies_about_the_signature_do_not_verify() {
        let rig = Rig::new();
        for lie in [Lie::ForeignSignature, Lie::OtherChallenge] {
            assert!(!rig.verifies(&rig.told(Some(lie)).unwrap()), "{lie:?}");
        }
        let other = rig.told(Some(Lie::OtherCredential)).unwrap();
        assert_ne!(other.credential, rig.credential.id);
    }

    #[test]
    fn a_lower_protection_is_signed_too() {
        let rig = Rig::new();
        rig.liar.lie(Some(Lie::LowerProtection));
        assert_eq!(make(&rig.liar).unwrap().cred_protect, Some(1));
    }

    #[test]
    fn malformed_answers_are_malformed() {
        let rig = Rig::new();
        for (lie, length) in [(Lie::Oversized, 7600), (Lie::Bare, 1), (Lie::Empty, 0)] {
            rig.liar.lie(Some(lie));
            assert_eq!(rig.liar.call(&[crate::ctap::GET_INFO]).len(), length);
        }
        assert!(matches!(rig.told(Some(Lie::Truncated)), Err(HostError::Malformed(_))));
    }
}
