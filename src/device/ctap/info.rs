//! authenticatorGetInfo (CTAP 2.1, 6.4).

use super::cbor::{self, Map, Value};
use super::error::CtapError;

/// What a key says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// `FIDO_2_0`, `FIDO_2_1`, `U2F_V2` and the like.
    pub versions: Vec<String>,
    /// `hmac-secret`, `credProtect` and the like.
    pub extensions: Vec<String>,
    /// The model (16 bytes).
    pub aaguid: [u8; 16],
    /// Longest message in bytes; 1024 when the key does not say.
    pub max_msg_size: usize,
    /// PIN/UV auth protocols, the preferred one first; `[1]` when the key does not say (CTAP 2.0).
    pub pin_protocols: Vec<u32>,
    /// Most credentials in one allow list; 1 when the key does not say.
    pub max_credentials_in_list: usize,
    /// Longest credential id in bytes.
    pub max_credential_id_length: Option<u32>,
    /// `usb`, `nfc` and the like.
    pub transports: Vec<String>,
    /// COSE algorithms; empty when the key does not say.
    pub algorithms: Vec<i64>,
    /// The maker's own number.
    pub firmware_version: Option<u32>,
    /// In code points; 4 when the key does not say.
    pub min_pin_length: u32,
    /// The key wants a new PIN before anything else.
    pub force_pin_change: bool,
    options: Vec<(String, bool)>,
}

impl Info {
    /// Reads the answer to getInfo, without its status byte.
    ///
    /// # Errors
    /// Not a map of the specification's types. Members that we do not know are passed over.
    pub fn parse(bytes: &[u8]) -> Result<Self, CtapError> {
        let map = cbor::decode_map(bytes)?;
        let aaguid = map.bytes(0x03)?.try_into().map_err(|_| CtapError::Form("an AAGUID has 16 bytes"))?;
        Ok(Self {
            versions: texts(&map, 0x01)?,
            extensions: texts(&map, 0x02)?,
            aaguid,
            options: options(&map)?,
            max_msg_size: map.number(0x05)?.map_or(1024, |n| n as usize),
            pin_protocols: numbers(&map, 0x06)?.unwrap_or_else(|| vec![1]),
            max_credentials_in_list: map.number(0x07)?.map_or(1, |n| n as usize).max(1),
            max_credential_id_length: map.number(0x08)?,
            transports: texts(&map, 0x09)?,
            algorithms: algorithms(&map)?,
            force_pin_change: matches!(map.get(0x0C), Some(Value::Bool(true))),
            min_pin_length: map.number(0x0D)?.unwrap_or(4),
            firmware_version: map.number(0x0E)?,
        })
    }

    /// The option of this name; nothing when the key does not say.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<bool> {
        self.options.iter().find(|(n, _)| n == name).map(|(_, on)| *on)
    }

    /// All options.
    pub fn options(&self) -> impl Iterator<Item = (&str, bool)> {
        self.options.iter().map(|(name, on)| (name.as_str(), *on))
    }

    /// Whether a PIN is set.
    #[must_use]
    pub fn pin_is_set(&self) -> bool {
        self.option("clientPin") == Some(true)
    }

    /// Whether the key verifies its person before everything (CTAP 2.1, 7.2).
    #[must_use]
    pub fn always_uv(&self) -> bool {
        self.option("alwaysUv") == Some(true)
    }

    /// Whether a fingerprint or the like is set up: it can stand in for the PIN.
    #[must_use]
    pub fn built_in_uv(&self) -> bool {
        self.option("uv") == Some(true)
    }

    /// Whether an extension is there.
    #[must_use]
    pub fn extension(&self, name: &str) -> bool {
        self.extensions.iter().any(|e| e == name)
    }

    /// Whether the key speaks CTAP2 at all.
    #[must_use]
    pub fn is_ctap2(&self) -> bool {
        self.versions.iter().any(|v| v.starts_with("FIDO_2_"))
    }
}

fn texts(map: &Map, key: i64) -> Result<Vec<String>, CtapError> {
    let wrong = CtapError::Form("a list of names is missing");
    match map.get(key) {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| match item {
                Value::Text(text) => Ok(text.clone()),
                _ => Err(wrong.clone()),
            })
            .collect(),
        Some(_) => Err(wrong),
    }
}

fn numbers(map: &Map, key: i64) -> Result<Option<Vec<u32>>, CtapError> {
    let wrong = CtapError::Form("a list of numbers is missing");
    match map.get(key) {
        None => Ok(None),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| match item {
                Value::Int(n) => u32::try_from(*n).map_err(|_| wrong.clone()),
                _ => Err(wrong.clone()),
            })
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(wrong),
    }
}

fn options(map: &Map) -> Result<Vec<(String, bool)>, CtapError> {
    let wrong = CtapError::Form("options are names with yes or no");
    match map.get(0x04) {
        None => Ok(Vec::new()),
        Some(Value::Map(options)) => options
            .iter()
            .map(|option| match option {
                (Value::Text(name), Value::Bool(on)) => Ok((name.clone(), *on)),
                _ => Err(wrong.clone()),
            })
            .collect(),
        Some(_) => Err(wrong),
    }
}

fn algorithms(map: &Map) -> Result<Vec<i64>, CtapError> {
    let wrong = CtapError::Form("a list of algorithms is missing");
    let Some(value) = map.get(0x0A) else { return Ok(Vec::new()) };
    let Value::Array(items) = value else { return Err(wrong) };
    items
        .iter()
        .map(|item| match item {
            Value::Map(entry) => match entry.get("alg") {
                Some(Value::Int(alg)) => Ok(*alg),
                _ => Err(wrong.clone()),
            },
            _ => Err(wrong.clone()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> Map {
        let names = |names: &[&str]| Value::Array(names.iter().map(|n| (*n).into()).collect());
        Map::new()
            .with(1, names(&["U2F_V2", "FIDO_2_1"]))
            .with(2, names(&["credProtect", "hmac-secret"]))
            .with(3, vec![7u8; 16])
            .with(4, Map::new().with("clientPin", true).with("alwaysUv", false).with("rk", true))
            .with(5, 2048)
            .with(6, vec![Value::Int(2), Value::Int(1)])
            .with(0x0A, vec![Value::from(Map::new().with("alg", -7).with("type", "public-key"))])
            .with(0x0E, 328_706)
            .with(0x7f, "unknown members are passed over")
    }

    #[test]
    fn a_full_answer_is_read() {
        let info = Info::parse(&cbor::encode(&sample().into())).unwrap();
        assert!(info.is_ctap2() && info.pin_is_set() && !info.always_uv() && !info.built_in_uv());
        assert!(info.extension("hmac-secret") && !info.extension("largeBlobKey"));
        assert_eq!(
            (info.max_msg_size, info.pin_protocols, info.algorithms),
            (2048, vec![2, 1], vec![-7])
        );
        assert_eq!((info.firmware_version, info.aaguid), (Some(328_706), [7; 16]));
    }

    #[test]
    fn a_ctap_2_0_answer_gets_the_defaults_of_the_specification() {
        let old = Map::new().with(1, vec![Value::from("FIDO_2_0")]).with(3, vec![0u8; 16]);
        let info = Info::parse(&cbor::encode(&old.into())).unwrap();
        assert_eq!(
            (info.max_msg_size, info.pin_protocols.as_slice(), info.max_credentials_in_list),
            (1024, &[1][..], 1)
        );
        assert_eq!((info.min_pin_length, info.option("clientPin")), (4, None));
    }

    #[test]
    fn t58_wrong_types_are_errors() {
        let strange: [(i64, Value); 6] = [
            (1, 5.into()),
            (3, vec![1u8; 15].into()),
            (4, Map::new().with("up", 1).into()),
            (5, (-1).into()),
            (6, vec![Value::from("two")].into()),
            (0x0A, vec![Value::Int(-7)].into()),
        ];
        for (key, value) in strange {
            let map = sample()
                .iter()
                .filter(|(k, _)| **k != Value::Int(key))
                .fold(Map::new(), |m, (k, v)| m.with(k.clone(), v.clone()));
            assert!(Info::parse(&cbor::encode(&map.with(key, value).into())).is_err(), "{key}");
        }
    }
}
