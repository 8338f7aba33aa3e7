//! `cat` with a mask of 32 mixed secrets (hex, base64): what `hw-tests/bench` compares with `cat` through a pipe.
//!
//! `mask` masks stdin to stdout. `mask --bench` runs both, interleaved, and prints the ratio of their throughputs.
#![allow(clippy::disallowed_methods)] // it measures

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::{read, writev};
use rustix::stdio::{stdin, stdout};
use touchlease::deliver::mask::{Masker, Patterns};

const SECRETS: u64 = 32;
const ROUNDS: usize = 7;
const BYTES: &str = "536870912";

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("--bench") {
        bench()
    } else {
        mask()
    }
}

fn mask() -> io::Result<()> {
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

fn bench() -> io::Result<()> {
    let me = std::env::current_exe()?;
    let log = std::env::temp_dir().join(format!("mask-bench-{}", std::process::id()));
    let line = format!(
        "2026-01-01T00:00:00Z INFO request served path=/v1/items id={} status=200\n",
        "c0ffee".repeat(6)
    );
    std::fs::write(&log, line.repeat((64 << 20) / line.len()))?;
    let (mut cat, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        cat.push(once(&log, Command::new("cat"))?);
        ours.push(once(&log, Command::new(&me))?);
    }
    std::fs::remove_file(&log)?;
    cat.sort();
    ours.sort();
    let (cat, ours) = (cat[ROUNDS / 2], ours[ROUNDS / 2]);
    let gigabytes = BYTES.parse::<f64>().unwrap_or(0.0) / 1e9;
    println!(
        "cat {:.2} GB/s, mask {:.2} GB/s, ratio {:.2}",
        gigabytes / cat.as_secs_f64(),
        gigabytes / ours.as_secs_f64(),
        cat.as_secs_f64() / ours.as_secs_f64()
    );
    Ok(())
}

/// The same file again and again | the filter | /dev/null through a pipe.
fn once(log: &std::path::Path, mut filter: Command) -> io::Result<Duration> {
    let start = Instant::now();
    let feed = format!("while cat {}; do :; done 2>/dev/null | head -c {BYTES}", log.display());
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
    Ok(start.elapsed())
}
