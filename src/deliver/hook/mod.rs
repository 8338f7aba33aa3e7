//! What an agent is about to do, looked at before it does it: whether it would read what is touchlease's own, or have it print a secret.
//!
//! It catches what a model tries, not what a program hides: a command can name a file in more ways than can be seen here. Walls hold
//! (`run --agent`); this tells a model early, in words, and costs a person no look at the damage.

mod words;

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use self::words::words;

/// Deepest nesting of a tool's input that is looked into.
const DEEPEST: usize = 16;

/// Members of a tool's input that are words or texts to be written, in which a path is no access.
const TEXTS: [&str; 17] = [
    "body",
    "content",
    "description",
    "justification",
    "message",
    "new_str",
    "new_string",
    "old_str",
    "old_string",
    "patch",
    "prompt",
    "query",
    "reason",
    "subject",
    "text",
    "title",
    "todos",
];
/// Members that name a file or folder, as it is or as a pattern.
const PATHS: [&str; 8] = [
    "dir_path",
    "file_path",
    "glob",
    "notebook_path",
    "path",
    "pattern",
    "uri",
    "workdir",
];

/// Commands of touchlease that an agent has no use for: they print secrets, change the vault, or take a person's place.
const NOT_AN_AGENTS: [&str; 18] = [
    "export", "put", "edit", "rm", "import", "merge", "key", "scope", "signer", "rotate", "recover", "vault", "watch", "unlock", "backup",
    "daemon", "connect", "init",
];
const NO_MASKING: &str = "TOUCHLEASE_NO_MASKING";

/// What a client says before a tool runs: the form of Claude Code's hooks, which Codex has too. Members that are not named here are left alone.
#[derive(Debug, Deserialize)]
pub struct ToolCall {
    /// The tool.
    pub tool_name: String,
    /// What it is called with.
    #[serde(default)]
    pub tool_input: Value,
    /// Where the agent works.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
}

/// What is kept from an agent, and what it takes to see it.
#[derive(Debug, Default)]
pub struct Guarded {
    /// Folders, from / on and without links.
    pub folders: Vec<PathBuf>,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// Values of variables that a shell puts in the place of their names.
    pub variables: Vec<(String, String)>,
}

impl Guarded {
    /// Why this call is not to be made, for the model; nothing where it may.
    #[must_use]
    pub fn objection(&self, call: &ToolCall) -> Option<String> {
        // Our own server, which says itself what it does not do.
        if call.tool_name.starts_with("mcp__touchlease__") {
            return None;
        }
        let folder = call.cwd.as_deref().unwrap_or(Path::new("/"));
        self.look("", &call.tool_input, folder, 0)
    }

    fn look(&self, name: &str, value: &Value, folder: &Path, depth: usize) -> Option<String> {
        if depth > DEEPEST {
            return Some("this call is nested deeper than anything that is looked into".into());
        }
        match value {
            Value::String(text) if TEXTS.contains(&name) => patched(text).find_map(|path| self.path(path, folder)),
            Value::String(text) if PATHS.contains(&name) => self.path(text, folder),
            Value::String(text) => self.command(text, folder),
            Value::Array(all) if all.iter().all(Value::is_string) && !name.is_empty() => {
                // A command as it is executed, word by word; a shell's script among them is one of them.
                let each: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
                self.words(&each, folder)
                    .or_else(|| each.iter().find_map(|text| self.command(text, folder)))
            }
            Value::Array(all) => all.iter().find_map(|one| self.look(name, one, folder, depth + 1)),
            Value::Object(members) => members.iter().find_map(|(name, one)| self.look(name, one, folder, depth + 1)),
            _ => None,
        }
    }

    fn command(&self, text: &str, folder: &Path) -> Option<String> {
        let mut folder = folder.to_owned();
        words(text).iter().find_map(|simple| {
            let each: Vec<&str> = simple.words.iter().map(String::as_str).collect();
            if simple.text {
                return self.paths(&each, &folder);
            }
            let objection = self.words(&each, &folder);
            // What follows is said from there.
            if let Some(("cd" | "pushd", rest)) = each.split_first().map(|(program, rest)| (*program, rest)) {
                let to = rest.iter().find(|word| !word.starts_with('-')).unwrap_or(&"~");
                folder = self.absolute(to, &folder).unwrap_or_else(|| folder.clone());
            }
            objection
        })
    }

    /// One simple command: its words as a shell would hand them to a program.
    fn words(&self, words: &[&str], folder: &Path) -> Option<String> {
        let is_ours = |word: &&str| Path::new(word).file_name().is_some_and(|name| name == "touchlease");
        if let Some(at) = words.iter().position(is_ours) {
            let rest = &words[at + 1..];
            // Behind `--` stands somebody else's command line.
            let own: Vec<&&str> = rest.iter().take_while(|word| **word != "--").collect();
            if own.iter().any(|word| **word == "--no-masking") {
                return Some("a command's output is masked for an agent: leave --no-masking out".into());
            }
            // An option's value stands before the command at most once: --vault FOLDER.
            let vault = own.iter().position(|word| **word == "--vault").map(|at| at + 1);
            let mut positional = own
                .iter()
                .enumerate()
                .filter(|(at, word)| !word.starts_with('-') && Some(*at) != vault);
            if let Some((_, command)) = positional.next().filter(|(_, word)| NOT_AN_AGENTS.contains(**word)) {
                return Some(format!(
                    "`touchlease {command}` is for the person, not for an agent: ask the person to run it"
                ));
            }
        }
        if words.iter().any(|word| word.starts_with(NO_MASKING)) {
            return Some(format!("a command's output is masked for an agent: leave {NO_MASKING} out"));
        }
        if shows_environments(words) {
            return Some("ps with the option e shows what other programs were given, credentials too: leave it out".into());
        }
        // git, tar and make go there first.
        let elsewhere = words.windows(2).find(|pair| ["-C", "--directory"].contains(&pair[0]));
        let elsewhere = elsewhere.and_then(|pair| self.absolute(pair[1], folder));
        self.paths(words, folder)
            .or_else(|| elsewhere.and_then(|folder| self.paths(words, &folder)))
    }

    fn paths(&self, words: &[&str], folder: &Path) -> Option<String> {
        // What is run is found by PATH, and is no file here.
        let words = words.iter().enumerate().filter(|(at, word)| *at > 0 || **word != "touchlease");
        words.map(|(_, word)| word).find_map(|word| {
            // --file=PATH, NAME=PATH, @PATH and the like name a path too.
            let parts = word.split(['=', '@', ',', ':']).chain([*word]);
            parts.filter(|part| !part.is_empty()).find_map(|part| self.path(part, folder))
        })
    }

    fn path(&self, text: &str, folder: &Path) -> Option<String> {
        let path = self.absolute(text, folder)?;
        if is_of_a_process(&path) {
            return Some(format!("{text} shows what other programs were given, credentials too"));
        }
        // Through links as well, as far as they are there.
        let real = path.canonicalize().ok();
        let guarded = |path: &Path| {
            self.folders
                .iter()
                .any(|folder| path.starts_with(folder) || pattern_meets(path, folder))
        };
        (guarded(&path) || real.is_some_and(|real| guarded(&real))).then(|| {
            format!("{text} is touchlease's own: an agent asks for credentials with the tools of the touchlease server, list_tasks and request_lease")
        })
    }

    /// The path that a word names, without what is only spelling; nothing where it is no path.
    fn absolute(&self, text: &str, folder: &Path) -> Option<PathBuf> {
        let mut text = text.strip_prefix("file://").unwrap_or(text).to_owned();
        for (name, value) in &self.variables {
            text = text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
        }
        let path = match (text.strip_prefix('~'), &self.home) {
            (Some(""), Some(home)) => home.clone(),
            (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
            _ => folder.join(&text),
        };
        let mut plain = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => drop(plain.pop()),
                Component::CurDir => {}
                part => plain.push(part),
            }
        }
        plain.is_absolute().then_some(plain)
    }
}

/// Files that a patch in Codex's form changes.
fn patched(text: &str) -> impl Iterator<Item = &str> {
    let headers = ["*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: "];
    text.lines()
        .filter_map(move |line| headers.iter().find_map(|header| line.strip_prefix(header)))
}

/// Environment and memory of a process, whoever's (proc_pid_environ(5)).
fn is_of_a_process(path: &Path) -> bool {
    let names: Vec<_> = path.components().filter_map(|part| part.as_os_str().to_str()).collect();
    let is_one = |last: &str| {
        let pattern = last.contains(['*', '?', '[']);
        ["environ", "mem"]
            .iter()
            .any(|name| last == *name || pattern && matches(last.as_bytes(), name.as_bytes()))
    };
    matches!(names.as_slice(), ["/", "proc", _, .., last] if is_one(last))
}

/// `ps` with the option `e` of BSD, which has no dash (ps(1)); `ps -e` is another one.
fn shows_environments(words: &[&str]) -> bool {
    let Some(at) = words.iter().position(|word| *word == "ps" || word.ends_with("/ps")) else {
        return false;
    };
    let options = words.get(at + 1).copied().unwrap_or_default();
    options.contains('e') && options.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// Whether a path with a shell's pattern in it can be one in this folder: `~/.local/share/touch*`.
fn pattern_meets(path: &Path, folder: &Path) -> bool {
    let has = |text: &str| text.contains(['*', '?', '[']);
    if !path.to_str().is_some_and(has) {
        return false;
    }
    let (mut path, mut folder) = (path.components(), folder.components());
    loop {
        match (path.next(), folder.next()) {
            (_, None) => return true,
            // What a pattern that ends before the folder does matches is above it.
            (None, _) => return false,
            (Some(one), Some(other)) => {
                let (one, other) = (one.as_os_str().to_string_lossy(), other.as_os_str().to_string_lossy());
                if !(one == other || has(&one) && matches(one.as_bytes(), other.as_bytes())) {
                    return false;
                }
            }
        }
    }
}

/// A shell's pattern in one name; what stands in brackets is taken for anything.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // (where the last * stood, where in the name it was tried)
    let (mut p, mut n, mut back) = (0, 0, None);
    while n < name.len() {
        let (next, fits) = match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, n));
                p += 1;
                continue;
            }
            Some(b'?') => (p + 1, true),
            Some(b'[') => (
                pattern[p..].iter().position(|byte| *byte == b']').map_or(p + 1, |end| p + end + 1),
                true,
            ),
            Some(byte) => (p + 1, *byte == name[n]),
            None => (p, false),
        };
        if fits {
            (p, n) = (next, n + 1);
        } else if let Some((star, tried)) = back {
            back = Some((star, tried + 1));
            (p, n) = (star + 1, tried + 1);
        } else {
            return false;
        }
    }
    pattern[p.min(pattern.len())..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests;
