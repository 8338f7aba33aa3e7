//! Vaults of several states at once, as a merge leaves them, and with a long history; what is wrong in some of them.

use std::collections::BTreeMap;

use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::vault::bytes::Id;
use crate::vault::index::{Kind, below_path, head_path, page_bytes, seal_below};
use crate::vault::testing::Folder;
use crate::vault::{Changes, Delivery, Put, Rules, Vault, record};

use super::super::rig::{NOW, collect, secret};
use super::bad::{Bad, Kit, cut, flip};
use super::base::{self, Base, Stream};
use super::judge::Door;
use super::patch::{Files, unpack};

/// So many changes that a head names earlier ones on a page.
const MANY: usize = 70;

/// A copy of the base that goes on apart.
pub struct Side<'a> {
    base: &'a Base,
    home: Folder,
    random: Stream,
}

impl<'a> Side<'a> {
    pub fn new(base: &'a Base, seed: &'static str) -> Self {
        let side = Self {
            base,
            home: Folder::new(),
            random: Stream::new(seed),
        };
        unpack(&base.files, &side.home.join("vault"));
        side
    }

    pub fn vault(&self) -> Vault {
        Vault::open(&self.home.join("vault"), &self.home.join("state")).unwrap()
    }

    fn change(&mut self, changes: Changes) {
        base::apply(&self.vault(), &self.base.blue, "prod", changes, &mut self.random);
    }

    fn put(mut self, name: &str, value: &[u8]) -> Self {
        let put = Put {
            name: name.into(),
            rules: Rules::value(&[Delivery::Env]),
            value: secret(value),
        };
        self.change(Changes {
            puts: vec![put],
            ..Changes::default()
        });
        self
    }

    fn remove(mut self, name: &str) -> Self {
        self.change(Changes {
            removes: vec![name.into()],
            ..Changes::default()
        });
        self
    }

    fn join(mut self) -> Self {
        self.change(Changes {
            join: true,
            ..Changes::default()
        });
        self
    }

    fn many(self) -> Self {
        (1..=MANY).fold(self, |side, n| side.put("TOKEN", format!("change {n}").as_bytes()))
    }

    fn rotate(self) -> Self {
        let blue = &self.base.blue;
        self.rotate_by(blue)
    }

    /// Gives `prod` another key, by a touch of `key`.
    pub fn rotate_by(mut self, key: &SoftKey) -> Self {
        let vault = self.vault();
        let plan = vault.rotation(&["prod"], key.enrolled().id(), NOW, &mut self.random).unwrap();
        base::commit(plan, &vault, key, &mut self.random);
        self
    }

    /// Lets `key` in, by a touch of `signer`.
    pub fn add_key(mut self, key: &SoftKey, signer: &SoftKey) -> Self {
        base::add(&self.vault(), signer, key, &mut self.random);
        self
    }

    /// Takes the key called `name` out, by a touch of `signer`.
    pub fn remove_key(mut self, name: &str, signer: &SoftKey) -> Self {
        base::remove(&self.vault(), name, signer, &mut self.random);
        self
    }

    pub fn files(&self) -> Files {
        let (folder, mut files) = (self.home.join("vault"), BTreeMap::new());
        collect(&folder, &folder, &mut files);
        let text = |(path, bytes): (std::path::PathBuf, Vec<u8>)| (path.to_str().unwrap().to_owned(), bytes);
        files.into_iter().map(text).collect()
    }

    /// What a plain merge of both makes: a file is gone where one side removed it.
    fn merged(&self, other: &Self) -> Files {
        let (mut all, theirs) = (self.files(), other.files());
        let mine = all.clone();
        all.extend(theirs.clone());
        all.retain(|path, _| !self.base.files.contains_key(path) || (mine.contains_key(path) && theirs.contains_key(path)));
        all
    }

    /// The other files in the place of these.
    fn with(self, files: &Files) -> Self {
        std::fs::remove_dir_all(self.home.join("vault")).unwrap();
        unpack(files, &self.home.join("vault"));
        self
    }
}

pub fn add(kit: &mut Kit<'_>) {
    heads(kit);
    pages(kit);
}

pub fn vault(kit: &mut Kit<'_>, name: &str, about: &str, expect: &str, files: Files, secrets: &[(&str, &str)]) {
    let secrets = secrets
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .collect();
    kit.push(Bad {
        name: name.into(),
        about: about.into(),
        expect: expect.into(),
        door: Door::Recovery,
        files,
        secrets,
    });
}

fn heads(kit: &mut Kit<'_>) {
    let base = kit.base;
    let one = Side::new(base, "one side").put("ONE", b"of one side").put("TOKEN", b"third");
    let two = Side::new(base, "the other side").put("TWO", b"of the other side");
    let merged = one.merged(&two);
    let both = [
        ("prod/ONE", "of one side"),
        ("prod/TOKEN", "third"),
        ("prod/TWO", "of the other side"),
    ];
    let about = "Two heads of states that were written apart, and not joined yet: each has a secret that the other has not, and one replaced a \
        secret: to be read.";
    vault(kit, "heads-two", about, "fine", merged.clone(), &both);
    let joined = Side::new(base, "a join").with(&merged).join();
    let about = "The same two heads, joined by a third one that has both as parents: to be read.";
    vault(kit, "heads-joined", about, "fine", joined.files(), &both);
    let mut kept = joined.files();
    let heads = format!("heads/{}/", base.prod.scope);
    kept.extend(merged.clone().into_iter().filter(|(path, _)| path.starts_with(&heads)));
    let about = "The head that joins the two, and both of them again beside it: they are followed, so they do not stand: to be read.";
    vault(kit, "heads-followed", about, "fine", kept, &both);
    let three = Side::new(base, "a third side").put("THREE", b"of a third side");
    let mut all = merged.clone();
    all.extend(three.files().into_iter().filter(|(path, _)| !base.files.contains_key(path)));
    let four = [&both[..], &[("prod/THREE", "of a third side")]].concat();
    vault(
        kit,
        "heads-three",
        "Three heads that were written apart: to be read.",
        "fine",
        all,
        &four,
    );

    let edits = Side::new(base, "an edit").put("TOKEN", b"third");
    let other = Side::new(base, "another edit").put("TOKEN", b"another third");
    let about = "Two heads, each with another version of one secret: that one is refused until a person says which it is.";
    vault(kit, "heads-apart", about, "secret prod/TOKEN apart", edits.merged(&other), &[]);
    let gone = Side::new(base, "a removal").remove("OLD");
    let about = "Two heads: one removed a secret that the other still has as it was before: it is gone, and so is its record.";
    let expect = "secret prod/OLD no-secret";
    vault(kit, "heads-removed", about, expect, gone.merged(&two), &both[2..]);
    let rewritten = Side::new(base, "an edit of what was removed").put("OLD", b"again");
    let about = "Two heads: one removed a secret that the other has written anew apart from it: what was written stays: to be read.";
    vault(
        kit,
        "heads-removed-and-written",
        about,
        "fine",
        gone.merged(&rewritten),
        &[("prod/OLD", "again")],
    );

    let rotated = Side::new(base, "a new key").rotate();
    let late = Side::new(base, "under the key before")
        .put("LATE", b"too late")
        .put("TOKEN", b"too late");
    let about = "A head under the key of the epoch before, of somebody who has not heard of the new one: it adds a secret, and replaces none: the \
        one that it wrote anew is there in two versions.";
    let expect = "secret prod/TOKEN apart";
    vault(
        kit,
        "heads-earlier-key",
        about,
        expect,
        rotated.merged(&late),
        &[("prod/LATE", "too late")],
    );
    let late = Side::new(base, "removed under the key before").remove("OLD");
    let about = "A head under the key of the epoch before that removes a secret, whose record is put back: it removes none: to \
        be read.";
    let mut files = rotated.merged(&late);
    let (record, _) = base.entry("OLD").records().next().unwrap();
    let record = record::path(base.prod.scope, "OLD", record);
    files.insert(record.clone(), base.files[&record].clone());
    vault(kit, "heads-earlier-key-removes", about, "fine", files, &[]);

    let path = head_path(base.prod.scope, &base.head("prod").0);
    let mut broken = merged.clone();
    let first = broken.keys().find(|path| path.starts_with(&heads)).unwrap().clone();
    flip(&mut broken, &first, 140);
    vault(
        kit,
        "heads-one-damaged",
        "Two heads, one of them with another bit.",
        "scope prod damaged",
        broken,
        &both,
    );
    let mut old = one.files();
    old.insert(path.clone(), base.files[&path].clone());
    let about = "The head of before beside the one that follows it: it does not stand: to be read.";
    let mine = &both[..2];
    vault(kit, "heads-old-again", about, "fine", old, mine);
}

fn pages(kit: &mut Kit<'_>) {
    let base = kit.base;
    let many = Side::new(base, "many changes").many();
    let last = format!("change {MANY}");
    let secrets = [("prod/TOKEN", last.as_str()), ("prod/TWO", "of the other side")];
    let files = many.files();
    let index = format!("index/{}/", base.prod.scope);
    let page = files.keys().find(|path| path.starts_with(&index)).expect("a page").clone();
    let about = "So many changes that the head names the earlier ones on a page: to be read.";
    vault(kit, "pages", about, "fine", files, &secrets[..1]);
    let other = Side::new(base, "apart from many changes").put("TWO", b"of the other side");
    let merged = many.merged(&other);
    let about = "Two heads. What one of them was made from, the other knows only by its page: the secret that this one replaced is not there in two \
        versions: to be read.";
    vault(kit, "pages-heads", about, "fine", merged.clone(), &secrets);
    let mut broken = |name: &str, about: &str, expect: &str, change: &dyn Fn(&mut Files)| {
        let mut files = merged.clone();
        change(&mut files);
        let about = format!("Two heads, one of which names earlier ones on a page. {about}.");
        vault(kit, &format!("page-{name}"), &about, expect, files, &secrets);
    };
    broken("missing", "The page is missing", "scope prod missing", &|files| {
        drop(files.remove(&page))
    });
    for (name, at) in [("header", 3), ("commitment", 10), ("nonce", 45), ("text", 70)] {
        let about = format!("One bit of the page is another one: {name}");
        broken(&format!("flipped-{name}"), &about, "scope prod damaged", &|files| {
            flip(files, &page, at)
        });
    }
    broken("cut", "The last byte of the page is missing", "scope prod damaged", &|files| {
        let len = files[&page].len();
        cut(files, &page, len - 1);
    });
    broken("empty", "The page has no bytes", "scope prod damaged", &|files| {
        cut(files, &page, 0)
    });
    broken("other", "Another page is in its place", "scope prod damaged", &|files| {
        let none = page_bytes(&[], &[]);
        let file = seal_below(&base.prod, Kind::Page, &none, &mut Stream::new("another page")).unwrap();
        files.insert(page.clone(), file);
    });
    broken("stray", "A page that nobody names lies beside it: to be read", "fine", &|files| {
        let file = seal_below(&base.prod, Kind::Page, b"", &mut Stream::new("a stray page")).unwrap();
        let path = below_path(base.prod.scope as Id, &Digest::of(&file));
        files.insert(path, file);
    });
}
