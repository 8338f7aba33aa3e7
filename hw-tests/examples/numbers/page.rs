//! The table as text for a terminal and as a page.

use std::fs;
use std::process::Command;

use super::table::{Row, Table, Verdict};

const NOT_MEASURED: &str = "\
- No real key: the key is an emulated one, whose own computing time is measured at the emulator and subtracted. A real key adds that
  time (about 100 ms), the person's, and one to two milliseconds for each frame over USB.
- The daemon of the lease rows runs in the measuring program, with workers in processes of their own as always; what they open is a
  packet socket in place of a hidraw node.
- `ssh agent`: OpenSSH's agent keeps no log. Of a lease with a limit of uses each signature is on the disk in the log before it goes out: the row of an
  append and fdatasync says what that takes by itself.
- The proxy's rows have the daemon and its log in them, without a limit of uses: with one each request waits for the disk as well. A request that is
  repeated is asked of the daemon once and counted from then on, which most rows have; one with a path of its own is asked, and has rows of its own.
  Peers keep no log here. Without TLS all of a row has one core; with it each program runs where the system puts it.
- Readers: no PC/SC service runs, so its part of looking for keys is the attempt to reach it.
- Other machines: the ratios are of one run on one machine, everything in turn, on a machine that others use too. Absolute times are
  of that machine; where the load (the average over the minute before the row was done) is above its number of cores, absolute goals
  (milliseconds) say little.
";

/// Prints the table.
pub fn print(table: &Table) {
    for row in &table.rows {
        println!(
            "{:9}{:>6}  {}: {}{}",
            verdict(row.verdict),
            row.load,
            row.what,
            row.measured,
            goal(row)
        );
    }
}

/// The whole of `docs/performance.md`.
pub fn markdown(table: &Table) -> String {
    let mut page = String::from("# Performance\n\n`hw-tests/bench` measures all of this again and writes this page.\n\n");
    page.push_str("| what | measured | goal | | load |\n|---|---|---|---|---|\n");
    for row in &table.rows {
        page.push_str(&format!(
            "| {} | {} | {} | {} | {} |\n",
            row.what,
            row.measured,
            row.goal,
            verdict(row.verdict),
            row.load
        ));
    }
    page.push_str("\n## Where and with what\n\n");
    for (name, text) in machine().into_iter().chain(table.versions.clone()) {
        page.push_str(&format!("- {name}: {text}\n"));
    }
    page.push_str("\n## Not measured\n\n");
    page.push_str(NOT_MEASURED);
    page
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::Missed => "missed",
        Verdict::Peer => "peer",
        Verdict::Missing => "missing",
        Verdict::Fact => "",
    }
}

fn goal(row: &Row) -> String {
    if row.goal.is_empty() {
        String::new()
    } else {
        format!("  (goal {})", row.goal)
    }
}

fn machine() -> Vec<(String, String)> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<_> = cpus.lines().filter_map(|line| line.strip_prefix("model name")).collect();
    let model = models.first().map(|text| text.trim_start_matches(['\t', ' ', ':'])).unwrap_or("?");
    let commit = said("git", &["describe", "--always", "--dirty"]);
    let pairs = [
        ("date", said("date", &["-u", "+%F"])),
        ("machine", format!("{} x {model}", models.len())),
        ("system", format!("{}, Linux {}", system(), said("uname", &["-rm"]))),
        ("touchlease", format!("{} ({commit})", env!("CARGO_PKG_VERSION"))),
    ];
    pairs.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
}

fn system() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("?").trim_matches('"').to_owned()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| "?".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
