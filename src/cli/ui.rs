//! The only printer.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::{Value, json};

use super::columns::wrap;
use super::table::Table;
use crate::encoding::plain;
use crate::wire::Failure;

/// Version of what `--json` prints: fields are only ever added.
const JSON_VERSION: u32 = 1;

/// Lines that are written in one go.
const PRINTED_AT_ONCE: usize = 1000;

/// Width of the column of words, and of the narrowest text beside it.
const COLUMN: usize = 10;
const NARROWEST: usize = 20;

/// Why a result did not arrive on standard output, the first that did not.
static LOST: OnceLock<String> = OnceLock::new();

/// How to print.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    json: bool,
    colour: bool,
    /// Whether a screen that is a terminal for certain may have colours.
    on_screens: bool,
    /// Columns of standard error; more than any text has when it is no terminal.
    width: usize,
}

/// What a text is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// Less important.
    Dim,
    /// A heading, a name.
    Strong,
    /// What a person has to do now.
    Act,
    /// Something is wrong.
    Bad,
}

impl Ui {
    /// Colours where standard error is a terminal and `NO_COLOR` is not set (no-color.org).
    #[must_use]
    pub fn new(json: bool, no_colour: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let width = terminal_width(io::stderr());
        Self {
            json,
            colour: !json && !no_colour && terminal,
            on_screens: !no_colour,
            width: width.unwrap_or(usize::MAX),
        }
    }

    /// Whether a program reads.
    #[must_use]
    pub fn is_json(self) -> bool {
        self.json
    }

    /// The result, for a person: one line on standard output.
    pub fn line(self, text: &str) {
        if !self.json {
            self.write_out(&format!("{}\n", plain_lines(text)));
        }
    }

    /// The result, for a person: a word in a column of its own, and beside it a text of one line or more, each broken at the width of the
    /// terminal. No line of it stands in the column of words.
    pub fn entry(self, tone: Tone, word: &str, text: &str) {
        if self.json {
            return;
        }
        let width = terminal_width(io::stdout()).unwrap_or(usize::MAX);
        let colour = self.colour && io::stdout().is_terminal();
        let beside = width.saturating_sub(COLUMN).max(NARROWEST);
        let lines = text.split('\n').flat_map(|line| wrap(&plain::visible(line), beside));
        for (i, line) in lines.enumerate() {
            let row = format!("{:COLUMN$}{line}", if i == 0 { word } else { "" });
            let row = row.trim_end();
            self.write_out(&format!("{}\n", if colour { paint(tone, row) } else { row.to_owned() }));
        }
    }

    /// The result, for a person: a line that is broken at the width of the terminal, and goes on `indent` columns from its edge.
    pub fn hanging(self, text: &str, indent: usize) {
        if self.json {
            return;
        }
        let width = terminal_width(io::stdout()).unwrap_or(usize::MAX);
        let text = plain::visible(text);
        let first = wrap(&text, width.max(NARROWEST)).swap_remove(0);
        self.write_out(&format!("{}\n", first.trim_end()));
        let rest = text[first.len()..].trim_start();
        if !rest.is_empty() {
            for line in wrap(rest, width.saturating_sub(indent).max(NARROWEST)) {
                self.write_out(&format!("{:indent$}{}\n", "", line.trim()));
            }
        }
    }

    /// The result, for a person: at a terminal under headings, in its width; elsewhere a line for each row. Without rows a note, that
    /// there is `none`.
    pub fn table<const N: usize>(self, table: &Table<N>, none: &str) {
        if self.json {
            return;
        }
        if table.is_empty() {
            return self.note(Tone::Dim, none);
        }
        let Some(width) = terminal_width(io::stdout()) else {
            return self.in_chunks(table.unfitted());
        };
        let mut lines = table.fitted(width).into_iter();
        if let Some(head) = lines.next() {
            let head = if self.colour && table.has_head() {
                paint(Tone::Strong, &head)
            } else {
                head
            };
            self.in_chunks(std::iter::once(head).chain(lines));
        }
    }

    fn in_chunks(self, mut lines: impl Iterator<Item = String>) {
        loop {
            let some: Vec<String> = lines.by_ref().take(PRINTED_AT_ONCE).collect();
            if some.is_empty() {
                return;
            }
            self.write_out(&(some.join("\n") + "\n"));
        }
    }

    /// Whether the result goes to a terminal.
    #[must_use]
    pub fn is_on_terminal(self) -> bool {
        io::stdout().is_terminal()
    }

    /// The result, byte for byte.
    pub fn raw(self, text: &str) {
        self.write_out(text);
    }

    /// The result, for a program.
    pub fn json<T: Serialize>(self, value: &T) {
        if self.json {
            self.write_out(&format!("{}\n", versioned(value)));
        }
    }

    /// The same on the way to the result: standard error, as the result has standard output for itself.
    pub fn json_progress<T: Serialize>(self, value: &T) {
        if self.json {
            // Nobody reads if this fails; the result tells the rest.
            let _ = writeln!(io::stderr(), "{}", versioned(value));
        }
    }

    /// Something to know on the way: standard error, in words only.
    pub fn note(self, tone: Tone, text: &str) {
        if !self.json {
            for line in plain_lines(text).split('\n').flat_map(|line| wrap(line, self.width)) {
                eprintln!("{}", self.paint(tone, &line));
            }
        }
    }

    /// What goes on, on one line of a terminal that the next one takes the place of; nothing takes it away.
    pub fn progress(self, text: &str) {
        if !self.json && io::stderr().is_terminal() {
            eprint!("\r{}\x1b[K", plain::visible(text));
        }
    }

    /// Slots in the vault that no touch signed, each by its file.
    pub fn unsigned(self, files: &[String]) {
        for file in files {
            self.note(
                Tone::Bad,
                &format!("no touch signed {file}: nothing is sealed to it. Somebody put it there; remove the file and look who can write to the vault."),
            );
        }
    }

    /// How it failed: a sentence, then what to do.
    pub fn fail(self, failure: &Failure) {
        if self.json {
            self.json(&json!({ "error": failure }));
            return;
        }
        self.note(Tone::Bad, &format!("touchlease: {}", failure.message));
        if let Some(hint) = &failure.hint {
            self.note(Tone::Strong, &format!("hint: {hint}"));
        }
    }

    /// `text` in the colour of `tone`.
    #[must_use]
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if self.colour { paint(tone, text) } else { text.to_owned() }
    }

    /// The same for the person's own terminal, whatever standard error is.
    #[must_use]
    pub fn paint_screen(self, tone: Tone, text: &str) -> String {
        if self.on_screens { paint(tone, text) } else { text.to_owned() }
    }

    /// Why something that was printed did not arrive. A reader that went away is no error of ours (`touchlease list | head`).
    #[must_use]
    pub fn lost() -> Option<&'static str> {
        LOST.get().map(String::as_str)
    }

    fn write_out(self, text: &str) {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => drop(LOST.set(error.to_string())),
            _ => {}
        }
    }
}

fn paint(tone: Tone, text: &str) -> String {
    let style = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Dim => Style::new().dimmed(),
        Tone::Strong => Style::new().bold(),
        Tone::Act => Style::new().bold().fg_color(Some(AnsiColor::Green.into())),
        Tone::Bad => Style::new().bold().fg_color(Some(AnsiColor::Red.into())),
    };
    format!("{style}{text}{style:#}")
}

fn versioned<T: Serialize>(value: &T) -> Value {
    let mut tree = serde_json::to_value(value).unwrap_or(Value::Null);
    if let Value::Object(members) = &mut tree {
        members.insert("v".into(), json!(JSON_VERSION));
    }
    tree
}

/// Columns of the terminal, if it is one.
fn terminal_width(stream: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

/// Texts from files, devices and other programs may not steer the terminal (T43).
fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain::visible).collect::<Vec<_>>().join("\n")
}
