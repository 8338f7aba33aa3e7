//! How a text differs from another, line by line.

/// Cells of the table in which lines are compared. What is larger is one change: it says no less, in more lines.
const MOST_CELLS: usize = 1 << 20;

/// Lines that came in place of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// Where in the newer text, counted from 1.
    pub at: usize,
    /// What is gone.
    pub gone: Vec<&'a str>,
    /// What came.
    pub came: Vec<&'a str>,
}

/// The changes that make `after` of `before`, in their order; as few lines as possible. The end of a last line counts as no difference.
#[must_use]
pub fn changes<'a>(before: &'a str, after: &'a str) -> Vec<Change<'a>> {
    compare(&before.lines().collect::<Vec<_>>(), &after.lines().collect::<Vec<_>>())
}

/// The same of texts that are taken apart already, into whatever: [`Change::at`] counts these parts.
#[must_use]
pub fn compare<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<Change<'a>> {
    let same = |pair: &(&&str, &&str)| pair.0 == pair.1;
    let head = before.iter().zip(after).take_while(same).count();
    let tail = before[head..].iter().rev().zip(after[head..].iter().rev()).take_while(same).count();
    let (before, after) = (&before[head..before.len() - tail], &after[head..after.len() - tail]);
    if before.len().saturating_mul(after.len()) > MOST_CELLS {
        return vec![Change {
            at: head + 1,
            gone: before.to_vec(),
            came: after.to_vec(),
        }];
    }
    let common = Common::of(before, after);
    let mut all = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            (i, j) = (i + 1, j + 1);
            continue;
        }
        let (from_i, from_j) = (i, j);
        while i < before.len() || j < after.len() {
            let both = i < before.len() && j < after.len();
            if both && before[i] == after[j] {
                break;
            }
            if j == after.len() || (both && common.behind(i + 1, j) >= common.behind(i, j + 1)) {
                i += 1;
            } else {
                j += 1;
            }
        }
        all.push(Change {
            at: head + from_j + 1,
            gone: before[from_i..i].to_vec(),
            came: after[from_j..j].to_vec(),
        });
    }
    all
}

/// How many lines two texts have in common from each pair of places on (longest common subsequence).
struct Common {
    width: usize,
    table: Vec<u32>,
}

impl Common {
    fn of(before: &[&str], after: &[&str]) -> Self {
        let width = after.len() + 1;
        let mut common = Self {
            width,
            table: vec![0; width * (before.len() + 1)],
        };
        for i in (0..before.len()).rev() {
            for j in (0..after.len()).rev() {
                common.table[i * width + j] = if before[i] == after[j] {
                    common.behind(i + 1, j + 1) + 1
                } else {
                    common.behind(i + 1, j).max(common.behind(i, j + 1))
                };
            }
        }
        common
    }

    fn behind(&self, i: usize, j: usize) -> u32 {
        self.table[i * self.width + j]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change<'a>(at: usize, gone: &[&'a str], came: &[&'a str]) -> Change<'a> {
        Change {
            at,
            gone: gone.to_vec(),
            came: came.to_vec(),
        }
    }

    #[test]
    fn a_change_names_the_lines_that_went_and_came_and_no_others() {
        assert_eq!(changes("a\nb\nc", "a\nb\nc\n"), []);
        assert_eq!(changes("a\nb\nc", "a\nx\nc"), [change(2, &["b"], &["x"])]);
        assert_eq!(changes("", "a\nb"), [change(1, &[], &["a", "b"])]);
        assert_eq!(changes("a\nb", ""), [change(1, &["a", "b"], &[])]);
        assert_eq!(
            changes("a\nb\nc\nd\ne", "b\nc\nx\ne\nf"),
            [change(1, &["a"], &[]), change(3, &["d"], &["x"]), change(5, &[], &["f"])]
        );
    }

    #[test]
    fn two_large_texts_with_nothing_in_common_are_one_change() {
        let text = |start: u32| (start..start + 2000).map(|n| format!("{n}\n")).collect::<String>();
        let (before, after) = (text(0), text(10_000));
        let all = changes(&before, &after);
        assert_eq!((all.len(), all[0].gone.len(), all[0].came.len()), (1, 2000, 2000));
    }

    /// Whatever the texts are: the changes make one of the other.
    #[test]
    fn changes_make_the_newer_text_of_the_older_one() {
        let mut seed = 7_u32;
        let mut text = || {
            let mut lines = String::new();
            for _ in 0..12 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                lines += ["a\n", "b\n", "c\n", ""][(seed >> 30) as usize];
            }
            lines
        };
        for _ in 0..500 {
            let (before, after) = (text(), text());
            let mut lines: Vec<&str> = before.lines().collect();
            for Change { at, gone, came } in changes(&before, &after) {
                let old = lines.splice(at - 1..at - 1 + gone.len(), came).collect::<Vec<_>>();
                assert_eq!(old, gone, "{before:?} {after:?}");
            }
            assert_eq!(lines, after.lines().collect::<Vec<_>>(), "{before:?}");
        }
    }
}
