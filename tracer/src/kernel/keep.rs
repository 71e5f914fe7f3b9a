//! The packet filter of `--write`.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use aya::Pod;
use aya::maps::{MapData, PerCpuArray};
use aya::programs::SocketFilter;
use tracer_common::control::Kept;

use super::load::{Kernel, explain};

/// Segments that can be awaited at a time, of all connections together. What it holds is short-lived:
/// from a SYN-ACK or a FIN to the answer. 64 Ki take about 8 MiB of the kernel's memory.
const AWAITED: u32 = 65_536;

/// Name and size of the map that is only needed here.
pub(super) fn map_size(keeps: bool) -> (&'static str, u32) {
    ("AWAITED", if keeps { AWAITED } else { 1 })
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct PodKept(Kept);
// SAFETY: repr(C), integers only, no padding.
unsafe impl Pod for PodKept {}

/// The loaded filter, to be put on sockets, and what it counts.
pub struct PacketFilter {
    program: OwnedFd,
    kept: PerCpuArray<MapData, PodKept>,
}

impl PacketFilter {
    /// The program, for `SO_ATTACH_BPF`.
    #[must_use]
    pub const fn program(&self) -> &OwnedFd {
        &self.program
    }

    /// Control segments that were left out because there were too many in a second.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn left_out(&self) -> Result<u64> {
        let kept = self.kept.get(&0, 0).context("cannot read what the packet filter counted")?;
        Ok(kept.iter().map(|PodKept(kept)| kept.left_out).sum())
    }
}

impl Kernel {
    /// Loads the packet filter. To be called once, and only if the kernel side was loaded for it.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn packet_filter(&mut self) -> Result<PacketFilter> {
        let program: &mut SocketFilter = self.program("tracer_keep")?;
        program.load().map_err(|error| explain(&error.into(), "load the packet filter"))?;
        let fd = program.fd().context("the packet filter is not loaded")?;
        let program = fd.as_fd().try_clone_to_owned().context("cannot hold the packet filter")?;
        let kept = self.ebpf.take_map("KEPT").context("the packet filter's map is missing")?;
        Ok(PacketFilter { program, kept: PerCpuArray::try_from(kept)? })
    }
}
