//! What a file system has left.

use std::path::Path;

/// Bytes that this user may still write where `folder` lies; nothing where the file system has no limit, or does not tell.
#[must_use]
pub fn free_space(folder: &Path) -> Option<u64> {
    let space = rustix::fs::statvfs(folder).ok()?;
    // ramfs, and a tmpfs without a size, say 0 of 0.
    (space.f_blocks > 0).then(|| space.f_bavail.saturating_mul(space.f_frsize))
}
