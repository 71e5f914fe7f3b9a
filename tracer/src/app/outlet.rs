//! Where the records go: shown or not, to the report and its writer, to the sinks, to the program
//! of `--on-alert`. The same for what the kernel tells and for what a capture holds.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::BytesMut;

use super::alert::{self, AlertRunner};
use super::sinks::Sinks;
use crate::core::event::MonoNs;
use crate::core::record::{End, Record};
use crate::core::{Core, Shown};
use crate::report::{Hook, Progress, Report, Scope, Start, Writer, text};
use crate::sinks::Standing;

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
    report: Box<dyn Report>,
    writer: Writer,
    slow: Slow,
    /// The program of `--on-alert`.
    alerts: Option<AlertRunner>,
    sinks: Sinks,
    /// How far the run has come, on a terminal.
    progress: Option<Progress>,
    shown: Shown,
    /// Connection records still to be shown; `None`: any number.
    remaining: Option<u64>,
    records: Vec<Record>,
    out: BytesMut,
    /// Records rendered into `out`.
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
            report,
            writer,
            slow,
            alerts: None,
            sinks: Sinks::default(),
            progress: None,
            shown,
            remaining: count,
            records: Vec::new(),
            out: BytesMut::with_capacity(64 * 1024),
            rendered: 0,
        }
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
        self.sinks.standing(standing, self.report.clock());
    }

    /// Draws how far the run has come, as `words` says it in ASCII.
    pub(super) fn progress(&mut self, words: impl FnOnce() -> String) {
        let progress = self.progress.as_mut();
        if let Some(line) = progress.and_then(|progress| progress.draw(words())) {
            self.push(line.as_bytes(), 0);
        }
    }

    /// Waits until the reader of the output has caught up; with [`Slow::Wait`].
    pub(super) async fn room(&self) {
        self.writer.room().await;
    }

    /// Takes the line away that records would be written into.
    fn make_room(&mut self) {
        if let Some(erase) = self.progress.as_mut().and_then(Progress::before_records) {
            self.push(erase.as_bytes(), 0);
        }
    }

    /// The `start` record; for text the same in words, on stderr.
    pub(super) fn start(&mut self, start: &Start, width: Option<usize>) {
        if let Some(width) = width {
            eprint!("{}", text::start_notice(start, width, std::io::stdout().is_terminal()));
        }
        self.report.start(start, &mut self.out);
        self.sinks.start(start, self.report.clock());
        self.rendered += 1;
        self.flush();
    }

    pub(super) fn report(&mut self) -> &mut dyn Report {
        &mut *self.report
    }

    pub(super) const fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Who else is told.
    pub(super) const fn sinks(&mut self) -> &mut Sinks {
        &mut self.sinks
    }

    /// SIGHUP: files that were moved away are begun anew.
    pub(super) fn reopen(&self) {
        self.writer.reopen();
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
                        alerts.alert(alert, self.report.clock());
                    }
                    true
                }
                Record::Segment(row) => self.shown.shows_between(row.client, row.server),
                Record::State(_) => true,
            };
            self.sinks.record(&record, shown, self.report.clock());
            if shown {
                self.report.record(&record, &mut self.out);
                self.rendered += 1;
            }
        }
    }

    /// Hands what has been rendered to the writer.
    pub(super) fn flush(&mut self) {
        if !self.out.is_empty() {
            self.make_room();
            let records = std::mem::take(&mut self.rendered);
            let out = std::mem::take(&mut self.out);
            self.push(&out, records);
            self.out = out;
            self.out.clear();
        }
    }

    fn push(&self, rendered: &[u8], records: u64) {
        match self.slow {
            Slow::Drop => self.writer.push(rendered, records),
            Slow::Wait => self.writer.push_all(rendered, records),
        };
    }

    /// Whether `--count` is reached.
    pub(super) fn finished(&self) -> bool {
        self.remaining == Some(0)
    }

    /// Records that a slow reader of the output missed.
    pub(super) fn dropped(&self) -> u64 {
        self.writer.dropped()
    }

    /// The figures of the time since the last such report.
    pub(super) fn interval(&mut self, core: &mut Core, now: MonoNs) {
        let hosts = core.take_interval(now);
        self.rendered += hosts.len() as u64;
        self.report.hosts(&hosts, Scope::Interval, now, &mut self.out);
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
        self.rendered += (open.len() + hosts.len()) as u64;
        self.report.open(&open, now, &mut self.out);
        self.report.hosts(&hosts, scope, now, &mut self.out);
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
        self.make_room();
        self.progress = None;
        self.render_summary(core, now, Scope::Run);
        let records = std::mem::take(&mut self.rendered);
        self.push_last(records, deadline);
        let end = End { output_dropped: self.dropped(), ..end };
        self.report.end(&end, &mut self.out);
        self.push_last(1, deadline);
        let standing = Standing { at: now, totals: &end, hooks, core };
        let told = self.sinks.end(&standing, self.report.clock(), deadline);
        if let Some(alerts) = self.alerts.take() {
            alerts.finish();
        }
        told
    }

    fn push_last(&mut self, records: u64, deadline: Instant) {
        match self.slow {
            Slow::Drop => self.writer.push_wait(&self.out, records, deadline),
            Slow::Wait => self.writer.push_all(&self.out, records),
        };
        self.out.clear();
    }

    /// Waits until everything is written, until `deadline` at most.
    ///
    /// # Errors
    /// The reader did not take it in time.
    pub(super) fn written(self, deadline: Instant) -> Result<()> {
        if let Err(unwritten) = self.writer.finish(deadline) {
            bail!(
                "the last {} bytes were not taken within {} s: the output is full, or nobody reads it",
                unwritten.bytes,
                PATIENCE.as_secs()
            );
        }
        Ok(())
    }
}
