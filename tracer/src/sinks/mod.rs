//! Who else is told what happens, besides the report that goes to stdout or a file: live view,
//! metrics, the page at the end of the run. Each is a [`Sink`]; all are told the same, so that they
//! show the same.
//!
//! What hides records from the report (`--failed`, `--slower-than`, ...) hides them from no sink:
//! summaries count all.

#[cfg(feature = "otlp")]
pub mod otlp;
pub mod page;
mod place;
pub mod prometheus;
pub mod write;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::core::Core;
use crate::core::event::MonoNs;
use crate::core::flood::Detector;
use crate::core::record::{End, Record};
use crate::report::{Hook, Start, WallClock};

/// How things stand at a moment.
pub struct Standing<'a> {
    /// When: every event up to then has been handled.
    pub at: MonoNs,
    /// Totals of the run so far.
    pub totals: &'a End,
    /// Every hook, and whether it is in place now.
    pub hooks: &'a [Hook],
    /// Hosts, open connections, and what else it can be asked for.
    pub core: &'a Core,
    /// Floods and notices that go on; `None` where SYNs are not seen, and at the end.
    pub floods: Option<&'a Detector>,
}

/// Is told what happens. Called on the thread that reads the ring: whatever may wait (a socket, a
/// disk) belongs on another, behind a bounded queue whose losses are counted.
pub trait Sink {
    /// Everything is attached. Comes first, once.
    fn start(&mut self, _start: &Start, _clock: &WallClock) {}

    /// Something happened. `shown`: it is in the report as well.
    fn record(&mut self, _record: &Record, _shown: bool, _clock: &WallClock) {}

    /// How things stand: about every [`Sink::period`], and once more before [`Sink::end`].
    fn standing(&mut self, _standing: &Standing<'_>, _clock: &WallClock) {}

    /// Time between two calls of [`Sink::standing`].
    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// The end of the report is about to be written: whoever has the terminal gives it back.
    fn closing(&mut self) {}

    /// The run is over; nobody waits for it any more after `deadline`. Comes last, once.
    ///
    /// # Errors
    /// What failed, for the user; tracer ends with status 1.
    fn end(
        &mut self,
        _standing: &Standing<'_>,
        _clock: &WallClock,
        _deadline: Instant,
    ) -> Result<()> {
        Ok(())
    }
}
