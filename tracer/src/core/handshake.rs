//! How long the handshake took, and how good that figure is.

use super::event::{MonoNs, SocketEvent, SynSeen, TcpFields};
use super::maybe::MaybeNs;
use super::record::HandshakeSource;

/// The shortest time for which a process must have been ahead of the final ACK to show that the
/// socket was accepted in SYN_RECV. A child is put on the accept queue before its final ACK is
/// processed (`tcp_check_req()`), so accept() on another CPU may win by microseconds without any
/// TCP Fast Open.
const AHEAD_NS: u64 = 1_000_000;

/// What →ESTABLISHED tells.
#[derive(Clone, Copy)]
pub(super) struct Handshake {
    pub(super) took: MaybeNs,
    pub(super) source: Option<HandshakeSource>,
    pub(super) synack_rtt: MaybeNs,
    pub(super) synack_retransmits: Option<u32>,
    /// A round-trip time that must not be believed, µs.
    pub(super) doubted_rtt: Option<u32>,
}

impl Handshake {
    pub(super) const NONE: Self = Self {
        took: MaybeNs::NONE,
        source: None,
        synack_rtt: MaybeNs::NONE,
        synack_retransmits: None,
        doubted_rtt: None,
    };

    fn by(took: Option<u64>, source: HandshakeSource) -> (Option<u64>, Option<HandshakeSource>) {
        (took, took.map(|_| source))
    }

    /// Of a client. `began`: when SYN_SENT was entered, if that was seen and the SYN left then.
    pub(super) fn of_client(event: &SocketEvent, at: MonoNs, began: Option<MonoNs>) -> Self {
        let srtt = event.tcp.and_then(|tcp| tcp.srtt_us);
        let (took, source) = match began {
            Some(began) => Self::by(Some(at.since(began)), HandshakeSource::State),
            None => Self::by(first_rtt(event.tcp), HandshakeSource::Srtt),
        };
        Self {
            took: took.into(),
            source,
            synack_rtt: srtt.map(us).into(),
            synack_retransmits: None,
            doubted_rtt: None,
        }
    }

    /// Of a server. `fast_open`: when SYN_RECV was entered, if that is known to have been the SYN's
    /// arrival.
    pub(super) fn of_server(
        event: &SocketEvent,
        at: MonoNs,
        syn: Option<SynSeen>,
        fast_open: Option<MonoNs>,
    ) -> Self {
        let srtt = event.tcp.and_then(|tcp| tcp.srtt_us);
        let doubted_rtt = event.tcp.and_then(doubtful);
        let believed = srtt.filter(|_| doubted_rtt.is_none());
        let rtt = first_rtt(event.tcp).filter(|_| believed.is_some());
        let (took, source) = match (syn, rtt, fast_open) {
            (Some(syn), ..) => Self::by(Some(at.since(syn.first)), HandshakeSource::Syn),
            (None, Some(rtt), _) => Self::by(Some(rtt), HandshakeSource::Srtt),
            (None, None, Some(syn)) => Self::by(Some(at.since(syn)), HandshakeSource::State),
            (None, None, None) => (None, None),
        };
        Self {
            took: took.into(),
            source,
            synack_rtt: believed.map(us).into(),
            synack_retransmits: event.tcp.map(|tcp| tcp.total_retrans),
            doubted_rtt,
        }
    }
}

/// Whether the SYN that the hook remembers can have been the connection's first.
///
/// During a flood another SYN may take its place in the table; then a repetition of it looks like
/// the first. It betrays itself where the kernel sent SYN-ACKs again that no repeated SYN asked for:
/// those were sent by the request's timer, one second after the first SYN, three, seven, ….
/// (`TCP_TIMEOUT_INIT`, doubled each time by `reqsk_timer_handler()`).
pub(super) fn is_first_syn(syn: SynSeen, event: &SocketEvent) -> bool {
    const FIRST_TIMEOUT_NS: u64 = 1_000_000_000;
    let sent_again = event.tcp.map_or(0, |tcp| tcp.total_retrans);
    let by_timer = sent_again.saturating_sub(syn.repeats).min(7);
    let passed = FIRST_TIMEOUT_NS * ((1 << by_timer) - 1);
    // A timer may be a tick early; a tenth is far from the other possibility.
    event.at.since(syn.first) >= passed / 10 * 9
}

/// The time from the SYN (or SYN-ACK) to its answer, nanoseconds: the socket's first round-trip
/// time, if nothing had to be sent twice.
fn first_rtt(tcp: Option<TcpFields>) -> Option<u64> {
    tcp.filter(|tcp| tcp.total_retrans == 0).and_then(|tcp| tcp.srtt_us).map(us)
}

/// A server's round-trip time that can't be believed. Under SYN cookies the kernel does not know
/// when it sent the SYN-ACK and falls back on the timestamp option, which counts milliseconds and
/// was made for another purpose: 1–18 ms are reported for a true 0.5–2.5 ms. Such a value is a
/// whole multiple of 1000 µs; a measured one is so once in a thousand times, and then given up.
fn doubtful(tcp: TcpFields) -> Option<u32> {
    tcp.srtt_us.filter(|srtt| tcp.total_retrans == 0 && srtt.is_multiple_of(1000))
}

fn us(us: u32) -> u64 {
    u64::from(us) * 1000
}

/// Whether a server's child was made by TCP Fast Open: its SYN_RECV begins at the SYN and ends with
/// the final ACK, while that of every other child begins and ends with the final ACK. Only said
/// where it is certain.
pub(super) fn is_fast_open(
    syn: Option<SynSeen>,
    syn_recv: MonoNs,
    established: MonoNs,
    accepted: Option<MonoNs>,
    tcp: Option<TcpFields>,
) -> bool {
    let lasted = established.since(syn_recv);
    if let Some(syn) = syn {
        return lasted > syn_recv.since(syn.first).saturating_mul(2);
    }
    if accepted.is_some_and(|accepted| established.since(accepted) >= AHEAD_NS) {
        return true;
    }
    let rtt = tcp.filter(|tcp| doubtful(*tcp).is_none());
    lasted >= AHEAD_NS && first_rtt(rtt).is_some_and(|rtt| lasted >= rtt / 2)
}
