//! A command line that was not understood, as a failure.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::encoding::plain::shell_word;
use crate::wire::{Failure, Outcome};

/// What clap says, and a command that helps. `words` is the whole command line.
pub fn failure(error: &clap::Error, words: &[String]) -> Failure {
    // clap repeats the words of the command line as they are; those may come from anywhere (T43).
    let said = error.render().to_string();
    let said = said.split("\n\nFor more information").next().unwrap_or_default();
    let said = said.trim_end().trim_start_matches("error: ");
    let hint = behind_dashes(error, words).unwrap_or_else(|| format!("{} --help", command(said, words)));
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
    let line: Vec<_> = line[1..].iter().map(|word| shell_word(word)).collect();
    Some(format!("touchlease {}", line.join(" ")))
}

/// The command that clap's usage line names; where it says none, as of a wrong value, the one that the command line begins with.
fn command(said: &str, line: &[String]) -> String {
    let Some((_, usage)) = said.split_once("Usage: ") else {
        return named(line);
    };
    let words = usage.split_ascii_whitespace();
    let words: Vec<_> = words
        .take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect();
    words.join(" ")
}

fn named(line: &[String]) -> String {
    let mut command = super::command();
    command.build();
    let (mut here, mut name) = (&command, "touchlease".to_owned());
    let mut words = line.iter().skip(1);
    while let Some(word) = words.next() {
        match here.find_subcommand(word) {
            Some(below) => {
                here = below;
                name = format!("{name} {word}");
            }
            // Its value is no command, whatever it is called.
            None if word == "--vault" => drop(words.next()),
            None if word.starts_with('-') => {}
            None => break,
        }
    }
    name
}
