//! A vault with a software key, and short words for what is done with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::device::enrolled::Profile;
use crate::device::proof::Proof;
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;
use crate::secret::Secret;
use crate::vault::random::Random;
use crate::vault::testing::Folder;
use crate::vault::{Changes, Delivery, Genesis, Put, RecoveryCode, Rules, Standing, Turn, Vault, VaultError, Wanted, random};

pub const NOW: u64 = 1_790_000_000;

pub struct Rig {
    pub home: Folder,
    pub blue: SoftKey,
    pub code: RecoveryCode,
}

impl Rig {
    /// A vault with the scopes `dev` and `prod`, opened by the key `blue`.
    pub fn new() -> Self {
        Self::with(Profile::Pin, &["prod", "dev"])
    }

    pub fn with(profile: Profile, scopes: &[&str]) -> Self {
        Self::of(SoftKey::new("blue", profile, 1), scopes)
    }

    /// The same with another key in the place of `blue`.
    pub fn of(blue: SoftKey, scopes: &[&str]) -> Self {
        let home = Folder::new();
        let (_, code) = found(&home.join("vault"), &home.join("state"), &blue, scopes).unwrap();
        Self { home, blue, code }
    }

    pub fn folder(&self) -> PathBuf {
        self.home.join("vault")
    }

    pub fn try_open(&self) -> Result<Vault, VaultError> {
        Vault::open(&self.folder(), &self.home.join("state"))
    }

    pub fn vault(&self) -> Vault {
        self.try_open().unwrap()
    }

    /// As a machine that has never seen the vault.
    pub fn elsewhere(&self) -> Result<Vault, VaultError> {
        Vault::open(&self.folder(), &self.home.join("elsewhere"))
    }

    pub fn put(&self, scope: &str, name: &str, value: &[u8]) -> Result<Digest, VaultError> {
        apply(&self.try_open()?, &self.blue, scope, put(name, value))
    }

    pub fn get(&self, scope: &str, name: &str) -> Result<Vec<u8>, VaultError> {
        get(&self.try_open()?, &self.blue, scope, name)
    }

    /// Every file of the vault with its bytes, by path below the folder.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.folder(), &self.folder(), &mut files);
        files
    }

    /// Puts the folder back to what [`Rig::files`] gave.
    pub fn restore(&self, files: &BTreeMap<PathBuf, Vec<u8>>) {
        std::fs::remove_dir_all(self.folder()).unwrap();
        for (path, bytes) in files {
            let path = self.folder().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

pub fn found(folder: &Path, states: &Path, key: &SoftKey, scopes: &[&str]) -> Result<(Vault, RecoveryCode), VaultError> {
    found_with(folder, states, key, scopes, &mut random::system())
}

pub fn found_with(
    folder: &Path,
    states: &Path,
    key: &SoftKey,
    scopes: &[&str],
    random: &mut Random,
) -> Result<(Vault, RecoveryCode), VaultError> {
    let genesis = Genesis::begin(folder, "laptop", scopes, key.enrolled(), random)?;
    let proofs: Vec<Proof> = genesis
        .enrolments()?
        .iter()
        .map(|e| key.touch(Namespace::Enrol, e.text(), e.unseals()))
        .collect();
    let founding = genesis.seal(&proofs.iter().collect::<Vec<_>>(), NOW, random)?;
    let proof = key.touch(Namespace::Vault, founding.text(), &[]);
    founding.finish(&proof, states, random)?.sure()?;
    let vault = Vault::open(folder, states)?;
    let code = RecoveryCode::parse(&founding.code().to_text()).expect("a code is read as it is printed");
    Ok((vault, code))
}

pub fn secret(bytes: &[u8]) -> Secret {
    Secret::from_slice_wiping(&mut bytes.to_vec()).unwrap()
}

pub fn put(name: &str, value: &[u8]) -> Changes {
    Changes {
        puts: vec![Put {
            name: name.into(),
            rules: Rules::value(&[Delivery::Env]),
            value: secret(value),
        }],
        ..Changes::default()
    }
}

pub fn touch(vault: &Vault, key: &SoftKey, namespace: Namespace, standing: &Standing, text: &[u8]) -> Proof {
    let candidates = vault.candidates(standing).unwrap();
    let candidate = candidates
        .iter()
        .find(|c| c.key.id() == key.enrolled().id())
        .expect("the key is a candidate");
    key.touch(namespace, text, &candidate.unseals)
}

/// The same change once more.
pub fn copy(changes: &Changes) -> Changes {
    let put = |put: &Put| Put {
        name: put.name.clone(),
        rules: put.rules.clone(),
        value: put.value.duplicate().unwrap(),
    };
    let turn = |turn: &Turn| Turn {
        name: turn.name.clone(),
        rules: turn.rules.clone(),
        fresh: turn.fresh.duplicate().unwrap(),
    };
    Changes {
        puts: changes.puts.iter().map(put).collect(),
        rules: changes.rules.clone(),
        turns: changes.turns.iter().map(turn).collect(),
        removes: changes.removes.clone(),
        keeps: changes.keeps.clone(),
        join: changes.join,
        judged: changes.judged.clone(),
    }
}

/// A change whose author looked at what is there.
pub fn apply(vault: &Vault, key: &SoftKey, scope: &str, mut changes: Changes) -> Result<Digest, VaultError> {
    let names = changes
        .puts
        .iter()
        .map(|put| &put.name)
        .chain(changes.rules.iter().map(|(name, _)| name))
        .chain(changes.turns.iter().map(|turn| &turn.name));
    let found = names.filter_map(|name| Some((name.clone(), vault.find(scope, name).ok()?.clear)));
    changes.judged = found.collect();
    let standing = vault.standing(&[scope])?;
    let text = format!("change in {scope}").into_bytes();
    let proof = touch(vault, key, Namespace::Change, &standing, &text);
    vault.apply(&proof, Digest::of(&text), &standing, &changes, NOW, &mut random::system())
}

pub fn wanted(vault: &Vault, scope: &str, name: &str) -> Result<Wanted, VaultError> {
    Ok(Wanted {
        scope: scope.into(),
        name: name.into(),
        judged: vault.find(scope, name)?.clear,
    })
}

pub fn unseal(vault: &Vault, key: &SoftKey, standing: &Standing, wanted: &[Wanted]) -> Result<Vec<Vec<u8>>, VaultError> {
    let proof = touch(vault, key, Namespace::Lease, standing, b"lease");
    let material = vault.unseal(&proof, Digest::of(b"lease"), standing, wanted)?;
    let value = |w: &Wanted| material.value(&w.scope, &w.name).unwrap().expose().to_vec();
    Ok(wanted.iter().map(value).collect())
}

pub fn get(vault: &Vault, key: &SoftKey, scope: &str, name: &str) -> Result<Vec<u8>, VaultError> {
    let standing = vault.standing(&[scope])?;
    let wanted = wanted(vault, scope, name)?;
    Ok(unseal(vault, key, &standing, &[wanted])?.remove(0))
}

pub fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            files.insert(path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap());
        }
    }
}
