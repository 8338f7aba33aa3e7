//! How a vault stands in a text file: the base whole, every other one as what differs from it.

use std::collections::BTreeMap;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};

/// The files of a vault by their paths.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The lines that make `files` of `base`.
pub fn lines(base: &Files, files: &Files) -> String {
    let mut out = String::new();
    for path in base.keys().filter(|path| !files.contains_key(*path)) {
        match files.iter().find(|(new, bytes)| !base.contains_key(*new) && **bytes == base[path]) {
            Some((new, _)) => out += &format!("> {path} {new}\n"),
            None => out += &format!("- {path}\n"),
        }
    }
    for (path, bytes) in files {
        match base.get(path) {
            Some(old) if old == bytes => {}
            Some(old) if old.starts_with(bytes) => out += &format!("< {path} {}\n", bytes.len()),
            Some(old) if old.len() == bytes.len() && run(old, bytes).1.len() <= 32 => {
                let (at, run) = run(old, bytes);
                out += &format!("~ {path} {at} {}\n", HEXLOWER.encode(run));
            }
            None if base.iter().any(|(old, b)| b == bytes && !files.contains_key(old)) => {}
            _ => out += &format!("+ {path} {}\n", BASE64.encode(bytes)),
        }
    }
    out
}

/// Where two texts of one length differ, and what stands there in the second, from the first difference to the last.
fn run<'a>(old: &[u8], new: &'a [u8]) -> (usize, &'a [u8]) {
    let differs = |at: &usize| old[*at] != new[*at];
    let first = (0..new.len()).find(differs).unwrap_or(0);
    let last = (0..new.len()).rev().find(differs).unwrap_or(0);
    (first, &new[first..=last])
}

/// Does what `lines` say to `files`.
pub fn apply(files: &mut Files, lines: &str) {
    for line in lines.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["-", path] => drop(files.remove(path).unwrap()),
            [">", path, new] => {
                let bytes = files.remove(path).unwrap();
                files.insert(new.into(), bytes);
            }
            ["<", path, len] => files.get_mut(path).unwrap().truncate(len.parse().unwrap()),
            ["~", path, at, hex] => {
                let (at, bytes): (usize, _) = (at.parse().unwrap(), HEXLOWER.decode(hex.as_bytes()).unwrap());
                files.get_mut(path).unwrap()[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            ["+", path, base64] => drop(files.insert(path.into(), BASE64.decode(base64.as_bytes()).unwrap())),
            _ => panic!("{line}"),
        }
    }
}

/// The value of a line `name: value` of a header.
pub fn field<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let lines = text.lines().take_while(|line| !line.is_empty());
    lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

/// Writes the files below `folder`, which is new.
pub fn unpack(files: &Files, folder: &Path) {
    for (path, bytes) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
