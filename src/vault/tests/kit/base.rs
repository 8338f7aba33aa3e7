//! The vault from which all others of the kit are made: the same bytes each time.

use std::collections::BTreeMap;

use hpke::rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest as _, Sha256};

use crate::device::enrolled::Profile;
use crate::device::proof::Proof;
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;
use crate::vault::random::Random;
use crate::vault::roster::Roster;
use crate::vault::scope::{self, Ring};
use crate::vault::store::Store;
use crate::vault::testing::Folder;
use crate::vault::{Addition, Changes, Delivery, Genesis, Header, Plan, Put, Removal, Rules, Statement, Vault};

use super::super::rig::{NOW, collect, secret, touch};
use super::patch::Files;

/// Randomness that anybody can make again: SHA-256 of the seed and a counter (64 bits), one block after the other.
pub struct Stream {
    seed: &'static str,
    block: u64,
    left: Vec<u8>,
}

impl Stream {
    pub fn new(seed: &'static str) -> Self {
        Self {
            seed,
            block: 0,
            left: Vec::new(),
        }
    }
}

impl TryRng for Stream {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for byte in bytes {
            if self.left.is_empty() {
                let block = Sha256::new_with_prefix(self.seed).chain_update(self.block.to_be_bytes());
                self.left = block.finalize().to_vec();
                self.block += 1;
            }
            *byte = self.left.remove(0);
        }
        Ok(())
    }
}

impl TryCryptoRng for Stream {}

/// The vault, and what its makers know.
pub struct Base {
    pub files: Files,
    pub blue: SoftKey,
    pub spare: SoftKey,
    pub code: String,
    /// `scope/NAME` and value.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Statements in their order.
    pub statements: Vec<(Digest, Statement)>,
    pub prod: Ring,
    pub dev: Ring,
}

/// Two scopes; a key that was added and removed again, so that there are two epochs; records under both; a secret that was removed;
/// a scope whose index has nodes below its head.
pub fn make() -> Base {
    let random = &mut Stream::new("touchlease vault kit 1");
    let (blue, spare) = (SoftKey::new("blue", Profile::Pin, 1), SoftKey::new("spare", Profile::TouchOnly, 2));
    let home = Folder::new();
    let (folder, states) = (home.join("vault"), home.join("state"));
    let genesis = Genesis::begin(&folder, "laptop", &["prod", "dev"], blue.enrolled(), random).unwrap();
    let proofs: Vec<Proof> = genesis
        .enrolments()
        .unwrap()
        .iter()
        .map(|e| blue.touch(Namespace::Enrol, e.text(), e.unseals()))
        .collect();
    let founding = genesis.seal(&proofs.iter().collect::<Vec<_>>(), NOW, random).unwrap();
    let proof = blue.touch(Namespace::Vault, founding.text(), &[]);
    founding.finish(&proof, &states, random).unwrap().sure().unwrap();
    let code = founding.code();
    let open = || Vault::open(&folder, &states).unwrap();
    let mut secrets = BTreeMap::new();
    let mut put = |scope: &str, puts: &[(&str, Rules, &[u8])], random: &mut Random| {
        for (name, _, value) in puts {
            secrets.insert(format!("{scope}/{name}"), value.to_vec());
        }
        let put = |(name, rules, value): &(&str, Rules, &[u8])| Put {
            name: (*name).to_owned(),
            rules: rules.clone(),
            value: secret(value),
        };
        let puts = puts.iter().map(put).collect();
        apply(
            &open(),
            &blue,
            scope,
            Changes {
                puts,
                ..Changes::default()
            },
            random,
        );
    };
    let env = Rules::value(&[Delivery::Env]);
    put("prod", &[("TOKEN", env.clone(), b"first"), ("GONE", env.clone(), b"gone")], random);
    let many: Vec<String> = (0..34).map(|n| format!("NAME_{n:02}")).collect();
    let many: Vec<(&str, Rules, &[u8])> = many.iter().map(|name| (name.as_str(), env.clone(), name.as_bytes())).collect();
    put("dev", &many, random);
    put("prod", &[("OLD", env.clone(), b"under the first key")], random);
    add(&open(), &blue, &spare, random);
    remove(&open(), "spare", &blue, random);
    let proxied = Rules {
        header: Some(Header {
            name: "authorization".into(),
            prefix: "Bearer ".into(),
        }),
        ttl: Some(900),
        uses: Some(20),
        ..Rules::for_hosts(&["api.example.com", "[2001:db8::1]:8443"])
    };
    put(
        "prod",
        &[("TOKEN", env.clone(), b"second"), ("PROXIED", proxied, b"for a proxy")],
        random,
    );
    put("prod", &[("LONG", env, &[b'x'; 300])], random);
    let removes = vec!["GONE".to_owned()];
    apply(
        &open(),
        &blue,
        "prod",
        Changes {
            removes,
            ..Changes::default()
        },
        random,
    );
    secrets.remove("prod/GONE");
    let store = Store::open(&folder).unwrap();
    let roster = Roster::read(&store).unwrap();
    let ring = |name: &str| scope::open_with_recovery(&store, &roster, roster.in_force().scope(name).unwrap(), code).unwrap();
    let mut files = BTreeMap::new();
    collect(&folder, &folder, &mut files);
    let files: Files = files
        .into_iter()
        .map(|(path, bytes)| (path.to_str().unwrap().to_owned(), bytes))
        .collect();
    Base {
        prod: ring("prod"),
        dev: ring("dev"),
        statements: in_order(&files),
        code: code.to_text().to_string(),
        files,
        blue,
        spare,
        secrets,
    }
}

fn in_order(files: &Files) -> Vec<(Digest, Statement)> {
    let read = |(path, bytes): (&String, &Vec<u8>)| {
        path.ends_with(".json")
            .then(|| (Digest::of(bytes), Statement::from_bytes(bytes).unwrap()))
    };
    let mut left: Vec<(Digest, Statement)> = files.iter().filter_map(read).collect();
    let mut ordered: Vec<(Digest, Statement)> = Vec::new();
    while let Some(at) = left
        .iter()
        .position(|(_, s)| s.previous.iter().all(|p| ordered.iter().any(|(d, _)| d == p)))
    {
        ordered.push(left.remove(at));
    }
    ordered
}

pub fn apply(vault: &Vault, key: &SoftKey, scope: &str, mut changes: Changes, random: &mut Random) {
    let names: Vec<String> = changes.puts.iter().map(|put| put.name.clone()).collect();
    changes.judged = names
        .into_iter()
        .filter_map(|name| Some((name.clone(), vault.find(scope, &name).ok()?.clear)))
        .collect();
    let standing = vault.standing(&[scope]).unwrap();
    let text = format!("change in {scope}").into_bytes();
    let proof = touch(vault, key, Namespace::Change, &standing, &text);
    vault.apply(&proof, Digest::of(&text), &standing, &changes, NOW, random).unwrap();
}

pub fn add(vault: &Vault, signer: &SoftKey, key: &SoftKey, random: &mut Random) {
    let addition = Addition::begin(vault, key.enrolled(), &["prod", "dev"], NOW, random).unwrap();
    let touches = addition.enrolments().unwrap();
    let proofs: Vec<Proof> = touches.iter().map(|e| key.touch(Namespace::Enrol, e.text(), e.unseals())).collect();
    let plan = addition.seal(vault, &proofs.iter().collect::<Vec<_>>(), random).unwrap();
    commit(plan, vault, signer, random);
}

pub fn remove(vault: &Vault, name: &str, signer: &SoftKey, random: &mut Random) {
    let plan = Removal::begin(vault, name, &[signer.enrolled().id()], NOW, random)
        .unwrap()
        .into_plan();
    commit(plan, vault, signer, random);
}

pub fn commit(plan: Plan, vault: &Vault, signer: &SoftKey, random: &mut Random) {
    let proof = |touch| {
        let candidates = plan.candidates(vault, touch).unwrap();
        let candidate = candidates.into_iter().find(|c| c.key.id() == signer.enrolled().id()).unwrap();
        signer.touch(Namespace::Vault, plan.text(), &candidate.unseals)
    };
    let proofs: Vec<Proof> = (0..plan.touches()).map(proof).collect();
    plan.commit(vault, &proofs.iter().collect::<Vec<_>>(), random)
        .unwrap()
        .sure()
        .unwrap();
}
