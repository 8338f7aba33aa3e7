//! Command APDUs (ISO 7816-4, 5.1), short and extended.

/// A status word.
pub type Status = u16;

/// Success.
pub const OK: Status = 0x9000;
/// NFCCTAP: not finished, one byte of status follows (CTAP 2.1, 11.3.7.2).
pub const KEEPALIVE: Status = 0x9100;
/// More of the answer is to be had with GET RESPONSE; the low byte says how much.
pub const MORE: Status = 0x6100;
/// The lengths do not fit.
pub const WRONG_LENGTH: Status = 0x6700;
/// Not now.
pub const CONDITIONS_NOT_SATISFIED: Status = 0x6985;
/// No such application.
pub const NOT_FOUND: Status = 0x6a82;
/// P1 or P2 is wrong.
pub const WRONG_P1_P2: Status = 0x6a86;
/// The instruction is not known.
pub const UNKNOWN_INSTRUCTION: Status = 0x6d00;

/// The instruction GET RESPONSE (ISO 7816-4, 7.6.1).
pub const GET_RESPONSE: u8 = 0xc0;

/// The bit of the class byte that says that more of the command follows.
pub const CHAINING: u8 = 0x10;

/// A command, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command<'a> {
    /// The class byte.
    pub class: u8,
    /// The instruction.
    pub instruction: u8,
    /// The first parameter.
    pub p1: u8,
    /// The second one.
    pub p2: u8,
    /// The data.
    pub data: &'a [u8],
    /// How much of an answer is wanted at most; 0 if none is.
    pub expected: usize,
    /// Whether its lengths have the extended form.
    pub extended: bool,
}

impl<'a> Command<'a> {
    /// Takes a command apart; `None` if its lengths do not fit.
    pub fn parse(apdu: &'a [u8]) -> Option<Self> {
        let (&[class, instruction, p1, p2], body) = apdu.split_first_chunk()?;
        let (data, expected, extended): (&[u8], _, _) = match *body {
            [] => (&[], 0, false),
            [le] => (&[], short(le), false),
            [0, high, low] => (&[], long(high, low), true),
            [0, high, low, ref rest @ ..] => {
                let (data, le) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())?;
                match *le {
                    [] => (data, 0, true),
                    [high, low] => (data, long(high, low), true),
                    _ => return None,
                }
            }
            [lc, ref rest @ ..] => {
                let (data, le) = rest.split_at_checked(lc.into())?;
                match *le {
                    [] => (data, 0, false),
                    [le] => (data, short(le), false),
                    _ => return None,
                }
            }
        };
        Some(Self {
            class,
            instruction,
            p1,
            p2,
            data,
            expected,
            extended,
        })
    }
}

/// Commands and answers longer than one APDU: command chaining and GET RESPONSE (ISO 7816-4, 5.1.1 and 7.6.1).
#[derive(Debug, Default)]
pub struct Chaining {
    command: Vec<u8>,
    answer: Vec<u8>,
    status: Status,
}

impl Chaining {
    /// Answers one APDU; `execute` gets each command once it is whole.
    pub fn transmit(&mut self, apdu: &[u8], execute: impl FnOnce(&Command<'_>) -> (Vec<u8>, Status)) -> Vec<u8> {
        let Some(command) = Command::parse(apdu) else {
            return answer(&[], WRONG_LENGTH);
        };
        let fetches = command.instruction == GET_RESPONSE && !self.answer.is_empty();
        if !fetches {
            self.command.extend_from_slice(command.data);
            if command.class & CHAINING != 0 {
                return answer(&[], OK);
            }
            let whole = std::mem::take(&mut self.command);
            (self.answer, self.status) = execute(&Command { data: &whole, ..command });
        }
        self.part(command.expected)
    }

    /// As much of the answer as the command asked for; GET RESPONSE fetches the rest.
    fn part(&mut self, expected: usize) -> Vec<u8> {
        let limit = match expected {
            0 => 256, // a command without Le still gets its answer, as from real keys
            limit => limit,
        };
        let rest = self.answer.split_off(limit.min(self.answer.len()));
        let part = std::mem::replace(&mut self.answer, rest);
        match self.answer.len() {
            0 => answer(&part, self.status),
            left @ 1..256 => answer(&part, MORE | left as Status),
            _ => answer(&part, MORE),
        }
    }
}

/// An answer: data, then the status word.
pub fn answer(data: &[u8], status: Status) -> Vec<u8> {
    [data, &status.to_be_bytes()].concat()
}

fn short(le: u8) -> usize {
    if le == 0 { 256 } else { le.into() }
}

fn long(high: u8, low: u8) -> usize {
    match u16::from_be_bytes([high, low]) {
        0 => 65536,
        le => le.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(apdu: &[u8]) -> Option<(usize, usize, bool)> {
        Command::parse(apdu).map(|command| (command.data.len(), command.expected, command.extended))
    }

    #[test]
    fn all_seven_forms_of_iso_7816_are_read() {
        let head = [0x80, 0x10, 0x80, 0x00];
        let apdu = |body: &[u8]| lengths(&[&head, body].concat());
        assert_eq!(apdu(&[]), Some((0, 0, false)));
        assert_eq!(apdu(&[0]), Some((0, 256, false)));
        assert_eq!(apdu(&[2, 7, 7]), Some((2, 0, false)));
        assert_eq!(apdu(&[2, 7, 7, 9]), Some((2, 9, false)));
        assert_eq!(apdu(&[0, 0, 0]), Some((0, 65536, true)));
        assert_eq!(apdu(&[0, 0, 2, 7, 7]), Some((2, 0, true)));
        assert_eq!(apdu(&[0, 0, 2, 7, 7, 1, 0]), Some((2, 256, true)));
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        for apdu in [
            &[0; 3][..],
            &[0, 0, 0, 0, 3, 1, 1],
            &[0, 0, 0, 0, 1, 1, 1, 1],
            &[0, 0, 0, 0, 0, 0, 9, 1],
        ] {
            assert_eq!(Command::parse(apdu), None);
        }
    }
}
