//! A vault of many secrets, made through the product's own change path in large batches, by a key that is software: no device answers
//! for it, so that nothing but the vault takes time. For measuring.

use std::{io, path::PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use touchlease::{
    clock::{Clock, SystemClock},
    device::{
        candidate::Unseal,
        ctap::get_assertion::RawAssertion,
        enrolled::{Credential, EnrolledKey, Fido2, Kind, Link, Profile},
        proof::{Expected, Proof, verify},
    },
    encoding::{
        Digest,
        sshsig::{FLAG_ED, FLAG_UP, Namespace, Point, RP_ID, client_data_hash},
    },
    secret::Secret,
    vault::{Changes, Delivery, Genesis, Put, Rules, Standing, Vault, Wanted, random},
};

const BATCH: usize = 500;
const SCOPE: &str = "prod";

/// Whatever went wrong: a sentence is enough.
pub type Failure = Box<dyn std::error::Error>;

/// A vault and the key that opens it. The folder goes away with it.
pub struct LargeVault {
    folder: TempDir,
    key: SoftwareKey,
}

impl LargeVault {
    /// A vault with `count` secrets in one scope of two, `SECRET_0` and so on; `within` is where its folder is made.
    ///
    /// # Errors
    /// What the vault says.
    pub fn new(count: usize, within: PathBuf) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("touchlease-large-").tempdir_in(within)?;
        let large = Self {
            folder,
            key: SoftwareKey::new()?,
        };
        large.found()?;
        let numbers: Vec<usize> = (0..count).collect();
        for batch in numbers.chunks(BATCH) {
            let puts = batch
                .iter()
                .map(|n| put(&format!("SECRET_{n}"), format!("value of number {n}").as_bytes()));
            let puts = puts.collect::<io::Result<_>>()?;
            large.apply(&large.open()?, puts)?;
        }
        Ok(large)
    }

    /// Opens it, as a daemon does at its first request.
    ///
    /// # Errors
    /// What the vault says.
    pub fn open(&self) -> Result<Vault, Failure> {
        Ok(Vault::open(&self.folder.path().join("vault"), &self.folder.path().join("state"))?)
    }

    /// Puts one secret; the touch is part of it.
    ///
    /// # Errors
    /// What the vault says.
    pub fn put(&self, vault: &Vault, name: &str, value: &[u8]) -> Result<(), Failure> {
        self.apply(vault, vec![put(name, value)?])
    }

    /// A touch over a lease for the scope, or for the empty one beside it.
    ///
    /// # Errors
    /// What the vault says.
    pub fn touch(&self, vault: &Vault, scope: &str, namespace: Namespace) -> Result<(Proof, Standing), Failure> {
        let standing = vault.standing(&[scope])?;
        let candidates = vault.candidates(&standing)?;
        let salts = &candidates.first().ok_or("the key is no candidate")?.unseals;
        Ok((self.key.touch(namespace, b"text", salts)?, standing))
    }

    /// What opens with that touch, and nothing else: the scope's key and its index's head.
    ///
    /// # Errors
    /// What the vault says.
    pub fn unlock(&self, vault: &Vault, proof: &Proof, standing: &Standing) -> Result<(), Failure> {
        Ok(vault.open_for_export(proof, Digest::of(b"text"), standing).map(drop)?)
    }

    /// Looks a secret up, as a request does, and unseals it with that touch, as a lease does.
    ///
    /// # Errors
    /// What the vault says; it is not the value that was put.
    pub fn get(&self, vault: &Vault, proof: &Proof, standing: &Standing, number: usize) -> Result<(), Failure> {
        let wanted = Wanted {
            scope: SCOPE.into(),
            name: format!("SECRET_{number}"),
            judged: vault.find(SCOPE, &format!("SECRET_{number}"))?.clear,
        };
        let material = vault.unseal(proof, Digest::of(b"text"), standing, std::slice::from_ref(&wanted))?;
        let value = material.value(SCOPE, &wanted.name).ok_or("no value")?;
        if value.expose() == format!("value of number {number}").as_bytes() {
            Ok(())
        } else {
            Err("another secret's value".into())
        }
    }

    fn found(&self) -> Result<(), Failure> {
        let random = &mut random::system();
        let vault = self.folder.path().join("vault");
        let genesis = Genesis::begin(&vault, "large", &[SCOPE, "empty"], self.key.enrolled.clone(), random)?;
        let mut proofs = vec![];
        for enrolment in genesis.enrolments()? {
            proofs.push(self.key.touch(Namespace::Enrol, enrolment.text(), enrolment.unseals())?);
        }
        let founding = genesis.seal(&proofs.iter().collect::<Vec<_>>(), SystemClock.wall().seconds(), random)?;
        let proof = self.key.touch(Namespace::Vault, founding.text(), &[])?;
        founding.finish(&proof, &self.folder.path().join("state"), random)?.sure()?;
        Ok(())
    }

    fn apply(&self, vault: &Vault, puts: Vec<Put>) -> Result<(), Failure> {
        let judged = puts
            .iter()
            .filter_map(|put| Some((put.name.clone(), vault.find(SCOPE, &put.name).ok()?.clear)));
        let changes = Changes {
            judged: judged.collect(),
            puts,
            ..Changes::default()
        };
        let (proof, standing) = self.touch(vault, SCOPE, Namespace::Change)?;
        vault.apply(
            &proof,
            Digest::of(b"text"),
            &standing,
            &changes,
            1_800_000_000,
            &mut random::system(),
        )?;
        Ok(())
    }
}

fn put(name: &str, value: &[u8]) -> io::Result<Put> {
    Ok(Put {
        name: name.into(),
        rules: Rules::value(&[Delivery::Env]),
        value: Secret::from_slice_wiping(&mut value.to_vec())?,
    })
}

/// A touch-only authenticator: real signatures, real hmac-secret outputs.
struct SoftwareKey {
    enrolled: EnrolledKey,
    signer: SigningKey,
    cred_random: [u8; 32],
}

impl SoftwareKey {
    fn new() -> Result<Self, Failure> {
        let (signer, lease) = credential("lease")?;
        Ok(Self {
            enrolled: EnrolledKey {
                name: "software".into(),
                profile: Profile::TouchOnly,
                kind: Kind::Fido2(Fido2 {
                    lease,
                    which: credential("which")?.1,
                }),
            },
            signer,
            cred_random: digest(b"cred_random"),
        })
    }

    fn touch(&self, namespace: Namespace, text: &[u8], unseals: &[Unseal]) -> Result<Proof, Failure> {
        let mut auth_data = Sha256::digest(RP_ID).to_vec();
        auth_data.extend([FLAG_UP | FLAG_ED, 0, 0, 0, 1]);
        // A CBOR map of one member, as keys answer for hmac-secret.
        auth_data.extend([&[0xa1, 0x6b][..], b"hmac-secret", &[0x41, 0]].concat());
        let signed = [&auth_data[..], &client_data_hash(namespace, text).0].concat();
        let signature: Signature = self.signer.sign_prehash(&Sha256::digest(signed))?;
        let answer = RawAssertion {
            credential: self.enrolled.fido2().map(|fido2| fido2.lease.id.clone()),
            auth_data,
            signature: signature.to_der().as_bytes().to_vec(),
        };
        let outputs = unseals.iter().map(|unseal| self.hmac_secret(unseal)).collect::<Result<_, _>>()?;
        let expected = Expected {
            key: &self.enrolled,
            link: Link::Usb,
            namespace,
            text,
            unseals,
        };
        Ok(verify(&answer, outputs, &expected)?)
    }

    /// CTAP 2.1, 12.5: HMAC-SHA-256(CredRandom, salt).
    fn hmac_secret(&self, unseal: &Unseal) -> Result<Secret, Failure> {
        let Unseal::Salt(salt) = unseal else {
            return Err("something sealed for a FIDO2 key".into());
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.cred_random)?;
        mac.update(salt);
        Ok(Secret::from_slice_wiping(&mut mac.finalize().into_bytes())?)
    }
}

fn credential(purpose: &str) -> Result<(SigningKey, Credential), Failure> {
    let key = SigningKey::from_slice(&digest(purpose.as_bytes()))?;
    let public_key: Point = key.verifying_key().to_sec1_point(false).as_bytes().try_into()?;
    let id = digest(format!("{purpose} id").as_bytes()).to_vec();
    Ok((key, Credential { id, public_key }))
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
