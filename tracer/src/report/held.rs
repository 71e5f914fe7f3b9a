//! A report whose stream is kept back: while the live view has the terminal, only the summary of the
//! whole run is written, at its end.

use super::{Covered, Report, Scope, Start, WallClock};
use crate::core::event::MonoNs;
use crate::core::record::{End, Host, OpenConnection, Record};

/// Passes the summary at the end on, and nothing before.
pub struct Held {
    report: Box<dyn Report>,
    /// Rendered, and not known yet whether the run's end follows.
    open: Vec<u8>,
}

impl Held {
    /// Holds `report` back.
    #[must_use]
    pub fn new(report: Box<dyn Report>) -> Self {
        Self { report, open: Vec::new() }
    }
}

impl Report for Held {
    fn start(&mut self, _start: &Start, _out: &mut Vec<u8>) {}

    fn record(&mut self, _record: &Record, _out: &mut Vec<u8>) {}

    fn hosts(&mut self, hosts: &[Host], covered: Covered, out: &mut Vec<u8>) {
        let open = std::mem::take(&mut self.open);
        if covered.scope == Scope::Run {
            out.extend_from_slice(&open);
            self.report.hosts(hosts, covered, out);
        }
    }

    fn open(&mut self, open: &[OpenConnection], at: MonoNs, _out: &mut Vec<u8>) {
        self.open.clear();
        self.report.open(open, at, &mut self.open);
    }

    fn end(&mut self, end: &End, at: MonoNs, out: &mut Vec<u8>) {
        self.report.end(end, at, out);
    }

    fn head(&mut self, start: &Start) -> Vec<u8> {
        self.report.head(start)
    }

    fn resize(&mut self, width: usize) {
        self.report.resize(width);
    }

    fn clock(&mut self) -> &mut WallClock {
        self.report.clock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Screen, Text, samples};

    #[test]
    fn only_the_summary_of_the_run_comes_through() {
        let screen = Screen { width: Some(80), color: false };
        let mut held = Held::new(Box::new(Text::new(samples::clock(), screen)));
        let mut out = Vec::new();
        let at = samples::at(103 * samples::S);
        held.start(&samples::start(), &mut out);
        held.record(&Record::Connection(Box::new(samples::full())), &mut out);
        for scope in [Scope::Interval, Scope::SoFar] {
            held.open(&samples::open(), at, &mut out);
            held.hosts(&samples::hosts(), samples::covered(scope, at), &mut out);
        }
        assert!(out.is_empty(), "{out:?}");
        held.open(&samples::open(), at, &mut out);
        held.hosts(&samples::hosts(), samples::covered(Scope::Run, at), &mut out);
        held.end(&samples::end(), at, &mut out);
        let text = String::from_utf8(out.to_vec()).expect("text");
        assert_eq!(text.matches("Open at").count(), 1, "{text}");
        assert_eq!(text.matches("Remote hosts").count(), 1, "{text}");
        assert!(text.contains("1234 connections ended"), "{text}");
    }
}
