//! The bad vaults: the base, changed by somebody who can write to its folder, or by a program that makes mistakes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;
use crate::vault::index::{Entry, Head, HeadClear, Node, head_path};
use crate::vault::roster::{signature_path, statement_path};
use crate::vault::scope::Ring;
use crate::vault::{Statement, crypto};

use super::base::{Base, Stream};
use super::judge::Door;
use super::patch::Files;

/// A vault of the kit.
pub struct Bad {
    pub name: String,
    /// What was done, in one sentence.
    pub about: String,
    /// What a reader has to say, as [`super::judge::judge`] does.
    pub expect: String,
    pub door: Door,
    pub files: Files,
    /// What there is to read besides the base's secrets, or with another value.
    pub secrets: BTreeMap<String, Vec<u8>>,
}

/// Collects them.
pub struct Kit<'a> {
    pub base: &'a Base,
    pub all: Vec<Bad>,
}

impl Kit<'_> {
    /// One more, opened with the recovery code.
    pub fn add(&mut self, name: &str, about: &str, expect: &str, change: impl FnOnce(&mut Files)) {
        self.add_by(Door::Recovery, name, about, expect, change);
    }

    pub fn add_by(&mut self, door: Door, name: &str, about: &str, expect: &str, change: impl FnOnce(&mut Files)) {
        let mut files = self.base.files.clone();
        change(&mut files);
        self.push(Bad {
            name: name.into(),
            about: about.into(),
            expect: expect.into(),
            door,
            files,
            secrets: BTreeMap::new(),
        });
    }

    pub fn push(&mut self, vault: Bad) {
        assert!(self.all.iter().all(|other| other.name != vault.name), "{} twice", vault.name);
        self.all.push(vault);
    }
}

impl Base {
    pub fn end(&self) -> &(Digest, Statement) {
        self.statements.last().unwrap()
    }

    /// The one path that begins with `start`.
    pub fn path(&self, start: &str) -> String {
        let mut paths = self.files.keys().filter(|path| path.starts_with(start));
        let path = paths.next().unwrap().clone();
        assert!(paths.next().is_none(), "{start} is several");
        path
    }

    pub fn ring(&self, scope: &str) -> &Ring {
        if scope == "prod" { &self.prod } else { &self.dev }
    }

    /// Digest, clear part and content of a scope's head.
    pub fn head(&self, scope: &str) -> (Digest, Head) {
        let path = self.path(&format!("heads/{}/", self.ring(scope).scope));
        (
            Digest::of(&self.files[&path]),
            Head::open(self.ring(scope), &self.files[&path]).unwrap(),
        )
    }

    /// What a scope's leaf has of a secret; in `prod` the leaf is the root.
    pub fn entry(&self, name: &str) -> Entry {
        let Node::Leaf(entries) = self.head("prod").1.root else {
            panic!("prod is one leaf")
        };
        entries[name].clone()
    }
}

/// Puts `bytes` in as the statement that follows, with `signature`.
pub fn follow(files: &mut Files, bytes: &[u8], signature: Option<String>) {
    let digest = Digest::of(bytes);
    files.insert(statement_path(&digest), bytes.to_vec());
    if let Some(signature) = signature {
        files.insert(signature_path(&digest), signature.into_bytes());
    }
}

/// A touch's signature of a statement.
pub fn signed(key: &SoftKey, bytes: &[u8]) -> String {
    let point = *key.enrolled().signer();
    key.touch(Namespace::Vault, bytes, &[])
        .assertion()
        .unwrap()
        .to_sshsig(&point, Namespace::Vault, bytes)
}

/// The statement that follows the end, changed as JSON, in the order of RFC 8785.
pub fn next(base: &Base, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut statement = base.end().1.clone();
    statement.previous = vec![base.end().0];
    statement.random = None;
    let mut value = serde_json::to_value(statement).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

/// Puts `head` in the place of the scope's.
pub fn replace_head(files: &mut Files, base: &Base, scope: &str, change: impl FnOnce(&mut Head)) {
    let (_, mut head) = base.head(scope);
    change(&mut head);
    let file = head.seal(base.ring(scope), &mut Stream::new("a head of the kit")).unwrap();
    replace_head_file(files, base, scope, file);
}

pub fn replace_head_file(files: &mut Files, base: &Base, scope: &str, file: Vec<u8>) {
    let ring = base.ring(scope);
    files.remove(&head_path(ring.scope, &base.head(scope).0));
    files.insert(head_path(ring.scope, &Digest::of(&file)), file);
}

/// A head whose content is `change` of the base's, sealed as its writer would have.
pub fn rewrite_head(files: &mut Files, base: &Base, scope: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let ring = base.ring(scope);
    let file = &base.files[&head_path(ring.scope, &base.head(scope).0)];
    let front = 41 + 32 * HeadClear::read(file).unwrap().parents.len();
    let mut plain = opened(ring, "index", file, front);
    change(&mut plain);
    replace_head_file(files, base, scope, sealed(ring, "index", &file[..front], &plain));
}

pub fn opened(ring: &Ring, purpose: &str, file: &[u8], front: usize) -> Vec<u8> {
    let key = ring.derive(&ring.current(), purpose, &[]).unwrap();
    crypto::open(&key, &file[..front], &file[front..]).unwrap().to_vec()
}

pub fn sealed(ring: &Ring, purpose: &str, front: &[u8], plain: &[u8]) -> Vec<u8> {
    let key = ring.derive(&ring.current(), purpose, &[]).unwrap();
    let mut file = front.to_vec();
    crypto::seal(&mut file, &key, front, plain, &mut Stream::new("a box of the kit")).unwrap();
    file
}

/// Changes one bit.
pub fn flip(files: &mut Files, path: &str, at: usize) {
    files.get_mut(path).unwrap()[at] ^= 1;
}

/// Cuts a file to `len` bytes.
pub fn cut(files: &mut Files, path: &str, len: usize) {
    files.get_mut(path).unwrap().truncate(len);
}
