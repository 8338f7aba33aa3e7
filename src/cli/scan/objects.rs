//! What git says of objects: the line in front of each, and which are staged. Read strictly: whatever is in another form is nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A file that is staged.
#[derive(Debug, PartialEq, Eq)]
pub struct Staged {
    /// Its object.
    pub oid: String,
    /// Its path, from the top of the repository.
    pub path: PathBuf,
}

/// What stands in front of an object (git-cat-file(1), "batch output").
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// Its id.
    pub oid: String,
    /// `blob`, `commit`, `tree` or `tag`.
    pub kind: String,
    /// Its bytes.
    pub size: u64,
}

/// Reads the raw form of `git diff -z` (git-diff(1), "raw output format"); nothing where it is not in that form. Entries without contents,
/// and submodules, are left out.
#[must_use]
pub fn staged(list: &[u8]) -> Option<Vec<Staged>> {
    let mut staged = Vec::new();
    let mut fields = list.strip_suffix(b"\0").unwrap_or(list).split(|byte| *byte == 0);
    if list.is_empty() {
        return Some(staged);
    }
    while let Some(entry) = fields.next() {
        let entry = str::from_utf8(entry).ok()?.strip_prefix(':')?;
        let mut words = entry.split(' ');
        let (_, mode, _, oid, status) = (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
        let path = fields.next()?;
        if words.next().is_some() || !is_oid(oid) || status.is_empty() || path.is_empty() {
            return None;
        }
        let is_empty = oid.bytes().all(|byte| byte == b'0');
        if !is_empty && mode != "160000" {
            staged.push(Staged {
                oid: oid.to_owned(),
                path: OsStr::from_bytes(path).into(),
            });
        }
    }
    Some(staged)
}

impl Head {
    /// Reads the line in front of an object, without its end; nothing where it is none.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut words = str::from_utf8(line).ok()?.split(' ');
        let (oid, kind, size) = (words.next()?, words.next()?, words.next()?);
        let is_kind = ["blob", "commit", "tree", "tag"].contains(&kind);
        let is_number = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
        if words.next().is_some() || !is_oid(oid) || !is_kind || !is_number {
            return None;
        }
        Some(Self {
            oid: oid.to_owned(),
            kind: kind.to_owned(),
            size: size.parse().ok()?,
        })
    }
}

/// SHA-1 or SHA-256, in lower case.
fn is_oid(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const OID: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn what_stands_in_front_of_an_object_is_read_and_nothing_else() {
        let line = format!("{OID} blob 12");
        let head = Head {
            oid: OID.into(),
            kind: "blob".into(),
            size: 12,
        };
        assert_eq!(Head::parse(line.as_bytes()), Some(head));
        for bad in [
            "",
            "x blob 12",
            &format!("{OID} missing"),
            &format!("{OID} blob"),
            &format!("{OID} blob -1"),
            &format!("{OID} blob +1"),
            &format!("{OID} blob 99999999999999999999"),
            &format!("{OID} blob 12 x"),
            &format!("{OID}  12"),
            &format!("{} blob 12", OID.to_uppercase()),
        ] {
            assert_eq!(Head::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn t29_what_is_staged_is_read_with_any_name_and_without_submodules() {
        let none = "0".repeat(40);
        let list = format!(
            ":000000 100644 {none} {OID} A\0a b\n-c;\0:100644 100755 {none} {OID} M\0:x\0:000000 160000 {none} {OID} A\0sub\0:000000 100644 {none} {none} A\0later\0"
        );
        let paths: Vec<_> = staged(list.as_bytes()).unwrap().into_iter().map(|staged| staged.path).collect();
        assert_eq!(paths, [PathBuf::from("a b\n-c;"), ":x".into()]);
        assert_eq!(staged(b""), Some(vec![]));
        for bad in [
            &list[1..],
            &list[..20],
            &format!(":000000 100644 {none} {OID} A\0"),
            &format!(":0 1 {none} x A\0a\0"),
        ] {
            assert_eq!(staged(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
