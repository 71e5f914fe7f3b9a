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
use std::path::Path;
use std::process::Command;

use crate::support::{Value, page};

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
fn the_index_names_every_page_and_links_lead_somewhere() {
    let pages = page::pages();
    let index = std::fs::read_to_string(page::folder().join("README.md")).expect("the index");
    for (path, text) in &pages {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(name == "README.md" || index.contains(&format!("({name})")), "{name}");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(page::folder().join(target).exists(), "{name}: there is no {target}");
        }
    }
}

/// Counters and settings that the pages tell to look at, by the names of this kernel.
#[test]
fn counters_and_settings_exist() {
    let out = Command::new("nstat").args(["-az", "--json"]).output().expect("nstat (iproute2)");
    let counters: Value = serde_json::from_slice(&out.stdout).expect("JSON of nstat");
    let mut seen = 0;
    for (path, text) in page::pages() {
        // A span may go on over a line's end.
        for span in text.split('`').skip(1).step_by(2) {
            for word in span.split_whitespace() {
                let counter = ["TcpExt", "Tcp", "Ip", "Icmp"].iter().any(|p| word.starts_with(p));
                if counter && word.chars().all(|c| c.is_ascii_alphanumeric()) {
                    let there = counters["kernel"].get(word).is_some();
                    assert!(there, "{}: nstat has no {word}", path.display());
                    seen += 1;
                } else if let Some(name) = word.strip_prefix("net.") {
                    let file = format!("/proc/sys/net/{}", name.replace('.', "/"));
                    assert!(Path::new(&file).exists(), "{}: no net.{name}", path.display());
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 20, "only {seen} found");
}
