//! The cases, by what they are about.

mod audit;
mod keys;
mod leases;
mod pins;
mod touches;
mod vault;

use super::Case;

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    [keys::CASES, vault::CASES, leases::CASES, touches::CASES, pins::CASES, audit::CASES].concat()
}

/// Fails the case with this sentence unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(format!($($why)+).into());
        }
    };
}
pub(super) use ensure;

/// A program's end with this exit code and, in its error, this sentence.
fn ended(output: &std::process::Output, code: i32, sentence: &str) -> super::Verdict {
    let said = super::machine::said(output);
    ensure!(output.status.code() == Some(code), "not {code}: {said}");
    ensure!(said.contains(sentence), "not {sentence:?}: {said}");
    Ok(())
}

/// Waits until this holds, as long as anything may take that needs no person.
fn eventually(otherwise: &str, holds: impl FnMut() -> Result<bool, Box<dyn std::error::Error>>) -> super::Verdict {
    within(super::machine::LIMIT, otherwise, holds)
}

/// The same, for what would hold late by itself.
fn within(
    limit: std::time::Duration,
    otherwise: &str,
    mut holds: impl FnMut() -> Result<bool, Box<dyn std::error::Error>>,
) -> super::Verdict {
    let since = std::time::Instant::now();
    while !holds()? {
        ensure!(since.elapsed() < limit, "{otherwise}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let mut names: Vec<_> = all().into_iter().map(|case| case.name).collect();
        let cases = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases);
    }
}
