//! Ids of leases, changes and other texts that were signed, named by their first digits.

use thiserror::Error;

/// Fewest digits by which one is named: with fewer, the next one to come may begin so too.
pub const FEWEST_DIGITS: usize = 4;
/// Ids that an error names.
const NAMED: usize = 8;

/// Why what was typed names no id.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum IdError {
    /// Fewer digits than [`FEWEST_DIGITS`].
    #[error("an id is named by its first {FEWEST_DIGITS} digits or more")]
    Short,
    /// None begins so.
    #[error("no id begins so")]
    None,
    /// Several begin so.
    #[error("{} ids begin so: {}", .0.len(), some(.0))]
    Several(Vec<String>),
}

/// The one of `ids` that is `typed`, or begins so.
///
/// # Errors
/// See [`IdError`].
pub fn named<I: AsRef<str>>(ids: impl IntoIterator<Item = I>, typed: &str) -> Result<String, IdError> {
    if typed.len() < FEWEST_DIGITS {
        return Err(IdError::Short);
    }
    let mut found: Vec<String> = ids
        .into_iter()
        .filter(|id| id.as_ref().starts_with(typed))
        .map(|id| id.as_ref().to_owned())
        .collect();
    found.sort_unstable();
    found.dedup();
    match (found.len(), found.iter().position(|id| id == typed)) {
        (0, _) => Err(IdError::None),
        (1, _) => Ok(found.swap_remove(0)),
        (_, Some(whole)) => Ok(found.swap_remove(whole)),
        _ => Err(IdError::Several(found)),
    }
}

fn some(ids: &[String]) -> String {
    let more = if ids.len() > NAMED { " ..." } else { "" };
    format!("{}{more}", ids[..ids.len().min(NAMED)].join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 4] = ["c791cb53", "c791ffff", "79d5565f", "79d5565f00"];

    #[test]
    fn an_id_is_named_by_as_many_digits_as_tell_it_apart() {
        assert_eq!(named(IDS, "c791c"), Ok("c791cb53".into()));
        assert_eq!(named(IDS, "79d5565f"), Ok("79d5565f".into()), "all of it");
        assert_eq!(named(IDS, "c79"), Err(IdError::Short));
        assert_eq!(named(IDS, ""), Err(IdError::Short));
        assert_eq!(named(IDS, "c7920"), Err(IdError::None));
        let both = named(IDS, "c791").map_err(|error| error.to_string());
        assert_eq!(both, Err("2 ids begin so: c791cb53 c791ffff".into()));
        assert_eq!(named(["c791cb53"; 2], "c791"), Ok("c791cb53".into()), "one that is listed twice");
    }
}
