//! The record that tells the user side to look: a few a second and CPU, whatever the rate of SYNs.

use tracer_common::{
    flood::cpu::Now,
    record::{RecordKind, SynSummary},
};

use crate::{
    counters::{Program, read},
    ring,
};

#[inline(never)]
pub(super) fn send(this: &Now, cpu: u32, epoch: u32, burst: bool, now: u64) {
    let Some(totals) = read(Program::Syn) else { return };
    // A lost one takes nothing along: the next has the same totals and more.
    let Some(mut room) = ring::reserve_uncounted::<SynSummary>() else { return };
    let record = room.as_mut_ptr();
    // SAFETY: a reserved record.
    unsafe {
        (*record).kind = RecordKind::SynSummary as u8;
        (*record).burst = burst as u8;
        (*record).cpu = cpu as u16;
        (*record).epoch = epoch;
        (*record).ts_ns = now;
        (*record).syns = this.syns.wrapping_sub(totals.syns_other_device);
        (*record).syns_repeated = totals.syns_repeated;
        (*record).resets = this.resets;
        (*record).syn_acks = this.syn_acks;
        (*record).unparsed = totals.syns_unparsed;
    }
    if burst {
        ring::submit_at_once(room);
    } else {
        ring::submit(room);
    }
}
