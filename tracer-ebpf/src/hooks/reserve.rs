//! The other yardstick of `cargo xtask bench`: a program at the place of the state hook that only
//! reserves a record of the same size and publishes it, without looking at the socket and without a
//! wakeup. Never attached by tracer itself.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::record::{RecordKind, SocketRecord};

use crate::ring;

#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn tracer_reserve(_: BtfTracePointContext) -> i32 {
    if let Some(mut room) = ring::reserve_uncounted::<SocketRecord>() {
        let record = room.as_mut_ptr();
        // SAFETY: the record was just reserved; what is left unwritten is never read.
        unsafe {
            (*record).kind = RecordKind::Transition as u8;
            (*record).ts_ns = bpf_ktime_get_ns();
        }
        ring::submit_quietly(room);
    }
    0
}
