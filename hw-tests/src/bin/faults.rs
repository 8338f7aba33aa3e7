//! Kills, errors and power cuts at the calls of the daemon; see `hw_tests::faults`.

use std::{env, error::Error, process::ExitCode};

use hw_tests::{
    conformance::rigs::Plugged,
    faults::{
        bench::Bench,
        cut::{Ended, cut, points},
        operation::{OPERATIONS, Operation},
        plan::{plan, power_plan},
        power::{Disks, KINDS},
        strace::Call,
    },
};

const USAGE: &str = "\
usage: faults calls|power [--long] [OPERATION]
Under hw-tests/with-readers. For each operation: which calls change a file or open one. A fresh daemon has to find the old state or the
new one, and the new one where the client was told that it is done.
  calls  kills the daemon there, or lets the call fail. Without --long: every rename and fsync and every tenth other call, one fault each
  power  takes the power away there, on ext4, btrfs and xfs, and after the client was told. Without --long: a sample. Needs root

Prints a line for each operation, then `faults: n of N cuts, at n of N calls`; fails unless all hold and every operation has as many calls as it had.
Environment: TOUCHLEASE  the product (else the one beside this program)";

/// What a run came to.
#[derive(Default)]
struct Tally {
    old: usize,
    new: usize,
    missed: usize,
    failed: usize,
    calls: usize,
    exist: usize,
}

struct Asked {
    power: bool,
    long: bool,
    operations: Vec<&'static Operation>,
}

fn main() -> ExitCode {
    let Some(asked) = parse() else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    match run(&asked) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("faults: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse() -> Option<Asked> {
    let mut arguments = env::args().skip(1);
    let power = match arguments.next()?.as_str() {
        "calls" => false,
        "power" => true,
        _ => return None,
    };
    let (long, named): (Vec<String>, Vec<String>) = arguments.partition(|argument| argument == "--long");
    let known = |name: &String| OPERATIONS.iter().find(|operation| operation.name == name);
    let operations = match named.is_empty() {
        true => OPERATIONS.iter().collect(),
        false => named.iter().map(known).collect::<Option<_>>()?,
    };
    Some(Asked {
        power,
        long: !long.is_empty(),
        operations,
    })
}

fn run(asked: &Asked) -> Result<bool, Box<dyn Error>> {
    let program = match env::var_os("TOUCHLEASE") {
        Some(path) => path.into(),
        None => env::current_exe()?.with_file_name("touchlease"),
    };
    let bench = Bench::new(Plugged::find("contact", program, |name| env::var_os(name))?)?;
    let mut tally = Tally::default();
    if asked.power {
        for (n, kind) in KINDS.into_iter().enumerate() {
            let disks = Disks::new(&bench, kind)?;
            for operation in &asked.operations {
                power(&bench, &disks, operation, kind.name, (!asked.long).then_some(n), &mut tally)?;
            }
        }
    } else {
        for operation in &asked.operations {
            calls(&bench, operation, asked.long, &mut tally)?;
        }
    }
    let cuts = tally.old + tally.new;
    let wanted = cuts + tally.missed + tally.failed;
    println!("faults: {cuts} of {wanted} cuts, at {} of {} calls", tally.calls, tally.exist);
    Ok(tally.failed == 0 && cuts == wanted)
}

fn calls(bench: &Bench, operation: &Operation, long: bool, total: &mut Tally) -> Result<(), Box<dyn Error>> {
    bench.plug(operation)?;
    let both = bench.both(operation)?;
    let points = points(bench, operation, &bench.home(operation.start)?)?;
    let plan = plan(&points, long);
    let mut tally = Tally::of(operation, &points);
    for (call, fault) in &plan {
        let what = format!("{fault} at {}", call.line);
        tally.count(&what, cut(bench, operation, &both, call, *fault));
    }
    let mut cut: Vec<_> = plan.iter().map(|(call, _)| (&call.name, call.nth)).collect();
    cut.dedup();
    tally.calls = cut.len();
    total.add(operation.name, tally);
    Ok(())
}

/// `sample`: which of the samples, of as many as there are file systems; all cuts where there is none.
fn power(
    bench: &Bench,
    disks: &Disks<'_>,
    operation: &Operation,
    kind: &str,
    sample: Option<usize>,
    total: &mut Tally,
) -> Result<(), Box<dyn Error>> {
    bench.plug(operation)?;
    let both = bench.both(operation)?;
    let points = disks.points(operation)?;
    let plan = power_plan(&points, sample);
    let mut tally = Tally::of(operation, &points);
    for call in &plan {
        let what = call.map_or("the power, after the answer", |call| &call.line).to_owned();
        tally.count(&what, disks.cut(operation, &both, *call));
    }
    tally.calls = plan.len();
    total.add(&format!("{kind} {}", operation.name), tally);
    Ok(())
}

impl Tally {
    fn of(operation: &Operation, points: &[Call]) -> Self {
        let mut tally = Self {
            exist: points.len(),
            ..Self::default()
        };
        if points.len() < operation.calls {
            println!(
                "FAILED  {}: {} calls; there were {} at least",
                operation.name,
                points.len(),
                operation.calls
            );
            tally.failed += 1;
        }
        tally
    }

    fn count(&mut self, what: &str, ended: Result<Ended, Box<dyn Error>>) {
        match ended {
            Ok(Ended::Old) => self.old += 1,
            Ok(Ended::New) => self.new += 1,
            Ok(Ended::Missed) => {
                self.missed += 1;
                println!("MISSED  {what}");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED  {what}\n        {}", error.to_string().replace('\n', "\n        "));
            }
        }
    }

    fn add(&mut self, name: &str, part: Self) {
        let Self {
            old,
            new,
            missed,
            failed,
            calls,
            exist,
        } = part;
        println!("{name:<18} {exist} calls, {calls} of them cut: {old} old, {new} new, {missed} missed, {failed} failed");
        self.old += old;
        self.new += new;
        self.missed += missed;
        self.failed += failed;
        self.calls += calls;
        self.exist += exist;
    }
}
