//! What the vault's tests share.
#![allow(clippy::unwrap_used)]

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::statvfs;

/// What all tests that run at once may need, many times over.
const ENOUGH: u64 = 512 << 20;

/// A folder of its own for one test, removed at its end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("touchlease-vault-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = place().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

/// In memory where there is such a file system with room: what these tests show does not hang on a disk, and every change of a vault
/// waits for one a dozen times. `TMPDIR` says otherwise.
fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let roomy = || statvfs(memory).is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) > ENOUGH);
    if std::env::var_os("TMPDIR").is_none() && memory.is_dir() && roomy() {
        return memory.to_owned();
    }
    std::env::temp_dir()
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
