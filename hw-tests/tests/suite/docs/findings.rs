//! The table of findings in `docs/daemon.md` is that of the source.

use std::collections::BTreeSet;

use super::{
    outcomes::{literal, sources},
    page, repository,
};

#[test]
fn every_finding_of_the_doctor_is_in_the_table_and_none_besides() {
    let mut of_the_source = BTreeSet::new();
    sources(&repository().join("src"), &mut |text| {
        let code = text.split("#[cfg(test)]").next().unwrap();
        if code.contains("finding::{") {
            for call in ["ok(", "note(", "warning(", "problem("] {
                of_the_source.extend(code.split(call).skip(1).filter_map(literal));
            }
        }
    });
    assert!(of_the_source.len() > 50, "{}", of_the_source.len());
    let page = page("daemon.md");
    let table = page.split("## touchlease doctor").nth(1).unwrap().split("\n## ").next().unwrap();
    let shown: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(reason, _)| reason.to_owned())
        .collect();
    let missing: Vec<_> = of_the_source.difference(&shown).collect();
    let superfluous: Vec<_> = shown.difference(&of_the_source).collect();
    assert!(
        missing.is_empty() && superfluous.is_empty(),
        "not in docs/daemon.md: {missing:?}\nno longer in the source: {superfluous:?}"
    );
}
