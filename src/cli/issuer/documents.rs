//! What verifiers read of an issuer: made of its signers, and written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::super::init::unexpected;
use super::super::signer::keys;
use super::{BUNDLE, CONFIGURATION, FOLDER, KEYS, replace};
use crate::encoding::jwk::{Profile, PublicKey};
use crate::encoding::self_signed::{self, Certificates};
use crate::wire::Failure;
use crate::wire::signer::{SignerRules, SignerView};

/// What verifiers read of an issuer.
pub struct Documents {
    /// The discovery document.
    pub configuration: Value,
    /// Its keys, by their names.
    pub keys: BTreeMap<String, Value>,
    /// Of whom they are.
    whose: BTreeMap<String, Whose>,
    /// How many keys there are: one may have two names.
    pub count: usize,
    /// Certificates in PEM form; nothing where no profile needs them.
    pub bundle: String,
}

/// Whose key it is.
pub struct Whose {
    signer: String,
    state: &'static str,
}

impl Whose {
    /// In words.
    #[must_use]
    pub fn in_words(&self) -> String {
        let does = match self.state {
            "current" => "with which it signs",
            "next" => "with which it signs next",
            _ => "with which it signed before",
        };
        format!("that of {} {does}", self.signer)
    }
}

impl Documents {
    /// What is said of `issuer`, whose signers these are.
    ///
    /// # Errors
    /// A public key that is none.
    pub fn of(issuer: &str, signers: &[&SignerView]) -> Result<Self, Failure> {
        // By name: two signers may not share a key, and one that did would stand there once.
        let mut set: BTreeMap<String, Value> = BTreeMap::new();
        let mut whose: BTreeMap<String, Whose> = BTreeMap::new();
        let mut algorithms: BTreeSet<&str> = BTreeSet::new();
        let (mut bundle, mut count) = (String::new(), 0);
        for (name, signer) in signers
            .iter()
            .filter_map(|view| Some((&view.signer, view.rules.signer.as_deref()?)))
        {
            algorithms.insert(signer.alg.as_str());
            for (state, public) in keys(signer) {
                let entry = Entry::of(signer, state, public)?;
                bundle += &entry.pem();
                count += 1;
                let named = entry.named(signer);
                let of = |kid: &String| {
                    let signer = name.clone();
                    (kid.clone(), Whose { signer, state })
                };
                whose.extend(named.iter().map(|(kid, _)| of(kid)));
                set.extend(named);
            }
        }
        let claims = ["aud", "exp", "iat", "iss", "jti", "lease_sha256", "nbf", "sub", "task"];
        Ok(Self {
            configuration: json!({
                "issuer": issuer,
                "jwks_uri": format!("{issuer}/{FOLDER}/{KEYS}"),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": algorithms,
                "claims_supported": claims,
            }),
            keys: set,
            whose,
            count,
            bundle,
        })
    }

    /// The key set (RFC 7517, 5).
    #[must_use]
    pub fn set(&self) -> Value {
        json!({ "keys": self.keys.values().collect::<Vec<_>>() })
    }

    /// Whose key that is.
    #[must_use]
    pub fn whose(&self, kid: &str) -> Option<&Whose> {
        self.whose.get(kid)
    }

    /// The files that are written.
    #[must_use]
    pub fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let below = folder.join(FOLDER);
        let bundle = (!self.bundle.is_empty()).then(|| folder.join(BUNDLE));
        [below.join(CONFIGURATION), below.join(KEYS)].into_iter().chain(bundle).collect()
    }

    /// Keys first: whoever reads the configuration finds them.
    ///
    /// # Errors
    /// What the system says; each file is whole, as it was or as it is to be.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let below = folder.join(FOLDER);
        fs::create_dir_all(&below)?;
        let text = |json: &Value| Ok::<_, io::Error>([serde_json::to_vec_pretty(json)?, b"\n".to_vec()].concat());
        if self.bundle.is_empty() {
            // One from before, with keys that nobody is to trust any more.
            match fs::remove_file(folder.join(BUNDLE)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        } else {
            replace(folder, BUNDLE.as_ref(), self.bundle.as_bytes())?;
        }
        replace(&below, KEYS.as_ref(), &text(&self.set())?)?;
        replace(&below, CONFIGURATION.as_ref(), &text(&self.configuration)?)
    }
}

/// A key as it stands in a set (RFC 7517, 5).
struct Entry {
    key: PublicKey,
    certificate: Option<Vec<u8>>,
}

impl Entry {
    fn of(signer: &SignerRules, state: &str, public: &str) -> Result<Self, Failure> {
        let key = PublicKey::from_text(signer.alg, public).map_err(|_| unexpected())?;
        let of_state = |certificates: &Certificates| match state {
            "current" => Some(certificates.current.clone()),
            "next" => Some(certificates.next.clone()),
            _ => certificates.previous.clone(),
        };
        let text = signer.certificates.as_ref().and_then(of_state);
        let certificate = text
            .map(|text| self_signed::check(&text, &key).ok_or_else(unexpected))
            .transpose()?;
        Ok(Self { key, certificate })
    }

    fn pem(&self) -> String {
        self.certificate.as_deref().map(self_signed::pem).unwrap_or_default()
    }

    /// Under the names that tokens have for it, one of them always the thumbprint.
    fn named(self, signer: &SignerRules) -> Vec<(String, Value)> {
        let libtrust = signer.profiles.values().any(|profile| *profile == Profile::Libtrust);
        let names = [Some(self.key.thumbprint()), self.key.libtrust().filter(|_| libtrust)];
        let entry = |kid: String| {
            let mut value = json!(self.key.jwk());
            for (name, text) in [("alg", signer.alg.as_str()), ("kid", &kid), ("use", "sig")] {
                value[name] = json!(text);
            }
            if let Some(der) = &self.certificate {
                // RFC 7517, 4.7: base64, with padding.
                value["x5c"] = json!([BASE64.encode(der)]);
            }
            (kid, value)
        };
        names.into_iter().flatten().map(entry).collect()
    }
}
