//! A folder as it is now: what comes into it later is not there, and neither are sockets.
//!
//! What is laid over one socket is no wall for long. A server that starts anew removes its socket and makes another; the kernel takes away what lay over
//! the first one, in every namespace (`detach_mounts` in fs/namespace.c), and the second one was never covered. A folder that lies over another one
//! stays, since what is below it cannot be reached by that name any more.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount_remount};

use super::{copy, put, tmpfs};

/// Sessions' folders come and go with logins: those that are there get a place, in which nothing is.
const SESSIONS: &str = "user";

enum Kept {
    Link(PathBuf),
    Folder(OwnedFd),
    File(OwnedFd),
    Places(Vec<OsString>),
}

/// Puts such a folder in the place of `place`, with an empty folder of each of these names, which are ours.
pub(super) fn hold<'a>(place: &Path, names: impl IntoIterator<Item = &'a OsStr>) -> io::Result<()> {
    let mut kept = vec![];
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        // What cannot be brought is not there.
        let one = if kind.is_symlink() {
            fs::read_link(&path).ok().map(Kept::Link)
        } else if kind.is_dir() && entry.file_name() == SESSIONS {
            let places = fs::read_dir(&path).into_iter().flatten().flatten();
            Some(Kept::Places(places.map(|place| place.file_name()).collect()))
        } else if kind.is_dir() {
            copy(&path).ok().map(Kept::Folder)
        } else if kind.is_file() {
            copy(&path).ok().map(Kept::File)
        } else {
            None
        };
        kept.extend(one.map(|one| (entry.file_name(), one)));
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    tmpfs(place, flags, c"mode=755,size=1m")?;
    let mut folder = DirBuilder::new();
    folder.mode(0o755);
    for (name, one) in kept {
        let path = place.join(name);
        match one {
            Kept::Link(target) => symlink(target, path)?,
            Kept::Folder(tree) => {
                folder.create(&path)?;
                put(&path, &tree)?;
            }
            Kept::File(tree) => {
                File::create_new(&path)?;
                put(&path, &tree)?;
            }
            Kept::Places(names) => {
                folder.create(&path)?;
                names.iter().try_for_each(|name| folder.create(path.join(name)))?;
            }
        }
    }
    for name in names {
        match folder.create(place.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(mount_remount(place, MountFlags::BIND | MountFlags::RDONLY | flags, "")?)
}
