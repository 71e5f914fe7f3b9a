//! Loads the programs, attaches those that hook the whole host, reads ring and counters.

use std::any::Any;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, FExit, Program, ProgramError, TracePoint};
use aya::{Btf, Ebpf, EbpfLoader, Pod};
use tracer_common::addr::Addr;
use tracer_common::counters::Counters;
use tracer_common::hash::{self, KEY_WORDS};
use tracer_common::offsets::Offsets;
use tracer_common::packet::Link;
use tracer_common::settings::Settings;

use super::flood::{self, FloodReader, FloodTables};
use super::hooks::HookStatus;
use super::keep;
use super::lanes::{self, Lanes};
use super::layout::{self, Layout};
use super::records::{self, Records};
use super::syn_hook::{self, Mode};
use super::tracefs;
use crate::system::cpus;

/// What the kernel side is to look at.
pub struct LoadConfig {
    /// Size in bytes of ring and lanes, half each: a power of two, a multiple of the page size.
    pub ring_size: u32,
    /// Filter bits, namespaces; secrets and watermark are filled in here.
    pub settings: Settings,
    /// Words of the port sets that are not zero, by their index (see `settings::port_set`).
    pub ports: Vec<(u32, u64)>,
    /// Prefixes: length in the IPv4-mapped IPv6 space, and address.
    pub hosts: Vec<(u32, Addr)>,
    /// SYN hooks that will be attached, as far as that is known.
    pub syn_hooks: Vec<(Link, Mode)>,
    /// [`Kernel::packet_filter`] will be asked for.
    pub keeps_packets: bool,
    /// Level of the kernel side's own log; costs nothing at 0.
    pub log_level: u8,
}

/// The kernel side at work. Dropping it detaches everything; so does the end of the process.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    records: Option<Records>,
    counters: PerCpuArray<MapData, PodCounters>,
    /// Read after the counters: what is part of them is never more.
    syns: flood::Syns,
    hooks: Vec<HookStatus>,
    /// What holds the programs to their hooks; dropping one detaches it.
    links: Vec<Box<dyn Any + Send>>,
    /// Events missed while not all programs were at their hooks yet.
    missed_before: u64,
    /// Events missed until they were taken off, perhaps one too many.
    missed_until: u64,
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct PodCounters(Counters);
// SAFETY: repr(C), integers only.
unsafe impl Pod for PodCounters {}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct PodSettings(Settings);
// SAFETY: repr(C), integers only, no padding (asserted by its size).
unsafe impl Pod for PodSettings {}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct PodOffsets(Offsets);
// SAFETY: repr(C), u32 only.
unsafe impl Pod for PodOffsets {}

/// The tracepoint of all transitions.
const STATE: &str = "inet_sock_set_state";

/// The built kernel side.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer-ebpf"));

impl Kernel {
    /// Loads the programs and attaches all that hook the whole host. The state hook must work; the
    /// others are enrichments whose absence [`Self::hooks`] tells.
    ///
    /// # Errors
    /// No BTF, missing privileges, a kernel too old: with what to do about it.
    pub fn load(config: &LoadConfig) -> Result<Self> {
        // Each looks at all of the kernel's types.
        let (layout, btf, mut loader) = std::thread::scope(|scope| {
            let layout = scope.spawn(layout::read);
            let loader = EbpfLoader::new();
            let btf = Btf::from_sys_fs().context("cannot parse the kernel's type information");
            (layout.join(), btf, loader)
        });
        let layout =
            layout.map_err(|_| anyhow!("the thread that looks at the kernel's types died"))?;
        let (Layout { offsets, accept_parameters }, btf) = (layout?, btf?);
        let mut settings = config.settings;
        settings.key = secret()?;
        settings.lanes = lanes::sizes(config.ring_size);
        let ring_size = records::ring_size(config.ring_size, &settings.lanes);
        settings.wakeup_watermark = u64::from(ring_size / 8);
        let arrays = flood::array_sizes(cpus::online())
            .into_iter()
            .chain(lanes::array_sizes(&settings.lanes));
        for (name, elements) in arrays {
            loader.map_max_entries(name, elements);
        }
        let settings = PodSettings(settings);
        let offsets_pod = PodOffsets(offsets);
        let (name, elements) = keep::map_size(config.keeps_packets);
        loader.map_max_entries(name, elements);
        let mut ebpf = loader
            .btf(Some(&btf))
            .override_global("SETTINGS", &settings, true)
            .override_global("OFFSETS", &offsets_pod, true)
            .override_global("AYA_LOG_LEVEL", &config.log_level, false)
            .map_max_entries("RING", ring_size)
            .load(OBJECT)
            .map_err(|error| explain(&error.into(), "create the maps"))?;

        let ring = ebpf.take_map("RING").context("the ring buffer map is missing")?;
        let ring = RingBuf::try_from(ring).context("cannot map the ring buffer")?;
        let lanes = Lanes::open(&ebpf, settings.0.lanes)?;
        let records = Records::new(ring, lanes)?;
        let counters = ebpf.take_map("COUNTERS").context("the counters map is missing")?;
        let counters = PerCpuArray::try_from(counters)?;
        let syns = flood::syns(&ebpf)?;
        fill_filters(&mut ebpf, config)?;
        verify(&mut ebpf, &btf, &config.syn_hooks);

        let mut kernel = Self {
            ebpf,
            records: Some(records),
            counters,
            syns,
            hooks: Vec::new(),
            links: Vec::new(),
            missed_before: 0,
            missed_until: u64::MAX,
        };
        kernel.attach_enrichments(&btf, accept_parameters);
        // Last, so that the first transition finds the others at work.
        kernel
            .attach_tp_btf("tracer_state", STATE, &btf)
            // Programs run in the order in which they were attached.
            .and_then(|()| kernel.attach_tp_btf("tracer_rescue", STATE, &btf))
            .map_err(|error| explain(&error, "attach to inet_sock_set_state"))?;
        kernel.hooks.insert(0, HookStatus::attached(STATE, "tp_btf"));
        // Twice: what the second program was about to make up for is not missed.
        let missed = kernel.totals()?.1;
        std::thread::sleep(Duration::from_millis(2));
        kernel.missed_before = missed.min(kernel.totals()?.1);
        Ok(kernel)
    }

    fn attach_enrichments(&mut self, btf: &Btf, accept_parameters: Option<usize>) {
        for (program, tracepoint) in [
            ("tracer_rst_rcvd", "tcp_receive_reset"),
            ("tracer_rst_sent", "tcp_send_reset"),
            ("tracer_synack", "tcp_retransmit_synack"),
        ] {
            let status = match self.attach_tp_btf(program, tracepoint, btf) {
                Ok(()) => HookStatus::attached(tracepoint, "tp_btf"),
                Err(error) => HookStatus::refused(tracepoint, "tp_btf", short(&error)),
            };
            self.hooks.push(status);
        }
        match self.attach_fexit(btf, accept_parameters) {
            Ok(()) => self.hooks.push(HookStatus::attached("inet_csk_accept", "fexit")),
            Err(error) => {
                self.hooks.push(HookStatus::refused("inet_csk_accept", "fexit", short(&error)));
                self.attach_accept_tracepoints();
            }
        }
    }

    fn attach_tp_btf(&mut self, program: &str, tracepoint: &str, btf: &Btf) -> Result<()> {
        let program: &mut BtfTracePoint = self.program(program)?;
        once(program.load(tracepoint, btf))?;
        let link = program.attach()?;
        let link = program.take_link(link)?;
        self.links.push(Box::new(link));
        Ok(())
    }

    fn attach_fexit(&mut self, btf: &Btf, accept_parameters: Option<usize>) -> Result<()> {
        let program = match accept_parameters {
            Some(2) => "tracer_accept2",
            Some(4) => "tracer_accept4",
            Some(other) => return Err(anyhow!("inet_csk_accept takes {other} parameters")),
            None => return Err(anyhow!("the kernel has no function inet_csk_accept")),
        };
        let program: &mut FExit = self.program(program)?;
        program.load("inet_csk_accept", btf)?;
        let link = program.attach()?;
        let link = program.take_link(link)?;
        self.links.push(Box::new(link));
        Ok(())
    }

    /// Where fexit can't be had. Misses accepts by io_uring.
    fn attach_accept_tracepoints(&mut self) {
        const NAMES: [&str; 2] = ["sys_exit_accept4", "sys_exit_accept"];
        let attached = tracefs::with_tracefs(|| NAMES.map(|name| self.attach_tracepoint(name)));
        match attached {
            Ok(results) => {
                for (name, result) in NAMES.into_iter().zip(results) {
                    self.hooks.push(match result {
                        Ok(()) => HookStatus::attached(name, "tracepoint"),
                        Err(error) => HookStatus::refused(name, "tracepoint", short(&error)),
                    });
                }
            }
            Err(error) => self.hooks.extend(
                NAMES.map(|name| HookStatus::refused(name, "tracepoint", format!("{error:#}"))),
            ),
        }
    }

    fn attach_tracepoint(&mut self, name: &str) -> Result<()> {
        let program: &mut TracePoint = self.program("tracer_accept_tp")?;
        once(program.load())?;
        let link = program.attach("syscalls", name)?;
        let link = program.take_link(link)?;
        self.links.push(Box::new(link));
        Ok(())
    }

    pub(super) fn program<'a, P>(&'a mut self, name: &str) -> Result<&'a mut P>
    where
        &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        let program = self
            .ebpf
            .program_mut(name)
            .ok_or_else(|| anyhow!("the built-in object has no program {name}"))?;
        Ok(program.try_into()?)
    }

    /// Takes the programs off the hooks of the whole host, and waits for those that are at work; what
    /// they have sent stays readable and the counters stand still.
    pub fn detach(&mut self) {
        // What the first state program misses when the second is off its hook came after the end. In
        // this order: what is being made up for may count as missed, and nothing hides what is.
        self.missed_until = match self.counters() {
            Ok(counters) => self.misses().missed(&counters),
            Err(_) => u64::MAX,
        };
        // The last one first: without the first state program the second would take everything for missed.
        while self.links.pop().is_some() {}
        // SAFETY: takes no pointers (membarrier(2)).
        let waited =
            unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
        if waited != 0 {
            log::debug!("membarrier: {}", std::io::Error::last_os_error());
        }
    }

    /// The hooks of the whole host.
    #[must_use]
    pub fn hooks(&self) -> &[HookStatus] {
        &self.hooks
    }

    /// What the programs send, for the one reader; `None` the second time.
    pub fn take_records(&mut self) -> Option<Records> {
        self.records.take()
    }

    /// The kernel side's own log, if any program has something to log.
    pub fn logger(&mut self) -> Option<aya_log::EbpfLogger<&'static dyn log::Log>> {
        aya_log::EbpfLogger::init(&mut self.ebpf).ok()
    }

    /// Maps the flood arrays: their reader, and the writer of what the SYN hook is told while it
    /// runs.
    ///
    /// # Errors
    /// An array is missing or can't be mapped.
    pub fn flood(&mut self) -> Result<(FloodReader, FloodTables)> {
        flood::open(&self.ebpf)
    }

    /// Totals over all CPUs and programs, and the events that no program was run for while all were at
    /// their hooks.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn totals(&self) -> Result<(Counters, u64)> {
        // In this order: what is missed in between and made up for must not look lost.
        let misses = self.misses();
        let counters = self.counters()?;
        let missed = misses.missed(&counters).min(self.missed_until);
        Ok((counters, missed.saturating_sub(self.missed_before)))
    }

    fn counters(&self) -> Result<Counters> {
        let mut total = Counters::default();
        for per_cpu in self.counters.iter() {
            for PodCounters(counters) in per_cpu.context("cannot read the counters")?.iter() {
                total.add(counters);
            }
        }
        total.syns += self.syns.total();
        Ok(total)
    }

    fn misses(&self) -> Misses {
        let of = |name: &str| self.ebpf.program(name).and_then(recursion_misses).unwrap_or(0);
        Misses { state: of("tracer_state"), others: of("tracer_rst_sent") + of("tracer_synack") }
    }
}

/// How often programs that send records were not run, because another instance was at work on that
/// CPU (`recursion_misses` of the programs' fdinfo, since Linux 5.12).
struct Misses {
    state: u64,
    others: u64,
}

impl Misses {
    /// Less what the second state program made up for.
    fn missed(&self, counters: &Counters) -> u64 {
        (self.state + counters.declined).saturating_sub(counters.rescued) + self.others
    }
}

fn recursion_misses(program: &Program) -> Option<u64> {
    let fd = program.fd().ok()?;
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let mut text = String::new();
    std::fs::File::open(path).ok()?.read_to_string(&mut text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
    line.trim().parse().ok()
}

/// A program that has been loaded need not be loaded.
pub(super) fn once(loaded: Result<(), ProgramError>) -> Result<(), ProgramError> {
    match loaded {
        Err(ProgramError::AlreadyLoaded) => Ok(()),
        loaded => loaded,
    }
}

/// Has the verifier look at the large programs side by side, which takes most of the start. One that it
/// refuses is loaded again by whoever wants it, and says why.
fn verify(ebpf: &mut Ebpf, btf: &Btf, syn_hooks: &[(Link, Mode)]) {
    let hooks = syn_hooks.iter().map(|(link, mode)| syn_hook::program(*link, *mode));
    let names: BTreeSet<_> = ["tracer_state", "tracer_rescue"].into_iter().chain(hooks).collect();
    std::thread::scope(|scope| {
        for (name, program) in ebpf.programs_mut().filter(|(name, _)| names.contains(name)) {
            scope.spawn(move || {
                let loaded = match program {
                    Program::BtfTracePoint(program) => program.load(STATE, btf),
                    Program::SchedClassifier(program) => program.load(),
                    Program::Xdp(program) => program.load(),
                    _ => Ok(()),
                };
                if let Err(error) = loaded {
                    log::debug!("{name} is not loaded ahead: {error}");
                }
            });
        }
    });
}

fn fill_filters(ebpf: &mut Ebpf, config: &LoadConfig) -> Result<()> {
    if !config.ports.is_empty() {
        let map = ebpf.map_mut("PORTS").context("the port filter map is missing")?;
        let mut ports: Array<_, u64> = Array::try_from(map)?;
        for (index, word) in &config.ports {
            ports.set(*index, *word, 0).context("cannot fill the port filter")?;
        }
    }
    if !config.hosts.is_empty() {
        let map = ebpf.map_mut("HOSTS").context("the host filter map is missing")?;
        let mut hosts: LpmTrie<_, [u64; 2], u8> = LpmTrie::try_from(map)?;
        for (len, addr) in &config.hosts {
            hosts.insert(&Key::new(*len, addr.0), 1, 0).context(
                "cannot fill the host filter: it takes at most 1,024 different prefixes",
            )?;
        }
    }
    Ok(())
}

fn secret() -> Result<hash::Key> {
    let mut bytes = [0; KEY_WORDS * size_of::<u64>()];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot draw the hash secret from /dev/urandom")?;
    let (words, _) = bytes.as_chunks();
    Ok(hash::Key::new(std::array::from_fn(|word| {
        words.get(word).map_or(0, |at| u64::from_ne_bytes(*at))
    })))
}

/// The innermost cause, without the verifier's log.
fn short(error: &anyhow::Error) -> String {
    let cause = error.root_cause();
    let text = match error.downcast_ref::<ProgramError>() {
        Some(ProgramError::LoadError { io_error, .. }) => {
            format!("the kernel refuses to load it: {io_error}")
        }
        _ => cause.to_string(),
    };
    log::debug!("{error:#}");
    text.lines().next().unwrap_or_default().to_owned()
}

/// What a failed load means to the user.
pub(super) fn explain(error: &anyhow::Error, what: &str) -> anyhow::Error {
    log::debug!("{error:#}");
    let errno = error.chain().find_map(|cause| {
        cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error).or_else(
            || match cause.downcast_ref::<ProgramError>() {
                Some(ProgramError::LoadError { io_error, .. }) => io_error.raw_os_error(),
                _ => None,
            },
        )
    });
    match errno {
        Some(libc::EPERM | libc::EACCES) => anyhow!(
            "the kernel does not permit tracer to {what}: it takes root, or the capabilities \
             CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (before Linux 5.8: CAP_SYS_ADMIN); kernel \
             lockdown (see /sys/kernel/security/lockdown) can forbid it even so, and so can its \
             verifier (--log-level debug tells more)"
        ),
        Some(libc::ENOMEM) => anyhow!(
            "not enough memory to {what}: try a smaller --ring-size, or raise the limit on \
             locked memory (`ulimit -l unlimited`) on kernels before 5.11"
        ),
        _ => anyhow!("cannot {what}: {} (--log-level debug tells more)", short(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_is_what_nobody_made_up_for() {
        let missed = |state, others, declined, rescued| {
            Misses { state, others }.missed(&Counters { declined, rescued, ..Counters::default() })
        };
        assert_eq!(missed(0, 0, 0, 0), 0);
        assert_eq!(missed(7, 0, 0, 7), 0);
        assert_eq!(missed(7, 0, 5, 12), 0);
        assert_eq!(missed(7, 20, 0, 3), 24);
        assert_eq!(missed(2, 0, 5, 6), 1);
        // A kernel that does not count misses.
        assert_eq!(missed(0, 0, 0, 3), 0);
    }
}
