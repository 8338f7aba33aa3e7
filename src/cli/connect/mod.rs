//! `touchlease connect`: an agent's client is told of the server and of the hook, in its own settings.
//!
//! Settings are the user's: everything else in a file stays as it is, byte for byte, comments too. What changes is shown first, a copy of the
//! file as it was is kept, and a file that cannot be read is left alone.

mod claude;
mod codex;
mod settings;
mod shown;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::json;

use self::settings::{Edit, Settings, SettingsError};
use super::hook;
use super::session::Session;
use super::tty::Tty;
use super::ui::{Tone, Ui};
use crate::encoding::plain::shell_word;
use crate::wire::{Failure, Outcome};

/// Name of the server in a client's settings.
pub const NAME: &str = "touchlease";

/// An agent's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Client {
    /// Codex: config.toml in $CODEX_HOME or ~/.codex.
    Codex,
    /// Claude Code: ~/.claude.json and ~/.claude/settings.json, or both in $CLAUDE_CONFIG_DIR.
    Claude,
}

/// Tell an agent's client of the server `touchlease mcp` and of the hook, in the client's own settings.
///
/// Shows what changes and asks. Keeps a copy of each file that it changes, and leaves everything else in it as it is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The client.
    client: Client,
    /// Take out what was put in.
    #[arg(long)]
    remove: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Only the server, without the hook that keeps an agent from reading the vault by accident.
    #[arg(long, conflicts_with = "remove")]
    no_hook: bool,
    /// In the settings of the project in the present folder, instead of yours.
    #[arg(long)]
    project: bool,
}

impl Client {
    /// As the command line names it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Codex => "codex",
            Self::Claude => "claude",
        }
    }

    /// The command that connects it, with these options.
    #[must_use]
    pub fn connect(self, options: &[&str]) -> String {
        [&[NAME, "connect", self.word()], options].concat().join(" ")
    }

    /// Where its settings are: those for servers, those for hooks. `var` is the environment.
    pub fn places(self, var: &dyn Fn(&str) -> Option<OsString>, project: Option<&Path>) -> Option<(PathBuf, PathBuf)> {
        let set = |name: &str| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = set("HOME");
        Some(match (self, project) {
            (Self::Codex, Some(folder)) => {
                let file = folder.join(".codex/config.toml");
                (file.clone(), file)
            }
            (Self::Codex, None) => {
                let file = set("CODEX_HOME").or_else(|| Some(home?.join(".codex")))?.join("config.toml");
                (file.clone(), file)
            }
            (Self::Claude, Some(folder)) => (folder.join(".mcp.json"), folder.join(".claude/settings.json")),
            (Self::Claude, None) => match set("CLAUDE_CONFIG_DIR") {
                Some(folder) => (folder.join(".claude.json"), folder.join("settings.json")),
                None => (home.as_ref()?.join(".claude.json"), home?.join(".claude/settings.json")),
            },
        })
    }
}

/// Whether a client's own settings name the server, and the hook. A file that is not there names neither.
///
/// # Errors
/// One of them cannot be read: which, and why.
pub fn connected(client: Client, var: &dyn Fn(&str) -> Option<OsString>) -> Result<(bool, bool), (PathBuf, String)> {
    let Some((servers, hooks)) = client.places(var, None) else {
        return Ok((false, false));
    };
    let has = |path: &Path| match client {
        Client::Codex => settings::has::<codex::Toml>(path),
        Client::Claude => settings::has::<claude::Json>(path),
    };
    let told = |path: PathBuf| move |error: SettingsError| (path, error.to_string());
    let (server, _) = has(&servers).map_err(told(servers.clone()))?;
    let (_, hook) = has(&hooks).map_err(told(hooks.clone()))?;
    Ok((server, hook))
}

/// A file of settings by which a client runs no hook at all, and the setting: the user's own, and those of the project in `folder`.
pub fn hooks_off(client: Client, var: &dyn Fn(&str) -> Option<OsString>, folder: &Path) -> Option<(PathBuf, &'static str)> {
    let own = client.places(var, None).map(|(_, hooks)| hooks);
    let project = client.places(var, Some(folder)).map(|(_, hooks)| hooks);
    let local = project.as_ref().filter(|_| client == Client::Claude);
    let local = local.map(|file| file.with_file_name("settings.local.json"));
    let mut files = own.into_iter().chain(project).chain(local);
    files.find_map(|file| {
        let off = match client {
            Client::Codex => settings::hooks_off::<codex::Toml>(&file),
            Client::Claude => settings::hooks_off::<claude::Json>(&file),
        };
        off.map(|setting| (file, setting))
    })
}

/// What is to stand in the settings.
struct Wanted {
    /// The program.
    program: String,
    /// Arguments of the server.
    server: Vec<String>,
    /// The hook's command line; none where it is not wanted.
    hook: Option<String>,
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let folder = env::current_dir().map_err(|error| unplaced(&error.to_string()))?;
    let places = args.client.places(&|name| env::var_os(name), args.project.then_some(&*folder));
    let (servers, hooks) = places.ok_or_else(|| unplaced("HOME is not set"))?;
    let wanted = wanted(session, args)?;
    let mut edits = vec![Edit::read(&servers)?];
    if hooks != servers {
        edits.push(Edit::read(&hooks)?);
    }
    let (first, last) = (0, edits.len() - 1);
    match args.client {
        Client::Codex => change::<codex::Toml>(&mut edits, first, last, wanted.as_ref())?,
        Client::Claude => change::<claude::Json>(&mut edits, first, last, wanted.as_ref())?,
    }
    let changed: Vec<Edit> = edits.into_iter().filter(Edit::changes).collect();
    for edit in &changed {
        edit.show(session.ui);
    }
    if !changed.is_empty() && !args.yes {
        confirm(session.ui, args)?;
    }
    let mut written = Vec::new();
    for edit in &changed {
        let backup = edit.write()?;
        if let Some(backup) = &backup {
            session.ui.note(Tone::Dim, &format!("as it was before: {}", backup.display()));
        }
        if edit.path() == hooks {
            // Whoever runs it runs it anew.
            hook::forget(&session.places, args.client);
        }
        written.push(json!({ "file": edit.path(), "backup": backup }));
    }
    session
        .ui
        .json(&json!({ "client": args.client.word(), "removed": args.remove, "changed": written }));
    say(session.ui, args, changed.is_empty());
    Ok(())
}

/// Server and hook, each in its file; both may be one.
fn change<S: Settings>(edits: &mut [Edit], servers: usize, hooks: usize, wanted: Option<&Wanted>) -> Result<(), Failure> {
    edits[servers].change::<S>(|settings| match wanted {
        Some(wanted) => settings.put_server(&wanted.program, &wanted.server),
        None => settings.remove_server(),
    })?;
    edits[hooks].change::<S>(|settings| match wanted.map(|wanted| wanted.hook.as_deref()) {
        Some(Some(hook)) => settings.put_hook(hook),
        Some(None) => Ok(()),
        None => settings.remove_hook(),
    })
}

/// Nothing for `--remove`.
fn wanted(session: &Session, args: &Args) -> Result<Option<Wanted>, Failure> {
    if args.remove {
        return Ok(None);
    }
    let program = if args.project {
        // A file that others get too: each has it in a folder of his own.
        NAME.to_owned()
    } else {
        // By its whole path: what PATH names is what somebody else put there last.
        let program = env::current_exe().map_err(|error| unplaced(&error.to_string()))?;
        program
            .into_os_string()
            .into_string()
            .map_err(|_| unplaced("this program's path is no text"))?
    };
    let mut server = vec![];
    if let Some(vault) = session.vault.as_ref().filter(|_| env::var_os("TOUCHLEASE_VAULT").is_none()) {
        let vault = vault.to_str().ok_or_else(|| unplaced("the vault's path is no text"))?;
        server.extend(["--vault".to_owned(), vault.to_owned()]);
    }
    server.push("mcp".into());
    let hook = (!args.no_hook).then(|| format!("{} hook {}", shell_word(&program), args.client.word()));
    Ok(Some(Wanted { program, server, hook }))
}

fn confirm(ui: Ui, args: &Args) -> Result<(), Failure> {
    let again = args.client.connect(if args.remove { &["--remove", "--yes"] } else { &["--yes"] });
    let refused = |said: &str| Failure::new(Outcome::Usage, "not_confirmed", said).hint(again.clone());
    let Some(mut tty) = Tty::open() else {
        return Err(refused("nobody can be asked here whether this is to be written; nothing was"));
    };
    loop {
        match tty.ask("write this? [y/N] ").unwrap_or_default().trim().to_lowercase().as_str() {
            "y" | "yes" => return Ok(()),
            "" | "n" | "no" => return Err(refused("nothing was written")),
            _ => ui.note(Tone::Bad, "type y or n"),
        }
    }
}

/// What is done, and what is left for the person: a hook that nobody trusts is a file.
fn say(ui: Ui, args: &Args, nothing: bool) {
    match (args.remove, nothing) {
        (true, true) => ui.line("there is nothing of touchlease in its settings"),
        (true, false) => ui.line("taken out; it takes effect when the agent is started anew"),
        (false, true) => ui.line("all of it is there already"),
        (false, false) => ui.line("written; it takes effect when the agent is started anew"),
    }
    if args.remove {
        return;
    }
    let next = match args.client {
        Client::Codex if args.no_hook => "",
        Client::Codex => {
            "Codex runs no hook before you have trusted it: start codex, and trust the one that it shows for review (/hooks). \
                          Until then it is not active, and nothing says so but touchlease doctor."
        }
        Client::Claude if args.project => "Claude Code asks once whether you trust this project's server and hooks.",
        Client::Claude => "",
    };
    if !next.is_empty() {
        ui.line(next);
    }
    ui.line("leave `touchlease watch` open in a terminal of your own: requests appear there");
}

fn unplaced(what: &str) -> Failure {
    Failure::new(Outcome::BadInput, "places", format!("the settings cannot be written: {what}"))
        .hint("run it as the user who runs the agent, with HOME set")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_settings_where_it_reads_them() {
        let places = |client: Client, vars: &[(&str, &str)], project: Option<&str>| {
            let var = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
            let places = client.places(&var, project.map(Path::new));
            places.map(|(servers, hooks)| [servers.display().to_string(), hooks.display().to_string()])
        };
        let home = [("HOME", "/h")];
        let both = |one: &str, other: &str| Some([one.to_owned(), other.to_owned()]);
        assert_eq!(
            places(Client::Codex, &home, None),
            both("/h/.codex/config.toml", "/h/.codex/config.toml")
        );
        assert_eq!(
            places(Client::Codex, &[("HOME", "/h"), ("CODEX_HOME", "/c")], None),
            both("/c/config.toml", "/c/config.toml")
        );
        assert_eq!(
            places(Client::Claude, &home, None),
            both("/h/.claude.json", "/h/.claude/settings.json")
        );
        assert_eq!(
            places(Client::Claude, &[("CLAUDE_CONFIG_DIR", "/c")], None),
            both("/c/.claude.json", "/c/settings.json")
        );
        assert_eq!(
            places(Client::Claude, &[], Some("/p")),
            both("/p/.mcp.json", "/p/.claude/settings.json")
        );
        assert_eq!(places(Client::Codex, &[], None), None);
    }
}
