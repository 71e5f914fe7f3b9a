//! The one ring buffer.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    macros::map,
    maps::{RingBuf, ring_buf::RingBufEntry},
};

use crate::{
    config::setting,
    counters::{Program, count},
};

/// Sized by `--ring-size` at load.
#[map]
static RING: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// Room for a record; counted when there is none.
#[inline(always)]
pub(crate) fn reserve<T: 'static>(program: Program) -> Option<RingBufEntry<T>> {
    let entry = RING.reserve::<T>(0);
    let full = entry.is_none();
    count(program, |counters| {
        if full {
            counters.records_lost += 1;
        } else {
            counters.records_sent += 1;
        }
    });
    entry
}

/// Room for a record that nobody misses.
#[inline(always)]
pub(crate) fn reserve_uncounted<T: 'static>() -> Option<RingBufEntry<T>> {
    RING.reserve::<T>(0)
}

/// Publishes a record and wakes the reader.
#[inline(always)]
pub(crate) fn submit_at_once<T>(entry: RingBufEntry<T>) {
    entry.submit(BPF_RB_FORCE_WAKEUP.into());
}

/// Bytes above the watermark within which the reader is woken: more than CPUs can put in at the same
/// moment, so that none of them steps over it. Past it the reader is awake and waits for a CPU;
/// waking it again and again costs an interrupt a record.
const WAKE_WITHIN: u64 = 16 << 10;

/// Publishes a record. The reader looks every few milliseconds by itself; it is only woken when
/// the ring fills faster than that. A wakeup for every record would cost more than all the rest.
#[inline(always)]
pub(crate) fn submit<T>(entry: RingBufEntry<T>) {
    let waiting = RING.query(BPF_RB_AVAIL_DATA.into());
    // Below the watermark it is larger than anything.
    let above = waiting.wrapping_sub(setting!(wakeup_watermark));
    let flags = if above < WAKE_WITHIN { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    entry.submit(flags.into());
}
