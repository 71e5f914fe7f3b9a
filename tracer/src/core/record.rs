//! What goes out: the records every report is made of.
//!
//! Times are moments of `CLOCK_MONOTONIC`; the reports turn them into wall-clock time. Durations
//! are nanoseconds here and become the `_us` fields of the reports. `None` is "not known", or for
//! a phase "not visited"; never zero, never a guess.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tracer_common::state::TcpState;

use super::event::{CgroupName, MonoNs, Owner};

mod alert;
mod incident;
mod segment;

pub use alert::{Alert, AlertEvent, Evidence, Network, Queue, Severity, TopSource, Verdict};
pub(crate) use incident::{GoingOn, IncidentKey, Told};
pub use segment::{Oddities, Oddity, SegmentRow, Sender, Step};

/// Which end of the connection this host's socket is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Role {
    /// It sent the first SYN.
    Client,
    /// It accepted the connection.
    Server,
}

impl Role {
    /// The name users see and type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// Where `handshake` comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HandshakeSource {
    /// Server: from the first SYN's arrival at the SYN hook to ESTABLISHED.
    Syn,
    /// Client: SYN_SENT to ESTABLISHED.
    State,
    /// From the socket's first round-trip measurement.
    Srtt,
    /// From a capture.
    Capture,
}

impl HandshakeSource {
    /// The name users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::State => "state",
            Self::Srtt => "srtt",
            Self::Capture => "capture",
        }
    }
}

/// Who closed first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CloseInitiator {
    /// This host.
    Local,
    /// The peer.
    Remote,
    /// Both FINs crossed.
    Both,
}

impl CloseInitiator {
    /// The name users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Both => "both",
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Outcome {
    /// FINs both ways; for the side that hands over to a timewait socket early, our FIN
    /// acknowledged.
    Closed,
    /// The peer sent a RST.
    ResetByRemote,
    /// This host sent a RST: linger 0, unread data, data after close, out of memory.
    ResetByLocal,
    /// Nobody listened (`ECONNREFUSED`).
    Refused,
    /// The kernel gave up waiting (`ETIMEDOUT`).
    TimedOut,
    /// The network said so (`EHOSTUNREACH`, `ENETUNREACH`, ...).
    Unreachable,
    /// close() while connecting.
    Cancelled,
    /// `ss -K` or another administrative abort (`ECONNABORTED`).
    Aborted,
    /// The end itself was lost.
    Unknown,
}

impl Outcome {
    /// Every outcome, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::Closed,
        Self::ResetByRemote,
        Self::ResetByLocal,
        Self::Refused,
        Self::TimedOut,
        Self::Unreachable,
        Self::Cancelled,
        Self::Aborted,
        Self::Unknown,
    ];

    /// Every outcome but `closed` is a failure.
    #[must_use]
    pub fn failed(self) -> bool {
        self != Self::Closed
    }

    /// The name users see and type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ResetByRemote => "reset_by_remote",
            Self::ResetByLocal => "reset_by_local",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Cancelled => "cancelled",
            Self::Aborted => "aborted",
            Self::Unknown => "unknown",
        }
    }
}

/// From when on a connection was watched.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ObservedFrom {
    /// From its beginning.
    Start,
    /// It was open when tracing began.
    Middle,
}

impl ObservedFrom {
    /// The name users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
        }
    }
}

/// Time spent in each state, nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "named after the states")]
pub struct Phases {
    pub syn_sent: Option<u64>,
    pub syn_recv: Option<u64>,
    pub established: Option<u64>,
    pub fin_wait1: Option<u64>,
    pub fin_wait2: Option<u64>,
    pub close_wait: Option<u64>,
    pub closing: Option<u64>,
    pub last_ack: Option<u64>,
}

impl Phases {
    /// The states whose times they are, in the order of a life.
    pub const STATES: [TcpState; 8] = [
        TcpState::SynSent,
        TcpState::SynRecv,
        TcpState::Established,
        TcpState::FinWait1,
        TcpState::FinWait2,
        TcpState::CloseWait,
        TcpState::Closing,
        TcpState::LastAck,
    ];

    /// The times in the order of [`Self::STATES`].
    #[must_use]
    pub const fn in_order(&self) -> [Option<u64>; Self::STATES.len()] {
        let Self {
            syn_sent,
            syn_recv,
            established,
            fin_wait1,
            fin_wait2,
            close_wait,
            closing,
            last_ack,
        } = *self;
        [syn_sent, syn_recv, established, fin_wait1, fin_wait2, close_wait, closing, last_ack]
    }
}

/// A connection, as far as it is known: at its end, while open, or while stuck.
#[derive(Clone, PartialEq, Debug)]
pub struct Connection {
    /// Socket cookie.
    pub cookie: u64,
    /// When it began: client SYN_SENT; server the first SYN's arrival, else SYN_RECV; for one seen
    /// from the middle the start of tracing.
    pub start: MonoNs,
    /// When it ended; while it is open: now.
    pub end: MonoNs,
    /// `None` for a connection whose beginning nobody saw.
    pub role: Option<Role>,
    /// Local address and port.
    pub local: SocketAddr,
    /// Remote address and port.
    pub remote: SocketAddr,
    /// Inode of the network namespace.
    pub netns: u32,
    /// The process that owns (owned) the socket.
    pub owner: Option<Owner>,
    /// cgroup of the socket.
    pub cgroup: Option<Arc<CgroupName>>,
    /// See [`HandshakeSource`].
    pub handshake: Option<u64>,
    /// Where it comes from.
    pub handshake_source: Option<HandshakeSource>,
    /// Round-trip time the socket measured at the handshake, nanoseconds.
    pub synack_rtt: Option<u64>,
    /// The handshake as seen from a capture point; `None` live.
    pub path_rtt: Option<PathRtt>,
    /// SYNs repeated: sent by a client, received by a server.
    pub syn_retransmits: Option<u32>,
    /// SYN-ACKs this server sent again.
    pub synack_retransmits: Option<u32>,
    /// From ready to be accepted to accepted.
    pub accept_wait: Option<u64>,
    /// Who closed first.
    pub close_initiator: Option<CloseInitiator>,
    /// First of FIN_WAIT1 and CLOSE_WAIT to the end.
    pub close: Option<u64>,
    /// Time in each state.
    pub phases: Phases,
    /// Whether this side went into TIME_WAIT.
    pub time_wait: Option<bool>,
    /// How it ended; `None` while it is open.
    pub outcome: Option<Outcome>,
    /// Payload acknowledged by the peer, bytes.
    pub bytes_sent: Option<u64>,
    /// Payload received in order, bytes.
    pub bytes_received: Option<u64>,
    /// Segments sent again after the handshake.
    pub retransmits: Option<u32>,
    /// Last smoothed round-trip time, nanoseconds.
    pub rtt: Option<u64>,
    /// From when on it was watched.
    pub observed_from: ObservedFrom,
    /// Events of this connection were lost: what depended on them is `None`.
    pub events_lost: bool,
}

impl Connection {
    /// Whether it ended, and otherwise than `closed`.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.outcome.is_some_and(Outcome::failed)
    }
}

/// The two halves of a handshake's round trip, seen from a capture point: nanoseconds.
///
/// A half is `None` where one of its segments is not in the capture, or was sent more than once, so
/// that nobody knows which one was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PathRtt {
    /// From the SYN to the SYN-ACK: to the server and back.
    pub syn_to_synack: Option<u64>,
    /// From the SYN-ACK to the ACK that completes the handshake: to the client and back.
    pub synack_to_ack: Option<u64>,
}

/// An open connection with the state it is in: `open` and `stuck` records.
#[derive(Clone, PartialEq, Debug)]
pub struct OpenConnection {
    /// What is known so far.
    pub connection: Connection,
    /// State now.
    pub state: TcpState,
    /// Time in that state so far, nanoseconds; for a state that began before tracing did: time
    /// since tracing began.
    pub in_state: u64,
}

/// One transition, for `--states`.
#[derive(Clone, PartialEq, Debug)]
pub struct StateChange {
    /// When.
    pub at: MonoNs,
    /// State left.
    pub old: TcpState,
    /// State entered.
    pub new: TcpState,
    /// Local address and port.
    pub local: SocketAddr,
    /// Remote address and port.
    pub remote: SocketAddr,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Socket cookie.
    pub cookie: u64,
}

/// Percentiles of a set of durations, nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quantiles {
    /// How many durations.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Largest, exact.
    pub max: u64,
}

/// Row of a report: one remote host, or the rest of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Host {
    /// The host; `None` is the row `others`.
    pub host: Option<IpAddr>,
    /// Time the figures cover, nanoseconds.
    pub interval: u64,
    /// Connections that ended.
    pub connections: u64,
    /// Those that did not end `closed`.
    pub failed: u64,
    /// Those that were reset, by either side.
    pub resets: u64,
    /// Those that timed out.
    pub timeouts: u64,
    /// Requests that never became a socket.
    pub handshakes_failed: u64,
    /// Handshake times; `None` if no handshake was measured.
    pub handshake: Option<Quantiles>,
    /// Close times.
    pub close: Option<Quantiles>,
    /// SYNs received from it, raw; `None` where they are not counted per host.
    pub syn_count: Option<u64>,
    /// Half-open connections it leaves now.
    pub half_open: Option<u64>,
    /// The most at one time.
    pub half_open_peak: Option<u64>,
    /// SYN figures are exact, not a bound.
    pub exact: bool,
}

/// The last record: totals of the run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct End {
    /// Connections that ended.
    pub connections: u64,
    /// Connections still open.
    pub open: u64,
    /// Events read from the ring.
    pub events: u64,
    /// Events the kernel side could not put into the ring.
    pub events_lost: u64,
    /// SYNs that matched; `None` without a SYN hook.
    pub syns: Option<u64>,
    /// SYNs repeated.
    pub syns_repeated: Option<u64>,
    /// TCP packets the SYN hook could not parse.
    pub syns_unparsed: Option<u64>,
    /// Requests that never became a socket.
    pub handshakes_failed: u64,
    /// Connections forgotten because the table was full.
    pub connections_evicted: u64,
    /// Records that a slow reader of the output missed.
    pub output_dropped: u64,
    /// Runs of every kernel program since it was loaded; `None` where they are not counted
    /// (`--hook-stats`).
    pub program_runs: Option<Vec<ProgramRuns>>,
    /// What the frames of the capture were; `None` live.
    pub frames: Option<Frames>,
    /// Length of the run, nanoseconds; of a capture, from its first frame to its last.
    pub duration: u64,
}

/// How many frames a capture had, by what came of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Frames {
    /// All that were read; `tcp`, `not_tcp`, `unparsed`, `other_link` and `untimed` add up to it.
    pub read: u64,
    /// TCP segments.
    pub tcp: u64,
    /// Something else than TCP over IP; tunnels, if they are not looked into.
    pub not_tcp: u64,
    /// TCP, or may be, but can't be read: a fragment, cut short within its headers, or malformed.
    pub unparsed: u64,
    /// Of a link type that is not read.
    pub other_link: u64,
    /// TCP segments without a time.
    pub untimed: u64,
    /// Those that the capturing host missed, as far as the capture says; not part of `read`.
    pub dropped: u64,
}

/// Runs of one of tracer's kernel programs since it was loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramRuns {
    /// The program's name in tracer's object.
    pub program: String,
    /// How many.
    pub runs: u64,
    /// How long all of them took, nanoseconds.
    pub took: u64,
}

/// What the core hands to the reports.
#[derive(Clone, PartialEq, Debug)]
pub enum Record {
    /// A connection ended.
    Connection(Box<Connection>),
    /// A socket changed its state (`--states`).
    State(StateChange),
    /// A connection has been in one state for too long.
    Stuck(Box<OpenConnection>),
    /// A flood ([`Verdict::is_flood`]) or what looks like one: `flood` and `notice` records.
    Alert(Box<Alert>),
    /// A control segment of a capture (`--segments`).
    Segment(Box<SegmentRow>),
}

#[cfg(test)]
impl Record {
    /// The connection that ended, if it tells of one.
    pub(crate) fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Connection(connection) => Some(connection),
            _ => None,
        }
    }
}
