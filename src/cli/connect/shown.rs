//! What of a change in somebody's settings is shown: what came and what went, and nothing that stands beside it.
//!
//! A line that changes is not shown whole. Settings on one line have every server's tokens on it, and of settings on many the last line of what was
//! there gets a comma.

use std::collections::HashSet;

use crate::encoding::lines::{Change, compare};

/// What stands between the parts of settings, in JSON and in TOML.
const BETWEEN: [char; 6] = ['{', '}', '[', ']', ',', '\n'];
/// In front of what is a part of a line only.
const CUT: &str = "...";

/// The lines of a change that are shown: what is gone, and what came.
pub fn parts(change: &Change<'_>) -> (Vec<String>, Vec<String>) {
    if change.gone.is_empty() || change.came.is_empty() {
        let whole = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        return (whole(&change.gone), whole(&change.came));
    }
    let (gone, came) = (change.gone.join("\n"), change.came.join("\n"));
    let (before, after) = (pieces(&gone), pieces(&came));
    let (mut out, mut new) = (Vec::new(), Vec::new());
    for part in compare(&before, &after) {
        // Of two texts that are too large to be compared, what both have is in neither.
        out.extend(lines(&without(&part.gone, &part.came)));
        let starts_a_line = part.at == 1 || after[part.at - 2] == "\n" || part.came.first() == Some(&"\n");
        for (number, line) in lines(&without(&part.came, &part.gone)).into_iter().enumerate() {
            new.push(if number == 0 && !starts_a_line {
                format!("{CUT}{line}")
            } else {
                line
            });
        }
    }
    (out, new)
}

/// Each of what stands between is a piece too.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    for part in text.split_inclusive(BETWEEN) {
        let end = part.char_indices().next_back().filter(|(_, last)| BETWEEN.contains(last));
        let (before, between) = part.split_at(end.map_or(part.len(), |(at, _)| at));
        pieces.extend([before, between].into_iter().filter(|piece| !piece.is_empty()));
    }
    pieces
}

fn without<'a>(pieces: &[&'a str], others: &[&str]) -> Vec<&'a str> {
    let others: HashSet<&&str> = others.iter().filter(|piece| !piece.starts_with(BETWEEN)).collect();
    pieces.iter().filter(|piece| !others.contains(piece)).copied().collect()
}

/// As they are read; a comma or a bracket by itself says nothing.
fn lines(pieces: &[&str]) -> Vec<String> {
    let text = pieces.concat();
    let text = text.trim_start_matches(',');
    let says = |line: &&str| line.contains(|c: char| !BETWEEN.contains(&c) && !c.is_whitespace());
    text.lines().filter(says).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::lines::changes;

    fn shown(before: &str, after: &str) -> (String, String) {
        let all = changes(before, after);
        let (gone, came): (Vec<_>, Vec<_>) = all.iter().map(parts).unzip();
        (gone.concat().join("\n"), came.concat().join("\n"))
    }

    #[test]
    fn p5_of_a_line_that_changes_what_was_there_is_not_shown() {
        let ours = "\"touchlease\":{\"command\":\"/bin/t\"}";
        for (before, after, said) in [
            ("{\"a\":{\"T\":\"canary\"}}", format!("{{\"a\":{{\"T\":\"canary\"}},{ours}}}"), ours),
            (
                "{\n  \"key\": \"canary\"\n}\n",
                format!("{{\n  \"key\": \"canary\",\n  {ours}\n}}\n"),
                ours,
            ),
            (
                "s = { a = { T = \"canary\" } }\n",
                "s = { a = { T = \"canary\" }, t = { command = \"/bin/t\" } }\n".into(),
                "command = \"/bin/t\"",
            ),
        ] {
            let (gone, came) = shown(before, &after);
            assert!(gone.is_empty() && came.contains(said) && !came.contains("canary"), "{gone} {came}");
            let (gone, came) = shown(&after, before);
            assert!(came.is_empty() && gone.contains(said) && !gone.contains("canary"), "{gone} {came}");
        }
    }

    #[test]
    fn p5_of_settings_too_large_to_be_compared_only_what_is_new_is_shown() {
        let entries = |first: &str, last: &str| {
            let between: String = (0..5000).map(|number| format!("\"{number}\":\"canary-{number}\",")).collect();
            format!("{{{first}{between}{last}}}")
        };
        let (gone, came) = shown(&entries("\"t\":\"old\",", "\"z\":1"), &entries("\"t\":\"new\",", "\"z\":2"));
        assert!(
            gone.contains("\"old\"") && came.contains("\"new\"") && !gone.contains("canary") && !came.contains("canary"),
            "{gone:.300} {came:.300}"
        );
    }

    #[test]
    fn lines_that_came_whole_are_shown_whole() {
        let (gone, came) = shown("a = 1\n", "a = 1\n\n[mcp_servers.touchlease]\nargs = [\"mcp\"]\n");
        assert_eq!((gone.as_str(), came.as_str()), ("", "\n[mcp_servers.touchlease]\nargs = [\"mcp\"]"));
        let (gone, came) = shown("command = \"/old\"\n", "command = \"/new\"\n");
        assert_eq!((gone.as_str(), came.as_str()), ("command = \"/old\"", "command = \"/new\""));
    }
}
