//! libFuzzer over the target that the environment variable `FUZZ_TARGET` names.
#![no_main]

use std::sync::OnceLock;

use fuzz::meter::{self, Meter};
use fuzz::targets::Target;

#[global_allocator]
static METER: Meter = Meter;

static TARGET: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(init: {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    TARGET.get_or_init(|| fuzz::targets::find(&name).expect("a target of this name"));
}, |data: &[u8]| {
    if let Some(target) = TARGET.get() {
        meter::within(data, target.extra, target.run);
    }
});
