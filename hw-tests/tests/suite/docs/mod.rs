//! What the pages in `docs/` say is what the program does.

pub mod cli;
mod emulated_keys;
mod files;
mod findings;
mod hints;
mod outcomes;
mod security;
mod tasks;
mod wire;

use std::{fs, path::PathBuf};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub fn page(name: &str) -> String {
    let path = repository().join("docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The commands of docs/verify.md, for receipts of changes.
pub fn verify_a_change() -> String {
    blocks(&page("verify.md"), "sh").concat().replace("of=lease", "of=change")
}

/// The fenced blocks of `page` in `language`, without their fences.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let mut blocks = vec![];
    for part in page.split(&fence).skip(1) {
        let (block, _) = part.split_once("```").expect("the block ends");
        blocks.push(block.to_owned());
    }
    blocks
}
