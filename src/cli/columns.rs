//! Texts in the columns of a screen.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::encoding::plain::visible;

/// Columns of a word that stands on no line by itself.
const ALONE: usize = 3;

/// Breaks `text` into lines of at most `width` columns: at spaces, and within words that are wider than a line. Nothing may run off
/// the screen unseen. Blanks in front stay: they are what a caret or a table stands on.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut line, mut used) = (vec![], String::new(), 0);
    let mut begun = false;
    for word in text.split(' ') {
        if used > 0 && used + 1 + word.width() > width {
            lines.push(std::mem::take(&mut line));
            (used, begun) = (0, false);
        }
        let space = if begun { " " } else { "" };
        begun = true;
        for c in space.chars().chain(word.chars()) {
            let columns = c.width().unwrap_or(0);
            if used + columns > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += columns;
        }
    }
    lines.push(line);
    fill_last(&mut lines, text, width);
    lines
}

/// A short word at the end, as the key to press, is overlooked on a line of its own: the word before it goes along.
fn fill_last(lines: &mut [String], text: &str, width: usize) {
    let [.., before, last] = lines else { return };
    let is_whole_word = text.rsplit(' ').next() == Some(last);
    let Some((rest, along)) = before.rsplit_once(' ') else { return };
    if is_whole_word && last.width() <= ALONE && !rest.trim().is_empty() && along.width() + 1 + last.width() <= width {
        *last = format!("{along} {last}");
        *before = rest.to_owned();
    }
}

/// The first `width` columns of `text`, with an ellipsis where something is missing. What would steer the screen becomes visible:
/// names of readers and programs come from elsewhere (T43).
pub fn fit(text: &str, width: usize) -> String {
    let text = visible(text);
    if text.width() <= width {
        return text;
    }
    let mut used = 0;
    let kept = text.chars().take_while(|c| {
        used += c.width().unwrap_or(0);
        used < width
    });
    kept.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_long_words_anywhere() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("東京東京", 4), ["東京", "東京"]);
        assert_eq!(wrap("if you did not ask there, d", 26), ["if you did not ask", "there, d"]);
        assert_eq!(wrap("there, d", 6), ["there,", "d"]);
        assert_eq!(wrap("a pathwithoutblanks", 15), ["a", "pathwithoutblan", "ks"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("   a caret", 40), ["   a caret"]);
        assert_eq!(wrap("  one two", 6), ["  one", "two"]);
        assert_eq!(wrap("    abcdef", 4), ["   ", "abcd", "ef"]);
    }

    #[test]
    fn what_does_not_fit_ends_with_an_ellipsis() {
        assert_eq!(fit("short", 5), "short");
        assert_eq!(fit("longer", 5), "long…");
        assert_eq!(fit("東京東京", 5), "東京…");
    }

    #[test]
    fn t43_what_would_steer_the_screen_becomes_visible() {
        assert_eq!(fit("Reader\u{1b}[2J", 40), "Reader<U+001B>[2J");
    }
}
