//! Clients of an agent: one, or several that ask at the same time.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use super::super::table::{Failure, Load};
use super::Side;
use super::words::{self, Host};

pub struct Client(UnixStream);

impl Client {
    pub fn connect(socket: &Path) -> Result<Self, Failure> {
        Ok(Self(UnixStream::connect(socket)?))
    }

    pub fn bind(&mut self, host: &Host) -> Result<(), Failure> {
        self.say(&host.bind())?;
        self.hear(words::SUCCESS).map(drop)
    }

    /// The only key that is listed.
    pub fn key(&mut self) -> Result<Vec<u8>, Failure> {
        self.say(words::LIST)?;
        let answer = self.hear(words::IDENTITIES)?;
        let (count, rest) = answer[1..].split_first_chunk::<4>().ok_or("a short answer")?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or("no key is listed")?;
        let key = rest.get(..u32::from_be_bytes(*length) as usize).ok_or("a short answer")?;
        match u32::from_be_bytes(*count) {
            1 => Ok(key.to_vec()),
            count => Err(format!("{count} keys are listed").into()),
        }
    }

    pub fn sign(&mut self, key: &[u8], data: &[u8]) -> Result<(), Failure> {
        self.say(&words::sign(key, data))?;
        self.hear(words::SIGNED).map(drop)
    }

    fn say(&mut self, body: &[u8]) -> Result<(), Failure> {
        Ok(self.0.write_all(&words::string(body))?)
    }

    fn hear(&mut self, kind: u8) -> Result<Vec<u8>, Failure> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut answer)?;
        match answer.first() {
            Some(first) if *first == kind => Ok(answer),
            first => Err(format!("the agent answers {first:?} in place of {kind}").into()),
        }
    }
}

/// So many signatures, asked for by so many clients that each wait for one before they want the next. They have been met before the time begins.
pub fn burst(side: &Side, clients: usize, signatures: usize) -> Result<Load, Failure> {
    let clients = clients.min(signatures);
    let mut connected = (0..clients).map(|_| Client::connect(&side.socket)).collect::<Result<Vec<_>, _>>()?;
    for client in &mut connected {
        client.say(&words::unknown())?;
        client.hear(words::FAILURE)?;
    }
    let mut watch = Watch::new(&connected)?;
    let mut each = Vec::with_capacity(signatures);
    let began = Instant::now();
    let mut asked = vec![began; clients];
    let mut digest = [0; 64];
    let mut wanted = 0_usize;
    let mut ask = |client: &mut Client| -> Result<Instant, Failure> {
        digest[..8].copy_from_slice(&wanted.to_be_bytes());
        wanted += 1;
        let now = Instant::now();
        client.say(&words::sign(&side.key, &words::signed_data(&digest)))?;
        Ok(now)
    };
    for (client, asked) in connected.iter_mut().zip(&mut asked) {
        *asked = ask(client)?;
    }
    let mut left = signatures - clients;
    while each.len() < signatures {
        for at in watch.ready()? {
            connected[at].hear(words::SIGNED)?;
            each.push(asked[at].elapsed());
            if left > 0 {
                left -= 1;
                asked[at] = ask(&mut connected[at])?;
            }
        }
    }
    Ok(Load {
        whole: began.elapsed(),
        done: each.len(),
        each: each.into(),
    })
}

/// Who of many has an answer: the system is told once of all of them, as to tell it each time costs more than a signature.
struct Watch {
    epoll: OwnedFd,
    met: Vec<epoll::Event>,
}

impl Watch {
    fn new(clients: &[Client]) -> Result<Self, Failure> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (at, client) in clients.iter().enumerate() {
            epoll::add(&epoll, &client.0, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
        }
        let met = Vec::with_capacity(clients.len());
        Ok(Self { epoll, met })
    }

    /// Those that have an answer.
    fn ready(&mut self) -> Result<impl Iterator<Item = usize>, Failure> {
        self.met.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.met), None) {
            // A signal: whoever asks looks again.
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.met.iter().map(|event| event.data.u64() as usize))
    }
}
