//! What the kernel itself says of the namespace whose interfaces carry the SYN hook.

use std::net::{IpAddr, SocketAddr};

use crate::core::event::MonoNs;

/// Counters of the namespace (`/proc/net/netstat`, `/proc/net/snmp`), totals since it was made.
/// A counter that the kernel does not have reads 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "named after the kernel's")]
pub struct StackCounters {
    pub syncookies_sent: u64,
    pub syncookies_recv: u64,
    pub syncookies_failed: u64,
    pub listen_overflows: u64,
    pub listen_drops: u64,
    pub tcp_req_q_full_drop: u64,
    pub tcp_req_q_full_do_cookies: u64,
    /// SYN-ACKs and SYNs sent again are part of it; `TCPSynRetrans` counts both.
    pub tcp_syn_retrans: u64,
    /// `IPReversePathFilter`: packets whose source is not reached through their interface.
    pub ip_reverse_path_filter: u64,
    /// `ActiveOpens`: connect() calls that sent a SYN.
    pub active_opens: u64,
    /// `OutRsts`.
    pub out_rsts: u64,
}

/// One listening socket's two queues, named apart; sockets of one SO_REUSEPORT group summed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListenerQueues {
    /// Where it listens.
    pub local: SocketAddr,
    /// Half-open connections waiting for their final ACK (sockets in SYN_RECV of the same local
    /// port and, unless the listener's is unspecified, address).
    pub syn_queue: u64,
    /// Connections waiting for accept() (`sk_ack_backlog`).
    pub accept_queue: u64,
    /// Limit of either queue: the smaller of the backlog asked for and `net.core.somaxconn`
    /// (`sk_max_ack_backlog`).
    pub limit: u64,
    /// SYNs and final ACKs it dropped so far (`sk_drops`); `None` where the kernel does not tell.
    pub drops: Option<u64>,
}

/// The queues of all listeners at a moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Queues {
    /// By address and port.
    pub listeners: Vec<ListenerQueues>,
    /// Half-open connections by remote host and the listener they belong to.
    pub half_open: Vec<(IpAddr, SocketAddr, u64)>,
}

/// An answer of the kernel's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sample {
    /// When it was asked for.
    pub at: MonoNs,
    /// Counters.
    pub stack: StackCounters,
    /// Queues, if they were asked for.
    pub queues: Option<Queues>,
    /// How long a request waits for its final ACK, from `tcp_synack_retries`; nanoseconds.
    pub request_lifetime_ns: u64,
    /// `net.ipv4.tcp_syncookies`: 0 never, 1 when the SYN queue is full, 2 always.
    pub syncookies: u8,
}
