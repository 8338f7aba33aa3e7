//! The build script: what the linker is told.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        unwind_from_archive();
        pack_relocations();
    } else {
        fix_addresses();
    }
}

/// What is built for tests is started some ten thousand times in a run of them, and without optimisation has 150,000 addresses, which take
/// two of five milliseconds to set at each start: here the linker sets them. What is released lies where the kernel puts it.
fn fix_addresses() {
    let linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    if linux && env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|libc| libc == "gnu") {
        println!("cargo::rustc-link-arg=-no-pie");
    }
}

/// Where a panic aborts, the unwinder only prints back traces: it is taken from the compiler's archive, and not from libgcc_s.so.1, a
/// library less to find, map and relocate at the start of every command. Where there is no archive, the library serves.
fn unwind_from_archive() {
    if let Some(path) = said("cc", "-print-file-name=libgcc_eh.a")
        // A compiler that has none repeats the name alone.
        && let Some(folder) = Path::new(path.trim_end()).parent().filter(|folder| folder.is_absolute())
    {
        println!("cargo::rustc-link-search=native={}", folder.display());
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}

/// 17,000 addresses are set at the start of every command: packed (DT_RELR) they are 5 KB to read, and not 400. The C library knows the
/// form since 2.36.
fn pack_relocations() {
    let version = said("getconf", "GNU_LIBC_VERSION").unwrap_or_default();
    let minor = version
        .trim_end()
        .strip_prefix("glibc 2.")
        .and_then(|minor| minor.parse::<u32>().ok());
    let here = env::var("HOST").is_ok_and(|host| env::var("TARGET").is_ok_and(|target| target == host));
    if here && minor.is_some_and(|minor| minor >= 36) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// What a program prints, where there is one.
fn said(program: &str, argument: &str) -> Option<String> {
    let out = Command::new(program).arg(argument).output().ok()?;
    String::from_utf8(out.stdout).ok()
}
