//! Values with something secret in them, in locked memory.
#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::arena::LockedBytes;
use super::stack::scrubbed;

/// Where pieces of locked memory begin: at multiples of this, at least.
const ALIGNMENT: usize = 64;

/// A value in locked memory, as [`LockedBytes`] is: dropped in its place, and then all of its bytes are wiped.
///
/// For keys of libraries that wipe nothing themselves. Only what lies in the value itself is locked and wiped, not what it points to.
pub struct Held<T> {
    place: LockedBytes,
    is: PhantomData<T>,
}

impl<T> Held<T> {
    const FITS: () = assert!(size_of::<T>() > 0 && align_of::<T>() <= ALIGNMENT);

    /// What `make` makes, moved into locked memory; the stack on which it was made is overwritten.
    ///
    /// # Errors
    /// As [`LockedBytes::new`]; within, those of `make`.
    pub fn make<E>(make: impl FnOnce() -> Result<T, E>) -> io::Result<Result<Self, E>> {
        const { Self::FITS };
        let place = LockedBytes::new(size_of::<T>())?;
        let start: NonNull<T> = place.start().cast();
        // SAFETY: the place is this function's alone, long enough, and aligned (`FITS`).
        let made = scrubbed(|| make().map(|value| unsafe { start.write(value) }));
        // From here on there is a value in the place.
        Ok(made.map(|()| Self { place, is: PhantomData }))
    }

    /// The value.
    ///
    /// # Panics
    /// In a forked copy of the process, which has no locked memory of the one that it was copied from: there may be anything in its place.
    #[must_use]
    pub fn get(&self) -> &T {
        assert!(self.place.is_of_this_process(), "a value of another process is looked at");
        // SAFETY: the place is there (above), `make` wrote a value there, and only `drop` takes it away. The place stays where it is when this is moved.
        unsafe { self.place.start().cast().as_ref() }
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        if self.place.is_of_this_process() {
            // SAFETY: there is a value (see `get`), and nobody looks at it after this.
            unsafe { self.place.start().cast::<T>().drop_in_place() };
        }
        // The place wipes itself.
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;

    use super::*;

    struct Counts<'a>(&'a Cell<u32>, [u8; 100]);

    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + u32::from(self.1[99]));
        }
    }

    #[test]
    fn t45_a_value_is_dropped_once_in_its_place_and_its_bytes_are_gone() {
        let dropped = Cell::new(0);
        // The chunk stays mapped with this in it.
        let keeps_the_chunk = LockedBytes::new(1).unwrap();
        let held = Held::make(|| Ok::<_, ()>(Counts(&dropped, [7; 100]))).unwrap().unwrap();
        let start = held.place.start();
        // SAFETY: in a chunk that stays; another thread's secret may lie there by now, which is not that of this test.
        let look = || unsafe { start.cast::<[u8; size_of::<Counts<'_>>()]>().read_volatile() };
        assert_eq!((held.get().1, dropped.get()), ([7; 100], 0));
        assert!(look().windows(100).any(|bytes| bytes == [7; 100]));
        let moved = Box::new(held);
        assert_eq!(moved.get().1, [7; 100]);
        drop(moved);
        assert_eq!(dropped.get(), 7);
        assert!(!look().windows(8).any(|bytes| bytes == [7; 8]));
        drop(keeps_the_chunk);
    }

    #[test]
    fn what_cannot_be_made_is_not_dropped() {
        let made = Held::<Counts<'_>>::make(|| Err("no key")).unwrap();
        assert_eq!(made.err(), Some("no key"));
    }

    #[test]
    fn each_value_begins_where_its_type_wants_it() {
        #[repr(align(64))]
        #[derive(Clone, Copy)]
        struct Aligned(u8);
        let all: Vec<_> = (0..100).map(|n| Held::make(|| Ok::<_, ()>(Aligned(n))).unwrap().unwrap()).collect();
        assert!(all.iter().zip(0..).all(|(held, n)| held.get().0 == n));
        assert!(all.iter().all(|held| std::ptr::from_ref(held.get()).addr() % 64 == 0));
        let large = Held::make(|| Ok::<_, ()>([1_u64; 5000])).unwrap().unwrap();
        assert!(large.get().iter().all(|word| *word == 1));
    }

    #[test]
    fn t47_in_a_forked_copy_nobody_looks_at_what_lies_in_the_place_of_a_value() {
        use rustix::process::{WaitOptions, waitpid};
        let held = Held::make(|| Ok::<_, ()>([7_u8; 32])).unwrap().unwrap();
        let look = || i32::from(held.get()[0] == 7);
        assert_eq!(look(), 1);
        let copy = crate::sys::child::fork(&[], look).unwrap();
        let (_, status) = waitpid(Some(copy), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(70), "it panicked");
    }
}
