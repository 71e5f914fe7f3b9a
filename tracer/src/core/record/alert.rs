//! Alerts: floods, and what only looks like one.

use std::net::{IpAddr, SocketAddr};

use crate::core::event::MonoNs;

/// Where an alert is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the words of the reports")]
pub enum AlertEvent {
    Start,
    Update,
    End,
}

impl AlertEvent {
    /// The name users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Update => "update",
            Self::End => "end",
        }
    }
}

/// What is held to be going on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Verdict {
    /// Flood: sources that never come back; each sends a SYN or two.
    Spoofed,
    /// Flood: one address sends most of it.
    SingleSource,
    /// Flood: many addresses that each send many.
    Distributed,
    /// Flood: one /24 or /64 sends most of it, from several addresses.
    Prefix,
    /// Notice: many closed ports are tried.
    PortScan,
    /// Notice: many more connections than before, and they complete.
    FlashCrowd,
    /// Notice: the application does not accept() what is ready.
    AcceptQueueOverload,
    /// Notice: SYN-ACKs that nobody asked for: somebody floods others in this host's name.
    Backscatter,
    /// Notice: SYNs come in and never reach the listener (packet filter, reverse path filter).
    Filtered,
    /// Notice: SYNs pass through to somewhere else (routing, DNAT, bridge).
    Forwarded,
    /// Notice: handshakes take many attempts because packets are lost.
    LossyPath,
    /// Notice: a listener's SYN queue is nearly full, at a rate below the floor for a flood.
    QueuePressure,
}

impl Verdict {
    /// Every verdict, in the order of the documentation.
    pub const ALL: [Self; 12] = [
        Self::Spoofed,
        Self::SingleSource,
        Self::Distributed,
        Self::Prefix,
        Self::PortScan,
        Self::FlashCrowd,
        Self::AcceptQueueOverload,
        Self::Backscatter,
        Self::Filtered,
        Self::Forwarded,
        Self::LossyPath,
        Self::QueuePressure,
    ];

    /// The name users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spoofed => "spoofed",
            Self::SingleSource => "single_source",
            Self::Distributed => "distributed",
            Self::Prefix => "prefix",
            Self::PortScan => "port_scan",
            Self::FlashCrowd => "flash_crowd",
            Self::AcceptQueueOverload => "accept_queue_overload",
            Self::Backscatter => "backscatter",
            Self::Filtered => "filtered",
            Self::Forwarded => "forwarded",
            Self::LossyPath => "lossy_path",
            Self::QueuePressure => "queue_pressure",
        }
    }

    /// Whether it is a flood (`flood` record), otherwise it only looks like one (`notice`).
    #[must_use]
    pub const fn is_flood(self) -> bool {
        matches!(self, Self::Spoofed | Self::SingleSource | Self::Distributed | Self::Prefix)
    }
}

/// How sure, and how bad.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Severity {
    /// tracer's own counts say so.
    Suspected,
    /// The kernel's say so, too: SYN queue, cookies, SYN-ACKs sent again, drops.
    Confirmed,
    /// And honest connections suffer.
    Impact,
}

impl Severity {
    /// The name users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Suspected => "suspected",
            Self::Confirmed => "confirmed",
            Self::Impact => "impact",
        }
    }
}

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Network {
    /// First address.
    pub addr: IpAddr,
    /// Length of the prefix.
    pub len: u8,
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

/// Who sends much of it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TopSource {
    /// A host (/32, /128) or a /24 or /64.
    pub prefix: Network,
    /// SYNs since the incident began.
    pub syn_count: u64,
    /// Of all SYNs to the listener in that time: 0 to 1.
    pub share: f64,
}

/// A listener's SYN queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queue {
    /// Half-open connections in it.
    pub length: u64,
    /// Its limit.
    pub limit: u64,
}

/// A figure that speaks for the verdict.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Evidence {
    /// What was measured, in snake_case with its unit if it has one.
    pub metric: &'static str,
    /// How much.
    pub value: f64,
    /// What it was held against; `None` where it is only told.
    pub threshold: Option<f64>,
}

impl Evidence {
    /// The metric that comes first in a flood's: SYNs without a connection, per second.
    pub const UNCOMPLETED: &'static str = "uncompleted_syns_per_second";
}

/// A `flood` or `notice` record.
#[derive(Clone, PartialEq, Debug)]
pub struct Alert {
    /// When.
    pub at: MonoNs,
    /// Beginning, going on, or over.
    pub event: AlertEvent,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Interfaces that carry the SYN hook.
    pub interfaces: Vec<String>,
    /// The destination; `None` where it is not one listener.
    pub listener: Option<SocketAddr>,
    /// What is held to be going on.
    pub verdict: Verdict,
    /// How sure; `None` for a notice.
    pub severity: Option<Severity>,
    /// SYNs (for backscatter SYN-ACKs) since `since`, raw.
    pub syn_count: u64,
    /// The same per second, over the last second.
    pub syn_rate: f64,
    /// Connections completed per SYN (not repeated) since `since`; `None` where it means nothing.
    pub completed_ratio: Option<f64>,
    /// SYNs that have not completed and still may, those answered with a cookie included: tracer's own
    /// count, not the length of the kernel's queue.
    pub half_open: Option<u64>,
    /// Different sources since `since`, an estimate.
    pub sources_estimate: Option<u64>,
    /// Who sends most, most first; at most ten.
    pub top_sources: Vec<TopSource>,
    /// The listener's SYN queue, when last asked.
    pub queue: Option<Queue>,
    /// SYN cookies sent per second, all listeners of the namespace.
    pub cookies_sent_rate: Option<f64>,
    /// What speaks for the verdict.
    pub evidence: Vec<Evidence>,
    /// The first SYN of the incident, as far as it can be told.
    pub since: MonoNs,
    /// End of the last tick in which it went on; never before `since`.
    pub until: MonoNs,
}
