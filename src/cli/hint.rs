//! Hints for a command line that named a vault: as they stand they would be about the configured one.

use std::path::Path;

use crate::finding::quoted;

const PROGRAM: &str = "touchlease ";

/// `text` with `--vault FOLDER` in each command of ours that it names.
pub fn in_vault(text: &str, vault: &Path) -> String {
    let command = super::command();
    let is_ours = |word: &str| command.get_subcommands().any(|one| one.get_name() == word);
    let (mut said, mut rest) = (String::new(), text);
    while let Some((before, behind)) = rest.split_once(PROGRAM) {
        said.push_str(before);
        said.push_str(PROGRAM);
        // Not the end of a path or of another word.
        let begins = !before.ends_with(|c: char| c.is_alphanumeric() || "/-_.".contains(c));
        let word = behind.split(|c: char| !c.is_ascii_lowercase() && c != '-').next();
        if begins && word.is_some_and(is_ours) {
            said.push_str(&format!("--vault {} ", quoted(vault)));
        }
        rest = behind;
    }
    said + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_a_hint_is_for_the_vault_that_was_named() {
        let said = |hint| in_vault(hint, Path::new("/my vault"));
        assert_eq!(said("touchlease key add NAME"), "touchlease --vault '/my vault' key add NAME");
        assert_eq!(
            said("look at it with `touchlease list`; touchlease vault accept-older takes it"),
            "look at it with `touchlease --vault '/my vault' list`; touchlease --vault '/my vault' vault accept-older takes it"
        );
        for other in [
            "sudo systemctl start pcscd",
            "touchlease is not for this",
            "/opt/touchlease list",
            "touchlease --vault x list",
            "",
        ] {
            assert_eq!(said(other), other);
        }
    }
}
