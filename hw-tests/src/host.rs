//! A host's side of CTAP2, written from the specification and independent of the product's.
//!
//! It sets PINs for the emulated keys, and is the second opinion on what a key answered.

pub mod hid;
pub(crate) mod pin;

use std::{io, sync::Arc};

use ciborium::Value;
use p256::ecdsa::{DerSignature, VerifyingKey, signature::Verifier};
use sha2::{Digest, Sha256};

pub use pin::Protocol;
use pin::Session;

use crate::ctap::{CLIENT_PIN, Ctap, GET_ASSERTION, GET_INFO, MAKE_CREDENTIAL, OK, RESET};

/// The bits of a PIN token's permissions (CTAP 2.1, 6.5.5.7).
pub mod permission {
    /// makeCredential.
    pub const MAKE_CREDENTIAL: u8 = 0x01;
    /// getAssertion.
    pub const GET_ASSERTION: u8 = 0x02;
    /// Credential management.
    pub const MANAGE: u8 = 0x04;
    /// authenticatorConfig.
    pub const CONFIG: u8 = 0x20;
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The key refused: a status byte of CTAP 2.1, 8.2.
    #[error("the key answered status 0x{0:02x}")]
    Status(u8),
    /// The answer is not what the specification says.
    #[error("malformed answer: {0}")]
    Malformed(&'static str),
    /// The key could not be reached, most often because it is unplugged.
    #[error(transparent)]
    Transport(#[from] io::Error),
}

type Result<T> = std::result::Result<T, HostError>;

/// What carries messages to a key.
pub trait Transport {
    /// Exchanges one message: a command byte and its CBOR for a status byte and its CBOR.
    ///
    /// # Errors
    /// The key could not be reached.
    fn exchange(&mut self, message: &[u8]) -> io::Result<Vec<u8>>;
}

impl Transport for Arc<dyn Ctap> {
    fn exchange(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        Ok(self.call(message))
    }
}

/// A program that uses a key.
pub struct Host<T>(pub T);

/// A PIN token, and the protocol it was got with.
#[derive(Clone)]
pub struct Token {
    protocol: Protocol,
    secret: Vec<u8>,
}

/// What to ask of makeCredential.
#[derive(Default)]
pub struct NewCredential<'a> {
    /// The relying party's id.
    pub rp_id: &'a str,
    /// SHA-256 of the client data.
    pub client_data_hash: [u8; 32],
    /// Whether the key remembers it, and can list it.
    pub discoverable: bool,
    /// Whether it can make secrets.
    pub hmac_secret: bool,
    /// Its protection level, 1 to 3.
    pub cred_protect: Option<u8>,
    /// Credentials that must not be on this key yet.
    pub exclude: &'a [&'a [u8]],
    /// Where the key has a PIN.
    pub token: Option<&'a Token>,
}

/// What to ask of getAssertion.
#[derive(Default)]
pub struct NewAssertion<'a> {
    /// The relying party's id.
    pub rp_id: &'a str,
    /// SHA-256 of the client data.
    pub client_data_hash: [u8; 32],
    /// The credentials, any of which may answer.
    pub allow: &'a [&'a [u8]],
    /// 32 or 64 bytes of salt, and the protocol to send them with.
    pub salts: Option<(Protocol, &'a [u8])>,
    /// Asks for no touch.
    pub silent: bool,
    /// Asks for user verification by the key itself.
    pub uv: bool,
    /// What another program's request was authorised with by PIN: pinUvAuthParam and its protocol's number.
    pub overheard: Option<(&'a [u8], u64)>,
    /// Where the key has a PIN.
    pub token: Option<&'a Token>,
}

/// A credential as makeCredential described it.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Its id.
    pub id: Vec<u8>,
    /// Its public key.
    pub public_key: VerifyingKey,
    /// The signed authenticator data.
    pub auth_data: Vec<u8>,
    /// The protection level that was granted.
    pub cred_protect: Option<u8>,
}

/// An assertion.
#[derive(Debug, Clone)]
pub struct Assertion {
    /// The credential that answered.
    pub credential: Vec<u8>,
    /// The signed authenticator data.
    pub auth_data: Vec<u8>,
    /// An ECDSA signature in DER.
    pub signature: Vec<u8>,
    /// 32 bytes of secret for each salt.
    pub secrets: Option<Vec<u8>>,
}

impl Assertion {
    /// The flags byte: 0x01 user present, 0x04 user verified, 0x80 extensions.
    pub fn flags(&self) -> u8 {
        self.auth_data.get(32).copied().unwrap_or(0)
    }

    /// The signature counter.
    pub fn counter(&self) -> u32 {
        let bytes = self.auth_data.get(33..37).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_be_bytes)
    }

    /// Whether this key signed this over that client data.
    pub fn verifies(&self, key: &VerifyingKey, client_data_hash: &[u8; 32]) -> bool {
        let signed = [&self.auth_data[..], client_data_hash].concat();
        DerSignature::try_from(&self.signature[..]).is_ok_and(|signature| key.verify(&signed, &signature).is_ok())
    }
}

impl<T: Transport> Host<T> {
    /// authenticatorGetInfo, as it came.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn info(&mut self) -> Result<Value> {
        self.command(GET_INFO, None)
    }

    /// Whether a PIN is set (CTAP 2.1, 6.4: option `clientPin`).
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn has_pin(&mut self) -> Result<bool> {
        let info = self.info()?;
        let option = member(&info, 4).and_then(|options| text_member(options, "clientPin")?.as_bool());
        Ok(option == Some(true))
    }

    /// authenticatorReset: needs a touch.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn reset(&mut self) -> Result<()> {
        self.command(RESET, None).map(drop)
    }

    /// Sets the first PIN.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn set_pin(&mut self, protocol: Protocol, pin: &str) -> Result<()> {
        let session = self.session(protocol)?;
        let mut padded = pin.as_bytes().to_vec();
        padded.resize(64, 0);
        let sealed = session.encrypt(&padded);
        let mac = session.authenticate(&sealed);
        self.client_pin(vec![
            (1, protocol.number().into()),
            (2, 3.into()),
            (3, session.public.clone()),
            (4, Value::Bytes(mac)),
            (5, Value::Bytes(sealed)),
        ])?;
        Ok(())
    }

    /// Changes the PIN.
    ///
    /// # Errors
    /// See [`HostError`]; as [`Host::token`].
    pub fn change_pin(&mut self, protocol: Protocol, old: &str, new: &str) -> Result<()> {
        let session = self.session(protocol)?;
        let mut padded = new.as_bytes().to_vec();
        padded.resize(64, 0);
        let sealed = session.encrypt(&padded);
        let hash = session.encrypt(&Sha256::digest(old)[..16]);
        let mac = session.authenticate(&[&sealed[..], &hash].concat());
        self.client_pin(vec![
            (1, protocol.number().into()),
            (2, 4.into()),
            (3, session.public.clone()),
            (4, Value::Bytes(mac)),
            (5, Value::Bytes(sealed)),
            (6, Value::Bytes(hash)),
        ])?;
        Ok(())
    }

    /// A PIN token with these permissions for this relying party.
    ///
    /// # Errors
    /// See [`HostError`]; 0x31 is a wrong PIN, 0x34 needs a replug, 0x32 needs a reset.
    pub fn token(&mut self, protocol: Protocol, pin: &str, permissions: u8, rp_id: &str) -> Result<Token> {
        let session = self.session(protocol)?;
        let hash = &Sha256::digest(pin)[..16];
        let answer = self.client_pin(vec![
            (1, protocol.number().into()),
            (2, 9.into()),
            (3, session.public.clone()),
            (6, Value::Bytes(session.encrypt(hash))),
            (9, permissions.into()),
            (10, Value::Text(rp_id.into())),
        ])?;
        let secret = session.decrypt(bytes(&answer, 2)?).ok_or(HostError::Malformed("PIN token"))?;
        Ok(Token { protocol, secret })
    }

    /// How many PIN tries are left.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn pin_retries(&mut self) -> Result<u64> {
        let answer = self.client_pin(vec![(1, 1.into()), (2, 1.into())])?;
        let count = member(&answer, 3)
            .and_then(Value::as_integer)
            .and_then(|count| count.try_into().ok());
        count.ok_or(HostError::Malformed("PIN retries"))
    }

    /// Makes a non-discoverable ES256 credential.
    ///
    /// # Errors
    /// See [`HostError`]; 0x19 if an excluded credential is on this key.
    pub fn make_credential(&mut self, new: &NewCredential<'_>) -> Result<Credential> {
        let name = || Value::Text(new.rp_id.into());
        let algorithm = text_map([("alg", (-7).into()), ("type", Value::Text("public-key".into()))]);
        let mut request = vec![
            (1, Value::Bytes(new.client_data_hash.to_vec())),
            (2, text_map([("id", name()), ("name", name())])),
            (
                3,
                text_map([("id", Value::Bytes(vec![1])), ("name", name()), ("displayName", name())]),
            ),
            (4, Value::Array(vec![algorithm])),
        ];
        if !new.exclude.is_empty() {
            request.push((5, descriptors(new.exclude)));
        }
        let mut extensions = vec![];
        extensions.extend(new.cred_protect.map(|level| ("credProtect", level.into())));
        extensions.extend(new.hmac_secret.then_some(("hmac-secret", true.into())));
        if !extensions.is_empty() {
            request.push((6, text_map(extensions)));
        }
        if new.discoverable {
            request.push((7, text_map([("rk", true.into())])));
        }
        if let Some(token) = new.token {
            request.extend([
                (8, Value::Bytes(token.authenticate(&new.client_data_hash))),
                (9, token.protocol.number().into()),
            ]);
        }
        let answer = self.command(MAKE_CREDENTIAL, Some(number_map(request)))?;
        parse_credential(bytes(&answer, 2)?)
    }

    /// Gets an assertion.
    ///
    /// # Errors
    /// See [`HostError`]; 0x2e if no credential of the list is on this key, or visible to this request.
    pub fn get_assertion(&mut self, new: &NewAssertion<'_>) -> Result<Assertion> {
        let mut request = vec![
            (1, Value::Text(new.rp_id.into())),
            (2, Value::Bytes(new.client_data_hash.to_vec())),
            (3, descriptors(new.allow)),
        ];
        let salts = new
            .salts
            .map(|(protocol, salts)| Ok::<_, HostError>((self.session(protocol)?, salts)))
            .transpose()?;
        if let Some((session, salts)) = &salts {
            let sealed = session.encrypt(salts);
            let input = number_map(vec![
                (1, session.public.clone()),
                (3, Value::Bytes(session.authenticate(&sealed))),
                (2, Value::Bytes(sealed)),
                (4, session.protocol.number().into()),
            ]);
            request.push((4, text_map([("hmac-secret", input)])));
        }
        let mut options = vec![];
        options.extend(new.silent.then_some(("up", false.into())));
        options.extend(new.uv.then_some(("uv", true.into())));
        if !options.is_empty() {
            request.push((5, text_map(options)));
        }
        if let Some((param, protocol)) = new.overheard {
            request.extend([(6, Value::Bytes(param.to_vec())), (7, protocol.into())]);
        }
        if let Some(token) = new.token {
            request.extend([
                (6, Value::Bytes(token.authenticate(&new.client_data_hash))),
                (7, token.protocol.number().into()),
            ]);
        }
        let answer = self.command(GET_ASSERTION, Some(number_map(request)))?;
        parse_assertion(&answer, salts.as_ref().map(|(session, _)| session))
    }

    fn session(&mut self, protocol: Protocol) -> Result<Session> {
        let answer = self.client_pin(vec![(1, protocol.number().into()), (2, 2.into())])?;
        let key = member(&answer, 1).ok_or(HostError::Malformed("key agreement"))?;
        Session::new(protocol, key).ok_or(HostError::Malformed("key agreement"))
    }

    fn client_pin(&mut self, request: Vec<(u8, Value)>) -> Result<Value> {
        self.command(CLIENT_PIN, Some(number_map(request)))
    }

    fn command(&mut self, command: u8, request: Option<Value>) -> Result<Value> {
        let mut message = vec![command];
        if let Some(request) = request {
            ciborium::into_writer(&request, &mut message).map_err(|_| HostError::Malformed("request"))?;
        }
        let answer = self.0.exchange(&message)?;
        match answer.split_first() {
            Some((&OK, [])) => Ok(Value::Null),
            Some((&OK, body)) => ciborium::from_reader(body).map_err(|_| HostError::Malformed("CBOR")),
            Some((&status, _)) => Err(HostError::Status(status)),
            None => Err(HostError::Malformed("empty answer")),
        }
    }
}

impl Token {
    fn authenticate(&self, message: &[u8]) -> Vec<u8> {
        self.protocol.authenticate(&self.secret, message)
    }
}

/// Authenticator data with an attested credential (WebAuthn, 6.1): 32 bytes of rpId hash, flags, 4 of counter, 16 of
/// AAGUID, 2 of length, the id, the public key in COSE, extensions.
fn parse_credential(auth_data: &[u8]) -> Result<Credential> {
    const MALFORMED: HostError = HostError::Malformed("authenticator data");
    let (length, rest) = auth_data.get(53..).and_then(|rest| rest.split_first_chunk()).ok_or(MALFORMED)?;
    let (id, mut rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(MALFORMED)?;
    let key: Value = ciborium::from_reader(&mut rest).map_err(|_| MALFORMED)?;
    let public_key = pin::cose_point(&key).and_then(|point| VerifyingKey::from_sec1_bytes(&point).ok());
    let extensions: Option<Value> = match rest {
        [] => None,
        rest => Some(ciborium::from_reader(rest).map_err(|_| MALFORMED)?),
    };
    let level = extensions
        .as_ref()
        .and_then(|map| text_member(map, "credProtect")?.as_integer()?.try_into().ok());
    Ok(Credential {
        id: id.to_vec(),
        public_key: public_key.ok_or(MALFORMED)?,
        auth_data: auth_data.to_vec(),
        cred_protect: level,
    })
}

fn parse_assertion(answer: &Value, session: Option<&Session>) -> Result<Assertion> {
    let auth_data = bytes(answer, 2)?.to_vec();
    let credential = member(answer, 1).and_then(|descriptor| text_member(descriptor, "id")?.as_bytes());
    let secrets = match (session, auth_data.get(37..)) {
        (Some(session), Some(rest @ [_, ..])) => {
            let map: Value = ciborium::from_reader(rest).map_err(|_| HostError::Malformed("extensions"))?;
            let sealed = text_member(&map, "hmac-secret").and_then(Value::as_bytes);
            sealed.and_then(|sealed| session.decrypt(sealed))
        }
        _ => None,
    };
    Ok(Assertion {
        credential: credential.cloned().unwrap_or_default(),
        signature: bytes(answer, 3)?.to_vec(),
        auth_data,
        secrets,
    })
}

fn descriptors(ids: &[&[u8]]) -> Value {
    let descriptor = |id: &&[u8]| text_map([("id", Value::Bytes(id.to_vec())), ("type", Value::Text("public-key".into()))]);
    Value::Array(ids.iter().map(descriptor).collect())
}

pub(crate) fn number_map(mut members: Vec<(u8, Value)>) -> Value {
    members.sort_by_key(|(key, _)| *key); // CTAP's canonical order (CTAP 2.1, 8)
    Value::Map(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

pub(crate) fn text_map<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Map(members.into_iter().map(|(key, value)| (Value::Text(key.into()), value)).collect())
}

/// The member of this number of a CTAP2 message.
pub fn member(map: &Value, key: i64) -> Option<&Value> {
    let key = Value::from(key);
    map.as_map()?.iter().find_map(|(name, value)| (*name == key).then_some(value))
}

/// The member of this name of a map with names.
pub fn text_member<'a>(map: &'a Value, key: &str) -> Option<&'a Value> {
    map.as_map()?
        .iter()
        .find_map(|(name, value)| (name.as_text() == Some(key)).then_some(value))
}

fn bytes(map: &Value, key: i64) -> Result<&[u8]> {
    let bytes = member(map, key)
        .and_then(Value::as_bytes)
        .ok_or(HostError::Malformed("missing member"))?;
    Ok(bytes)
}
