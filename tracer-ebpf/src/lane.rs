//! The first state program's way to the user side: this CPU's lane (see [`tracer_common::lane`]).

use core::{
    hint::cold_path,
    sync::atomic::{Ordering, compiler_fence},
};

use aya_ebpf::{helpers::generated::bpf_get_smp_processor_id, macros::map, maps::Array};
use tracer_common::{
    lane::{Lane, Mark},
    record::SocketRecord,
    state::TcpState,
};

use crate::{
    config::lanes,
    counters::Program,
    fetch::fetch,
    flood::BPF_F_MMAPABLE,
    ring::{self, Place, Sender},
};

/// Sized at load: one for every CPU that may ever come up.
#[map]
static LANES: Array<Lane> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Sized at load; where what lies is [`lanes`]'s to say.
#[map]
static LANE_RECORDS: Array<SocketRecord> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// This CPU's lane.
#[derive(Clone, Copy)]
pub(crate) struct Here {
    lane: *mut Lane,
    cpu: u32,
}

/// `None` on a CPU of which the kernel did not say that it may come up.
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

/// The way of a transition's records: a lane with room for them, or with `full` all ones the ring. The
/// lane is in use until [`Writer::close`].
pub(crate) struct Writer {
    pub(crate) here: Here,
    published: u64,
    full: u64,
}

/// Begins to send what a transition to `new` has to tell. `None` where this program is at work on this
/// CPU already, or the CPU has no lane.
#[inline(always)]
pub(crate) fn open(new: u8) -> Option<Writer> {
    let here = here()?;
    let lane = here.lane;
    // SAFETY: a map value. Volatile and in this order: an interrupt in between that runs this program
    // ends before this one goes on.
    unsafe {
        let busy = &raw mut (*lane).busy;
        if busy.read_volatile() != 0 {
            return None;
        }
        busy.write_volatile(1);
        let published = (&raw const (*lane).published).read_volatile();
        let consumed = (&raw const (*lane).consumed).read_volatile();
        // A socket that begins to listen goes by the ring, which wakes the reader.
        let wakes = (((new ^ LISTEN) as i64).wrapping_sub(1) >> 63) as u64;
        let full = lanes().full(here.cpu, published, consumed) | wakes;
        Some(Writer { here, published, full })
    }
}

const LISTEN: u8 = TcpState::Listen as u8;

impl Writer {
    #[inline(always)]
    pub(crate) fn close(self) {
        // SAFETY: a map value.
        unsafe { (&raw mut (*self.here.lane).busy).write_volatile(0) };
    }

    #[inline(always)]
    fn index(&self) -> u32 {
        lanes().index(self.here.cpu, self.published, self.full)
    }
}

impl Sender for Writer {
    type Place = Slot;

    #[inline(always)]
    fn reserve(&mut self) -> Option<Slot> {
        let record = LANE_RECORDS.get_ptr_mut(self.index())?;
        self.published += 1;
        let (published, following) = (self.published, self.index());
        Some(Slot { record, lane: self.here.lane, published, following, full: self.full })
    }
}

const CACHE_LINE: usize = 64;

/// Room for one record.
pub(crate) struct Slot {
    record: *mut SocketRecord,
    lane: *mut Lane,
    published: u64,
    following: u32,
    full: u64,
}

impl Place for Slot {
    #[inline(always)]
    fn as_mut_ptr(&mut self) -> *mut SocketRecord {
        self.record
    }

    /// A lane wakes nobody: the reader looks by itself, and what finds it full goes by the ring. Publishing
    /// is a plain store: lanes have records on x86-64 only, where stores are seen in their order (Intel SDM
    /// 3A, 9.2.3.2).
    #[inline(always)]
    fn submit(self) {
        if self.full != 0 {
            cold_path();
            // SAFETY: a map value that was just written.
            return ring::output(Program::State, unsafe { &*self.record });
        }
        compiler_fence(Ordering::Release);
        // SAFETY: a map value that only this CPU writes.
        unsafe { (&raw mut (*self.lane).published).write_volatile(self.published) };
        // Room for the one that follows was made sure of when the lane was opened.
        if let Some(record) = LANE_RECORDS.get_ptr_mut(self.following) {
            for line in 0..size_of::<SocketRecord>().div_ceil(CACHE_LINE) {
                // SAFETY: within a map value.
                fetch(unsafe { record.byte_add(line * CACHE_LINE).cast() }, 0);
            }
        }
    }
}
