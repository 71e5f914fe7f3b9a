//! How many different sources: registers that keep the highest rank seen.

use aya_ebpf::{macros::map, maps::Array};
use tracer_common::{
    addr::Addr,
    flood::distinct::{
        CLOSED_TARGETS, REGISTERS, SKETCHES, SYN_ACK_SOURCES, index, port_number, register,
    },
    hash,
};

use super::{BPF_F_MMAPABLE, Here};
use crate::config::key;

/// Shared by all CPUs: two that raise a register at the same time may leave the lower of the two
/// ranks, which is far within the sketch's error.
#[map]
static DISTINCT: Array<[u8; REGISTERS]> = Array::with_max_entries(2 * SKETCHES, BPF_F_MMAPABLE);

/// A register, and the rank it is to have at least.
pub(super) struct Place {
    register: *mut u8,
    rank: u8,
}

/// A sketch of the epoch.
#[inline(always)]
pub(super) fn registers(epoch: u32, sketch: u32) -> Option<*mut [u8; REGISTERS]> {
    DISTINCT.get_ptr_mut(index(epoch, sketch))
}

/// `hash`: of what is one of many.
#[inline(always)]
pub(super) fn place(registers: *mut [u8; REGISTERS], hash: u64) -> Place {
    let (index, rank) = register(hash);
    // SAFETY: a map value of REGISTERS bytes, and the index has PRECISION bits.
    let register = unsafe { registers.cast::<u8>().add(index & (REGISTERS - 1)) };
    Place { register, rank }
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
fn note(epoch: u32, sketch: u32, hash: u64) {
    if let Some(registers) = registers(epoch, sketch) {
        place(registers, hash).note();
    }
}

/// The destination of a SYN to a closed port.
#[inline(never)]
pub(super) fn closed_target(epoch: u32, first: u64, second: u64, port: u16) {
    let number = port_number(port);
    note(epoch, CLOSED_TARGETS, hash::single(key(), number, Addr([first, second])));
}

/// A SYN-ACK's source, from its hash.
#[inline(always)]
pub(super) fn syn_ack_source(here: &Here, hash: u64) {
    note(here.epoch, SYN_ACK_SOURCES, hash);
}
