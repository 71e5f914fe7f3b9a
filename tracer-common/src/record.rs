//! The records that travel through the ring buffer and the lanes.
//!
//! Every record begins with its [`RecordKind`] in the first byte and has its time at [`TS_OFFSET`].
//! Times are nanoseconds of `CLOCK_MONOTONIC`, 0 meaning unknown. Ports are in host
//! order.
//!
//! Layout rules: `repr(C)`, no padding, no `bool`, `enum` or `Option`, alignment 8.

use crate::addr::Addr;

/// Where a record of any kind has its `ts_ns`.
pub const TS_OFFSET: usize = 8;

/// First byte of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum RecordKind {
    /// A transition of a socket: a [`SocketRecord`].
    Transition = 1,
    /// A process took a socket off an accept queue: a [`SocketRecord`] whose states are both the
    /// socket's state at that moment and whose owner is the accepting process. Of the other flags and
    /// the tcp_sock fields it need not tell anything, and `sk_err` only if the socket is closed.
    Accepted = 2,
    /// The kernel sent a RST on behalf of this socket: a [`SocketRecord`].
    ResetSent = 3,
    /// A request (half-open connection) had its SYN-ACK sent again: a [`RequestRecord`].
    SynAckRetransmit = 4,
    /// A RST came in for a SYN that was waiting for its final ACK: a [`RequestRecord`].
    RequestReset = 5,
    /// What a CPU's SYN hook has counted so far: a [`SynSummary`].
    SynSummary = 6,
}

impl TryFrom<u8> for RecordKind {
    type Error = u8;

    fn try_from(code: u8) -> Result<Self, u8> {
        Ok(match code {
            1 => Self::Transition,
            2 => Self::Accepted,
            3 => Self::ResetSent,
            4 => Self::SynAckRetransmit,
            5 => Self::RequestReset,
            6 => Self::SynSummary,
            other => return Err(other),
        })
    }
}

/// Bits of [`SocketRecord::flags`].
pub mod flags {
    /// `pid`, `comm` are those of a process that was working on this socket under its lock
    /// (`sk_lock.owned`), not of whoever was interrupted.
    pub const OWNER: u32 = 1 << 0;
    /// The peer's FIN has been received in order (`SOCK_DONE`, set by `tcp_fin()`).
    pub const FIN_RECEIVED: u32 = 1 << 1;
    /// `tcp_reset()` ran on this socket just before (tracepoint `tcp_receive_reset`). It also runs
    /// when data arrives after close(): then a RST is sent, not received.
    pub const RESET_RECEIVED: u32 = 1 << 2;
    /// connect() with `TCP_FASTOPEN_CONNECT`: the SYN may leave long after SYN_SENT begins.
    pub const FASTOPEN_CONNECT: u32 = 1 << 3;
    /// No process holds the socket any more (`SOCK_DEAD`).
    pub const ORPHANED: u32 = 1 << 4;
    /// The SYN hook saw this connection's SYN: `syn_ts_ns` and `syn_repeats` are measured.
    pub const SYN_SEEN: u32 = 1 << 5;
    /// The tcp_sock fields (srtt, counters) could be read.
    pub const TCP_FIELDS: u32 = 1 << 6;
    /// The local application has shut down its sending side (`SEND_SHUTDOWN`).
    pub const SEND_SHUTDOWN: u32 = 1 << 7;
    /// An IPv6 socket that takes no IPv4 connections (`IPV6_V6ONLY`).
    pub const V6ONLY: u32 = 1 << 8;
}

/// What a hook saw of one socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable)
)]
pub struct SocketRecord {
    /// A [`RecordKind`].
    pub kind: u8,
    /// State left: a [`crate::state::TcpState`] code.
    pub old_state: u8,
    /// State entered.
    pub new_state: u8,
    /// `AF_INET` (2) or `AF_INET6` (10), of the socket, not of the addresses.
    pub family: u8,
    /// See [`flags`].
    pub flags: u32,
    /// When it happened.
    pub ts_ns: u64,
    /// `sock_gen_cookie()`: names the socket for as long as the host runs; 0 unknown.
    pub cookie: u64,
    /// When `old_state` was entered, where the kernel side knows and user side can't: a child
    /// socket's LISTEN→SYN_RECV.
    pub prev_ts_ns: u64,
    /// Arrival of the connection's first SYN at the SYN hook.
    pub syn_ts_ns: u64,
    /// cgroup v2 id of the socket (`sk_cgrp_data`).
    pub cgroup_id: u64,
    /// `tcp_sock.bytes_acked`: counts our SYN (active open) and FIN as one each.
    pub bytes_acked: u64,
    /// `tcp_sock.bytes_received`: counts the peer's FIN as one.
    pub bytes_received: u64,
    /// Local address.
    pub local_addr: Addr,
    /// Remote address.
    pub remote_addr: Addr,
    /// Local port; 0 before the kernel has chosen one.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// Inode of the socket's network namespace.
    pub netns: u32,
    /// `tcp_sock.srtt_us >> 3`, microseconds; 0 unknown.
    pub srtt_us: u32,
    /// `tcp_sock.total_retrans`: at →ESTABLISHED the SYNs or SYN-ACKs sent again.
    pub total_retrans: u32,
    /// `sk_err`, a positive errno; 0 none.
    pub sk_err: u32,
    /// SYNs of this connection that the SYN hook saw after the first.
    pub syn_repeats: u32,
    /// Thread group id in the initial pid namespace; valid with [`flags::OWNER`].
    pub pid: u32,
    /// Zero.
    pub reserved: u32,
    /// Name of the process (its group leader's), NUL-padded bytes in memory order;
    /// valid with [`flags::OWNER`].
    pub comm: [u64; 2],
}

/// What a hook saw of a request: a SYN received and not yet answered by the final ACK.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable)
)]
pub struct RequestRecord {
    /// A [`RecordKind`].
    pub kind: u8,
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// SYN-ACKs sent again so far (`request_sock.num_timeout`), where the hook knows.
    pub retransmits: u16,
    /// Inode of the network namespace.
    pub netns: u32,
    /// When it happened.
    pub ts_ns: u64,
    /// Arrival of the SYN at the SYN hook.
    pub syn_ts_ns: u64,
    /// Local address.
    pub local_addr: Addr,
    /// Remote address.
    pub remote_addr: Addr,
    /// Local port.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// Initial sequence number of the peer's SYN, host order.
    pub isn: u32,
}

/// What a CPU's SYN hook has counted since it was loaded; one at the first SYN of every epoch, and
/// more in a burst. Totals, so that a lost one takes nothing along.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable)
)]
pub struct SynSummary {
    /// A [`RecordKind`].
    pub kind: u8,
    /// 1: sent because of a burst, before the epoch was over; else 0.
    pub burst: u8,
    /// The CPU.
    pub cpu: u16,
    /// The epoch that is over, or with `burst` the one that goes on.
    pub epoch: u32,
    /// When.
    pub ts_ns: u64,
    /// SYNs that matched the filters, repeated ones included.
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

const _: () = {
    assert!(core::mem::offset_of!(SynSummary, ts_ns) == TS_OFFSET);
    assert!(core::mem::offset_of!(SocketRecord, ts_ns) == TS_OFFSET);
    assert!(core::mem::offset_of!(RequestRecord, ts_ns) == TS_OFFSET);
    assert!(size_of::<SynSummary>() == 56 && align_of::<SynSummary>() == 8);
    assert!(size_of::<SocketRecord>() == 144 && align_of::<SocketRecord>() == 8);
    assert!(size_of::<RequestRecord>() == 64 && align_of::<RequestRecord>() == 8);
};
