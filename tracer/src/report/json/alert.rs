//! `flood` and `notice`: the same fields, null where they do not apply.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::core::record::{Alert, Evidence, Queue, Severity, TopSource};
use crate::report::clock::{Utc, WallClock};
use crate::report::units::{inode, rate, ratio};

#[derive(Serialize)]
pub(super) struct AlertLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    time: Utc,
    event: &'static str,
    netns: Option<u32>,
    interfaces: &'a [String],
    listener: Option<ListenerLine>,
    verdict: &'static str,
    severity: Option<&'static str>,
    syn_count: u64,
    syn_rate: Option<f64>,
    completed_ratio: Option<f64>,
    half_open: Option<u64>,
    sources_estimate: Option<u64>,
    top_sources: Vec<TopSourceLine>,
    queue: Option<QueueLine>,
    cookies_sent_rate: Option<f64>,
    evidence: Vec<EvidenceLine>,
    since: Utc,
    until: Utc,
}

#[derive(Serialize)]
struct ListenerLine {
    addr: IpAddr,
    port: u16,
}

#[derive(Serialize)]
struct TopSourceLine {
    prefix: String,
    syn_count: u64,
    share: Option<f64>,
}

#[derive(Serialize)]
struct QueueLine {
    length: u64,
    limit: u64,
}

#[derive(Serialize)]
struct EvidenceLine {
    metric: &'static str,
    value: Option<f64>,
    threshold: Option<f64>,
}

impl<'a> AlertLine<'a> {
    pub(super) fn new(alert: &'a Alert, clock: &WallClock) -> Self {
        let Alert {
            at,
            event,
            netns,
            interfaces,
            listener,
            verdict,
            severity,
            syn_count,
            syn_rate,
            completed_ratio,
            half_open,
            sources_estimate,
            top_sources,
            queue,
            cookies_sent_rate,
            evidence,
            since,
            until,
        } = alert;
        Self {
            kind: if verdict.is_flood() { "flood" } else { "notice" },
            time: clock.utc(*at),
            event: event.name(),
            netns: inode(*netns),
            interfaces,
            listener: listener.map(ListenerLine::from),
            verdict: verdict.name(),
            severity: severity.map(Severity::name),
            syn_count: *syn_count,
            syn_rate: rate(*syn_rate),
            completed_ratio: completed_ratio.and_then(ratio),
            half_open: *half_open,
            sources_estimate: *sources_estimate,
            top_sources: top_sources.iter().map(TopSourceLine::from).collect(),
            queue: queue.map(QueueLine::from),
            cookies_sent_rate: cookies_sent_rate.and_then(rate),
            evidence: evidence.iter().map(EvidenceLine::from).collect(),
            since: clock.utc(*since),
            until: clock.utc(*until),
        }
    }
}

impl From<SocketAddr> for ListenerLine {
    fn from(listener: SocketAddr) -> Self {
        Self { addr: listener.ip().to_canonical(), port: listener.port() }
    }
}

impl From<&TopSource> for TopSourceLine {
    fn from(top: &TopSource) -> Self {
        let TopSource { prefix, syn_count, share } = top;
        Self { prefix: prefix.to_string(), syn_count: *syn_count, share: ratio(*share) }
    }
}

impl From<Queue> for QueueLine {
    fn from(Queue { length, limit }: Queue) -> Self {
        Self { length, limit }
    }
}

impl From<&Evidence> for EvidenceLine {
    fn from(Evidence { metric, value, threshold }: &Evidence) -> Self {
        // Rates, counts and shares alike: three places hold the smallest of them.
        Self { metric, value: ratio(*value), threshold: threshold.and_then(ratio) }
    }
}
