//! How often the kernel's programs run, and how long (`--hook-stats`).

use std::os::fd::OwnedFd;

use anyhow::{Result, anyhow};
use aya::sys::{Stats, enable_stats};

use super::Kernel;
use crate::core::event::nanos;
use crate::core::record::ProgramRuns;

/// Has the kernel count the runs of every BPF program of the host, tracer's or not, until it is
/// dropped: two looks at the clock a run (`BPF_ENABLE_STATS`, since Linux 5.8).
pub struct RunStats {
    _held: OwnedFd,
}

impl RunStats {
    /// Begins.
    ///
    /// # Errors
    /// The kernel refuses: it takes CAP_SYS_ADMIN (`bpf_enable_stats()`).
    pub fn begin() -> Result<Self> {
        let held = enable_stats(Stats::RunTime).map_err(|error| {
            anyhow!(
                "--hook-stats: the kernel does not count the programs' runs: {}; it takes \
                 CAP_SYS_ADMIN, run tracer as root or leave --hook-stats out",
                error.io_error
            )
        })?;
        Ok(Self { _held: held })
    }
}

impl Kernel {
    /// What the kernel has counted of each program that is loaded, by name.
    #[must_use]
    pub fn program_runs(&self) -> Vec<ProgramRuns> {
        let mut all: Vec<_> = self
            .ebpf
            .programs()
            .filter_map(|(name, program)| {
                let info = program.info().ok()?;
                Some(ProgramRuns {
                    program: name.to_owned(),
                    runs: info.run_count(),
                    took: nanos(info.run_time()),
                })
            })
            .collect();
        all.sort_by(|a, b| a.program.cmp(&b.program));
        all
    }
}
