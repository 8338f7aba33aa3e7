//! The build script: what the linker is told, as in the product's own.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    let set = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // Each test is a start of the program that has them all: the addresses in it are set once, and not at every start.
    if set("PROFILE", "debug") && set("CARGO_CFG_TARGET_OS", "linux") && set("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo::rustc-link-arg=-no-pie");
    }
}
