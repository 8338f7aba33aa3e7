//! Handshakes of WebSockets (RFC 6455, 4): the one change of protocol that there is.

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, StatusCode, Version};

use super::refuse::Refusal;

/// Characters of a key: 16 bytes in Base64 (RFC 6455, 4.1).
const KEY: usize = 24;

/// Whether a request asks to change the protocol, which has to be to this one.
///
/// # Errors
/// It is another one, or the request could be taken for something else than a handshake (RFC 6455, 4.2.1).
pub fn asked(version: Version, method: &Method, headers: &HeaderMap) -> Result<bool, Refusal> {
    if !headers.contains_key(UPGRADE) {
        return Ok(false);
    }
    let only = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
    };
    let sound = version == Version::HTTP_11
        && *method == Method::GET
        && only(&UPGRADE).is_some_and(is_websocket)
        && names_upgrade(headers)
        && only(&SEC_WEBSOCKET_VERSION) == Some(b"13")
        && only(&SEC_WEBSOCKET_KEY).is_some_and(|key| key.len() == KEY && key.ends_with(b"=="))
        && !headers.contains_key(CONTENT_LENGTH)
        && !headers.contains_key(TRANSFER_ENCODING);
    if sound {
        Ok(true)
    } else {
        Err(Refusal::rule(
            "upgrade",
            "a change of protocol would lead around the rules: this host is spoken to in HTTP, or by WebSocket from GET with version 13",
        ))
    }
}

/// Asks the host in turn, in a head without what is for one hop.
pub fn ask(headers: &mut HeaderMap) {
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    agree(headers);
}

/// Says yes, likewise.
pub fn agree(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Whether the host says yes to that, and to nothing else.
///
/// # Errors
/// It changes to another protocol, or brings extensions that nobody asked for.
pub fn check_answer(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut upgrades = headers.get_all(UPGRADE).iter();
    let same = upgrades.next().is_some_and(|name| is_websocket(name.as_bytes())) && upgrades.next().is_none();
    if same && names_upgrade(headers) && !headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        Ok(())
    } else {
        Err(unasked())
    }
}

/// The host went further than it was asked to.
#[must_use]
pub fn unasked() -> Refusal {
    Refusal::upstream(StatusCode::BAD_GATEWAY, "upgrade", "the host changed the protocol unasked")
}

fn is_websocket(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"websocket")
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    let mut words = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}
