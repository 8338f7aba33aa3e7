//! The lines of `docs/protocol.md`, which a test of the suite reads and writes again byte for byte.

use super::blocks;

const PAGE: &str = include_str!("../../../../docs/protocol.md");

fn lines() -> Vec<&'static str> {
    blocks(PAGE, "json").into_iter().flat_map(str::lines).collect()
}

fn starting(starts: &[&str]) -> Vec<Vec<u8>> {
    let ours = lines()
        .into_iter()
        .filter(|line| starts.iter().any(|start| line.starts_with(start)));
    ours.map(|line| line.as_bytes().to_vec()).collect()
}

pub fn call() -> Vec<Vec<u8>> {
    starting(&["{\"v\":", "{\"answer\":"])
}

pub fn reply() -> Vec<Vec<u8>> {
    starting(&["{\"reply\":", "{\"event\":"])
}

pub fn lines_of_all() -> Vec<Vec<u8>> {
    vec![
        [b"\x07", lines().join("\n").as_bytes()].concat(),
        b"\x02{\"a\":1}\n\n{\"b\":2}\nrest".to_vec(),
        [&[60; 120][..], b"\n"].concat(),
    ]
}

/// The texts in prompts and replies: what was signed.
pub fn prompts() -> Vec<Vec<u8>> {
    let text = |line: &str| {
        Some(
            serde_json::from_str::<serde_json::Value>(line)
                .ok()?
                .get("text")?
                .as_str()?
                .as_bytes()
                .to_vec(),
        )
    };
    lines().into_iter().filter_map(text).collect()
}
