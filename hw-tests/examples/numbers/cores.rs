//! Who runs where: waking somebody on another core costs more than much of what is measured.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::table::Failure;

/// What this process may run on.
pub struct Cores {
    all: CpuSet,
    first: CpuSet,
    last: CpuSet,
}

impl Cores {
    pub fn find() -> Result<Self, Failure> {
        let all = sched_getaffinity(None)?;
        let mut set = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu));
        let first = set.next().ok_or("no processor")?;
        let one = |cpu| {
            let mut one = CpuSet::new();
            one.set(cpu);
            one
        };
        Ok(Self {
            first: one(first),
            last: one(set.next_back().unwrap_or(first)),
            all,
        })
    }

    /// This thread, and all threads and processes that begin from it.
    pub fn on_the_first(&self) -> Result<(), Failure> {
        Ok(sched_setaffinity(None, &self.first)?)
    }

    /// The same; of a machine with one core, that one.
    pub fn on_the_last(&self) -> Result<(), Failure> {
        Ok(sched_setaffinity(None, &self.last)?)
    }

    pub fn on_all(&self) -> Result<(), Failure> {
        Ok(sched_setaffinity(None, &self.all)?)
    }
}
