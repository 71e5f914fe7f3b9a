//! The one ring buffer.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    macros::map,
    maps::{RingBuf, ring_buf::RingBufEntry},
};

use tracer_common::{record::SocketRecord, state::TcpState};

use crate::{
    config::setting,
    counters::{self, Program, count},
};

/// Sized at load: half of `--ring-size`.
#[map]
static RING: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// A way for a state program's records to the user side.
pub(crate) trait Sender {
    type Place: Place;

    /// Room for a record; `None`, and counted, when there is none.
    fn reserve(&mut self) -> Option<Self::Place>;
}

/// Room for a socket's record.
pub(crate) trait Place {
    /// Where it is to be written, every field of it.
    fn as_mut_ptr(&mut self) -> *mut SocketRecord;
    /// Publishes it.
    fn submit(self);
}

/// The ring as a way for `0`'s records.
pub(crate) struct Ring(pub(crate) Program);

impl Sender for Ring {
    type Place = Room<SocketRecord>;

    #[inline(always)]
    fn reserve(&mut self) -> Option<Self::Place> {
        reserve(self.0)
    }
}

impl Place for Room<SocketRecord> {
    #[inline(always)]
    fn as_mut_ptr(&mut self) -> *mut SocketRecord {
        self.entry.as_mut_ptr()
    }

    #[inline(always)]
    fn submit(mut self) {
        // SAFETY: the record was just written.
        let flags = wakeup(unsafe { (*self.entry.as_mut_ptr()).new_state }, self.number);
        self.entry.submit(flags);
    }
}

/// Sends a transition that was made elsewhere; counted when there is no room for it.
#[inline(always)]
pub(crate) fn output(program: Program, record: &SocketRecord) {
    let number = counters::read(program).map_or(0, |counters| counters.records_sent + 1);
    let sent = RING.output::<SocketRecord>(record, wakeup(record.new_state, number)).is_ok();
    count(program, |counters| {
        if sent {
            counters.records_sent = number;
        } else {
            counters.records_lost += 1;
            counters.transitions_lost += 1;
        }
    });
}

/// How to publish a transition: one that says that a socket listens wakes the reader. SYNs for it may come
/// at once, and are counted as its own once the user side knows.
#[inline(always)]
fn wakeup(new_state: u8, number: u64) -> u64 {
    if new_state == TcpState::Listen as u8 {
        BPF_RB_FORCE_WAKEUP.into()
    } else {
        wakeup_if_full(number)
    }
}

/// Room for a record.
#[must_use = "what is not submitted blocks the ring"]
pub(crate) struct Room<T: 'static> {
    entry: RingBufEntry<T>,
    /// The how manieth of its program's records on this CPU it is.
    number: u64,
}

impl<T: 'static> Room<T> {
    /// Where the record is to be written, every field of it.
    #[inline(always)]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.entry.as_mut_ptr()
    }
}

/// Room for a record; counted when there is none.
#[inline(always)]
pub(crate) fn reserve<T: 'static>(program: Program) -> Option<Room<T>> {
    let entry = RING.reserve::<T>(0);
    let full = entry.is_none();
    let mut number = 0;
    count(program, |counters| {
        if full {
            counters.records_lost += 1;
        } else {
            number = counters.records_sent + 1;
            counters.records_sent = number;
        }
    });
    Some(Room { entry: entry?, number })
}

/// Room for a record that nobody misses.
#[inline(always)]
pub(crate) fn reserve_uncounted<T: 'static>() -> Option<Room<T>> {
    Some(Room { entry: RING.reserve::<T>(0)?, number: 0 })
}

/// Publishes a record without waking the reader.
#[inline(always)]
pub(crate) fn submit_quietly<T: 'static>(room: Room<T>) {
    room.entry.submit(BPF_RB_NO_WAKEUP.into());
}

/// Publishes a record and wakes the reader.
#[inline(always)]
pub(crate) fn submit_at_once<T: 'static>(room: Room<T>) {
    room.entry.submit(BPF_RB_FORCE_WAKEUP.into());
}

/// Publishes a record. The reader looks every few milliseconds by itself; it is only
/// woken when the ring fills faster than that. A wakeup for every record would cost more than all the
/// rest, and so would a look at the ring's positions, which every CPU writes: one record in
/// [`LOOK_EVERY`] is enough.
#[inline(always)]
pub(crate) fn submit<T: 'static>(room: Room<T>) {
    let flags = wakeup_if_full(room.number);
    room.entry.submit(flags);
}

#[inline(always)]
fn wakeup_if_full(number: u64) -> u64 {
    let look = number.is_multiple_of(LOOK_EVERY);
    let full = look && RING.query(BPF_RB_AVAIL_DATA.into()) >= setting!(wakeup_watermark);
    if full { BPF_RB_FORCE_WAKEUP.into() } else { BPF_RB_NO_WAKEUP.into() }
}

/// An eighth of the ring is waiting when the reader is woken: there is room for as many records more.
const LOOK_EVERY: u64 = 8;
