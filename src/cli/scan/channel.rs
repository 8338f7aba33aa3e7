//! What goes to the worker of a scan and what it says: open files, so many at a time, and the places of what it found in them.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use super::report::{Report, Spot};
use crate::deliver::scan::protocol::{LONGEST_SEEN, Seen};
use crate::sys::pass;

/// Most files that are with the worker and not looked through yet. As many again are open here; a process has 1024 as a rule.
const MOST_OUT: usize = 192;
/// What a memory file counts: some dozen of them are with the worker.
const MEMORY: usize = 16;
/// Bytes that are read at once to count lines.
const CHUNK: usize = 64 * 1024;

/// One thing that is looked through.
pub struct Item {
    pub name: Name,
    pub file: File,
}

/// What it is called.
pub enum Name {
    /// A file.
    File(PathBuf),
    /// A memory file, in which parts of things lie one behind the other.
    Parts(Vec<Part>),
}

/// A part of an object in a memory file.
#[derive(Clone)]
pub struct Part {
    /// What it is a part of.
    pub of: Arc<Origin>,
    /// Where it begins in the memory file.
    pub start: u64,
    /// Bytes and line breaks of the object in front of it.
    pub before: (u64, u64),
}

/// Where a finding is.
#[derive(Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An object of git: its id, and what it is (`blob`, `commit`, `tree`, `tag`).
    Object { oid: String, kind: String },
    /// A file that is staged.
    Staged(PathBuf),
}

/// What was not looked into, and why.
#[derive(Debug, Default)]
pub struct PassedOver {
    /// Files and folders that could not be read, and the system's word for it.
    pub unread: Vec<(String, String)>,
    /// Devices, pipes, sockets.
    pub special: Vec<String>,
    /// Links.
    pub links: u64,
    /// File systems that are no files of anybody's: `/proc`, `/sys`.
    pub pseudo: Vec<String>,
}

#[derive(Default)]
struct State {
    out: HashMap<u64, Arc<Item>>,
    weight: usize,
    next: u64,
    /// The worker is gone.
    over: bool,
    passed_over: PassedOver,
}

/// See the module.
pub struct Channel {
    socket: OwnedFd,
    state: Mutex<State>,
    changed: Condvar,
    /// The most bytes that one occurrence takes.
    pub span: u64,
}

impl Channel {
    pub fn new(socket: OwnedFd, span: u64) -> Self {
        Self {
            socket,
            state: Mutex::default(),
            changed: Condvar::new(),
            span,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up to [`pass::MOST`] files to the worker, once it has room for them. False when it is gone.
    pub fn send(&self, items: Vec<Item>) -> bool {
        if items.is_empty() {
            return true;
        }
        let weight: usize = items.iter().map(|item| item.name.weight()).sum();
        let mut state = self.state();
        while !state.over && state.weight > 0 && state.weight + weight > MOST_OUT {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.over {
            return false;
        }
        let first = state.next;
        state.next += items.len() as u64;
        state.weight += weight;
        let items: Vec<_> = items.into_iter().map(Arc::new).collect();
        state.out.extend((first..).zip(items.iter().cloned()));
        drop(state);
        let files: Vec<_> = items.iter().map(|item| item.file.as_fd()).collect();
        let sent = pass::send(&self.socket, &first.to_le_bytes(), &files);
        if sent.is_err() {
            self.is_over();
        }
        sent.is_ok()
    }

    /// Says that no more files come.
    pub fn finish(&self) {
        let _ = shutdown(&self.socket, Shutdown::Write);
    }

    /// Something that is not looked into.
    pub fn pass_over(&self, note: impl FnOnce(&mut PassedOver)) {
        note(&mut self.state().passed_over);
    }

    pub fn passed_over(&self) -> PassedOver {
        std::mem::take(&mut self.state().passed_over)
    }

    /// Takes in what the worker says until it has no more to say.
    pub fn hear(&self, report: &mut Report) {
        let mut packet = vec![0; LONGEST_SEEN];
        loop {
            let seen = match pass::receive(&self.socket, &mut packet) {
                Ok((count, _)) if count > 0 => serde_json::from_slice::<Seen>(&packet[..count]).ok(),
                _ => None,
            };
            let Some(seen) = seen else { break };
            let items = self.back(&seen);
            for (number, error) in &seen.unread {
                let item = items.iter().find(|(n, _)| n == number).map(|(_, item)| &item.name);
                if let Some(Name::File(path)) = item {
                    let path = path.display().to_string();
                    match Errno::from_raw_os_error(*error) {
                        Errno::INVAL => self.pass_over(|over| over.special.push(path)),
                        error => self.pass_over(|over| over.unread.push((path, error.to_string()))),
                    }
                }
            }
            report.looked(&seen);
            for (number, item) in items {
                let hits: Vec<_> = seen.hits.iter().filter(|hit| hit.file == number).collect();
                if hits.is_empty() {
                    continue;
                }
                let mut lines = Lines::of(&item);
                for hit in hits {
                    report.found(lines.spot(hit.at), hit);
                }
            }
        }
        self.is_over();
    }

    /// What the worker has looked through is nobody's any more but ours.
    fn back(&self, seen: &Seen) -> Vec<(u64, Arc<Item>)> {
        let mut state = self.state();
        let numbers = 0..seen.files.min(pass::MOST as u64);
        let items: Vec<_> = numbers.filter_map(|n| Some((n, state.out.remove(&(seen.first + n))?))).collect();
        let weight: usize = items.iter().map(|(_, item)| item.name.weight()).sum();
        state.weight = state.weight.saturating_sub(weight);
        drop(state);
        self.changed.notify_all();
        items
    }

    fn is_over(&self) {
        self.state().over = true;
        self.changed.notify_all();
    }
}

impl Name {
    fn weight(&self) -> usize {
        match self {
            Self::File(_) => 1,
            Self::Parts(_) => MEMORY,
        }
    }
}

/// Counts lines on the way from one place of a file to the next.
struct Lines<'a> {
    item: &'a Item,
    at: u64,
    breaks: u64,
}

impl<'a> Lines<'a> {
    fn of(item: &'a Item) -> Self {
        Self { item, at: 0, breaks: 0 }
    }

    /// Where byte `at` is. They come in order.
    fn spot(&mut self, at: u64) -> Spot {
        match &self.item.name {
            Name::File(path) => {
                self.count_to(at);
                Spot {
                    file: Some(path.clone()),
                    object: None,
                    at,
                    line: self.breaks + 1,
                }
            }
            Name::Parts(parts) => {
                let part = &parts[parts.partition_point(|part| part.start <= at).saturating_sub(1)];
                if self.at < part.start {
                    (self.at, self.breaks) = (part.start, 0);
                }
                self.count_to(at);
                let (bytes, lines) = part.before;
                Spot {
                    file: None,
                    object: Some(part.of.clone()),
                    at: bytes + at.saturating_sub(part.start),
                    line: lines + self.breaks + 1,
                }
            }
        }
    }

    fn count_to(&mut self, to: u64) {
        let mut chunk = vec![0; CHUNK];
        while self.at < to {
            // Holes have no lines, and may be larger than anybody can read.
            match seek(&self.item.file, SeekFrom::Data(self.at)) {
                Ok(data) if data > self.at => {
                    self.at = data.min(to);
                    continue;
                }
                Err(Errno::NXIO) => return,
                _ => {}
            }
            let len = usize::try_from(to - self.at).unwrap_or(CHUNK).min(CHUNK);
            match self.item.file.read_at(&mut chunk[..len], self.at) {
                Ok(read) if read > 0 => {
                    self.breaks += breaks_in(&chunk[..read]);
                    self.at += read as u64;
                }
                // It is shorter now: the line is that of what is left.
                _ => return,
            }
        }
    }
}

/// Line breaks in a text.
pub fn breaks_in(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn p13_the_line_of_what_lies_behind_a_hole_of_a_terabyte_is_known_at_once() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"a\nb\n", 0).unwrap();
        file.write_all_at(b"\nvalue", 1 << 40).unwrap();
        let item = Item {
            name: Name::File("x".into()),
            file,
        };
        assert_eq!(Lines::of(&item).spot((1 << 40) + 1).line, 4);
    }
}
