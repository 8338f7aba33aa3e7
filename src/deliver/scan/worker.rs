//! The worker: takes the values in, then looks through whatever descriptors come, on every processor, until no more come.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use zeroize::Zeroizing;

use super::protocol::{Hit, LONGEST_SEEN, MOST_ALIKE, MOST_HITS, MOST_NUMBERS, Order, Report, Seen};
use super::seek::{Needles, Seeker};
use super::{MOST_BYTES, MOST_SECRETS};
use crate::secret::Secret;
use crate::sys::pass;
use crate::worker::frame::{read_frame, write_frame};

/// Most threads: beyond them the memory's own speed is the limit.
const MOST_THREADS: usize = 8;

/// The worker's `main`: the daemon's socket is descriptor 0, that of whoever asked is descriptor 1.
#[must_use]
pub fn main() -> u8 {
    crate::worker::process(Duration::ZERO, |daemon| {
        let channel = io::stdout().as_fd().try_clone_to_owned()?;
        // Its number is kept, so that nothing that is opened later gets it, and the channel is closed when this process says so.
        rustix::stdio::dup2_stdout(rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?)?;
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        run(&daemon, channel, threads)
    })
}

#[derive(Default)]
struct Totals {
    files: AtomicU64,
    bytes: AtomicU64,
    found: AtomicU64,
}

/// Serves one scan: the daemon's frames over `daemon`, files over `channel`.
///
/// # Errors
/// The daemon is gone, or sends nonsense.
pub fn run(daemon: &UnixStream, channel: OwnedFd, threads: usize) -> io::Result<()> {
    let needles = take_in(daemon)?;
    for numbers in needles.too_short().chunks(MOST_NUMBERS) {
        let numbers = numbers.to_vec();
        write_frame(daemon, &Report::TooShort { numbers }, &[])?;
    }
    let span = needles.span() as u64;
    write_frame(daemon, &Report::Ready { span }, &[])?;
    let totals = Totals::default();
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                // Whoever sends what is no packet of ours, or reads no answer, has no more of it.
                if serve(&channel, &needles, &totals).is_err() {
                    let _ = shutdown(&channel, Shutdown::Both);
                }
            });
        }
    });
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let done = Report::Done {
        files: count(&totals.files),
        bytes: count(&totals.bytes),
        found: count(&totals.found),
    };
    // Before whoever asked sees the end of the channel: what he is told of next is the daemon's reply.
    write_frame(daemon, &done, &[])
}

/// The values, each in as many parts as it needs. Each lies in locked memory until all are there.
fn take_in(daemon: &UnixStream) -> io::Result<Needles> {
    let (mut values, mut parts, mut size) = (Vec::new(), Vec::new(), 0);
    loop {
        let (order, tail): (Order, Secret) = read_frame(daemon)?;
        match order {
            Order::Value { last } => {
                size += tail.len();
                if size > MOST_BYTES || values.len() >= MOST_SECRETS {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                parts.push(tail);
                if last {
                    values.push(joined(std::mem::take(&mut parts))?);
                }
            }
            Order::Begin { least } => return Ok(Needles::new(&values, least)),
        }
    }
}

fn joined(mut parts: Vec<Secret>) -> io::Result<Secret> {
    if parts.len() == 1 {
        return parts.pop().ok_or_else(|| io::ErrorKind::InvalidData.into());
    }
    let mut whole = Secret::zeroed(parts.iter().map(Secret::len).sum())?;
    let mut rest = whole.expose_mut();
    for part in &parts {
        let (here, behind) = rest.split_at_mut(part.len());
        here.copy_from_slice(part.expose());
        rest = behind;
    }
    Ok(whole)
}

/// One thread's share: a packet is read whole by one of them.
fn serve(channel: &OwnedFd, needles: &Needles, totals: &Totals) -> io::Result<()> {
    let mut seeker = Seeker::new(needles);
    loop {
        let mut first = [0; 8];
        let (count, files) = pass::receive(channel, &mut first)?;
        if count == 0 {
            return Ok(());
        }
        if count != first.len() || files.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let seen = look(&mut seeker, u64::from_le_bytes(first), files, totals);
        let packet = Zeroizing::new(serde_json::to_vec(&seen)?);
        if packet.len() > LONGEST_SEEN {
            return Err(io::ErrorKind::InvalidData.into());
        }
        pass::send(channel, &packet, &[])?;
    }
}

fn look(seeker: &mut Seeker<'_>, first: u64, files: Vec<OwnedFd>, totals: &Totals) -> Seen {
    let mut seen = Seen {
        first,
        files: files.len() as u64,
        ..Seen::default()
    };
    for (number, file) in (0..).zip(files) {
        let (mut hits, mut more) = (0, 0);
        let read = seeker.file(file.as_fd(), &mut |found| {
            if hits == MOST_HITS {
                more += 1;
                return;
            }
            hits += 1;
            seen.hits.push(Hit {
                file: number,
                at: found.at,
                secrets: found.secrets.iter().copied().take(MOST_ALIKE).collect(),
                encoding: found.encoding,
            });
        });
        seen.more += more;
        totals.found.fetch_add(hits as u64 + more, Ordering::Relaxed);
        match read {
            Ok(bytes) => seen.bytes += bytes,
            Err(error) => seen.unread.push((number, error.raw_os_error().unwrap_or_default())),
        }
    }
    totals.files.fetch_add(seen.files - seen.unread.len() as u64, Ordering::Relaxed);
    totals.bytes.fetch_add(seen.bytes, Ordering::Relaxed);
    seen
}
