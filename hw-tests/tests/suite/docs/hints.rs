//! Commands that the program tells a person to type.

use super::{outcomes::sources, repository};

#[test]
fn every_command_that_a_message_names_has_what_it_cannot_do_without() {
    let (mut looked, mut wrong) = (0, vec![]);
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
                    if !complete {
                        wrong.push(format!("touchlease {}", said.join(" ")));
                    }
                }
            }
        }
    });
    assert!(looked > 60, "{looked}");
    assert!(wrong.is_empty(), "they lack a word:\n{}", wrong.join("\n"));
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
