//! Where ssh finds the agent: a socket in a folder of its own, which goes with it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::process::getuid;

use crate::paths::Places;
use crate::wire::{Failure, Outcome};

/// How the folders begin; the process's id follows.
const PREFIX: &str = "ssh-agent-";
const NAME: &str = "s";

/// A listening socket; the folder is removed when it is dropped.
pub struct Socket {
    folder: PathBuf,
    listener: UnixListener,
}

impl Socket {
    /// Makes one below the runtime folder, and takes away what an agent that was killed left there.
    ///
    /// # Errors
    /// The folder is somebody else's, or cannot be written.
    pub fn make(places: &Places) -> Result<Self, Failure> {
        let folder = places.runtime.join(format!("{PREFIX}{}", std::process::id()));
        let made = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&places.runtime)?;
            check(&places.runtime)?;
            sweep(&places.runtime);
            // Not recursive: one that is there already is not ours.
            DirBuilder::new().mode(0o700).create(&folder)?;
            check(&folder)?;
            let listener = UnixListener::bind(folder.join(NAME))?;
            listener.set_nonblocking(true)?;
            Ok::<_, io::Error>(listener)
        };
        match made() {
            Ok(listener) => Ok(Self { folder, listener }),
            Err(error) => {
                let message = format!("the agent's socket cannot be made in {}: {error}", folder.display());
                Err(Failure::new(Outcome::Refused, "agent_socket", message)
                    .hint("look whose folder that is, and whether the path is short enough for a socket (107 bytes)"))
            }
        }
    }

    /// A handle of the socket, which does not block.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// For SSH_AUTH_SOCK.
    pub fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// Ours, and nobody else enters (T25).
fn check(folder: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(folder)?;
    match meta.is_dir() && meta.uid() == getuid().as_raw() && meta.mode() & 0o077 == 0 {
        true => Ok(()),
        false => Err(io::Error::other(format!("{} is not yours alone", folder.display()))),
    }
}

/// An agent that was killed leaves a socket at which nobody listens.
fn sweep(runtime: &Path) {
    let entries = fs::read_dir(runtime).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let met = UnixStream::connect(entry.path().join(NAME));
        if met.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            remove(&entry.path());
        }
    }
}

/// What is in it is known: nothing that somebody put there goes with it.
fn remove(folder: &Path) {
    let _ = fs::remove_file(folder.join(NAME));
    let _ = fs::remove_dir(folder);
}
