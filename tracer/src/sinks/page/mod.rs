//! `--report`: one page at the end of the run, to be kept and handed on.

mod figures;
mod html;
mod target;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use caps::CapsHashSet;

use self::figures::Figures;
use self::html::Run;
use self::target::Target;
use super::{Sink, Standing};
use crate::core::event::MonoNs;
use crate::core::record::Record;
use crate::report::escape::{Blanks, escape};
use crate::report::{Start, WallClock};

/// How often a short run is looked at; half-open connections come and go quickly.
const OFTEN: Duration = Duration::from_millis(200);
/// How often a long one.
const SELDOM: Duration = Duration::from_secs(1);

/// See the module.
pub struct Page {
    /// Until it is written.
    target: Option<Target>,
    /// Name of the machine, or of the file that is read.
    host: String,
    start: Option<Start>,
    figures: Figures,
}

impl Page {
    /// Into a file, which is only there at the end of the run; what has that name now stays until
    /// then.
    ///
    /// # Errors
    /// That no file can be made there, and why.
    pub fn open(path: &Path) -> Result<Self> {
        let mut host = String::new();
        if let Ok(name) = nix::sys::utsname::uname() {
            // Memory does not fail to be written to.
            let _ = escape(name.nodename().as_encoded_bytes(), Blanks::Keep, &mut host);
        }
        Ok(Self {
            target: Some(Target::open(path)?),
            host,
            start: None,
            figures: Figures::new(MonoNs(0)),
        })
    }

    /// The capabilities that it takes to write the file, at the end.
    #[must_use]
    pub fn needed_later(&self) -> CapsHashSet {
        self.target.as_ref().map(|target| target.needed_later().clone()).unwrap_or_default()
    }
}

impl Sink for Page {
    fn start(&mut self, start: &Start, _clock: &WallClock) {
        if let Some(capture) = &start.capture {
            // One from elsewhere says nothing of this machine.
            let file = Path::new(&capture.file).file_name().unwrap_or_default();
            self.host.clear();
            match capture.file.as_str() {
                "-" => self.host.push_str("A capture"),
                _ => {
                    let _ = escape(file.as_encoded_bytes(), Blanks::Keep, &mut self.host);
                }
            }
        }
        self.figures = Figures::new(start.time);
        self.start = Some(start.clone());
    }

    fn record(&mut self, record: &Record, _shown: bool, _clock: &WallClock) {
        self.figures.record(record);
    }

    fn standing(&mut self, standing: &Standing<'_>, _clock: &WallClock) {
        self.figures.standing(standing.at, standing.totals, standing.core.half_open());
    }

    fn period(&self) -> Duration {
        Duration::from_nanos(self.figures.timeline.width()).clamp(OFTEN, SELDOM)
    }

    fn end(
        &mut self,
        standing: &Standing<'_>,
        clock: &WallClock,
        _deadline: Instant,
    ) -> Result<()> {
        let (Some(start), Some(target)) = (&self.start, self.target.take()) else {
            return Ok(());
        };
        let Standing { at, totals, hooks, core, floods: _ } = standing;
        let open = core.open(*at);
        self.figures.finish(&open);
        target.write(&html::page(&Run {
            host: &self.host,
            start,
            clock,
            at: *at,
            end: totals,
            hooks,
            hosts: &core.hosts(*at),
            open: &open,
            stuck: &core.stuck_by_state(*at),
            half_open: core.half_open(),
            figures: &self.figures,
        }))
    }
}

#[cfg(test)]
mod tests;
