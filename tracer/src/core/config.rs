//! What the core is told once, at start.

use tracer_common::state::TcpState;

use super::event::MonoNs;
use super::selection::Selection;

const SECOND: u64 = 1_000_000_000;

/// Settings of a [`super::Core`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether every transition becomes a record (`--states`).
    pub states: bool,
    /// When a connection is called stuck.
    pub stuck_after: StuckAfter,
    /// Most connections (and most requests) remembered at a time; at least 1. What is forgotten
    /// beyond it is counted.
    pub max_connections: usize,
    /// Most remote hosts with figures of their own; the rest share one row.
    pub max_hosts: usize,
    /// Most rows of a host report, without the row `others`.
    pub top_hosts: usize,
    /// What is counted at all.
    pub selection: Selection,
    /// How long the end of a connection is held back for what belongs to it and comes right after:
    /// the RST that was sent because of it. Nanoseconds.
    pub end_grace_ns: u64,
    /// When tracing began.
    pub started: MonoNs,
    /// Whether figures of an interval are kept beside those of the run (`--interval`).
    pub interval_reports: bool,
    /// Whether SYNs are counted at all: without it the SYN figures of hosts are unknown, not 0.
    pub syn_hook: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            states: false,
            stuck_after: StuckAfter::default(),
            max_connections: 262_144,
            max_hosts: 4096,
            top_hosts: 20,
            selection: Selection::default(),
            end_grace_ns: 5_000_000,
            started: MonoNs(0),
            interval_reports: false,
            syn_hook: false,
        }
    }
}

/// How long, in nanoseconds, a connection may stay in a state before it is reported as stuck;
/// `None`: as long as it likes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "named after the states")]
pub struct StuckAfter {
    pub syn_sent: Option<u64>,
    pub close_wait: Option<u64>,
    pub fin_wait1: Option<u64>,
    pub fin_wait2: Option<u64>,
    pub last_ack: Option<u64>,
    pub closing: Option<u64>,
}

impl Default for StuckAfter {
    fn default() -> Self {
        Self {
            syn_sent: Some(3 * SECOND),
            close_wait: Some(60 * SECOND),
            fin_wait1: Some(30 * SECOND),
            fin_wait2: Some(60 * SECOND),
            last_ack: Some(30 * SECOND),
            closing: Some(30 * SECOND),
        }
    }
}

impl StuckAfter {
    /// Nothing is ever stuck.
    pub const OFF: Self = Self {
        syn_sent: None,
        close_wait: None,
        fin_wait1: None,
        fin_wait2: None,
        last_ack: None,
        closing: None,
    };

    /// The states a connection can be stuck in.
    pub const STATES: [TcpState; 6] = [
        TcpState::SynSent,
        TcpState::CloseWait,
        TcpState::FinWait1,
        TcpState::FinWait2,
        TcpState::LastAck,
        TcpState::Closing,
    ];

    /// The threshold of a state; `None` for states in which nobody gets stuck, or when it is off.
    #[must_use]
    pub const fn of(&self, state: TcpState) -> Option<u64> {
        match state {
            TcpState::SynSent => self.syn_sent,
            TcpState::CloseWait => self.close_wait,
            TcpState::FinWait1 => self.fin_wait1,
            TcpState::FinWait2 => self.fin_wait2,
            TcpState::LastAck => self.last_ack,
            TcpState::Closing => self.closing,
            TcpState::Established
            | TcpState::SynRecv
            | TcpState::TimeWait
            | TcpState::Close
            | TcpState::Listen => None,
        }
    }

    /// Where to set the threshold of a state; `None` for a state that has none.
    pub const fn of_mut(&mut self, state: TcpState) -> Option<&mut Option<u64>> {
        Some(match state {
            TcpState::SynSent => &mut self.syn_sent,
            TcpState::CloseWait => &mut self.close_wait,
            TcpState::FinWait1 => &mut self.fin_wait1,
            TcpState::FinWait2 => &mut self.fin_wait2,
            TcpState::LastAck => &mut self.last_ack,
            TcpState::Closing => &mut self.closing,
            TcpState::Established
            | TcpState::SynRecv
            | TcpState::TimeWait
            | TcpState::Close
            | TcpState::Listen => return None,
        })
    }
}
