//! What comes in: the same plain types whether a kernel hook or a capture saw it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tracer_common::state::TcpState;

use super::record::{PathRtt, Role};

/// A moment: nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct MonoNs(pub u64);

impl MonoNs {
    /// Nanoseconds from `earlier` to `self`; 0 if `earlier` is later, which two CPUs' hooks may
    /// report by a hair.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Nanoseconds of a duration; as many as there are where it is longer than 584 years.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A process name as the kernel keeps it: at most 15 bytes that the process itself chose, so
/// untrusted. Every output escapes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Comm([u8; 16]);

impl Comm {
    /// From the kernel's NUL-padded array.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// From a name; cut after 15 bytes.
    #[must_use]
    pub fn from_bytes(name: &[u8]) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().take(15).zip(name) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The bytes before the first NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// A process: the one that owns a socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Owner {
    /// Thread group id in the initial pid namespace.
    pub pid: u32,
    /// Name of the process.
    pub comm: Comm,
}

/// What the SYN hook saw of a connection's SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SynSeen {
    /// Arrival of the first SYN.
    pub first: MonoNs,
    /// SYNs that followed it with the same sequence number.
    pub repeats: u32,
}

/// Fields of `struct tcp_sock` at the moment of the event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpFields {
    /// Smoothed round-trip time in µs; `None` when the kernel has not measured one.
    pub srtt_us: Option<u32>,
    /// Segments sent again so far. At →ESTABLISHED: of the SYN or the SYN-ACK.
    pub total_retrans: u32,
    /// Sequence space acknowledged: our SYN (active open only) and our FIN count one each.
    pub bytes_acked: u64,
    /// Sequence space received in order: the peer's FIN counts one, its SYN does not.
    pub bytes_received: u64,
}

/// What a hook saw of a socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SocketEvent {
    /// When.
    pub at: MonoNs,
    /// The kernel's socket cookie; names the socket. A socket that connects again after
    /// `connect(AF_UNSPEC)` keeps it.
    pub cookie: u64,
    /// Inode of its network namespace.
    pub netns: u32,
    /// Local address (IPv4-mapped as IPv4) and port; port 0 before the kernel has chosen one.
    pub local: SocketAddr,
    /// Remote address and port.
    pub remote: SocketAddr,
    /// State left.
    pub old: TcpState,
    /// State entered. For [`Event::Accepted`] and [`Event::ResetSent`] both are the state then.
    pub new: TcpState,
    /// When `old` was entered, where the transition into it is folded into this one: the kernel side
    /// does so with LISTEN→SYN_RECV of a child socket.
    pub old_since: Option<MonoNs>,
    /// The connection's SYN at the SYN hook.
    pub syn: Option<SynSeen>,
    /// The process that was working on the socket under its lock; `None` in softirq context.
    pub owner: Option<Owner>,
    /// cgroup v2 id; 0 unknown.
    pub cgroup: u64,
    /// `None` where the kernel's layout is not known or the socket is no full TCP socket.
    pub tcp: Option<TcpFields>,
    /// `sk_err`, positive errno, 0 none (kernel-side trap: it is set before →CLOSE fires).
    pub sk_err: i32,
    /// The peer's FIN has been received in order (`SOCK_DONE`).
    pub fin_received: bool,
    /// `tcp_reset()` has just run on the socket. It runs when a RST comes in, and also when data
    /// comes in for an orphan in FIN_WAIT1/2 (TCPABORTONDATA): then a RST is *sent* right after.
    pub reset_received: bool,
    /// `TCP_FASTOPEN_CONNECT`: SYN_SENT may begin long before the SYN leaves.
    pub fastopen_connect: bool,
    /// No process holds the socket any more (`SOCK_DEAD`).
    pub orphaned: bool,
    /// The local side has shut down sending (`SEND_SHUTDOWN`).
    pub send_shutdown: bool,
    /// An IPv6 socket that takes no IPv4 connections (`IPV6_V6ONLY`).
    pub v6only: bool,
}

/// What a hook saw of a request: a SYN waiting for its final ACK.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestEvent {
    /// When.
    pub at: MonoNs,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Local address and port.
    pub local: SocketAddr,
    /// Remote address and port.
    pub remote: SocketAddr,
    /// SYN-ACKs sent again so far, counting this one; 0 unknown.
    pub retransmits: u16,
    /// The peer's initial sequence number.
    pub isn: u32,
    /// Arrival of the SYN at the SYN hook.
    pub syn_at: Option<MonoNs>,
}

/// What one CPU's SYN hook has counted since it was loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SynSummary {
    /// When.
    pub at: MonoNs,
    /// The CPU.
    pub cpu: u16,
    /// Epoch that is over; with `burst` the one that goes on.
    pub epoch: u32,
    /// A sudden burst: do not wait for the end of the epoch.
    pub burst: bool,
    /// SYNs that matched, repeated ones included.
    pub syns: u64,
    /// Of those, repeated.
    pub syns_repeated: u64,
    /// RSTs.
    pub resets: u64,
    /// SYN-ACKs.
    pub syn_acks: u64,
    /// TCP packets that could not be parsed.
    pub unparsed: u64,
}

/// A cgroup's name, as far as it could be found out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CgroupName {
    /// Path below the cgroup v2 mount, `/` the root. Chosen by whoever made the cgroup: untrusted,
    /// and bytes that are no UTF-8 have been replaced.
    pub path: String,
    /// Container id found in the path.
    pub container: Option<String>,
}

/// A socket that was found by asking (sock_diag), not by an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExistingSocket {
    /// The kernel's socket cookie.
    pub cookie: u64,
    /// Inode of its network namespace.
    pub netns: u32,
    /// Local address and port.
    pub local: SocketAddr,
    /// Remote address and port; port 0 for a listener.
    pub remote: SocketAddr,
    /// State now. Requests and timewait sockets are not part of a snapshot.
    pub state: TcpState,
    /// The process that holds it, found through /proc.
    pub owner: Option<Owner>,
    /// cgroup v2 id; 0 unknown.
    pub cgroup: u64,
}

/// A connection met in the middle of its life, by a segment of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// When the segment passed.
    pub at: MonoNs,
    /// The connection as the segment shows it.
    pub socket: ExistingSocket,
    /// Which end it is told from, where that is known.
    pub role: Option<Role>,
}

/// What the segments of a connection told, seen from one of its ends; durations are nanoseconds.
///
/// It stands in for what a kernel would have told of the socket ([`TcpFields`], [`SynSeen`]).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CaptureFacts {
    /// Names the connection, as in its other events.
    pub cookie: u64,
    /// Client: first SYN to SYN-ACK; server: first SYN to the ACK that completes the handshake.
    pub handshake: Option<u64>,
    /// The round trip as this end's socket measured it; only where the capture was taken at it.
    pub synack_rtt: Option<u64>,
    /// The two halves of the handshake's round trip.
    pub path_rtt: PathRtt,
    /// SYNs sent again.
    pub syn_retransmits: Option<u32>,
    /// SYN-ACKs sent again; only of a server.
    pub synack_retransmits: Option<u32>,
    /// Payload that the peer has acknowledged, bytes; told at the end.
    pub bytes_sent: Option<u64>,
    /// Payload that this end has acknowledged, bytes; told at the end.
    pub bytes_received: Option<u64>,
    /// Segments this end sent again after the handshake; told at the end.
    pub retransmits: Option<u32>,
    /// Segments are missing in the capture that were acknowledged.
    pub incomplete: bool,
    /// Who closed first is still what the transitions said: nothing that came later leaves it open.
    pub closer_known: bool,
}

/// Everything the core reacts to.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A socket changed its state.
    Transition(SocketEvent),
    /// A process took the socket off an accept queue. May come before the transition to
    /// ESTABLISHED (another CPU, or TCP Fast Open).
    Accepted(SocketEvent),
    /// A RST was sent on behalf of the socket. Follows →CLOSE within microseconds when the RST is
    /// the reason for it.
    ResetSent(SocketEvent),
    /// A SYN-ACK was sent again.
    SynAckRetransmit(RequestEvent),
    /// A RST hit a request.
    RequestReset(RequestEvent),
    /// A CPU's SYN hook tells what it has counted: time to look at its arrays.
    SynSummary(SynSummary),
    /// A capture shows a connection whose beginning it does not show.
    Found(Found),
    /// A capture has told more of a connection than its transitions say. Comes after →ESTABLISHED and
    /// before →CLOSE.
    Captured(CaptureFacts),
    /// Another connection has taken the place of this one, whose end nobody saw.
    EndUnseen {
        /// Names the connection.
        cookie: u64,
        /// When it was known to be over.
        at: MonoNs,
    },
    /// The capture's reader has forgotten the connection for want of memory.
    Forgotten {
        /// Names the connection.
        cookie: u64,
    },
    /// The name of a cgroup, told before the first event that carries its id.
    Cgroup {
        /// cgroup v2 id.
        id: u64,
        /// Its name.
        name: Arc<CgroupName>,
    },
}
