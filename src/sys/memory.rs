//! Pages for secrets.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap, mmap_anonymous, munmap};
use zeroize::Zeroize;

/// A private, locked, zero-filled mapping, wiped and unmapped when dropped.
///
/// `memfd_secret(2)` where the kernel has it (its pages leave the kernel's own direct map, so not even root reads them through
/// `/proc/PID/mem`), else anonymous pages under `mlock(2)`. Both are left out of core dumps and of forks.
pub struct LockedPages {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is owned by this value alone and has no thread affinity.
unsafe impl Send for LockedPages {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for LockedPages {}

impl LockedPages {
    /// At least `len` bytes, a whole number of pages.
    ///
    /// # Errors
    /// `EAGAIN` or `ENOMEM` when `RLIMIT_MEMLOCK` is used up.
    pub fn new(len: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let len = len.max(1).div_ceil(page) * page;
        let pages = match map_secret(len) {
            Some(start) => Self { start, len },
            None => map_locked(len)?,
        };
        // SAFETY: the range is exactly the mapping made above.
        unsafe {
            madvise(pages.start.as_ptr().cast(), len, Advice::LinuxDontFork)?;
        }
        Ok(pages)
    }

    /// The whole mapping.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped readable for `len` bytes, initialised to zero by the kernel, lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The whole mapping.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as `as_slice`, and `&mut self` makes it exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for LockedPages {
    fn drop(&mut self) {
        self.as_mut_slice().zeroize();
        // SAFETY: the mapping is ours and nothing borrows it any more.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast::<c_void>(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Whether the kernel gives memory that it does not map itself.
#[must_use]
pub fn has_secret_memory() -> bool {
    map_secret(rustix::param::page_size()).is_some_and(|start| {
        // Dropping wipes and unmaps.
        drop(LockedPages {
            start,
            len: rustix::param::page_size(),
        });
        true
    })
}

/// Pages of `memfd_secret(2)`, or nothing where the kernel or the memory limit has none: the caller then locks ordinary pages.
fn map_secret(len: usize) -> Option<NonNull<u8>> {
    // SAFETY: takes a flags word and returns a descriptor or -1.
    let raw = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let raw = i32::try_from(raw).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: a fresh descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    rustix::fs::ftruncate(&fd, len as u64).ok()?;
    // SAFETY: a new mapping at an address of the kernel's choice; it keeps the file alive after the descriptor is closed.
    let start = unsafe { mmap(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &fd, 0) };
    NonNull::new(start.ok()?.cast())
}

fn map_locked(len: usize) -> io::Result<LockedPages> {
    // SAFETY: a new anonymous mapping at an address of the kernel's choice.
    let start = unsafe { mmap_anonymous(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) }?;
    let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
    // From here on dropping unmaps.
    let pages = LockedPages { start, len };
    // SAFETY: the range is exactly the mapping made above.
    unsafe {
        mlock(start.as_ptr().cast(), len)?;
        madvise(start.as_ptr().cast(), len, Advice::LinuxDontDump)?;
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pages_are_zero_and_writable() {
        let mut pages = LockedPages::new(5000).unwrap();
        assert!(pages.as_slice().iter().all(|b| *b == 0));
        assert!(pages.as_slice().len() >= 5000);
        pages.as_mut_slice()[4999] = 1;
        assert_eq!(pages.as_slice()[4999], 1);
    }

    #[test]
    fn ordinary_locked_pages_stand_in_where_the_kernel_has_no_secret_memory() {
        let mut pages = map_locked(4096).unwrap();
        pages.as_mut_slice()[0] = 9;
        assert_eq!(pages.as_slice()[0], 9);
    }
}
