//! The completion scripts, in the shells that they are for. A shell that is missing fails: `hw-tests/check` installs all of them.

use std::{fs, process::Command};

use hw_tests::harness::Terminal;
use touchlease::config::Config;

use crate::lab::Lab;

/// A shell as somebody has it who has configured nothing but these completions.
struct Shell {
    name: &'static str,
    arguments: &'static [&'static str],
    /// Takes the script in, and has `touchlease` print its arguments in place of running, between `<` and `>`.
    set_up: &'static [&'static str],
}

const SHELLS: [Shell; 3] = [
    Shell {
        name: "bash",
        arguments: &["--norc", "--noprofile", "-i"],
        set_up: &["source ./script", r#"touchlease() { printf '<%s>\n' "$*"; }"#],
    },
    Shell {
        name: "zsh",
        arguments: &["-f", "-i"],
        set_up: &[
            "autoload -U compinit; compinit -D",
            "source ./script; compdef _touchlease touchlease",
            r#"touchlease() { printf '<%s>\n' "$*"; }"#,
        ],
    },
    Shell {
        name: "fish",
        arguments: &["--no-config", "--private", "--interactive"],
        set_up: &["source ./script", r#"function touchlease; printf '<%s>\n' "$argv"; end"#],
    },
];

/// What is typed before Tab, and what the command then gets. (clap's script for fish knows no values of positional arguments.)
const TYPED: [(&str, &str); 4] = [
    ("touchlease ru", "run"),
    ("touchlease key fin", "key fingerprint"),
    ("touchlease run --env-f", "run --env-file"),
    ("touchlease audit ver", "audit verify"),
];

#[test]
fn tab_completes_commands_and_options_in_bash_zsh_and_fish() {
    let lab = Lab::empty(Config::default());
    for shell in SHELLS {
        let script = script(&lab, shell.name);
        fs::write(lab.home.work().join("script"), script).unwrap();
        let mut command = Command::new(shell.name);
        command.args(shell.arguments).current_dir(lab.home.work()).env_clear();
        for name in ["HOME", "PATH", "TERM", "LANG"] {
            command.env(name, lab.home.variable(name));
        }
        let mut terminal = Terminal::start(&command).unwrap_or_else(|error| panic!("{}: {error}", shell.name));
        for line in shell.set_up {
            terminal.type_in(&format!("{line}\n")).unwrap();
        }
        // Split, so that its echo is another text.
        terminal.type_in("echo rea''dy\n").unwrap();
        terminal.expect("ready").unwrap();
        for (typed, expected) in TYPED {
            terminal.type_in(&format!("{typed}\t\n")).unwrap();
            let seen = terminal.expect(&format!("<{expected}>"));
            assert!(seen.is_ok(), "{}: {typed}: {seen:?}", shell.name);
        }
    }
}

#[test]
fn every_command_is_in_every_completion_script() {
    let lab = Lab::empty(Config::default());
    let (bash, zsh, fish) = (script(&lab, "bash"), script(&lab, "zsh"), script(&lab, "fish"));
    for command in touchlease::cli::command()
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        let name = command.get_name();
        assert!(bash.contains(&format!("touchlease,{name})")), "{name}");
        assert!(zsh.contains(&format!("({name})")), "{name}");
        assert!(fish.contains(&format!("-a \"{name}\"")), "{name}");
    }
}

fn script(lab: &Lab, shell: &str) -> String {
    let out = lab.agent_to_its_end(&["completions", shell]);
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}
