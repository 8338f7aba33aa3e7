//! One operation with one fault in it.

use std::error::Error;

use super::{
    operation::{Bench, Operation, Start, done, stop},
    state::State,
    strace::{Call, Fault, Traced},
};
use crate::harness::Home;

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

/// States before and after an operation that nothing disturbs.
pub type Both = (State, State);

/// The calls that an undisturbed run makes on the files of this home, and the one that tells the client.
///
/// # Errors
/// The operation fails.
pub fn points(bench: &Bench, operation: &Operation) -> Result<Vec<Call>, Box<dyn Error>> {
    let home = bench.home(operation.start)?;
    let daemon = Traced::start(&home, None)?;
    done(&home, operation.arguments)?;
    operation.linger();
    let calls = daemon.end()?;
    let ours = home.path().display().to_string();
    Ok(calls.into_iter().filter(|call| is_point(call, &ours)).collect())
}

/// On a file of the home, and not the daemon's start; or an answer.
fn is_point(call: &Call, home: &str) -> bool {
    let of_the_start = ["/run/touchlease", "/config/touchlease"]
        .iter()
        .any(|folder| call.line.contains(folder));
    let on_file = call.line.contains(home) && !of_the_start;
    on_file || call.is_answer()
}

/// Runs the operation with this fault at this call, and looks what a fresh daemon finds.
///
/// # Errors
/// A third state; something acknowledged that is lost; a vault or log that is not as it should be.
pub fn cut(bench: &Bench, operation: &Operation, both: &Both, call: &Call, fault: Fault) -> Result<Ended, Box<dyn Error>> {
    let home = bench.home(operation.start)?;
    let daemon = Traced::start(&home, Some((call, fault)))?;
    let (status, shown) = home.terminal(operation.arguments)?.finish()?;
    let acknowledged = status.success();
    operation.linger();
    let standing = match fault {
        Fault::Kill => None,
        Fault::Error(_) => Some(State::without_values(&home)?),
    };
    let calls = daemon.end()?;
    let ended = fresh(operation, &home, both, acknowledged);
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

/// What a fresh daemon finds in this home, judged.
pub(super) fn fresh(operation: &Operation, home: &Home, both: &Both, acknowledged: bool) -> Result<Ended, Box<dyn Error>> {
    let ended = judge(&State::of(home)?, both, acknowledged)?;
    if operation.start == Start::Nothing && ended == Ended::Old {
        // What was begun can be begun again.
        done(home, operation.arguments)?;
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
