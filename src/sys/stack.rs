//! What work with a key leaves behind on the stack.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// Bytes of stack below the caller that are overwritten. Loading a P-256 key and signing with it reaches 3.5 KiB deep in a release build and
/// 13 KiB in one without optimization (x86-64, `ring` 0.17 and `p256` 0.14; a test holds it against this).
pub const REACH: usize = 16 << 10;

/// Does `work`, and overwrites the stack on which it was done, before anybody else has it.
///
/// Libraries of cryptography copy keys, and what is as good as a key (a nonce), into their frames and leave them there: no value's `drop` reaches a
/// copy that the compiler made. Afterwards nothing of that is within [`REACH`] of this call. What it does not reach: registers, until somebody else
/// uses them; what lies deeper; the heap; what `work` returns, by whatever way; and what a signal's handler or the kernel saved while it was done.
/// The stack is ordinary memory, so for as long as `work` takes all this may be swapped out.
#[inline(never)]
pub fn scrubbed<T>(work: impl FnOnce() -> T) -> T {
    let done = apart(work);
    overwrite();
    done
}

/// Frames of its own, which lie where those of [`overwrite`] will.
#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn overwrite() {
    let mut below = MaybeUninit::<[u64; REACH / 8]>::uninit();
    let start = below.as_mut_ptr().cast::<u64>();
    for at in 0..REACH / 8 {
        // SAFETY: within the array; volatile, since nobody reads it and the compiler would leave it out.
        unsafe { start.add(at).write_volatile(0) };
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::hint::black_box;

    use super::*;

    /// What is looked at: more than [`REACH`], less than a thread of a test has.
    const LOOK: usize = 256 << 10;
    /// Next to whoever looks: his own frames.
    const OWN: usize = 1 << 10;

    #[inline(never)]
    fn here() -> *mut u8 {
        let mut here = 0_u8;
        black_box(&raw mut here)
    }

    /// The bytes below the caller's frames, lowest first, after `work` was done there.
    #[inline(never)]
    pub fn left_by(work: impl FnOnce()) -> Vec<u8> {
        let mut left = vec![0; LOOK];
        let lowest = here().wrapping_sub(LOOK);
        for at in 0..LOOK - OWN {
            // SAFETY: the stack of a thread of a test is longer, and nothing that is called from here lies there.
            unsafe { lowest.add(at).write_volatile(0xa5) };
        }
        apart(work);
        for (at, byte) in left.iter_mut().enumerate() {
            // SAFETY: as above; it was written.
            *byte = unsafe { lowest.add(at).read_volatile() };
        }
        left
    }

    /// How many bytes of stack `work` takes.
    pub fn depth(work: impl FnOnce()) -> usize {
        let left = left_by(work);
        LOOK - left.iter().position(|byte| *byte != 0xa5).unwrap_or(LOOK)
    }

    #[inline(never)]
    fn leaves(mark: u64) {
        let mut frame = [0_u64; 512];
        black_box(&mut frame).fill(black_box(mark));
    }

    fn count(left: &[u8], mark: u64) -> usize {
        left.windows(8).filter(|bytes| *bytes == mark.to_ne_bytes()).count()
    }

    #[test]
    fn t45_what_work_left_on_the_stack_is_overwritten() {
        let mark = 0x0123_4567_89ab_cdef;
        assert!(count(&left_by(|| leaves(mark)), mark) > 256, "it is not looked for where it is");
        assert_eq!(count(&left_by(|| scrubbed(|| leaves(mark))), mark), 0);
        assert_eq!(scrubbed(|| 7), 7);
    }
}
