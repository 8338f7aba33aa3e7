//! The binary: see the library.

// The standard library's start would read /proc/self/maps, to say at a stack overflow what it was: a tenth of a millisecond for each
// command with a lease. What else it does is in `sys::start`.
#![no_main]

use std::ffi::{c_char, c_int};

/// Called by the C library, from which the standard library has the arguments by itself.
#[allow(unsafe_code)] // Its name is what makes it the program's start; there is no other of that name.
#[unsafe(no_mangle)]
extern "C" fn main(_count: c_int, _words: *const *const c_char) -> c_int {
    // Not by returning: what is still to be written out is written then.
    std::process::exit(touchlease::cli::main().into())
}
