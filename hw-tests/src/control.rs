//! A key in another program, driven over a Unix socket: one line asks, one line answers.

use std::{
    fs, io,
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use crate::key::{Command, ControlError, KeyHandle, Reply};

/// Serves a key at this path until the process ends or a test says `quit`, after which `quit` is called.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(path: &Path, key: Arc<dyn KeyHandle>, quit: impl Fn() + Clone + Send + 'static) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {} // a socket left by an earlier run
    }
    let listener = UnixListener::bind(path)?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (key, quit) = (key.clone(), quit.clone());
            thread::spawn(move || {
                let _ = converse(&client, &*key, &quit); // the test hung up
            });
        }
    });
    Ok(())
}

fn converse(client: &UnixStream, key: &dyn KeyHandle, quit: &dyn Fn()) -> io::Result<()> {
    for line in BufReader::new(client).lines() {
        let command = line?.parse::<Command>();
        let ended = matches!(command, Ok(Command::Quit));
        let answer = match command.and_then(|command| key.tell(command)) {
            Ok(reply) => format!("{reply}\n"),
            Err(error) => format!("error: {error}\n"),
        };
        (&mut &*client).write_all(answer.as_bytes())?;
        if ended {
            quit();
        }
    }
    Ok(())
}

/// The client's side.
#[derive(Debug, Clone)]
pub struct Control {
    path: PathBuf,
}

impl Control {
    /// The key whose control socket is here.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl KeyHandle for Control {
    /// Connects anew for each command, so that one thread can wait with [`Command::Asked`] and another press.
    fn tell(&self, command: Command) -> Result<Reply, ControlError> {
        let mut socket = UnixStream::connect(&self.path)?;
        socket.write_all(format!("{command}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer)?;
        answer.trim_end().parse()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{authenticator::Settings, key::Key};

    #[test]
    fn a_key_behind_a_socket_is_driven_like_one_in_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = Arc::new(Key::start(Settings::default()).unwrap());
        let (quit, asked_to_quit) = std::sync::mpsc::channel();
        serve(&path, key.clone(), move || quit.send(()).unwrap()).unwrap();
        let control = Control::at(&path);
        control.never().unwrap();
        assert!(!control.press().unwrap());
        let asking = thread::spawn(move || key.finger().ask(Duration::from_secs(30)));
        assert!(control.await_asked(Duration::from_secs(30)).unwrap());
        assert!(control.counts().unwrap().waiting);
        assert!(control.press().unwrap());
        assert_eq!(asking.join().unwrap(), crate::finger::Outcome::Touched);
        assert_eq!(control.counts().unwrap().given, 1);
        control.tell(Command::Quit).unwrap();
        asked_to_quit.recv().unwrap();
    }
}
