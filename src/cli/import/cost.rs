//! What a KeePass database asks of whoever opens it, read from its outer header before anything is computed.
//!
//! The header is in the clear, and whoever made the file chose it: 64 GiB of memory, days of computing. The forms are those of
//! <https://keepass.info/help/kb/kdbx.html> (KDBX 3.1 and 4) and of KDB. A field that has to have a size has it here, or the file is
//! damaged: what reads it later counts on that.

use std::fmt;

/// The first eight bytes: signature and kind (KDB, KDBX).
const SIGNATURE: [u8; 4] = [0x03, 0xd9, 0xa2, 0x9a];
const KDB: u32 = 0xb54b_fb65;
const KDBX: u32 = 0xb54b_fb67;
/// Where KDB has its number of rounds.
const KDB_ROUNDS: usize = 120;

const MOST_MEMORY: u64 = 1 << 30;
const MOST_ITERATIONS: u64 = 10_000;
/// Bytes that Argon2 fills in all its iterations: a minute or two.
const MOST_FILLED: u64 = 64 << 30;
const MOST_LANES: u64 = 64;
/// Half a minute where the processor has instructions for AES.
const MOST_ROUNDS: u64 = 500_000_000;

/// Why a database is not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Costs {
    /// Its header is not in the known form.
    Damaged,
    /// Its key derivation takes more than is given.
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much it asks for.
        asked: u64,
        /// How much is given.
        most: u64,
    },
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => write!(f, "its header is damaged, or of a version that is not known"),
            Self::TooMuch { what, asked, most } => write!(f, "its key derivation asks for {asked} {what}; here it gets {most} at most"),
        }
    }
}

/// Whether a database can be opened with what a desktop machine has.
///
/// # Errors
/// See [`Costs`].
pub fn check(database: &[u8]) -> Result<(), Costs> {
    let mut rest = Bytes(database);
    if rest.take(4)? != SIGNATURE {
        return Err(Costs::Damaged);
    }
    match (rest.u32()?, rest.u32()? >> 16) {
        (KDB, _) => Bytes(database.get(KDB_ROUNDS..).unwrap_or_default())
            .u32()
            .map(u64::from)
            .and_then(rounds),
        (KDBX, 3) => kdbx3(rest),
        (KDBX, 4) => kdbx4(rest),
        _ => Err(Costs::Damaged),
    }
}

fn kdbx3(mut rest: Bytes<'_>) -> Result<(), Costs> {
    loop {
        let kind = rest.u8()?;
        let len = rest.u16()?;
        let mut field = Bytes(rest.take(len.into())?);
        match kind {
            0 => return Ok(()),
            // Compression, the cipher of protected values.
            3 | 10 => field.u32().map(drop).and_then(|()| field.end())?,
            // Rounds of AES.
            6 => {
                rounds(field.u64()?)?;
                field.end()?;
            }
            _ => {}
        }
    }
}

fn kdbx4(mut rest: Bytes<'_>) -> Result<(), Costs> {
    loop {
        let kind = rest.u8()?;
        let len = rest.u32()?;
        let mut field = Bytes(rest.take(len as usize)?);
        match kind {
            0 => return Ok(()),
            // Compression.
            3 => field.u32().map(drop).and_then(|()| field.end())?,
            // Parameters of the key derivation.
            11 => derivation(field)?,
            // Of plugins, in the same form.
            12 => dictionary(field, |_, _| Ok(()))?,
            _ => {}
        }
    }
}

fn derivation(field: Bytes<'_>) -> Result<(), Costs> {
    let (mut memory, mut iterations) = (0, 0);
    dictionary(field, |name, value| {
        let value = match name {
            b"M" | b"I" | b"P" | b"R" => number(value)?,
            _ => return Ok(()),
        };
        match name {
            b"M" => (memory = value, most("bytes of memory", value, MOST_MEMORY)).1,
            b"I" => (iterations = value, most("iterations", value, MOST_ITERATIONS)).1,
            b"P" => most("threads", value, MOST_LANES),
            _ => rounds(value),
        }
    })?;
    most("bytes to be filled", memory.saturating_mul(iterations), MOST_FILLED)
}

fn rounds(rounds: u64) -> Result<(), Costs> {
    most("rounds of AES", rounds, MOST_ROUNDS)
}

fn most(what: &'static str, asked: u64, most: u64) -> Result<(), Costs> {
    if asked <= most {
        Ok(())
    } else {
        Err(Costs::TooMuch { what, asked, most })
    }
}

/// A `VariantDictionary`: type, name, value, each of the last two behind its length; type 0 ends it.
fn dictionary<'a>(mut rest: Bytes<'a>, mut each: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), Costs>) -> Result<(), Costs> {
    if rest.u16()? != 0x0100 {
        return Err(Costs::Damaged);
    }
    loop {
        let kind = rest.u8()?;
        if kind == 0 {
            return Ok(());
        }
        let len = rest.u32()?;
        let name = rest.take(len as usize)?;
        let len = rest.u32()?;
        let value = rest.take(len as usize)?;
        let fits = match kind {
            // 32 bits, 64 bits, yes or no.
            0x04 | 0x0c => value.len() == 4,
            0x05 | 0x0d => value.len() == 8,
            0x08 => value.len() == 1,
            _ => true,
        };
        if !fits {
            return Err(Costs::Damaged);
        }
        each(name, value)?;
    }
}

fn number(value: &[u8]) -> Result<u64, Costs> {
    match *value {
        [_, _, _, _] => Bytes(value).u32().map(u64::from),
        [_, _, _, _, _, _, _, _] => Bytes(value).u64(),
        _ => Err(Costs::Damaged),
    }
}

/// What is left to be read; numbers are little-endian.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Costs> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Costs::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Costs> {
        self.take(N)?.try_into().map_err(|_| Costs::Damaged)
    }

    fn u8(&mut self) -> Result<u8, Costs> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, Costs> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Costs> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Costs> {
        self.array().map(u64::from_le_bytes)
    }

    fn end(&self) -> Result<(), Costs> {
        if self.0.is_empty() { Ok(()) } else { Err(Costs::Damaged) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn start(kind: u32, version: u16) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend(kind.to_le_bytes());
        bytes.extend([1, 0]);
        bytes.extend(version.to_le_bytes());
        bytes
    }

    fn kdbx3(fields: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = start(KDBX, 3);
        for (kind, field) in fields.iter().chain([&(0, &b""[..])]) {
            bytes.push(*kind);
            bytes.extend(u16::try_from(field.len()).unwrap().to_le_bytes());
            bytes.extend(*field);
        }
        bytes
    }

    fn kdbx4(parameters: &[(u8, &str, &[u8])]) -> Vec<u8> {
        let mut dictionary = vec![0, 1];
        for (kind, name, value) in parameters {
            dictionary.push(*kind);
            for part in [name.as_bytes(), value] {
                dictionary.extend(u32::try_from(part.len()).unwrap().to_le_bytes());
                dictionary.extend(part);
            }
        }
        dictionary.push(0);
        let mut bytes = start(KDBX, 4);
        for (kind, field) in [(3, &[1, 0, 0, 0][..]), (11, &dictionary), (0, b"\r\n\r\n")] {
            bytes.push(kind);
            bytes.extend(u32::try_from(field.len()).unwrap().to_le_bytes());
            bytes.extend(field);
        }
        bytes
    }

    fn argon2(memory: u64, iterations: u64, lanes: u32) -> Result<(), Costs> {
        check(&kdbx4(&[
            (0x42, "$UUID", &[7; 16]),
            (0x05, "M", &memory.to_le_bytes()),
            (0x05, "I", &iterations.to_le_bytes()),
            (0x04, "P", &lanes.to_le_bytes()),
        ]))
    }

    fn refused(result: Result<(), Costs>) -> &'static str {
        match result {
            Err(Costs::TooMuch { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_keepass_programs_write_is_opened() {
        for (memory, iterations, lanes) in [(64 << 20, 2, 2), (1 << 20, 50, 4), (1 << 30, 64, 64), (64 << 20, 1024, 8)] {
            assert_eq!(argon2(memory, iterations, lanes), Ok(()));
        }
        assert_eq!(check(&kdbx4(&[(0x05, "R", &60_000_000u64.to_le_bytes())])), Ok(()));
        assert_eq!(check(&kdbx3(&[(6, &6_000_000u64.to_le_bytes()), (3, &[1, 0, 0, 0])])), Ok(()));
    }

    #[test]
    fn p13_a_key_derivation_that_takes_all_memory_or_all_day_is_refused_with_what_it_asks_for() {
        assert_eq!(refused(argon2((1 << 30) + 1, 1, 1)), "bytes of memory");
        assert_eq!(refused(argon2(u64::MAX, u64::MAX, 1)), "bytes of memory");
        assert_eq!(refused(argon2(1 << 20, 10_001, 1)), "iterations");
        assert_eq!(refused(argon2(1 << 30, 65, 1)), "bytes to be filled");
        assert_eq!(refused(argon2(1 << 20, 2, 65)), "threads");
        let rounds = u64::MAX.to_le_bytes();
        assert_eq!(refused(check(&kdbx4(&[(0x05, "R", &rounds)]))), "rounds of AES");
        assert_eq!(refused(check(&kdbx3(&[(6, &rounds)]))), "rounds of AES");
        // The last of two of one name counts for whoever reads it later.
        assert_eq!(
            refused(check(&kdbx3(&[(6, &[1; 8]), (6, &rounds), (6, &[1, 0, 0, 0, 0, 0, 0, 0])]))),
            "rounds of AES"
        );
        let mut kdb = start(KDB, 4);
        kdb.resize(KDB_ROUNDS, 0);
        assert_eq!(check(&kdb), Err(Costs::Damaged));
        assert_eq!(check(&[&kdb[..], &[0, 0, 1, 0]].concat()), Ok(()));
        assert_eq!(refused(check(&[&kdb[..], &[0xff; 4]].concat())), "rounds of AES");
    }

    #[test]
    fn p13_a_field_without_its_size_and_every_cut_are_damage() {
        for bytes in [
            kdbx3(&[(6, &[1; 7])]),
            kdbx3(&[(3, &[1; 3])]),
            kdbx3(&[(10, &[])]),
            kdbx4(&[(0x05, "M", &[1; 4])]),
            kdbx4(&[(0x04, "X", &[1; 3])]),
            kdbx4(&[(0x42, "M", &[1; 9])]),
            start(KDBX, 5),
            b"PK\x03\x04 no database".to_vec(),
        ] {
            assert_eq!(check(&bytes), Err(Costs::Damaged), "{bytes:?}");
        }
        let whole = kdbx4(&[(0x05, "M", &[0, 0, 1, 0, 0, 0, 0, 0]), (0x05, "I", &[2, 0, 0, 0, 0, 0, 0, 0])]);
        assert_eq!(check(&whole), Ok(()));
        for len in 0..whole.len() - 4 {
            assert_eq!(check(&whole[..len]), Err(Costs::Damaged), "{len}");
        }
    }
}
