//! Reports: records in, bytes out. One file a format; nothing here opens, reads or asks a clock,
//! except [`writer`], which carries the bytes to where they go, and [`terminal`].

use crate::core::event::MonoNs;
use crate::core::record::{End, Host, OpenConnection, Record};

pub mod check;
pub mod clock;
pub mod escape;
pub mod held;
pub mod json;
pub mod losses;
mod printable;
pub mod progress;
pub mod start;
pub mod terminal;
pub mod text;
pub mod units;
pub mod writer;

#[cfg(test)]
pub(crate) mod samples;

pub use clock::WallClock;
pub use held::Held;
pub use json::Json;
pub use progress::Progress;
pub use start::{Capture, Hook, Limits, Start};
pub use terminal::Screen;
pub use text::Text;
pub use writer::Writer;

/// What part of the run a per-host report is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The time since the report before it (`--interval`).
    Interval,
    /// The whole run so far, while it goes on (SIGUSR1).
    SoFar,
    /// The whole run, at its end.
    Run,
}

impl Scope {
    /// The name in the JSON output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::SoFar => "so_far",
            Self::Run => "run",
        }
    }
}

/// The time that a per-host report covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Covered {
    /// Which part of the run it is.
    pub scope: Scope,
    /// When it begins.
    pub from: MonoNs,
    /// When it ends: the figures were taken then.
    pub at: MonoNs,
}

impl Covered {
    /// How long it is, nanoseconds.
    #[must_use]
    pub fn length(self) -> u64 {
        self.at.since(self.from)
    }
}

/// A format: renders what it is given at the end of `out`, in whole lines.
pub trait Report: Send {
    /// Everything is attached. Comes first, once.
    fn start(&mut self, start: &Start, out: &mut Vec<u8>);

    /// Something happened.
    fn record(&mut self, record: &Record, out: &mut Vec<u8>);

    /// The per-host figures of `covered`, in the order they are to appear.
    fn hosts(&mut self, hosts: &[Host], covered: Covered, out: &mut Vec<u8>);

    /// Every connection open at `at`.
    fn open(&mut self, open: &[OpenConnection], at: MonoNs, out: &mut Vec<u8>);

    /// The run was over at `at`. Comes last, once.
    fn end(&mut self, end: &End, at: MonoNs, out: &mut Vec<u8>);

    /// What a file begins with that takes the place of one that was moved away (SIGHUP). `start` is
    /// what [`Self::start`] was told.
    fn head(&mut self, _start: &Start) -> Vec<u8> {
        Vec::new()
    }

    /// The terminal has `width` columns from now on.
    fn resize(&mut self, _width: usize) {}

    /// The clock, to be set again after the system's was.
    fn clock(&mut self) -> &mut WallClock;
}
