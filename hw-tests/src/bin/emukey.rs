//! Emulated security keys as a program, driven over control sockets.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    sync::{Arc, mpsc},
};

use hw_tests::{
    authenticator::{Authenticator, Settings, Storage},
    card::{FidoCard, Interface},
    control::{self, Control},
    ctap::Ctap,
    ctaphid::Keepalive,
    finger::{Finger, Mode},
    hid_socket::HidSocket,
    host::{Host, Protocol},
    key::{Attachment, Key, KeyHandle},
    piv::{self, YubiKey, YubiKeyCard},
    rig::Reader,
    uhid::Identity,
    vpcd::VpcdSocket,
};

const USAGE: &str = "\
usage: emukey KEY...
       emukey tell SOCKET COMMAND [MS]
  KEY: --uhid --control SOCKET [--pin PIN] [--state FOLDER] [--out]
       --vpcd PORT [--contactless] --control SOCKET [--pin PIN] [--state FOLDER] [--out]
       --vpcd PORT --yubikey VERSION --control SOCKET [--out]
                    a YubiKey's PIV application; the root of its attestation, in PEM, is beside SOCKET, as .pem

Prints `ready` when every key is plugged in, but for those that start pulled out (--out). Each control socket takes one command per line and answers one line:
grant, delay MS, deny, never, tap, press, refuse, expire, asked MS, counts, pull, plug, keepalive MS,
reset, set-pin, quit. `tell` says one of them, and prints the answer.";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if let [tell, socket, command @ ..] = words.as_slice()
        && tell == "tell"
    {
        return told(socket, &command.join(" "));
    }
    match start(words.into_iter()) {
        Ok(quit) => {
            println!("ready");
            let _ = quit.recv(); // an error means that nobody can say quit any more
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("emukey: {error}");
            ExitCode::FAILURE
        }
    }
}

fn told(socket: &str, command: &str) -> ExitCode {
    match command.parse().and_then(|command| Control::at(socket).tell(command)) {
        Ok(reply) => {
            println!("{reply}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("emukey: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: impl Iterator<Item = String>) -> Result<mpsc::Receiver<()>, Box<dyn std::error::Error>> {
    let options = parse(arguments)?;
    let (quit, asked_to_quit) = mpsc::channel();
    let control_error = |path: &Path, error| format!("{}: {error}", path.display());
    for option in options {
        let path = option.control.clone();
        let quit = quit.clone();
        let end = move || {
            if quit.send(()).is_err() {
                process::exit(0); // the main thread is on its way out already
            }
        };
        match option.port {
            Port::Uhid => control::serve(&path, Arc::new(uhid(option)?), end),
            Port::Vpcd(reader, interface) => control::serve(&path, Arc::new(card(option, reader, interface)?), end),
            Port::YubiKey(reader, version) => control::serve(&path, Arc::new(yubikey(option, reader, version)?), end),
        }
        .map_err(|error| control_error(&path, error))?;
    }
    Ok(asked_to_quit)
}

#[derive(Debug, Clone, Copy)]
enum Port {
    Uhid,
    Vpcd(Reader, Interface),
    YubiKey(Reader, [u8; 3]),
}

struct Options {
    port: Port,
    control: PathBuf,
    pin: Option<String>,
    storage: Storage,
    out: bool,
}

#[derive(Debug)]
struct Usage;

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(USAGE)
    }
}

impl std::error::Error for Usage {}

/// Each `--uhid` or `--vpcd` begins a key.
fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Vec<Options>, Usage> {
    let mut keys: Vec<Options> = vec![];
    while let Some(argument) = arguments.next() {
        let port = match &*argument {
            "--uhid" => Some(Port::Uhid),
            "--vpcd" => {
                let port = arguments.next().and_then(|port| port.parse().ok());
                let reader = port.and_then(Reader::on).ok_or(Usage)?;
                Some(Port::Vpcd(reader, Interface::Contact))
            }
            _ => None,
        };
        if let Some(port) = port {
            keys.push(Options {
                port,
                control: PathBuf::new(),
                pin: None,
                storage: Storage::Ram,
                out: false,
            });
            continue;
        }
        let key = keys.last_mut().ok_or(Usage)?;
        match (&*argument, &mut key.port) {
            ("--contactless", Port::Vpcd(_, interface)) => *interface = Interface::Contactless,
            ("--yubikey", Port::Vpcd(reader, _)) => {
                let version = arguments.next().and_then(|version| numbers(&version)).ok_or(Usage)?;
                key.port = Port::YubiKey(*reader, version);
            }
            ("--control", _) => key.control = arguments.next().ok_or(Usage)?.into(),
            ("--out", _) => key.out = true,
            ("--pin", Port::Uhid | Port::Vpcd(..)) => key.pin = Some(arguments.next().ok_or(Usage)?),
            ("--state", Port::Uhid | Port::Vpcd(..)) => key.storage = Storage::Folder(arguments.next().ok_or(Usage)?.into()),
            _ => return Err(Usage),
        }
    }
    let complete = !keys.is_empty() && keys.iter().all(|key| !key.control.as_os_str().is_empty());
    complete.then_some(keys).ok_or(Usage)
}

/// A version: three numbers with dots between.
fn numbers(version: &str) -> Option<[u8; 3]> {
    let numbers: Result<Vec<u8>, _> = version.split('.').map(str::parse).collect();
    numbers.ok()?.try_into().ok()
}

type Failure = Box<dyn std::error::Error>;

fn uhid(options: Options) -> Result<Key<HidSocket>, Failure> {
    let (finger, ctap) = authenticator(&options, Settings::default(), Mode::Grant)?;
    let socket = HidSocket::new(ctap.clone()).with_uhid(Identity::default());
    if !options.out {
        socket.plug().map_err(|error| format!("/dev/uhid: {error}"))?;
    }
    Ok(Key::new(finger, ctap, socket))
}

fn card(options: Options, reader: Reader, interface: Interface) -> Result<Key<VpcdSocket>, Failure> {
    let (settings, mode) = match interface {
        Interface::Contact => (
            Settings {
                smart_card: true,
                ..Settings::default()
            },
            Mode::Grant,
        ),
        Interface::Contactless => (
            Settings {
                nfc: true,
                ..Settings::default()
            },
            Mode::Tap,
        ),
    };
    let (finger, ctap) = authenticator(&options, settings, mode)?;
    let keepalive = Keepalive::never();
    let card = FidoCard::new(ctap.clone(), finger.clone(), interface, keepalive.clone());
    let socket = VpcdSocket::new(reader, Box::new(card))
        .with_finger(finger.clone())
        .with_keepalive(keepalive);
    if !options.out {
        socket.plug().map_err(|error| format!("{}: {error}", reader.name))?;
    }
    Ok(Key::new(finger, ctap, socket))
}

fn yubikey(options: Options, reader: Reader, version: [u8; 3]) -> Result<Key<VpcdSocket, YubiKey>, Failure> {
    let settings = piv::Settings {
        version,
        serial: 24_000_000 + u32::from(reader.port), // no two keys have the same
        ..piv::Settings::default()
    };
    let finger = Arc::new(Finger::new(Mode::Grant));
    let inside = Arc::new(YubiKey::start(settings, finger.clone())?);
    fs::write(options.control.with_extension("pem"), inside.root())?;
    let socket = VpcdSocket::new(reader, Box::new(YubiKeyCard::new(inside.clone()))).with_finger(finger.clone());
    if !options.out {
        socket.plug().map_err(|error| format!("{}: {error}", reader.name))?;
    }
    Ok(Key::new(finger, inside, socket))
}

fn authenticator(options: &Options, settings: Settings, mode: Mode) -> Result<(Arc<Finger>, Arc<dyn Ctap>), Failure> {
    let finger = Arc::new(Finger::new(mode));
    let settings = Settings {
        storage: options.storage.clone(),
        ..settings
    };
    let ctap: Arc<dyn Ctap> = Arc::new(Authenticator::start(settings, finger.clone())?);
    if let Some(pin) = &options.pin {
        set_pin(&ctap, pin)?;
    }
    Ok((finger, ctap))
}

/// A key that was started from a folder has its PIN already.
fn set_pin(ctap: &Arc<dyn Ctap>, pin: &str) -> Result<(), Failure> {
    let mut host = Host(ctap.clone());
    if !host.has_pin()? {
        host.set_pin(Protocol::Two, pin)?;
    }
    Ok(())
}
