//! What the system's table of accounts says of this user, whatever the environment says.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::null_mut;

/// Largest entry that is read, in bytes; real ones are far smaller.
const LARGEST: usize = 1 << 20;

/// The home folder of this process's user; none where the table has no such user.
#[must_use]
pub fn home() -> Option<PathBuf> {
    let mut room: Vec<libc::c_char> = vec![0; 1024];
    loop {
        // SAFETY: the structure and the room are ours for the call, with the length that is told; the entry's strings lie in the room and are
        // copied before it goes.
        unsafe {
            let mut entry: libc::passwd = std::mem::zeroed();
            let mut found = null_mut();
            match libc::getpwuid_r(libc::getuid(), &raw mut entry, room.as_mut_ptr(), room.len(), &raw mut found) {
                libc::ERANGE if room.len() < LARGEST => room.resize(room.len() * 4, 0),
                0 if !found.is_null() && !entry.pw_dir.is_null() => {
                    let folder = OsStr::from_bytes(CStr::from_ptr(entry.pw_dir).to_bytes());
                    return Some(folder).filter(|folder| !folder.is_empty()).map(PathBuf::from);
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_home_is_that_of_the_table_of_accounts() {
        let uid = rustix::process::getuid().as_raw().to_string();
        let table = std::fs::read_to_string("/etc/passwd").unwrap();
        let line = table.lines().find(|line| line.split(':').nth(2) == Some(&uid));
        let home = line.and_then(|line| line.split(':').nth(5)).map(PathBuf::from);
        assert_eq!(super::home(), home);
    }
}
