//! `touchlease watch`: the person's screen for everybody's requests.

use jiff::tz::TimeZone;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::prompt::Shown;
use super::session::Session;
use super::tty::Tty;
use super::ui::{Tone, Ui};
use crate::client::{Client, Message, daemon_gone};
use crate::sys::signals::Catcher;
use crate::sys::wait::is_readable;
use crate::wire::{Answer, Event, Failure, Outcome, Reply, Request, TouchState};

struct Watch {
    client: Client,
    tty: Tty,
    /// Says at once that the terminal has another size: what is not to be seen any more must not stay armed.
    resized: Option<Catcher>,
    shown: Option<Shown>,
    zone: TimeZone,
    ui: Ui,
}

/// Runs until Ctrl-C, `q`, or the daemon's end.
///
/// # Errors
/// No terminal; no daemon.
pub fn run(session: &Session) -> Result<(), Failure> {
    let no_terminal = || {
        Failure::new(
            Outcome::NoScreen,
            "no_terminal",
            "watch needs a terminal in which a person can see the request",
        )
        .hint("open a terminal window and run `touchlease watch` there")
    };
    let tty = Tty::open().ok_or_else(no_terminal)?;
    let mut client = Client::connect_or_start(&session.places)?;
    client.call(&session.call(true, Request::Watch))?;
    tty.raw().map_err(|_| no_terminal())?;
    let mut watch = Watch {
        client,
        tty,
        resized: Catcher::new(&[Signal::WINCH]).ok(),
        shown: None,
        zone: TimeZone::system(),
        ui: session.ui,
    };
    let ended = watch.run();
    if let Some(shown) = watch.shown.take() {
        shown.leave(&mut watch.tty);
    }
    ended
}

impl Watch {
    fn run(&mut self) -> Result<(), Failure> {
        loop {
            if !self.client.is_ready() && !self.wait()? {
                return Ok(());
            }
            if !self.client.is_ready() && !self.daemon_spoke()? {
                continue;
            }
            match self.client.message()? {
                Some(Message::Event(event)) => self.event(event)?,
                Some(Message::Reply(reply)) => match *reply {
                    Reply::Failed(failure) => return Err(failure),
                    _ => return Ok(()),
                },
                None => {
                    return Err(daemon_gone());
                }
            }
        }
    }

    /// Waits for the daemon or a key, at most a second. False when the person quits.
    fn wait(&mut self) -> Result<bool, Failure> {
        // Without a prompt nothing changes on the screen, so nothing wakes it.
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        let limit = self.shown.as_ref().map(|_| &second);
        let mut fds = vec![PollFd::new(&self.client, PollFlags::IN), PollFd::new(&self.tty, PollFlags::IN)];
        fds.extend(self.resized.as_ref().map(|resized| PollFd::new(resized, PollFlags::IN)));
        let polled = poll(&mut fds, limit);
        let key = polled.is_ok() && !fds[1].revents().is_empty();
        drop(self.resized.as_ref().map(Catcher::take));
        if let (Some(shown), false) = (&mut self.shown, key) {
            shown.tick(&mut self.tty);
            self.say_news()?;
        }
        if !key {
            return Ok(true);
        }
        let keys = self.tty.keys().unwrap_or_default();
        match &mut self.shown {
            Some(shown) if shown.is_typing() || !matches!(keys.as_slice(), [] | [b'q']) => {
                if let Some(answer) = shown.typed(&keys, &mut self.tty) {
                    self.client.answer(&answer)?;
                }
                Ok(true)
            }
            // Without a prompt Ctrl-C ends the watch; a terminal that says nothing any more has ended it already.
            _ => Ok(!matches!(keys.as_slice(), [] | [b'q' | 3 | 4])),
        }
    }

    fn daemon_spoke(&self) -> Result<bool, Failure> {
        is_readable(&self.client).map_err(|error| Failure::new(Outcome::Internal, "poll", error.to_string()).ours())
    }

    fn say_news(&mut self) -> Result<(), Failure> {
        match self.shown.as_mut().and_then(Shown::news) {
            Some(answer) => self.client.answer(&answer),
            None => Ok(()),
        }
    }

    fn event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Watching => {
                let what = self
                    .ui
                    .paint_screen(Tone::Strong, "touchlease: requests appear here; d deny, q quit");
                self.tty.write(&format!("{what}\r\n"));
                Ok(())
            }
            Event::Prompt(view) => {
                self.tty.write("\x07");
                let prompt = view.prompt;
                self.shown = None;
                match Shown::draw(view, &self.zone, self.ui, &mut self.tty) {
                    Ok(shown) => self.shown = Some(shown),
                    Err(None) => return Ok(()),
                    Err(Some(room)) => return self.client.answer(&Answer::TooSmall { prompt, room }),
                }
                self.say_news()
            }
            Event::Touch { prompt, state } => {
                self.touch(prompt, state);
                self.say_news()
            }
            Event::Closed { prompt, outcome } => {
                if let Some(shown) = self.shown.take_if(|shown| shown.number() == prompt) {
                    shown.close(outcome, &mut self.tty);
                }
                Ok(())
            }
            Event::Waiting { prompt, waiting } => {
                if let Some(shown) = self.shown.as_mut().filter(|shown| shown.number() == prompt) {
                    shown.queue(waiting, &mut self.tty);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn touch(&mut self, prompt: u64, state: TouchState) {
        let Some(shown) = self.shown.as_mut().filter(|shown| shown.number() == prompt) else {
            return;
        };
        shown.update(&state, &mut self.tty);
        if let TouchState::PinNeeded { key, tries, wrong } = state {
            shown.ask_pin(&key, tries, wrong, &mut self.tty);
        }
    }
}
