//! A command line that was not understood, as a failure.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::wire::{Failure, Outcome};

/// What clap says, and a command that helps. `words` is the whole command line.
pub fn failure(error: &clap::Error, words: &[String]) -> Failure {
    // clap repeats the words of the command line as they are; those may come from anywhere (T43).
    let said = error.render().to_string();
    let said = said.split("\n\nFor more information").next().unwrap_or_default();
    let said = said.trim_end().trim_start_matches("error: ");
    let hint = behind_dashes(error, words).unwrap_or_else(|| format!("{} --help", command(said)));
    Failure::new(Outcome::Usage, "usage", said).hint(hint)
}

/// `touchlease run ls`: the same words, with the `--` that they lack.
fn behind_dashes(error: &clap::Error, words: &[String]) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let runs = words.iter().any(|word| word == "run") && !words.iter().any(|word| word == "--");
    if error.kind() != ErrorKind::UnknownArgument || !runs || word.starts_with('-') {
        return None;
    }
    let dashed = (1..words.len()).filter(|at| words[*at] == *word).map(|at| {
        let (options, command) = words.split_at(at);
        [options, &["--".to_owned()], command].concat()
    });
    let line = dashed
        .into_iter()
        .find(|line| super::command().try_get_matches_from(line).is_ok())?;
    let line: Vec<_> = line[1..].iter().map(|word| quoted(word)).collect();
    Some(format!("touchlease {}", line.join(" ")))
}

/// The command that clap's usage line names.
fn command(said: &str) -> String {
    let usage = said.split_once("Usage: ").map_or("touchlease", |(_, usage)| usage);
    let words = usage.split_ascii_whitespace();
    let words: Vec<_> = words
        .take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect();
    words.join(" ")
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
