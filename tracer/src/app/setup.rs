//! From what the user asked for to what the parts are told.

use std::time::Duration;

use anyhow::{Result, bail};
use tracer_common::addr::Addr;
use tracer_common::settings::Settings;

use crate::capture::life;
use crate::cli::write::WriteOptions;
use crate::cli::{self, Interfaces, Options};
use crate::core::event::{MonoNs, nanos};
use crate::core::flood;
use crate::core::{self, Config, Selection, Shown, StuckAfter};
use crate::filter::{KernelFilters, Prefix};
use crate::kernel::{LoadConfig, RunStats};
use crate::report::{Limits, Progress};
use crate::sinks::write;
use crate::system::hook_policy::{self, Policy};
use crate::system::host::{Kernel, KernelVersion};
use crate::system::privileges;

/// Refuses a kernel that lacks what nothing works without.
pub(super) fn check_kernel(kernel: &Kernel) -> Result<()> {
    // tp_btf with bpf_get_socket_cookie in tracing programs: 5.12. Claimed and tested: more.
    if kernel.version < KernelVersion::new(5, 12) {
        bail!(
            "kernel {} is too old: tracer needs Linux {} or newer",
            kernel.release,
            KernelVersion::OLDEST
        );
    }
    Ok(())
}

/// The line that says how far a run of limited duration has come.
pub(super) fn progress(options: &Options) -> Option<Progress> {
    if options.output.top {
        // The live view has the terminal, and says it itself.
        return None;
    }
    let text = options.output.format == cli::Format::Text;
    options.show.duration?;
    Progress::new(text, options.output.output.is_none())
}

/// The interfaces that are to have the SYN hook: tracer's own namespace's. While another is traced
/// they have nothing to tell.
///
/// # Errors
/// The SYN hook was asked for in so many words all the same.
pub(super) fn interfaces(
    options: &Options,
    filters: &KernelFilters,
    own_netns: u32,
) -> Result<Interfaces> {
    match filters.netns {
        Some(traced) if traced != own_netns => {
            if options.syn.insists() {
                bail!(
                    "the SYN hook sees the interfaces of tracer's own network namespace only, and \
                     --netns {traced} is another: run tracer in it (`nsenter --net=… tracer --netns \
                     self`), or leave out --iface and --syn-hook"
                );
            }
            Ok(Interfaces::None)
        }
        _ => Ok(options.syn.interfaces()),
    }
}

pub(super) fn load_config(
    options: &Options,
    filters: &KernelFilters,
    ring_size: u32,
    own_netns: u32,
) -> LoadConfig {
    LoadConfig {
        ring_size,
        settings: Settings {
            filters: filters.bits(),
            netns: filters.netns.unwrap_or(0),
            hook_netns: own_netns,
            ..Settings::default()
        },
        ports: filters.port_words().collect(),
        hosts: filters
            .hosts
            .iter()
            .map(|prefix| prefix.lpm_key())
            .map(|(len, addr)| (len, Addr::from_bytes(addr)))
            .collect(),
        syn_hooks: Vec::new(),
        keeps_packets: options.write.file.is_some(),
        log_level: match options.output.log_level {
            cli::LogLevel::Debug => 4,
            cli::LogLevel::Trace => 5,
            cli::LogLevel::Error | cli::LogLevel::Warn | cli::LogLevel::Info => 0,
        },
    }
}

/// What the flood detector goes by, in tracer's own network namespace.
pub(super) fn flood_config(options: &Options, netns: u32) -> flood::Config {
    flood::Config {
        min_rate: f64::from(options.limits.flood_min_rate),
        clear_ns: nanos(options.limits.flood_clear),
        netns,
        kernel: true,
    }
}

/// `syn_hook`: SYNs are seen somewhere.
pub(super) fn core_config(options: &Options, started: MonoNs, syn_hook: bool) -> Config {
    Config {
        states: options.show.states,
        stuck_after: stuck_after(options),
        max_connections: options.limits.max_connections as usize,
        max_hosts: options.limits.max_hosts as usize,
        top_hosts: options.show.top_hosts as usize,
        selection: selection(options),
        started,
        interval_reports: options.show.interval.is_some(),
        syn_hook,
        ..Config::default()
    }
}

/// Thresholds of `stuck` records: the defaults, changed by `--stuck-after` in the order given.
pub(super) fn stuck_after(options: &Options) -> StuckAfter {
    let mut stuck_after = StuckAfter::default();
    for threshold in &options.limits.stuck_after {
        match threshold {
            cli::values::StuckAfter::Off => stuck_after = StuckAfter::OFF,
            cli::values::StuckAfter::State(state, after) => {
                if let Some(of_state) = stuck_after.of_mut(*state) {
                    *of_state = after.map(nanos);
                }
            }
        }
    }
    stuck_after
}

/// The operating limits, for the `start` record.
pub(super) fn limits(options: &Options) -> Limits {
    let thresholds = stuck_after(options);
    Limits {
        max_connections: options.limits.max_connections,
        max_hosts: options.limits.max_hosts,
        stuck_after: StuckAfter::STATES
            .into_iter()
            .map(|state| (state, thresholds.of(state).map(Duration::from_nanos)))
            .collect(),
    }
}

/// How the lives of connections are told from a capture.
pub(super) fn lives_config(options: &Options) -> life::Config {
    life::Config {
        local: core_prefixes(&options.read.local),
        rows: options.read.segments,
        max_connections: options.limits.max_connections as usize,
    }
}

fn selection(options: &Options) -> Selection {
    let filters = &options.filters;
    Selection {
        role: filters.role.map(Into::into),
        pids: filters.pids.clone(),
        comms: filters.comms.iter().map(|comm| comm.as_bytes().to_vec()).collect(),
        cgroups: filters.cgroups.clone(),
    }
}

pub(super) fn shown(options: &Options) -> Shown {
    let show = &options.show;
    Shown {
        failed: show.failed,
        outcomes: show.outcomes.clone(),
        slower_than: show.slower_than.map(nanos),
        exclude_ports: show
            .exclude_ports
            .iter()
            .map(|range| range.first()..=range.last())
            .collect(),
        exclude_hosts: core_prefixes(&show.exclude_hosts),
    }
}

/// Which packets `--write` keeps.
pub(super) fn packets(options: &Options, own_netns: u32) -> write::Settings<'_> {
    write::Settings {
        interfaces: WriteOptions::interfaces(options),
        shown: shown(options),
        selecting: !selection(options).is_everything(),
        netns: own_netns,
    }
}

/// Refuses `--write` where nothing could be kept.
///
/// # Errors
/// What is missing, and what to do.
pub(super) fn check_packets(
    options: &Options,
    filters: &KernelFilters,
    own_netns: u32,
) -> Result<()> {
    if options.write.file.is_none() {
        return Ok(());
    }
    if let Some(traced) = filters.netns.filter(|traced| *traced != own_netns) {
        bail!(
            "--write sees the packets of tracer's own network namespace only, and --netns {traced} \
             is another: run tracer in it (`nsenter --net=… tracer --netns self`), or leave out \
             --write"
        );
    }
    if !privileges::has(&privileges::FOR_PACKETS)? {
        bail!(
            "missing privileges:\n  {} to {}\nRun tracer as root (`sudo tracer …`), or give it that \
             capability as well (docs/capture.md)",
            privileges::FOR_PACKETS.capability,
            privileges::FOR_PACKETS.purpose
        );
    }
    Ok(())
}

fn core_prefixes(prefixes: &[Prefix]) -> Vec<core::Prefix> {
    prefixes
        .iter()
        .filter_map(|prefix| core::Prefix::new(prefix.addr(), prefix.prefix_len()))
        .collect()
}

pub(super) fn policy(options: &Options, kernel: &Kernel) -> Policy {
    Policy {
        syn_hook: match options.syn.syn_hook {
            cli::SynHook::Auto => hook_policy::SynHook::Auto,
            cli::SynHook::Xdp => hook_policy::SynHook::Xdp,
            cli::SynHook::Tcx => hook_policy::SynHook::Tcx,
            cli::SynHook::Off => hook_policy::SynHook::Off,
        },
        xdp_mode: match options.syn.xdp_mode {
            cli::XdpMode::Auto => hook_policy::XdpMode::Auto,
            cli::XdpMode::Native => hook_policy::XdpMode::Native,
            cli::XdpMode::Generic => hook_policy::XdpMode::Generic,
        },
        kernel: kernel.version,
        tcx: kernel.version >= KernelVersion::TCX,
    }
}

/// Has the kernel count its programs' runs, if the user asks for it (`--hook-stats`).
///
/// # Errors
/// The kernel refuses.
pub(super) fn run_stats(options: &Options) -> Result<Option<RunStats>> {
    if !options.metrics.hook_stats {
        return Ok(None);
    }
    let stats = RunStats::begin()?;
    log::warn!(
        "--hook-stats: as long as tracer runs, every run of every BPF program on this host takes \
         some ten nanoseconds longer"
    );
    Ok(Some(stats))
}
