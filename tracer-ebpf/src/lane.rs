//! The way to the user side for what there is much of: this CPU's lane (see [`tracer_common::lane`]).

use aya_ebpf::{helpers::generated::bpf_get_smp_processor_id, macros::map, maps::Array};
use tracer_common::{
    lane::{self, Lane, Mark},
    record::SocketRecord,
};

use crate::{
    config::setting,
    fetch::fetch,
    flood::BPF_F_MMAPABLE,
    ring::{Place, Sender},
};

/// Sized for the machine's CPUs at load.
#[map]
static LANES: Array<Lane> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Sized at load: as many for each lane as [`setting!`] says.
#[map]
static LANE_RECORDS: Array<SocketRecord> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// This CPU's lane.
#[derive(Clone, Copy)]
pub(crate) struct Here {
    lane: *mut Lane,
    cpu: u32,
}

/// `None` on a CPU that has come up after tracer and is higher than all before.
#[inline(always)]
pub(crate) fn here() -> Option<Here> {
    // SAFETY: takes no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    Some(Here { lane: LANES.get_ptr_mut(cpu)?, cpu })
}

impl Here {
    /// See [`Lane::marks`].
    #[inline(always)]
    pub(crate) fn mark(self, locked: bool) -> *mut Mark {
        // SAFETY: within the map value.
        unsafe { (&raw mut (*self.lane).marks).cast::<Mark>().add(locked as usize) }
    }
}

/// A lane with room for what a transition may send, in use until [`Writer::close`].
pub(crate) struct Writer {
    pub(crate) here: Here,
    published: u64,
}

/// Begins to write into this CPU's lane; `None` if it is full or in use, or the CPU has none.
#[inline(always)]
pub(crate) fn open() -> Option<Writer> {
    here().and_then(|here| {
        let lane = here.lane;
        // SAFETY: a map value. Volatile and in this order: an interrupt in between that runs this
        // program ends before this one goes on.
        unsafe {
            let busy = &raw mut (*lane).busy;
            if busy.read_volatile() != 0 {
                return None;
            }
            busy.write_volatile(1);
            let published = (&raw const (*lane).published).read_volatile();
            let consumed = (&raw const (*lane).consumed).read_volatile();
            if !lane::has_room(published, consumed, setting!(lane_records)) {
                busy.write_volatile(0);
                return None;
            }
            Some(Writer { here, published })
        }
    })
}

impl Writer {
    #[inline(always)]
    pub(crate) fn close(self) {
        // SAFETY: a map value.
        unsafe { (&raw mut (*self.here.lane).busy).write_volatile(0) };
    }
}

impl Sender for Writer {
    type Place = Slot;

    #[inline(always)]
    fn reserve(&mut self) -> Option<Slot> {
        let index = lane::index(self.here.cpu, setting!(lane_records), self.published);
        let record = LANE_RECORDS.get_ptr_mut(index)?;
        self.published += 1;
        let following = lane::index(self.here.cpu, setting!(lane_records), self.published);
        Some(Slot { record, lane: self.here.lane, published: self.published, following })
    }
}

const CACHE_LINE: usize = 64;

/// Room for one record.
pub(crate) struct Slot {
    record: *mut SocketRecord,
    lane: *mut Lane,
    published: u64,
    following: u32,
}

impl Place for Slot {
    #[inline(always)]
    fn as_mut_ptr(&mut self) -> *mut SocketRecord {
        self.record
    }

    /// Wakes nobody: the reader looks by itself, and what finds the lane full goes by the ring.
    #[inline(always)]
    fn submit(self) {
        // SAFETY: a map value.
        publish(unsafe { &raw mut (*self.lane).published }, self.published);
        // Room for the one that follows was made sure of when the lane was opened.
        if let Some(record) = LANE_RECORDS.get_ptr_mut(self.following) {
            for line in 0..size_of::<SocketRecord>().div_ceil(CACHE_LINE) {
                // SAFETY: within a map value.
                fetch(unsafe { record.byte_add(line * CACHE_LINE).cast() }, 0);
            }
        }
    }
}

/// Stores are seen in their order on these processors (Intel SDM 3A, 9.2.3.2).
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn publish(published: *mut u64, position: u64) {
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::Release);
    // SAFETY: a map value that only this CPU writes.
    unsafe { published.write_volatile(position) };
}

/// An atomic operation that returns what was there is a full barrier in BPF; a store has no order.
#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
fn publish(published: *mut u64, position: u64) {
    use core::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: an aligned word of a map value.
    let _ = unsafe { AtomicU64::from_ptr(published) }.swap(position, Ordering::SeqCst);
}
