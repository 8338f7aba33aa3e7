//! What the person sees: numbered steps in plain words, and the programs' own output beside a line.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use hw_tests::harness::Echo;

const MARGIN: &str = "    ";

/// The demo's own output.
pub struct Stage {
    beside: Arc<Mutex<Beside>>,
    started: Instant,
    steps: u32,
    rich: bool,
}

/// The output of programs, with a line at its left.
struct Beside {
    rich: bool,
    /// What comes while somebody else has the stage.
    held: Option<Vec<u8>>,
    at_start: bool,
    /// The line above, where it cannot be redrawn: it is printed when it will not change any more.
    above: Option<Vec<u8>>,
    /// The escape sequence that is being read.
    sequence: Vec<u8>,
    /// Whether the present line has its margin.
    drawn: bool,
    escape: bool,
    line: Vec<u8>,
}

impl Stage {
    pub fn new() -> Self {
        let rich = io::stdout().is_terminal();
        let beside = Beside {
            rich,
            held: None,
            at_start: true,
            above: None,
            sequence: vec![],
            drawn: false,
            escape: false,
            line: vec![],
        };
        Self {
            beside: Arc::new(Mutex::new(beside)),
            started: Instant::now(),
            steps: 0,
            rich,
        }
    }

    /// How wide a program's terminal is that is shown here.
    pub fn columns(&self) -> u16 {
        let here = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_col);
        let margin = u16::try_from(MARGIN.len()).unwrap_or(0) + 2;
        if here == 0 {
            100
        } else {
            here.saturating_sub(margin).clamp(40, 100)
        }
    }

    /// Begins a step.
    pub fn step(&mut self, what: &str) {
        self.steps += 1;
        let head = self.paint("1", &format!("{}  {what}", self.steps));
        self.write(&format!("\n {head}\n"));
    }

    /// Says something in plain words.
    pub fn say(&self, words: &str) {
        for line in broken(words, self.columns().into()) {
            self.write(&format!("{MARGIN}{}\n", self.paint("36", &line)));
        }
    }

    /// Shows a command as a person would type it.
    pub fn command(&self, command: &str) {
        self.write(&format!("{MARGIN}{}\n", self.paint("1", &format!("$ {command}"))));
    }

    /// Shows lines of a file or of a program that has no terminal.
    pub fn lines(&self, text: &str) {
        let mut beside = lock(&self.beside);
        for line in text.lines().flat_map(|line| broken(line, self.columns().into())) {
            beside.show(line.as_bytes());
            beside.show(b"\n");
        }
        beside.settle();
    }

    /// Where a program's terminal goes.
    pub fn echo(&self) -> Echo {
        let beside = self.beside.clone();
        Box::new(move |bytes| {
            let mut beside = lock(&beside);
            match &mut beside.held {
                Some(held) => held.extend(bytes),
                None => beside.show(bytes),
            }
        })
    }

    /// Keeps back what terminals write, until [`Stage::release`].
    pub fn hold(&self) {
        lock(&self.beside).held.get_or_insert_default();
    }

    /// Shows what was kept back.
    pub fn release(&self) {
        let mut beside = lock(&self.beside);
        let held = beside.held.take().unwrap_or_default();
        beside.show(&held);
    }

    /// The last word.
    pub fn end(&self) {
        let seconds = self.started.elapsed().as_secs();
        let all = self.paint("1;32", &format!("all {} steps went as they should", self.steps));
        self.write(&format!("\n {all}, in {seconds} s\n"));
    }

    fn paint(&self, style: &str, words: &str) -> String {
        if self.rich {
            format!("\x1b[{style}m{words}\x1b[0m")
        } else {
            words.to_owned()
        }
    }

    fn write(&self, text: &str) {
        lock(&self.beside).settle();
        put(text.as_bytes());
    }
}

/// Lines of at most `width` characters, where words are no longer than that. Blanks in front stay.
fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![];
    let mut line = String::new();
    for (at, word) in text.split(' ').enumerate() {
        if !line.trim().is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        } else if at > 0 {
            line.push(' ');
        }
        line += word;
    }
    lines.push(line);
    lines
}

impl Beside {
    fn show(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.rich { self.rich(byte) } else { self.plain(byte) }
        }
        put(&std::mem::take(&mut self.line_if_rich()));
    }

    /// A terminal redraws a line with a carriage return: the margin is drawn again before the next character.
    fn rich(&mut self, byte: u8) {
        if self.escape {
            self.escape = !(0x40..=0x7e).contains(&byte) || byte == b'[';
        } else if byte == 0x1b {
            self.escape = true;
        } else if byte == b'\r' {
            self.at_start = true;
        } else if byte == b'\n' {
            if !std::mem::take(&mut self.drawn) {
                self.margin();
            }
            self.at_start = true;
        } else if std::mem::take(&mut self.at_start) {
            self.margin();
            self.drawn = true;
        }
        self.line.push(byte);
    }

    fn margin(&mut self) {
        self.line.extend(format!("\r{MARGIN}\x1b[2m│\x1b[22m ").as_bytes());
    }

    /// Where nothing can be redrawn, only what a line was in the end is printed, without colours. Programs go up by one line at most.
    fn plain(&mut self, byte: u8) {
        if self.escape {
            self.sequence.push(byte);
            self.escape = !(0x40..=0x7e).contains(&byte) || byte == b'[';
            if !self.escape {
                self.steer();
            }
            return;
        }
        match byte {
            0x1b => {
                self.escape = true;
                self.sequence.clear();
            }
            0x07 => {}
            b'\r' => self.at_start = true,
            b'\n' => {
                let line = std::mem::take(&mut self.line);
                if let Some(above) = self.above.replace(line) {
                    print(&above);
                }
                self.at_start = false;
            }
            _ => {
                if std::mem::take(&mut self.at_start) {
                    self.line.clear();
                }
                self.line.push(byte);
            }
        }
    }

    /// Takes a sequence that ended: up by a line, or a line cleared.
    fn steer(&mut self) {
        match self.sequence.as_slice() {
            b"[1A" => self.line = self.above.take().unwrap_or_default(),
            b"[2K" => self.line.clear(),
            _ => {}
        }
    }

    /// Prints what will not be redrawn any more, because somebody else writes next.
    fn settle(&mut self) {
        if let Some(above) = self.above.take() {
            print(&above);
        }
    }

    fn line_if_rich(&mut self) -> Vec<u8> {
        if self.rich { std::mem::take(&mut self.line) } else { vec![] }
    }
}

fn print(line: &[u8]) {
    let bar = if line.is_empty() { "│" } else { "│ " };
    put(&[MARGIN.as_bytes(), bar.as_bytes(), line, b"\n"].concat());
}

fn put(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    // Whoever looked on has gone.
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
