//! A simulated host: one listener, its clients with their round-trip time, spoofed or real sources.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tracer_common::flood::cohort;
use tracer_common::flood::distinct::REGISTERS;

use crate::core::event::MonoNs;
use crate::core::flood::parts::Changes;
use crate::core::flood::sample::{ListenerQueues, Queues, Sample, StackCounters};
use crate::core::flood::tick::{Counts, Sketch, SourceTick, Target, TargetTick, Tick};
use crate::core::flood::{Config, Detector, Want};
use crate::core::record::{Alert, Record};

pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MS;
pub(super) const START: u64 = 1_000 * SECOND;

/// What comes in during a step of 10 ms.
#[derive(Clone, Copy, Default)]
pub(super) struct Load {
    /// Honest connections per second.
    pub(super) honest: u64,
    /// Their round-trip time.
    pub(super) rtt: u64,
    /// SYNs per second that never complete.
    pub(super) attack: u64,
    /// Attackers: 0 is a new address every time.
    pub(super) attackers: u64,
    /// They are dropped before they reach the listener.
    pub(super) filtered: bool,
}

pub(super) struct Sim {
    pub(super) detector: Detector,
    pub(super) out: Vec<Record>,
    pub(super) now: u64,
    pub(super) limit: u64,
    tick: u64,
    /// End of the last tick.
    pub(super) last: u64,
    counts: Counts,
    first: Option<MonoNs>,
    sketch: Box<[u8]>,
    sources: BTreeMap<IpAddr, Changes>,
    completers: BTreeMap<IpAddr, Changes>,
    under_way: BTreeMap<u64, (u64, u64)>,
    half: u64,
    /// What the kernel was asked and has not answered yet.
    answer: Option<Sample>,
    stack: StackCounters,
    drops: u64,
    seed: u64,
    debt: (u64, u64),
}

pub(super) fn listener() -> SocketAddr {
    "10.0.0.1:80".parse().expect("an address")
}

impl Sim {
    pub(super) fn new(tick: u64) -> Self {
        Self {
            detector: Detector::new(Config { netns: 1, ..Config::default() }),
            out: Vec::new(),
            now: START,
            limit: 128,
            tick,
            last: START,
            counts: Counts::default(),
            first: None,
            sketch: vec![0; REGISTERS].into(),
            sources: BTreeMap::new(),
            completers: BTreeMap::new(),
            under_way: BTreeMap::new(),
            half: 0,
            answer: None,
            stack: StackCounters::default(),
            drops: 0,
            seed: 7,
            debt: (0, 0),
        }
    }

    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn syn(&mut self, source: u32) {
        let part = cohort::part(self.now);
        self.counts.syns += 1;
        self.counts.firsts.count(part, 1);
        self.first.get_or_insert(MonoNs(self.now));
        let addr = IpAddr::V4(Ipv4Addr::from(source));
        self.sources.entry(addr).or_default().count(part, 1);
        let mut hash = u64::from(source).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        hash ^= hash >> 32;
        let register = (hash % REGISTERS as u64) as usize;
        let rank = ((hash >> 13) | 1 << 50).trailing_zeros() as u8 + 1;
        self.sketch[register] = self.sketch[register].max(rank);
    }

    /// The load goes on for so long.
    pub(super) fn run(&mut self, load: Load, span: u64) -> &mut Self {
        let end = self.now + span;
        while self.now < end {
            self.now += 10 * MS;
            self.debt.0 += load.honest;
            self.debt.1 += load.attack;
            for _ in 0..self.debt.0 / 100 {
                let client = 0x0a01_0000 + (self.random() % 50) as u32;
                self.syn(client);
                let entry = self.under_way.entry(self.now + load.rtt).or_default();
                *entry = (entry.0 + 1, load.rtt);
            }
            for _ in 0..self.debt.1 / 100 {
                let random = self.random();
                let source = match load.attackers {
                    0 => 0x0b00_0000 + (random as u32 & 0x00ff_ffff),
                    n => 0x0a02_0000 + ((random % n) as u32) * 0x101,
                };
                self.syn(source);
                if load.filtered {
                } else if self.half < self.limit {
                    self.half += 1;
                } else {
                    self.stack.syncookies_sent += 1;
                }
            }
            self.debt = (self.debt.0 % 100, self.debt.1 % 100);
            while let Some(entry) = self.under_way.first_entry()
                && *entry.key() <= self.now
            {
                let (count, rtt) = entry.remove();
                let part = cohort::part_of_end(self.now - rtt, self.now);
                self.counts.completed.count(part, count);
                self.counts.handshake_ns += count * rtt;
                for _ in 0..count {
                    let client = 0x0a01_0000 + (self.random() % 50) as u32;
                    let client = IpAddr::V4(Ipv4Addr::from(client));
                    self.completers.entry(client).or_default().count(part, 1);
                }
            }
            if let Some(sample) = self.answer.take() {
                self.detector.sample(&sample);
                if sample.queues.is_some() {
                    self.flush();
                    self.detector.reconcile();
                }
            } else if self.now - self.last >= self.tick {
                self.flush();
                self.ask();
            }
        }
        self
    }

    fn flush(&mut self) {
        let target = Target::Listener(listener());
        let row = |(addr, n): (&IpAddr, &Changes)| SourceTick {
            target,
            addr: *addr,
            syns: n.gained().sum(),
            firsts: *n,
            bound: 0,
        };
        // As the kernel's sets do, only the heavy ones are named.
        let heavy = |(_, n): &(&IpAddr, &Changes)| n.gained().sum() > 1;
        let mut tick = Tick {
            from: MonoNs(self.last),
            to: MonoNs(self.now),
            cohort: cohort::number(self.now),
            sources: self.sources.iter().filter(heavy).map(row).collect(),
            completers: self.completers.iter().map(row).collect(),
            ..Tick::default()
        };
        if self.counts != Counts::default() {
            tick.targets.push(TargetTick {
                target,
                counts: self.counts,
                first_syn: self.first,
                sources: Some(Sketch(self.sketch.clone())),
            });
        }
        self.last = self.now;
        self.counts = Counts::default();
        self.first = None;
        self.sketch.fill(0);
        self.sources.clear();
        self.completers.clear();
        self.detector.tick(&tick, &mut self.out);
    }

    /// The kernel is asked after a tick. Its answer comes 10 ms later, and a tick before it.
    fn ask(&mut self) {
        let want = self.detector.wants(MonoNs(self.now));
        if want == Want::Nothing {
            return;
        }
        let queue = ListenerQueues {
            local: listener(),
            syn_queue: self.half,
            accept_queue: 0,
            limit: self.limit,
            drops: Some(self.drops),
        };
        let queues = (want == Want::Queues)
            .then(|| Queues { listeners: vec![queue], half_open: Vec::new() });
        let sample = Sample {
            at: MonoNs(self.now),
            stack: self.stack,
            queues,
            request_lifetime_ns: 63 * SECOND,
            syncookies: 1,
        };
        self.answer = Some(sample);
    }

    pub(super) fn alerts(&self) -> Vec<&Alert> {
        self.out
            .iter()
            .filter_map(|record| match record {
                Record::Alert(alert) => Some(&**alert),
                _ => None,
            })
            .collect()
    }
}
