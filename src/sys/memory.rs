//! Pages for secrets.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mlock, mmap, mmap_anonymous, mprotect, munmap};
use zeroize::Zeroize;

/// Pieces of the heap of at least this many bytes are mappings of their own.
const LARGE: libc::c_int = 1 << 20;

/// Lets a large piece of memory go back to the kernel whenever it is freed.
///
/// glibc by itself begins to keep pieces of up to 32 MiB once one was freed (mallopt(3), "dynamic mmap threshold"): the forms of a value of
/// 1 MiB, wiped one by one, would then all stay.
pub fn give_back_large_pieces() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number of the allocator, which takes its own lock.
    unsafe {
        // Refused, memory is used as without it.
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Gives pages of the heap back in which nothing is any more: what the start of a process needed, and nobody needs afterwards.
pub fn give_back_free_pages() {
    #[cfg(target_env = "gnu")]
    // SAFETY: looks for free pieces under the allocator's own lock.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives back the pages of this program's code and constants that were used so far. What of it is used again comes from the page cache as it
/// came before; what only a start needs stays away.
pub fn give_back_program_pages() {
    /// Of the first object, which is the program itself: its segments that nobody can write to, so that none of their pages differs from the file.
    unsafe extern "C" fn of_the_program(object: *mut libc::dl_phdr_info, _: libc::size_t, _: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the loader gives a valid object for the time of this call, and its headers stay mapped.
        let (base, headers) = unsafe {
            let object = &*object;
            (
                object.dlpi_addr,
                std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()),
            )
        };
        let constant = headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0);
        for header in constant {
            let start = (base + header.p_vaddr) as usize;
            let from = start.next_multiple_of(rustix::param::page_size());
            let len = (start + header.p_memsz as usize).saturating_sub(from);
            // SAFETY: a mapping of a file that is never written to; a page of it that is touched again is read again.
            // Refused, the pages stay.
            let _ = unsafe { madvise(from as *mut _, len, Advice::LinuxDontNeed) };
        }
        1
    }
    // SAFETY: the function has the form that is called, and keeps nothing.
    unsafe {
        libc::dl_iterate_phdr(Some(of_the_program), ptr::null_mut());
    }
}

/// A private, locked, zero-filled mapping, wiped and unmapped when dropped.
///
/// `memfd_secret(2)` where the kernel has it (its pages leave the kernel's own direct map, so not even root reads them through
/// `/proc/PID/mem`), else anonymous pages under `mlock(2)`. Both are left out of core dumps and of forks, and lie between two pages that
/// nobody may touch: who reads or writes on and on beside them never gets in.
pub struct LockedPages {
    _whole: Mapping,
    start: NonNull<u8>,
    len: usize,
}

/// A mapping of `len` bytes, unmapped when dropped.
struct Mapping {
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
        match map_secret(len + 2 * page) {
            Some(whole) => Self::within(whole, page),
            None => Self::locked(len + 2 * page, page),
        }
    }

    fn locked(whole: usize, page: usize) -> io::Result<Self> {
        let pages = Self::within(map_anonymous(whole)?, page)?;
        // SAFETY: the range lies in the mapping made above.
        unsafe {
            mlock(pages.start.as_ptr().cast(), pages.len)?;
            madvise(pages.start.as_ptr().cast(), pages.len, Advice::LinuxDontDump)?;
        }
        Ok(pages)
    }

    /// All of `whole` but its first and its last page, which nobody may touch from now on.
    fn within(whole: Mapping, page: usize) -> io::Result<Self> {
        let len = whole.len - 2 * page;
        // SAFETY: the mapping is longer than two pages; nothing points into it yet.
        unsafe {
            let start = whole.start.add(page);
            let behind = start.add(len);
            madvise(whole.start.as_ptr().cast(), whole.len, Advice::LinuxDontFork)?;
            mprotect(whole.start.as_ptr().cast(), page, MprotectFlags::empty())?;
            mprotect(behind.as_ptr().cast(), page, MprotectFlags::empty())?;
            Ok(Self { _whole: whole, start, len })
        }
    }

    /// Where the pages begin.
    #[must_use]
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// All of the pages.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped readable for `len` bytes, initialised to zero by the kernel, lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// All of the pages.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as `as_slice`, and `&mut self` makes it exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for LockedPages {
    fn drop(&mut self) {
        self.as_mut_slice().zeroize();
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing borrows it any more.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Whether the kernel gives memory that it does not map itself.
#[must_use]
pub fn has_secret_memory() -> bool {
    map_secret(rustix::param::page_size()).is_some()
}

/// A mapping of `memfd_secret(2)`, or nothing where the kernel or the memory limit has none: the caller then locks ordinary pages.
fn map_secret(len: usize) -> Option<Mapping> {
    // SAFETY: takes a flags word and returns a descriptor or -1.
    let raw = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let raw = i32::try_from(raw).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: a fresh descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    rustix::fs::ftruncate(&fd, len as u64).ok()?;
    // SAFETY: a new mapping at an address of the kernel's choice; it keeps the file alive after the descriptor is closed.
    let start = unsafe { mmap(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &fd, 0) };
    let start = NonNull::new(start.ok()?.cast())?;
    Some(Mapping { start, len })
}

fn map_anonymous(len: usize) -> io::Result<Mapping> {
    // SAFETY: a new anonymous mapping at an address of the kernel's choice.
    let start = unsafe { mmap_anonymous(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) }?;
    let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
    Ok(Mapping { start, len })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustix::process::{WaitOptions, waitpid};

    use super::*;
    use crate::sys::child;

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
        let page = rustix::param::page_size();
        let mut pages = LockedPages::locked(3 * page, page).unwrap();
        pages.as_mut_slice()[page - 1] = 9;
        assert_eq!(pages.as_slice()[page - 1], 9);
        assert!(LockedPages::locked(usize::MAX / 2 / page * page, page).is_err());
    }

    #[test]
    fn who_writes_on_and_on_beside_the_pages_falls() {
        let page = rustix::param::page_size();
        for make in [|page| LockedPages::new(page), |page| LockedPages::locked(3 * page, page)] {
            for beside in [-1, isize::try_from(page).unwrap()] {
                let copy = child::fork(&[], || {
                    let Ok(pages) = make(page) else { return 1 };
                    // SAFETY: it is not: that is what is tried, in a copy of this process.
                    unsafe { pages.start().offset(beside).write_volatile(1) };
                    2
                });
                let (_, status) = waitpid(Some(copy.unwrap()), WaitOptions::empty()).unwrap().unwrap();
                assert_eq!(status.terminating_signal(), Some(libc::SIGSEGV), "{status:?}");
            }
        }
    }
}
