//! What there is to see at a moment: plain data, made on the thread that reads the ring and shown
//! on another. Its size has bounds, whatever the number of hosts and connections.

use std::net::IpAddr;

use crate::core::event::MonoNs;
use crate::core::record::{Alert, Connection, End, OpenConnection, Outcome, Phases, Verdict};
use crate::core::spread::Spread;
use crate::report::WallClock;

use super::filter::Filter;

/// Rows of hosts or listeners at most.
pub(super) const ROWS: usize = 200;
/// Connections in a list at most.
pub(super) const CONNECTIONS: usize = 200;
/// Seconds of history.
pub(super) const HISTORY: usize = 300;

/// What figures cover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    /// The last whole second.
    Second,
    /// The last ten whole seconds.
    Ten,
    /// The whole run.
    Run,
}

impl Scope {
    pub(super) const ALL: [Self; 3] = [Self::Second, Self::Ten, Self::Run];

    /// Seconds of it; `None`: all.
    pub(super) const fn seconds(self) -> Option<u32> {
        match self {
            Self::Second => Some(1),
            Self::Ten => Some(10),
            Self::Run => None,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Second => "last 1 s",
            Self::Ten => "last 10 s",
            Self::Run => "whole run",
        }
    }

    pub(super) const fn next(self) -> Self {
        match self {
            Self::Second => Self::Ten,
            Self::Ten => Self::Run,
            Self::Run => Self::Second,
        }
    }
}

/// What has figures of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(super) enum Key {
    /// A remote host.
    Host(IpAddr),
    /// A local port of which this host is the server.
    Port(u16),
}

/// What the table is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Hosts,
    Listeners,
}

/// Columns of the table, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Column {
    Name,
    Connections,
    Failed,
    HandshakeP50,
    HandshakeP99,
    CloseP50,
    CloseP99,
    HalfOpen,
}

impl Column {
    pub(super) const ALL: [Self; 8] = [
        Self::Name,
        Self::Connections,
        Self::Failed,
        Self::HandshakeP50,
        Self::HandshakeP99,
        Self::CloseP50,
        Self::CloseP99,
        Self::HalfOpen,
    ];
}

/// What the user wants to see: told to the thread that makes views.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Wish {
    pub(super) scope: Scope,
    pub(super) kind: Kind,
    pub(super) order: Column,
    pub(super) ascending: bool,
    pub(super) filter: Filter,
    /// The one host or listener looked at.
    pub(super) detail: Option<Key>,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            scope: Scope::Ten,
            kind: Kind::Hosts,
            order: Column::Connections,
            ascending: false,
            filter: Filter::default(),
            detail: None,
        }
    }
}

/// Median and 99th percentile, nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Percentiles {
    pub(super) p50: u64,
    pub(super) p99: u64,
}

/// Figures of a host or listener, or of all.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Figures {
    /// Connections that ended.
    pub(super) ended: u64,
    /// Those that did not end `closed`.
    pub(super) failed: u64,
    /// `None`: none was measured.
    pub(super) handshake: Option<Percentiles>,
    pub(super) close: Option<Percentiles>,
}

/// A row of the table.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Row {
    /// `None`: all that have no row of their own.
    pub(super) key: Option<Key>,
    pub(super) figures: Figures,
    /// Half-open connections it leaves now; `None`: not known.
    pub(super) half_open: Option<u64>,
    /// What an alert that goes on says of it.
    pub(super) verdict: Option<Verdict>,
}

/// Handshakes and closes, each with how they spread.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Latencies {
    pub(super) handshake: Spread,
    pub(super) handshake_percentiles: Option<Percentiles>,
    pub(super) close: Spread,
    pub(super) close_percentiles: Option<Percentiles>,
}

/// A second of the run.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Second {
    /// SYNs in it; `None` without a SYN hook.
    pub(super) syns: Option<u64>,
    /// Half-open connections, the most seen in it.
    pub(super) half_open: Option<u64>,
}

/// An alert that goes on, or ended a moment ago.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Incident {
    /// What was said of it last.
    pub(super) alert: Box<Alert>,
    /// It is over.
    pub(super) over: bool,
}

/// Time spent in a state, over many connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct PhaseSum {
    pub(super) count: u64,
    /// Nanoseconds.
    pub(super) total: u64,
    pub(super) max: u64,
}

/// One host or listener in full.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Detail {
    pub(super) key: Key,
    /// Figures of each of [`Scope::ALL`].
    pub(super) figures: [Figures; 3],
    /// In the scope wished.
    pub(super) latencies: Latencies,
    pub(super) half_open: Option<u64>,
    pub(super) half_open_peak: Option<u64>,
    pub(super) syns: Option<u64>,
    pub(super) verdict: Option<Verdict>,
    /// From when on outcomes and phases are counted.
    pub(super) since: MonoNs,
    /// In the order of [`Outcome::ALL`].
    pub(super) outcomes: [u64; Outcome::ALL.len()],
    /// In the order of [`Phases::STATES`].
    pub(super) phases: [PhaseSum; Phases::STATES.len()],
    /// Oldest first.
    pub(super) open: Vec<OpenConnection>,
    pub(super) open_count: usize,
    /// Newest first.
    pub(super) ended: Vec<Connection>,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// What it was made for.
    pub(super) wish: Wish,
    pub(super) at: MonoNs,
    pub(super) clock: WallClock,
    /// How long the run is to take, nanoseconds, if that is known.
    pub(super) limit: Option<u64>,
    pub(super) totals: End,
    /// Of each of [`Scope::ALL`].
    pub(super) all: [Figures; 3],
    pub(super) half_open: Option<u64>,
    /// How many hooks there should be.
    pub(super) hooks: usize,
    /// Hooks that are not in place, with the reason.
    pub(super) missing: Vec<String>,
    pub(super) incidents: Vec<Incident>,
    /// Oldest first, the running second last.
    pub(super) history: Vec<Second>,
    pub(super) latencies: Latencies,
    pub(super) rows: Vec<Row>,
    /// Hosts or listeners that match and have no row here.
    pub(super) more: usize,
    /// Stuck longest first.
    pub(super) stuck: Vec<OpenConnection>,
    pub(super) stuck_count: usize,
    /// Newest first.
    pub(super) ended: Vec<Connection>,
    pub(super) detail: Option<Box<Detail>>,
}
