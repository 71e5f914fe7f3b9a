//! What the XDP programs cost, for `cargo xtask bench`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, TestRun as _, TestRunOptions, Xdp, XdpMode};

use super::Kernel;

/// The SYN hook on Ethernet devices.
pub const SYN_HOOK: &str = "tracer_syn_xdp";
/// A program that only lets packets through: what they cost anyway.
pub const PASS: &str = "tracer_pass_xdp";

/// Runs of a program, as the kernel counted them (`kernel.bpf_stats_enabled`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Runs {
    /// How many.
    pub count: u64,
    /// How long all of them took.
    pub took: Duration,
}

impl Runs {
    /// What came since `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            count: self.count.saturating_sub(before.count),
            took: self.took.saturating_sub(before.took),
        }
    }

    /// Nanoseconds a run; `None` if there was none.
    #[must_use]
    pub fn each_ns(self) -> Option<f64> {
        (self.count > 0).then(|| self.took.as_nanos() as f64 / self.count as f64)
    }
}

impl Kernel {
    fn xdp(&mut self, name: &str) -> Result<&mut Xdp> {
        let program: &mut Xdp = self.program(name)?;
        match program.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(program),
            Err(error) => Err(error).with_context(|| format!("cannot load {name}")),
        }
    }

    /// Runs a program on a packet, `repeat` times in a row (BPF_PROG_TEST_RUN); the kernel's mean
    /// of one run.
    ///
    /// # Errors
    /// The program can't be loaded or run.
    pub fn test_run(&mut self, name: &str, packet: &[u8], repeat: u32) -> Result<Duration> {
        let options = TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::new() };
        let result = self.xdp(name)?.test_run(options);
        Ok(result.with_context(|| format!("cannot run {name}"))?.duration)
    }

    /// Attaches a program to an interface of this thread's namespace (generic mode), for as long as
    /// the link lives.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn attach_for_measuring(&mut self, name: &str, ifindex: u32) -> Result<FdLink> {
        let program = self.xdp(name)?;
        let id = program.attach_to_if_index(ifindex, XdpMode::Skb)?;
        program.take_link(id)?.try_into().ok().context("the kernel has no links for XDP programs")
    }

    /// What the kernel has counted of a program since it was loaded.
    ///
    /// # Errors
    /// The program is not loaded.
    pub fn runs(&mut self, name: &str) -> Result<Runs> {
        let info = self.xdp(name)?.info()?;
        Ok(Runs { count: info.run_count(), took: info.run_time() })
    }
}
