//! Which calls are cut, and how.

use super::strace::{Call, Fault};

/// How many of the calls that are not vital are left out in a sample.
const EVERY: usize = 10;
/// An operation of no more calls than these has a kill at each of them in a sample.
const FEW: usize = 16;
/// How many of these calls have one power cut in a sample.
const SAMPLES: usize = 18;

/// The faults of a run: all of them, or a sample with every rename and fsync and every tenth other call, each with a kill or one of
/// its errors in turn; where there are few calls, a kill at each.
#[must_use]
pub fn plan(points: &[Call], all: bool) -> Vec<(&Call, Fault)> {
    if all {
        return points
            .iter()
            .flat_map(|call| faults(call).map(move |fault| (call, fault)))
            .collect();
    }
    if points.len() <= FEW {
        return points.iter().map(|call| (call, Fault::Kill)).collect();
    }
    let turn = |(n, call): (usize, _)| faults(call).cycle().nth(n).map(|fault| (call, fault));
    vital_and_tenth(points).enumerate().filter_map(turn).collect()
}

/// At which calls the power is taken away: at every rename and fsync and every tenth other call, and right after the answer (none). A
/// sample has the latter and one in `SAMPLES` of the former, which ones by its number.
#[must_use]
pub fn power_plan(points: &[Call], sample: Option<usize>) -> Vec<Option<&Call>> {
    let picked = vital_and_tenth(points)
        .enumerate()
        .filter(|(n, _)| sample.is_none_or(|sample| n % SAMPLES == sample * SAMPLES / 3));
    picked.map(|(_, call)| Some(call)).chain([None]).collect()
}

fn vital_and_tenth(points: &[Call]) -> impl Iterator<Item = &Call> {
    let (vital, others): (Vec<&Call>, Vec<&Call>) = points.iter().partition(|call| call.is_vital());
    vital.into_iter().chain(others.into_iter().step_by(EVERY))
}

fn faults(call: &Call) -> impl Iterator<Item = Fault> + Clone + use<> {
    let errors = call.errors().iter().map(|error| Fault::Error(error));
    std::iter::once(Fault::Kill).chain(errors)
}

#[cfg(test)]
mod tests {
    use super::{super::strace::Thread, *};

    fn call(name: &str, nth: u32) -> Call {
        Call {
            name: name.into(),
            thread: Thread::Main,
            nth,
            place: Some(nth),
            line: format!("{name}(3</home/x>)"),
            cut: false,
        }
    }

    #[test]
    fn a_sample_has_every_rename_and_fsync_and_every_tenth_other_call() {
        let mut points: Vec<Call> = (1..=40).map(|nth| call("openat", nth)).collect();
        points.extend((1..=5).map(|nth| call("fsync", nth)));
        points.extend((1..=5).map(|nth| call("renameat", nth)));
        let sample = plan(&points, false);
        assert_eq!(sample.len(), 14);
        assert_eq!(sample.iter().filter(|(call, _)| call.is_vital()).count(), 10);
        assert!(sample.iter().filter(|(_, fault)| *fault == Fault::Kill).count() >= 2);
        let few = plan(&points[..FEW], false);
        assert!(few.len() == FEW && few.iter().all(|(_, fault)| *fault == Fault::Kill));
        // openat: a kill and three errors; fsync and renameat: a kill and four.
        assert_eq!(plan(&points, true).len(), 40 * 4 + 10 * 5);
        assert_eq!(power_plan(&points, None).len(), 15);
        let sampled: Vec<usize> = (0..3).map(|sample| power_plan(&points, Some(sample)).len()).collect();
        assert_eq!(sampled, [2, 2, 2]);
    }
}
