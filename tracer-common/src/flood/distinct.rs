//! How many different: HyperLogLog (Flajolet, Fusy, Gandouet, Meunier 2007) over a keyed 64-bit
//! hash.

use super::SLOTS;

/// Bits of the hash that choose the register.
pub const PRECISION: u32 = 13;
/// Registers of a sketch, one byte each: a standard error of 1.04 / sqrt(8192) = 1.15 %.
pub const REGISTERS: usize = 1 << PRECISION;
/// Sketch of the different destinations (address and port) of SYNs to closed ports.
pub const CLOSED_TARGETS: u32 = SLOTS;
/// Sketch of the different sources of SYN-ACKs to this namespace's own addresses.
pub const SYN_ACK_SOURCES: u32 = SLOTS + 1;
/// Sketches of one epoch: one of sources per destination slot, and the two above.
pub const SKETCHES: u32 = SLOTS + 2;

/// Element of a sketch in the double-buffered array.
#[inline(always)]
#[must_use]
pub const fn index(epoch: u32, sketch: u32) -> u32 {
    (epoch & 1) * SKETCHES + sketch
}
