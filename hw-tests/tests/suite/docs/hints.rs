//! Commands that the program tells a person to type.

use super::{outcomes::sources, repository};

#[test]
fn every_command_that_a_message_names_is_one_with_what_it_cannot_do_without() {
    let (mut looked, mut with_options, mut wrong) = (0, 0, vec![]);
    sources(&repository().join("src"), &mut |text| {
        let code = text.split("#[cfg(test)]").next().unwrap();
        for line in code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//") && !line.contains("const "))
        {
            for rest in line.split("touchlease ").skip(1) {
                let phrase = rest.split([';', ',', '`', '"', '(', ')', ':']).next().unwrap();
                // What is put in behind a word, as in `set{command}`, is no word of its own.
                let said: Vec<&str> = phrase
                    .split_whitespace()
                    .map(|word| word.split('{').next().filter(|word| !word.is_empty()).unwrap_or(word))
                    .collect();
                if let Some(complete) = is_complete(&said) {
                    looked += 1;
                    with_options += usize::from(said.iter().any(is_option));
                    if !complete || !is_understood(&said) {
                        wrong.push(format!("touchlease {}", said.join(" ")));
                    }
                }
            }
        }
    });
    assert!(looked > 60 && with_options > 10, "{looked}, {with_options} with options");
    assert!(
        wrong.is_empty(),
        "they lack a word, or have one that is none:\n{}",
        wrong.join("\n")
    );
}

/// What a person, or the program, puts in the place of a word that stands for something: a secret, a delivery, a record.
const FILLED_IN: [&str; 3] = ["prod/NAME", "env", "0a0a0a0a"];

/// Whether the command line takes the words, up to where the rest of a sentence may begin: no option stands in that.
fn is_understood(words: &[&str]) -> bool {
    let rest_begins = words.iter().rposition(is_option).map_or(1, |at| at + 1);
    (rest_begins..=words.len()).any(|end| is_taken(&words[..end].join(" ")))
}

/// The same of a whole command, with every choice of what is put in.
fn is_taken(command: &str) -> bool {
    let open = ["{", "SECRET", "RECORD"].iter().filter_map(|mark| command.find(mark)).min();
    let Some(open) = open else {
        let typed = std::iter::once("touchlease").chain(command.split(' '));
        return match touchlease::cli::command().try_get_matches_from(typed) {
            Ok(_) => true,
            Err(error) => error.kind() == clap::error::ErrorKind::DisplayHelp,
        };
    };
    let (before, from) = command.split_at(open);
    let end = if from.starts_with('{') {
        from.find('}').map_or(from.len(), |at| at + 1)
    } else {
        "SECRET".len()
    };
    FILLED_IN.iter().any(|word| is_taken(&format!("{before}{word}{}", &from[end..])))
}

fn is_option(word: &&str) -> bool {
    word.starts_with('-')
}

/// Whether the words are a command with its arguments, and perhaps a sentence behind it; nothing where they are no command.
fn is_complete(words: &[&str]) -> Option<bool> {
    let mut command = touchlease::cli::command();
    command.build();
    let (mut at, mut here) = (0, &command);
    while let Some(below) = words.get(at).and_then(|word| here.find_subcommand(word)) {
        (at, here) = (at + 1, below);
    }
    if at == 0 {
        return None;
    }
    let needed = here.get_positionals().filter(|argument| argument.is_required_set()).count();
    let stands_for_something = |word: &&&str| word.starts_with(|c: char| c.is_ascii_uppercase() || c == '{') || word.contains(['/', '.']);
    // A name that is an example works as it stands, where the command ends with it.
    if words.len() == at + needed {
        return Some(true);
    }
    let given = words[at..].iter().take_while(stands_for_something).count();
    let helps = words.get(at) == Some(&"--help");
    Some(helps || given >= needed && !here.is_subcommand_required_set())
}
