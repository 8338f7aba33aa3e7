//! A scan of a tree for 1,000 secrets, against ripgrep that looks for one literal in it.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use super::rig::{Rig, asked};
use super::run::version;
use super::table::{Failure, Table, Work, interleaved, millis};

const SECRETS: u64 = 1_000;
const ROUNDS: usize = 7;
/// Files, and bytes of each: source code as a rule, some logs, one dump.
const TREE: [(usize, usize); 3] = [(16_000, 8 << 10), (800, 1 << 20), (1, 64 << 20)];

pub fn rows(table: &mut Table) -> Result<(), Failure> {
    let rig = Rig::new(false, 0)?;
    let list = rig.home.work().join("list");
    let lines: String = (1..SECRETS).map(|seed| format!("S{seed}='{}'\n", value(seed))).collect();
    fs::write(&list, lines)?;
    let from = list.display().to_string();
    asked(rig.home.terminal(["import", &from, "--scope", "prod"])?, false)?;
    fs::remove_file(&list)?;
    // Beside the build: a temporary folder may be in memory.
    let within = tempfile::tempdir_in(std::env::current_exe()?.with_file_name(""))?;
    let bytes = plant(within.path())?;
    let tree = within.path().display().to_string();
    let mut works: Vec<Work<'_>> = vec![
        Box::new(|| {
            let mut rg = Command::new("rg");
            rg.args(["-uuu", "--no-config", "-c", "-F", "this-is-nowhere-in-the-tree-0123456789", &tree]);
            ends(rg, 1)
        }),
        Box::new(|| {
            rig.clock.go_on();
            let mut scan = rig.home.command(["--json", "scan", "--scope", "prod"]);
            scan.arg(&tree);
            ends(scan, 0)
        }),
    ];
    let times = interleaved(ROUNDS, &mut works)?;
    drop(works);
    let (rg, scan) = (times[0].median(), times[1].median());
    let ratio = rg.as_secs_f64() / scan.as_secs_f64();
    let files: usize = TREE.iter().map(|(files, _)| files).sum();
    table.peer(
        &format!("rg -uuu -F LITERAL over {:.2} GB in {files} files", bytes as f64 / 1e9),
        millis(rg),
    );
    table.goal(
        &format!("touchlease scan of the same for {SECRETS} secrets, from start to end with the key's own time, speed against that"),
        format!("{ratio:.2}x ({})", millis(scan)),
        ">= 0.5x",
        ratio >= 0.5,
    );
    table.version("ripgrep", version("rg", "--version").unwrap_or_default());
    Ok(())
}

fn ends(mut command: Command, code: i32) -> Result<(), Failure> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if status.code() == Some(code) {
        Ok(())
    } else {
        Err(format!("{command:?} ended with {status}").into())
    }
}

/// The tree: words, numbers and signs as programs and logs have them. Gives its bytes.
fn plant(folder: &Path) -> Result<usize, Failure> {
    const WORDS: [&str; 16] = [
        "let",
        "fn",
        "request",
        "served",
        "path",
        "=",
        "{",
        "}",
        "return",
        "the",
        "of",
        "value",
        "0x7f",
        "/v1/items",
        "status",
        "//",
    ];
    let (mut dice, mut bytes, mut number) = (0x9E37_79B9_7F4A_7C15_u64, 0, 0);
    for (files, size) in TREE {
        for _ in 0..files {
            let below = folder.join(format!("{}", number / 200));
            fs::create_dir_all(&below)?;
            let mut file = BufWriter::new(fs::File::create(below.join(format!("{number}")))?);
            let mut written = 0;
            while written < size {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (dice >> 33) as usize;
                let line = format!("{} {} {:x}\n", WORDS[at % 16], WORDS[at / 16 % 16], dice >> (at % 40));
                file.write_all(line.as_bytes())?;
                written += line.len();
            }
            file.flush()?;
            (bytes, number) = (bytes + written, number + 1);
        }
    }
    Ok(bytes)
}

/// 20 to 64 characters, as tokens have: hex, base64, and words with signs in them.
fn value(seed: u64) -> String {
    let bytes: Vec<u8> = (1..=48_u64)
        .map(|n| ((seed + 1).wrapping_mul(n).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect();
    match seed % 4 {
        0 => data_encoding::HEXLOWER.encode(&bytes[..20]),
        1 => data_encoding::BASE64.encode(&bytes[..30]),
        2 => format!("ghp_{}", data_encoding::BASE32_NOPAD.encode(&bytes[..20])),
        _ => format!(
            "p%{}/&{}",
            data_encoding::HEXLOWER.encode(&bytes[..5]),
            data_encoding::BASE64.encode(&bytes[5..11])
        ),
    }
}
