//! `tcp:tcp_receive_reset` and `tcp:tcp_send_reset`: who reset whom.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::{
    record::{RecordKind, SocketRecord},
    state::TcpState,
};

use crate::{
    address,
    config::offset,
    counters::{Program, count},
    filter::{Verdict, verdict},
    kernel::{Direct, Probe, Ptr, Reader},
    owner, ring,
    socket::{self, Tuple},
};

/// Fires in `tcp_reset()`, before the socket goes to CLOSE.
#[btf_tracepoint(function = "tcp_receive_reset")]
pub(crate) fn tracer_rst_rcvd(ctx: BtfTracePointContext) -> i32 {
    let sk: Ptr = ctx.arg::<*const core::ffi::c_void>(0);
    count(Program::ResetReceived, |counters| counters.resets_received += 1);
    address::note_reset(sk);
    0
}

/// Fires when a RST leaves: for a socket, or for a segment nobody waits for (then `sk` is null or
/// a listener or a timewait socket, and it is only counted: strangers decide how many there are).
#[btf_tracepoint(function = "tcp_send_reset")]
pub(crate) fn tracer_rst_sent(ctx: BtfTracePointContext) -> i32 {
    let sk: Ptr = ctx.arg::<*const core::ffi::c_void>(0);
    count(Program::ResetSent, |counters| counters.resets_sent += 1);
    if sk.is_null() {
        return 0;
    }
    // SAFETY: the tracepoint passes a socket of some kind; what is no full socket is left alone.
    unsafe {
        let state: u8 = Direct::read(sk, offset!(skc_state));
        if !is_full_connection(state) {
            return 0;
        }
        let Some(mut tuple) = Tuple::read_tcp(sk) else {
            return 0;
        };
        tuple.recall_port::<Probe>(sk);
        if verdict(&tuple.subject) != Verdict::Match {
            return 0;
        }
        let now = bpf_ktime_get_ns();
        let Some(mut room) = ring::reserve::<SocketRecord>(Program::ResetSent) else {
            return 0;
        };
        let record = room.as_mut_ptr();
        socket::fill(record, sk, &tuple);
        (*record).kind = RecordKind::ResetSent as u8;
        (*record).old_state = state;
        (*record).new_state = state;
        (*record).ts_ns = now;
        socket::fill_nothing_before(record);
        socket::fill_no_tcp(record);
        (*record).cookie = socket::cookie(sk);
        owner::fill(record, Direct::read(sk, offset!(sk_lock_owned)));
        ring::submit(room);
    }
    0
}

/// Neither a listener nor a timewait (6) or request socket (12), which are smaller structures.
#[inline(always)]
const fn is_full_connection(state: u8) -> bool {
    state != 0
        && state <= TcpState::Closing as u8
        && state != TcpState::Listen as u8
        && state != TcpState::TimeWait as u8
}
