//! Is it a flood, of what kind, and with what evidence. Sans-IO: ticks, samples and events in,
//! records out. How it works: `docs/flood-detection.md`.

mod baseline;
mod cusum;
mod distinct;
pub mod half_open;
mod incident;
mod listener;
mod notices;
pub mod parts;
pub mod sample;
mod sources;
mod stack;
mod strangers;
#[cfg(test)]
mod tests;
pub mod tick;
mod verdict;
mod window;

use std::collections::BTreeMap;
use std::net::IpAddr;

use rustc_hash::FxHashMap;
use tracer_common::state::TcpState;

use self::incident::Context;
use self::listener::Watch;
use self::sample::Sample;
use self::stack::Stack;
use self::strangers::Strangers;
use self::tick::{Target, Tick};
use super::event::{Event, MonoNs};
use super::record::{Alert, Record};

const SECOND: u64 = 1_000_000_000;
/// The kernel is asked every second, at a tick: at the fourth after the last time, and not at the fifth
/// because the answer was some microseconds late.
const ASK_AGAIN: u64 = 900_000_000;
/// Remote addresses remembered between two ticks.
const MOST_ELSEWHERE: usize = 4096;

/// What the detector is told once.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// SYNs per second that come to nothing, from which a listener is called flooded.
    pub min_rate: f64,
    /// How long it must be quiet before an incident is over, nanoseconds.
    pub clear_ns: u64,
    /// Inode of the network namespace whose interfaces carry the SYN hook.
    pub netns: u32,
    /// Whether there is a kernel that can be asked; in a capture there is none.
    pub kernel: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { min_rate: 100.0, clear_ns: 10 * SECOND, netns: 0, kernel: true }
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
    /// Connections completed and SYN-ACKs sent again in other namespaces since the last tick, by
    /// remote address.
    elsewhere: FxHashMap<IpAddr, u64>,
    strangers: Strangers,
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
            strangers: Strangers::default(),
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
            if target.target.listens() {
                self.watches.entry(target.target).or_insert_with(|| Watch::new(target.target));
            }
        }
        let context = Context {
            config: &self.config,
            stack: &self.stack,
            interfaces: &self.interfaces,
            syns: 0.0,
            now,
        };
        let by_target: FxHashMap<Target, &tick::TargetTick> =
            tick.targets.iter().map(|target| (target.target, target)).collect();
        for (target, watch) in &mut self.watches {
            watch.take((by_target.get(target).copied(), tick.cohort), from, floor, &context);
        }
        let syns = self.watches.values().map(|watch| watch.syns(self.stack.covered())).sum();
        let context = Context { syns, ..context };
        for source in &tick.sources {
            if let Some(watch) = self.watches.get_mut(&source.target) {
                watch.sources.of(source.addr).sent(source);
            }
        }
        for source in &tick.prefixes {
            if let Some(watch) = self.watches.get_mut(&source.target) {
                watch.prefixes.of(source.addr).sent(source);
            }
        }
        for source in &tick.completers {
            let Some(watch) = self.watches.get_mut(&source.target) else { continue };
            let tally = watch.sources.of(source.addr);
            tally.completed = tally.completed.saturating_add(source.syns);
            if let Some(tally) = watch.prefixes.known(prefix(source.addr)) {
                tally.completed = tally.completed.saturating_add(source.syns);
            }
        }
        for watch in self.watches.values_mut() {
            watch.sources.answered_elsewhere(&self.elsewhere);
            watch.judge(floor, &context, out);
        }
        self.strangers.take(tick, from, floor, &self.elsewhere, now);
        self.strangers.judge(floor, &context, out);
        self.elsewhere.clear();
        self.watches.retain(|_, watch| !watch.quiet(now) || now.since(from) == 0);
    }

    /// Takes in an answer of the kernel's. Where it lists the queues, a tick follows, which tells what
    /// had completed by then, and [`Self::reconcile`].
    pub fn sample(&mut self, sample: &Sample) {
        // Asked earlier and answered later than the last.
        if self.stack.sampled_at().is_some_and(|at| sample.at <= at) {
            return;
        }
        self.stack.sample(sample);
        self.strangers.sampled(self.stack.delta().active_opens, self.stack.span());
    }

    /// Holds the half-open connections against the queues of the last [`Self::sample`].
    pub fn reconcile(&mut self) {
        if self.stack.no_cookies() {
            for (target, watch) in &mut self.watches {
                if let Some((at, queue)) = self.stack.queue(*target) {
                    watch.half.reconcile(queue.syn_queue, at);
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
            Event::SynAckRetransmit(request) => self.seen_elsewhere(request.remote.ip()),
            Event::Transition(socket) if socket.netns != self.config.netns => {
                match (socket.old, socket.new) {
                    (TcpState::SynRecv, TcpState::Established) => {
                        self.seen_elsewhere(socket.remote.ip());
                    }
                    (TcpState::SynSent, TcpState::Established) => {
                        self.strangers.opened_elsewhere();
                    }
                    _ => {}
                }
            }
            Event::Transition(socket)
                if (socket.old, socket.new) == (TcpState::SynSent, TcpState::SynRecv) =>
            {
                self.strangers.simultaneous_open();
            }
            _ => {}
        }
    }

    /// A remote host's SYN was answered in another namespace of this machine.
    fn seen_elsewhere(&mut self, remote: IpAddr) {
        if self.elsewhere.len() < MOST_ELSEWHERE || self.elsewhere.contains_key(&remote) {
            *self.elsewhere.entry(remote).or_default() += 1;
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
        if queues >= ASK_AGAIN && (suspicious || moved || (self.stack.strained() && old())) {
            return Want::Queues;
        }
        if queues >= 5 * SECOND && old() {
            return Want::Queues;
        }
        let traffic = since(self.traffic_at) <= 2 * SECOND;
        if traffic && since(self.stack.sampled_at()) >= ASK_AGAIN {
            Want::Counters
        } else {
            Want::Nothing
        }
    }

    /// A tick was left out because there was nothing to tell: what happened in other namespaces has
    /// nothing to do with what comes next.
    pub fn skipped(&mut self) {
        self.elsewhere.clear();
    }

    /// Nothing is open and nothing under way: no ticks are needed until something comes in.
    #[must_use]
    pub fn idle(&self) -> bool {
        !self.strangers.open()
            && self.watches.values().all(|watch| watch.quiet(self.now))
            && self.traffic_at.is_none_or(|at| self.now.since(at) > 5 * SECOND)
    }

    /// How each incident that goes on stands since the last tick, as an update of it.
    #[must_use]
    pub fn going_on(&self) -> Vec<Alert> {
        let context = Context {
            config: &self.config,
            stack: &self.stack,
            interfaces: &self.interfaces,
            syns: 0.0,
            now: self.now,
        };
        let watched = self.watches.values().flat_map(|watch| watch.going_on(&context));
        watched.chain(self.strangers.going_on(&context)).collect()
    }

    /// The run ends at `now`: what is open gets a last update, no end is made up.
    pub fn finish(&mut self, now: MonoNs, out: &mut Vec<Record>) {
        self.now = now.max(self.now);
        out.extend(self.going_on().into_iter().map(|alert| Record::Alert(Box::new(alert))));
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
