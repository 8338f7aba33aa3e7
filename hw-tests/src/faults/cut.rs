//! One operation with one fault in it.

use std::{error::Error, process::ExitStatus};

use super::{
    operation::{Bench, Operation, Start, stop},
    state::State,
    strace::{Call, Fault, Traced, read, strace},
};
use crate::harness::{Home, Terminal};

/// How a cut ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The state of before.
    Old,
    /// The state of after.
    New,
    /// The call was another one this time, or was not made.
    Missed,
}

/// How a command ended, and what it showed.
type Shown = (ExitStatus, String);

/// States before and after an operation that nothing disturbs.
pub type Both = (State, State);

/// The calls that an undisturbed run makes on the files of this home, and the one that tells the client.
///
/// # Errors
/// The operation fails.
pub fn points(bench: &Bench, operation: &Operation) -> Result<Vec<Call>, Box<dyn Error>> {
    let home = bench.home(operation.start)?;
    let ((status, shown), calls, ()) = traced(bench, operation, &home, None, true, || Ok(()))?;
    if !status.success() {
        return Err(format!("{}: {status}\n{shown}", operation.name).into());
    }
    stop(&home)?;
    let ours = home.path().display().to_string();
    Ok(calls.into_iter().filter(|call| is_point(call, &ours)).collect())
}

/// On a file of the home, and not the daemon's start; or an answer.
fn is_point(call: &Call, home: &str) -> bool {
    let of_the_start = ["/run/touchlease", "/config/touchlease"]
        .iter()
        .any(|folder| call.line.contains(folder));
    // strace says with each path where relative ones would begin.
    let line = call.line.replace(&format!("AT_FDCWD<{home}/work>"), "");
    let on_file = line.contains(home) && !of_the_start;
    on_file || call.is_answer()
}

/// Runs the operation with this fault at this call, and looks what a fresh daemon finds.
///
/// # Errors
/// A third state; something acknowledged that is lost; a vault or log that is not as it should be.
pub fn cut(bench: &Bench, operation: &Operation, both: &Both, call: &Call, fault: Fault) -> Result<Ended, Box<dyn Error>> {
    let home = bench.home(operation.start)?;
    let look = || match fault {
        Fault::Kill => Ok(None),
        Fault::Error(_) => State::without_values(&home).map(Some),
    };
    let ((status, shown), calls, standing) = traced(bench, operation, &home, Some((call, fault)), true, look)?;
    let ended = fresh(bench, operation, &home, both, status.success());
    stop(&home)?;
    let ended = ended.map_err(|error| format!("{error}\nthe command: {status}\n{shown}"))?;
    if let Some(standing) = standing {
        let found = if ended == Ended::New { &both.1 } else { &both.0 };
        if standing != found.bare() {
            return Err(format!("the daemon that had the error sees another state than a fresh one: {standing:?}").into());
        }
    }
    let hit = calls.iter().any(|made| made.cut && made.name == call.name && made.nth == call.nth);
    Ok(if hit { ended } else { Ended::Missed })
}

/// Runs the operation under a trace, the daemon's or its own, and then `still` while the daemon is there.
pub(super) fn traced<T>(
    bench: &Bench,
    operation: &Operation,
    home: &Home,
    fault: Option<(&Call, Fault)>,
    linger: bool,
    still: impl FnOnce() -> Result<T, Box<dyn Error>>,
) -> Result<(Shown, Vec<Call>, T), Box<dyn Error>> {
    if operation.is_of_the_command() {
        let log = home.path().join("calls");
        let ended = operation.attend(bench, Terminal::start(&strace(&home.command(operation.arguments), &log, fault))?)?;
        return Ok((ended, read(&log)?, still()?));
    }
    let daemon = Traced::start(home, fault)?;
    let ended = operation.run(bench, home)?;
    if linger {
        operation.linger();
    }
    let still = still()?;
    Ok((ended, daemon.end()?, still))
}

/// What a fresh daemon finds in this home, judged.
pub(super) fn fresh(bench: &Bench, operation: &Operation, home: &Home, both: &Both, acknowledged: bool) -> Result<Ended, Box<dyn Error>> {
    let ended = judge(&State::of(home)?, both, acknowledged)?;
    if [Start::Nothing, Start::Archive].contains(&operation.start) && ended == Ended::Old {
        // What was begun can be begun again.
        bench.done(operation, home)?;
    }
    Ok(ended)
}

fn judge(found: &State, (before, after): &Both, acknowledged: bool) -> Result<Ended, Box<dyn Error>> {
    match (found == before, found == after) {
        (_, true) => Ok(Ended::New),
        (true, _) if acknowledged => Err(format!("acknowledged and lost: {found:?}").into()),
        (true, _) => Ok(Ended::Old),
        _ => Err(format!("a third state: {found:?}").into()),
    }
}
