//! How much of what a worker says goes into the log.

use std::time::Duration;

use crate::clock::Boot;

/// Lines of refusals and echoes in the log, of one lease in a second: a flood of them must not fill the disk, nor hold anybody up (P4).
const LINES_A_SECOND: u32 = 20;
/// Longest path in a line of the log, in bytes.
const LONGEST_PATH: usize = 200;

/// How many lines there were in this second.
pub(super) struct Brake {
    since: Boot,
    said: u32,
    unsaid: u64,
}

impl Brake {
    pub(super) fn new(since: Boot) -> Self {
        Self { since, said: 0, unsaid: 0 }
    }

    /// Whether there is a line for it; then how many had none before.
    pub(super) fn take(&mut self, now: Boot) -> Option<u64> {
        if now.since(self.since) >= Duration::from_secs(1) {
            (self.since, self.said) = (now, 0);
        }
        if self.said >= LINES_A_SECOND {
            self.unsaid += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// The path as far as it goes into a line.
pub(super) fn shortened(path: &str) -> String {
    if path.len() <= LONGEST_PATH {
        return path.to_owned();
    }
    let end = (0..=LONGEST_PATH).rev().find(|end| path.is_char_boundary(*end)).unwrap_or_default();
    format!("{}...", &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p4_a_flood_of_refusals_has_twenty_lines_a_second_and_says_what_it_left_out() {
        let mut brake = Brake::new(Boot(0));
        let said: Vec<u64> = (0..3000).filter_map(|ms| brake.take(Boot(ms))).collect();
        assert_eq!(said.len(), 60);
        assert_eq!((said[0], said[20], said[40], said[41]), (0, 980, 980, 0));
    }

    #[test]
    fn a_long_path_is_cut_at_a_letter() {
        assert_eq!(shortened("/v4"), "/v4");
        assert_eq!(shortened(&format!("/{}ä", "x".repeat(198))), format!("/{}...", "x".repeat(198)));
    }
}
