//! The tables of exit codes and reasons in `docs/outcomes.md` are those of the source.

use std::{collections::BTreeSet, fs, path::Path};

use touchlease::wire::Outcome;

use super::{page, repository};

/// Cells of the page's tables whose rows begin with a number or a word in backquotes.
fn rows() -> Vec<Vec<String>> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
    let page = page("outcomes.md");
    page.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

fn word(outcome: Outcome) -> String {
    serde_json::to_value(outcome).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn the_exit_codes_are_those_of_the_program() {
    let shown: BTreeSet<(String, String)> = rows()
        .into_iter()
        .filter(|row| row[0].parse::<u8>().is_ok())
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let words = serde_json::from_str::<Outcome>("\"?\"").err().unwrap().to_string();
    let words = words.split_once("expected one of ").unwrap().1;
    let of_the_program: BTreeSet<(String, String)> = words
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|word| serde_json::from_value::<Outcome>(word.into()).unwrap())
        .map(|outcome| (outcome.exit_code().to_string(), word(outcome)))
        .collect();
    assert_eq!(shown, of_the_program);
}

#[test]
fn every_reason_in_the_source_is_in_the_table_and_none_besides() {
    let mut of_the_source = BTreeSet::new();
    sources(&repository().join("src"), &mut |text| reasons(text, &mut of_the_source));
    assert!(of_the_source.len() > 80, "{}", of_the_source.len());
    let shown: BTreeSet<(String, String)> = rows()
        .into_iter()
        .filter(|row| row[0].parse::<u8>().is_err())
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let missing: Vec<_> = of_the_source.difference(&shown).collect();
    let superfluous: Vec<_> = shown.difference(&of_the_source).collect();
    assert!(
        missing.is_empty() && superfluous.is_empty(),
        "not in docs/outcomes.md: {missing:?}\nno longer in the source: {superfluous:?}"
    );
}

#[test]
fn every_reason_that_the_proxy_answers_with_is_in_its_page() {
    let page = page("proxy.md");
    let mut reasons = BTreeSet::new();
    sources(&repository().join("src/deliver/proxy"), &mut |text| {
        let code = text.split("#[cfg(test)]").next().unwrap();
        for call in [
            "rule(",
            "malformed(",
            "refuse(",
            "bad_gateway(",
            "STATUS, ",
            "GATEWAY_TIMEOUT, ",
            "BAD_GATEWAY, ",
        ] {
            reasons.extend(code.split(call).skip(1).filter_map(literal));
        }
        reasons.extend(
            code.split("=> \"")
                .skip(1)
                .filter_map(|rest| literal(&format!("\"{rest}")))
                .filter(|word| word.contains('_')),
        );
        reasons.extend(code.split('"').filter(|word| word.starts_with("placeholder_")).map(str::to_owned));
    });
    assert!(reasons.len() > 20, "{reasons:?}");
    let missing: Vec<_> = reasons.iter().filter(|reason| !page.contains(&format!("`{reason}`"))).collect();
    assert!(missing.is_empty(), "not in docs/proxy.md: {missing:?}");
}

pub fn sources(folder: &Path, look: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && (path.ends_with("tests") || path.ends_with("deliver/proxy")) {
            // What tests call by such names is no reason of the program; what the proxy answers is in a page of its own.
            continue;
        } else if path.is_dir() {
            sources(&path, look);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            look(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// Pairs of reason and outcome, as they stand next to each other in the source, tests left out.
fn reasons(text: &str, found: &mut BTreeSet<(String, String)>) {
    let code = text.split("#[cfg(test)]").next().unwrap();
    // Helpers that fix the outcome, and `Outcome::X, "reason"` itself.
    for (before, outcome) in [
        ("refuse(", "refused"),
        ("internal(", "internal"),
        ("broken(", "no_daemon"),
        ("Failure::new(outcome, ", "denied"),
    ] {
        for rest in code.split(before).skip(1) {
            found.extend(literal(rest).map(|reason| (reason, outcome.to_owned())));
        }
    }
    for rest in code.split("Outcome::").skip(1) {
        let Some((variant, rest)) = rest.split_once(|c: char| !c.is_alphanumeric()) else {
            continue;
        };
        found.extend(literal(rest).map(|reason| (reason, snake(variant))));
    }
}

/// A string that stands right here, in snake_case.
pub fn literal(text: &str) -> Option<String> {
    let text = text.trim_start_matches([',', ' ', '\n']).strip_prefix('"')?;
    let (literal, _) = text.split_once('"')?;
    let plain = !literal.is_empty() && literal.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    plain.then(|| literal.to_owned())
}

fn snake(variant: &str) -> String {
    let mut word = String::new();
    for c in variant.chars() {
        if c.is_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.extend(c.to_lowercase());
    }
    word
}
