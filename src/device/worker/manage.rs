//! Care for a key, by `ctap-hid-fido2`. It prints, blocks on a silent key, panics on a pulled-out one, and shows PINs in its Debug
//! output: all of which ends with this process.

use std::path::Path;

use ctap_hid_fido2::public_key_credential_descriptor::PublicKeyCredentialDescriptor;
use ctap_hid_fido2::{FidoKeyHid, FidoKeyHidFactory, HidParam, LibCfg};

use super::protocol::{Answer, Failure, Id, Listed, Manage};
use crate::device::ctap::Status;
use crate::secret::Secret;

/// Does `task` on the key at `node`; `secret` is the PIN, or two.
pub(super) fn run(node: &Path, task: &Manage, secret: &Secret) -> Result<Answer, Failure> {
    let key = open(node, task)?;
    let pin = text(secret.expose())?;
    match task {
        Manage::SetPin => key.set_new_pin(pin).map_err(failure)?,
        Manage::ChangePin { old_len } => {
            let (old, new) = pin.split_at_checked(*old_len).ok_or(Failure::Malformed("two PINs".into()))?;
            key.change_pin(old, new).map_err(failure)?;
        }
        Manage::Credentials => return credentials(&key, pin).map(Answer::List),
        Manage::DeleteCredential { id } => key
            .credential_management_delete_credential(
                Some(pin),
                PublicKeyCredentialDescriptor {
                    id: id.0.clone(),
                    ctype: "public-key".into(),
                },
            )
            .map_err(failure)?,
    }
    Ok(Answer::Managed)
}

fn open(node: &Path, task: &Manage) -> Result<FidoKeyHid, Failure> {
    let path = node.to_str().ok_or(Failure::PulledOut)?.to_owned();
    let mut settings = LibCfg::init();
    settings.enable_keep_alive_msg = false;
    // The standard commands; the prototype ones are asked for below where a key has only them.
    settings.use_pre_credential_management = false;
    let mut key = FidoKeyHidFactory::create_by_params(&[HidParam::Path(path)], &settings).map_err(|_| Failure::PulledOut)?;
    let options = key.get_info().map_err(failure)?.options;
    let has = |name: &str| options.iter().any(|(n, _)| n == name);
    let lacks = match task {
        Manage::SetPin | Manage::ChangePin { .. } => (!has("clientPin")).then_some("PIN"),
        Manage::Credentials | Manage::DeleteCredential { .. } => {
            (!has("credMgmt") && !has("credentialMgmtPreview")).then_some("list of credentials")
        }
    };
    if let Some(lacks) = lacks {
        return Err(Failure::Lacks(lacks.into()));
    }
    key.use_pre_credential_management = !has("credMgmt") && has("credentialMgmtPreview");
    Ok(key)
}

fn credentials(key: &FidoKeyHid, pin: &str) -> Result<Vec<Listed>, Failure> {
    let mut list = Vec::new();
    let parties = match key.credential_management_enumerate_rps(Some(pin)).map_err(failure) {
        // A key without any says so with an error.
        Err(Failure::Status(code)) if Status(code) == Status::NO_CREDENTIALS => Vec::new(),
        parties => parties?,
    };
    for party in parties {
        for credential in key
            .credential_management_enumerate_credentials(Some(pin), &party.rpid_hash)
            .map_err(failure)?
        {
            list.push(Listed {
                rp_id: party.public_key_credential_rp_entity.id.clone(),
                name: credential.public_key_credential_user_entity.name,
                id: Id(credential.public_key_credential_descriptor.id),
            });
        }
    }
    Ok(list)
}

fn text(pin: &[u8]) -> Result<&str, Failure> {
    std::str::from_utf8(pin).map_err(|_| Failure::Malformed("a PIN that is not UTF-8".into()))
}

/// Its errors are texts: the key's status stands behind "err = 0x".
fn failure(error: impl std::fmt::Display) -> Failure {
    let text = error.to_string();
    let code = text.split_once("err = 0x").and_then(|(_, rest)| rest.get(..2));
    match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()).map(Status) {
        Some(Status::PIN_INVALID) => Failure::PinWrong(None),
        Some(Status(code)) => Failure::Status(code),
        None => Failure::System("the key's care library failed".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_librarys_texts_become_the_keys_status() {
        let say = |text: &str| failure(text);
        assert_eq!(
            say("response_status err = 0x31 CTAP2_ERR_PIN_INVALID   PIN Invalid."),
            Failure::PinWrong(None)
        );
        assert_eq!(
            say("response_status err = 0x37 CTAP2_ERR_PIN_POLICY_VIOLATION  x"),
            Failure::Status(0x37)
        );
        assert!(matches!(say("read error: 1234"), Failure::System(text) if !text.contains("1234")));
    }
}
