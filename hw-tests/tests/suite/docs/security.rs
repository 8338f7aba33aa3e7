//! The tests that `docs/security.md` names exist.

use std::{fs, path::Path};

use super::{page, repository};

#[test]
fn every_test_that_the_security_page_names_exists() {
    let mut source = String::new();
    for folder in ["src", "hw-tests"] {
        read(&repository().join(folder), &mut source);
    }
    let page = page("security.md");
    let named: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.matches('_').count() > 4)
        .collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(source.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}

fn read(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
