//! The mask as a filter between two pipes, against `cat` and `sed`.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::{read, writev};
use rustix::stdio::{stdin, stdout};
use touchlease::deliver::mask::{Masker, Patterns};

use super::run::version;
use super::table::{Failure, Table, Work, interleaved};

/// This program as the filter.
pub const SUBCOMMAND: &str = "mask";

const SECRETS: u64 = 32;
const ROUNDS: usize = 7;
/// What goes through the pipe; sed gets an eighth, and its time is multiplied.
const BYTES: usize = 512 << 20;
const FOR_SED: usize = 8;

/// Masks stdin to stdout.
pub fn filter() -> io::Result<()> {
    let values: Vec<String> = (0..SECRETS).map(value).collect();
    let patterns = Patterns::new(values.iter().map(|value| ("bench/SECRET", value.as_bytes())));
    let mut masker = Masker::new(&patterns);
    loop {
        match read(stdin(), masker.space())? {
            0 => break,
            count => masker.filled(count),
        }
        masker.write_to(|slices| Ok(writev(stdout(), slices)?))?;
    }
    masker.finish();
    masker.write_to(|slices| Ok(writev(stdout(), slices)?))?;
    Ok(())
}

pub fn rows(table: &mut Table) -> Result<(), Failure> {
    let log = std::env::temp_dir().join(format!("touchlease-numbers-log-{}", std::process::id()));
    let line = format!(
        "2026-01-01T00:00:00Z INFO request served path=/v1/items id={} status=200\n",
        "c0ffee".repeat(6)
    );
    std::fs::write(&log, line.repeat((64 << 20) / line.len()))?;
    let me = std::env::current_exe()?;
    let script: String = (0..SECRETS).map(|seed| format!("s|{}|***|g;", value(seed))).collect();
    let mut ours = Command::new(&me);
    ours.arg(SUBCOMMAND);
    let mut sed = Command::new("sed");
    sed.arg(&script).env("LC_ALL", "C");
    let mut works: Vec<Work<'_>> = vec![
        Box::new(|| through(&log, BYTES, &mut Command::new("cat"))),
        Box::new(|| through(&log, BYTES, &mut ours)),
        Box::new(|| through(&log, BYTES / FOR_SED, &mut sed)),
    ];
    let times = interleaved(ROUNDS, &mut works)?;
    drop(works);
    std::fs::remove_file(&log)?;
    let cat = times[0].median();
    let ratio = cat.as_secs_f64() / times[1].median().as_secs_f64();
    table.fact("cat through a pipe", format!("{:.2} GB/s", BYTES as f64 / 1e9 / cat.as_secs_f64()));
    table.goal(
        "masking through a pipe, 32 secrets (hex, base64), throughput against cat",
        format!("{ratio:.2}x"),
        ">= 0.8x",
        ratio >= 0.8,
    );
    let sed = times[2].median() * FOR_SED as u32;
    table.peer(
        "sed with the 32 values, against cat",
        format!("{:.3}x", cat.as_secs_f64() / sed.as_secs_f64()),
    );
    table.version("sed", version("sed", "--version").unwrap_or_default());
    table.version("cat", version("cat", "--version").unwrap_or_default());
    Ok(())
}

/// The same file again and again | the filter | /dev/null through a pipe.
fn through(log: &Path, bytes: usize, filter: &mut Command) -> Result<(), Failure> {
    let feed = format!("while cat {}; do :; done 2>/dev/null | head -c {bytes}", log.display());
    let mut source = Command::new("sh").args(["-c", &feed]).stdout(Stdio::piped()).spawn()?;
    let mut filter = filter
        .stdin(source.stdout.take().map_or(Stdio::null(), Stdio::from))
        .stdout(Stdio::piped())
        .spawn()?;
    let mut sink = Command::new("cat")
        .stdin(filter.stdout.take().map_or(Stdio::null(), Stdio::from))
        .stdout(Stdio::null())
        .spawn()?;
    sink.wait()?;
    filter.wait()?;
    source.wait()?;
    Ok(())
}

/// 40 characters of hex or base64, as tokens are.
fn value(seed: u64) -> String {
    let bytes: Vec<u8> = (1..=30_u64)
        .map(|n| ((seed + 1).wrapping_mul(n).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect();
    if seed.is_multiple_of(2) {
        data_encoding::HEXLOWER.encode(&bytes[..20])
    } else {
        data_encoding::BASE64.encode(&bytes)
    }
}
