//! The one ring buffer.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    macros::map,
    maps::{RingBuf, ring_buf::RingBufEntry},
};

use crate::{
    config::setting,
    counters::{self, Program, count},
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

/// Publishes a record of `program`'s. The reader looks every few milliseconds by itself; it is only
/// woken when the ring fills faster than that. A wakeup for every record would cost more than all the
/// rest, and so would a look at the ring's positions, which every CPU writes: one record in
/// [`LOOK_EVERY`] is enough.
#[inline(always)]
pub(crate) fn submit<T>(program: Program, entry: RingBufEntry<T>) {
    let look =
        counters::read(program).is_none_or(|counters| counters.records_sent % LOOK_EVERY == 0);
    let full = look && RING.query(BPF_RB_AVAIL_DATA.into()) >= setting!(wakeup_watermark);
    let flags = if full { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    entry.submit(flags.into());
}

/// An eighth of the ring is waiting when the reader is woken: there is room for as many records more.
const LOOK_EVERY: u64 = 8;
