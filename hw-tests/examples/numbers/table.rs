//! Rows, and what they are made of: times of things done in turn.

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Whatever went wrong: a sentence is enough for whoever measures.
pub type Failure = Box<dyn std::error::Error>;

/// What a row says about its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Reached.
    Met,
    /// Not reached.
    Missed,
    /// Another program's number, for comparison.
    Peer,
    /// A peer that is not installed.
    Missing,
    /// A number without a goal.
    Fact,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    pub what: String,
    pub measured: String,
    pub goal: String,
    pub verdict: Verdict,
    /// The machine's load average over the minute before the row was done.
    pub load: String,
}

/// All lines, and the versions of what was measured.
#[derive(Default)]
pub struct Table {
    pub rows: Vec<Row>,
    pub versions: Vec<(String, String)>,
}

impl Table {
    /// A number that has to be at most (or at least) something.
    pub fn goal(&mut self, what: &str, measured: String, goal: &str, met: bool) {
        let verdict = if met { Verdict::Met } else { Verdict::Missed };
        self.push(what, measured, goal, verdict);
    }

    /// A number without a goal.
    pub fn fact(&mut self, what: &str, measured: String) {
        self.push(what, measured, "", Verdict::Fact);
    }

    /// Another program's number.
    pub fn peer(&mut self, what: &str, measured: String) {
        self.push(what, measured, "", Verdict::Peer);
    }

    /// A peer that is not there.
    pub fn missing(&mut self, what: &str, why: &str) {
        self.push(what, why.to_owned(), "", Verdict::Missing);
    }

    /// The version of a program that was measured.
    pub fn version(&mut self, name: &str, version: String) {
        let said = (name.to_owned(), version);
        if !self.versions.contains(&said) {
            self.versions.push(said);
        }
    }

    /// Not 0 when something is missing or missed.
    pub fn exit_code(&self) -> ExitCode {
        let bad = |row: &Row| matches!(row.verdict, Verdict::Missed | Verdict::Missing);
        if self.rows.iter().any(bad) {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }

    fn push(&mut self, what: &str, measured: String, goal: &str, verdict: Verdict) {
        let (what, goal) = (what.to_owned(), goal.to_owned());
        eprintln!("{what}: {measured}");
        self.rows.push(Row {
            what,
            measured,
            goal,
            verdict,
            load: load(),
        });
    }
}

fn load() -> String {
    let averages = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split(' ').next().unwrap_or("?").to_owned()
}

/// Durations of one thing that was done many times.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn add(&mut self, time: Duration) {
        let at = self.0.partition_point(|there| *there < time);
        self.0.insert(at, time);
    }

    /// Those of another series as well.
    pub fn take_in(&mut self, other: Self) {
        self.0.extend(other.0);
        self.0.sort_unstable();
    }

    /// The time that this share of the runs, 0 to 1, stayed within.
    pub fn within(&self, share: f64) -> Duration {
        let last = self.0.len().saturating_sub(1);
        let at = (share * last as f64).round() as usize;
        self.0.get(at).copied().unwrap_or_default()
    }

    pub fn median(&self) -> Duration {
        self.within(0.5)
    }

    /// Its median as a multiple of another's.
    pub fn over(&self, other: &Self) -> f64 {
        self.median().as_secs_f64() / other.median().as_secs_f64()
    }
}

impl From<Vec<Duration>> for Times {
    fn from(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }
}

/// What was done in some time, one after the other or several at a time.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// How long each took.
    pub each: Times,
    /// From the beginning of the first to the end of the last.
    pub whole: Duration,
    pub done: usize,
}

impl Load {
    /// Another stretch of the same.
    pub fn take_in(&mut self, other: Self) {
        self.each.take_in(other.each);
        self.whole += other.whole;
        self.done += other.done;
    }

    pub fn per_second(&self) -> f64 {
        self.done as f64 / self.whole.as_secs_f64()
    }
}

/// Something that is done again and again.
pub type Work<'a> = Box<dyn FnMut() -> Result<(), Failure> + 'a>;

/// Does all of it this many times. What comes after a heavy one finds cold caches: so the rounds go through a Williams design, in which
/// each follows each of the others equally often.
pub fn interleaved(rounds: usize, works: &mut [Work<'_>]) -> Result<Vec<Times>, Failure> {
    let mut times = vec![Times::default(); works.len()];
    // Once without counting: files into the page cache, agents started.
    for work in works.iter_mut() {
        work()?;
    }
    for round in 0..rounds {
        for turn in 0..works.len() {
            let at = williams(works.len(), round, turn);
            times[at].add(timed(&mut works[at])?);
        }
    }
    Ok(times)
}

/// Whose turn it is: 0, 1, n-1, 2, n-2 and so on, each round one further; of an odd number, every second n rounds backwards.
fn williams(n: usize, round: usize, turn: usize) -> usize {
    let turn = if (round / n).is_multiple_of(2) { turn } else { n - 1 - turn };
    let zigzag = if turn.is_multiple_of(2) { n - turn / 2 } else { turn.div_ceil(2) };
    (round + zigzag) % n
}

/// How long it takes.
pub fn timed(work: &mut Work<'_>) -> Result<Duration, Failure> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// What went wrong, for a cell.
pub fn one_line(failure: &Failure) -> String {
    failure.to_string().replace(['\n', '|'], " ").trim().to_owned()
}

/// In microseconds, for a cell.
pub fn micros(time: Duration) -> String {
    format!("{:.0} us", time.as_secs_f64() * 1e6)
}

/// In milliseconds, for a cell.
pub fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
