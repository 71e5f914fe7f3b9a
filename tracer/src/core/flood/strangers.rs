//! Traffic that is for no listener of the namespace: to closed ports, to addresses of somebody
//! else, and SYN-ACKs that come in. Scans, transit and backscatter show there.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::distinct::Union;
use super::incident::{Context, Finding, Incident, evidence};
use super::notices::backscatter;
use super::notices::closed::{self, Refusals};
use super::parts::Parts;
use super::prefix;
use super::sources::Tallies;
use super::tick::{Counts, SourceTick, Target, TargetTick, Tick};
use super::verdict::Senders;
use super::window::{Flow, Window};
use crate::core::event::MonoNs;
use crate::core::record::{Alert, Record, Verdict};

const SECOND: u64 = 1_000_000_000;
/// Without an incident, sums begin anew after so long: long enough for a slow scan to add up.
const SPAN: u64 = 10 * SECOND;
/// How long SYNs to closed ports must come before it is said what becomes of them: the SYN-ACKs of
/// another namespace are sent again after a second, if that is where they go.
const TRANSIT_AFTER: u64 = 2 * SECOND;
/// The same for SYNs to other addresses.
const FOREIGN_AFTER: u64 = SECOND;

/// One kind of such traffic.
#[derive(Default)]
struct Stream {
    window: Window,
    sources: Tallies,
    prefixes: Tallies,
    distinct: Union,
    sum: Flow,
    since: MonoNs,
    /// Since when its rate has been above the floor.
    over_since: Option<MonoNs>,
}

impl Stream {
    /// Takes in a tick. `keep`: an incident is open, sums go on.
    fn take(&mut self, tick: Option<&TargetTick>, span: (MonoNs, MonoNs), keep: bool, floor: f64) {
        let (from, now) = span;
        if !keep && self.is_old(now) {
            (self.sources, self.prefixes) = (Tallies::default(), Tallies::default());
            (self.distinct, self.sum) = (Union::default(), Flow::default());
        }
        if self.sum == Flow::default() {
            self.since = tick.and_then(|tick| tick.first_syn).unwrap_or(now);
        }
        let flow = Flow::new(&tick.map(|tick| tick.counts).unwrap_or_default(), 0.0);
        self.window.push(from, now, &flow);
        self.sum.add(&flow, 1.0);
        if let Some(sketch) = tick.and_then(|tick| tick.sources.as_ref()) {
            self.distinct.merge(sketch);
        }
        if self.window.rate(now).firsts < floor {
            self.over_since = None;
        } else if self.over_since.is_none() {
            self.over_since = Some(now);
        }
    }

    /// Whether its sums have run for their time.
    fn is_old(&self, now: MonoNs) -> bool {
        self.sum != Flow::default() && now.since(self.since) >= SPAN
    }

    fn add(&mut self, source: &SourceTick, of_prefix: bool) {
        let tallies = if of_prefix { &mut self.prefixes } else { &mut self.sources };
        tallies.of(source.addr).sent(source);
    }

    fn rate(&self, now: MonoNs) -> f64 {
        self.window.last(now, 2 * SECOND).firsts / 2.0
    }

    fn over(&self, now: MonoNs, span: u64) -> bool {
        self.over_since.is_some_and(|since| now.since(since) >= span)
    }

    fn alert(&self, incident: &Incident, context: &Context<'_>) -> Alert {
        let now = context.now;
        let senders = Senders {
            sources: &self.sources,
            prefixes: &self.prefixes,
            uncompleted: self.sum.uncompleted(),
            distinct: self.distinct.estimate(),
            seconds: now.since(self.since) as f64 / 1e9,
        };
        let mut alert = context.blank(None, incident);
        alert.syn_rate = self.window.rate(now).syns;
        alert.syn_count = self.sum.syns as u64;
        alert.sources_estimate = senders.distinct;
        alert.top_sources = senders.top(alert.syn_count);
        alert
    }
}

/// All of it.
#[derive(Default)]
pub(super) struct Strangers {
    closed: Stream,
    foreign: Stream,
    answers: Stream,
    targets: Union,
    /// Simultaneous opens: a SYN for a socket that is connecting is for no listener, and no scan.
    simultaneous: u64,
    /// SYN-ACKs since the last sample.
    syn_acks: u64,
    /// connect() calls that succeeded in other namespaces since the last sample.
    opens_elsewhere: u64,
    /// SYN-ACKs, connects and seconds between the last two samples.
    between: (u64, u64, f64),
    scan: Option<Incident>,
    transit: Option<Incident>,
    forwarded: Option<Incident>,
    backscatter: Option<Incident>,
}

impl Strangers {
    /// A socket of the namespace got a SYN while it was connecting.
    pub(super) const fn simultaneous_open(&mut self) {
        self.simultaneous += 1;
    }

    /// A connect() succeeded in another namespace: its SYN-ACK may have come through here.
    pub(super) const fn opened_elsewhere(&mut self) {
        self.opens_elsewhere += 1;
    }

    /// The kernel's counters came: `opens` connect() calls in `span` nanoseconds.
    pub(super) fn sampled(&mut self, opens: u64, span: u64) {
        let opens = opens.saturating_add(self.opens_elsewhere);
        self.between = (self.syn_acks, opens, span as f64 / 1e9);
        (self.syn_acks, self.opens_elsewhere) = (0, 0);
    }

    pub(super) const fn open(&self) -> bool {
        self.scan.is_some()
            || self.transit.is_some()
            || self.forwarded.is_some()
            || self.backscatter.is_some()
    }

    /// Takes in a tick; `elsewhere`: what happened in other namespaces since the last, by remote
    /// address.
    pub(super) fn take(
        &mut self,
        tick: &Tick,
        from: MonoNs,
        floor: f64,
        elsewhere: &FxHashMap<IpAddr, u64>,
        now: MonoNs,
    ) {
        let of = |wanted| tick.targets.iter().find(|target| target.target == wanted);
        let span = (from, now);
        let open = self.scan.is_some() || self.transit.is_some();
        if !open && self.closed.is_old(now) {
            (self.targets, self.simultaneous) = (Union::default(), 0);
        }
        self.closed.take(of(Target::Closed), span, open, floor);
        self.foreign.take(of(Target::Foreign), span, self.forwarded.is_some(), floor);
        if let Some(sketch) = &tick.closed_targets {
            self.targets.merge(sketch);
        }
        let own = tick.targets.iter().filter(|target| target.target != Target::Foreign);
        let syn_acks = own.fold(0, |sum: u64, target| sum.saturating_add(target.counts.syn_acks));
        self.syn_acks = self.syn_acks.saturating_add(syn_acks);
        // Told as if they were SYNs.
        let answers = (syn_acks > 0).then(|| TargetTick {
            target: Target::Closed,
            counts: Counts { syns: syn_acks, firsts: Parts::of(0, syn_acks), ..Counts::default() },
            first_syn: None,
            sources: tick.syn_ack_sources.clone(),
        });
        self.answers.take(answers.as_ref(), span, self.backscatter.is_some(), floor);
        for (list, of_prefix) in [(&tick.sources, false), (&tick.prefixes, true)] {
            for source in list {
                match source.target {
                    Target::Closed => self.closed.add(source, of_prefix),
                    Target::Foreign => self.foreign.add(source, of_prefix),
                    Target::Listener(_) | Target::Overflow => {}
                }
            }
        }
        for source in &tick.syn_ackers {
            self.answers.add(source, false);
            self.answers.add(&SourceTick { addr: prefix(source.addr), ..*source }, true);
        }
        self.closed.sources.answered_elsewhere(elsewhere);
    }

    /// Tells what is new.
    pub(super) fn judge(&mut self, floor: f64, context: &Context<'_>, out: &mut Vec<Record>) {
        let now = context.now;
        let steady = self.closed.rate(now);
        let targets =
            self.targets.estimate().map(|targets| targets.saturating_sub(self.simultaneous));
        let firsts = (self.closed.sum.firsts - self.simultaneous as f64).max(0.0);
        // What is open stays so at half the rate that starts it, not for the noise of every day.
        let least = if self.scan.is_some() { 1.25 } else { 0.5 };
        let scan = closed::scan(targets, firsts).filter(|_| steady >= least);
        let transit = (scan.is_none() && self.closed.over(now, TRANSIT_AFTER))
            .then(|| {
                let refusals = self.refusals(context);
                closed::transit(steady, floor, refusals, self.closed.sources.elsewhere())
            })
            .flatten();
        let through = self.foreign.rate(now);
        let forwarded = self.foreign.over(now, FOREIGN_AFTER).then(|| {
            Finding::notice(
                Verdict::Forwarded,
                vec![evidence("foreign_syns_per_second", through, Some(floor))],
            )
        });
        let (syn_acks, opens, seconds) = self.between;
        let unasked =
            backscatter::look(syn_acks, opens, context.stack.delta().out_rsts, seconds, floor)
                .filter(|_| {
                    context.stack.sampled_at().is_some_and(|at| now.since(at) <= 2 * SECOND)
                });
        for (slot, found, stream) in [
            (&mut self.scan, scan, &self.closed),
            (&mut self.transit, transit, &self.closed),
            (&mut self.forwarded, forwarded, &self.foreign),
            (&mut self.backscatter, unasked, &self.answers),
        ] {
            let begin = (stream.since, 0);
            let alert = |incident: &Incident| stream.alert(incident, context);
            Incident::step(slot, found, begin, context, alert, out);
        }
    }

    /// What the host did about SYNs for closed ports when its counters were last looked at. Of what has
    /// just ended they may tell the SYNs and not the RSTs, or the other way round.
    fn refusals(&self, context: &Context<'_>) -> Option<Refusals> {
        let (from, to) = context.stack.covered();
        let came = context.stack.rate(self.closed.window.between(from, to).firsts as u64)?;
        let sent = context.stack.rate(context.stack.delta().out_rsts)?;
        let goes_on = self.closed.window.last(context.now, SECOND / 2).firsts > 0.0;
        goes_on.then_some(Refusals { came, sent })
    }

    /// An update of each incident that goes on.
    pub(super) fn going_on(&self, context: &Context<'_>) -> impl Iterator<Item = Alert> {
        let all = [
            (&self.scan, &self.closed),
            (&self.transit, &self.closed),
            (&self.forwarded, &self.foreign),
            (&self.backscatter, &self.answers),
        ];
        let open = all.into_iter().filter_map(|(slot, stream)| Some((slot.as_ref()?, stream)));
        open.map(|(incident, stream)| stream.alert(incident, context))
    }
}
