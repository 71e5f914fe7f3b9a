//! What the kernel's samples say, as differences and by listener.

use std::net::SocketAddr;

use super::half_open::DEFAULT_LIFETIME_NS;
use super::sample::{ListenerQueues, Queues, Sample, StackCounters};
use super::tick::Target;
use crate::core::event::MonoNs;

/// The samples so far.
#[derive(Debug, Default)]
pub(super) struct Stack {
    last: Option<(MonoNs, StackCounters)>,
    /// Differences between the last two samples and the nanoseconds between them.
    delta: StackCounters,
    span: u64,
    queues: Option<(MonoNs, Queues)>,
    queues_before: Option<(MonoNs, Queues)>,
    /// Cookies sent between the last two dumps of queues.
    cookies_between: u64,
    cookies_at_queues: u64,
    lifetime: u64,
    syncookies: u8,
}

impl Stack {
    pub(super) fn sample(&mut self, sample: &Sample) {
        if let Some((at, last)) = &self.last {
            self.span = sample.at.since(*at);
            self.delta = difference(&sample.stack, last);
        }
        self.last = Some((sample.at, sample.stack));
        self.lifetime = sample.request_lifetime_ns;
        self.syncookies = sample.syncookies;
        if let Some(queues) = &sample.queues {
            self.cookies_between = match self.queues {
                Some(_) => sample.stack.syncookies_sent.saturating_sub(self.cookies_at_queues),
                // What was sent before the first dump is not known.
                None => u64::MAX,
            };
            self.cookies_at_queues = sample.stack.syncookies_sent;
            self.queues_before = self.queues.replace((sample.at, queues.clone()));
        }
    }

    pub(super) fn sampled_at(&self) -> Option<MonoNs> {
        self.last.as_ref().map(|(at, _)| *at)
    }

    pub(super) fn queues_at(&self) -> Option<MonoNs> {
        self.queues.as_ref().map(|(at, _)| *at)
    }

    /// How the counters moved between the last two samples.
    pub(super) fn delta(&self) -> &StackCounters {
        &self.delta
    }

    /// Nanoseconds between the last two samples; 0 before there are two.
    pub(super) fn span(&self) -> u64 {
        self.span
    }

    /// The moments of the last two samples, between which [`Self::delta`] was counted.
    pub(super) fn covered(&self) -> (MonoNs, MonoNs) {
        let to = self.last.as_ref().map_or(MonoNs(0), |(at, _)| *at);
        (MonoNs(to.0.saturating_sub(self.span)), to)
    }

    /// A difference per second; `None` before there are two samples.
    pub(super) fn rate(&self, count: u64) -> Option<f64> {
        (self.span > 0).then(|| count as f64 * 1e9 / self.span as f64)
    }

    /// How long a request waits, nanoseconds.
    pub(super) fn lifetime(&self) -> u64 {
        if self.lifetime == 0 { DEFAULT_LIFETIME_NS } else { self.lifetime }
    }

    /// Every SYN is answered with a cookie (`net.ipv4.tcp_syncookies` 2).
    pub(super) const fn always_cookies(&self) -> bool {
        self.syncookies == 2
    }

    /// No SYN cookie was sent between the last two dumps of queues.
    pub(super) fn no_cookies(&self) -> bool {
        self.cookies_between == 0
    }

    /// A listener's queues when last asked.
    pub(super) fn queue(&self, target: Target) -> Option<(MonoNs, ListenerQueues)> {
        let (at, queues) = self.queues.as_ref()?;
        Some((*at, *find(queues, target)?))
    }

    /// What a listener dropped between the last two dumps; `None` where the kernel does not tell.
    pub(super) fn drops(&self, target: Target) -> Option<u64> {
        let (_, before) = self.queues_before.as_ref()?;
        let (_, now) = self.queues.as_ref()?;
        Some(find(now, target)?.drops?.saturating_sub(find(before, target)?.drops?))
    }

    /// Some listener's SYN queue is at least half full, or an accept queue is full.
    pub(super) fn strained(&self) -> bool {
        self.queues.as_ref().is_some_and(|(_, queues)| {
            queues.listeners.iter().any(|queue| {
                queue.limit > 0
                    && (queue.syn_queue.saturating_mul(2) >= queue.limit
                        || queue.accept_queue >= queue.limit)
            })
        })
    }
}

/// The listener a target stands for: the same address, else one that takes any address.
fn find(queues: &Queues, target: Target) -> Option<&ListenerQueues> {
    let Target::Listener(wanted) = target else {
        return None;
    };
    let same_port = || queues.listeners.iter().filter(|queue| queue.local.port() == wanted.port());
    let any = |addr: &SocketAddr| addr.ip().is_unspecified();
    same_port()
        .find(|queue| queue.local == wanted)
        .or_else(|| same_port().find(|queue| any(&queue.local) && any(&wanted)))
}

fn difference(now: &StackCounters, then: &StackCounters) -> StackCounters {
    let StackCounters {
        syncookies_sent,
        syncookies_recv,
        syncookies_failed,
        listen_overflows,
        listen_drops,
        tcp_req_q_full_drop,
        tcp_req_q_full_do_cookies,
        tcp_syn_retrans,
        ip_reverse_path_filter,
        active_opens,
        out_rsts,
    } = *now;
    StackCounters {
        syncookies_sent: syncookies_sent.saturating_sub(then.syncookies_sent),
        syncookies_recv: syncookies_recv.saturating_sub(then.syncookies_recv),
        syncookies_failed: syncookies_failed.saturating_sub(then.syncookies_failed),
        listen_overflows: listen_overflows.saturating_sub(then.listen_overflows),
        listen_drops: listen_drops.saturating_sub(then.listen_drops),
        tcp_req_q_full_drop: tcp_req_q_full_drop.saturating_sub(then.tcp_req_q_full_drop),
        tcp_req_q_full_do_cookies: tcp_req_q_full_do_cookies
            .saturating_sub(then.tcp_req_q_full_do_cookies),
        tcp_syn_retrans: tcp_syn_retrans.saturating_sub(then.tcp_syn_retrans),
        ip_reverse_path_filter: ip_reverse_path_filter.saturating_sub(then.ip_reverse_path_filter),
        active_opens: active_opens.saturating_sub(then.active_opens),
        out_rsts: out_rsts.saturating_sub(then.out_rsts),
    }
}
