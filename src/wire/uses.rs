//! How often something may be used, as it is asked for.

use serde::{Deserialize, Serialize};

/// So many times at most, a number; or as often as time allows, `"any"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub enum Uses {
    /// At most.
    Most(u32),
    /// Time is the only limit.
    Any,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "uses are a number or \"any\"")]
enum Written {
    Most(u32),
    Word(Word),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Any,
}

impl From<Written> for Uses {
    fn from(written: Written) -> Self {
        match written {
            Written::Most(most) => Self::Most(most),
            Written::Word(Word::Any) => Self::Any,
        }
    }
}

impl From<Uses> for Written {
    fn from(uses: Uses) -> Self {
        match uses {
            Uses::Most(most) => Self::Most(most),
            Uses::Any => Self::Word(Word::Any),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn uses_are_a_number_or_any_and_nothing_else() {
        for (uses, text) in [(Uses::Most(20), "20"), (Uses::Any, "\"any\"")] {
            assert_eq!(serde_json::to_string(&uses).unwrap(), text);
            assert_eq!(serde_json::from_str::<Uses>(text).unwrap(), uses);
        }
        for text in ["\"Any\"", "\"20\"", "-1", "4294967296", "1.0", "null", "[]"] {
            let error = serde_json::from_str::<Uses>(text).unwrap_err().to_string();
            assert!(error.contains("a number or \"any\""), "{error}");
        }
    }
}
