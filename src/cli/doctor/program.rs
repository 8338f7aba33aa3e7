//! The program's own file: what other processes of the same user can do with it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use crate::finding::{Finding, Part, quoted};

/// Mode bit of a folder whose entries only their owners rename and remove.
const STICKY: u32 = 0o1000;

/// Nothing for root, from whom no file keeps anything.
pub fn file() -> Option<Finding> {
    let me = geteuid().as_raw();
    (me != 0).then(|| match env::current_exe().and_then(|path| look(path, me)) {
        Ok(finding) => finding,
        Err(error) => Part::Versions.note(
            "program_unknown",
            format!("the program's file cannot be looked at: {error}"),
            "which touchlease",
        ),
    })
}

/// Linux lets nobody of the same user into a process, from its first instruction on, whose file that user cannot read: `would_dump` in
/// fs/exec.c. Otherwise a process of ours is open until it has closed itself.
fn look(path: PathBuf, me: u32) -> io::Result<Finding> {
    let replaced = is_replaceable(&path, me)?;
    let is_readable = access(&path, Access::READ_OK).is_ok();
    let what = match (replaced, is_readable) {
        (false, false) => {
            return Ok(Part::Versions.ok(
                "program_closed",
                "the program is out of your programs' reach: they cannot replace it, nor look into its processes as they start",
            ));
        }
        (true, _) => "programs of yours can put another program in its place",
        (false, true) => "programs of yours can look into a process of it in its first milliseconds",
    };
    Ok(Part::Versions.note(
        "program_open",
        format!("{what}: {}", path.display()),
        format!("sudo install -m 0711 {} /usr/local/bin/touchlease", quoted(&path)),
    ))
}

/// Whether `me` may write to the file, or put another one, or another folder on the way to it, in its place.
fn is_replaceable(path: &Path, me: u32) -> io::Result<bool> {
    let own = fs::metadata(path)?.uid();
    if own == me || access(path, Access::WRITE_OK).is_ok() {
        return Ok(true);
    }
    let mut owner = own;
    for folder in path.ancestors().skip(1) {
        let metadata = fs::metadata(folder)?;
        let is_kept = metadata.mode() & STICKY != 0 && owner != me;
        if metadata.uid() == me || (access(folder, Access::WRITE_OK).is_ok() && !is_kept) {
            return Ok(true);
        }
        owner = metadata.uid();
    }
    Ok(false)
}
