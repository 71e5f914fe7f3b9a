//! The way of what a capture holds: segments → both ends' lives → core → outlet. Time is the
//! capture's.

use std::net::SocketAddr;
use std::time::Instant;

use tracer_common::packet::tcp_flags;

use crate::app::outlet::Outlet;
use crate::app::setup;
use crate::capture::file::{Counts, Interface};
use crate::capture::flood::{Ends, Floods};
use crate::capture::life::{Lives, Taken};
use crate::capture::segment::{Captured, Segment};
use crate::cli::Options;
use crate::core::Core;
use crate::core::event::{Event, MonoNs, nanos};
use crate::core::record::{End, Frames, Record};
use crate::filter::KernelFilters;
use crate::sinks::Standing;

/// The work on a capture, from its first segment on.
pub(super) struct Reading {
    core: Core,
    lives: Lives,
    floods: Floods,
    outlet: Outlet,
    filters: KernelFilters,
    filtering: bool,
    taken: Taken,
    began: MonoNs,
    /// Everything up to then has been worked on.
    now: MonoNs,
    /// Nothing is due by itself before then.
    due: MonoNs,
    /// Nothing later is looked at (`--duration`).
    until: Option<MonoNs>,
    intervals: Option<Intervals>,
    segments: u64,
    frames: Frames,
    /// What was held back has been told.
    settled: bool,
}

/// Interfaces that records name at most; a capture may have thousands.
pub(super) const NAMED: usize = 32;

/// When the reports of `--interval` are due.
#[derive(Clone, Copy)]
struct Intervals {
    period: u64,
    next: MonoNs,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    More,
    /// `--duration` or `--count` is reached.
    Enough,
}

impl Reading {
    pub(super) fn new(options: &Options, outlet: Outlet, lives: Lives, began: MonoNs) -> Self {
        let after = |ns| MonoNs(began.0.saturating_add(ns));
        let filters = options.filters.kernel(0);
        Self {
            core: Core::new(setup::core_config(options, began, true)),
            lives,
            floods: Floods::new(setup::flood_config(options, 0), began),
            outlet,
            filtering: filters != KernelFilters::default(),
            filters,
            taken: Taken::default(),
            began,
            now: began,
            due: began,
            until: options.show.duration.map(|duration| after(nanos(duration))),
            intervals: options.show.interval.map(|period| {
                let period = nanos(period);
                Intervals { period, next: after(period) }
            }),
            segments: 0,
            frames: Frames::default(),
            settled: false,
        }
    }

    /// When the capture began: the time of its first segment.
    pub(super) const fn began(&self) -> MonoNs {
        self.began
    }

    /// When to stop, in its time.
    pub(super) const fn until(&self) -> Option<MonoNs> {
        self.until
    }

    /// Whether what happened at `at` is not looked at any more.
    pub(super) fn is_beyond(&self, at: MonoNs) -> bool {
        self.until.is_some_and(|until| at > until)
    }

    pub(super) const fn outlet(&mut self) -> &mut Outlet {
        &mut self.outlet
    }

    /// The interfaces that the capture has described by now.
    pub(super) fn interfaces(&mut self, interfaces: &[Interface]) {
        for addr in interfaces.iter().flat_map(|interface| &interface.addresses) {
            self.lives.interface_has(*addr);
        }
        let names = interfaces.iter().filter_map(|interface| interface.name.clone());
        self.floods.interfaces(names.take(NAMED).collect());
    }

    /// What the frames read so far were.
    pub(super) fn counted(&mut self, counts: Counts) {
        let Counts { frames, tcp, not_tcp, unparsed, other_link, untimed, dropped } = counts;
        self.frames = Frames { read: frames, tcp, not_tcp, unparsed, other_link, untimed, dropped };
    }

    /// These segments come next: so that memory is waited for once, and not for each.
    pub(super) fn expect(&self, segments: &[Captured]) {
        self.floods.expect(segments);
    }

    /// The next segment.
    pub(super) fn take(&mut self, captured: &Captured) -> Next {
        if self.is_beyond(captured.at) {
            self.pass(captured.at);
            return Next::Enough;
        }
        self.pass(captured.at);
        if self.filtering && !self.wanted(captured) {
            return Next::More;
        }
        self.segments += 1;
        let (lives, filters) = (&self.lives, self.filtering.then_some(&self.filters));
        self.floods.segment(captured, || local_ends(lives, filters, captured));
        self.lives.take(captured, &mut self.taken);
        self.hand_on();
        if self.outlet.finished() { Next::Enough } else { Next::More }
    }

    /// Whether the filters may let a connection of this segment through, told from whichever end.
    fn wanted(&self, captured: &Captured) -> bool {
        let segment = &captured.segment;
        let a = segment.src.at(segment.src_port);
        let b = segment.dst.at(segment.dst_port);
        self.filters.matches(a, b, 0) || self.filters.matches(b, a, 0)
    }

    /// What the segments told goes to the core, and what comes of it to the outlet.
    fn hand_on(&mut self) {
        let Taken { events, rows } = &mut self.taken;
        if events.is_empty() && rows.is_empty() {
            return;
        }
        for row in rows.drain(..) {
            self.outlet.records().push(Record::Segment(Box::new(row)));
        }
        for event in &*events {
            if !self.filtering || ends(event).is_none_or(|(a, b)| self.filters.matches(a, b, 0)) {
                self.floods.event(event);
                self.core.handle(event, self.outlet.records());
            }
        }
        events.clear();
        self.due = self.due.min(self.core.poll_timeout().unwrap_or(MonoNs(u64::MAX)));
        self.outlet.render();
    }

    /// Time passes up to `to`: everything that is due by then happens at its own time, so that a
    /// capture tells the same however fast it is read.
    pub(super) fn pass(&mut self, to: MonoNs) {
        let to = self.until.map_or(to, |until| to.min(until));
        if to <= self.now {
            return;
        }
        if to < self.due {
            // As with most segments.
            self.now = to;
            return;
        }
        loop {
            let timeout = self.core.poll_timeout().filter(|at| *at < to);
            let tick = self.floods.next().filter(|at| *at <= to);
            let interval = self.intervals.map(|all| all.next).filter(|at| *at <= to);
            let Some(at) = [timeout, tick, interval].into_iter().flatten().min() else { break };
            self.now = self.now.max(at);
            if timeout == Some(at) {
                self.core.handle_timeout(self.now, self.outlet.records());
            } else if tick == Some(at) {
                self.floods.pass(at, &mut self.core, self.outlet.records());
            } else {
                self.interval(at, to);
            }
            self.outlet.render();
        }
        self.floods.pass(to, &mut self.core, self.outlet.records());
        self.outlet.render();
        self.now = to;
        let interval = self.intervals.map(|all| all.next);
        let due = [self.core.poll_timeout(), Some(self.floods.due()), interval];
        self.due = due.into_iter().flatten().min().unwrap_or(to);
    }

    /// The figures of an interval. Of a time in which nothing was captured there is one report at
    /// most, however many intervals long it was.
    fn interval(&mut self, at: MonoNs, to: MonoNs) {
        self.outlet.interval(&mut self.core, at);
        let Some(intervals) = &mut self.intervals else { return };
        let empty = to.since(at) / intervals.period;
        intervals.next = MonoNs(at.0.saturating_add(intervals.period));
        if empty > 1 {
            let end = MonoNs(at.0.saturating_add(empty.saturating_mul(intervals.period)));
            intervals.next = end;
        }
    }

    /// How far the work has come.
    pub(super) fn totals(&self) -> End {
        let totals = self.core.totals();
        let (syns, repeated) = self.floods.syns();
        End {
            connections: totals.connections,
            open: totals.open,
            events: self.segments,
            syns: Some(syns),
            syns_repeated: Some(repeated),
            handshakes_failed: totals.handshakes_failed,
            connections_evicted: totals.evicted,
            output_dropped: self.outlet.dropped(),
            frames: Some(self.frames),
            duration: self.now.since(self.began),
            ..End::default()
        }
    }

    /// Tells those whose time has come how things stand.
    pub(super) fn standing(&mut self) {
        let totals = self.totals();
        let floods = Some(self.floods.detector());
        let standing =
            Standing { at: self.now, totals: &totals, hooks: &[], core: &self.core, floods };
        self.outlet.standing(&standing);
    }

    /// The open connections and the summary so far.
    pub(super) fn summary(&mut self) {
        self.outlet.summary(&self.core, self.now);
    }

    /// The capture is over: what was held back is told.
    pub(super) fn settle(&mut self) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        self.lives.finish(&mut self.taken);
        self.hand_on();
        self.floods.finish(self.now, &mut self.core, self.outlet.records());
        self.core.finish(self.outlet.records());
        self.outlet.render();
        self.outlet.flush();
    }

    /// The end: what was held back, the summary, the last record. The outlet still has to be written;
    /// with it, what failed with a sink.
    pub(super) fn finish(mut self, deadline: Instant) -> (Outlet, anyhow::Result<()>) {
        self.settle();
        let end = self.totals();
        let told = self.outlet.close(&self.core, self.now, end, &[], deadline);
        (self.outlet, told)
    }
}

/// Which ends are local, where that is known. A SYN that the filters let through for its sender's sake
/// came for nobody.
fn local_ends(lives: &Lives, filters: Option<&KernelFilters>, captured: &Captured) -> Option<Ends> {
    let ends = lives.local_ends(captured).map(|(src, dst)| Ends { src, dst });
    let Segment { src, src_port, dst, dst_port, flags, .. } = captured.segment;
    let opens = flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN;
    let came = |filters: &KernelFilters| filters.matches(dst.at(dst_port), src.at(src_port), 0);
    match filters {
        Some(filters) if opens && !came(filters) => {
            Some(Ends { src: ends.is_some_and(|ends| ends.src), dst: false })
        }
        _ => ends,
    }
}

/// Local and remote end of what an event is about; `None` for one that goes by its cookie, and
/// concerns nobody who was not let through.
const fn ends(event: &Event) -> Option<(SocketAddr, SocketAddr)> {
    match event {
        Event::Transition(socket) | Event::Accepted(socket) | Event::ResetSent(socket) => {
            Some((socket.local, socket.remote))
        }
        Event::SynAckRetransmit(request) | Event::RequestReset(request) => {
            Some((request.local, request.remote))
        }
        Event::Found(found) => Some((found.socket.local, found.socket.remote)),
        Event::Captured(_)
        | Event::EndUnseen { .. }
        | Event::Forgotten { .. }
        | Event::SynSummary(_)
        | Event::Cgroup { .. } => None,
    }
}
