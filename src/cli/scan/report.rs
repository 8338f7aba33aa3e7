//! What a scan says: which secret stands where, never what it is.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::channel::{Origin, PassedOver};
use super::git::Repository;
use crate::cli::ui::{Tone, Ui};
use crate::clock::{Boot, Clock, SystemClock};
use crate::deliver::mask::Encoding;
use crate::deliver::scan::protocol::{Hit, Seen};
use crate::encoding::plain::{count, visible};

/// Most places that are kept.
const MOST: usize = 10_000;
/// Names of one kind of what was passed over that are shown.
const NAMED: usize = 5;
/// How often progress is shown.
const PROGRESS: Duration = Duration::from_millis(200);

/// Where something was found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spot {
    pub file: Option<PathBuf>,
    pub object: Option<Arc<Origin>>,
    /// Bytes from the beginning of the file or object.
    pub at: u64,
    /// From 1.
    pub line: u64,
}

struct Finding {
    place: String,
    object: Option<Arc<Origin>>,
    at: u64,
    line: u64,
    secrets: Vec<String>,
    encoding: Encoding,
}

/// See the module.
pub struct Report {
    ui: Ui,
    secrets: Vec<String>,
    too_short: Vec<String>,
    files: u64,
    bytes: u64,
    findings: Vec<Finding>,
    known: HashSet<(Spot, Vec<u32>)>,
    /// Places that are not kept.
    more: u64,
    passed_over: PassedOver,
    shown: Option<Boot>,
}

impl Report {
    pub fn new(ui: Ui) -> Self {
        Self {
            ui,
            secrets: vec![],
            too_short: vec![],
            files: 0,
            bytes: 0,
            findings: vec![],
            known: HashSet::new(),
            more: 0,
            passed_over: PassedOver::default(),
            shown: None,
        }
    }

    /// There was nothing to look into.
    pub fn nothing(&self) -> u8 {
        self.ui.json(&self.result());
        self.ui.note(Tone::Dim, "there is nothing to look into, so no key is asked for");
        0
    }

    /// What is looked for.
    pub fn begins(&mut self, secrets: Vec<String>, too_short: &[u32]) {
        self.too_short = too_short
            .iter()
            .filter_map(|number| secrets.get(*number as usize).cloned())
            .collect();
        self.secrets = secrets;
    }

    /// So much was looked through.
    pub fn looked(&mut self, seen: &Seen) {
        self.files += seen.files - seen.unread.len() as u64;
        self.bytes += seen.bytes;
        self.more += seen.more;
        let now = SystemClock.boot();
        if self.shown.is_none_or(|shown| now.since(shown) >= PROGRESS) {
            self.shown = Some(now);
            self.ui.progress(&format!("{}, {}", count(self.files, "file"), size(self.bytes)));
        }
    }

    /// A place. What lies in two parts of a large object is told twice, and kept once.
    pub fn found(&mut self, spot: Spot, hit: &Hit) {
        if self.findings.len() >= MOST {
            self.more += 1;
            return;
        }
        if !self.known.insert((spot.clone(), hit.secrets.clone())) {
            return;
        }
        let named = |number: &u32| self.secrets.get(*number as usize).cloned();
        let secrets = hit.secrets.iter().filter_map(named).collect();
        let place = match (&spot.file, spot.object.as_deref()) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(Origin::Staged(path))) => path.display().to_string(),
            (None, Some(Origin::Object { oid, kind })) => format!("git {kind} {oid}"),
            (None, None) => String::new(),
        };
        self.findings.push(Finding {
            place,
            object: spot.object,
            at: spot.at,
            line: spot.line,
            secrets,
            encoding: hit.encoding,
        });
    }

    /// What was not looked into.
    pub fn takes(&mut self, passed_over: PassedOver) {
        self.passed_over = passed_over;
    }

    /// Says the paths of the objects in which something was found, as far as a commit of a branch, a tag or a stash has them.
    pub fn name(&mut self, repository: &Repository) {
        let oid_of = |finding: &Finding| match finding.object.as_deref() {
            Some(Origin::Object { oid, .. }) => Some(oid.clone()),
            _ => None,
        };
        let wanted: HashSet<String> = self.findings.iter().filter_map(oid_of).collect();
        if wanted.is_empty() {
            return;
        }
        let paths: HashMap<String, String> = repository.paths_of(&wanted);
        for finding in &mut self.findings {
            if let Some(path) = oid_of(finding).and_then(|oid| paths.get(&oid)).filter(|path| !path.is_empty()) {
                finding.place = format!("{} ({path})", finding.place);
            }
        }
    }

    /// Prints it. Whether anything was found.
    pub fn say(&mut self) -> bool {
        self.ui.progress("");
        self.findings
            .sort_by(|a, b| (&a.place, a.line, a.at, &a.secrets).cmp(&(&b.place, b.line, b.at, &b.secrets)));
        self.ui.json(&self.result());
        for finding in &self.findings {
            let (place, secrets) = (visible(&finding.place), finding.secrets.join(", "));
            self.ui
                .line(&format!("{place}:{}  {secrets}  {}", finding.line, word(finding.encoding)));
        }
        self.say_rest();
        !self.findings.is_empty() || self.more > 0
    }

    fn say_rest(&self) {
        let ui = self.ui;
        let over = &self.passed_over;
        let unread: Vec<_> = over.unread.iter().map(|(path, why)| format!("{path}: {why}")).collect();
        some(ui, Tone::Bad, "not read", &unread);
        some(ui, Tone::Dim, "no regular file", &over.special);
        some(ui, Tone::Dim, "not looked into, as the kernel makes it up", &over.pseudo);
        if over.links > 0 {
            ui.note(Tone::Dim, &format!("{} not followed", count(over.links, "link")));
        }
        some(ui, Tone::Bad, "not looked for, as its value is too short to tell", &self.too_short);
        if self.more > 0 {
            ui.note(Tone::Bad, &format!("{} more that are not listed", count(self.more, "place")));
        }
        let (looked, found) = (self.secrets.len() - self.too_short.len(), self.findings.len() as u64 + self.more);
        let tone = if found > 0 { Tone::Bad } else { Tone::Strong };
        let what = format!(
            "looked for {} in {}, {}: {}",
            count(looked, "secret"),
            count(self.files, "file"),
            size(self.bytes),
            if found > 0 {
                format!("found {}", count(found, "place"))
            } else {
                "found nothing".to_owned()
            }
        );
        ui.note(tone, &what);
    }

    fn result(&self) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "place": finding.place, "line": finding.line, "at": finding.at,
                "secrets": finding.secrets, "encoding": finding.encoding,
            })
        };
        let over = &self.passed_over;
        json!({
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
            "more": self.more,
            "secrets": self.secrets.len() - self.too_short.len(),
            "too_short": self.too_short,
            "files": self.files,
            "bytes": self.bytes,
            "unread": over.unread.iter().map(|(path, why)| json!({ "path": path, "why": why })).collect::<Vec<_>>(),
            "special": over.special,
            "pseudo": over.pseudo,
            "links": over.links,
        })
    }
}

/// Some of what was passed over, by name.
fn some(ui: Ui, tone: Tone, what: &str, names: &[String]) {
    for name in names.iter().take(NAMED) {
        ui.note(tone, &format!("{what}: {}", visible(name)));
    }
    if names.len() > NAMED {
        ui.note(tone, &format!("{what}: {} more", names.len() - NAMED));
    }
}

fn word(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Plain => "plain",
        Encoding::Line => "a line of it",
        Encoding::Base64 => "base64",
        Encoding::Base64url => "base64url",
        Encoding::Base32 => "base32",
        Encoding::Hex => "hex",
        Encoding::Url => "percent-encoded",
        Encoding::UrlTwice => "percent-encoded twice",
        Encoding::Json => "in JSON",
        Encoding::JsonTwice => "in JSON within JSON",
        Encoding::Unicode => "as \\u escapes",
        Encoding::Html => "in HTML",
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}
