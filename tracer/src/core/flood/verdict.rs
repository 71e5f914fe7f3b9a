//! Which kind of flood it is, by the SYNs that came to nothing.

use std::net::IpAddr;

use tracer_common::flood::sources::SAMPLE;

use super::sources::{Tallies, Tally};
use crate::core::record::{Network, TopSource, Verdict};

/// Share of the uncompleted SYNs from which one source, or one prefix, is the flood.
pub(super) const SHARE: f64 = 0.5;
/// Up to so many SYNs a source, and
const SPOOFED_SYNS: f64 = 3.0;
/// up to so many per second and source, nobody comes back: the addresses are made up.
const SPOOFED_RATE: f64 = 0.5;
/// A prefix is named beside hosts where it sends so many times what its worst host does.
const STANDS_OUT: u64 = 4;

/// What is known of the senders since an incident began.
pub(super) struct Senders<'a> {
    pub(super) sources: &'a Tallies,
    pub(super) prefixes: &'a Tallies,
    /// SYNs that came to nothing.
    pub(super) uncompleted: f64,
    /// Different sources, an estimate.
    pub(super) distinct: Option<u64>,
    pub(super) seconds: f64,
}

impl Senders<'_> {
    /// The verdict.
    pub(super) fn verdict(&self) -> Verdict {
        let half = self.uncompleted.max(1.0) * SHARE;
        let worst = |tallies: &Tallies| tallies.worst(1).first().copied();
        let source = worst(self.sources);
        if source.is_some_and(|(_, tally)| tally.uncompleted() as f64 >= half) {
            return Verdict::SingleSource;
        }
        if worst(self.prefixes).is_some_and(|(_, tally)| tally.uncompleted() as f64 >= half) {
            return Verdict::Prefix;
        }
        let honest = self.sources.iter().filter(|(_, tally)| tally.completes()).count();
        let known = self.sources.len().saturating_sub(honest);
        let distinct = self.distinct.map_or(known, |n| (n as usize).saturating_sub(honest)).max(1);
        let each = self.uncompleted / distinct as f64;
        if each <= SPOOFED_SYNS || each / self.seconds.max(1.0) <= SPOOFED_RATE {
            Verdict::Spoofed
        } else {
            Verdict::Distributed
        }
    }

    /// Who to name: at most ten, most first; `syns` is all that came to the listener.
    pub(super) fn top(&self, syns: u64) -> Vec<TopSource> {
        const MOST: usize = 10;
        let share = |count: u64| (count as f64 / syns.max(1) as f64).min(1.0);
        let named = |addr: IpAddr, len: u8, tally: &Tally| TopSource {
            prefix: Network { addr, len },
            // A prefix's is an estimate.
            syn_count: tally.syns.min(syns.max(1)),
            share: share(tally.syns),
        };
        let hosts = self.sources.worst(MOST);
        let mut top = Vec::new();
        for (addr, tally) in self.prefixes.worst(MOST) {
            let len = if addr.is_ipv4() { 24 } else { 64 };
            let network = Network { addr, len };
            let most = hosts
                .iter()
                .filter(|(host, _)| contains(network, *host))
                .map(|(_, tally)| tally.syns)
                .max()
                // Of a host that is not followed one SYN may stand for so many.
                .map_or(u64::from(SAMPLE), |most| most.max(SAMPLE.into()));
            if share(tally.syns) >= 0.02 && tally.syns >= most.saturating_mul(STANDS_OUT) {
                top.push(named(addr, len, &tally));
            }
        }
        let networks: Vec<_> = top.iter().map(|top| top.prefix).collect();
        for (addr, tally) in hosts {
            if !networks.iter().any(|network| contains(*network, addr)) {
                top.push(named(addr, if addr.is_ipv4() { 32 } else { 128 }, &tally));
            }
        }
        top.sort_by_key(|top| std::cmp::Reverse(top.syn_count));
        top.truncate(MOST);
        top
    }
}

/// Whether a host is in a /24 or /64.
fn contains(network: Network, host: IpAddr) -> bool {
    match (network.addr, host) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..3] == b.octets()[..3],
        (IpAddr::V6(a), IpAddr::V6(b)) => a.octets()[..8] == b.octets()[..8],
        _ => false,
    }
}
