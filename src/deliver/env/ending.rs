//! Ending a child whose lease is over.

use std::collections::HashSet;
use std::fs;

use rustix::process::{Pid, Signal};

use super::AtEnd;
use super::child::Child;
use crate::clock::Boot;

/// What a child may use to tidy up, in milliseconds.
const GRACE: u64 = 5_000;

/// A child being ended.
pub(super) struct Ending {
    /// When SIGKILL is due; none when it was sent.
    pub kill_at: Option<Boot>,
    /// The child's descendants at the first signal: some may have lost their parent since.
    known: Vec<Child>,
}

impl Ending {
    /// Sends the first signal.
    pub fn begin(child: &Child, at_end: AtEnd, now: Boot, whole_group: bool) -> Self {
        let mut ending = Self {
            kill_at: Some(Boot(now.0 + GRACE)),
            known: Vec::new(),
        };
        match at_end {
            AtEnd::Terminate => ending.send(child, Signal::TERM, whole_group),
            AtEnd::Interrupt => ending.send(child, Signal::INT, whole_group),
            AtEnd::Kill => ending.kill(child, whole_group),
        }
        ending
    }

    /// Milliseconds until SIGKILL.
    pub fn left(&self, now: Boot) -> Option<u64> {
        self.kill_at.map(|at| at.0.saturating_sub(now.0))
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self, child: &Child, whole_group: bool) {
        self.kill_at = None;
        self.send(child, Signal::KILL, whole_group);
    }

    /// To the child, its process group if that is its own, and everything that descends from it; continued, so that
    /// a stopped process sees it too.
    fn send(&mut self, child: &Child, signal: Signal, whole_group: bool) {
        self.known.extend(descendants(child.pid));
        if whole_group {
            child.signal_group(signal);
            child.signal_group(Signal::CONT);
        }
        for process in std::iter::once(child).chain(&self.known) {
            process.signal(signal);
            process.signal(Signal::CONT);
        }
    }
}

/// The processes below `top`, each held by a descriptor before its own children are looked for.
fn descendants(top: Pid) -> Vec<Child> {
    let (mut found, mut seen, mut todo) = (Vec::new(), HashSet::new(), vec![top]);
    while let Some(parent) = todo.pop() {
        for pid in children(parent) {
            if seen.insert(pid) {
                // The number may be another's since: held now, it counts only if it is still a child of the same parent.
                let held = Child::of(pid).ok().filter(|_| children(parent).contains(&pid));
                todo.extend(held.as_ref().map(|child| child.pid));
                found.extend(held);
            }
        }
    }
    found
}

/// proc_pid_task_children(5), of every thread.
fn children(parent: Pid) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero()));
    let lists = tasks
        .into_iter()
        .flatten()
        .flatten()
        .map(|task| fs::read_to_string(task.path().join("children")));
    lists
        .flatten()
        .flat_map(|list| {
            list.split_ascii_whitespace()
                .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
                .collect::<Vec<_>>()
        })
        .collect()
}
