//! The live source: loads and attaches the kernel side and reads what it sends.
//!
//! aya stays behind this module.

pub mod decode;
pub mod features;
pub mod flood;
pub mod hooks;
pub mod keep;
mod lanes;
pub mod layout;
pub mod load;
pub mod measure;
mod mmap;
pub mod records;
pub mod stats;
pub mod syn_hook;
mod tracefs;

use crate::core::event::MonoNs;
use crate::system::host;

pub use flood::{FloodReader, FloodTables};
pub use hooks::HookStatus;
pub use keep::PacketFilter;
pub use load::{Kernel, LoadConfig};
pub use records::Records;
pub use stats::RunStats;

/// The clock of the hooks.
#[must_use]
pub fn clock() -> MonoNs {
    // The clock exists on every Linux and its time is positive.
    MonoNs(host::monotonic_ns().map_or(0, i64::cast_unsigned))
}
