//! Where the records go: shown or not, to the report and its writer, to the sinks, to the program
//! of `--on-alert`. The same for what the kernel tells and for what a capture holds.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use self::pen::Pen;
use super::alert::{self, AlertRunner};
use super::sinks::Sinks;
use crate::core::event::MonoNs;
use crate::core::record::{End, Record};
use crate::core::{Core, Shown};
use crate::report::{Covered, Hook, Progress, Report, Scope, Start, WallClock, Writer, text};
use crate::sinks::Standing;

mod apart;
mod pen;

/// How long the end of a run may take where somebody does not answer: a reader of the output, a
/// receiver.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What happens where the reader of the output is slow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slow {
    /// Records are dropped and counted: what comes in does not wait.
    Drop,
    /// Whoever hands in records holds back until there is room again ([`Outlet::room`]).
    Wait,
}

/// All of it.
pub(super) struct Outlet {
    pen: Pen,
    /// The program of `--on-alert`.
    alerts: Option<AlertRunner>,
    sinks: Sinks,
    /// How far the run has come, on a terminal.
    progress: Option<Progress>,
    shown: Shown,
    /// Connection records still to be shown; `None`: any number.
    remaining: Option<u64>,
    records: Vec<Record>,
    /// When the run began.
    began: MonoNs,
    /// When the figures of the last interval were taken.
    interval_from: MonoNs,
    /// Records that the pen was told since it was flushed.
    rendered: u64,
}

impl Outlet {
    pub(super) fn new(
        report: Box<dyn Report>,
        writer: Writer,
        slow: Slow,
        shown: Shown,
        count: Option<u64>,
    ) -> Self {
        Self {
            pen: Pen::new(report, writer, slow),
            alerts: None,
            sinks: Sinks::default(),
            progress: None,
            shown,
            remaining: count,
            records: Vec::new(),
            began: MonoNs(0),
            interval_from: MonoNs(0),
            rendered: 0,
        }
    }

    /// Renders on a thread of its own from now on, where one waits for a slow reader.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn apart(self) -> Result<Self> {
        let pen = self.pen.apart().context("cannot start the thread that writes the report")?;
        Ok(Self { pen, ..self })
    }

    /// Hands alerts to `alerts` as well, from now on.
    pub(super) fn tell_of_alerts(&mut self, alerts: Option<AlertRunner>) {
        self.alerts = alerts;
    }

    /// Tells `sinks` as well, from now on.
    pub(super) fn tell(&mut self, sinks: Sinks) {
        self.sinks = sinks;
    }

    /// Draws `progress` now and then, from now on.
    pub(super) fn show_progress(&mut self, progress: Option<Progress>) {
        self.progress = progress;
    }

    /// When someone is to be told how things stand, if there is anyone.
    pub(super) fn standing_due(&self) -> Option<Instant> {
        self.sinks.next_due()
    }

    /// Tells those whose time has come how things stand.
    pub(super) fn standing(&mut self, standing: &Standing<'_>) {
        self.sinks.standing(standing, self.pen.clock());
    }

    /// Draws how far the run has come, as `words` says it in ASCII.
    pub(super) fn progress(&mut self, words: impl FnOnce() -> String) {
        let progress = self.progress.as_mut();
        if let Some(line) = progress.and_then(|progress| progress.draw(words())) {
            self.pen.raw(&line);
            self.flush();
        }
    }

    /// Waits until the reader of the output has caught up; with [`Slow::Wait`].
    pub(super) async fn room(&self) {
        self.pen.room().await;
    }

    /// Waits until everything told is written, or nothing ever will be.
    pub(super) async fn drained(&self) {
        self.pen.drained().await;
    }

    /// Takes the line away that records would be written into.
    fn make_room(&mut self) {
        if let Some(erase) = self.progress.as_mut().and_then(Progress::before_records) {
            self.pen.raw(erase);
        }
    }

    /// The `start` record; for text the same in words, on stderr.
    pub(super) fn start(&mut self, start: &Start, width: Option<usize>) {
        if let Some(width) = width {
            eprint!("{}", text::start_notice(start, width, std::io::stdout().is_terminal()));
        }
        (self.began, self.interval_from) = (start.time, start.time);
        self.pen.start(start);
        self.sinks.start(start, self.pen.clock());
        self.rendered += 1;
        self.flush();
    }

    /// The terminal has `width` columns from now on.
    pub(super) fn resize(&mut self, width: usize) {
        self.pen.resize(width);
    }

    /// The report's clock, to be set again after the system's was.
    pub(super) fn clock(&mut self) -> &mut WallClock {
        self.pen.clock()
    }

    pub(super) const fn writer(&self) -> &Writer {
        self.pen.writer()
    }

    /// Who else is told.
    pub(super) const fn sinks(&mut self) -> &mut Sinks {
        &mut self.sinks
    }

    /// SIGHUP: files that were moved away are begun anew.
    pub(super) fn reopen(&self) {
        self.pen.writer().reopen();
        self.sinks.reopen();
    }

    /// Where the core puts records, for [`Self::render`].
    pub(super) const fn records(&mut self) -> &mut Vec<Record> {
        &mut self.records
    }

    /// Sees how the program of `--on-alert` is getting on.
    pub(super) fn poll_alerts(&mut self) {
        if let Some(alerts) = &mut self.alerts {
            alerts.poll();
        }
    }

    /// Hands out what the core has put into [`Self::records`].
    pub(super) fn render(&mut self) {
        // As after most events.
        if self.records.is_empty() {
            return;
        }
        self.make_room();
        for record in self.records.drain(..) {
            let shown = match &record {
                Record::Connection(connection) => {
                    let shown = self.shown.shows(connection) && self.remaining != Some(0);
                    if shown && let Some(remaining) = &mut self.remaining {
                        *remaining -= 1;
                    }
                    shown
                }
                Record::Stuck(stuck) => self.shown.shows_open(&stuck.connection),
                // Whatever the filters say.
                Record::Alert(alert) => {
                    if let Some(alerts) = &mut self.alerts {
                        alerts.alert(alert, self.pen.clock());
                    }
                    true
                }
                Record::Segment(row) => self.shown.shows_between(row.client, row.server),
                Record::State(_) => true,
            };
            self.sinks.record(&record, shown, self.pen.clock());
            if shown {
                self.pen.record(record);
                self.rendered += 1;
            }
        }
    }

    /// Hands what has been told to the writer.
    pub(super) fn flush(&mut self) {
        if !self.pen.is_empty() {
            self.pen.flush(std::mem::take(&mut self.rendered));
        }
    }

    /// Whether `--count` is reached.
    pub(super) fn finished(&self) -> bool {
        self.remaining == Some(0)
    }

    /// Records that a slow reader of the output missed.
    pub(super) fn dropped(&self) -> u64 {
        self.pen.writer().dropped()
    }

    /// The figures of the time since the last such report.
    pub(super) fn interval(&mut self, core: &mut Core, now: MonoNs) {
        let hosts = core.take_interval(now);
        self.make_room();
        self.rendered += hosts.len() as u64;
        let from = std::mem::replace(&mut self.interval_from, now);
        self.pen.hosts(hosts, Covered { scope: Scope::Interval, from, at: now });
        self.flush();
    }

    /// The open connections and the summary so far.
    pub(super) fn summary(&mut self, core: &Core, now: MonoNs) {
        self.render_summary(core, now, Scope::SoFar);
        self.flush();
    }

    fn render_summary(&mut self, core: &Core, now: MonoNs, scope: Scope) {
        let open = core.open(now);
        let hosts = core.hosts(now);
        self.make_room();
        self.rendered += (open.len() + hosts.len()) as u64;
        self.pen.open(open, now);
        self.pen.hosts(hosts, Covered { scope, from: self.began, at: now });
    }

    /// The summary of the whole run, which waits for a slow reader until `deadline`, and the last
    /// record; the sinks and the program of `--on-alert` are told that it is over, and have the same
    /// deadline. [`Self::written`] is to follow.
    ///
    /// # Errors
    /// What failed with a sink.
    pub(super) fn close(
        &mut self,
        core: &Core,
        now: MonoNs,
        end: End,
        hooks: &[Hook],
        deadline: Instant,
    ) -> Result<()> {
        // Its time runs while the others are waited for.
        if let Some(alerts) = &mut self.alerts {
            alerts.close(alert::PATIENCE);
        }
        self.sinks.closing();
        self.render_summary(core, now, Scope::Run);
        self.progress = None;
        let records = std::mem::take(&mut self.rendered);
        self.pen.flush_last(records, deadline);
        let end = End { output_dropped: self.dropped(), ..end };
        self.pen.end(end.clone(), now);
        self.pen.flush_last(1, deadline);
        let standing = Standing { at: now, totals: &end, hooks, core, floods: None };
        let told = self.sinks.end(&standing, self.pen.clock(), deadline);
        if let Some(alerts) = self.alerts.take() {
            alerts.finish();
        }
        told
    }

    /// Waits until everything is written, until `deadline` at most.
    ///
    /// # Errors
    /// The reader did not take it in time.
    pub(super) fn written(self, deadline: Instant) -> Result<()> {
        self.pen.finish(deadline)
    }
}
