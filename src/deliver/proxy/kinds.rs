//! What of a lease may be done again without a question, and how often it was, since that was last told.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::protocol::{Again, GOOD_FOR, Use};
use crate::clock::Boot;

/// Kinds of use that are remembered of a lease. What is not is asked for.
pub const MOST_KINDS: usize = 256;
/// Longest method, host and path together of a kind, in bytes: what is longer is asked for each time, so that no kind is cut, and none
/// stands for another.
pub const LONGEST_KIND: usize = 300;
/// Bytes of kinds that are told at one time: written as JSON they fit into a frame.
const MOST_TOLD: usize = 16 * 1024;
/// What a kind has beside its texts in a frame, at most.
const BESIDE: usize = 100;

/// How often a kind was done again.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Times {
    untold: u32,
    /// What the daemon was told and has not answered to.
    telling: u32,
}

/// The kinds of one lease.
#[derive(Default)]
pub struct Kinds {
    known: HashMap<Rc<Use>, Times>,
    /// The oldest first.
    order: VecDeque<Rc<Use>>,
    /// Until when the daemon's last yes holds.
    good_until: Option<Boot>,
}

impl Kinds {
    /// Counts a use, if it may be done without a question.
    #[must_use]
    pub fn count(&mut self, used: &Use, now: Boot) -> bool {
        if self.good_until.is_none_or(|until| now >= until) {
            return false;
        }
        let Some(times) = self.known.get_mut(used) else { return false };
        let more = times.untold.checked_add(1);
        more.map(|more| times.untold = more).is_some()
    }

    /// Until when [`Kinds::count`] says yes.
    #[must_use]
    pub fn good_until(&self) -> Option<Boot> {
        self.good_until
    }

    /// The daemon said yes to what it was asked or told at `since`: to everything that it let go on before, for a while.
    pub fn renew(&mut self, since: Boot) {
        self.good_until = self.good_until.max(Some(since + GOOD_FOR));
    }

    /// The daemon said no: everything is asked for again. What was done stays to be told.
    pub fn lapse(&mut self) {
        self.good_until = None;
    }

    /// Remembers a use that may be done again. Where there are too many, the oldest of which nothing is left to tell is forgotten; where there
    /// is none, this one is.
    pub fn learn(&mut self, used: Use) {
        if used.method.len() + used.host.len() + used.path.len() > LONGEST_KIND || self.known.contains_key(&used) {
            return;
        }
        if self.known.len() >= MOST_KINDS {
            let is_told = |kind: &Rc<Use>| self.known.get(kind) == Some(&Times::default());
            let Some(oldest) = self.order.iter().position(is_told) else {
                return;
            };
            if let Some(kind) = self.order.remove(oldest) {
                self.known.remove(&kind);
            }
        }
        let used = Rc::new(used);
        self.order.push_back(used.clone());
        self.known.insert(used, Times::default());
    }

    /// Takes what is to be told, as much as goes into one frame. It is kept in mind until it [is told](Kinds::told), or [cannot be](Kinds::put_back).
    pub fn take(&mut self) -> Vec<Again> {
        let mut room = MOST_TOLD;
        let mut taken = vec![];
        for kind in &self.order {
            let Some(times) = self.known.get_mut(kind).filter(|times| times.untold > 0) else {
                continue;
            };
            let size = kind.method.len() + kind.host.len() + kind.path.len() + BESIDE;
            if size > room {
                break;
            }
            room -= size;
            let untold = std::mem::take(&mut times.untold);
            times.telling = times.telling.saturating_add(untold);
            taken.push(Again {
                used: Use::clone(kind),
                times: untold,
            });
        }
        taken
    }

    /// The daemon has heard what was taken.
    pub fn told(&mut self) {
        self.known.values_mut().for_each(|times| times.telling = 0);
    }

    /// What was taken could not be told: it is taken another time.
    pub fn put_back(&mut self) {
        for times in self.known.values_mut() {
            times.untold = times.untold.saturating_add(std::mem::take(&mut times.telling));
        }
    }

    /// Whether something is left to tell.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.known.values().any(|times| times.untold > 0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::super::protocol::Report;
    use super::*;
    use crate::worker::frame::head_and_json;

    const NOW: Boot = Boot(5000);

    fn get(path: &str) -> Use {
        Use {
            index: 0,
            method: "GET".into(),
            host: "a.example".into(),
            path: path.into(),
        }
    }

    fn known(paths: impl IntoIterator<Item = String>) -> Kinds {
        let mut kinds = Kinds::default();
        kinds.renew(NOW);
        paths.into_iter().for_each(|path| kinds.learn(get(&path)));
        kinds
    }

    #[test]
    fn t35_another_method_path_host_or_grant_is_another_kind() {
        let mut kinds = known(["/a".into()]);
        assert!(kinds.count(&get("/a"), NOW));
        let others = [
            get("/b"),
            Use {
                method: "PUT".into(),
                ..get("/a")
            },
            Use {
                host: "b.example".into(),
                ..get("/a")
            },
            Use { index: 1, ..get("/a") },
        ];
        for other in others {
            assert!(!kinds.count(&other, NOW), "{other:?}");
        }
    }

    #[test]
    fn p4_a_yes_holds_for_less_than_a_second_from_when_the_daemon_was_asked_and_not_after_a_no() {
        let mut kinds = known(["/a".into()]);
        let last = NOW + GOOD_FOR;
        assert!(GOOD_FOR < Duration::from_secs(1));
        assert!(kinds.count(&get("/a"), Boot(last.0 - 1)) && !kinds.count(&get("/a"), last));
        // An answer to an older question takes nothing back.
        kinds.renew(last);
        kinds.renew(NOW);
        assert!(kinds.count(&get("/a"), last));
        kinds.lapse();
        assert!(!kinds.count(&get("/a"), last));
        assert_eq!(
            kinds.take(),
            [Again { used: get("/a"), times: 2 }],
            "what was done stays to be told"
        );
    }

    #[test]
    fn t61_kinds_are_bounded_and_what_is_not_told_is_never_forgotten() {
        let mut kinds = known((0..MOST_KINDS).map(|n| format!("/{n}")));
        assert!(kinds.count(&get("/0"), NOW));
        for n in 0..10_000 {
            kinds.learn(get(&format!("/more/{n}")));
        }
        assert_eq!((kinds.known.len(), kinds.order.len()), (MOST_KINDS, MOST_KINDS));
        assert!(kinds.count(&get("/0"), NOW) && !kinds.count(&get("/1"), NOW) && kinds.count(&get("/more/9999"), NOW));
        let all: Vec<Use> = kinds.order.iter().map(|kind| Use::clone(kind)).collect();
        assert!(all.iter().all(|used| kinds.count(used, NOW)));
        kinds.learn(get("/one/more"));
        assert!(!kinds.count(&get("/one/more"), NOW) && kinds.known.len() == MOST_KINDS);
        let mut told = vec![];
        while kinds.is_behind() {
            told.extend(kinds.take());
            kinds.told();
        }
        assert_eq!(told.iter().map(|again| again.times).sum::<u32>() as usize, 3 + MOST_KINDS);
    }

    #[test]
    fn t61_what_is_being_told_keeps_its_place_so_that_what_cannot_be_told_finds_room() {
        let mut kinds = known((0..MOST_KINDS).map(|n| format!("/{n}")));
        let all: Vec<Use> = kinds.order.iter().map(|kind| Use::clone(kind)).collect();
        assert!(all.iter().all(|used| kinds.count(used, NOW)));
        let taken = kinds.take();
        // While the daemon is at it, there are other requests.
        for n in 0..10_000 {
            kinds.learn(get(&format!("/more/{n}")));
            let _ = kinds.count(&get(&format!("/more/{n}")), NOW);
        }
        assert!(kinds.count(&taken[0].used, NOW));
        kinds.put_back();
        assert_eq!((kinds.known.len(), kinds.order.len()), (MOST_KINDS, MOST_KINDS));
        let mut told = 0;
        while kinds.is_behind() {
            told += kinds.take().iter().map(|again| again.times).sum::<u32>();
            kinds.told();
        }
        assert_eq!(told as usize, MOST_KINDS + 1, "each once, and one twice");
        kinds.learn(get("/afterwards"));
        assert!(kinds.count(&get("/afterwards"), NOW) && kinds.known.len() == MOST_KINDS);
    }

    #[test]
    fn a_long_path_is_no_kind_so_that_none_stands_for_another() {
        let mut kinds = known([format!("/{}", "x".repeat(LONGEST_KIND))]);
        assert!(kinds.known.is_empty() && !kinds.count(&get(&format!("/{}", "x".repeat(LONGEST_KIND))), NOW));
        let longest = "x".repeat(LONGEST_KIND - "GETa.example".len());
        kinds.learn(get(&longest));
        assert!(kinds.count(&get(&longest), NOW));
    }

    #[test]
    fn what_is_told_at_one_time_fits_into_a_frame_and_comes_back_whole_where_it_cannot_be_told() {
        let longest = |n: usize| format!("/{n:03}{}", "\"".repeat(LONGEST_KIND - 16));
        let mut kinds = known((0..MOST_KINDS).map(longest));
        (0..MOST_KINDS).for_each(|n| assert!(kinds.count(&get(&longest(n)), NOW)));
        let (mut frames, mut told) = (0, 0);
        while kinds.is_behind() {
            let again = kinds.take();
            let report = Report::Repeated {
                seq: u64::MAX,
                lease: "L".repeat(100),
                again: again.clone(),
            };
            assert!(head_and_json(&report, 0).is_ok());
            (frames, told) = (frames + 1, told + again.len());
            if frames == 1 {
                told = 0;
                kinds.put_back();
            } else {
                kinds.told();
            }
        }
        assert!(frames > 2 && told == MOST_KINDS, "{frames} {told}");
    }
}
