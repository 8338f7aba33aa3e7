//! What daemons of this process drew at random, for a test that looks where it went: private keys are made of that, and nobody is told.

use std::convert::Infallible;
use std::sync::Mutex;

use touchlease::vault::random::{Random, system};
use vault_random::{Rng, TryCryptoRng, TryRng};

/// Longest draw that is kept: keys are shorter.
const LONGEST: usize = 64;

static DRAWN: Mutex<Option<Vec<Vec<u8>>>> = Mutex::new(None);

/// Keeps what is drawn from now on.
pub fn keep() {
    *DRAWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(vec![]);
}

/// What was drawn since.
#[must_use]
pub fn drawn() -> Vec<Vec<u8>> {
    DRAWN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone()
        .unwrap_or_default()
}

/// The system's source, looked at where a test wants that.
#[must_use]
pub fn source() -> Box<Random> {
    Box::new(Watched(system()))
}

struct Watched<R>(R);

impl<R: Rng> TryRng for Watched<R> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(bytes);
        let mut drawn = DRAWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(drawn) = drawn.as_mut().filter(|_| bytes.len() <= LONGEST) {
            drawn.push(bytes.to_vec());
        }
        Ok(())
    }
}

impl<R: Rng> TryCryptoRng for Watched<R> {}
