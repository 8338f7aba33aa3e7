//! Locked memory in small pieces.
//!
//! A mapping of its own costs a secret some 40 us (half of it the first touch of its page) and at least a page of `RLIMIT_MEMLOCK`, for
//! a few dozen bytes as a rule. So secrets share chunks of locked pages, in runs of slots; what is longer than half a chunk has pages
//! of its own.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zeroize::Zeroize;

use super::memory::LockedPages;

/// Pages of a chunk.
const PAGES: usize = 4;
/// Slots of a chunk: the bits of its map.
const SLOTS: usize = 64;
/// Longest run of slots.
const LONGEST: usize = SLOTS / 2;

static ARENA: Mutex<Arena> = Mutex::new(Arena {
    chunks: BTreeMap::new(),
    spare: None,
});
/// How many forks lie between the program's start and this process.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// `len` bytes of locked memory, zeros at first, wiped when dropped.
pub struct LockedBytes {
    place: ManuallyDrop<Place>,
    len: usize,
    /// [`FORKS`] when it was made: in a forked copy its memory is not there, or is another secret's by now.
    forks: u32,
}

enum Place {
    Slots(NonNull<u8>),
    Pages(LockedPages),
}

// SAFETY: the slots or pages are owned by this value alone and have no thread affinity.
unsafe impl Send for LockedBytes {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for LockedBytes {}

impl LockedBytes {
    /// `len` zero bytes.
    ///
    /// # Errors
    /// As [`LockedPages::new`].
    pub fn new(len: usize) -> io::Result<Self> {
        let place = match slots(len) {
            // No byte, no memory: most messages from a worker bring nothing secret.
            0 => Place::Slots(NonNull::dangling()),
            slots if slots > LONGEST => Place::Pages(LockedPages::new(len)?),
            slots => Place::Slots(arena().take(slots)?),
        };
        Ok(Self {
            place: ManuallyDrop::new(place),
            len,
            forks: FORKS.load(Ordering::Relaxed),
        })
    }

    /// Where the bytes begin: at the beginning of a slot or of a page, so at a multiple of 64; of no bytes, nowhere.
    pub(super) fn start(&self) -> NonNull<u8> {
        match &*self.place {
            Place::Slots(start) => *start,
            Place::Pages(pages) => pages.start(),
        }
    }

    /// Whether they are there: in a forked copy they are not.
    pub(super) fn is_of_this_process(&self) -> bool {
        self.forks == FORKS.load(Ordering::Relaxed)
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &*self.place {
            // SAFETY: `Arena::take` gave at least `len` initialised bytes, which stay mapped, and nobody else's, until given back.
            Place::Slots(start) => unsafe { std::slice::from_raw_parts(start.as_ptr(), self.len) },
            Place::Pages(pages) => &pages.as_slice()[..self.len],
        }
    }

    /// The bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut *self.place {
            // SAFETY: as `as_slice`, and `&mut self` makes it exclusive.
            Place::Slots(start) => unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), self.len) },
            Place::Pages(pages) => &mut pages.as_mut_slice()[..self.len],
        }
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        if !self.is_of_this_process() {
            return;
        }
        // SAFETY: nothing looks at the place after this.
        match unsafe { ManuallyDrop::take(&mut self.place) } {
            Place::Slots(start) if self.len > 0 => arena().give_back(start, slots(self.len)),
            // Pages of its own wipe themselves.
            Place::Slots(_) | Place::Pages(_) => {}
        }
    }
}

/// In a forked copy: the parent's chunks are not there, so what the copy keeps secret gets chunks of its own, and what it inherited is
/// left alone when dropped.
pub fn renew_in_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    mem::forget(mem::take(&mut *arena()));
}

fn arena() -> MutexGuard<'static, Arena> {
    // Nothing panics in the middle of a change.
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

fn slots(len: usize) -> usize {
    len.div_ceil(slot_len())
}

/// 256 bytes where pages have 4 KiB.
fn slot_len() -> usize {
    PAGES * rustix::param::page_size() / SLOTS
}

/// Chunks by their addresses. What is free in them is zero.
#[derive(Default)]
struct Arena {
    chunks: BTreeMap<usize, Chunk>,
    /// An empty chunk, kept so that one secret after the other costs no mapping each; any more go back to the kernel.
    spare: Option<LockedPages>,
}

struct Chunk {
    pages: LockedPages,
    map: Map,
}

impl Arena {
    /// `count` slots, at most [`LONGEST`], for the caller alone until it gives them back: zeros.
    fn take(&mut self, count: usize) -> io::Result<NonNull<u8>> {
        if let Some(start) = self.chunks.values_mut().find_map(|chunk| chunk.take(count)) {
            return Ok(start);
        }
        let pages = match self.spare.take() {
            Some(pages) => pages,
            None => LockedPages::new(SLOTS * slot_len())?,
        };
        let address = pages.start().addr().get();
        let chunk = self.chunks.entry(address).or_insert(Chunk { pages, map: Map(0) });
        chunk.take(count).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Takes the `count` slots at `start` back and wipes them. A chunk of which all is back is not kept, but for one.
    fn give_back(&mut self, start: NonNull<u8>, count: usize) {
        let address = start.addr().get();
        let below = self.chunks.range_mut(..=address).next_back();
        let Some((&at, chunk)) = below.filter(|(at, _)| (address - **at) / slot_len() + count <= SLOTS) else {
            return;
        };
        // SAFETY: these slots were given out by `take`, and who had them points to them no more.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), count * slot_len()) }.zeroize();
        chunk.map.give_back((address - at) / slot_len(), count);
        if chunk.map.is_empty() {
            let emptied = self.chunks.remove(&at).map(|chunk| chunk.pages);
            self.spare = self.spare.take().or(emptied);
        }
    }
}

impl Chunk {
    fn take(&mut self, count: usize) -> Option<NonNull<u8>> {
        let first = self.map.take(count)?;
        // SAFETY: slot `first` lies in the chunk's pages.
        Some(unsafe { self.pages.start().add(first * slot_len()) })
    }
}

/// Which slots of a chunk are taken: bit 0 is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Map(u64);

impl Map {
    /// Takes the first run of `count` free slots (1 to 63); gives its first slot.
    fn take(&mut self, count: usize) -> Option<usize> {
        // A bit stays where it and the `count - 1` above it are free; above the last slot nothing is.
        let starts = (1..count).fold(!self.0, |starts, above| starts & (!self.0 >> above));
        let first = starts.trailing_zeros() as usize;
        (first < SLOTS).then(|| {
            self.0 |= run(first, count);
            first
        })
    }

    fn give_back(&mut self, first: usize, count: usize) {
        debug_assert_eq!(self.0 & run(first, count), run(first, count));
        self.0 &= !run(first, count);
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

fn run(first: usize, count: usize) -> u64 {
    ((1 << count) - 1) << first
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustix::process::{WaitOptions, waitpid};

    use super::*;
    use crate::sys::child;

    /// Every run of 1 to 32 slots, taken and given back in an order that a counter shuffles, against slots that are told apart by whose
    /// they are.
    #[test]
    fn the_map_never_gives_a_slot_twice_and_finds_every_run_that_is_free() {
        let (mut map, mut owners, mut held, mut dice) = (Map(0), [0_u32; SLOTS], Vec::new(), 1_u64);
        let (mut taken, mut full) = (0, 0);
        for owner in 1..20_000 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (draw, count) = ((dice >> 33) as usize, 1 + (dice >> 40) as usize % LONGEST);
            if draw.is_multiple_of(2) && !held.is_empty() {
                let (owner, first, count) = held.swap_remove(draw / 2 % held.len());
                assert!(owners[first..first + count].iter().all(|there| *there == owner));
                owners[first..first + count].fill(0);
                map.give_back(first, count);
            } else if let Some(first) = map.take(count) {
                assert!(owners[first..first + count].iter().all(|there| *there == 0));
                owners[first..first + count].fill(owner);
                held.push((owner, first, count));
                taken += 1;
            } else {
                assert!(owners.windows(count).all(|run| run.iter().any(|there| *there != 0)));
                full += 1;
            }
            let bits = owners.iter().rev().fold(0, |bits, there| bits << 1 | u64::from(*there != 0));
            assert_eq!((map.0, map.is_empty()), (bits, held.is_empty()));
        }
        assert!(taken > 1000 && full > 1000, "{taken} taken, {full} times full");
    }

    #[test]
    fn t45_what_a_dropped_secret_leaves_is_zero_and_the_next_one_lies_there() {
        let mut arena = Arena::default();
        let keeps_the_chunk = arena.take(1).unwrap();
        let start = arena.take(2).unwrap();
        // SAFETY: two slots that are this test's, in a chunk that stays.
        let look = || unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), 2 * slot_len()) };
        look().fill(7);
        arena.give_back(start, 2);
        assert!(look().iter().all(|byte| *byte == 0));
        assert_eq!(arena.take(2).unwrap(), start);
        arena.give_back(start, 2);
        arena.give_back(keeps_the_chunk, 1);
    }

    #[test]
    fn chunks_are_shared_and_go_back_when_empty_but_for_one() {
        let mut arena = Arena::default();
        let runs: Vec<_> = (0..200).map(|_| arena.take(1).unwrap()).collect();
        assert_eq!((arena.chunks.len(), arena.spare.is_some()), (4, false));
        assert_eq!(runs.iter().collect::<std::collections::BTreeSet<_>>().len(), 200);
        runs.into_iter().for_each(|start| arena.give_back(start, 1));
        assert_eq!((arena.chunks.len(), arena.spare.is_some()), (0, true));
        let start = arena.take(LONGEST).unwrap();
        assert_eq!((arena.chunks.len(), arena.spare.is_some()), (1, false));
        arena.give_back(start, LONGEST);
    }

    #[test]
    fn threads_have_their_own_bytes() {
        let fill = |byte: u8| {
            for len in (1..9000).step_by(97) {
                let mut bytes = LockedBytes::new(len).unwrap();
                assert!(bytes.as_slice().iter().all(|there| *there == 0));
                bytes.as_mut_slice().fill(byte);
                std::thread::yield_now();
                assert!(bytes.as_slice().iter().all(|there| *there == byte));
            }
        };
        std::thread::scope(|scope| {
            (1..=4).for_each(|byte| drop(scope.spawn(move || fill(byte))));
        });
    }

    #[test]
    fn slots_of_another_arena_are_left_alone() {
        let (mut one, mut other) = (Arena::default(), Arena::default());
        let mut starts = [one.take(2).unwrap(), other.take(2).unwrap()];
        let mut arenas = [&mut one, &mut other];
        if starts[0] > starts[1] {
            (starts, arenas) = ([starts[1], starts[0]], [&mut other, &mut one]);
        }
        // SAFETY: two slots that are this test's.
        let look = |start: NonNull<u8>| unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), 2 * slot_len()) };
        starts.iter().for_each(|start| look(*start).fill(7));
        // The chunk next below is the wrong arena's.
        arenas[0].give_back(starts[1], 2);
        assert!(starts.iter().all(|start| look(*start).iter().all(|byte| *byte == 7)));
        (0..2).for_each(|at| arenas[at].give_back(starts[at], 2));
        assert!(one.chunks.is_empty() && other.chunks.is_empty());
    }

    #[test]
    fn t45_a_forked_copy_that_drops_what_it_inherited_wipes_no_secret_of_its_own() {
        // Slots of a chunk, and pages of their own: where they lay, the copy may have new ones.
        let mut inherited = [32, 3 * SLOTS * slot_len()].map(|len| Some(LockedBytes::new(len).unwrap()));
        let copy = child::fork(&[], || {
            let new = [32, 3 * SLOTS * slot_len()].map(|len| {
                let mut bytes = LockedBytes::new(len).ok()?;
                bytes.as_mut_slice().fill(9);
                Some(bytes)
            });
            inherited.iter_mut().for_each(|bytes| *bytes = None);
            let kept = |bytes: &Option<LockedBytes>| bytes.as_ref().is_some_and(|bytes| bytes.as_slice().iter().all(|byte| *byte == 9));
            i32::from(!new.iter().all(kept))
        });
        let (_, status) = waitpid(Some(copy.unwrap()), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0), "{status:?}");
    }

    #[test]
    fn a_forked_copy_has_none_of_it_and_can_keep_secrets_of_its_own() {
        let mut ours = LockedBytes::new(32).unwrap();
        ours.as_mut_slice().fill(1);
        let at = ours.as_slice().as_ptr().addr();
        let copy = child::fork(&[], || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
            let range = |line: &str| {
                let (from, to) = line.split(' ').next()?.split_once('-')?;
                Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
            };
            let inherited = maps.lines().filter_map(range).any(|range| range.contains(&at));
            let new = LockedBytes::new(32).is_ok_and(|bytes| bytes.as_slice() == [0; 32]);
            i32::from(inherited) + 2 * i32::from(!new)
        });
        let (_, status) = waitpid(Some(copy.unwrap()), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }
}
