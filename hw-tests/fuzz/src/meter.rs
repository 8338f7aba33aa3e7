//! Counts what is allocated, so that a length field that reserves memory is seen.
#![allow(unsafe_code, reason = "an allocator is unsafe to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a parser may use however short its input is: a PIN exchange's numbers, a buffer of [`crate::wire::codec`], a whole CTAP message.
const ROOM: usize = 192 << 10;
/// What it may use for each byte of input: a CBOR item of one byte becomes a value of some 80 bytes, in vectors that double.
const FACTOR: usize = 256;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counted.
pub struct Meter;

/// Runs `parse` over `input`, with `extra` bytes of memory beside what any parser may use.
///
/// # Panics
/// More was in use at one time than so short an input may cost.
pub fn within(input: &[u8], extra: usize, parse: fn(&[u8])) {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    parse(input);
    let used = PEAK.load(Relaxed).saturating_sub(before);
    let most = ROOM + extra + FACTOR * input.len();
    assert!(
        used <= most,
        "{} bytes of input made {used} bytes of memory; {most} are allowed",
        input.len()
    );
}

fn grown(by: usize) {
    let live = LIVE.fetch_add(by, Relaxed) + by;
    PEAK.fetch_max(live, Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grown(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(old, layout) }
    }
}
