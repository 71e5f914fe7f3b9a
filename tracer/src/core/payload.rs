//! From the kernel's sequence-space counters to payload bytes.

use super::event::TcpFields;
use super::record::Role;

/// Payload bytes (sent, received), without SYN and FIN.
///
/// `tcp_sock.bytes_acked` grows with `snd_una` (`tcp_snd_una_update()`), which for an active open
/// starts at the SYN and for a passive one behind it (`tcp_create_openreq_child()`); our FIN counts
/// once it is acknowledged. `tcp_sock.bytes_received` grows with `rcv_nxt`
/// (`tcp_rcv_nxt_update()`), which starts behind the peer's SYN; its FIN counts once it has been
/// received in order.
///
/// - `fin_acked`: our FIN was acknowledged;
/// - `fin_received`: the peer's FIN came in order.
///
/// A SYN that was never acknowledged leaves a count of 0, from which nothing is taken.
///
/// What was sent is `None` without a role: nobody knows whether a SYN is inside.
pub(super) fn payload(
    tcp: &TcpFields,
    role: Option<Role>,
    fin_acked: bool,
    fin_received: bool,
) -> (Option<u64>, Option<u64>) {
    let sent = role.map(|role| {
        let syn = u64::from(role == Role::Client);
        tcp.bytes_acked.saturating_sub(syn + u64::from(fin_acked))
    });
    let received = tcp.bytes_received.saturating_sub(u64::from(fin_received));
    (sent, Some(received))
}
