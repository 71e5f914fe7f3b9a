//! How a connection ended, and whether this side went into TIME_WAIT.
//!
//! All the kernel leaves behind is the state that →CLOSE was entered from, `sk_err` at that moment
//! (it is set before the transition fires) and the RSTs sent around it. The table below is what
//! Linux does, by the functions of `net/ipv4` that end a socket:
//!
//! | from | `sk_err` | set by | outcome |
//! | --- | --- | --- | --- |
//! | any | `ECONNABORTED` | `tcp_abort()`: `ss -K`, `bpf_sock_destroy()` | aborted |
//! | any | `ETIMEDOUT` | `tcp_write_err()`: retransmission, probes, keepalive, `TCP_USER_TIMEOUT` | timed_out |
//! | SYN_SENT | `ECONNREFUSED` | `tcp_reset()`; ICMP port unreachable | refused |
//! | SYN_SENT | `ECONNRESET`, `EPIPE` | left over from an earlier connect (`tcp_disconnect()` sets it after →CLOSE); a RST in SYN_SENT would have overwritten it | cancelled |
//! | other | `ECONNRESET`; `EPIPE` (CLOSE_WAIT) | `tcp_reset()` | reset_by_remote, or reset_by_local when a RST follows: data came for a socket nobody reads any more (`TCPABORTONDATA`) |
//! | any | an ICMP error or a routing error | `tcp_v4_err()` in SYN_SENT and SYN_RECV; elsewhere `tcp_write_err()` gives up and passes on the soft error | unreachable |
//! | SYN_SENT | 0 | `tcp_close()`, `tcp_disconnect()`; a connect() that fails on this host after all (no free port: the local port is 0 then) | cancelled |
//! | FIN_WAIT2, CLOSING, LAST_ACK | 0 | our FIN was acknowledged; `tcp_time_wait()` | closed |
//! | the same | 0, RST sent | unread data, linger 0, data after close, `tcp_fin_timeout` over (`TCPABORTONLINGER`), out of memory | reset_by_local |
//! | ESTABLISHED, CLOSE_WAIT, FIN_WAIT1, SYN_RECV | 0 | unread data, linger 0, out of memory, the namespace is going away | reset_by_local |
//! | FIN_WAIT2, CLOSING, LAST_ACK | anything else | no way of TCP to end: left over (kTLS, `IP_RECVERR`) | as 0 |
//! | other | anything else | not known | unknown, or reset_by_local when a RST was sent |

use tracer_common::state::TcpState;

use super::record::Outcome;

/// What is known about the end of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// State that →CLOSE was entered from.
    pub(super) from: TcpState,
    /// `sk_err` at →CLOSE.
    pub(super) err: i32,
    /// The peer's FIN had been received.
    pub(super) fin_received: bool,
    /// A RST was sent just before →CLOSE.
    pub(super) reset_sent_before: bool,
    /// A RST was sent just after →CLOSE.
    pub(super) reset_sent_after: bool,
}

/// Whether `errno` is one that ICMP or ICMPv6 errors (`icmp_err_convert`, `tcp_v6_err`) or routing
/// leave in `sk_err_soft`, besides `ECONNREFUSED`.
const fn says_the_network(errno: i32) -> bool {
    matches!(
        errno,
        libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::EPROTO
            | libc::EACCES
            | libc::EPERM
    )
}

/// FINs of both sides have been sent, or ours has been acknowledged: these states end by
/// themselves, with no one at fault.
const fn ends_by_itself(from: TcpState) -> bool {
    matches!(from, TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck)
}

impl End {
    fn reset_sent(&self) -> bool {
        self.reset_sent_before || self.reset_sent_after
    }

    /// Our FIN was acknowledged: FIN_WAIT2 means just that; LAST_ACK and CLOSING end so, unless
    /// something else ended them.
    pub(super) fn fin_acked(&self) -> bool {
        self.from == TcpState::FinWait2
            || (ends_by_itself(self.from) && self.outcome() == Outcome::Closed)
    }

    /// How it ended; see the table at the top.
    pub(super) fn outcome(&self) -> Outcome {
        let connecting = self.from == TcpState::SynSent;
        match self.err {
            libc::ECONNABORTED => Outcome::Aborted,
            libc::ETIMEDOUT => Outcome::TimedOut,
            libc::ECONNREFUSED if connecting => Outcome::Refused,
            libc::ECONNREFUSED => Outcome::Unreachable,
            libc::ECONNRESET | libc::EPIPE if connecting => Outcome::Cancelled,
            // A RST is never answered by a RST: one that is sent now was the cause.
            libc::ECONNRESET | libc::EPIPE if self.reset_sent_after => Outcome::ResetByLocal,
            libc::ECONNRESET | libc::EPIPE => Outcome::ResetByRemote,
            errno if says_the_network(errno) => Outcome::Unreachable,
            0 if connecting => Outcome::Cancelled,
            _ if self.reset_sent() => Outcome::ResetByLocal,
            _ if ends_by_itself(self.from) => Outcome::Closed,
            0 => Outcome::ResetByLocal,
            _ => Outcome::Unknown,
        }
    }

    /// Whether the socket was handed over to a timewait sock that waits in TIME_WAIT; `None` where
    /// the end went on out of sight (a close()d socket waits in FIN_WAIT2 as a timewait sock, too,
    /// and what became of the peer's FIN then nobody tells).
    pub(super) fn time_wait(&self) -> Option<bool> {
        let closed = self.outcome() == Outcome::Closed;
        match self.from {
            TcpState::FinWait2 if closed && !self.fin_received => None,
            TcpState::FinWait2 | TcpState::Closing => Some(closed),
            _ => Some(false),
        }
    }
}
