//! How many different sources: registers that keep the highest rank seen.

use aya_ebpf::{macros::map, maps::Array};
use tracer_common::{
    flood::distinct::{
        CLOSED_TARGETS, REGISTERS, SKETCHES, SYN_ACK_SOURCES, index, port_number, register,
    },
    hash,
};

use super::{BPF_F_MMAPABLE, Here};
use crate::config::key;
use crate::filter::Subject;

/// Shared by all CPUs: two that raise a register at the same time may leave the lower of the two
/// ranks, which is far within the sketch's error.
#[map]
static DISTINCT: Array<[u8; REGISTERS]> = Array::with_max_entries(2 * SKETCHES, BPF_F_MMAPABLE);

/// A register, and the rank it is to have at least.
pub(super) struct Place {
    register: *mut u8,
    rank: u8,
}

/// `hash`: of what is one of many.
#[inline(always)]
pub(super) fn place(here: &Here, sketch: u32, hash: u64) -> Option<Place> {
    let registers = DISTINCT.get_ptr_mut(index(here.epoch, sketch))?;
    let (index, rank) = register(hash);
    // SAFETY: a map value of REGISTERS bytes, and the index has PRECISION bits.
    let register = unsafe { registers.cast::<u8>().add(index & (REGISTERS - 1)) };
    Some(Place { register, rank })
}

impl Place {
    #[inline(always)]
    pub(super) fn note(&self) {
        // SAFETY: a map value.
        unsafe {
            // The higher of the two, without a branch that nobody could predict.
            let before = self.register.read_volatile() as i64;
            let more = self.rank as i64 - before;
            self.register.write_volatile((before + (more & !(more >> 63))) as u8);
        }
    }
}

#[inline(always)]
fn note(here: &Here, sketch: u32, hash: u64) {
    if let Some(place) = place(here, sketch, hash) {
        place.note();
    }
}

/// The destination of a SYN to a closed port.
#[inline(always)]
pub(super) fn closed_target(here: &Here, subject: &Subject) {
    let number = port_number(subject.local_port);
    note(here, CLOSED_TARGETS, hash::single(key(), number, subject.local_addr));
}

/// A SYN-ACK's source, from its hash.
#[inline(always)]
pub(super) fn syn_ack_source(here: &Here, hash: u64) {
    note(here, SYN_ACK_SOURCES, hash);
}
