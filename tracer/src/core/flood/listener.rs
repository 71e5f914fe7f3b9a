//! One listener: what came in for it, and what is made of that.

mod trace;

use self::trace::Trace;
use super::baseline::Baseline;
use super::cusum::Cusum;
use super::distinct::Union;
use super::half_open::HalfOpen;
use super::incident::{Context, Finding, Incident, evidence};
use super::notices::{crowd, lossy, queues};
use super::sources::Tallies;
use super::tick::{Target, TargetTick};
use super::verdict::Senders;
use super::window::{Flow, Window};
use crate::core::event::MonoNs;
use crate::core::record::{Alert, Evidence, Queue, Record, Severity, Verdict};

const MS: u64 = 1_000_000;
/// How long the sum must have been high, and the age from which a SYN should have completed.
const PERSIST: u64 = 750 * MS;
/// After so long nothing of what came before is taken for part of what comes.
const SILENCE: u64 = 1_000 * MS;
/// A sum that rose over few SYNs within so long is no rise.
const CALM: u64 = 3_000 * MS;

/// One listener.
pub(super) struct Watch {
    target: Target,
    window: Window,
    cusum: Cusum,
    pub(super) baseline: Baseline,
    pub(super) sources: Tallies,
    pub(super) prefixes: Tallies,
    distinct: Union,
    /// Since the first SYN of what may become an incident.
    sum: Flow,
    since: MonoNs,
    /// The sum as it was when the incident last went on.
    counted: Flow,
    /// End of the last tick that had more uncompleted SYNs than are allowed for.
    until: MonoNs,
    /// The last tick had.
    exceeds: bool,
    pub(super) half: HalfOpen,
    /// SYN-ACKs sent again: of late, by exponential decay per tick.
    retransmits: f64,
    /// The last tick was the first one with SYNs after a silence. Of a rise that began late in it
    /// there is too little in it to tell, and it is part of that rise all the same.
    begins: bool,
    /// SYNs since it is watched.
    syns: u64,
    seen_at: MonoNs,
    /// Until then the SYN queue may hold what a flood left there.
    aftermath: MonoNs,
    pub(super) flood: Option<Incident>,
    notices: [Option<Incident>; 4],
}

impl Watch {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            window: Window::default(),
            cusum: Cusum::default(),
            baseline: Baseline::default(),
            sources: Tallies::default(),
            prefixes: Tallies::default(),
            distinct: Union::default(),
            sum: Flow::default(),
            since: MonoNs(0),
            counted: Flow::default(),
            until: MonoNs(0),
            exceeds: false,
            begins: false,
            half: HalfOpen::default(),
            retransmits: 0.0,
            syns: 0,
            seen_at: MonoNs(0),
            aftermath: MonoNs(0),
            flood: None,
            notices: [None, None, None, None],
        }
    }

    /// SYNs from one moment to another.
    pub(super) fn syns(&self, (from, to): (MonoNs, MonoNs)) -> f64 {
        self.window.between(from, to).syns
    }

    /// A SYN-ACK was sent again on this listener's behalf.
    pub(super) fn retransmitted(&mut self) {
        self.retransmits += 1.0;
    }

    pub(super) fn suspicious(&self) -> bool {
        self.flood.is_some() || self.cusum.over_since().is_some()
    }

    pub(super) fn open(&self) -> bool {
        self.flood.is_some() || self.notices.iter().any(Option::is_some)
    }

    /// Nothing is open or under way, and nothing came for a while.
    pub(super) fn quiet(&self, now: MonoNs) -> bool {
        !self.open() && self.half.count() == 0 && now.since(self.seen_at) > 5_000 * MS
    }

    /// Takes in a tick's counts and newest cohort; the sources follow by [`Watch::sources`].
    pub(super) fn take(
        &mut self,
        (tick, cohort): (Option<&TargetTick>, u64),
        from: MonoNs,
        floor: f64,
        context: &Context<'_>,
    ) {
        let now = context.now;
        let counts = tick.map(|tick| tick.counts).unwrap_or_default();
        let dt = (now.since(from).max(MS)) as f64;
        // Completions by another way (an interface without a hook) hide no flood.
        let usual = if self.baseline.seen_ns >= 3_000 * MS { self.baseline.unseen } else { 0.0 };
        let unseen = (counts.completed_unseen as f64 - usual * dt / 1e9).max(0.0);
        let flow = Flow::new(&counts, unseen);
        self.window.push(from, now, &flow);
        let completed = counts.completed.sum();
        let came = counts.syns > 0 || completed > 0 || counts.completed_unseen > 0;
        let after_silence = came && now.since(self.seen_at) > SILENCE;
        if came {
            self.seen_at = now;
        }
        self.syns = self.syns.saturating_add(counts.syns);
        self.half.add(now, cohort, &counts.firsts);
        // One whose SYN was not seen takes nothing off those that were.
        self.half.take(cohort, &counts.ended());
        self.half.expire(now, context.stack.lifetime());
        self.retransmits *= (-dt / 2e9).exp();
        if self.cusum.is_zero() && self.flood.is_none() && !self.begins {
            self.forget();
        }
        self.begins = after_silence;
        if self.sum == Flow::default() {
            self.since = tick.and_then(|tick| tick.first_syn).unwrap_or(now);
        }
        self.sum.add(&flow, 1.0);
        if let Some(sketch) = tick.and_then(|tick| tick.sources.as_ref()) {
            self.distinct.merge(sketch);
        }
        let allowance = (floor / 2.0 + self.baseline.uncompleted) * dt / 1e9;
        // Over a handful of SYNs the sum is not called high. It goes on all the same, since it dates
        // the onset, until it has risen for as long as is looked back: such a rise is over.
        let calm = self.window.last(now, CALM).uncompleted();
        let few = self.flood.is_none() && calm < floor + self.baseline.uncompleted;
        let limit = if few { f64::INFINITY } else { floor / 2.0 };
        let excess = flow.firsts - flow.completed - allowance;
        self.exceeds = excess > 0.0;
        self.cusum.add(excess, limit, (from, now));
        if few && self.cusum.risen_for(now) >= CALM {
            self.cusum.clear();
        }
        if !came && self.baseline.seen_ns == 0 {
            return;
        }
        // Below the floor nothing is called a flood, so it may become usual while the sum is high.
        let low = self.flood.is_none() && self.window.rate(now).uncompleted() < floor;
        if low || !self.suspicious() {
            self.baseline.learn_uncompleted(&flow, dt, floor);
        }
        if !self.suspicious() {
            let crowd = self.notices[0].is_some()
                || crowd::look(&self.window.rate(now), &self.baseline, floor, false).is_some();
            let unseen = counts.completed_unseen as f64;
            self.baseline.learn_completed(&flow, unseen, dt, crowd);
        }
    }

    fn forget(&mut self) {
        self.sources = Tallies::default();
        self.prefixes = Tallies::default();
        self.distinct = Union::default();
        self.sum = Flow::default();
    }

    /// SYNs older than [`PERSIST`] that have not completed, allowing for what is under way.
    fn aged(&self, now: MonoNs) -> f64 {
        let young = self.window.last_whole(now, PERSIST).firsts;
        let lag = self
            .window
            .slowest(now, 3_000 * MS)
            .map_or(PERSIST, |mean| ((mean * 2.0) as u64 + 50 * MS).min(PERSIST));
        let ahead = self.window.last(now, PERSIST - lag).completed;
        let completed = (self.sum.completed - ahead).max(0.0);
        // Clients that lose packets repeat their SYNs and complete in the end.
        let struggling = self.sum.completed >= self.sum.firsts * 0.2;
        let repeats = if struggling { self.sum.repeated * 1.25 } else { 0.0 };
        self.sum.firsts - young - completed - repeats - self.sources.under_way() as f64
    }

    /// Uncompleted SYNs per second that keep an incident open, or start one.
    fn threshold(&self, rate: &Flow, floor: f64) -> f64 {
        // Chance alone moves the difference of two large numbers. What does not keep an incident open
        // must not start one.
        let noise = 2.0 * rate.completed.max(0.0).sqrt();
        let stays = floor / 2.0 + self.baseline.uncompleted + noise;
        if self.flood.is_some() { stays } else { stays.max(floor) }
    }

    /// Whether it is flooded.
    fn look(&self, floor: f64, context: &Context<'_>) -> Option<Finding> {
        let now = context.now;
        let rate = self.window.rate(now);
        let uncompleted = rate.uncompleted();
        if uncompleted < self.threshold(&rate, floor) {
            return None;
        }
        if let Some(open) = &self.flood {
            return Some(match self.trace(context, &rate) {
                Trace::Seen(said) => self.flooded(context, &rate, floor, Some(said)),
                Trace::None(said)
                    if open.finding.severity.is_none_or(|s| s == Severity::Suspected) =>
                {
                    self.not_reached(said)
                }
                _ if !open.finding.verdict.is_flood() => open.finding.clone(),
                _ => self.flooded(context, &rate, floor, None),
            });
        }
        let over = self.cusum.over_since()?;
        if now.since(over) < PERSIST - MS {
            return None;
        }
        if let Some((at, queue)) = context.stack.queue(self.target)
            && at >= over
            && queues::accept_full(&queue)
        {
            // Honest clients repeat their SYNs while the application is stuck; a flood does not.
            let flood = now.since(over) >= 2_500 * MS
                && uncompleted >= 5.0 * floor
                && self.sum.repeated < self.sum.uncompleted() * 0.1;
            if !flood {
                return None;
            }
        }
        let trace = self.trace(context, &rate);
        let elsewhere = self.sources.elsewhere() as f64 >= self.sum.uncompleted() * 0.2;
        match trace {
            Trace::None(said) if elsewhere => Some(self.not_reached(said)),
            _ if self.aged(now) < floor / 2.0 => None,
            Trace::Seen(said) => Some(self.flooded(context, &rate, floor, Some(said))),
            Trace::None(said) => Some(self.not_reached(said)),
            // The kernel could not be asked. Where there is none, SYN-ACKs are sent again after a second.
            Trace::NotAskedYet
                if now.since(over) >= if context.config.kernel { 2_000 } else { 1_000 } * MS =>
            {
                Some(self.flooded(context, &rate, floor, None))
            }
            Trace::NotAskedYet => None,
        }
    }

    fn not_reached(&self, mut said: Vec<Evidence>) -> Finding {
        let elsewhere = self.sources.elsewhere() as f64;
        let threshold = self.sum.uncompleted() * 0.2;
        said.push(evidence("completed_elsewhere", elsewhere, Some(threshold)));
        let forwarded = elsewhere > 0.0 && elsewhere >= threshold;
        Finding::notice(if forwarded { Verdict::Forwarded } else { Verdict::Filtered }, said)
    }

    fn senders(&self, now: MonoNs) -> Senders<'_> {
        Senders {
            sources: &self.sources,
            prefixes: &self.prefixes,
            uncompleted: self.sum.uncompleted(),
            distinct: self.distinct.estimate(),
            seconds: now.since(self.since) as f64 / 1e9,
        }
    }

    fn flooded(
        &self,
        context: &Context<'_>,
        rate: &Flow,
        floor: f64,
        said: Option<Vec<Evidence>>,
    ) -> Finding {
        let delta = context.stack.delta();
        let confirmed = said.is_some();
        let mut told = vec![evidence(
            Evidence::UNCOMPLETED,
            rate.uncompleted(),
            Some(self.threshold(rate, floor)),
        )];
        told.extend(said.unwrap_or_default());
        let repeats = self.sources.honest_repeats();
        let dropped = delta.listen_drops.saturating_add(delta.tcp_req_q_full_drop);
        let last = self.window.last(context.now, 2_000 * MS).completed / 2.0;
        let fell = self.baseline.completed >= 20.0 && last < self.baseline.completed * 0.7;
        let suffer = fell || (repeats >= 5 && dropped > 0);
        if suffer {
            told.push(evidence(
                "completions_per_second",
                last,
                Some(self.baseline.completed * 0.7),
            ));
            told.push(evidence("honest_repeats", repeats as f64, Some(5.0)));
        }
        let severity = match (confirmed, suffer) {
            (true, true) => Severity::Impact,
            (true, false) => Severity::Confirmed,
            (false, _) => Severity::Suspected,
        };
        let verdict = self.senders(context.now).verdict();
        Finding { verdict, severity: Some(severity), evidence: told }
    }

    /// Looks at everything and tells what is new.
    pub(super) fn judge(&mut self, floor: f64, context: &Context<'_>, out: &mut Vec<Record>) {
        let now = context.now;
        let found = self.look(floor, context);
        // What comes while it is quiet is not of the incident, unless that comes back.
        if self.flood.is_none() || found.is_some() {
            self.counted = self.sum;
            if self.exceeds {
                self.until = now;
            }
        }
        let mut slot = self.flood.take();
        let was_open = slot.is_some();
        let begin = (self.since, 0);
        Incident::step(
            &mut slot,
            found,
            begin,
            context,
            |incident| self.alert(incident, context),
            out,
        );
        // What is over is forgotten: the next begins with sums of its own.
        if slot.is_none()
            && (was_open
                || self
                    .cusum
                    .over_since()
                    .is_some_and(|_| self.window.rate(now).uncompleted() < floor / 2.0))
        {
            self.cusum.clear();
        }
        self.flood = slot;

        let flooded = self.flood.as_ref().is_some_and(|flood| flood.finding.verdict.is_flood());
        if flooded {
            self.aftermath = MonoNs(now.0.saturating_add(context.stack.lifetime()));
        }
        let rate = self.window.rate(now);
        let last = self.window.last(now, 5_000 * MS);
        let delta = context.stack.delta();
        let fresh = context.stack.queue(self.target).filter(|(at, _)| now.since(*at) <= 6_000 * MS);
        let mut found = [None, None, None, None];
        found[0] = crowd::look(&rate, &self.baseline, floor, self.notices[0].is_some());
        if let Some((_, queue)) = fresh {
            found[1] = queues::overload(&queue, delta, rate.uncompleted());
        }
        // A listener that is flooded is not told of again for what the flood does.
        if !flooded {
            found[2] = lossy::look(&last, context.config.kernel.then_some(delta));
            if let Some((_, queue)) = fresh
                && found[1].is_none()
                && now >= self.aftermath
                && rate.uncompleted() < floor
            {
                let old = self.half.older_than(now, 1_000 * MS);
                found[3] = queues::pressure(&queue, old, delta, self.notices[3].is_some());
            }
        }
        let mut notices = std::mem::take(&mut self.notices);
        for (slot, found) in notices.iter_mut().zip(found) {
            let begin = (now, self.syns);
            Incident::step(
                slot,
                found,
                begin,
                context,
                |incident| self.alert(incident, context),
                out,
            );
        }
        self.notices = notices;
    }

    fn alert(&self, incident: &Incident, context: &Context<'_>) -> Alert {
        let now = context.now;
        let rate = self.window.rate(now);
        let listener = match self.target {
            Target::Listener(addr) => Some(addr),
            _ => None,
        };
        let mut alert = context.blank(listener, incident);
        alert.syn_rate = rate.syns;
        alert.half_open = Some(self.half.count());
        alert.queue = context
            .stack
            .queue(self.target)
            .map(|(_, queue)| Queue { length: queue.syn_queue, limit: queue.limit });
        if context.config.kernel {
            alert.cookies_sent_rate = context.stack.rate(context.stack.delta().syncookies_sent);
        }
        let deficit = incident.finding.verdict.is_flood()
            || matches!(incident.finding.verdict, Verdict::Filtered | Verdict::Forwarded);
        if deficit {
            let senders = self.senders(now);
            alert.until = self.until.max(incident.since);
            alert.syn_count = self.counted.syns as u64;
            alert.completed_ratio = (self.counted.firsts >= 1.0)
                .then(|| (self.counted.completed / self.counted.firsts).min(1.0));
            alert.sources_estimate = senders.distinct;
            alert.top_sources = senders.top(alert.syn_count);
        } else {
            alert.syn_count = self.syns.saturating_sub(incident.base);
        }
        alert
    }

    /// An update of each incident that goes on.
    pub(super) fn going_on(&self, context: &Context<'_>) -> impl Iterator<Item = Alert> {
        let incidents = self.flood.iter().chain(self.notices.iter().flatten());
        incidents.map(|incident| self.alert(incident, context))
    }
}
