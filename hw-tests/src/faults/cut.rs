//! One operation with one fault in it.

use std::{error::Error, process::ExitStatus};

use super::{
    bench::{Bench, stop},
    operation::{Lost, Operation, Start},
    state::State,
    strace::{Call, Fault, Traced, program, read},
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

/// How often a cut is aimed: wake-ups of threads are written too, one more or less in each run.
const TRIES: usize = 20;

/// How a command ended, and what it showed.
type Shown = (ExitStatus, String);

/// States before and after an operation that nothing disturbs.
pub type Both = (State, State);

/// The calls that an undisturbed run makes on the files of this home, and the one that tells the client.
///
/// # Errors
/// The operation fails.
pub fn points(bench: &Bench, operation: &Operation, home: &Home) -> Result<Vec<Call>, Box<dyn Error>> {
    let ((status, shown), calls, ()) = traced(bench, operation, home, None, Lost::Process, || Ok(()))?;
    if !status.success() {
        return Err(format!("{}: {status}\n{shown}", operation.name).into());
    }
    stop(home)?;
    Ok(calls.into_iter().filter(|call| call.place.is_some()).collect())
}

/// Runs the operation with this fault at this call, and looks what a fresh daemon finds.
///
/// # Errors
/// A third state; something acknowledged that is lost; a vault or log that is not as it should be.
pub fn cut(bench: &Bench, operation: &Operation, both: &Both, call: &Call, fault: Fault) -> Result<Ended, Box<dyn Error>> {
    aimed(call, |call| once(bench, operation, both, call, fault))
}

/// Cuts until the call is hit: how many others of its name come before it is not the same in every run. What a cut at another call
/// leaves has to hold too.
pub(super) fn aimed(
    call: &Call,
    mut cut: impl FnMut(&Call) -> Result<(Ended, Vec<Call>), Box<dyn Error>>,
) -> Result<Ended, Box<dyn Error>> {
    let mut aim = call.clone();
    let mut held = Ended::Missed;
    for _ in 0..TRIES {
        let (ended, calls) = cut(&aim)?;
        if calls.iter().any(|made| made.cut && made.is(call)) {
            return Ok(ended);
        }
        held = ended;
        aim.nth = corrected(&aim, &calls);
    }
    // What is sent to a client while the other thread writes has another place in each run: the cuts beside it held.
    if call.name == "sendto" {
        println!("not met again in {TRIES} runs: {}", call.line);
        return Ok(held);
    }
    Ok(Ended::Missed)
}

/// The number by which the call would have been hit in a run that made these; at least, where the run was cut before it.
fn corrected(aim: &Call, calls: &[Call]) -> u32 {
    if let Some(made) = calls.iter().find(|made| made.is(aim)) {
        return made.nth;
    }
    let of_name = || calls.iter().filter(|made| made.name == aim.name && made.thread == aim.thread);
    let reached = of_name().filter_map(|made| made.place).max().unwrap_or(0);
    let (Some(cut), Some(place)) = (of_name().find(|made| made.cut), aim.place) else {
        return aim.nth;
    };
    // Too far is found out of, too near is not.
    cut.nth + place.saturating_sub(reached).max(1)
}

fn once(bench: &Bench, operation: &Operation, both: &Both, call: &Call, fault: Fault) -> Result<(Ended, Vec<Call>), Box<dyn Error>> {
    let home = bench.home(operation.start)?;
    let look = || match fault {
        Fault::Kill => Ok(None),
        Fault::Error(_) => State::without_values(&home).map(Some),
    };
    let ((status, shown), calls, standing) = traced(bench, operation, &home, Some((call, fault)), Lost::Process, look)?;
    let ended = fresh(bench, operation, &home, both, status.success());
    stop(&home)?;
    let ended = ended.map_err(|error| format!("{error}\nthe command: {status}\n{shown}"))?;
    if let Some(standing) = standing {
        let found = if ended == Ended::New { &both.1 } else { &both.0 };
        if standing != found.bare() {
            return Err(format!("the daemon that had the error sees another state than a fresh one: {standing:?}").into());
        }
    }
    Ok((ended, calls))
}

/// Runs the operation under a trace, the daemon's or its own, and then `still` while the daemon is there.
pub(super) fn traced<T>(
    bench: &Bench,
    operation: &Operation,
    home: &Home,
    fault: Option<(&Call, Fault)>,
    lost: Lost,
    still: impl FnOnce() -> Result<T, Box<dyn Error>>,
) -> Result<(Shown, Vec<Call>, T), Box<dyn Error>> {
    if operation.is_of_the_command() {
        let command = program(&home.command(operation.arguments(bench)), home.path(), fault);
        let ended = operation.attend(bench, Terminal::start(&command)?)?;
        return Ok((ended, read(home.path())?, still()?));
    }
    let mut daemon = Traced::start(home, fault)?;
    let ended = operation.run(bench, home, lost)?;
    // Power that goes with the answer leaves no time for what comes after it.
    if lost == Lost::Process || fault.is_some() {
        daemon.wait(operation.goes_on_for())?;
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

#[cfg(test)]
mod tests {
    use super::{super::strace::Thread, *};

    fn call(nth: u32, place: Option<u32>, cut: bool) -> Call {
        Call {
            name: "openat".into(),
            thread: Thread::Main,
            nth,
            place,
            line: String::new(),
            cut,
        }
    }

    #[test]
    fn a_cut_that_hits_another_call_is_aimed_anew() {
        let point = call(3, Some(2), false);
        // Two more calls than in the dry run, and then one less.
        let made = |nth, cut: bool| -> Vec<Call> {
            let before = [
                call(1, Some(1), false),
                call(2, None, false),
                call(3, None, false),
                call(4, None, false),
            ];
            let mut made: Vec<Call> = before.into_iter().chain([call(5, Some(2), false)]).take(nth).collect();
            made.last_mut().expect("a call").cut = cut;
            made
        };
        let mut aims = vec![];
        let ended = aimed(&point, |aim| {
            aims.push(aim.nth);
            Ok((Ended::Old, made(aim.nth as usize, true)))
        });
        assert_eq!((ended.expect("a cut"), &aims[..]), (Ended::Old, &[3, 4, 5][..]));
        assert_eq!(corrected(&call(7, Some(2), false), &made(5, false)), 5);
        let never = aimed(&point, |_| Ok((Ended::New, vec![])));
        assert_eq!(never.expect("no error"), Ended::Missed);
        let message = Call {
            name: "sendto".into(),
            ..point
        };
        let beside = aimed(&message, |aim| Ok((Ended::New, made(aim.nth as usize, true))));
        assert_eq!(beside.expect("no error"), Ended::New);
    }
}
