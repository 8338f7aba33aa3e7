//! `touchlease scan`: where the vault's own secrets stand in files, git history, agents' transcripts and shell history.

mod channel;
mod git;
mod known;
pub mod objects;
mod report;
mod walk;

use std::path::{Path, PathBuf};

use self::channel::Channel;
use self::git::Repository;
use self::objects::Staged;
use self::report::Report;
use super::init::unexpected;
use super::session::Session;
use crate::config::parse_duration;
use crate::wire::request::ScanAsk;
use crate::wire::{Event, Failure, Outcome, Reply, Request};

/// The exit code where a secret was found.
const FOUND: u8 = 1;

/// Look where the vault's own secrets stand, in whatever encoding, without showing them.
///
/// One touch, by which a worker of the daemon gets the values of the scopes. This command opens the files, the worker looks through them
/// and says which secret stands where; no value is ever printed. Nothing is left out but what is no text to look into: links are not
/// followed, devices and pipes are passed over, archives and packs are looked at as they lie there. Exit status: 0 when nothing was found,
/// 1 when something was, 60 to 72 as for every command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look into these files and folders.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Look for the secrets of this scope [default: all, where there are no more than two]. Repeat for a second.
    #[arg(long, value_name = "NAME")]
    scope: Vec<String>,
    /// Look into every object of the git repositories of the PATHs, or of this folder: all that was ever committed and is still there.
    #[arg(long)]
    git: bool,
    /// Look into what is staged for the next commit, and into nothing else: for a pre-commit hook.
    #[arg(long, conflicts_with_all = ["paths", "git", "transcripts", "history", "skip_ignored"])]
    staged: bool,
    /// Look into what Codex and Claude Code have kept of their sessions.
    #[arg(long)]
    transcripts: bool,
    /// Look into what shells and other programs have kept of typed lines.
    #[arg(long)]
    history: bool,
    /// Leave out files that git ignores; secrets are often in just those.
    #[arg(long)]
    skip_ignored: bool,
    /// Ask for this long, as 90s, 15m or 1h30m [default: 15m].
    #[arg(long, value_name = "DURATION", value_parser = |text: &str| parse_duration(text).map(|d| d.as_secs()))]
    ttl: Option<u64>,
    /// Say why, in one line, to the person who touches.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// What is looked into.
enum Source {
    /// A file, or all of a folder.
    Tree(PathBuf),
    /// What git lists in a folder: all but what it ignores.
    Listed(Repository),
    /// All objects of a repository.
    Objects(Repository),
    /// What is staged: objects and their paths.
    Staged(Repository, Vec<Staged>),
}

/// # Errors
/// See [`Failure`].
pub fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let (sources, places) = sources(args)?;
    let mut report = Report::new(session.ui);
    if sources.is_empty() {
        // Nobody is asked for a touch that is for nothing.
        return Ok(report.nothing());
    }
    let request = Request::Scan(ScanAsk {
        scopes: args.scope.clone(),
        places,
        ttl: args.ttl,
        reason: args.reason.clone(),
    });
    let mut looked = Ok(());
    let reply = session.ask_parts(request, &mut |part| {
        if let Event::Scanning {
            secrets,
            too_short,
            span,
            channel: Some(channel),
        } = part
        {
            report.begins(secrets, &too_short);
            looked = look(&sources, &Channel::new(channel, span), &mut report);
        }
    });
    let Reply::Scanned { .. } = reply?.0 else {
        return Err(unexpected());
    };
    if let Err(failure) = looked {
        // What was found before is worth knowing; a program reads one document.
        if !session.ui.is_json() {
            report.say();
        }
        return Err(failure);
    }
    for source in &sources {
        if let Source::Objects(repository) = source {
            report.name(repository);
        }
    }
    Ok(if report.say() { FOUND } else { 0 })
}

/// Sends everything to the worker, and takes in what it says.
fn look(sources: &[Source], channel: &Channel, report: &mut Report) -> Result<(), Failure> {
    std::thread::scope(|scope| {
        let hearing = scope.spawn(|| channel.hear(report));
        let sent = sources.iter().try_for_each(|source| match source {
            Source::Tree(path) => {
                walk::tree(path, channel);
                Ok(())
            }
            Source::Listed(repository) => repository.listed(channel),
            Source::Objects(repository) => repository.objects(channel),
            Source::Staged(repository, staged) => repository.staged(staged, channel),
        });
        channel.finish();
        // A thread of ours does not panic.
        let _ = hearing.join();
        sent
    })?;
    report.takes(channel.passed_over());
    Ok(())
}

/// What the command line names, and what the person who touches reads of it.
fn sources(args: &Args) -> Result<(Vec<Source>, Vec<String>), Failure> {
    if args.staged {
        let repository = Repository::of_this_commit(Path::new("."))?;
        let staged = repository.what_is_staged()?;
        let place = format!("what is staged for the next commit in {}", shown(Path::new(".")));
        let sources = if staged.is_empty() {
            vec![]
        } else {
            vec![Source::Staged(repository, staged)]
        };
        return Ok((sources, vec![place]));
    }
    let (mut sources, mut places) = (vec![], vec![]);
    for path in &args.paths {
        let real = path.canonicalize().map_err(|error| {
            Failure::new(
                Outcome::BadInput,
                "path",
                format!("{} cannot be looked into: {error}", path.display()),
            )
            .hint("name a file or a folder that is there: touchlease scan .")
        })?;
        places.push(shown(path));
        sources.push(if args.skip_ignored {
            Source::Listed(Repository::at(&real)?)
        } else {
            Source::Tree(real)
        });
    }
    if args.git {
        let here = [PathBuf::from(".")];
        for path in if args.paths.is_empty() { &here[..] } else { &args.paths } {
            places.push(format!("all git objects of {}", shown(path)));
            sources.push(Source::Objects(Repository::at(path)?));
        }
    }
    let env = |name: &str| std::env::var_os(name);
    for (wanted, found, what) in [
        (args.transcripts, known::transcripts(&env), "transcripts of Codex and Claude Code"),
        (args.history, known::histories(&env), "shell history"),
    ] {
        if wanted {
            places.push(what.to_owned());
            sources.extend(found.into_iter().map(Source::Tree));
        }
    }
    if places.is_empty() {
        return Err(Failure::new(Outcome::Usage, "nothing_named", "there is nothing to look into")
            .hint("name a folder, or more: touchlease scan . --git --transcripts --history"));
    }
    Ok((sources, places))
}

/// A path as a person knows it from anywhere.
fn shown(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    crate::encoding::plain::visible(&whole.display().to_string())
}
