//! Who runs where: waking somebody on another core costs more than much of what is measured.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::table::Failure;

/// What this process may run on.
pub struct Cores {
    all: CpuSet,
    first: CpuSet,
}

impl Cores {
    pub fn find() -> Result<Self, Failure> {
        let all = sched_getaffinity(None)?;
        let mut set = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu));
        let mut first = CpuSet::new();
        first.set(set.next().ok_or("no processor")?);
        Ok(Self { all, first })
    }

    /// This thread, and all threads and processes that begin from it.
    pub fn on_the_first(&self) -> Result<(), Failure> {
        Ok(sched_setaffinity(None, &self.first)?)
    }

    pub fn on_all(&self) -> Result<(), Failure> {
        Ok(sched_setaffinity(None, &self.all)?)
    }
}
