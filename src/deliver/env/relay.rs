//! The one loop between the child, our streams, signals and the lease.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use rustix::termios::isatty;
use zeroize::Zeroize;

use super::channel::Channel;
use super::child::{Child, Status};
use super::ending::{self, Aim, Ending};
use super::leash::{self, Leash};
use super::offspring::Offspring;
use super::session::{News, Session};
use super::terminal::{Pair, Terminal, copy_size};
use super::{DeliverError, Delivery, LeaseEnd, Outcome, Streams};
use crate::clock::{Boot, Clock};
use crate::deliver::mask::Patterns;
use crate::sys::signals::{Catcher, Caught};
use crate::sys::spawn::Program;

/// A pause of the child's output after which a prompt is let go.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000,
};
/// How often a job in the background looks whether it is in the foreground again: `fg` sends a running job no signal.
const GLANCE: u64 = 200;
/// Typed input that waits for the child to read it.
const TYPED: usize = 4096;

/// Signals that a wrapper passes on.
pub(super) const PASSED: [Signal; 6] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// A running child and everything tied to it.
pub(super) struct Relay<'a> {
    delivery: &'a Delivery,
    catcher: Catcher,
    channels: Vec<Channel<'a>>,
    place: Place<'a>,
    offspring: Offspring,
    /// Whether one of the processes we adopted may have ended.
    to_reap: bool,
    leash: Tied,
    ending: Option<Ending>,
    ended_by_lease: bool,
}

/// Whether the command would outlive us.
enum Tied {
    /// Until then.
    From(Boot),
    By(Leash),
    /// There was no process for it: that is no reason to end a command that runs.
    Not,
}

/// Where the child runs.
enum Place<'a> {
    /// In our process group. `screen` is a terminal of ours and the output-only pseudo-terminal that stands for it.
    Group {
        child: Child,
        screen: Option<(BorrowedFd<'a>, OwnedFd)>,
        /// In a group of its own after all, which no key reaches by itself.
        apart: bool,
    },
    /// In a session of its own.
    Session {
        session: Session,
        terminal: Terminal<'a>,
        typed: Box<Typed>,
    },
}

/// Input on its way to the child's terminal; wiped, as people type passwords.
struct Typed {
    bytes: [u8; TYPED],
    waiting: std::ops::Range<usize>,
    open: bool,
}

/// What an event of `poll` belongs to.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Lease,
    Child,
    Keyboard,
    ChildInput,
    Channel(usize),
}

impl<'a> Relay<'a> {
    pub fn start(
        delivery: &'a Delivery,
        program: Program,
        patterns: &'a Patterns,
        streams: Streams<'a>,
        clock: &dyn Clock,
    ) -> Result<Self, DeliverError> {
        let masking = delivery.masking && !patterns.is_empty();
        let walled = delivery.walls.is_some();
        let session = (masking || walled) && isatty(streams.stdin) && isatty(streams.stdout);
        let mut signals = [&PASSED[..], &[Signal::CHILD]].concat();
        if session {
            signals.extend([Signal::WINCH, Signal::CONT, Signal::TSTP]);
        } else if masking {
            signals.push(Signal::WINCH);
        }
        let catcher = Catcher::new(&signals).map_err(DeliverError::Setup)?;
        let mut channels = Vec::with_capacity(2);
        let divided = delivery.walls.as_ref().is_some_and(|walls| walls.processes);
        let mut offspring = Offspring::adopt().divided(divided);
        let place = if session {
            in_session(program, patterns, streams, &mut channels)
        } else {
            in_group(program, masking, walled, patterns, streams, &mut channels)
        };
        let place = place.map_err(|fault| fault.name(delivery))?;
        if let Place::Session { session, .. } = &place {
            offspring.leave_out(session.monitor());
        }
        Ok(Self {
            delivery,
            catcher,
            channels,
            place,
            offspring,
            to_reap: false,
            leash: Tied::From(Boot(clock.boot().0 + leash::AFTER)),
            ending: None,
            ended_by_lease: false,
        })
    }

    /// To the child's end, until all it wrote is out, and all it left running is over.
    pub fn run(mut self, lease: &mut impl LeaseEnd, clock: &dyn Clock) -> Result<Outcome, DeliverError> {
        let status = loop {
            if let Some(status) = self.turn(lease, clock).map_err(DeliverError::Wait)? {
                break status;
            }
        };
        self.drain().map_err(DeliverError::Wait)?;
        let masked = self.channels.iter().map(Channel::masked).sum();
        let lost = self.channels.iter_mut().find_map(Channel::lost);
        let rest = Aim {
            child: None,
            whole_group: false,
            offspring: &self.offspring,
        };
        if let Place::Session { terminal, .. } = &mut self.place {
            // Keys that are pressed from here on are for us.
            terminal.restore();
        }
        let left_running = match self.ending.take() {
            None => ending::end_rest(&rest, self.delivery.at_end, &self.catcher, clock),
            Some(ending) => {
                ending.see_out(&rest, Some(&self.catcher), clock);
                0
            }
        };
        if let Tied::By(leash) = self.leash {
            leash.let_go();
        }
        Ok(Outcome {
            status,
            ended_by_lease: self.ended_by_lease,
            left_running,
            masked,
            lost,
        })
    }

    /// Waits for something to happen and does what it asks for.
    fn turn(&mut self, lease: &mut impl LeaseEnd, clock: &dyn Clock) -> io::Result<Option<Status>> {
        // If it was the child that ended, that is seen now, and there is nobody to look for.
        let reap = std::mem::take(&mut self.to_reap);
        let pausing = !reap && self.channels.iter().any(Channel::is_unsettled);
        let ready = self.wait(lease, if pausing { Some(PAUSE) } else { self.timeout(clock, reap) })?;
        if ready.is_empty() && pausing {
            self.channels
                .iter_mut()
                .filter(|channel| channel.is_unsettled())
                .for_each(Channel::settle);
        }
        let mut ended = None;
        for source in ready {
            match source {
                Source::Signals => self.catcher.take().into_iter().for_each(|caught| self.pass_on(caught)),
                Source::Lease if lease.is_over() => {
                    self.ended_by_lease = true;
                    let aim = self.place.aim(&self.offspring);
                    self.ending = Some(Ending::begin(&aim, self.delivery.at_end, clock.boot()));
                }
                Source::Lease => {}
                Source::Child => ended = self.child_changed()?,
                Source::Keyboard | Source::ChildInput => self.type_on(),
                Source::Channel(at) => self.channels[at].pump(),
            }
        }
        if ended.is_some() {
            return Ok(ended);
        }
        if reap {
            self.offspring.reap(Some(self.place.child()));
        }
        self.kill_if_due(clock);
        self.tie_if_due(clock);
        if let Place::Session { terminal, .. } = &mut self.place
            && !terminal.is_raw()
        {
            terminal.enter_raw();
        }
        Ok(None)
    }

    fn timeout(&self, clock: &dyn Clock, reap: bool) -> Option<Timespec> {
        let kill = self.ending.as_ref().and_then(|ending| ending.left(clock.boot()));
        let glance = match &self.place {
            Place::Session { terminal, .. } if !terminal.is_raw() => Some(GLANCE),
            _ => None,
        };
        let tie = match self.leash {
            Tied::From(at) => Some(at.0.saturating_sub(clock.boot().0)),
            Tied::By(_) | Tied::Not => None,
        };
        let reap = reap.then_some(0);
        [kill, glance, tie, reap].into_iter().flatten().min().map(ending::millis)
    }

    fn wait(&self, lease: &impl LeaseEnd, timeout: Option<Timespec>) -> io::Result<Vec<Source>> {
        let (mut sources, mut fds) = (Vec::with_capacity(8), Vec::with_capacity(8));
        self.interests(lease, |source, fd, flags| {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            // A handler ran, so its pipe is readable; what else is ready is seen in the next turn.
            Err(Errno::INTR) => return Ok(vec![Source::Signals]),
            Err(error) => return Err(error.into()),
        }
        let ready = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(sources
            .into_iter()
            .zip(ready)
            .filter_map(|(source, ready)| ready.then_some(source))
            .collect())
    }

    /// What there is to wait for.
    fn interests<'s>(&'s self, lease: &'s impl LeaseEnd, mut add: impl FnMut(Source, BorrowedFd<'s>, PollFlags)) {
        add(Source::Signals, self.catcher.as_fd(), PollFlags::IN);
        if self.ending.is_none() {
            add(Source::Lease, lease.as_fd(), PollFlags::IN);
        }
        match &self.place {
            Place::Group { child, .. } => add(Source::Child, child.as_fd(), PollFlags::IN),
            Place::Session { session, terminal, typed } => {
                add(Source::Child, session.as_fd(), PollFlags::IN);
                if !typed.waiting.is_empty() {
                    add(Source::ChildInput, session.terminal.as_fd(), PollFlags::OUT);
                } else if typed.open && terminal.is_raw() {
                    add(Source::Keyboard, terminal.as_fd(), PollFlags::IN);
                }
            }
        }
        for (at, channel) in self.channels.iter().enumerate() {
            if let Some((fd, flags)) = channel.interest() {
                add(Source::Channel(at), fd, flags);
            }
        }
    }

    fn pass_on(&mut self, caught: Caught) {
        if caught.signal == Signal::CHILD {
            self.to_reap = true;
            return;
        }
        match (&mut self.place, caught.signal) {
            (Place::Group { child, screen, .. }, Signal::WINCH) => {
                if let Some((ours, pair)) = screen {
                    copy_size(*ours, pair.as_fd());
                    // It had the kernel's own signal before the new size.
                    child.signal(Signal::WINCH);
                }
            }
            (Place::Group { child, .. }, signal) if !caught.by_kernel => child.signal(signal),
            (Place::Group { child, apart: true, .. }, signal) => child.signal_group(signal),
            (Place::Group { .. }, _) => {}
            (Place::Session { session, terminal, .. }, Signal::WINCH) => terminal.copy_size(session.terminal.as_fd()),
            (Place::Session { session, terminal, .. }, Signal::CONT) => resume(session, terminal),
            (Place::Session { session, .. }, Signal::TSTP) => session.signal_foreground(Signal::TSTP),
            (Place::Session { session, .. }, signal) if caught.by_kernel => session.signal_foreground(signal),
            (Place::Session { session, .. }, signal) => session.child.signal(signal),
        }
    }

    fn child_changed(&mut self) -> io::Result<Option<Status>> {
        let (session, terminal) = match &mut self.place {
            Place::Group { child, .. } => return child.wait().map(Some),
            Place::Session { session, terminal, .. } => (session, terminal),
        };
        match session.hear() {
            News::Ended(status) => return Ok(Some(status)),
            News::Stopped if self.ending.is_none() => {
                // What it wrote before it stopped comes before the shell's prompt.
                self.channels.iter_mut().for_each(Channel::pump);
                terminal.restore();
                self.catcher.stop_group()?;
                resume(session, terminal);
                session.signal_foreground(Signal::CONT);
                session.child.signal_group(Signal::CONT);
            }
            News::Stopped | News::Started(_) | News::Failed(_) => {}
        }
        Ok(None)
    }

    fn kill_if_due(&mut self, clock: &dyn Clock) {
        if let Some(ending) = &mut self.ending
            && ending.left(clock.boot()) == Some(0)
        {
            ending.kill(&self.place.aim(&self.offspring));
        }
    }

    fn tie_if_due(&mut self, clock: &dyn Clock) {
        if matches!(self.leash, Tied::From(at) if at <= clock.boot()) {
            self.leash = match Leash::hold(self.place.child(), self.delivery.at_end, clock) {
                Ok(leash) => {
                    self.offspring.leave_out(leash.pid);
                    Tied::By(leash)
                }
                Err(_) => Tied::Not,
            };
        }
    }

    /// Keys to the child's terminal.
    fn type_on(&mut self) {
        let Place::Session { session, terminal, typed } = &mut self.place else {
            return;
        };
        if typed.waiting.is_empty() && terminal.is_ours() {
            match read(terminal.as_fd(), &mut typed.bytes) {
                Ok(0) => typed.open = false,
                Ok(count) => typed.waiting = 0..count,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => typed.open = false,
            }
        }
        // Its side is non-blocking; what it does not take stays.
        match write(&session.terminal, &typed.bytes[typed.waiting.clone()]) {
            Ok(count) => typed.waiting.start += count,
            Err(Errno::INTR | Errno::AGAIN) => {}
            // Nobody is left to read it.
            Err(_) => (typed.waiting, typed.open) = (0..0, false),
        }
    }

    /// The child has ended: lets out what it wrote, at our reader's pace, unless a signal says that nobody waits for it.
    fn drain(&mut self) -> io::Result<()> {
        for channel in &mut self.channels {
            channel.child_ended();
            channel.pump();
        }
        loop {
            let mut fds = vec![PollFd::new(&self.catcher, PollFlags::IN)];
            fds.extend(
                self.channels
                    .iter()
                    .filter_map(Channel::interest)
                    .map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)),
            );
            if fds.len() == 1 {
                return Ok(());
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            drop(fds);
            if self.catcher.take().iter().any(|caught| PASSED.contains(&caught.signal)) {
                return Ok(());
            }
            self.channels.iter_mut().for_each(Channel::pump);
        }
    }
}

impl Place<'_> {
    fn child(&self) -> &Child {
        match self {
            Self::Group { child, .. } => child,
            Self::Session { session, .. } => &session.child,
        }
    }

    fn aim<'s>(&'s self, offspring: &'s Offspring) -> Aim<'s> {
        Aim {
            child: Some(self.child()),
            whole_group: matches!(self, Self::Session { .. } | Self::Group { apart: true, .. }),
            offspring,
        }
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

fn resume(session: &Session, terminal: &mut Terminal<'_>) {
    terminal.enter_raw();
    terminal.copy_size(session.terminal.as_fd());
}

/// Which step of starting failed.
enum Fault {
    Setup(io::Error),
    Start(io::Error),
}

impl Fault {
    fn name(self, delivery: &Delivery) -> DeliverError {
        match self {
            Self::Setup(error) => DeliverError::Setup(error),
            Self::Start(source) => DeliverError::Start {
                program: delivery.command.first().cloned().unwrap_or_default(),
                source,
            },
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Setup(error)
    }
}

impl From<Errno> for Fault {
    fn from(error: Errno) -> Self {
        Self::Setup(error.into())
    }
}

fn in_session<'a>(
    program: Program,
    patterns: &'a Patterns,
    streams: Streams<'a>,
    channels: &mut Vec<Channel<'a>>,
) -> Result<Place<'a>, Fault> {
    let mut terminal = Terminal::new(streams.stdin)?;
    let pair = Pair::like(streams.stdin)?;
    channels.push(Channel::new(pair.ours.try_clone()?, patterns, streams.stdout)?);
    let mut stderr = None;
    if !isatty(streams.stderr) {
        let (source, child) = pipe_with(PipeFlags::CLOEXEC)?;
        channels.push(Channel::new(source, patterns, streams.stderr)?);
        stderr = Some(child);
    }
    let session = Session::start(program, pair, stderr).map_err(Fault::Start)?;
    terminal.enter_raw();
    let typed = Typed {
        bytes: [0; TYPED],
        waiting: 0..0,
        open: true,
    };
    Ok(Place::Session {
        session,
        terminal,
        typed: Box::new(typed),
    })
}

fn in_group<'a>(
    program: Program,
    masking: bool,
    walled: bool,
    patterns: &'a Patterns,
    streams: Streams<'a>,
    channels: &mut Vec<Channel<'a>>,
) -> Result<Place<'a>, Fault> {
    let mut screen: Option<(BorrowedFd<'a>, OwnedFd)> = None;
    // What the child gets in place of an output of ours.
    let mut output = |ours: BorrowedFd<'a>| -> Result<Option<OwnedFd>, Fault> {
        if !masking {
            return Ok(None);
        }
        if !isatty(ours) {
            let (source, child) = pipe_with(PipeFlags::CLOEXEC)?;
            channels.push(Channel::new(source, patterns, ours)?);
            return Ok(Some(child));
        }
        // One terminal for both outputs keeps their order.
        if let Some((_, child)) = &screen {
            return Ok(Some(child.try_clone()?));
        }
        let pair = Pair::for_output(ours)?;
        let child = pair.child.try_clone()?;
        channels.push(Channel::new(pair.ours, patterns, ours)?);
        screen = Some((ours, pair.child));
        Ok(Some(child))
    };
    let (stdout, stderr) = (output(streams.stdout)?, output(streams.stderr)?);
    let outputs = [(&stdout, streams.stdout), (&stderr, streams.stderr)];
    let [out, err] = outputs.map(|(theirs, ours)| theirs.as_ref().map_or(ours, AsFd::as_fd));
    let (pid, pidfd) = program.start([streams.stdin, out, err], None).map_err(Fault::Start)?;
    Ok(Place::Group {
        child: Child::held(pid, pidfd),
        screen,
        apart: walled,
    })
}
