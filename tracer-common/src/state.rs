//! TCP states as the kernel numbers and names them.

use core::fmt;

/// A TCP state: the codes of `include/net/tcp_states.h`, the names of the kernel's
/// `sock:inet_sock_set_state` tracepoint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are RFC 9293's")]
pub enum TcpState {
    Established = 1,
    SynSent = 2,
    SynRecv = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

/// A code that is none of the kernel's TCP states (12, `TCP_NEW_SYN_RECV`, never reaches the
/// tracepoint).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownState(pub u8);

impl TryFrom<u8> for TcpState {
    type Error = UnknownState;

    fn try_from(code: u8) -> Result<Self, UnknownState> {
        Ok(match code {
            1 => Self::Established,
            2 => Self::SynSent,
            3 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            other => return Err(UnknownState(other)),
        })
    }
}

impl TcpState {
    /// The kernel's name of the state, without its `TCP_` prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
        }
    }
}

/// 0 if nothing but a segment that TCP has just taken up brings about this transition, of codes below
/// 16, and one segment no two of them: what `tcp_rcv_state_process()` alone does. Calculated: each
/// comparison would have the verifier look at all that follows once more.
#[inline(always)]
#[must_use]
pub const fn not_of_a_segment(old: u8, new: u8) -> u64 {
    const fn code(old: u8, new: u8) -> u64 {
        (old as u64) << 4 | new as u64
    }
    const fn pair(old: TcpState, new: TcpState) -> u64 {
        code(old as u8, new as u8)
    }
    let this = code(old, new);
    // Differences of few bits: their product is 0 only if one of them is.
    this.wrapping_sub(pair(TcpState::SynSent, TcpState::Established))
        .wrapping_mul(this.wrapping_sub(pair(TcpState::SynRecv, TcpState::Established)))
        .wrapping_mul(this.wrapping_sub(pair(TcpState::FinWait1, TcpState::FinWait2)))
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn codes_survive_the_way_through_a_record() {
        for code in 0..=u8::MAX {
            match TcpState::try_from(code) {
                Ok(state) => assert_eq!(state as u8, code),
                Err(UnknownState(unknown)) => assert!(unknown == code && !(1..=11).contains(&code)),
            }
        }
    }

    #[test]
    fn three_transitions_come_of_a_segment_alone() {
        let states = || (0..=u8::MAX).filter_map(|code| TcpState::try_from(code).ok());
        let found: std::vec::Vec<_> = states()
            .flat_map(|old| states().map(move |new| (old, new)))
            .filter(|(old, new)| not_of_a_segment(*old as u8, *new as u8) == 0)
            .collect();
        use TcpState::*;
        assert_eq!(found, [(SynSent, Established), (SynRecv, Established), (FinWait1, FinWait2)]);
    }
}
