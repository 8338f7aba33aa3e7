//! Where agents keep their sessions and programs their lines.

use std::ffi::OsString;
use std::path::PathBuf;

/// Lines that were typed, below the home folder: bash, zsh, ksh, fish, Python, Node, psql, mysql, sqlite3, redis-cli, R, less.
const HISTORIES: [&str; 14] = [
    ".bash_history",
    ".zsh_history",
    ".zhistory",
    ".histfile",
    ".sh_history",
    ".local/share/fish/fish_history",
    ".python_history",
    ".node_repl_history",
    ".psql_history",
    ".mysql_history",
    ".sqlite_history",
    ".rediscli_history",
    ".Rhistory",
    ".lesshst",
];

type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The folders and files of agents' sessions that are there: Codex (`CODEX_HOME`) and Claude Code (`CLAUDE_CONFIG_DIR`).
pub fn transcripts(env: Env<'_>) -> Vec<PathBuf> {
    let folder = |variable: &str, usual: &str| env(variable).map(PathBuf::from).or_else(|| Some(home(env)?.join(usual)));
    let codex = folder("CODEX_HOME", ".codex");
    let claude = folder("CLAUDE_CONFIG_DIR", ".claude");
    let codex = ["sessions", "archived_sessions", "history.jsonl", "log"].map(|name| codex.as_ref().map(|codex| codex.join(name)));
    let claude =
        ["projects", "history.jsonl", "todos", "shell-snapshots", "debug"].map(|name| claude.as_ref().map(|claude| claude.join(name)));
    there(codex.into_iter().chain(claude).flatten())
}

/// Files of typed lines that are there: that of this shell (`HISTFILE`) too.
pub fn histories(env: Env<'_>) -> Vec<PathBuf> {
    let own = [
        "HISTFILE",
        "PYTHON_HISTORY",
        "NODE_REPL_HISTORY",
        "PSQL_HISTORY",
        "MYSQL_HISTFILE",
        "SQLITE_HISTORY",
    ];
    let own = own.into_iter().filter_map(env).filter(|path| !path.is_empty()).map(PathBuf::from);
    let usual = home(env).into_iter().flat_map(|home| HISTORIES.map(|name| home.join(name)));
    there(own.chain(usual))
}

fn home(env: Env<'_>) -> Option<PathBuf> {
    env("HOME").map(PathBuf::from)
}

/// As the kernel calls them, each once.
fn there(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut real: Vec<_> = paths.filter_map(|path| path.canonicalize().ok()).collect();
    real.sort_unstable();
    real.dedup();
    real
}
