//! Is it a flood, of what kind, and with what evidence. Sans-IO: ticks, samples and events in,
//! records out. How it works: `docs/flood-detection.md`.

mod cusum;
mod distinct;
pub mod half_open;
mod incident;
mod listener;
mod notices;
pub mod sample;
mod sources;
mod stack;
#[cfg(test)]
mod tests;
pub mod tick;
mod verdict;
mod window;

use std::collections::BTreeMap;
use std::net::IpAddr;

use rustc_hash::FxHashMap;
use tracer_common::state::TcpState;

use self::distinct::Union;
use self::incident::{Context, Incident};
use self::listener::Watch;
use self::notices::{backscatter, closed};
use self::sample::Sample;
use self::stack::Stack;
use self::tick::{SourceTick, Target, Tick};
use super::event::{Event, MonoNs};
use super::record::Record;

const SECOND: u64 = 1_000_000_000;
/// Remote addresses remembered between two ticks.
const MOST_ELSEWHERE: usize = 4096;
/// How long destinations of a scan are added up.
const SCAN_SPAN: u64 = 10 * SECOND;

/// What the detector is told once.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// SYNs per second that come to nothing, from which a listener is called flooded.
    pub min_rate: f64,
    /// How long it must be quiet before an incident is over, nanoseconds.
    pub clear_ns: u64,
    /// Inode of the network namespace whose interfaces carry the SYN hook.
    pub netns: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { min_rate: 100.0, clear_ns: 10 * SECOND, netns: 0 }
    }
}

/// What the detector would like to be told next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// Nothing.
    Nothing,
    /// A [`Sample`] without queues.
    Counters,
    /// A [`Sample`] with queues: a dump of sockets, which costs.
    Queues,
}

/// The flood detector.
pub struct Detector {
    config: Config,
    interfaces: Vec<String>,
    watches: BTreeMap<Target, Watch>,
    stack: Stack,
    now: MonoNs,
    traffic_at: Option<MonoNs>,
    /// Connections completed in other namespaces since the last tick, by remote address.
    elsewhere: FxHashMap<IpAddr, u64>,
    elsewhere_count: u64,
    /// connect() calls that succeeded in other namespaces since the last sample.
    opens_elsewhere: u64,
    syn_acks: u64,
    /// SYN-ACKs, connects and seconds between the last two samples.
    between: (u64, u64, f64),
    closed: Passing,
    incidents: [Option<Incident>; 4],
}

/// Traffic to what is no listener.
#[derive(Default)]
struct Passing {
    targets: Union,
    firsts: f64,
    began: MonoNs,
    closed: window::Window,
    foreign: window::Window,
    elsewhere: f64,
    /// SYNs to closed ports, SYNs to other addresses, SYN-ACKs: since the detector began.
    totals: [u64; 3],
}

impl Detector {
    /// A detector that has seen nothing.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            interfaces: Vec::new(),
            watches: BTreeMap::new(),
            stack: Stack::default(),
            now: MonoNs(0),
            traffic_at: None,
            elsewhere: FxHashMap::default(),
            elsewhere_count: 0,
            opens_elsewhere: 0,
            syn_acks: 0,
            between: (0, 0, 0.0),
            closed: Passing::default(),
            incidents: [None, None, None, None],
        }
    }

    /// The interfaces that carry the SYN hook, for the records.
    pub fn set_interfaces(&mut self, interfaces: Vec<String>) {
        self.interfaces = interfaces;
    }

    /// The smallest rate called a flood; something above zero whatever was configured.
    fn floor(&self) -> f64 {
        if self.config.min_rate.is_finite() { self.config.min_rate.max(1.0) } else { 100.0 }
    }

    /// Takes in what was counted since the tick before; what it leads to is appended to `out`.
    /// With an empty tick when nothing came in, so that time passes.
    pub fn tick(&mut self, tick: &Tick, out: &mut Vec<Record>) {
        let now = tick.to.max(self.now);
        let mut from = tick.from.max(self.now).min(now);
        if now.since(from) > 3 * SECOND {
            // Nothing came for long: what came now came since its first SYN.
            let first = tick.targets.iter().filter_map(|target| target.first_syn).min();
            from = first.unwrap_or(from).max(from).min(now);
        }
        self.now = now;
        if !tick.targets.is_empty() {
            self.traffic_at = Some(now);
        }
        let floor = self.floor();
        for target in &tick.targets {
            if matches!(target.target, Target::Listener(_) | Target::Overflow) {
                self.watches.entry(target.target).or_insert_with(|| Watch::new(target.target));
            }
            if target.target != Target::Foreign {
                self.syn_acks = self.syn_acks.saturating_add(target.counts.syn_acks);
            }
        }
        let context =
            Context { config: &self.config, stack: &self.stack, interfaces: &self.interfaces, now };
        let by_target: FxHashMap<Target, &tick::TargetTick> =
            tick.targets.iter().map(|target| (target.target, target)).collect();
        for (target, watch) in &mut self.watches {
            watch.take(by_target.get(target).copied(), from, floor, &context);
        }
        let add = |watches: &mut BTreeMap<Target, Watch>, list: &[SourceTick], kind: u8| {
            for source in list {
                let Some(watch) = watches.get_mut(&source.target) else { continue };
                match kind {
                    0 => {
                        let tally = watch.sources.of(source.addr);
                        tally.syns = tally.syns.saturating_add(source.syns);
                        tally.firsts = tally.firsts.saturating_add(source.firsts);
                    }
                    1 => {
                        let tally = watch.prefixes.of(source.addr);
                        tally.syns = tally.syns.saturating_add(source.syns);
                        tally.firsts = tally.firsts.saturating_add(source.firsts);
                    }
                    _ => {
                        let tally = watch.sources.of(source.addr);
                        tally.completed = tally.completed.saturating_add(source.syns);
                        if let Some(tally) = watch.prefixes.known(prefix(source.addr)) {
                            tally.completed = tally.completed.saturating_add(source.syns);
                        }
                    }
                }
            }
        };
        add(&mut self.watches, &tick.sources, 0);
        add(&mut self.watches, &tick.prefixes, 1);
        add(&mut self.watches, &tick.completers, 2);
        for watch in self.watches.values_mut() {
            for (addr, count) in &self.elsewhere {
                if let Some(tally) = watch.sources.known(*addr) {
                    tally.elsewhere = tally.elsewhere.saturating_add(*count);
                }
            }
            watch.judge(floor, &context, out);
        }
        self.others(tick, from, floor, out);
        self.elsewhere.clear();
        self.elsewhere_count = 0;
        self.watches.retain(|_, watch| !watch.quiet(now) || now.since(from) == 0);
    }

    /// What is no listener's: scans, transit, backscatter.
    fn others(&mut self, tick: &Tick, from: MonoNs, floor: f64, out: &mut Vec<Record>) {
        let now = self.now;
        let context =
            Context { config: &self.config, stack: &self.stack, interfaces: &self.interfaces, now };
        let closed = &mut self.closed;
        if now.since(closed.began) >= SCAN_SPAN {
            (closed.targets, closed.firsts, closed.began) = (Union::default(), 0.0, now);
        }
        if let Some(sketch) = &tick.closed_targets {
            closed.targets.merge(sketch);
        }
        let flow = |wanted| {
            let counts = tick.targets.iter().find(|target| target.target == wanted);
            window::Flow::new(&counts.map(|target| target.counts).unwrap_or_default(), 0.0)
        };
        let (to_closed, to_foreign) = (flow(Target::Closed), flow(Target::Foreign));
        closed.firsts += to_closed.firsts;
        let answers: u64 = tick
            .targets
            .iter()
            .filter(|target| target.target != Target::Foreign)
            .fold(0, |sum, target| sum.saturating_add(target.counts.syn_acks));
        let came = [to_closed.syns as u64, to_foreign.syns as u64, answers];
        let before = closed.totals;
        for (total, came) in closed.totals.iter_mut().zip(came) {
            *total = total.saturating_add(came);
        }
        let [syns, foreign_syns, answers] = closed.totals;
        let totals = [syns, syns, foreign_syns, answers];
        let before = [before[0], before[0], before[1], before[2]];
        closed.closed.push(from, now, &to_closed);
        closed.foreign.push(from, now, &to_foreign);
        closed.elsewhere = closed.elsewhere * (-(now.since(from) as f64) / 1e9).exp()
            + self.elsewhere_count as f64;
        let steady = |window: &window::Window| window.last(now, 2 * SECOND);
        let scan = closed::scan(closed.targets.estimate(), closed.firsts)
            .filter(|_| steady(&closed.closed).firsts >= 1.0);
        let resets = self.stack.rate(self.stack.delta().out_rsts);
        let rate = steady(&closed.closed).firsts / 2.0;
        let transit = if scan.is_none() {
            closed::transit(rate, floor, resets, closed.elsewhere)
        } else {
            None
        };
        let through = steady(&closed.foreign).firsts / 2.0;
        let foreign = (through >= floor).then(|| {
            incident::Finding::notice(
                super::record::Verdict::Forwarded,
                vec![incident::evidence("foreign_syns_per_second", through, Some(floor))],
            )
        });
        let (syn_acks, opens, seconds) = self.between;
        let unasked =
            backscatter::look(syn_acks, opens, self.stack.delta().out_rsts, seconds, floor)
                .filter(|_| self.stack.sampled_at().is_some_and(|at| now.since(at) <= 2 * SECOND));
        let rates = [rate, rate, through, syn_acks as f64 / seconds.max(0.001)];
        let found = [scan, transit, foreign, unasked];
        let figures = rates.into_iter().zip(totals).zip(before);
        for ((slot, found), ((rate, total), before)) in
            self.incidents.iter_mut().zip(found).zip(figures)
        {
            let begin = (from, (before, 0));
            let alert = |incident: &Incident| {
                let mut alert = context.blank(None, &incident.finding, incident.since);
                alert.syn_rate = rate;
                alert.syn_count = total.saturating_sub(incident.base.0);
                alert
            };
            Incident::step(slot, found, begin, &context, alert, out);
        }
    }

    /// Takes in an answer of the kernel's.
    pub fn sample(&mut self, sample: &Sample, _out: &mut Vec<Record>) {
        self.stack.sample(sample);
        let opens = self.stack.delta().active_opens.saturating_add(self.opens_elsewhere);
        self.between = (self.syn_acks, opens, self.stack.span() as f64 / 1e9);
        (self.syn_acks, self.opens_elsewhere) = (0, 0);
        if sample.queues.is_some() && self.stack.no_cookies() {
            for (target, watch) in &mut self.watches {
                if let Some((_, queue)) = self.stack.queue(*target) {
                    watch.half.reconcile(queue.syn_queue);
                }
            }
        }
    }

    /// Looks at an event; cheap for those that do not matter here.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::SynAckRetransmit(request) if request.netns == self.config.netns => {
                let port = request.local.port();
                for (target, watch) in &mut self.watches {
                    if let Target::Listener(addr) = target
                        && addr.port() == port
                        && (addr.ip() == request.local.ip() || addr.ip().is_unspecified())
                    {
                        watch.retransmitted();
                    }
                }
            }
            Event::Transition(socket) if socket.netns != self.config.netns => {
                match (socket.old, socket.new) {
                    (TcpState::SynRecv, TcpState::Established) => {
                        self.elsewhere_count += 1;
                        let remote = socket.remote.ip();
                        if self.elsewhere.len() < MOST_ELSEWHERE
                            || self.elsewhere.contains_key(&remote)
                        {
                            *self.elsewhere.entry(remote).or_default() += 1;
                        }
                    }
                    (TcpState::SynSent, TcpState::Established) => self.opens_elsewhere += 1,
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// What it would like to know by now.
    #[must_use]
    pub fn wants(&self, now: MonoNs) -> Want {
        let since = |at: Option<MonoNs>| at.map_or(u64::MAX, |at| now.since(at));
        let queues = since(self.stack.queues_at());
        let delta = self.stack.delta();
        let moved =
            delta.listen_overflows > 0 || delta.listen_drops > 0 || delta.tcp_req_q_full_drop > 0;
        let suspicious = self.watches.values().any(|watch| watch.suspicious() || watch.open());
        let old = || self.watches.values().any(|watch| watch.half.older_than(now, SECOND) > 0);
        if queues >= SECOND && (suspicious || moved || (self.stack.strained() && old())) {
            return Want::Queues;
        }
        if queues >= 5 * SECOND && old() {
            return Want::Queues;
        }
        let traffic = since(self.traffic_at) <= 2 * SECOND;
        if traffic && since(self.stack.sampled_at()) >= SECOND {
            Want::Counters
        } else {
            Want::Nothing
        }
    }

    /// Nothing is open and nothing under way: no ticks are needed until something comes in.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.incidents.iter().all(Option::is_none)
            && self.watches.values().all(|watch| watch.quiet(self.now))
            && self.traffic_at.is_none_or(|at| self.now.since(at) > 5 * SECOND)
    }

    /// The run ends at `now`: what is open gets a last update, no end is made up.
    pub fn finish(&mut self, now: MonoNs, out: &mut Vec<Record>) {
        self.now = now.max(self.now);
        let context = Context {
            config: &self.config,
            stack: &self.stack,
            interfaces: &self.interfaces,
            now: self.now,
        };
        for watch in self.watches.values() {
            watch.finish(&context, out);
        }
        for incident in self.incidents.iter().flatten() {
            let alert = context.blank(None, &incident.finding, incident.since);
            Incident::last_update(alert, out);
        }
    }
}

/// The first address of the /24 or /64.
fn prefix(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(addr) => {
            let [a, b, c, _] = addr.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(addr) => IpAddr::from((u128::from(addr) >> 64 << 64).to_be_bytes()),
    }
}
