//! `touchlease run` without daemon, vault and touch: values come from the command line, which is why this is a test program only.
//!
//! `deliver [--no-masking] [--end MILLIS] [--at-end terminate|interrupt|kill] [NAME=VALUE | NAME@VALUE].. -- COMMAND ..`
//! `@` delivers by private file.
#![allow(clippy::disallowed_methods)] // it measures

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use rustix::process::Signal;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};
use touchlease::clock::SystemClock;
use touchlease::deliver::env::{AtEnd, Delivery, How, LeaseEnd, Status, Streams, Var, run};
use touchlease::secret::Secret;
use touchlease::sys;

/// A lease that is over when a timer says so.
struct Timer(OwnedFd);

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl LeaseEnd for Timer {}

impl Timer {
    fn after(end: Option<Duration>) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        if let Some(end) = end {
            let mut when = Itimerspec {
                it_interval: Default::default(),
                it_value: Default::default(),
            };
            when.it_value.tv_sec = end.as_secs() as i64;
            when.it_value.tv_nsec = end.subsec_nanos().max(1).into();
            timerfd_settime(&timer, TimerfdTimerFlags::empty(), &when)?;
        }
        Ok(Self(timer))
    }
}

fn main() -> io::Result<()> {
    let mut delivery = Delivery {
        command: Vec::new(),
        found: None,
        plain: vec![],
        vars: Vec::new(),
        masking: true,
        at_end: AtEnd::Terminate,
        certificates: None,
        runtime_dir: None,
        walls: None,
    };
    let (mut end, mut args) = (None, std::env::args_os().skip(1));
    while let Some(arg) = args.next().filter(|arg| arg != "--") {
        match arg.to_string_lossy().as_ref() {
            "--no-masking" => delivery.masking = false,
            "--end" => {
                end = args
                    .next()
                    .and_then(|ms| ms.to_string_lossy().parse().ok())
                    .map(Duration::from_millis)
            }
            "--at-end" => {
                delivery.at_end = match args.next().unwrap_or_default().to_string_lossy().as_ref() {
                    "kill" => AtEnd::Kill,
                    "interrupt" => AtEnd::Interrupt,
                    _ => AtEnd::Terminate,
                };
            }
            _ => delivery.vars.push(var(arg)?),
        }
    }
    delivery.command = args.collect();
    let patterns = delivery.patterns();
    match run(&delivery, &patterns, Streams::of_process(), &mut Timer::after(end)?, &SystemClock) {
        Ok(outcome) => {
            if outcome.ended_by_lease {
                eprintln!("deliver: the lease is over.");
            }
            match outcome.status {
                Status::Exited(code) => std::process::exit(code.into()),
                Status::Killed(signal) => match Signal::from_named_raw(signal) {
                    Some(signal) => sys::child::die_by(signal),
                    None => std::process::exit(outcome.status.code().into()),
                },
            }
        }
        Err(error) => {
            eprintln!("deliver: {error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
            std::process::exit(70);
        }
    }
}

fn var(arg: OsString) -> io::Result<Var> {
    let mut bytes = arg.into_vec();
    let at = bytes
        .iter()
        .position(|byte| matches!(byte, b'=' | b'@'))
        .ok_or(io::ErrorKind::InvalidInput)?;
    let how = if bytes[at] == b'=' { How::Env } else { How::File };
    let value = Secret::from_slice_wiping(&mut bytes[at + 1..])?;
    bytes.truncate(at);
    let label = format!("test/{}", String::from_utf8_lossy(&bytes));
    Ok(Var {
        name: OsString::from_vec(bytes),
        label,
        value,
        how,
    })
}
