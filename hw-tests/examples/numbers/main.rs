//! The numbers of `docs/performance.md`, measured: `hw-tests/bench` builds this and runs it.
//!
//! `numbers FILE` prints the table and writes it to FILE; `numbers --only run mask` prints those parts alone. Peers run interleaved with the product, as the machine is shared and only
//! ratios within one run count. The exit code is not 0 when a peer is missing or a goal is missed; each is said.
#![allow(clippy::disallowed_methods)] // it measures

mod agent;
mod cores;
mod idle;
mod lease;
mod log;
mod mask;
mod page;
mod proxy;
mod rig;
mod run;
mod scan;
mod server;
mod size;
mod ssh;
mod table;
mod worker;

use std::process::ExitCode;

use table::{Failure, Table};
use touchlease::device::worker::{SUBCOMMAND, WATCH_SUBCOMMAND};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        // The daemon in this process starts its workers as the product does: this program again.
        Some(SUBCOMMAND) => return worker::main(),
        Some(WATCH_SUBCOMMAND) => return worker::watch_main(),
        Some(mask::SUBCOMMAND) => return ended(mask::filter().map_err(Into::into)),
        Some(lease::SUBCOMMAND) => return ended(arguments.get(1).map_or(Ok(()), |runtime| lease::serve(runtime))),
        _ => {}
    }
    let (file, only) = match arguments.split_first() {
        Some((option, parts)) if option == "--only" => (None, parts),
        Some((file, _)) => (Some(file), &[][..]),
        None => (None, &[][..]),
    };
    let mut table = Table::default();
    let measured = measure(&mut table, only);
    page::print(&table);
    if let Err(failure) = measured {
        eprintln!("numbers: {failure}");
        return ExitCode::FAILURE;
    }
    if let Some(file) = file
        && let Err(error) = std::fs::write(file, page::markdown(&table))
    {
        eprintln!("numbers: {file}: {error}");
        return ExitCode::FAILURE;
    }
    table.exit_code()
}

type Part = fn(&mut Table) -> Result<(), Failure>;

const PARTS: [(&str, Part); 10] = [
    ("lease", lease::rows),
    ("run", run::rows),
    ("agent", agent::rows),
    ("size", size::rows),
    ("mask", mask::rows),
    ("scan", scan::rows),
    ("log", log::rows),
    ("ssh", ssh::rows),
    ("proxy", proxy::rows),
    ("idle", idle::rows),
];

fn measure(table: &mut Table, only: &[String]) -> Result<(), Failure> {
    if let Some(unknown) = only.iter().find(|only| PARTS.iter().all(|(name, _)| name != only)) {
        return Err(format!("there is no part {unknown}: {}", PARTS.map(|(name, _)| name).join(", ")).into());
    }
    // What one part lacks, a peer among it, is no reason to be without the others.
    for (name, rows) in PARTS
        .iter()
        .filter(|(name, _)| only.is_empty() || only.iter().any(|only| only == name))
    {
        if let Err(failure) = rows(table) {
            table.missing(&format!("the rest of the part {name}"), &table::one_line(&failure));
        }
    }
    Ok(())
}

fn ended(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("numbers: {error}");
            ExitCode::FAILURE
        }
    }
}
