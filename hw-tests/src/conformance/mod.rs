//! One suite for all kinds of keys: what a person and a program see of touchlease, whatever the key is plugged into.
//!
//! A case is a function over a [`Machine`], with a sentence as its name. Every rig runs every case, so all print the same
//! number; where a case means nothing on a rig, it asserts what must hold there instead.

mod cases;
pub mod machine;
mod person;
pub mod piv;
pub mod rigs;

use std::{
    error::Error,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use crate::{
    harness::{Daemon, Home},
    key::KeyHandle,
};

pub use cases::all;
pub use machine::Machine;

/// How a case ends; the error says what was not as it must be.
pub type Verdict = Result<(), Box<dyn Error>>;

/// A case.
#[derive(Clone, Copy)]
pub struct Case {
    /// What holds, as a sentence.
    pub name: &'static str,
    /// Finds out whether it does.
    pub run: fn(&Machine<'_>) -> Verdict,
}

/// What the keys are plugged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// USB HID.
    Usb,
    /// A reader with contacts.
    Contact,
    /// A reader with a field.
    Contactless,
}

/// Two keys, and a way for the product to reach them.
pub trait Rig {
    /// Its name, for the last line.
    fn name(&self) -> &str;

    /// What the keys are plugged into.
    fn link(&self) -> Link;

    /// Whether the keys are device nodes of this machine's kernel.
    fn has_nodes(&self) -> bool {
        self.link() == Link::Usb
    }

    /// The product.
    fn program(&self) -> &Path;

    /// The keys.
    fn keys(&self) -> [Arc<dyn KeyHandle>; 2];

    /// Starts a daemon for this home, or nothing where the product starts its own.
    ///
    /// # Errors
    /// The home has one already; its configuration cannot be read.
    fn daemon(&self, home: &Home) -> std::io::Result<Option<Daemon>>;
}

/// How a run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Cases that hold.
    pub held: usize,
    /// Cases there are.
    pub cases: usize,
}

impl Tally {
    /// Whether all hold.
    #[must_use]
    pub fn is_full(self) -> bool {
        self.held == self.cases
    }
}

/// Runs these of the cases on a rig, and writes a line for each, and the tally.
///
/// # Errors
/// The lines cannot be written.
pub fn run(rig: &dyn Rig, cases: &[Case], out: &mut dyn Write) -> std::io::Result<Tally> {
    let tally = report(rig, cases, out)?;
    writeln!(out, "conformance {}: {} of {} cases", rig.name(), tally.held, tally.cases)?;
    Ok(tally)
}

/// A line for each case.
fn report(rig: &dyn Rig, cases: &[Case], out: &mut dyn Write) -> std::io::Result<Tally> {
    let mut held = 0;
    for case in cases {
        match verdict(rig, case) {
            Ok(()) => {
                held += 1;
                writeln!(out, "ok      {}", case.name)?;
            }
            Err(why) => writeln!(
                out,
                "FAILED  {}\n        {}",
                case.name,
                why.to_string().replace('\n', "\n        ")
            )?,
        }
        out.flush()?;
    }
    Ok(Tally { held, cases: cases.len() })
}

fn verdict(rig: &dyn Rig, case: &Case) -> Verdict {
    let run = || -> Verdict {
        let machine = Machine::new(rig)?;
        (case.run)(&machine)
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("it panicked".into()))
}
