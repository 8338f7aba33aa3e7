//! The one writer of the log.
//!
//! A line is one `write(2)` to a file opened with `O_APPEND`, then `fdatasync(2)`, either at once or together with others less than a second
//! later. After a failed write or sync nothing more is written: Linux drops the pages that it could not write and reports that
//! once (fsync(2), "EIO"), so what can be read back is not what is on the disk. [`Log::reopen`] goes back to what is known to be
//! durable and writes the grouped lines, which are kept for that, again.

use std::borrow::Cow;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::clock_rule::{self, ClockError, Moment};
use super::error::{AuditError, Damage};
use super::event::{Cut, Event, Opened, Recovered};
use super::file::LogFile;
use super::record::{Line, NO_LINE, VERSION};
use crate::clock::{Boot, Clock};
use crate::encoding::Digest;

/// How long a grouped line may wait for the disk: with the time that a proxy's worker keeps to itself what was done again, less than a second.
pub const GROUPED_FOR: Duration = Duration::from_millis(750);

/// When a line has to be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Before the call returns: something is about to be done on the strength of it.
    Synced,
    /// Within [`GROUPED_FOR`], if the caller calls [`Log::sync`] when [`Log::due`] says so.
    Grouped,
}

/// Whose log it is and who writes.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The vault.
    pub vault: Digest,
    /// The kernel's id of this boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Name and version of the program.
    pub program: String,
}

/// The open log, locked against other daemons.
pub struct Log {
    path: PathBuf,
    owner: Owner,
    clock: Arc<dyn Clock>,
    /// None after a reopening that failed.
    file: Option<LogFile>,
    /// The end of what was written and answered for.
    tip: Tip,
    /// The end of what is known to be on the disk.
    durable: Tip,
    /// The lines between the two.
    pending: Vec<u8>,
    due: Option<Boot>,
    poison: Option<Poison>,
}

/// An end of the chain.
#[derive(Clone, Debug)]
struct Tip {
    hash: Digest,
    seq: u64,
    len: u64,
    moment: Option<Moment>,
}

/// What is to be known about a write that failed.
struct Poison {
    /// Bytes that may stand after the pending ones, in whole or in part.
    refused: Vec<u8>,
    /// Events that were not recorded.
    missed: u64,
}

impl Log {
    /// Opens the log at `path`, or makes it (its folder has to exist), and records that. Reads the end of it only.
    ///
    /// A last line without a newline is cut off: nothing was acknowledged on the strength of it. What was cut is told in the same
    /// write that follows, so the two reach the disk together.
    ///
    /// # Errors
    /// See [`AuditError`]. An end that does not hold together is never continued.
    pub fn open(path: &Path, owner: Owner, clock: Arc<dyn Clock>) -> Result<Self, AuditError> {
        let file = LogFile::open_or_make(path)?;
        let len = file.len()?;
        let whole = file.line_start(len)?;
        let torn = file.read(whole, len)?;
        check_vault(&file, whole, &owner.vault)?;
        let tip = read_tip(&file, whole)?;
        if !torn.is_empty() {
            file.cut(whole)?;
        }
        let mut log = Self {
            path: path.to_owned(),
            owner,
            clock,
            file: Some(file),
            durable: tip.clone(),
            tip,
            pending: Vec::new(),
            due: None,
            poison: None,
        };
        let opened = Event::Opened(Opened {
            cut: cut_of(&torn),
            program: log.owner.program.clone(),
            vault: log.owner.vault,
        });
        match log.append(opened, Durability::Synced) {
            Ok(_) => Ok(log),
            Err(error) => {
                // The half line has to be told, so it goes back to where the next opening finds it.
                let _ = log.file.as_mut().map(|file| file.append(&torn));
                Err(error)
            }
        }
    }

    /// Writes one event. Gives the hash of its line.
    ///
    /// # Errors
    /// See [`AuditError`]. Nothing may be done on the strength of the event; the log is poisoned, except by
    /// [`AuditError::TooLong`].
    pub fn append(&mut self, event: Event, durability: Durability) -> Result<Digest, AuditError> {
        let hashes = self.append_many(std::slice::from_ref(&event), durability)?;
        Ok(hashes.last().copied().unwrap_or(self.tip.hash))
    }

    /// Writes several events with one write and, if asked for, one sync. Gives the hashes of their lines.
    ///
    /// # Errors
    /// See [`AuditError`]. All of them are recorded, or none.
    pub fn append_many(&mut self, events: &[Event], durability: Durability) -> Result<Vec<Digest>, AuditError> {
        if let Some(poison) = &mut self.poison {
            poison.missed += events.len() as u64;
            return Err(AuditError::Poisoned);
        }
        let (bytes, hashes, tip) = self.encode(events)?;
        let old = mem::replace(&mut self.tip, tip);
        if let Err(error) = self.write(old.len, &bytes, durability) {
            self.tip = old;
            self.poison(bytes, events.len() as u64);
            return Err(error);
        }
        if durability == Durability::Grouped {
            self.pending.extend(bytes);
            self.due.get_or_insert(self.clock.boot() + GROUPED_FOR);
        }
        Ok(hashes)
    }

    /// When [`Log::sync`] has to be called; none while everything is on the disk.
    #[must_use]
    pub fn due(&self) -> Option<Boot> {
        self.due.filter(|_| self.poison.is_none())
    }

    /// Puts the grouped lines on the disk. Several `Synced` events that come at one time cost one sync as `Grouped` ones and a call
    /// of this before any of them is answered.
    ///
    /// # Errors
    /// See [`AuditError`]; the log is poisoned.
    pub fn sync(&mut self) -> Result<(), AuditError> {
        if self.poison.is_some() {
            return Err(AuditError::Poisoned);
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        self.sync_file().inspect_err(|_| self.poison(Vec::new(), 0))
    }

    /// Has a write failed since the log was opened?
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_some()
    }

    /// Number and hash of the last line.
    #[must_use]
    pub fn tip(&self) -> (u64, Digest) {
        (self.tip.seq, self.tip.hash)
    }

    /// Is the clock to be believed, by what the log knows?
    ///
    /// # Errors
    /// See [`ClockError`]; nothing with a wall-clock life may be issued.
    pub fn check_clock(&self) -> Result<(), ClockError> {
        match &self.tip.moment {
            Some(last) => clock_rule::check(last, &self.now()),
            None => Ok(()),
        }
    }

    /// After an error: opens the file again, holds it against what is known to be durable, cuts what follows, writes the grouped
    /// lines again, and records how many events were missed. Does nothing to a log that is well.
    ///
    /// # Errors
    /// See [`AuditError`]; the log stays poisoned, and this can be tried again.
    pub fn reopen(&mut self) -> Result<(), AuditError> {
        let Some(mut poison) = self.poison.take() else {
            return Ok(());
        };
        self.restore(&mut poison).inspect_err(|_| self.poison = Some(poison))
    }

    fn restore(&mut self, poison: &mut Poison) -> Result<(), AuditError> {
        // The old descriptor goes first: it holds the lock, and its errors were reported already.
        self.file = None;
        let file = LogFile::open(&self.path)?;
        let rest = file.rest(self.durable.len, &[&self.pending[..], &poison.refused].concat())?;
        if file.line_before(self.durable.len)?.map(|line| Digest::of(&line)) != Some(self.durable.hash) {
            return Err(AuditError::Changed);
        }
        file.cut(self.durable.len)?;
        self.file = Some(file);
        let (line, _, tip) = self.encode(&[Event::Recovered(Recovered {
            cut: cut_of(&rest),
            missed: poison.missed,
        })])?;
        let bytes = [&self.pending[..], &line].concat();
        poison.refused = line;
        let old = mem::replace(&mut self.tip, tip);
        let written = self.write(self.durable.len, &bytes, Durability::Synced);
        written.inspect_err(|_| self.tip = old)
    }

    /// Appends `bytes` to a file that has to end at `len`; `self.tip` is the new end.
    fn write(&mut self, len: u64, bytes: &[u8], durability: Durability) -> Result<(), AuditError> {
        let file = self.file.as_mut().ok_or(AuditError::Poisoned)?;
        file.check(len)?;
        file.append(bytes)?;
        match durability {
            Durability::Synced => self.sync_file(),
            Durability::Grouped => Ok(()),
        }
    }

    fn sync_file(&mut self) -> Result<(), AuditError> {
        self.file.as_mut().ok_or(AuditError::Poisoned)?.sync()?;
        self.durable = self.tip.clone();
        self.pending.clear();
        self.due = None;
        Ok(())
    }

    fn poison(&mut self, refused: Vec<u8>, missed: u64) {
        // So that a reader finds no line that was refused. If this fails too, reopening cuts it.
        if let Some(file) = &self.file
            && file.rest(self.tip.len, &refused).is_ok()
        {
            let _ = file.cut(self.tip.len);
        }
        self.poison = Some(Poison { refused, missed });
    }

    fn encode(&self, events: &[Event]) -> Result<(Vec<u8>, Vec<Digest>, Tip), AuditError> {
        let (mut all, mut hashes, mut tip) = (Vec::new(), Vec::with_capacity(events.len()), self.tip.clone());
        for event in events {
            let now = self.now();
            let line = Line {
                at: now.wall.0,
                boot: now.boot.0,
                boot_id: Cow::Borrowed(&self.owner.boot_id),
                event: Cow::Borrowed(event),
                prev: tip.hash,
                seq: tip.seq + 1,
                skew: clock_rule::skew(tip.moment.as_ref(), &now, event),
                v: VERSION,
            };
            let bytes = line.to_bytes()?;
            tip = tip.then(&line, &bytes);
            hashes.push(tip.hash);
            all.extend(bytes);
        }
        Ok((all, hashes, tip))
    }

    fn now(&self) -> Moment {
        Moment {
            wall: self.clock.wall(),
            boot: self.clock.boot(),
            boot_id: self.owner.boot_id.clone(),
        }
    }
}

impl Tip {
    fn then(&self, line: &Line, bytes: &[u8]) -> Self {
        Self {
            hash: Digest::of(bytes),
            seq: line.seq,
            len: self.len + bytes.len() as u64,
            moment: Some(Moment::of(line)),
        }
    }
}

fn cut_of(bytes: &[u8]) -> Option<Cut> {
    (!bytes.is_empty()).then(|| Cut {
        bytes: bytes.len() as u64,
        digest: Digest::of(bytes),
    })
}

fn check_vault(file: &LogFile, whole: u64, vault: &Digest) -> Result<(), AuditError> {
    if whole == 0 {
        return Ok(());
    }
    let line = parse(&file.first_line()?)?;
    match line.event.as_ref() {
        Event::Opened(opened) if opened.vault == *vault => Ok(()),
        Event::Opened(opened) => Err(AuditError::OtherVault(opened.vault)),
        _ => Err(AuditError::Damaged(Damage::Start)),
    }
}

/// The end of the whole lines of a file, from its last two.
fn read_tip(file: &LogFile, whole: u64) -> Result<Tip, AuditError> {
    let start = Tip {
        hash: NO_LINE,
        seq: 0,
        len: 0,
        moment: None,
    };
    let Some(last) = file.line_before(whole)? else { return Ok(start) };
    let len = whole - last.len() as u64;
    let before = match file.line_before(len)? {
        Some(bytes) => Tip {
            len,
            ..start.then(&parse(&bytes)?, &bytes)
        },
        None => start,
    };
    let line = parse(&last)?;
    if line.prev != before.hash || line.seq != before.seq + 1 {
        return Err(AuditError::Damaged(Damage::Chain));
    }
    Ok(before.then(&line, &last))
}

fn parse(bytes: &[u8]) -> Result<Line<'static>, AuditError> {
    Line::from_bytes(bytes).map_err(|e| AuditError::Damaged(Damage::Line(e)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::io::Errno;

    use super::super::error::Unsafe;
    use super::super::file::{FAULT, Fault};
    use super::*;
    use crate::audit::testing::{Folder, TestClock, asked, ended, one_lease, open, owner, used};

    fn setup() -> (Folder, Arc<TestClock>, Log) {
        let (folder, clock) = (Folder::new(), TestClock::new());
        let log = open(&folder, &clock);
        (folder, clock, log)
    }

    fn lines(folder: &Folder) -> Vec<Line<'static>> {
        let bytes = fs::read(folder.log()).unwrap();
        bytes
            .split_inclusive(|b| *b == b'\n')
            .map(|l| Line::from_bytes(l).unwrap())
            .collect()
    }

    fn events(folder: &Folder) -> Vec<Event> {
        lines(folder).into_iter().map(|l| l.event.into_owned()).collect()
    }

    fn try_open(folder: &Folder) -> Result<Log, AuditError> {
        Log::open(&folder.log(), owner(), TestClock::new())
    }

    #[test]
    fn lines_are_numbered_and_chained_over_several_daemons() {
        let (folder, clock, mut log) = setup();
        one_lease(&mut log, "1");
        drop(log);
        let mut log = open(&folder, &clock);
        let hash = log.append(asked("again"), Durability::Synced).unwrap();
        assert_eq!(log.tip(), (8, hash));
        let bytes = fs::read(folder.log()).unwrap();
        let mut prev = NO_LINE;
        for (n, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
            let read = Line::from_bytes(line).unwrap();
            assert_eq!((read.prev, read.seq), (prev, n as u64 + 1));
            prev = Digest::of(line);
        }
        assert_eq!(prev, hash);
    }

    #[test]
    fn the_file_is_private() {
        let (folder, _, _log) = setup();
        assert_eq!(fs::metadata(folder.log()).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn t52_a_second_daemon_is_refused() {
        let (folder, _, log) = setup();
        assert!(matches!(try_open(&folder), Err(AuditError::Locked)));
        drop(log);
        assert!(try_open(&folder).is_ok());
    }

    fn not_ours(folder: &Folder) -> Unsafe {
        match try_open(folder) {
            Err(AuditError::Unsafe { path, why }) if path == folder.log() => why,
            other => panic!("{:?}", other.err()),
        }
    }

    #[test]
    fn t25_links_and_files_open_to_others_are_refused() {
        let (folder, _, log) = setup();
        drop(log);
        let moved = folder.0.join("moved");
        fs::rename(folder.log(), &moved).unwrap();
        symlink(&moved, folder.log()).unwrap();
        assert_eq!(not_ours(&folder), Unsafe::Link);
        fs::remove_file(folder.log()).unwrap();
        fs::hard_link(&moved, folder.log()).unwrap();
        assert_eq!(not_ours(&folder), Unsafe::SecondName);
        fs::remove_file(&moved).unwrap();
        fs::set_permissions(folder.log(), fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(not_ours(&folder), Unsafe::Open);
        fs::set_permissions(folder.log(), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(try_open(&folder).is_ok());
    }

    #[test]
    fn the_log_of_another_vault_is_refused() {
        let (folder, clock, log) = setup();
        drop(log);
        let other = Owner {
            vault: Digest([1; 32]),
            ..owner()
        };
        assert!(matches!(Log::open(&folder.log(), other, clock), Err(AuditError::OtherVault(_))));
    }

    #[test]
    fn a_torn_last_line_is_cut_and_told_at_every_length() {
        let (folder, clock, mut log) = setup();
        log.append(asked("x"), Durability::Synced).unwrap();
        drop(log);
        let bytes = fs::read(folder.log()).unwrap();
        let first = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
        for len in 0..bytes.len() {
            fs::write(folder.log(), &bytes[..len]).unwrap();
            drop(open(&folder, &clock));
            let torn = if len < first { len } else { len - first };
            let expected = cut_of(&bytes[len - torn..len]);
            assert!(
                matches!(events(&folder).last(), Some(Event::Opened(o)) if o.cut == expected),
                "{len}"
            );
            assert_eq!(lines(&folder).len(), if len < first { 1 } else { 2 });
        }
    }

    #[test]
    fn t54_an_end_that_was_changed_is_never_continued() {
        let (folder, _, mut log) = setup();
        one_lease(&mut log, "1");
        drop(log);
        let bytes = fs::read(folder.log()).unwrap();
        let ends: Vec<_> = (0..bytes.len()).filter(|i| bytes[*i] == b'\n').map(|i| i + 1).collect();
        let [.., c, b, a] = ends[..] else { panic!() };
        let mut damaged = vec![
            [&bytes[..c], &bytes[b..]].concat(),
            [&bytes[..a], &bytes[b..]].concat(),
            [&bytes[..], b"\n"].concat(),
            [&bytes[..], b"{}\n"].concat(),
            bytes[ends[0]..].to_vec(),
        ];
        // Every byte of the line before the last.
        damaged.extend((c..b).map(|at| {
            let mut other = bytes.clone();
            other[at] ^= 1;
            other
        }));
        for (n, other) in damaged.iter().enumerate() {
            fs::write(folder.log(), other).unwrap();
            let result = try_open(&folder);
            assert!(matches!(result, Err(AuditError::Damaged(_))), "{n}");
            assert_eq!(&fs::read(folder.log()).unwrap(), other);
        }
    }

    #[test]
    fn opening_a_large_log_reads_its_end_only() {
        let (folder, clock, mut log) = setup();
        let many: Vec<_> = (0..2_000).map(|_| used("1")).collect();
        log.append_many(&many, Durability::Synced).unwrap();
        drop(log);
        // A hole in the middle would be noticed by whoever reads it.
        let mut bytes = fs::read(folder.log()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 1000].fill(0);
        fs::write(folder.log(), &bytes).unwrap();
        assert_eq!(open(&folder, &clock).tip().0, 2_002);
    }

    #[test]
    fn grouped_lines_are_due_within_a_second_and_any_sync_takes_them_along() {
        let (_folder, clock, mut log) = setup();
        assert_eq!(log.due(), None);
        log.append(used("1"), Durability::Grouped).unwrap();
        let due = clock.boot() + GROUPED_FOR;
        clock.pass(400);
        log.append(used("1"), Durability::Grouped).unwrap();
        assert_eq!(log.due(), Some(due));
        log.sync().unwrap();
        assert_eq!(log.due(), None);
        log.append(used("1"), Durability::Grouped).unwrap();
        log.append(asked("x"), Durability::Synced).unwrap();
        assert_eq!(log.due(), None);
    }

    #[test]
    fn t55_a_full_disk_refuses_and_the_log_goes_on_when_there_is_space() {
        for half in [0, 1, 100] {
            let (folder, _, mut log) = setup();
            let grouped = log.append(used("1"), Durability::Grouped).unwrap();
            FAULT.set(Some(Fault::Write(half, Errno::NOSPC)));
            assert!(matches!(log.append(asked("x"), Durability::Synced), Err(AuditError::Full)));
            assert!(matches!(log.append(ended("1"), Durability::Grouped), Err(AuditError::Poisoned)));
            assert!(matches!(log.sync(), Err(AuditError::Poisoned)));
            assert!(log.is_poisoned() && log.due().is_none());
            FAULT.set(None);
            log.reopen().unwrap();
            assert_eq!(events(&folder)[1], used("1"));
            assert!(matches!(&events(&folder)[2], Event::Recovered(r) if r.missed == 2));
            assert_eq!(lines(&folder)[2].prev, grouped);
            log.append(asked("x"), Durability::Synced).unwrap();
            assert_eq!(lines(&folder).len(), 4);
        }
    }

    #[test]
    fn t50_after_a_failed_sync_grouped_lines_are_written_again_and_the_refused_one_is_not() {
        for reaches_disk in [0, 50, usize::MAX] {
            let (folder, _, mut log) = setup();
            log.append(asked("x"), Durability::Synced).unwrap();
            let durable = fs::read(folder.log()).unwrap().len();
            log.append(used("1"), Durability::Grouped).unwrap();
            let grouped = fs::read(folder.log()).unwrap();
            FAULT.set(Some(Fault::Sync(Errno::IO)));
            assert!(matches!(log.append(ended("1"), Durability::Synced), Err(AuditError::Io(_))));
            assert_eq!(fs::read(folder.log()).unwrap(), grouped);
            FAULT.set(None);
            // What the disk kept of the pages is less than what can be read now.
            fs::write(folder.log(), &grouped[..grouped.len().min(durable.saturating_add(reaches_disk))]).unwrap();
            log.reopen().unwrap();
            assert_eq!(events(&folder)[1..3], [asked("x"), used("1")]);
            assert!(matches!(&events(&folder)[3..], [Event::Recovered(r)] if r.missed == 1));
        }
    }

    #[test]
    fn a_reopening_that_fails_can_be_tried_again() {
        let (folder, _, mut log) = setup();
        log.append(used("1"), Durability::Grouped).unwrap();
        FAULT.set(Some(Fault::Sync(Errno::IO)));
        assert!(log.sync().is_err());
        assert!(matches!(log.reopen(), Err(AuditError::Io(_))));
        FAULT.set(None);
        let away = folder.0.join("away");
        fs::rename(folder.log(), &away).unwrap();
        assert!(matches!(log.reopen(), Err(AuditError::Gone)));
        assert!(!folder.log().exists());
        assert!(matches!(log.append(used("1"), Durability::Grouped), Err(AuditError::Poisoned)));
        fs::rename(&away, folder.log()).unwrap();
        log.reopen().unwrap();
        assert!(matches!(events(&folder).last(), Some(Event::Recovered(r)) if r.missed == 1));
        assert_eq!(lines(&folder).len(), 3);
    }

    #[test]
    fn t55_a_log_that_was_deleted_moved_or_replaced_is_gone() {
        let (folder, _, mut log) = setup();
        let copy = fs::read(folder.log()).unwrap();
        fs::remove_file(folder.log()).unwrap();
        assert!(matches!(log.append(asked("x"), Durability::Synced), Err(AuditError::Gone)));
        assert!(matches!(log.reopen(), Err(AuditError::Gone)));
        fs::write(folder.log(), &copy).unwrap();
        assert!(matches!(log.reopen(), Err(AuditError::Unsafe { why: Unsafe::Open, .. })));
        fs::set_permissions(folder.log(), fs::Permissions::from_mode(0o600)).unwrap();
        log.reopen().unwrap();
    }

    #[test]
    fn what_another_program_wrote_or_cut_is_left_as_it_is() {
        let (folder, _, mut log) = setup();
        log.append(asked("x"), Durability::Synced).unwrap();
        let good = fs::read(folder.log()).unwrap();
        for other in [[&good[..], b"x"].concat(), good[..good.len() - 1].to_vec()] {
            fs::write(folder.log(), &other).unwrap();
            assert!(log.append(asked("x"), Durability::Synced).is_err());
            assert!(matches!(log.reopen(), Err(AuditError::Changed)));
            assert_eq!(fs::read(folder.log()).unwrap(), other);
        }
        let mut other = good.clone();
        other[good.len() - 5] ^= 1;
        fs::write(folder.log(), &other).unwrap();
        assert!(matches!(log.reopen(), Err(AuditError::Changed)));
        fs::write(folder.log(), &good).unwrap();
        log.reopen().unwrap();
    }

    #[test]
    fn lines_that_reached_the_disk_are_not_written_again() {
        let (folder, _, mut log) = setup();
        log.append(used("1"), Durability::Grouped).unwrap();
        log.sync().unwrap();
        FAULT.set(Some(Fault::Write(7, Errno::NOSPC)));
        assert!(log.append(used("2"), Durability::Grouped).is_err());
        FAULT.set(None);
        log.reopen().unwrap();
        assert!(matches!(&events(&folder)[1..], [Event::Used(_), Event::Recovered(_)]));
    }

    #[test]
    fn a_torn_line_is_told_even_if_the_disk_was_full_at_first() {
        let (folder, clock, log) = setup();
        drop(log);
        let torn = [&fs::read(folder.log()).unwrap()[..], b"{\"at\""].concat();
        fs::write(folder.log(), &torn).unwrap();
        FAULT.set(Some(Fault::Sync(Errno::NOSPC)));
        assert!(matches!(try_open(&folder), Err(AuditError::Full)));
        FAULT.set(None);
        assert_eq!(fs::read(folder.log()).unwrap(), torn);
        drop(open(&folder, &clock));
        assert!(matches!(events(&folder).last(), Some(Event::Opened(o)) if o.cut == cut_of(b"{\"at\"")));
    }

    #[test]
    fn a_read_only_disk_is_told_from_a_full_one() {
        let (_folder, _, mut log) = setup();
        FAULT.set(Some(Fault::Write(0, Errno::ROFS)));
        assert!(matches!(log.append(asked("x"), Durability::Synced), Err(AuditError::ReadOnly)));
    }

    #[test]
    fn an_event_that_is_too_long_is_refused_and_the_log_goes_on() {
        let (folder, _, mut log) = setup();
        let long = asked(&"x".repeat(5 << 20));
        assert!(matches!(log.append(long, Durability::Synced), Err(AuditError::TooLong)));
        log.append(asked("x"), Durability::Synced).unwrap();
        assert_eq!(lines(&folder).len(), 2);
    }

    #[test]
    fn t14_the_log_refuses_a_clock_that_was_set_until_it_is_right_again() {
        let (folder, clock, mut log) = setup();
        let (right, boot) = (clock.wall(), clock.boot());
        clock.wall.fetch_add(86_400_000, std::sync::atomic::Ordering::Relaxed);
        assert!(matches!(log.check_clock(), Err(ClockError::Ahead { .. })));
        log.append(asked("x"), Durability::Synced).unwrap();
        drop(log);
        let log = open(&folder, &clock);
        assert!(matches!(log.check_clock(), Err(ClockError::Ahead { .. })));
        clock
            .wall
            .store(right.0 + (clock.boot().0 - boot.0), std::sync::atomic::Ordering::Relaxed);
        assert_eq!(log.check_clock(), Ok(()));
    }
}
