//! The build script: what the linker is told.

use std::env;
use std::path::Path;
use std::process::Command;

/// Where a panic aborts, the unwinder only prints back traces: it is taken from the compiler's archive, and not from libgcc_s.so.1, a
/// library less to find, map and relocate at the start of every command. Where there is no archive, the library serves.
fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    if env::var("PROFILE").is_ok_and(|profile| profile == "release")
        && let Ok(said) = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output()
        && let Ok(path) = String::from_utf8(said.stdout)
        // A compiler that has none repeats the name alone.
        && let Some(folder) = Path::new(path.trim_end()).parent().filter(|folder| folder.is_absolute())
    {
        println!("cargo::rustc-link-search=native={}", folder.display());
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}
