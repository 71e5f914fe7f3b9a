//! `tcp:tcp_retransmit_synack`: a request that stays unanswered. At most as many as the listener's
//! backlog, once a second or less each.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::{
    offsets::ABSENT,
    record::{RecordKind, RequestRecord},
};

use crate::{
    config::offset,
    counters::{Program, count},
    filter::{Verdict, verdict},
    kernel::{Direct, Probe, Ptr, Reader},
    ring,
    socket::Tuple,
};

#[btf_tracepoint(function = "tcp_retransmit_synack")]
pub(crate) fn tracer_synack(ctx: BtfTracePointContext) -> i32 {
    let request: Ptr = ctx.arg::<*const core::ffi::c_void>(1);
    // SAFETY: the tracepoint passes a request_sock, which begins with a sock_common.
    unsafe {
        let Some(tuple) = Tuple::read::<Direct>(request) else {
            return 0;
        };
        if verdict(&tuple.subject) != Verdict::Match {
            return 0;
        }
        count(Program::SynAck, |counters| counters.synack_retransmits += 1);
        let now = bpf_ktime_get_ns();
        let Some(mut room) = ring::reserve::<RequestRecord>(Program::SynAck) else {
            return 0;
        };
        let record = room.as_mut_ptr();
        (*record).kind = RecordKind::SynAckRetransmit as u8;
        (*record).family = tuple.family;
        // num_timeout shares its byte with the syncookie bit and counts this one afterwards.
        let bit = offset!(req_num_timeout_bit);
        (*record).retransmits = if bit == ABSENT {
            0
        } else {
            (Direct::read::<u8>(request, bit / 8) >> (bit % 8)) as u16 + 1
        };
        (*record).netns = tuple.subject.netns;
        (*record).ts_ns = now;
        (*record).syn_ts_ns = 0;
        (*record).local_addr = tuple.subject.local_addr;
        (*record).remote_addr = tuple.subject.remote_addr;
        (*record).local_port = tuple.subject.local_port;
        (*record).remote_port = tuple.subject.remote_port;
        (*record).isn = Probe::read(request, offset!(treq_rcv_isn));
        ring::submit(room);
    }
    0
}
