//! A client that is not ours: says what a test wants said to a daemon's socket, from a process of its own.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{self, Command, ExitCode, Stdio},
    thread,
};

use rustix::net::SocketAddrUnix;

const USAGE: &str = "\
usage: wirecat relay SOCKET                     standard input to the socket, the socket to standard output
       wirecat call SOCKET CALL                 says CALL, prints what comes
       wirecat watch SOCKET FILE                a screen: what comes goes to FILE, every prompt is said to be shown
       wirecat connect SOCKET                   connects standard input, a Unix socket, and ends
       wirecat exec SOCKET CALL PROGRAM [ARG..] says CALL, then becomes PROGRAM with the socket as input and output";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["relay", socket] => relay(socket),
        ["call", socket, call] => said(socket, call).and_then(|stream| print(&stream)),
        ["watch", socket, file] => watch(socket, file),
        ["connect", socket] => connect(socket),
        ["exec", socket, call, program, rest @ ..] => become_program(socket, call, program, rest),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wirecat: {error}");
            ExitCode::FAILURE
        }
    }
}

fn relay(socket: &str) -> io::Result<()> {
    let stream = UnixStream::connect(socket)?;
    let mut to = stream.try_clone()?;
    thread::spawn(move || {
        // The daemon may hang up in the middle: then the other direction says so.
        let _ = io::copy(&mut io::stdin().lock(), &mut to);
    });
    print(&stream)
}

fn said(socket: &str, call: &str) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    match stream.write_all(format!("{call}\n").as_bytes()) {
        // It answered before it was asked, and hung up.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(stream),
        written => written.map(|()| stream),
    }
}

fn print(stream: &UnixStream) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in BufReader::new(stream).split(b'\n') {
        out.write_all(&line?)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}

fn watch(socket: &str, file: &str) -> io::Result<()> {
    let stream = said(socket, r#"{"v":1,"screen":true,"request":{"do":"watch"}}"#)?;
    let mut to = stream.try_clone()?;
    let mut file = fs::OpenOptions::new().append(true).create(true).open(file)?;
    println!("watching as {}", process::id());
    for line in BufReader::new(stream).split(b'\n') {
        let line = line?;
        file.write_all(&[&line[..], b"\n"].concat())?;
        if let Some(prompt) = prompt_of(&line) {
            to.write_all(format!("{{\"answer\":\"shown\",\"prompt\":{prompt}}}\n").as_bytes())?;
        }
    }
    Ok(())
}

/// Whoever has the socket from then on has a connection that another process made.
fn connect(socket: &str) -> io::Result<()> {
    let address = SocketAddrUnix::new(socket)?;
    Ok(rustix::net::connect(io::stdin(), &address)?)
}

fn prompt_of(line: &[u8]) -> Option<u64> {
    let line: serde_json::Value = serde_json::from_slice(line).ok()?;
    (line["event"] == "prompt").then(|| line["prompt"].as_u64()).flatten()
}

fn become_program(socket: &str, call: &str, program: &str, rest: &[&str]) -> io::Result<()> {
    let stream = said(socket, call)?;
    let end = || stream.try_clone().map(|end| Stdio::from(OwnedFd::from(end)));
    Err(Command::new(program).args(rest).stdin(end()?).stdout(end()?).exec())
}
