//! The conformance suite on one rig.

use std::{
    env, fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use hw_tests::conformance::{
    Case, Link, Machine, Rig, all,
    piv::{self, YubiKeys, logins},
    rigs::{InProcess, Plugged, Real},
    run,
};

const USAGE: &str = "\
usage: conformance RIG [PART-OF-A-NAME]
  in-process           emulated USB keys and a daemon in this process
  contact, contactless under hw-tests/with-readers
  hidraw               under hw-tests/kernel/uml or hw-tests/kernel/qemu
  piv                  YubiKeys by their PIV application under hw-tests/with-readers: cases of their own
  ssh-login USER [HOW] no rig: what a case of them runs to speak to the agent for ssh, or as HOW says
  --real               two real keys over USB, and a person; RESETS THEM
  --real-contactless   the same on a contactless reader

Prints a line for each case, then `conformance RIG: n of N cases` (`T57 PIV cases: n of N`); fails unless all hold. --real also writes what the keys
say of themselves to conformance-real.json.
Environment: TOUCHLEASE  the product (else the one beside this program)";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let Some(rig) = arguments.next() else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    if rig == logins::PROGRAM {
        let socket = env::var("SSH_AUTH_SOCK").unwrap_or_default();
        let [user, how] = [arguments.next(), arguments.next()].map(Option::unwrap_or_default);
        return match logins::ask(&user, &how, &socket) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("conformance: {error}");
                ExitCode::FAILURE
            }
        };
    }
    match start(&rig, &arguments.next().unwrap_or_default()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(name: &str, filter: &str) -> Result<bool, Box<dyn std::error::Error>> {
    let program = match env::var_os("TOUCHLEASE") {
        Some(path) => PathBuf::from(path),
        None => env::current_exe()?.with_file_name("touchlease"),
    };
    let named = |all: Vec<Case>| -> Vec<Case> { all.into_iter().filter(|case| case.name.contains(filter)).collect() };
    if name == "piv" {
        let rig = YubiKeys::find(program, |name| env::var_os(name))?;
        return Ok(piv::run(&rig, &named(piv::all()), &mut io::stdout())?.is_full());
    }
    let rig: Box<dyn Rig> = match name {
        "in-process" => Box::new(InProcess::new(program)?),
        "--real" => Box::new(Real::new(program, Link::Usb)),
        "--real-contactless" => Box::new(Real::new(program, Link::Contactless)),
        name => Box::new(Plugged::find(name, program, |name| env::var_os(name))?),
    };
    if name.starts_with("--real") {
        look(&*rig)?;
    }
    Ok(run(&*rig, &named(all()), &mut io::stdout())?.is_full())
}

/// Writes down which keys were tried.
fn look(rig: &dyn Rig) -> Result<(), Box<dyn std::error::Error>> {
    let machine = Machine::new(rig)?;
    let mut file = fs::File::create("conformance-real.json")?;
    for key in &machine.keys {
        machine.keys.iter().try_for_each(|key| key.pull())?;
        key.plug()?;
        writeln!(file, "{}", machine.json(&["key", "info"])?)?;
    }
    Ok(())
}
