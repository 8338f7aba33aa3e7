//! How the log is: read only, without the lock that its writer holds.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::clock_rule::{self, Moment};
use super::file::check_ours;
use super::record::{LONGEST_LINE, Line};
use super::report::Report;
use super::verify::{SignerKey, verify};
use crate::encoding::Digest;
use crate::encoding::plain::count;
use crate::finding::{Finding, Part, quoted};
use crate::sys::disk::free_space;

/// Bytes of free space below which it is said: some ten thousand lines.
const LITTLE: u64 = 16 << 20;
const VERIFY: &str = "touchlease audit verify";

/// Looks at the log at `path`: whether it can be written, whether it verifies, and whether the clock agrees with its last line. `keys`
/// as in [`verify`]; `now` is asked after the last line was read, which its writer may have written a moment ago.
#[must_use]
pub fn examine(path: &Path, keys: &dyn Fn(&Digest) -> Option<SignerKey>, now: &dyn Fn() -> Moment) -> Vec<Finding> {
    let mut findings = Vec::new();
    match open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => findings.push(Part::Log.ok("no_log", "no audit log yet")),
        Err(error) => {
            let what = format!("the audit log {} cannot be read: {error}", path.display());
            findings.push(Part::Log.problem("log_unreadable", what, format!("ls -l {}", quoted(path))));
        }
        Ok(file) => {
            findings.extend(not_ours(&file, path));
            findings.extend(writing(path));
            match read(&file, keys) {
                Ok((report, last)) => {
                    findings.push(judged(&report));
                    findings.extend(last.map(|line| clock(&line, &now())));
                }
                Err(error) => findings.push(Part::Log.problem(
                    "log_unreadable",
                    format!("the audit log cannot be read to its end: {error}"),
                    "sudo dmesg | tail",
                )),
            }
        }
    }
    findings
}

fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no file")),
    }
}

/// What the writer refuses to write to.
fn not_ours(file: &File, path: &Path) -> Option<Finding> {
    let why = check_ours(&rustix::fs::fstat(file).ok()?).err()?;
    let what = format!("the audit log {} {why}: no lease is given", path.display());
    Some(Part::Log.problem("log_unsafe", what, why.remedy(path)))
}

fn writing(path: &Path) -> Option<Finding> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let no_lease = "no lease is given without a line in it";
    if let Err(error) = OpenOptions::new().append(true).custom_flags(libc::O_NOFOLLOW).open(path) {
        let what = format!("the audit log {} cannot be written ({error}): {no_lease}", path.display());
        return Some(Part::Log.problem("log_not_writable", what, format!("chmod u+w {} {}", quoted(folder), quoted(path))));
    }
    let free = free_space(folder)?;
    let (what, remedy) = (
        format!("{} KiB are free where the audit log lies; {no_lease}", free / 1024),
        format!("df -h {}", quoted(folder)),
    );
    match free {
        0 => Some(Part::Log.problem("log_full", what, remedy)),
        free if free < LITTLE => Some(Part::Log.warning("little_space", what, remedy)),
        _ => None,
    }
}

/// The whole lines as they are now, judged, and the last of them. What a writer adds meanwhile is left for another look, and so is a
/// line that was cut: the next daemon says what it cuts off.
fn read(file: &File, keys: &dyn Fn(&Digest) -> Option<SignerKey>) -> io::Result<(Report, Option<Line<'static>>)> {
    let end = line_end(file, file.metadata()?.len())?;
    let report = verify(BufReader::with_capacity(1 << 16, file.take(end)), keys, None)?;
    let start = match end {
        0 => return Ok((report, None)),
        end => line_end(file, end - 1)?,
    };
    let len = usize::try_from(end - start).unwrap_or(usize::MAX);
    if len > LONGEST_LINE {
        return Ok((report, None));
    }
    let mut line = vec![0; len];
    file.read_exact_at(&mut line, start)?;
    Ok((report, Line::from_bytes(&line).ok()))
}

/// Where the last newline before `end` ends; 0 without one.
fn line_end(file: &File, end: u64) -> io::Result<u64> {
    let mut to = end;
    let mut chunk = vec![0; 64 << 10];
    while to > 0 {
        let from = to.saturating_sub(chunk.len() as u64);
        let part = &mut chunk[..usize::try_from(to - from).unwrap_or(0)];
        file.read_exact_at(part, from)?;
        if let Some(newline) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + newline as u64 + 1);
        }
        to = from;
    }
    Ok(0)
}

fn judged(report: &Report) -> Finding {
    match report.faults.first() {
        Some(fault) => Part::Log.problem(
            "log_faulty",
            format!(
                "the audit log does not verify: {}, the first in {fault}",
                count(report.fault_count, "fault")
            ),
            VERIFY,
        ),
        None => Part::Log.ok(
            "log_verifies",
            format!(
                "the audit log verifies: {}, {}",
                count(report.lines, "line"),
                count(report.receipts, "receipt")
            ),
        ),
    }
}

fn clock(last: &Line<'_>, now: &Moment) -> Finding {
    match clock_rule::check(&Moment::of(last), now) {
        Ok(()) => Part::Clock.ok("clock", "the clock agrees with the last line of the audit log"),
        Err(error) => Part::Clock.problem("clock", format!("{error}: no lease is given"), "touchlease audit accept-clock"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::audit::testing::{Folder, TestClock, keys, one_lease, open as open_log, owner};
    use crate::clock::{Boot, Clock, Wall};
    use crate::finding::Level;

    fn moment(clock: &TestClock) -> Moment {
        Moment {
            wall: clock.wall(),
            boot: clock.boot(),
            boot_id: owner().boot_id,
        }
    }

    fn seen(folder: &Folder, now: &Moment) -> Vec<(Level, String)> {
        let found = examine(&folder.log(), &keys, &|| now.clone());
        found.into_iter().map(|finding| (finding.level, finding.reason)).collect()
    }

    fn fine() -> Vec<(Level, String)> {
        vec![(Level::Ok, "log_verifies".into()), (Level::Ok, "clock".into())]
    }

    #[test]
    fn one_receipt_is_not_several() {
        let (folder, clock) = (Folder::new(), TestClock::new());
        one_lease(&mut open_log(&folder, &clock), "1");
        let found = examine(&folder.log(), &keys, &|| moment(&clock));
        assert!(found.iter().any(|finding| finding.what.ends_with(", 1 receipt")), "{found:?}");
    }

    #[test]
    fn a_log_in_use_is_read_without_its_lock() {
        let (folder, clock) = (Folder::new(), TestClock::new());
        assert_eq!(seen(&folder, &moment(&clock))[0].1, "no_log");
        let mut log = open_log(&folder, &clock);
        one_lease(&mut log, "1");
        assert_eq!(seen(&folder, &moment(&clock)), fine());
    }

    #[test]
    fn a_line_that_is_being_written_is_no_fault_and_a_changed_one_is() {
        let (folder, clock) = (Folder::new(), TestClock::new());
        one_lease(&mut open_log(&folder, &clock), "1");
        let log = std::fs::read(folder.log()).unwrap();
        std::fs::write(folder.log(), [&log[..], b"{\"at\":17"].concat()).unwrap();
        assert_eq!(seen(&folder, &moment(&clock)), fine());
        let mut changed = log.clone();
        let at = log.len() / 2;
        changed[at] ^= 1;
        std::fs::write(folder.log(), changed).unwrap();
        assert_eq!(seen(&folder, &moment(&clock))[0], (Level::Problem, "log_faulty".into()));
    }

    #[test]
    fn t14_a_clock_that_was_set_is_a_problem() {
        let (folder, clock) = (Folder::new(), TestClock::new());
        one_lease(&mut open_log(&folder, &clock), "1");
        let now = moment(&clock);
        for wrong in [Wall(now.wall.0 - 5_000), Wall(now.wall.0 + 7_200_000)] {
            let set = Moment {
                wall: wrong,
                ..now.clone()
            };
            assert_eq!(seen(&folder, &set)[1], (Level::Problem, "clock".into()));
        }
        let later = Moment {
            wall: Wall(now.wall.0 + 7_200_000),
            boot: Boot(now.boot.0 + 7_200_000),
            ..now
        };
        assert_eq!(seen(&folder, &later), fine());
    }

    #[test]
    fn t14_a_line_that_is_written_while_the_log_is_looked_at_is_no_clock_that_was_set() {
        let (folder, clock) = (Folder::new(), TestClock::new());
        let mut log = open_log(&folder, &clock);
        one_lease(&mut log, "1");
        let read = std::cell::Cell::new(false);
        let keys = |id: &Digest| {
            read.set(true);
            keys(id)
        };
        let found = examine(&folder.log(), &keys, &|| {
            assert!(read.get());
            moment(&clock)
        });
        assert_eq!(found.last().unwrap().reason, "clock");
        assert_eq!(found.last().unwrap().level, Level::Ok);
    }

    #[test]
    fn t25_a_log_that_its_writer_would_not_take_is_a_problem_and_the_remedy_mends_it() {
        let (folder, clock) = (Folder::new(), TestClock::new());
        one_lease(&mut open_log(&folder, &clock), "1");
        let mend = |expected: &str| {
            let found = examine(&folder.log(), &keys, &|| moment(&clock));
            assert_eq!(
                (found[0].level, found[0].reason.as_str()),
                (Level::Problem, "log_unsafe"),
                "{found:?}"
            );
            let remedy = found[0].remedy.clone().unwrap();
            assert!(remedy.starts_with(expected) && remedy.contains("audit.jsonl"), "{remedy}");
            assert!(std::process::Command::new("sh").args(["-c", &remedy]).status().unwrap().success());
        };
        for mode in [0o666, 0o640, 0o604] {
            std::fs::set_permissions(folder.log(), std::fs::Permissions::from_mode(mode)).unwrap();
            mend("chmod 600 ");
            assert_eq!(seen(&folder, &moment(&clock)), fine());
        }
        std::fs::hard_link(folder.log(), folder.0.join("held")).unwrap();
        mend("mv ");
        assert_eq!(seen(&folder, &moment(&clock))[0].1, "no_log");
    }

    #[test]
    fn t55_a_log_that_cannot_be_written_or_is_none_is_a_problem() {
        let (folder, clock) = (Folder::new(), TestClock::new());
        one_lease(&mut open_log(&folder, &clock), "1");
        std::fs::set_permissions(folder.log(), std::fs::Permissions::from_mode(0o400)).unwrap();
        // Root writes everywhere.
        if !rustix::process::geteuid().is_root() {
            assert_eq!(seen(&folder, &moment(&clock))[0].1, "log_not_writable");
        }
        std::fs::rename(folder.log(), folder.0.join("other")).unwrap();
        std::os::unix::fs::symlink(folder.0.join("other"), folder.log()).unwrap();
        assert_eq!(seen(&folder, &moment(&clock))[0], (Level::Problem, "log_unreadable".into()));
        std::fs::remove_file(folder.log()).unwrap();
        std::fs::create_dir(folder.log()).unwrap();
        assert_eq!(seen(&folder, &moment(&clock))[0], (Level::Problem, "log_unreadable".into()));
    }
}
