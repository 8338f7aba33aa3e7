//! The everyday suite: the product against emulated keys, in this process and out of it.
#![allow(clippy::disallowed_methods, reason = "tests wait in real time")]

mod agents;
mod bad_keys;
mod completions;
mod conformance;
mod connect;
mod consent;
mod disk;
mod docs;
mod doctor;
mod export;
mod hints;
mod hygiene;
mod import;
mod input;
mod isolation;
mod json;
mod lab;
mod lifetime;
mod machines;
mod mcp;
mod newcomer;
mod places;
mod proxy;
mod races;
mod reading;
mod receipts;
mod rehearsals;
mod scan;
mod screen;
mod second_reader;
mod signers;
mod size;
mod slips;
mod spine;
mod ssh;
mod storms;
mod trace;
mod values;
mod vectors;
mod waiting;

/// The product lies beside the programs of this package, whose paths Cargo gives.
fn product() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_BIN_EXE_emukey")).with_file_name("touchlease")
}
