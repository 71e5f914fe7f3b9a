//! The hosts that come first by some figure, for whoever looks while the run goes on.

use std::cmp::Reverse;
use std::net::IpAddr;

use super::{Figures, Hosts};
use crate::core::Core;
use crate::core::event::MonoNs;
use crate::core::record::Host;
use crate::core::spread::Spread;

/// What hosts are ordered by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HostOrder {
    /// Their address, smallest first.
    Address,
    /// Connections that ended.
    Connections,
    /// Of them, those that did not end `closed`.
    Failed,
    /// Median of the handshakes.
    HandshakeP50,
    /// 99th percentile of the handshakes.
    HandshakeP99,
    /// Median of the closes.
    CloseP50,
    /// 99th percentile of the closes.
    CloseP99,
    /// Half-open connections now.
    HalfOpen,
}

/// Some hosts in order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Ranked {
    /// The first ones.
    pub rows: Vec<Host>,
    /// How many more were asked for and have no row here.
    pub more: usize,
    /// Those that have no figures of their own because there are too many hosts.
    pub others: Option<Host>,
}

/// Everything that is kept of a host.
#[derive(Clone, PartialEq, Debug)]
pub struct HostDetail {
    /// Its row.
    pub row: Host,
    /// How its handshakes spread.
    pub handshake: Spread,
    /// How its closes spread.
    pub close: Spread,
}

impl Figures {
    fn rank(&self, order: HostOrder) -> u64 {
        let handshake = || self.handshake.quantiles().unwrap_or_default();
        let close = || self.close.quantiles().unwrap_or_default();
        match order {
            HostOrder::Address => 0,
            HostOrder::Connections => self.connections,
            HostOrder::Failed => self.failed,
            HostOrder::HandshakeP50 => handshake().p50,
            HostOrder::HandshakeP99 => handshake().p99,
            HostOrder::CloseP50 => close().p50,
            HostOrder::CloseP99 => close().p99,
            HostOrder::HalfOpen => self.syns.half.count(),
        }
    }
}

impl Hosts {
    fn ranked(
        &self,
        now: MonoNs,
        order: HostOrder,
        ascending: bool,
        most: usize,
        wanted: impl Fn(IpAddr) -> bool,
    ) -> Ranked {
        let interval = now.since(self.since);
        let mut all: Vec<_> = self
            .by_host
            .iter()
            .filter(|(host, _)| wanted(**host))
            .map(|(host, figures)| {
                let rank = figures.rank(order);
                let rank = if ascending { rank } else { u64::MAX - rank };
                (rank, Reverse(figures.connections), *host, figures)
            })
            .collect();
        let key = |row: &(u64, Reverse<u64>, IpAddr, &Figures)| match order {
            HostOrder::Address => (0, Reverse(0), row.2),
            _ => (row.0, row.1, row.2),
        };
        // Addresses the other way round begin with the largest.
        let backwards = order == HostOrder::Address && !ascending;
        let compare = |a: &_, b: &_| {
            let ordering = key(a).cmp(&key(b));
            if backwards { ordering.reverse() } else { ordering }
        };
        let more = all.len().saturating_sub(most);
        if more > 0 {
            all.select_nth_unstable_by(most, compare);
            all.truncate(most);
        }
        all.sort_unstable_by(compare);
        Ranked {
            rows: all
                .into_iter()
                .map(|(.., host, figures)| figures.row(Some(host), interval, self.hook))
                .collect(),
            more,
            others: self.others.as_ref().map(|others| others.row(None, interval, self.hook)),
        }
    }
}

impl Core {
    /// The `most` hosts of the run that come first by `order` (largest first unless `ascending`),
    /// of those that `wanted` says yes to.
    #[must_use]
    pub fn ranked_hosts(
        &self,
        now: MonoNs,
        order: HostOrder,
        ascending: bool,
        most: usize,
        wanted: impl Fn(IpAddr) -> bool,
    ) -> Ranked {
        self.run.ranked(now, order, ascending, most, wanted)
    }

    /// What is kept of a host; `None` if it has no figures of its own.
    #[must_use]
    pub fn host(&self, host: IpAddr, now: MonoNs) -> Option<HostDetail> {
        let figures = self.run.by_host.get(&host)?;
        Some(HostDetail {
            row: figures.row(Some(host), now.since(self.run.since), self.run.hook),
            handshake: figures.handshake.spread(),
            close: figures.close.spread(),
        })
    }
}
