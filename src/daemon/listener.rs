//! The socket: ours alone, and one daemon behind it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::process::getuid;

use crate::paths::Places;
use crate::wire::{Failure, Outcome};

/// Connections that wait to be taken: whoever comes next waits behind all of them.
const WAITING: i32 = 128;

/// The listening socket, and the lock that keeps a second daemon away.
pub struct Listening {
    /// Listens.
    pub socket: UnixListener,
    /// Held for the daemon's life; nothing when systemd holds the socket.
    pub(super) lock: Option<File>,
}

/// Takes the socket that systemd passes, or makes one.
///
/// # Errors
/// Another daemon runs; the folder is not ours or cannot be written.
pub fn listen(places: &Places) -> Result<Listening, Failure> {
    let listening = match activated()? {
        Some(socket) => Listening { socket, lock: None },
        None => bind(places)?,
    };
    rustix::net::listen(&listening.socket, WAITING).map_err(|error| cannot(places, error.into()))?;
    Ok(listening)
}

fn cannot(places: &Places, error: io::Error) -> Failure {
    Failure::new(
        Outcome::NoDaemon,
        "socket",
        format!("{} cannot listen: {error}", places.socket().display()),
    )
    .hint("touchlease doctor looks at the socket and its folder")
}

/// sd_listen_fds(3): the first passed descriptor, if it is a listening Unix socket.
fn activated() -> Result<Option<UnixListener>, Failure> {
    let broken = |error: &dyn std::fmt::Display| {
        Failure::new(
            Outcome::NoDaemon,
            "activation",
            format!("the socket that systemd passed cannot be used: {error}"),
        )
        .hint("give the socket unit one ListenStream= and no Accept=yes, then: systemctl --user restart touchlease.socket")
    };
    let mut passed = sd_notify::listen_fds().map_err(|error| broken(&error))?;
    match (passed.next(), passed.next()) {
        (None, _) => Ok(None),
        (Some(fd), None) => Ok(Some(adopt(fd).map_err(|error| broken(&error))?)),
        (Some(_), Some(_)) => Err(broken(&"it passed several; the unit needs one ListenStream=")),
    }
}

#[allow(unsafe_code)]
fn adopt(fd: RawFd) -> io::Result<UnixListener> {
    // SAFETY: systemd passes this descriptor to this process alone (LISTEN_PID was checked), and nothing else has taken it yet.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::net::sockopt::socket_acceptconn(&fd)?
        .then_some(())
        .ok_or(io::ErrorKind::InvalidInput)?;
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(UnixListener::from(fd))
}

fn bind(places: &Places) -> Result<Listening, Failure> {
    let folder = &places.runtime;
    own_folder(folder).map_err(|error| {
        let message = format!("{} cannot be used: {error}", folder.display());
        let failure = Failure::new(Outcome::NoDaemon, "socket_folder", message);
        match folder.parent().filter(|parent| !parent.exists()) {
            Some(parent) => failure.hint(format!(
                "{} is not there; without XDG_RUNTIME_DIR another place is taken: unset XDG_RUNTIME_DIR",
                parent.display()
            )),
            None => failure.hint("it has to be yours alone; remove it, or set XDG_RUNTIME_DIR"),
        }
    })?;
    let cannot = |error| cannot(places, error);
    let lock = lock(folder)
        .map_err(cannot)?
        .ok_or_else(|| Failure::new(Outcome::NoDaemon, "running", "a daemon runs already").hint("touchlease status"))?;
    // Whoever holds the lock knows that a socket left here belongs to nobody any more.
    let path = places.socket();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(error)),
        _ => {}
    }
    let socket = UnixListener::bind(&path).map_err(cannot)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(cannot)?;
    Ok(Listening { socket, lock: Some(lock) })
}

/// Makes the folder with mode 0700, or accepts one that is ours and nobody else's (T25).
fn own_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let meta = fs::symlink_metadata(folder)?;
    let mine = meta.is_dir() && meta.uid() == getuid().as_raw();
    if !mine {
        return Err(io::Error::other("it is somebody else's, or no folder"));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(io::Error::other("others can enter it (chmod 700)"));
    }
    Ok(())
}

fn lock(folder: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(folder.join("lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;

    fn places(dir: &Path) -> Places {
        Places {
            config: dir.join("c"),
            vault: dir.join("v"),
            state: dir.join("s"),
            runtime: dir.join("run/touchlease"),
        }
    }

    #[test]
    fn t25_the_folder_is_made_0700_and_the_socket_0600() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let _listening = bind(&places).unwrap();
        assert_eq!(fs::metadata(&places.runtime).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(places.socket()).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn t25_a_folder_that_others_can_enter_or_that_is_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        fs::create_dir_all(&places.runtime).unwrap();
        fs::set_permissions(&places.runtime, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(bind(&places).err().unwrap().reason, "socket_folder");
        fs::remove_dir(&places.runtime).unwrap();
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        symlink(dir.path().join("elsewhere"), &places.runtime).unwrap();
        assert_eq!(bind(&places).err().unwrap().reason, "socket_folder");
    }

    #[test]
    fn t52_a_second_daemon_is_kept_away_and_a_socket_left_behind_is_not_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let first = bind(&places).unwrap();
        assert_eq!(bind(&places).err().unwrap().reason, "running");
        drop(first);
        assert!(places.socket().exists());
        bind(&places).unwrap();
    }
}
