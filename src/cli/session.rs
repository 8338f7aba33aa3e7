//! One call to the daemon, from the question to the reply: the prompt on the person's own terminal, progress on standard error.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use jiff::tz::TimeZone;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::prompt::Shown;
use super::situation::{Situation, TOUCHED};
use super::tty::Tty;
use super::ui::{Tone, Ui};
use crate::client::{Client, Message, daemon_gone};
use crate::encoding::plain::count;
use crate::paths;
use crate::secret::Secret;
use crate::sys::signals::Catcher;
use crate::wire::{Answer, Call, Event, Failure, Outcome, Places, Reply, Request, TouchState, VERSION};

/// How often, and after which pause, what cannot wait is asked again while the daemon has no place for it.
const URGENT_TRIES: u32 = 50;
const URGENT_PAUSE: Duration = Duration::from_millis(20);

/// Labels that agents set in their children's environment.
pub const LABELS: [&str; 7] = [
    "CLAUDECODE",
    "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_PID",
    "CODEX_SESSION_ID",
    "CODEX_THREAD_ID",
    "CODEX_TOOL_CALL_ID",
    "AI_AGENT",
];

/// What a command needs to ask.
pub struct Session {
    /// How to print.
    pub ui: Ui,
    /// Where things lie.
    pub places: paths::Places,
    /// The vault that the command line names.
    pub vault: Option<PathBuf>,
    /// What is known of whoever asks through this process: labels besides those of its own environment.
    pub labels: BTreeMap<String, String>,
    /// A connection that was made before it was known what to ask.
    pub met: Cell<Option<Client>>,
}

/// A call under way.
struct Asking<'a> {
    session: &'a Session,
    client: Client,
    tty: Option<Tty>,
    /// Says at once that the terminal has another size, while a prompt stands: what is not to be seen any more must not stay armed.
    resized: Option<Catcher>,
    shown: Option<Shown>,
    /// Whether it was at this terminal that somebody said no.
    stopped: bool,
    /// The four words, and milliseconds left, until it is known where the prompt stands.
    words: Option<([String; 4], u64)>,
    /// How a prompt goes that stands elsewhere.
    elsewhere: Situation,
    parts: &'a mut dyn FnMut(Event),
}

impl Session {
    /// The call for a request, from a process that shows prompts or does not.
    #[must_use]
    pub fn call(&self, screen: bool, request: Request) -> Call {
        let label = |name: &&str| std::env::var(name).ok().map(|value| ((*name).to_owned(), value));
        Call {
            v: VERSION,
            vault: self.vault.clone(),
            screen,
            labels: LABELS.iter().filter_map(label).chain(self.labels.clone()).collect(),
            places: Some(claim(&self.places)),
            request,
        }
    }

    /// Asks and waits for the reply. A failure comes back as an error.
    ///
    /// # Errors
    /// Whatever the daemon says, and [`Outcome::NoDaemon`].
    pub fn ask(&self, request: Request) -> Result<Reply, Failure> {
        self.ask_held(request).map(|(reply, _)| reply)
    }

    /// The same for what a daemon with too many connections serves first. Its place there may be taken by others before it was heard: it
    /// comes again.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub fn ask_urgently(&self, request: impl Fn() -> Request) -> Result<Reply, Failure> {
        for _ in 0..URGENT_TRIES {
            match self.ask(request()) {
                Err(failure) if failure.reason == "too_many_connections" => thread::sleep(URGENT_PAUSE),
                done => return done,
            }
        }
        self.ask(request())
    }

    /// The same, with the connection, for a lease that is held by it.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub fn ask_held(&self, request: Request) -> Result<(Reply, Client), Failure> {
        self.ask_parts(request, &mut |_| {})
    }

    /// The same, with everything that is no progress but a part of the answer given to `parts`, as it comes.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub fn ask_parts(&self, request: Request, parts: &mut dyn FnMut(Event)) -> Result<(Reply, Client), Failure> {
        self.ask_saying(request, &mut std::iter::empty(), parts)
    }

    /// The same, with lines that follow the call at once; each is made when its turn comes, and wiped when it was sent.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub fn ask_saying(
        &self,
        request: Request,
        more: &mut dyn Iterator<Item = Result<Answer, Failure>>,
        parts: &mut dyn FnMut(Event),
    ) -> Result<(Reply, Client), Failure> {
        // Only what opens prompts needs the terminal.
        let tty = if request.opens_prompt() { Tty::open() } else { None };
        let met = self.met.take().filter(Client::is_waiting);
        let mut client = met.map_or_else(|| Client::connect_or_start(&self.places), Ok)?;
        let brings_values = matches!(&request, Request::Lease(ask) if ask.deliver);
        client.call(&self.call(tty.is_some(), request))?;
        for line in more {
            client.answer(&line?)?;
        }
        if brings_values {
            // While the daemon looks: to make locked memory takes longer than to use it, and what is given back is kept for the next.
            // Where there is none, that is said of the value.
            drop(Secret::zeroed(1));
        }
        let mut asking = Asking {
            session: self,
            client,
            tty,
            resized: None,
            shown: None,
            stopped: false,
            words: None,
            elsewhere: Situation::default(),
            parts,
        };
        let reply = asking.run();
        let Asking { client, tty, stopped, .. } = asking;
        drop(tty);
        match reply? {
            Reply::Failed(failure) if stopped && failure.reason == "denied" => {
                let message = "you stopped it at the prompt";
                Err(Failure::new(failure.outcome, &failure.reason, message).hint("run the command again if it is wanted after all"))
            }
            Reply::Failed(failure) => Err(failure),
            reply => Ok((reply, client)),
        }
    }
}

impl Asking<'_> {
    fn run(&mut self) -> Result<Reply, Failure> {
        loop {
            if !self.wait()? {
                continue;
            }
            match self.client.message()? {
                Some(Message::Reply(reply)) => return Ok(*reply),
                Some(Message::Event(event)) => self.event(event)?,
                None => {
                    return Err(daemon_gone());
                }
            }
        }
    }

    /// Waits for the daemon, looking at keys and redrawing the countdown meanwhile. True when the daemon said something.
    fn wait(&mut self) -> Result<bool, Failure> {
        if self.client.is_ready() {
            return Ok(true);
        }
        let (Some(tty), Some(shown)) = (self.tty.as_mut(), self.shown.as_mut()) else {
            return Ok(true);
        };
        let mut fds = vec![PollFd::new(&self.client, PollFlags::IN), PollFd::new(tty, PollFlags::IN)];
        fds.extend(self.resized.as_ref().map(|resized| PollFd::new(resized, PollFlags::IN)));
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        match poll(&mut fds, Some(&second)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Failure::new(Outcome::Internal, "poll", error.to_string()).ours()),
        }
        let (daemon, key) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        drop(self.resized.as_ref().map(Catcher::take));
        if key {
            let keys = tty.keys().unwrap_or_default();
            if let Some(answer) = shown.typed(&keys, tty) {
                self.stopped |= matches!(answer, Answer::Deny { .. });
                self.client.answer(&answer)?;
            }
        }
        shown.tick(tty);
        self.say_news()?;
        Ok(daemon)
    }

    fn say_news(&mut self) -> Result<(), Failure> {
        match self.shown.as_mut().and_then(Shown::news) {
            Some(answer) => self.client.answer(&answer),
            None => Ok(()),
        }
    }

    fn event(&mut self, event: Event) -> Result<(), Failure> {
        let ui = self.session.ui;
        if self.tty.is_none() && is_progress(&event) {
            // A program without a terminal waits for a person elsewhere: it is told as the protocol tells it.
            ui.json_progress(&event);
        }
        match event {
            Event::Queued { ahead } => ui.note(Tone::Dim, &format!("in front of this one: {}", count(ahead, "request"))),
            Event::Asked { words, left_ms, .. } => self.words = Some((words, left_ms)),
            Event::Step { number, of, what } => self.say(&format!("touch {number} of {of}: {what}")),
            Event::Prompt(view) => self.show(view)?,
            Event::Touch { state, .. } => {
                self.touch(state);
                self.say_news()?;
            }
            Event::Closed { outcome, .. } => {
                self.resized = None;
                if let (Some(shown), Some(tty)) = (self.shown.take(), self.tty.as_mut()) {
                    shown.close(outcome, tty);
                    tty.cooked();
                }
            }
            Event::Note { what } => self.say(&what),
            part @ (Event::Line { .. } | Event::Secrets { .. } | Event::Exported { .. } | Event::Scanning { .. }) => (self.parts)(part),
            Event::Waiting { waiting, .. } => {
                if let (Some(shown), Some(tty)) = (self.shown.as_mut(), self.tty.as_mut()) {
                    shown.queue(waiting, tty);
                }
            }
            Event::Watching | Event::Ended { .. } | Event::Signed { .. } | Event::Back { .. } => {}
        }
        Ok(())
    }

    /// The prompt stands elsewhere: here are the words to match it with. Said once.
    fn say_words(&mut self) {
        let Some((words, left_ms)) = self.words.take() else { return };
        let ui = self.session.ui;
        ui.note(Tone::Strong, &format!("waiting for a touch: {}", words.join("  ")));
        ui.note(
            Tone::Dim,
            &format!("compare the words with `touchlease watch`; {} s left", left_ms / 1000),
        );
    }

    /// What becomes of a prompt that stands elsewhere, a line for each change.
    fn follow(&mut self, state: &TouchState) {
        let ui = self.session.ui;
        if let Some(news) = self.elsewhere.update(state) {
            ui.note(Tone::Plain, &news);
        }
        match state {
            TouchState::TouchNow { key, hold: false, .. } => {
                ui.note(Tone::Act, &format!("key \"{key}\" blinks: touch it if the words match"));
            }
            TouchState::PinNeeded { key, .. } => ui.note(Tone::Act, &format!("the PIN of \"{key}\" is typed in `touchlease watch`")),
            TouchState::AnotherProgram { key } => {
                ui.note(Tone::Bad, &format!("another program is using \"{key}\": do not touch it"));
            }
            TouchState::Touched => ui.note(Tone::Dim, TOUCHED),
            _ => {}
        }
    }

    /// A line that stays: above the prompt's own lines, if one stands.
    fn say(&mut self, line: &str) {
        match (&mut self.shown, self.tty.as_mut()) {
            (Some(shown), Some(tty)) => shown.say(line, tty),
            _ => self.session.ui.note(Tone::Strong, line),
        }
    }

    fn show(&mut self, view: crate::wire::PromptView) -> Result<(), Failure> {
        let Some(tty) = self.tty.as_mut() else { return Ok(()) };
        let prompt = view.prompt;
        self.shown = None;
        let shown = match Shown::draw(view, &TimeZone::system(), self.session.ui, tty) {
            Ok(shown) => shown,
            Err(None) => return Ok(()),
            Err(Some(room)) => return self.client.answer(&Answer::TooSmall { prompt, room }),
        };
        tty.raw().map_err(|error| {
            Failure::new(Outcome::NoScreen, "terminal_gone", format!("the terminal went away: {error}"))
                .hint("open another terminal and run the command there")
        })?;
        self.resized = Catcher::new(&[Signal::WINCH]).ok();
        self.shown = Some(shown);
        self.say_news()
    }

    fn touch(&mut self, state: TouchState) {
        let (Some(tty), Some(shown)) = (self.tty.as_mut(), self.shown.as_mut()) else {
            self.say_words();
            self.follow(&state);
            return;
        };
        shown.update(&state, tty);
        if let TouchState::PinNeeded { key, tries, wrong } = state {
            shown.ask_pin(&key, tries, wrong, tty);
        }
    }
}

/// What is told on the way to a reply, and is no part of it.
fn is_progress(event: &Event) -> bool {
    matches!(
        event,
        Event::Queued { .. }
            | Event::Asked { .. }
            | Event::Step { .. }
            | Event::Touch { .. }
            | Event::Waiting { .. }
            | Event::Closed { .. }
            | Event::Note { .. }
    )
}

/// Links are followed here: the daemon looks up nothing that a client names.
pub fn claim(places: &paths::Places) -> Places {
    let real = |path: &Path| {
        path.canonicalize()
            .unwrap_or_else(|_| path.to_owned())
            .to_string_lossy()
            .into_owned()
    };
    Places {
        state: real(&places.state),
        config: real(&places.config),
        vault: real(&places.vault),
    }
}
