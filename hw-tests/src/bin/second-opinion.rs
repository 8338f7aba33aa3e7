//! Our side of a comparison with other FIDO2 libraries: each opens what the other made.

use std::{env, future::pending, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use ctap_hid_fido2::{
    FidoKeyHid, FidoKeyHidFactory, LibCfg,
    fidokey::{
        AssertionExtension, CredentialExtension, GetAssertionArgsBuilder, MakeCredentialArgsBuilder,
        credential_management::credential_management_params::CredentialProtectionPolicy,
    },
};
use hw_tests::{
    key::{KeyHandle, PIN},
    rig,
};
use sha2::{Digest, Sha256};
use touchlease::{
    clock::{Clock, SystemClock},
    device::{
        Broker, Credential, EnrolledKey, Profile,
        broker::{Ask, Candidate, Enrol, Feed, Processes},
        candidate::Unseal,
        ctap::make_credential::Attested,
        enrolled::{Fido2, Kind},
    },
    encoding::sshsig::{Namespace, RP_ID},
    secret::Secret,
};

const USAGE: &str = "\
usage: second-opinion enrol VARIABLE   resets the key of this rig variable and enrols it; prints it as JSON
       second-opinion ask KEY SALT     one assertion with hmac-secret; prints SHA-256 of the secret
       second-opinion crate            compares with ctap-hid-fido2; under hw-tests/kernel/uml";
const LIMIT: Duration = Duration::from_secs(60);
const WHICH: &str = "touchlease:which";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["enrol", variable] => enrol(variable).and_then(|key| Ok(serde_json::to_string(&key)?)),
        ["ask", key, salt] => ask(key, salt),
        ["crate"] => compare(),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("second-opinion: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Broker and workers as the daemon has them.
fn with_broker<T>(work: impl AsyncFnOnce(Broker) -> Result<T>) -> Result<T> {
    let product = env::var_os("TOUCHLEASE").map(PathBuf::from);
    let product = product.map_or_else(|| env::current_exe().map(|path| path.with_file_name("touchlease")), Ok)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work(Broker::new(Processes::new(product), Arc::new(SystemClock))))
}

fn pin() -> Result<Secret> {
    Ok(Secret::from_slice_wiping(&mut PIN.as_bytes().to_vec())?)
}

fn silent() -> Feed {
    Arc::new(|_| {})
}

fn enrol(variable: &str) -> Result<EnrolledKey> {
    let key = rig::key(variable, |name| env::var_os(name)).ok_or("the rig has no such key")?;
    key.reset()?;
    key.set_pin()?;
    key.grant()?;
    with_broker(async |broker| {
        let seen = broker.seen(&[]).await?;
        let place = seen.iter().find(|seen| seen.problem.is_none() && is_of(variable, &seen.model));
        let place = place.ok_or("the key is not seen")?;
        let ask = Enrol {
            port: place.port.clone(),
            plug: place.plug,
            name: "ours".into(),
            user_name: "ours".into(),
            profile: Profile::Pin,
            pin: Some(pin()?),
            enrolled: vec![],
            deadline: SystemClock.boot() + LIMIT,
        };
        Ok(broker.enrol(ask, silent()).await?.key)
    })
}

/// The card of a reader is named by the reader; a USB key is alone.
fn is_of(variable: &str, model: &str) -> bool {
    variable != rig::CONTACT || model.starts_with(rig::CONTACT_READER.name)
}

fn ask(key: &str, salt: &str) -> Result<String> {
    let salt: Vec<u8> = (0..salt.len() / 2)
        .map(|n| u8::from_str_radix(&salt[2 * n..2 * n + 2], 16))
        .collect::<std::result::Result<_, _>>()?;
    let salt = salt.try_into().map_err(|_| "a salt has 32 bytes")?;
    secret_of(&serde_json::from_str(key)?, salt)
}

/// What our core gets for this salt: the proof is verified on the way.
fn secret_of(key: &EnrolledKey, salt: [u8; 32]) -> Result<String> {
    with_broker(async |broker| {
        broker.give_pin(key.id(), pin()?, LIMIT)?;
        let ask = Ask {
            namespace: Namespace::Lease,
            text: b"a second opinion".to_vec(),
            candidates: vec![Candidate {
                key: key.clone(),
                unseals: vec![Unseal::Salt(salt)],
            }],
            deadline: SystemClock.boot() + LIMIT,
            at: None,
            pin: None,
            receipts: false,
            signs: None,
        };
        let proof = broker.touch(ask, silent(), pending()).await?;
        Ok(digest(proof.outputs().first().ok_or("no secret")?.expose()))
    })
}

fn digest(secret: &[u8]) -> String {
    Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Four answers for one salt, two by each side, on a credential of each side's.
fn compare() -> Result<String> {
    let salt = [0x5a; 32];
    let ours = enrol(rig::HIDRAW)?;
    let theirs = EnrolledKey {
        name: "theirs".into(),
        profile: Profile::Pin,
        kind: Kind::Fido2(Fido2 {
            lease: made_by_them(RP_ID, true)?,
            which: made_by_them(WHICH, false)?,
        }),
    };
    let mut agreed = 0;
    for key in [&ours, &theirs] {
        let id = &key.fido2().ok_or("no FIDO2 key")?.lease.id;
        let (we, they) = (secret_of(key, salt)?, asked_by_them(id, salt)?);
        println!("credential {}: we {we}, ctap-hid-fido2 {they}", key.name);
        agreed += usize::from(we == they);
    }
    let tally = format!("second opinion, ctap-hid-fido2: {agreed} of 2 credentials");
    if agreed == 2 { Ok(tally) } else { Err(tally.into()) }
}

fn them() -> Result<FidoKeyHid> {
    let mut settings = LibCfg::init();
    settings.enable_keep_alive_msg = false;
    Ok(FidoKeyHidFactory::create(&settings)?)
}

fn made_by_them(rp_id: &str, secret: bool) -> Result<Credential> {
    let level = if secret {
        CredentialProtectionPolicy::UserVerificationRequired
    } else {
        CredentialProtectionPolicy::UserVerificationOptional
    };
    let mut extensions = vec![CredentialExtension::CredProtect(Some(level))];
    extensions.extend(secret.then_some(CredentialExtension::HmacSecret(Some(true))));
    let args = MakeCredentialArgsBuilder::new(rp_id, b"challenge")
        .pin(PIN)
        .extensions(&extensions)
        .build();
    let made = Attested::parse(&them()?.make_credential_with_args(&args)?.auth_data)?;
    Ok(Credential {
        id: made.credential,
        public_key: made.public_key,
    })
}

fn asked_by_them(credential: &[u8], salt: [u8; 32]) -> Result<String> {
    let args = GetAssertionArgsBuilder::new(RP_ID, b"challenge")
        .pin(PIN)
        .credential_id(credential)
        .extensions(&[AssertionExtension::HmacSecret(Some(salt))])
        .build();
    let answers = them()?.get_assertion_with_args(&args)?;
    let secret = answers
        .iter()
        .flat_map(|answer| &answer.extensions)
        .find_map(|extension| match extension {
            AssertionExtension::HmacSecret(secret) => *secret,
            _ => None,
        });
    Ok(digest(&secret.ok_or("they got no secret")?))
}
