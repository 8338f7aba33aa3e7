//! A shell's command line, taken apart as far as it takes to see what a model wrote: simple commands and their words, without quotes.

/// One simple command.
#[derive(Debug, PartialEq, Eq)]
pub struct Simple {
    /// Its words, without quotes.
    pub words: Vec<String>,
    /// Whether it is a quoted text in a script that starts no shell: it names what it names, and is not run.
    pub text: bool,
}

/// Programs that run a text that they are given.
const SHELLS: [&str; 10] = ["sh", "bash", "dash", "zsh", "ksh", "fish", "eval", "su", "ssh", "busybox"];

/// Scripts in scripts that are looked into.
const DEEPEST: usize = 4;

/// The simple commands of a script, each with its words. What is substituted (`$(...)`, backquotes, `<(...)`) is a command of its own; so is
/// a quoted text with blanks in it, which may be a script for another shell.
#[must_use]
pub fn words(script: &str) -> Vec<Simple> {
    let mut commands = Vec::new();
    take_apart(script, &mut commands, false, 0);
    commands
}

fn take_apart(script: &str, commands: &mut Vec<Simple>, text: bool, depth: usize) {
    let first = commands.len();
    let mut now: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut inner: Vec<String> = Vec::new();
    let mut quote: Option<(char, String)> = None;
    let mut chars = script.chars().peekable();
    while let Some(c) = chars.next() {
        match (&mut quote, c) {
            (Some((open, text)), c) if c == *open => {
                word.get_or_insert_default().push_str(text);
                inner.push(std::mem::take(text));
                quote = None;
            }
            (Some(('"', text)), '\\') => text.extend(chars.next()),
            (Some((_, text)), c) => text.push(c),
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some((c, String::new()));
            }
            (None, '\\') => match chars.next() {
                // A line that goes on.
                Some('\n') => {}
                next => word.get_or_insert_default().extend(next),
            },
            (None, ' ' | '\t' | '<' | '>' | '{' | '}')
                if !(c == '{' && word.as_deref().is_some_and(|word| word.ends_with('$'))
                    || c == '}' && word.as_deref().is_some_and(|word| word.contains("${"))) =>
            {
                now.extend(word.take());
            }
            (None, '\n' | ';' | '|' | '&' | '(' | ')' | '`') => {
                now.extend(word.take());
                finish(&mut now, commands, text);
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    // A quote that nobody closed.
    if let Some((_, text)) = quote {
        word.get_or_insert_default().push_str(&text);
        inner.push(text);
    }
    now.extend(word);
    finish(&mut now, commands, text);
    if depth < DEEPEST {
        let scripts = inner
            .iter()
            .filter(|text| text.contains([' ', '\t', '\n', ';', '|', '(', '`', '<']));
        let is_shell = |word: &String| SHELLS.contains(&word.rsplit('/').next().unwrap_or_default());
        let run = commands[first..].iter().any(|command| command.words.iter().any(is_shell));
        scripts.for_each(|script| take_apart(script, commands, text || !run, depth + 1));
    }
}

fn finish(now: &mut Vec<String>, commands: &mut Vec<Simple>, text: bool) {
    if !now.is_empty() {
        let words = std::mem::take(now);
        commands.push(Simple { words, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(script: &str) -> Vec<Vec<String>> {
        words(script).into_iter().map(|command| command.words).collect()
    }

    #[test]
    fn a_script_is_taken_apart_into_commands_and_words_without_quotes() {
        assert_eq!(plain("cat 'a b'/c\\ d"), [vec!["cat", "a b/c d"], vec!["a", "b"]]);
        assert_eq!(plain("a;b&&c | d\ne"), [["a"], ["b"], ["c"], ["d"], ["e"]]);
        assert_eq!(plain("x=$(cat y)<z"), [vec!["x=$"], vec!["cat", "y"], vec!["z"]]);
        assert_eq!(plain("cat ${HOME}/x ~/y"), [["cat", "${HOME}/x", "~/y"]]);
        assert_eq!(plain("sh -c \"cat \\\"y\\\"\""), [vec!["sh", "-c", "cat \"y\""], vec!["cat", "y"]]);
        assert_eq!(plain("a 'open"), [["a", "open"]]);
        assert!(words("").is_empty() && words(" ;; ").is_empty());
    }

    #[test]
    fn a_quoted_text_is_a_script_where_a_shell_is_and_a_text_elsewhere() {
        let last = |script: &str| words(script).pop().map(|command| command.text);
        assert_eq!(last("git commit -m 'a b'"), Some(true));
        assert_eq!(last("/bin/sh -c 'a b'"), Some(false));
        assert_eq!(last("bash -lc \"sh -c 'a b'\""), Some(false));
    }

    #[test]
    fn p13_quotes_in_quotes_end() {
        let deep = "\"'".repeat(10_000);
        assert!(words(&deep).len() < 100_000);
    }
}
