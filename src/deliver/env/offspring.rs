//! The processes of a command: what descends from it, and whose parents have gone.

use std::collections::HashSet;
use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, getpid, set_child_subreaper, waitid, waitpid};

use super::child::Child;

/// What a command has started, seen from the process that started the command.
pub(super) struct Offspring {
    /// Children of this process that are none of the command's: a daemon that it started, a session's monitor, a leash.
    others: Vec<Pid>,
    /// Whether the command has a PID namespace of its own, whose first process goes by itself when the last of the others has.
    divided: bool,
}

impl Offspring {
    /// From now on a process below us whose parents have gone becomes our child (PR_SET_CHILD_SUBREAPER(2const)), and is not lost among
    /// those of the whole machine. Children that there are already are none of the command's.
    pub fn adopt() -> Self {
        // A kernel older than 3.4, that is none of ours, adopts nothing.
        let _ = set_child_subreaper(Some(getpid()));
        let others = if has_children() { children(getpid()) } else { Vec::new() };
        Self { others, divided: false }
    }

    /// For another process than the one that started the command: it adopts nothing.
    pub fn of_another() -> Self {
        Self {
            others: Vec::new(),
            divided: false,
        }
    }

    /// A child of ours that is not the command's.
    pub fn leave_out(&mut self, pid: Pid) {
        self.others.push(pid);
    }

    /// The command has a PID namespace of its own ([`processes`](crate::sys::walls::processes)).
    pub fn divided(self, divided: bool) -> Self {
        Self { divided, ..self }
    }

    /// Lets go those adopted that have ended.
    pub fn reap(&self, child: Option<&Child>) {
        if !has_children() {
            return;
        }
        for pid in children(getpid()) {
            if !self.others.contains(&pid) && child.is_none_or(|child| child.pid != pid) {
                // Still running: it stays.
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
    }

    /// All but the child itself, each held by a descriptor before its own children are looked for.
    pub fn find(&self, child: Option<&Child>) -> Vec<Child> {
        let child = child.map(|child| child.pid);
        let mut todo: Vec<Pid> = child.into_iter().chain(has_children().then(getpid)).collect();
        let mut seen: HashSet<Pid> = self.others.iter().copied().chain(child).collect();
        let mut found = Vec::new();
        while let Some(parent) = todo.pop() {
            for pid in children(parent) {
                if seen.insert(pid) {
                    // The number may be another's since: held now, it counts only if it is still a child of the same parent.
                    let held = Child::of(pid).ok().filter(|_| children(parent).contains(&pid));
                    todo.extend(held.as_ref().map(|child| child.pid));
                    found.extend(held.filter(|child| !self.divided || !is_first(child.pid)));
                }
            }
        }
        found
    }
}

/// One system call: most commands leave nobody, and start while there is nobody.
fn has_children() -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::All, look).err() != Some(Errno::CHILD)
}

/// Whether it is the first process of a namespace of the next level, by its numbers from ours on (`NSpid` in proc_pid_status(5)).
fn is_first(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| numbers.split_ascii_whitespace().skip(1).eq(["1"]))
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
