//! Heads, nodes and records.

use std::collections::BTreeMap;

use crate::encoding::Digest;
use crate::vault::bytes::{Hex, Id, put_field};
use crate::vault::crypto;
use crate::vault::index::{Child, Entry, Head, Kind, Node, Version, below_path, head_path, seal_below};
use crate::vault::record::{self, Record};
use crate::vault::scope::Ring;

use super::bad::{Kit, cut, flip, replace_head, replace_head_file, rewrite_head};
use super::base::{Base, Stream};
use super::patch::Files;

const PROD: &str = "scope prod damaged";
const TOKEN: &str = "secret prod/TOKEN damaged";

pub fn add(kit: &mut Kit<'_>) {
    heads(kit);
    head_contents(kit);
    nodes(kit);
    records(kit);
    record_contents(kit);
}

fn heads(kit: &mut Kit<'_>) {
    let base = kit.base;
    let path = head_path(base.prod.scope, &base.head("prod").0);
    kit.add("head-missing", "The index head is missing.", "scope prod missing", |files| {
        drop(files.remove(&path))
    });
    for (name, at) in [
        ("header", 3),
        ("commitment", 10),
        ("count", 40),
        ("parent", 50),
        ("nonce", 80),
        ("text", 140),
    ] {
        let about = format!("One bit of the index head is another one: {name}.");
        kit.add(&format!("head-flipped-{name}"), &about, PROD, |files| flip(files, &path, at));
    }
    kit.add("head-cut", "The last byte of the index head is missing.", PROD, |files| {
        let len = files[&path].len();
        cut(files, &path, len - 1);
    });
    kit.add("head-renamed", "An index head under another name than its digest.", PROD, |files| {
        let bytes = files.remove(&path).unwrap();
        files.insert(head_path(base.prod.scope, &Digest::of(b"x")), bytes);
    });
    kit.add("head-stray", "A file among the heads that is none.", PROD, |files| {
        files.insert(format!("heads/{}/notes", base.prod.scope), b"x".to_vec());
    });
    kit.add(
        "head-other-scope",
        "The other scope's index head in this one's place.",
        "scope prod missing",
        |files| {
            let other = files[&head_path(base.dev.scope, &base.head("dev").0)].clone();
            files.remove(&path);
            files.insert(head_path(base.prod.scope, &Digest::of(&other)), other);
        },
    );
    kit.add(
        "head-other-key",
        "A head under a key that the scope never had.",
        "scope prod missing",
        |files| {
            let evil = Ring::generate(
                base.prod.vault,
                base.prod.scope,
                2,
                &mut Stream::new("a key that the scope never had"),
            );
            let file = base.head("prod").1.seal(&evil, &mut Stream::new("a head")).unwrap();
            replace_head_file(files, base, "prod", file);
        },
    );
    kit.add(
        "head-box",
        "A head whose name is its digest and whose box does not open.",
        PROD,
        |files| {
            let mut file = files[&path].clone();
            *file.last_mut().unwrap() ^= 1;
            replace_head_file(files, base, "prod", file);
        },
    );
    kit.add("head-parents-cut", "A head that names more parents than it holds.", PROD, |files| {
        let mut file = files[&path][..41].to_vec();
        file[40] = 200;
        replace_head_file(files, base, "prod", file);
    });
    kit.add("head-empty", "A head of no bytes.", PROD, |files| {
        replace_head_file(files, base, "prod", Vec::new())
    });
}

fn head_contents(kit: &mut Kit<'_>) {
    let base = kit.base;
    let mut raw = |name: &str, about: &str, expect: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let about = format!("Sealed by somebody who has the scope's key: {about}.");
        kit.add(&format!("head-content-{name}"), &about, expect, |files| {
            rewrite_head(files, base, "prod", |plain| change(plain))
        });
    };
    let root = u32::from_be_bytes(opened_head(base)[..4].try_into().unwrap()) as usize;
    raw("same", "a head with the same content: to be read", "fine", &|_| {});
    raw("padding-short", "a head whose padding ends a byte early", PROD, &|plain| {
        plain.truncate(plain.len() - 1)
    });
    raw("padding-long", "a head with a block of padding too many", PROD, &|plain| {
        plain.resize(plain.len() + 256, 0)
    });
    raw("padding-used", "a head whose padding is not zero", PROD, &|plain| {
        *plain.last_mut().unwrap() = 1
    });
    raw("root-longer", "a head whose root is longer than the head", PROD, &|plain| {
        plain[..4].copy_from_slice(&[0xff; 4])
    });
    raw("root-kind", "a head whose root is neither leaf nor branch", PROD, &|plain| {
        plain[4] = 2
    });
    raw("root-count", "a head whose root names more entries than it has", PROD, &|plain| {
        plain[5..9].copy_from_slice(&[0xff; 4])
    });
    raw("recent-count", "a head that names more heads than it holds", PROD, &|plain| {
        plain[4 + root + 16..4 + root + 20].copy_from_slice(&[0xff; 4]);
    });
    raw("nothing", "a head of zeros", PROD, &|plain| plain.fill(0));
    raw("empty", "a head without content", PROD, &|plain| plain.clear());
    let mut leaf = |name: &str, about: &str, expect: &str, change: &dyn Fn(&mut BTreeMap<String, Entry>)| {
        let about = format!("Sealed by somebody who has the scope's key: {about}.");
        kit.add(&format!("leaf-{name}"), &about, expect, |files| {
            replace_head(files, base, "prod", |head| {
                let Node::Leaf(entries) = &mut head.root else {
                    panic!("prod is one leaf")
                };
                change(entries);
            });
        });
    };
    let versions =
        |entries: &mut BTreeMap<String, Entry>, change: &dyn Fn(&mut Vec<Version>)| change(&mut entries.get_mut("TOKEN").unwrap().versions);
    leaf("no-versions", "an entry without a version", PROD, &|entries| {
        versions(entries, &|v| v.clear())
    });
    leaf("versions-unsorted", "an entry whose versions are not in order", PROD, &|entries| {
        versions(entries, &|v| {
            v.push(Version {
                change: Hex([0; 16]),
                ..v[0]
            })
        });
    });
    leaf("version-twice", "an entry with one version twice", PROD, &|entries| {
        versions(entries, &|v| v.push(v[0]))
    });
    leaf(
        "version-and-tombstone",
        "an entry with a version and a tombstone",
        PROD,
        &|entries| {
            versions(entries, &|v| {
                v.push(Version {
                    change: Hex([0xff; 16]),
                    record: None,
                    ..v[0]
                })
            });
        },
    );
    leaf("unsorted", "entries that are not in order", PROD, &|entries| {
        let entry = Entry {
            name: "AAA".into(),
            ..entries["TOKEN"].clone()
        };
        entries.insert("ZZZ".into(), entry);
    });
    leaf("twice", "one name twice", PROD, &|entries| {
        let entry = entries["TOKEN"].clone();
        entries.insert("TOKEN2".into(), entry);
    });
    leaf(
        "forgotten",
        "an index that does not have a secret whose record is there",
        "secret prod/TOKEN no-secret",
        &|entries| drop(entries.remove("TOKEN")),
    );
    leaf(
        "removed",
        "an index in which a secret was removed whose record is there",
        "secret prod/TOKEN removed",
        &|entries| {
            versions(entries, &|v| v[0].record = None);
        },
    );
    leaf(
        "other-digest",
        "an index that names another file of the record",
        "secret prod/TOKEN swapped",
        &|entries| {
            versions(entries, &|v| v[0].record = v[0].record.map(|(id, _)| (id, Digest::of(b"x"))));
        },
    );
    leaf(
        "other-record",
        "an index that names a record that is not there",
        "secret prod/TOKEN swapped",
        &|entries| {
            versions(entries, &|v| v[0].record = v[0].record.map(|(_, digest)| (Hex([7; 16]), digest)));
        },
    );
}

fn opened_head(base: &Base) -> Vec<u8> {
    let file = &base.files[&head_path(base.prod.scope, &base.head("prod").0)];
    super::bad::opened(&base.prod, "index", file, 41 + 32 * base.head("prod").1.parents.len())
}

/// A child of the other scope's root, and the names below it.
fn child(base: &Base) -> (u8, Child, Vec<String>) {
    let Node::Branch(children) = base.head("dev").1.root else {
        panic!("dev has nodes")
    };
    let (slot, child) = children.into_iter().next().unwrap();
    let below = crate::vault::index::open_below(&base.dev, Kind::Node, &base.files[&below_path(base.dev.scope, &child.digest)]).unwrap();
    let Some(Node::Leaf(entries)) = Node::from_bytes(&below) else {
        panic!("a leaf")
    };
    (slot, child, entries.into_keys().collect())
}

/// `secret dev/NAME WORD` for each of them.
fn each(names: &[String], word: &str) -> String {
    names
        .iter()
        .map(|name| format!("secret dev/{name} {word}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn nodes(kit: &mut Kit<'_>) {
    let base = kit.base;
    let (slot, child, names) = child(base);
    let path = below_path(base.dev.scope, &child.digest);
    kit.add(
        "node-missing",
        "A node of the index is missing.",
        &each(&names, "missing"),
        |files| drop(files.remove(&path)),
    );
    let damaged = each(&names, "damaged");
    for (name, at) in [("header", 3), ("commitment", 10), ("nonce", 45), ("text", 70)] {
        let about = format!("One bit of a node of the index is another one: {name}.");
        kit.add(&format!("node-flipped-{name}"), &about, &damaged, |files| flip(files, &path, at));
    }
    kit.add("node-cut", "The last byte of a node is missing.", &damaged, |files| {
        let len = files[&path].len();
        cut(files, &path, len - 1);
    });
    kit.add("node-other", "Another node of the same scope in its place.", &damaged, |files| {
        let Node::Branch(children) = base.head("dev").1.root else {
            panic!("dev has nodes")
        };
        let other = files[&below_path(base.dev.scope, &children.into_values().nth(1).unwrap().digest)].clone();
        files.insert(path.clone(), other);
    });
    let mut node = |name: &str, about: &str, expect: &str, kind: Kind, plain: Vec<u8>| {
        let about = format!("Sealed by somebody who has the scope's key: {about}.");
        kit.add(&format!("node-content-{name}"), &about, expect, |files| {
            let file = seal_below(&base.dev, kind, &plain, &mut Stream::new("a node of the kit")).unwrap();
            let digest = Digest::of(&file);
            files.insert(below_path(base.dev.scope, &digest), file);
            replace_head(files, base, "dev", |head| {
                let Node::Branch(children) = &mut head.root else {
                    panic!("dev has nodes")
                };
                children.insert(slot, Child { digest, ..child });
            });
        });
    };
    let leaf = crate::vault::index::open_below(&base.dev, Kind::Node, &base.files[&path])
        .unwrap()
        .to_vec();
    node("page", "a page in the place of a node", &damaged, Kind::Page, leaf.clone());
    node("more", "a byte behind a node", &damaged, Kind::Node, [&leaf[..], &[0]].concat());
    node(
        "less",
        "a node without its last byte",
        &damaged,
        Kind::Node,
        leaf[..leaf.len() - 1].to_vec(),
    );
    node(
        "kind",
        "a node that is neither leaf nor branch",
        &damaged,
        Kind::Node,
        [&[9], &leaf[1..]].concat(),
    );
    node("empty", "a node of no bytes", &damaged, Kind::Node, Vec::new());
    node(
        "no-entries",
        "a leaf without the entries that belong there",
        &each(&names, "no-secret"),
        Kind::Node,
        vec![0; 5],
    );
    let branch = |slots: &[u8]| {
        let mut out = vec![1];
        out.extend((slots.len() as u32).to_be_bytes());
        for slot in slots {
            out.push(*slot);
            out.extend([7; 48]);
        }
        out
    };
    node("number-64", "a branch with a child number 64", &damaged, Kind::Node, branch(&[64]));
    node(
        "children-unsorted",
        "a branch whose children are not in order",
        &damaged,
        Kind::Node,
        branch(&[2, 1]),
    );
    node(
        "child-twice",
        "a branch with one child twice",
        &damaged,
        Kind::Node,
        branch(&[1, 1]),
    );
    node(
        "not-utf-8",
        "a leaf with a name that is not UTF-8",
        &damaged,
        Kind::Node,
        [&[0, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 1][..], &[0; 25]].concat(),
    );
}

/// Path, id and file of a secret's record in `prod`.
fn file_of(base: &Base, name: &str) -> (String, Id, Vec<u8>) {
    let (id, _) = base.entry(name).records().next().unwrap();
    let path = record::path(base.prod.scope, name, id);
    (path.clone(), id, base.files[&path].clone())
}

fn records(kit: &mut Kit<'_>) {
    let base = kit.base;
    let (path, _, file) = file_of(base, "TOKEN");
    kit.add("record-missing", "A record is missing.", "secret prod/TOKEN no-secret", |files| {
        drop(files.remove(&path))
    });
    for (name, at) in [("header", 3), ("clear-length", 10), ("clear", 60)] {
        let about = format!("One bit of a record is another one: {name}.");
        kit.add(&format!("record-flipped-{name}"), &about, TOKEN, |files| flip(files, &path, at));
    }
    let clear = 12 + u32::from_be_bytes(file[8..12].try_into().unwrap()) as usize;
    for (name, at) in [("nonce", clear + 3), ("value", clear + 30), ("tag", file.len() - 1)] {
        let about = format!("One bit of a record is another one: {name}.");
        kit.add(&format!("record-flipped-{name}"), &about, "secret prod/TOKEN swapped", |files| {
            flip(files, &path, at)
        });
    }
    kit.add(
        "record-cut",
        "The last byte of a record is missing.",
        "secret prod/TOKEN swapped",
        |files| cut(files, &path, file.len() - 1),
    );
    kit.add("record-cut-clear", "A record ends in its clear part.", TOKEN, |files| {
        cut(files, &path, clear - 1)
    });
    kit.add("record-empty", "A record of no bytes.", TOKEN, |files| cut(files, &path, 0));
    kit.add("record-more", "A byte more than a record.", "secret prod/TOKEN swapped", |files| {
        files.get_mut(&path).unwrap().push(0)
    });
    kit.add("record-other", "Another secret's record under its name.", TOKEN, |files| {
        let (_, _, other) = file_of(base, "LONG");
        files.insert(path.clone(), other);
    });
    kit.add(
        "record-removed-again",
        "The record of a secret that was removed is put back: the others are read.",
        "fine",
        |files| {
            files.insert(record::path(base.prod.scope, "GONE", Hex([1; 16])), file.clone());
        },
    );
    kit.add(
        "record-stray",
        "A file among the records that is none: the others are read.",
        "fine",
        |files| {
            files.insert(format!("records/{}/000/notes", base.prod.scope), b"x".to_vec());
        },
    );
    kit.add(
        "record-rules",
        "Its rules say another thing in the clear part than what was sealed with it.",
        "secret prod/TOKEN swapped",
        |files| {
            let at = file.windows(5).position(|w| w == b"\"env\"").unwrap();
            files.get_mut(&path).unwrap()[at..at + 5].copy_from_slice(b"\"env\"");
            let changed = String::from_utf8_lossy(&file[12..clear]).replace("\"changed\":1790000000", "\"changed\":1790000001");
            files.get_mut(&path).unwrap()[12..clear].copy_from_slice(changed.as_bytes());
        },
    );
}

fn record_contents(kit: &mut Kit<'_>) {
    let base = kit.base;
    let (_, id, file) = file_of(base, "TOKEN");
    let good = Record::parse(&file).unwrap();
    let clear = String::from_utf8(good.clear_bytes.to_vec()).unwrap();
    let key = base.prod.derive(&good.clear.key, "record", &[&id.0]).unwrap();
    // A record as its writer would seal it, with the index that names it.
    let mut sealed = |name: &str, about: &str, expect: &str, clear: &str, plain: Vec<u8>| {
        let about = format!("Sealed, and named by the index, by somebody who has the scope's key: {about}.");
        kit.add(&format!("record-content-{name}"), &about, expect, |files| {
            let mut front = b"TL1reco\n".to_vec();
            put_field(&mut front, clear.as_bytes());
            let mut file = front.clone();
            crypto::seal(&mut file, &key, &front, &plain, &mut Stream::new("a record of the kit")).unwrap();
            name_record(files, base, id, &file);
            files.insert(record::path(base.prod.scope, "TOKEN", id), file);
        });
    };
    let plain = |len: u32, value: &[u8], padded: usize| {
        let mut plain = len.to_be_bytes().to_vec();
        plain.extend(value);
        plain.resize(4 + padded, 0);
        plain
    };
    let padded = clear.len().max(256);
    let value = plain(6, b"second", padded);
    sealed("same", "the same record again: to be read", "fine", &clear, value.clone());
    sealed("value-empty", "a value of no bytes", TOKEN, &clear, plain(0, b"", padded));
    sealed(
        "value-longer",
        "a value that is longer than what holds it",
        TOKEN,
        &clear,
        plain(u32::MAX, b"second", padded),
    );
    sealed("padding-none", "a value without padding", TOKEN, &clear, plain(6, b"second", 6));
    sealed(
        "padding-short",
        "padding that ends a byte early",
        TOKEN,
        &clear,
        plain(6, b"second", padded - 1),
    );
    sealed(
        "padding-long",
        "a byte of padding too many",
        TOKEN,
        &clear,
        plain(6, b"second", padded + 1),
    );
    sealed("padding-used", "padding that is not zero", TOKEN, &clear, {
        let mut plain = value.clone();
        *plain.last_mut().unwrap() = 1;
        plain
    });
    sealed("no-content", "an empty box", TOKEN, &clear, Vec::new());
    for (name, about, from, to) in [
        ("clear-blank", "a clear part in another form than RFC 8785 has", ":", ": "),
        (
            "clear-unknown",
            "an unknown member in the clear part",
            "{\"changed\"",
            "{\"a\":1,\"changed\"",
        ),
        ("clear-doubled", "a member twice in the clear part", "\"v\":1,", "\"v\":1,\"v\":1,"),
        ("clear-v", "a clear part of format 2", "\"v\":1,", "\"v\":2,"),
        ("clear-version", "a version 0", "\"version\":2", "\"version\":0"),
        ("clear-name", "a name with a slash", "\"name\":\"TOKEN\"", "\"name\":\"TO/EN\""),
        ("clear-no-delivery", "no delivery", "[\"env\"]", "[]"),
        ("clear-delivery", "an unknown delivery", "[\"env\"]", "[\"fax\"]"),
        (
            "clear-deliveries-unsorted",
            "deliveries that are not in order",
            "[\"env\"]",
            "[\"file\",\"env\"]",
        ),
        ("clear-delivery-twice", "one delivery twice", "[\"env\"]", "[\"env\",\"env\"]"),
        (
            "clear-proxy-without-hosts",
            "delivery by proxy without hosts",
            "[\"env\"]",
            "[\"proxy\"]",
        ),
        (
            "clear-hosts-without-proxy",
            "hosts without delivery by proxy",
            "\"hosts\":[]",
            "\"hosts\":[\"example.com\"]",
        ),
        ("clear-ttl", "a lifetime of nine hours", "\"ttl\":null", "\"ttl\":32400"),
        ("clear-ttl-zero", "a lifetime of 0 s", "\"ttl\":null", "\"ttl\":0"),
        ("clear-uses-zero", "no uses at all", "\"uses\":null", "\"uses\":0"),
        (
            "clear-header",
            "a header without delivery by proxy",
            "\"header\":null",
            "\"header\":{\"name\":\"a\",\"prefix\":\"\"}",
        ),
    ] {
        let changed = clear.replacen(from, to, 1);
        assert_ne!(changed, clear, "{name}");
        let padded = changed.len().max(256);
        sealed(name, about, TOKEN, &changed, plain(6, b"second", padded));
    }
    proxied(&mut sealed, &clear, &plain);
    let unknown = clear.replace(&good.clear.key.to_string(), &"0".repeat(64));
    sealed("clear-key", "a scope key that the scope never had", TOKEN, &unknown, value);
}

/// Makes a vault of the kit: name, about, what is expected, clear part, and what is in the box.
type Sealed<'a> = dyn FnMut(&str, &str, &str, &str, Vec<u8>) + 'a;
/// What is in the box: the value's length as it is written, the value, the length with zeros.
type Plain<'a> = dyn Fn(u32, &[u8], usize) -> Vec<u8> + 'a;

/// Rules for the proxy, which have members of their own.
fn proxied(sealed: &mut Sealed<'_>, clear: &str, plain: &Plain<'_>) {
    let host = "\"api.example.com\"";
    let named = |name: &str, names: &str| format!(",\"{name}\":[{names}]");
    let place = |place: &str| format!(",\"place\":{place}");
    let all = named("methods", "\"GET\",\"PUT\"") + &named("paths", "\"/status\",\"/v4/*/pages/*\"");
    for (name, about, expect, hosts, members) in [
        (
            "cookie",
            "rules for the proxy with methods, paths and a cookie: to be read",
            "fine",
            "\"127.0.0.1:8443\",\"[::1]:8080\",\"http://localhost:8080\"",
            all.clone() + &place("{\"cookie\":{\"name\":\"session\"}}"),
        ),
        (
            "basic",
            "a password of Basic for a user: to be read",
            "fine",
            host,
            place("{\"basic\":{\"user\":\"oauth2\"}}"),
        ),
        (
            "any-user",
            "a password of Basic for whoever is named: to be read",
            "fine",
            host,
            place("{\"basic\":{\"user\":null}}"),
        ),
        (
            "query",
            "a parameter of the query: to be read",
            "fine",
            host,
            place("{\"query\":{\"name\":\"api_key\"}}"),
        ),
        ("no-methods", "a list of no methods", TOKEN, host, named("methods", "")),
        ("no-paths", "a list of no paths", TOKEN, host, named("paths", "")),
        ("no-place", "a place that is null", TOKEN, host, place("null")),
        (
            "method-small",
            "a method in small letters",
            TOKEN,
            host,
            named("methods", "\"get\""),
        ),
        ("method-connect", "the method CONNECT", TOKEN, host, named("methods", "\"CONNECT\"")),
        (
            "methods-unsorted",
            "methods that are not in order",
            TOKEN,
            host,
            named("methods", "\"PUT\",\"GET\""),
        ),
        ("path-up", "a path that goes up", TOKEN, host, named("paths", "\"/a/../b\"")),
        (
            "path-empty",
            "a path with an empty segment",
            TOKEN,
            host,
            named("paths", "\"/a//b\""),
        ),
        (
            "path-hidden",
            "a path with a slash that is hidden",
            TOKEN,
            host,
            named("paths", "\"/a%2fb\""),
        ),
        (
            "path-half-star",
            "a star that is half a segment",
            TOKEN,
            host,
            named("paths", "\"/a*\""),
        ),
        ("path-bare", "a path without a slash", TOKEN, host, named("paths", "\"a\"")),
        ("host-capital", "a host with a capital", TOKEN, "\"API.example.com\"", String::new()),
        (
            "host-dot",
            "a host with a dot at its end",
            TOKEN,
            "\"api.example.com.\"",
            String::new(),
        ),
        ("host-number", "a host that is a number", TOKEN, "\"2130706433\"", String::new()),
        ("host-star", "a host with a star", TOKEN, "\"*.example.com\"", String::new()),
        (
            "host-plain",
            "a host without TLS and without a port",
            TOKEN,
            "\"http://api.example.com\"",
            String::new(),
        ),
        (
            "place-unknown",
            "a place that there is not",
            TOKEN,
            host,
            place("{\"body\":{\"name\":\"a\"}}"),
        ),
        (
            "place-two",
            "two places",
            TOKEN,
            host,
            place("{\"cookie\":{\"name\":\"a\"},\"query\":{\"name\":\"a\"}}"),
        ),
        (
            "place-user",
            "a user with a colon",
            TOKEN,
            host,
            place("{\"basic\":{\"user\":\"a:b\"}}"),
        ),
        (
            "place-name",
            "a cookie whose name ends it",
            TOKEN,
            host,
            place("{\"cookie\":{\"name\":\"a;b\"}}"),
        ),
    ] {
        let changed = clear.replacen("[\"env\"]", "[\"proxy\"]", 1);
        let changed = changed.replacen("\"hosts\":[]", &format!("\"hosts\":[{hosts}]{members}"), 1);
        let padded = changed.len().max(256);
        sealed(&format!("proxy-{name}"), about, expect, &changed, plain(6, b"second", padded));
    }
    for (name, about, from, members) in [
        (
            "methods",
            "methods without delivery by proxy",
            "\"hosts\":[]",
            named("methods", "\"GET\""),
        ),
        ("paths", "paths without delivery by proxy", "\"hosts\":[]", named("paths", "\"/a\"")),
        (
            "place",
            "a cookie without delivery by proxy",
            "\"hosts\":[]",
            place("{\"cookie\":{\"name\":\"a\"}}"),
        ),
    ] {
        let changed = clear.replacen(from, &format!("{from}{members}"), 1);
        let padded = changed.len().max(256);
        sealed(&format!("no-proxy-{name}"), about, TOKEN, &changed, plain(6, b"second", padded));
    }
    let header = "\"header\":{\"name\":\"a\",\"prefix\":\"\"},\"hosts\":[\"api.example.com\"]";
    let both = clear.replacen("[\"env\"]", "[\"proxy\"]", 1);
    let both = both.replacen(
        "\"header\":null,\"hosts\":[]",
        &(header.to_owned() + &place("{\"cookie\":{\"name\":\"a\"}}")),
        1,
    );
    let padded = both.len().max(256);
    sealed(
        "proxy-two-places",
        "a header and a cookie",
        TOKEN,
        &both,
        plain(6, b"second", padded),
    );
}

/// Lets the index name `file` as the record of TOKEN.
fn name_record(files: &mut Files, base: &Base, id: Id, file: &[u8]) {
    replace_head(files, base, "prod", |head: &mut Head| {
        let Node::Leaf(entries) = &mut head.root else {
            panic!("prod is one leaf")
        };
        entries.get_mut("TOKEN").unwrap().versions[0].record = Some((id, Digest::of(file)));
    });
}
