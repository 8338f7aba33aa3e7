//! The one thread that writes into vaults: a change takes as long as it takes, and whoever ends a lease does not wait for it (P4).
//!
//! What is begun there is done there, whether or not the requester waits for it, with values of its own. What is not begun is given up with
//! its requester, and when the daemon ends. Changes are made one after the other; the folder's lock keeps other processes away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::failure::{IntoFailure, internal};
use crate::vault::{Random, VaultError};
use crate::wire::{Failure, Outcome};

/// How long, and in which steps, a change waits for another process that writes to the vault; and how often is looked where it stands.
const OTHERS_WAIT: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(50);
/// How long the daemon's end waits for what is begun. A medium that does not answer must not keep it for ever; whoever opens the vault next
/// finishes the change, or takes it back (P9).
const FINISH_WITHIN: Duration = Duration::from_secs(20);

/// Its name, by which it is found in `/proc/PID/task`.
pub const THREAD: &str = "writer";

/// Hands work to the thread, which ends with it.
pub struct Writer {
    pieces: Sender<Piece>,
    /// Nothing is begun any more.
    is_closed: Arc<AtomicBool>,
}

/// Where work stands that somebody waits for. It is told only of what takes longer than a blink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is not begun, and can be given up.
    Waits,
    /// It is being done, and nobody can stop it.
    Begun,
    /// It was not begun, and never is: whoever waited for it went away.
    GivenUp,
}

/// Takes where work stands. Gives the failure for which it is given up where it still can be.
pub type Look<'a> = dyn FnMut(Stage) -> Option<Failure> + 'a;

type Piece = Box<dyn FnOnce(&mut Random) + Send>;
/// On the heap from the start: what is moved from hand to hand may hold secrets, and a move leaves the bytes behind.
type Work<T> = Box<dyn FnOnce(&mut Random) -> T + Send>;
type Attempt<T> = Box<dyn FnMut(&mut Random) -> Result<T, VaultError> + Send>;
/// What can be tried again, and what it came to.
type Attempted<T> = (Attempt<T>, Result<T, VaultError>);

/// Work that was handed over, to be taken out of its place by whoever comes first: the thread, to do it, or the requester.
struct Errand<T> {
    place: Arc<Mutex<Option<Work<T>>>>,
    told: oneshot::Receiver<T>,
}

/// A change that is waited for. Dropped before its end, it is given up.
struct Waiting<'a, 'b, T> {
    errand: Option<Errand<Attempted<T>>>,
    look: &'a mut Look<'b>,
    is_over: bool,
}

impl Writer {
    /// Starts the thread, with a source of randomness of its own.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn start(random: fn() -> Box<Random>) -> std::io::Result<Self> {
        let (pieces, given) = channel::<Piece>();
        thread::Builder::new().name(THREAD.into()).spawn(move || {
            let mut random = random();
            given.into_iter().for_each(|piece| piece(&mut *random));
        })?;
        Ok(Self {
            pieces,
            is_closed: Arc::default(),
        })
    }

    /// Does `work` once what was begun before it is done. Where this is dropped meanwhile, `work` is done all the same if it is begun.
    ///
    /// # Errors
    /// The daemon ends, or the thread is gone.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut Random) -> T + Send + 'static) -> Result<T, Failure> {
        let mut errand = self.hand_over(Box::new(work))?;
        (&mut errand.told).await.map_err(|error| self.ended(error))
    }

    /// Does `work`, which needs the vault to itself, and tries again while another process writes to it.
    ///
    /// # Errors
    /// What `work` says, [`VaultError::Busy`] when the other one does not come to an end; as [`Writer::run`].
    pub async fn when_free<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Random) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, Failure> {
        self.when_free_seen(work, &mut |_| None).await
    }

    /// The same for somebody who looks where it stands, and may give it up before it is begun.
    ///
    /// # Errors
    /// As [`Writer::when_free`]; what `look` says.
    pub async fn when_free_seen<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Random) -> Result<T, VaultError> + Send + 'static,
        look: &mut Look<'_>,
    ) -> Result<T, Failure> {
        let mut waiting = Waiting {
            errand: None,
            look,
            is_over: false,
        };
        let done = self.attempts(Box::new(work), &mut waiting).await;
        waiting.is_over = true;
        done
    }

    async fn attempts<T: Send + 'static>(&self, mut work: Attempt<T>, waiting: &mut Waiting<'_, '_, T>) -> Result<T, Failure> {
        let mut waited = Duration::ZERO;
        loop {
            let attempt = move |random: &mut Random| {
                let done = work(random);
                (work, done)
            };
            waiting.errand = Some(self.hand_over(Box::new(attempt))?);
            let (back, done) = self.end_of(waiting).await?;
            match done {
                Err(VaultError::Busy) if waited < OTHERS_WAIT => {
                    waiting.errand = None;
                    work = back;
                    sleep(STEP).await;
                    waited += STEP;
                    if let Some(failure) = (waiting.look)(Stage::Waits) {
                        return Err(failure);
                    }
                }
                done => return done.map_err(IntoFailure::failure),
            }
        }
    }

    async fn end_of<T>(&self, waiting: &mut Waiting<'_, '_, T>) -> Result<Attempted<T>, Failure> {
        let Waiting { errand, look, .. } = waiting;
        let errand = errand.as_mut().ok_or_else(|| self.ended("nothing was handed over"))?;
        loop {
            if let Ok(done) = timeout(STEP, &mut errand.told).await {
                return done.map_err(|error| self.ended(error));
            }
            if let Some(failure) = look(errand.stage())
                && errand.give_up()
            {
                return Err(failure);
            }
        }
    }

    fn hand_over<T: Send + 'static>(&self, work: Work<T>) -> Result<Errand<T>, Failure> {
        let (tell, told) = oneshot::channel();
        let place = Arc::new(Mutex::new(Some(work)));
        let piece = {
            let (place, is_closed) = (place.clone(), self.is_closed.clone());
            move |random: &mut Random| {
                let work = take(&place).filter(|_| !is_closed.load(Ordering::SeqCst));
                if let Some(work) = work {
                    // Whoever asked may have gone.
                    let _ = tell.send(work(random));
                }
            }
        };
        self.pieces.send(Box::new(piece)).map_err(|error| self.ended(error))?;
        Ok(Errand { place, told })
    }

    /// Begins nothing any more, and waits until what was begun is done.
    pub async fn finish(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        let (tell, told) = oneshot::channel::<()>();
        // A thread that is gone has nothing left to do.
        let is_done = self.pieces.send(Box::new(move |_| drop(tell)));
        if is_done.is_ok() && timeout(FINISH_WITHIN, told).await.is_err() {
            tracing::error!("what is being written did not come to its end; whoever opens the vault next finishes it, or takes it back");
        }
        // Whoever waits for another process hears of it at his next attempt.
        sleep(STEP).await;
    }

    fn ended(&self, error: impl std::fmt::Display) -> Failure {
        if self.is_closed.load(Ordering::SeqCst) {
            let message = "the daemon ends: this was not begun, and the vault is as it was";
            return Failure::new(Outcome::NoDaemon, "stopping", message).hint("run the command again: it starts a daemon");
        }
        internal("writer", error)
    }
}

impl<T> Errand<T> {
    fn stage(&self) -> Stage {
        match self.place.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            true => Stage::Waits,
            false => Stage::Begun,
        }
    }

    /// Says whether it was not begun, and now never is.
    fn give_up(&self) -> bool {
        take(&self.place).is_some()
    }
}

impl<T> Drop for Errand<T> {
    /// Nobody waits for it any more.
    fn drop(&mut self) {
        self.give_up();
    }
}

impl<T> Drop for Waiting<'_, '_, T> {
    fn drop(&mut self) {
        if !self.is_over && self.errand.as_ref().is_none_or(Errand::give_up) {
            (self.look)(Stage::GivenUp);
        }
    }
}

fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;
    use std::fs::{self, File};
    use std::hint::black_box;
    use std::os::unix::fs::FileExt;
    use std::pin::{Pin, pin};
    use std::sync::mpsc;

    use hpke::rand_core::{TryCryptoRng, TryRng};
    use tokio::task::yield_now;

    use super::*;
    use crate::vault::{RecoveryCode, random};

    fn writer() -> Writer {
        Writer::start(|| Box::new(random::system())).unwrap()
    }

    /// Keeps the thread busy until it is told to go on; gives what its work comes to.
    fn occupied(writer: &Writer) -> (mpsc::Sender<()>, Errand<bool>) {
        let (begun, is_begun) = mpsc::channel();
        let (go_on, told) = mpsc::channel();
        let work = move |_: &mut Random| {
            begun.send(()).unwrap();
            told.recv_timeout(Duration::from_secs(20)).is_ok()
        };
        let errand = writer.hand_over(Box::new(work)).unwrap();
        is_begun.recv().unwrap();
        (go_on, errand)
    }

    /// Hands over what is asked for, and goes no further.
    async fn ask<T>(asked: Pin<&mut impl Future<Output = T>>) {
        tokio::select! {
            biased;
            _ = asked => panic!("it is done already"),
            () = yield_now() => {}
        }
    }

    #[tokio::test]
    async fn p4_others_go_on_while_something_is_written() {
        let writer = writer();
        let (go_on, told) = mpsc::channel();
        // It ends only once somebody else had a turn.
        let work = writer.run(move |_| told.recv_timeout(Duration::from_secs(20)).is_ok());
        let others = async { go_on.send(()).unwrap() };
        let (done, ()) = tokio::join!(biased; work, others);
        assert!(done.unwrap());
    }

    #[tokio::test]
    async fn what_is_handed_over_is_done_one_after_the_other() {
        let writer = writer();
        let (go_on, first) = occupied(&writer);
        let (say, said) = mpsc::channel();
        let mut second = pin!(writer.run(move |_| say.send(()).unwrap()));
        ask(second.as_mut()).await;
        assert!(said.recv_timeout(Duration::from_millis(200)).is_err(), "two at a time");
        go_on.send(()).unwrap();
        second.await.unwrap();
        assert_eq!((first.stage(), said.try_recv()), (Stage::Begun, Ok(())));
    }

    #[tokio::test]
    async fn p9_what_is_begun_is_done_whoever_goes_away_and_what_is_not_is_given_up_with_him() {
        let writer = writer();
        let (say, said) = mpsc::channel();
        let (go_on, told) = mpsc::channel();
        let work = |name| {
            let say = say.clone();
            move |_: &mut Random| say.send(name).unwrap()
        };
        let (begin, end) = (work("begun"), work("first"));
        let first = move |random: &mut Random| {
            begin(random);
            told.recv_timeout(Duration::from_secs(20)).unwrap();
            end(random);
        };
        {
            let mut first = pin!(writer.run(first));
            ask(first.as_mut()).await;
            assert_eq!(said.recv(), Ok("begun"));
            let mut second = pin!(writer.run(work("second")));
            ask(second.as_mut()).await;
        }
        let mut third = pin!(writer.run(work("third")));
        ask(third.as_mut()).await;
        go_on.send(()).unwrap();
        third.await.unwrap();
        assert_eq!(said.try_iter().collect::<Vec<_>>(), ["first", "third"]);
    }

    #[tokio::test]
    async fn a_change_is_given_up_until_it_is_begun_and_not_after() {
        let writer = writer();
        let no = || Failure::new(Outcome::Denied, "denied", "no").ours();
        let (go_on, _first) = occupied(&writer);
        let mut seen = vec![];
        let mut look = |stage| {
            seen.push(stage);
            Some(no())
        };
        let denied = writer.when_free_seen(|_| Ok(()), &mut look).await.unwrap_err();
        assert_eq!((denied.reason.as_str(), seen.as_slice()), ("denied", &[Stage::Waits][..]));
        go_on.send(()).unwrap();

        let (go_on, told) = mpsc::channel();
        let mut seen = vec![];
        let mut look = |stage| {
            seen.push(stage);
            go_on.send(()).ok();
            Some(no())
        };
        let slow = move |_: &mut Random| Ok(told.recv_timeout(Duration::from_secs(20)).is_ok());
        assert!(writer.when_free_seen(slow, &mut look).await.unwrap());
        assert!(seen.contains(&Stage::Begun));
    }

    #[tokio::test]
    async fn whoever_goes_away_is_told_to_have_given_up_only_what_was_not_begun() {
        let writer = writer();
        let mut seen = vec![];
        let (go_on, begun) = {
            let mut look = |stage| {
                seen.push(stage);
                None
            };
            let (begin, is_begun) = mpsc::channel();
            let (go_on, told) = mpsc::channel::<()>();
            let work = move |_: &mut Random| {
                begin.send(()).unwrap();
                told.recv_timeout(Duration::from_secs(20)).ok();
                Ok(())
            };
            let mut change = pin!(writer.when_free_seen(work, &mut look));
            ask(change.as_mut()).await;
            (go_on, is_begun.recv())
        };
        assert_eq!((begun, seen.as_slice()), (Ok(()), &[][..]));
        {
            let mut look = |stage| {
                seen.push(stage);
                None
            };
            let mut change = pin!(writer.when_free_seen(|_| Ok(()), &mut look));
            ask(change.as_mut()).await;
        }
        assert_eq!(seen, [Stage::GivenUp]);
        go_on.send(()).unwrap();
    }

    #[tokio::test]
    async fn p9_at_the_daemons_end_what_is_begun_is_done_and_the_rest_is_refused() {
        let writer = writer();
        let (go_on, mut first) = occupied(&writer);
        let mut second = pin!(writer.when_free(|_| Ok(())));
        ask(second.as_mut()).await;
        {
            let mut finish = pin!(writer.finish());
            ask(finish.as_mut()).await;
            assert!(
                timeout(Duration::from_millis(200), finish.as_mut()).await.is_err(),
                "it does not wait"
            );
            go_on.send(()).unwrap();
            finish.await;
        }
        assert_eq!(first.told.try_recv(), Ok(true));
        let refused = second.await.unwrap_err();
        assert_eq!((refused.outcome, refused.reason.as_str()), (Outcome::NoDaemon, "stopping"));
        assert_eq!(writer.run(|_| ()).await.unwrap_err().reason, "stopping");
    }

    #[tokio::test(start_paused = true)]
    async fn the_daemons_end_does_not_wait_for_ever_for_what_does_not_end() {
        let writer = writer();
        let (_go_on, mut first) = occupied(&writer);
        let begun = tokio::time::Instant::now();
        writer.finish().await;
        assert!((FINISH_WITHIN..FINISH_WITHIN * 2).contains(&begun.elapsed()));
        assert!(first.told.try_recv().is_err(), "it is done");
    }

    /// Bytes that stand nowhere else in a row.
    struct Marked;

    fn mark(n: usize) -> u8 {
        (n as u8).wrapping_mul(7).wrapping_add(3) ^ 0x5a
    }

    impl TryRng for Marked {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            Ok(0)
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            Ok(0)
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
            bytes.iter_mut().enumerate().for_each(|(n, byte)| *byte = mark(n));
            Ok(())
        }
    }

    impl TryCryptoRng for Marked {}

    /// How often the first 20 of [`mark`]'s bytes stand in what this process can write to.
    fn marked() -> usize {
        const LEN: usize = 20;
        let memory = File::open("/proc/self/mem").unwrap();
        let mut bytes = vec![0; 64 << 10];
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mut count = 0;
        for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
            let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let [from, to] = [from, to].map(|end| u64::from_str_radix(end, 16).unwrap());
            for from in (from..to).step_by(bytes.len() - LEN + 1) {
                // What cannot be read is the kernel's, or a guard's.
                let read = memory.read_at(&mut bytes, from).unwrap_or(0).min((to - from) as usize);
                let own = bytes.as_ptr_range();
                let is_own = |n: &usize| (own.start as u64..own.end as u64).contains(&(from + *n as u64));
                let is_mark = |n: &usize| bytes[*n..*n + LEN].iter().enumerate().all(|(n, byte)| *byte == mark(n));
                count += (0..(read + 1).saturating_sub(LEN)).filter(|n| is_mark(n) && !is_own(n)).count();
                bytes.fill(0);
            }
        }
        count
    }

    #[tokio::test]
    async fn p5_a_recovery_code_that_goes_through_the_writers_hands_leaves_no_copy() {
        let writer = writer();
        let code = RecoveryCode::generate(&mut Marked);
        assert_eq!(marked(), 1);
        let mut tries = 0;
        let finish = move |_: &mut Random| {
            tries += 1;
            black_box(&code);
            if tries < 3 { Err(VaultError::Busy) } else { Ok(()) }
        };
        writer.when_free(finish).await.unwrap();
        writer.run(|_| ()).await.unwrap();
        assert_eq!(marked(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn t52_a_change_waits_for_another_process_and_not_for_ever() {
        let writer = writer();
        let mut tries = 0;
        let busy_at_first = move |_: &mut Random| {
            tries += 1;
            if tries < 4 { Err(VaultError::Busy) } else { Ok(tries) }
        };
        assert_eq!(writer.when_free(busy_at_first).await.unwrap(), 4);
        let (say, said) = mpsc::channel();
        let always_busy = move |_: &mut Random| {
            say.send(()).unwrap();
            Err::<(), _>(VaultError::Busy)
        };
        let ended = writer.when_free(always_busy).await.unwrap_err();
        assert_eq!(ended.reason, "vault_folder");
        assert_eq!(said.try_iter().count() as u128, OTHERS_WAIT.as_millis() / STEP.as_millis() + 1);
    }
}
