//! The one thread that writes into vaults: a change takes as long as it takes, and whoever ends a lease does not wait for it (P4).
//!
//! What is begun there is done there, whether or not the requester waits for it, with values of its own. Changes are made one after
//! the other; the folder's lock keeps other processes away.

use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::failure::{IntoFailure, internal};
use crate::vault::{Random, VaultError};
use crate::wire::Failure;

/// How long, and in which steps, a change waits for another process that writes to the vault.
const OTHERS_WAIT: Duration = Duration::from_secs(30);
const OTHERS_STEP: Duration = Duration::from_millis(50);

/// Its name, by which it is found in `/proc/PID/task`.
pub const THREAD: &str = "writer";

type Work = Box<dyn FnOnce(&mut Random) + Send>;

/// Hands work to the thread, which ends with it.
pub struct Writer {
    work: Sender<Work>,
}

impl Writer {
    /// Starts the thread, with a source of randomness of its own.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn start(random: fn() -> Box<Random>) -> std::io::Result<Self> {
        let (work, works) = channel::<Work>();
        thread::Builder::new().name(THREAD.into()).spawn(move || {
            let mut random = random();
            works.into_iter().for_each(|work| work(&mut *random));
        })?;
        Ok(Self { work })
    }

    /// Does `work` once what was begun before it is done. Where this is dropped meanwhile, `work` is done all the same.
    ///
    /// # Errors
    /// The thread is gone.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut Random) -> T + Send + 'static) -> Result<T, Failure> {
        let (tell, told) = oneshot::channel();
        let work = |random: &mut Random| {
            // Whoever asked may have gone.
            let _ = tell.send(work(random));
        };
        self.work.send(Box::new(work)).map_err(gone)?;
        told.await.map_err(gone)
    }

    /// Does `work`, which needs the vault to itself, and tries again while another process writes to it.
    ///
    /// # Errors
    /// What `work` says, [`VaultError::Busy`] when the other one does not come to an end; as [`Writer::run`].
    pub async fn when_free<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&mut Random) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, Failure> {
        let mut waited = Duration::ZERO;
        loop {
            let attempt = move |random: &mut Random| {
                let done = work(random);
                (work, done)
            };
            let (back, done) = self.run(attempt).await?;
            match done {
                Err(VaultError::Busy) if waited < OTHERS_WAIT => {
                    work = back;
                    tokio::time::sleep(OTHERS_STEP).await;
                    waited += OTHERS_STEP;
                }
                done => return done.map_err(IntoFailure::failure),
            }
        }
    }

    /// Waits until what was begun is done.
    pub async fn finish(&self) {
        // A thread that is gone has nothing left to do.
        let _ = self.run(|_| ()).await;
    }
}

fn gone<E: std::fmt::Display>(error: E) -> Failure {
    internal("writer", error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::pin::pin;
    use std::sync::mpsc;
    use std::sync::{Arc, Mutex};

    use tokio::task::yield_now;

    use super::*;
    use crate::vault::random;

    fn writer() -> Writer {
        Writer::start(|| Box::new(random::system())).unwrap()
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
    async fn p9_what_was_begun_is_done_whoever_goes_away_and_one_after_the_other() {
        let (writer, seen) = (writer(), Arc::new(Mutex::new(vec![])));
        let (begun, is_begun) = mpsc::channel();
        let (go_on, told) = mpsc::channel();
        let first = {
            let seen = seen.clone();
            move |_: &mut Random| {
                begun.send(()).unwrap();
                told.recv().unwrap();
                seen.lock().unwrap().push("first");
            }
        };
        let second = {
            let seen = seen.clone();
            move |_: &mut Random| seen.lock().unwrap().push("second")
        };
        {
            let mut asked = pin!(writer.run(first));
            tokio::select! {
                biased;
                _ = &mut asked => panic!("nobody let it end"),
                () = yield_now() => {}
            }
            is_begun.recv().unwrap();
        }
        let second = writer.run(second);
        go_on.send(()).unwrap();
        second.await.unwrap();
        assert_eq!(*seen.lock().unwrap(), ["first", "second"]);
        writer.finish().await;
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
        let ended = writer.when_free(|_| Err::<(), _>(VaultError::Busy)).await.unwrap_err();
        assert_eq!(ended.reason, "vault_folder");
    }
}
