//! `docs/cli.md` is written from the command line itself.

use std::{env, fs, process};

use clap::Command;

use super::{page, repository};
use crate::lab::product;

const HEAD: &str = "\
# The command line

What `--help` prints, for every command. This page is written by a test, which fails when it differs from the program:
`TOUCHLEASE_WRITE_DOCS=1 cargo test -p hw-tests --test suite docs::cli` writes it anew.
";

#[test]
fn the_reference_is_what_help_prints() {
    let written = reference();
    if env::var_os("TOUCHLEASE_WRITE_DOCS").is_some() {
        fs::write(repository().join("docs/cli.md"), &written).unwrap();
    }
    assert!(
        page("cli.md") == written,
        "docs/cli.md is out of date; TOUCHLEASE_WRITE_DOCS=1 cargo test -p hw-tests --test suite docs::cli writes it anew"
    );
}

#[test]
fn every_command_and_option_says_what_it_does_in_one_voice() {
    each(&mut built(), &mut |command| {
        let name = command.get_bin_name().unwrap_or_default().to_owned();
        one_line(&name, command.get_about());
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            one_line(&format!("{name} {}", argument.get_id()), argument.get_help());
        }
    });
}

#[test]
fn the_program_itself_says_what_each_command_does() {
    for words in [&["--help"][..], &["help"], &["-h"], &["key", "--help"]] {
        let out = process::Command::new(product()).args(words).output().unwrap();
        let help = String::from_utf8(out.stdout).unwrap();
        let (_, commands) = help.split_once("Commands:").unwrap();
        for line in commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            assert!(line.split_whitespace().count() > 1, "{words:?}: {line:?} in\n{help}");
        }
    }
}

fn one_line(what: &str, help: Option<&clap::builder::StyledStr>) {
    let help = help.map(ToString::to_string).unwrap_or_default();
    assert!(
        help.starts_with(|c: char| c.is_uppercase()),
        "{what} has no help, or it begins small: {help:?}"
    );
    assert!(
        !help.contains('\n') && !help.ends_with('.'),
        "{what}: one line without a full stop: {help:?}"
    );
}

/// What a person types for each command that does something: `key pin set`.
pub fn commands() -> Vec<String> {
    let mut all = vec![];
    each(&mut built(), &mut |command| {
        if !command.has_subcommands() {
            let name = command.get_bin_name().unwrap_or_default();
            all.push(name.trim_start_matches("touchlease ").to_owned());
        }
    });
    all
}

fn built() -> Command {
    let mut command = touchlease::cli::command().term_width(100);
    command.build();
    command
}

fn reference() -> String {
    let mut text = HEAD.to_owned();
    each(&mut built(), &mut |command| {
        let name = command.get_bin_name().unwrap_or("touchlease").to_owned();
        let help = command.render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        text += &format!("\n## `{name}`\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
    });
    text
}

/// Calls `look` for a command and for all below it that are not hidden, nor the `help` that clap adds.
fn each(command: &mut Command, look: &mut impl FnMut(&mut Command)) {
    look(command);
    for below in command.get_subcommands_mut() {
        if !below.is_hide_set() && below.get_name() != "help" {
            each(below, look);
        }
    }
}
