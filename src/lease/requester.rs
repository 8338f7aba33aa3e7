//! Who asks: what the kernel says, apart from what anybody can claim.

use std::cell::{LazyCell, RefCell};
use std::collections::BTreeMap;
use std::iter::Fuse;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::encoding::plain;
use crate::presence::Whereabouts;

/// Most bytes of one claimed text, and most texts of one kind: a prompt is for reading.
const LONGEST_CLAIM: usize = 300;
const MOST_CLAIMS: usize = 16;

/// What the kernel calls the programs that are agents (proc(5), `comm`): what they start stands before no person, whatever terminal
/// they give it.
pub const AGENTS: [&str; 12] = [
    "aider",
    "amp",
    "auggie",
    "claude",
    "codex",
    "copilot",
    "crush",
    "cursor-agent",
    "gemini",
    "goose",
    "opencode",
    "qwen",
];

/// Label: the program that asks through `touchlease ssh agent`, and those that started it ([`Claimed::in_full`]).
pub const SSH_CLIENT: &str = "ssh_client";
/// Label: its command line.
pub const SSH_COMMAND: &str = "ssh_command";
/// The label by which `run --no-masking` says that what its command prints is left as it is: nothing but the client could know.
pub const UNMASKED: &str = "output_unmasked";
/// Between a program and the one that started it.
const STARTED_BY: &str = " <- ";
/// As many of these as are read at a glance.
const IN_SHORT: usize = 4;

/// The process a lease belongs to: pid and start time name it for good, a pid alone may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot (proc(5), `/proc/pid/stat`, field 22).
    pub started: u64,
}

/// The process that started the client, or adopted it since, by kernel's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Which.
    pub process: ProcessId,
    /// What it calls itself.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its session.
    pub session: u32,
}

/// A process, and what it calls itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kin {
    /// Which.
    pub process: ProcessId,
    /// proc(5), `comm`.
    pub name: String,
}

/// A process and its ancestors, from the nearest, by kernel's account. Each is a file of `/proc` to read, and who joins a lease most often
/// finds its holder two or three above: so each is read when somebody gets to it.
pub struct Lineage {
    known: RefCell<Vec<Kin>>,
    rest: RefCell<Fuse<Box<dyn Iterator<Item = Kin>>>>,
}

impl Lineage {
    /// That of the first of `kin`, which are read one by one.
    pub fn new(kin: impl Iterator<Item = Kin> + 'static) -> Self {
        let kin: Box<dyn Iterator<Item = Kin>> = Box::new(kin);
        Self {
            known: RefCell::default(),
            rest: RefCell::new(kin.fuse()),
        }
    }

    /// The process, its parent, and so on.
    pub fn iter(&self) -> impl Iterator<Item = Kin> {
        (0..).map_while(|at| self.at(at))
    }

    fn at(&self, at: usize) -> Option<Kin> {
        let mut known = self.known.borrow_mut();
        if at == known.len() {
            known.push(self.rest.borrow_mut().next()?);
        }
        known.get(at).cloned()
    }
}

/// What is found out when it is first asked for, and stays as it was then.
pub type Late<T> = LazyCell<T, Box<dyn FnOnce() -> T>>;

/// Who asks.
pub struct Requester {
    /// From SO_PEERCRED.
    pub uid: u32,
    /// The client at the other end of the socket.
    pub process: ProcessId,
    /// It and its ancestors.
    pub lineage: Rc<Lineage>,
    /// Its parent; nothing when only the system's first process is above it.
    pub parent: Option<Parent>,
    /// Where it stands towards screens.
    pub whereabouts: Late<Whereabouts>,
    /// Its own screen, when a person runs it in the foreground of a terminal.
    pub own_screen: Option<u64>,
    /// What it says of itself.
    pub claimed: Late<Claimed>,
}

/// What a process says of itself. Shown as claimed; nothing is allowed by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claimed {
    /// Path of the executable.
    pub executable: String,
    /// Its command line.
    pub command: Vec<String>,
    /// Its working folder.
    pub folder: String,
    /// Names of parent, grandparent, and so on.
    pub ancestors: Vec<String>,
    /// Labels that agents set in their children's environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Claimed {
    /// The same, fit for a screen: what would not be shown as it is becomes visible, what is too long is cut and says so.
    #[must_use]
    pub fn for_screen(self) -> Self {
        Self {
            executable: fit(&self.executable),
            command: fit_all(self.command),
            folder: fit(&self.folder),
            ancestors: fit_all(self.ancestors),
            labels: self
                .labels
                .into_iter()
                .take(MOST_CLAIMS)
                .map(|(name, value)| (ascii(&name), fit(&value)))
                .collect(),
        }
    }

    /// Whether an agent asks, by the labels that agents set or by one of `agents` among the ancestors, or above the program that asks through
    /// `touchlease ssh agent`. Whoever hides both asks as a person does; what is refused for it is never more than that person's own screen.
    #[must_use]
    pub fn is_agent(&self, agents: &[&str]) -> bool {
        let is_of_one = |(label, value): (&String, &String)| match label.as_str() {
            SSH_CLIENT => value.split(STARTED_BY).any(|name| agents.contains(&name)),
            SSH_COMMAND | UNMASKED => false,
            _ => true,
        };
        self.labels.iter().any(is_of_one) || self.ancestors.iter().any(|name| agents.contains(&name.as_str()))
    }

    /// The first label that an agent set, if one did.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        let mut labels = self.labels.keys().map(String::as_str);
        labels.find(|label| ![SSH_CLIENT, SSH_COMMAND, UNMASKED].contains(label))
    }

    /// Who asks through `touchlease ssh agent`: the program and those that started it, at a glance.
    #[must_use]
    pub fn ssh_client(&self) -> Option<String> {
        let client = self.labels.get(SSH_CLIENT)?;
        Some(client.split(STARTED_BY).take(IN_SHORT).collect::<Vec<_>>().join(STARTED_BY))
    }

    /// The program's name, without its folder.
    #[must_use]
    pub fn program(&self) -> &str {
        self.executable.rsplit('/').next().unwrap_or_default()
    }

    /// One line: the innermost program and those that started it.
    #[must_use]
    pub fn in_short(&self) -> String {
        self.lineage().take(IN_SHORT).collect::<Vec<_>>().join(STARTED_BY)
    }

    /// The same with all that started it, as far as they are known.
    #[must_use]
    pub fn in_full(&self) -> String {
        self.lineage().collect::<Vec<_>>().join(STARTED_BY)
    }

    fn lineage(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.program()).chain(self.ancestors.iter().map(String::as_str))
    }
}

fn fit_all(texts: Vec<String>) -> Vec<String> {
    let more = texts.len().saturating_sub(MOST_CLAIMS);
    let mut fitted: Vec<_> = texts.into_iter().take(MOST_CLAIMS).map(|text| fit(&text)).collect();
    if more > 0 {
        fitted.push(format!("(and {more} more)"));
    }
    fitted
}

/// A claimed command as a shell takes it, word for word: `sh -c 'a b'` is not `sh -c a b`. What stands for the words that were left out is
/// no word.
#[must_use]
pub fn command_line(words: &[String]) -> String {
    let said = |(i, word): (usize, &String)| if i < MOST_CLAIMS { plain::shell_word(word) } else { word.clone() };
    words.iter().enumerate().map(said).collect::<Vec<_>>().join(" ")
}

/// One claimed text, fit for a screen.
pub(super) fn fit(text: &str) -> String {
    let shown = plain::visible(text);
    if shown.len() <= LONGEST_CLAIM {
        return shown;
    }
    let end = (0..=LONGEST_CLAIM).rev().find(|end| shown.is_char_boundary(*end)).unwrap_or(0);
    format!("{}(and {} bytes more)", &shown[..end], shown.len() - end)
}

/// Names of JSON members have to be ASCII (see `jcs`).
fn ascii(name: &str) -> String {
    name.chars().filter(char::is_ascii_graphic).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t43_control_characters_in_a_command_line_become_visible() {
        let claimed = Claimed {
            command: vec!["a\u{1b}[2Jb".into(), "\u{202e}txt".into()],
            ..Claimed::default()
        }
        .for_screen();
        assert_eq!(claimed.command, ["a<U+001B>[2Jb", "<U+202E>txt"]);
    }

    #[test]
    fn t10_a_command_is_shown_with_the_boundaries_of_its_words() {
        let said = |words: &[&str]| {
            let claimed = Claimed {
                command: words.iter().map(|word| (*word).to_owned()).collect(),
                ..Claimed::default()
            };
            command_line(&claimed.for_screen().command)
        };
        assert_eq!(said(&["sh", "-c", "rm a b", ""]), "sh -c 'rm a b' ''");
        assert_eq!(said(&["./deploy.sh", "it's", "--to=x@y:/z"]), r"./deploy.sh 'it'\''s' --to=x@y:/z");
        let many = said(&["x"; MOST_CLAIMS + 2]);
        assert!(many.ends_with(" x (and 2 more)"), "{many}");
        // Who claims that words were left out is not believed.
        assert_eq!(said(&["x", "(and 2 more)"]), "x '(and 2 more)'");
    }

    #[test]
    fn ancestors_are_read_when_somebody_gets_to_them_and_once() {
        let read = Rc::new(RefCell::new(Vec::new()));
        let reads = read.clone();
        let kin = (1..=9).map(move |pid| {
            reads.borrow_mut().push(pid);
            Kin {
                process: ProcessId { pid, started: 0 },
                name: pid.to_string(),
            }
        });
        let lineage = Lineage::new(kin);
        assert!(read.borrow().is_empty());
        let has = |pid| lineage.iter().any(|kin| kin.process == ProcessId { pid, started: 0 });
        assert!(has(3) && has(2));
        assert_eq!(*read.borrow(), [1, 2, 3]);
        assert!(!has(10) && lineage.iter().count() == 9);
        assert_eq!(read.borrow().len(), 9);
    }

    #[test]
    fn t10_an_agent_is_known_by_its_labels_or_by_an_ancestor_and_a_person_is_none() {
        let person = Claimed {
            ancestors: vec!["zsh".into(), "tmux: server".into(), "systemd".into()],
            ..Claimed::default()
        };
        let mut below = person.clone();
        below.ancestors.insert(1, "claude".into());
        let mut labelled = person.clone();
        labelled.labels.insert("CLAUDECODE".into(), "1".into());
        let agents = [&person, &below, &labelled].map(|claimed| claimed.is_agent(&AGENTS));
        assert_eq!(agents, [false, true, true]);
        // Nor is one who wants to see what his command prints.
        let mut unmasked = person.clone();
        unmasked.labels.insert(UNMASKED.into(), "1".into());
        assert_eq!((unmasked.is_agent(&AGENTS), unmasked.label()), (false, None));
        // What asks through `touchlease ssh agent` is looked at as well.
        let through = |client: &str| {
            let labels = [(SSH_CLIENT, client), (SSH_COMMAND, "ssh -l codex host")];
            let labels = labels.map(|(label, value)| (label.to_owned(), value.to_owned())).into();
            Claimed { labels, ..person.clone() }
        };
        let (by_hand, by_agent) = (through("ssh <- git <- zsh"), through("ssh <- git <- bash <- codex <- zsh"));
        assert_eq!([&by_hand, &by_agent].map(|claimed| claimed.is_agent(&AGENTS)), [false, true]);
        assert_eq!((by_hand.label(), labelled.label()), (None, Some("CLAUDECODE")));
        assert_eq!(by_agent.ssh_client().as_deref(), Some("ssh <- git <- bash <- codex"));
        assert!(AGENTS.iter().all(|name| name.len() <= 15), "the kernel keeps 15 bytes of a name");
    }

    #[test]
    fn long_claims_are_cut_and_say_so() {
        let claimed = Claimed {
            folder: "é".repeat(400),
            command: vec!["x".into(); 40],
            ..Claimed::default()
        }
        .for_screen();
        assert!(claimed.folder.ends_with("bytes more)"), "{}", claimed.folder);
        assert_eq!(claimed.command.len(), MOST_CLAIMS + 1);
        assert_eq!(claimed.command[MOST_CLAIMS], "(and 24 more)");
    }
}
