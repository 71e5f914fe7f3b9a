//! The situations of docs/troubleshooting, each played for real, and what tracer shows of it held
//! against the page ([`crate::support::page`] says how).
//!
//! The tracer runs on host b, which is the engineer's machine; host a is the rest of the world.

mod close;
mod flood;
mod handshake;
mod limits;
mod reset;

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::page;

/// Names this process, as far as the tracer on host b is concerned.
fn called(name: &str) {
    std::fs::write("/proc/self/comm", name).expect("/proc/self/comm");
}

/// The names of this folder's tests, as the test harness lists them.
fn tests() -> BTreeSet<String> {
    let exe = std::env::current_exe().expect("this program's path");
    let out = Command::new(exe).args(["--list", "--format=terse"]).output().expect("list tests");
    let list = String::from_utf8(out.stdout).expect("names");
    list.lines()
        .filter_map(|line| line.strip_suffix(": test")?.strip_prefix("troubleshooting::"))
        .filter_map(|name| Some(name.split_once("::")?.1.to_owned()))
        .collect()
}

#[test]
fn every_output_of_tracer_has_a_test_and_every_page_has_one() {
    let mut named = Vec::new();
    for (path, text) in page::pages() {
        let blocks = page::blocks(&text);
        let from_tracer =
            blocks.iter().filter(|b| b.command.as_ref().is_some_and(|c| c.contains("tracer ")));
        let before = named.len();
        for block in from_tracer {
            let name = block.name.clone();
            named.push(name.unwrap_or_else(|| panic!("{}: no name: {block:?}", path.display())));
        }
        let index = path.file_name().is_some_and(|name| name == "README.md");
        assert!(index || named.len() > before, "{}: nothing a test repeats", path.display());
    }
    let count = named.len();
    let named: BTreeSet<String> = named.into_iter().collect();
    assert_eq!(named.len(), count, "a name is there twice");
    assert_eq!(named, tests(), "blocks of the pages, tests");
}

#[test]
fn the_index_names_every_page() {
    let index = std::fs::read_to_string(page::folder().join("README.md")).expect("the index");
    for (path, _) in page::pages() {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(name == "README.md" || index.contains(&format!("({name}")), "{name}");
    }
}
