//! What the programs cost, for `cargo xtask bench`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::maps::{MapData, RingBuf};
use aya::programs::links::FdLink;
use aya::programs::{BtfTracePoint, ProgramError, TestRun as _, TestRunOptions, Xdp, XdpMode};
use aya::{Btf, Ebpf, EbpfLoader};

use super::Kernel;
use super::load::OBJECT;

/// The SYN hook on Ethernet devices.
pub const SYN_HOOK: &str = "tracer_syn_xdp";
/// A program that only lets packets through: what they cost anyway.
pub const PASS: &str = "tracer_pass_xdp";

/// The programs that handle the transitions of sockets.
pub const STATE_HOOK: [&str; 2] = ["tracer_state", "tracer_rescue"];
/// A program at the same place that only reserves and publishes a record.
pub const RESERVE: &str = "tracer_reserve";

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

/// [`RESERVE`] at work, until it is dropped.
pub struct Yardstick {
    // Holds the program at its hook.
    _ebpf: Ebpf,
    ring: RingBuf<MapData>,
}

impl Yardstick {
    /// Attaches it, with a ring of so many bytes that somebody must empty.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn attach(ring_size: u32) -> Result<Self> {
        let btf = Btf::from_sys_fs().context("cannot parse the kernel's type information")?;
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&btf))
            .map_max_entries("RING", ring_size)
            .load(OBJECT)
            .context("cannot create the maps")?;
        let ring = ebpf.take_map("RING").context("the ring buffer map is missing")?;
        let ring = RingBuf::try_from(ring).context("cannot map the ring buffer")?;
        let program = ebpf.program_mut(RESERVE).with_context(|| format!("no program {RESERVE}"))?;
        let program: &mut BtfTracePoint = program.try_into()?;
        program.load("inet_sock_set_state", &btf)?;
        program.attach()?;
        Ok(Self { _ebpf: ebpf, ring })
    }

    /// Takes what is in the ring; how many records it was.
    pub fn drain(&mut self) -> u64 {
        let mut taken = 0;
        while self.ring.next().is_some() {
            taken += 1;
        }
        taken
    }
}
