//! `docs/protocol.md` holds recorded lines of the protocol, and shows all of it.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
};

use hw_tests::harness::{EmulatedReach, Home};
use serde::{Serialize, de::DeserializeOwned};
use touchlease::{
    encoding::{Digest, words::four_words},
    lease::text::{LeaseText, Text},
    wire::{Answer, Call, Event, Reply, Request, TouchState, codec, request::Manage},
};

use super::{blocks, page};

/// The lines shown, told apart by the word that they begin with.
fn lines() -> Vec<String> {
    let page = page("protocol.md");
    blocks(&page, "json")
        .iter()
        .flat_map(|block| block.lines())
        .map(str::to_owned)
        .collect()
}

fn round_trip<T: Serialize + DeserializeOwned>(line: &str) {
    let message: T = codec::decode(line.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{line}"));
    let again = codec::encode(&message).unwrap();
    assert_eq!(String::from_utf8_lossy(&again), format!("{line}\n"));
}

#[test]
fn every_line_of_the_page_is_read_and_written_again_byte_for_byte() {
    let lines = lines();
    assert!(lines.len() > 50, "{}", lines.len());
    for line in &lines {
        match line.as_str() {
            line if line.starts_with("{\"v\":") => round_trip::<Call>(line),
            line if line.starts_with("{\"answer\":") => round_trip::<Answer>(line),
            line if line.starts_with("{\"event\":") => round_trip::<Event>(line),
            line if line.starts_with("{\"reply\":") => round_trip::<Reply>(line),
            line => panic!("no message: {line}"),
        }
    }
}

#[test]
fn the_lease_texts_of_the_page_are_what_is_signed_today() {
    let mut texts = vec![];
    for line in lines() {
        if let Ok(Event::Prompt(view)) = codec::decode(line.as_bytes()) {
            texts.push(view.text);
        }
        if let Ok(Reply::Lease { text, lease, .. }) = codec::decode(line.as_bytes()) {
            assert_eq!(lease.words, four_words(&Digest::of(text.as_bytes())));
            texts.push(text);
        }
    }
    assert!(texts.len() >= 2, "{texts:?}");
    for text in texts {
        LeaseText::decode(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
}

#[test]
fn every_message_of_the_protocol_is_shown() {
    let page = lines().join("\n");
    for (tag, words) in [
        ("do", words::<Request>("do")),
        ("manage", words::<Manage>("manage")),
        ("event", words::<Event>("event")),
        ("state", words::<TouchState>("state")),
        ("answer", words::<Answer>("answer")),
        ("reply", words::<Reply>("reply")),
    ] {
        assert!(words.len() > 3, "{tag}: {words:?}");
        for word in words {
            assert!(page.contains(&format!("\"{tag}\":\"{word}\"")), "{tag} {word} is not shown");
        }
    }
}

#[test]
fn a_program_that_knows_the_page_alone_is_answered() {
    let home = Home::new("touchlease").unwrap();
    let _daemon = home.daemon(EmulatedReach::default()).unwrap();
    let ask = |line: &str| {
        let mut stream = UnixStream::connect(home.places().unwrap().socket()).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    };
    let shown = lines();
    let looking = |word: &str| {
        let call = shown.iter().find(|line| line.contains(&format!("\"request\":{{\"do\":\"{word}\"")));
        ask(call.unwrap())
    };
    assert!(looking("status").starts_with("{\"reply\":\"status\",\"version\":"));
    assert_eq!(looking("key_list"), "{\"reply\":\"keys\",\"keys\":[]}\n");
    assert!(looking("list").contains("\"reason\":\"no_vault\""));
    assert_eq!(looking("lock"), "{\"reply\":\"ended\",\"ids\":[]}\n");
    for (call, reason) in [
        ("{\"v\":2,\"request\":{\"do\":\"status\"}}", "protocol_version"),
        ("{\"v\":1,\"request\":{\"do\":\"list\",\"scope\":null},\"more\":1}", "protocol"),
        ("{\"v\":1,\"request\":{\"do\":\"list\",\"scope\":null,\"more\":1}}", "protocol"),
        ("{\"v\":1,\"request\":{\"do\":\"lease\",\"deliver\":false,\"more\":1}}", "protocol"),
        ("status", "protocol"),
    ] {
        let answer = ask(call);
        assert!(answer.contains(&format!("\"reason\":\"{reason}\"")), "{call}\n{answer}");
    }
}

/// The words that a tagged type knows: serde names them all when it is given another.
fn words<T: DeserializeOwned>(tag: &str) -> BTreeSet<String> {
    let error = codec::decode::<T>(format!("{{\"{tag}\":\"?\"}}").as_bytes())
        .err()
        .unwrap()
        .to_string();
    let known = error.split_once("expected one of ").expect("serde names the words").1;
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
