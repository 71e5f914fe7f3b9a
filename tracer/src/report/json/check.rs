//! `--check` for programs.

use serde::Serialize;

use super::{Json, write_line};
use crate::report::check::{Check, Finding};
use crate::report::clock::Utc;

#[derive(Serialize)]
struct CheckLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    time: Utc,
    version: &'a str,
    kernel: &'a str,
    works: bool,
    findings: &'a [Finding],
    cannot: &'a [String],
}

impl Json {
    /// The answer as one object.
    pub fn check(&mut self, check: &Check, out: &mut Vec<u8>) {
        let Check { time, version, kernel, findings, cannot } = check;
        let line = CheckLine {
            kind: "check",
            time: self.clock.utc(*time),
            version,
            kernel,
            works: check.works(),
            findings,
            cannot,
        };
        write_line(&line, out);
    }
}
