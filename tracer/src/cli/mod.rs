//! The command line: one command, conventional long options.
//!
//! [`Options::from_args`] holds everything a user may get wrong before anything is opened or
//! attached; its errors are one sentence and end with exit status 2.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, ColorChoice, CommandFactory, FromArgMatches, Parser, ValueEnum};

use crate::core::event::Comm;
use crate::core::record::Outcome;
use crate::filter::{Described, Family, KernelFilters, PortRange, Prefix};
use crate::metrics;

pub mod generate;
pub mod instead;
pub mod otlp;
pub mod read;
pub mod values;
pub mod words;
pub mod write;

#[cfg(test)]
mod tests;

use instead::InsteadOptions;
use otlp::OtlpOptions;
use read::ReadOptions;
use values::{Netns, StuckAfter};
pub use words::{Format, LogLevel, RoleName, SynHook, XdpMode};
use write::WriteOptions;

/// What the user asked for.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "tracer",
    version = instead::VERSION,
    disable_version_flag = true,
    about = "Shows how TCP connections on this host begin and end: how long handshakes and closes \
             take, who is slow, what fails.",
    after_help = EXAMPLES,
    max_term_width = 100
)]
pub struct Options {
    /// Which connections are traced.
    #[command(flatten)]
    pub filters: FilterOptions,
    /// Which of them are shown, and when.
    #[command(flatten)]
    pub show: ShowOptions,
    /// How SYNs are seen.
    #[command(flatten)]
    pub syn: SynOptions,
    /// Where the reports go.
    #[command(flatten)]
    pub output: OutputOptions,
    /// Which packets are kept.
    #[command(flatten)]
    pub write: WriteOptions,
    /// What is sent to an OpenTelemetry Collector.
    #[command(flatten)]
    pub otlp: OtlpOptions,
    /// Figures for a monitoring system.
    #[command(flatten)]
    pub metrics: MetricsOptions,
    /// Operating limits.
    #[command(flatten)]
    pub limits: LimitOptions,
    /// What is read instead of traced.
    #[command(flatten)]
    pub read: ReadOptions,
    /// What is to be done instead of tracing.
    #[command(flatten)]
    pub instead: InsteadOptions,
}

const EXAMPLES: &str = "\
Examples:
  tracer -p 443                          connections with port 443 on either side
  tracer --local-port 8080 --failed      those of the server on 8080 that went wrong
  tracer --remote-port 5432 --slower-than 100
                                         slow handshakes and closes with a database
  tracer --host 10.0.0.0/8 --interval 10 figures per remote host every 10 s
  tracer --top --port 443                the same live, on the whole screen
  tracer -f json --output trace.jsonl    every connection, for programs
  tracer --duration 60 --report run.html a page to keep, about a minute
  tracer --read dump.pcap --segments     what a capture holds, segment by segment
  tracer --test-alert --on-alert ./page  does the program that is to be told of floods work?
  tracer --check                         what would work on this machine, and what not?

Needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; --read needs nothing. SIGUSR1 prints the
open connections and the summary so far, SIGHUP reopens the --output file and a --write file that
was moved away.";

/// Options that decide which connections exist for tracer at all.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Filters (different ones must all match)")]
pub struct FilterOptions {
    /// Local or remote port: 80, a list 80,443, a range 8000-8100; may be repeated
    #[arg(short, long = "port", value_name = "PORT", value_delimiter = ',')]
    pub ports: Vec<PortRange>,
    /// Local port, likewise
    #[arg(long = "local-port", value_name = "PORT", value_delimiter = ',')]
    pub local_ports: Vec<PortRange>,
    /// Remote port, likewise
    #[arg(long = "remote-port", value_name = "PORT", value_delimiter = ',')]
    pub remote_ports: Vec<PortRange>,
    /// Local or remote address or prefix, IPv4 or IPv6; may be repeated
    #[arg(long = "host", value_name = "ADDR[/LEN]", value_delimiter = ',')]
    pub hosts: Vec<Prefix>,
    /// Only IPv4, a v4-mapped peer of an IPv6 socket included
    #[arg(short = '4', long = "ipv4", conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Only IPv6
    #[arg(short = '6', long = "ipv6")]
    pub ipv6: bool,
    /// Only connections this host opened (client) or accepted (server)
    #[arg(long, value_name = "ROLE")]
    pub role: Option<RoleName>,
    /// Process id as the host sees it; may be repeated
    #[arg(long = "pid", value_name = "PID", value_delimiter = ',',
          value_parser = |text: &str| values::whole(text, 1..=u32::MAX))]
    pub pids: Vec<u32>,
    /// Process name, exactly; may be repeated
    #[arg(long = "comm", value_name = "NAME", value_parser = values::comm)]
    pub comms: Vec<Comm>,
    /// cgroup: /PATH and what is below it, or part of a path or container id; may be repeated
    #[arg(long = "cgroup", value_name = "PATH", value_parser = values::cgroup)]
    pub cgroups: Vec<String>,
    /// Network namespace: `self` (tracer's own) or an inode [default: all]
    #[arg(long, value_name = "self|INODE")]
    pub netns: Option<Netns>,
}

/// Options that decide what is printed of them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "What to show (summaries still count all)")]
pub struct ShowOptions {
    /// Only connections with an outcome other than `closed`
    #[arg(long)]
    pub failed: bool,
    /// Only these outcomes: closed, reset_by_remote, reset_by_local, refused, timed_out,
    /// unreachable, cancelled, aborted, unknown
    #[arg(long = "outcome", value_name = "OUTCOME", value_delimiter = ',',
          value_parser = values::outcome)]
    pub outcomes: Vec<Outcome>,
    /// Only those whose handshake or close took longer than this many milliseconds
    #[arg(long, value_name = "MS", value_parser = values::millis)]
    pub slower_than: Option<Duration>,
    /// Not those with this local or remote port; lists and ranges as with --port
    #[arg(long = "exclude-port", value_name = "PORT", value_delimiter = ',')]
    pub exclude_ports: Vec<PortRange>,
    /// Not those with this local or remote address or prefix
    #[arg(long = "exclude-host", value_name = "ADDR[/LEN]", value_delimiter = ',')]
    pub exclude_hosts: Vec<Prefix>,
    /// Every state transition as well
    #[arg(long)]
    pub states: bool,
    /// The per-host report every so many seconds, not only at the end
    #[arg(long, value_name = "SECS", value_parser = values::seconds)]
    pub interval: Option<Duration>,
    /// How many remote hosts the reports name; the rest is one row `others`
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = |text: &str| values::whole(text, 0..=u32::MAX))]
    pub top_hosts: u32,
    /// Stop after so many seconds
    #[arg(long, value_name = "SECS", value_parser = values::seconds)]
    pub duration: Option<Duration>,
    /// Stop after so many connection records; what ended meanwhile is counted, not shown
    #[arg(long, value_name = "N", value_parser = |text: &str| values::whole(text, 1..=u64::MAX))]
    pub count: Option<u64>,
}

/// Options of the hook that sees SYNs arrive.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "SYN hook")]
pub struct SynOptions {
    /// Interface whose incoming SYNs are timed; may be repeated; `none` for none [default: all
    /// that are up or come up]
    #[arg(short = 'i', long = "iface", value_name = "IF", value_delimiter = ',',
          value_parser = values::interface)]
    pub ifaces: Vec<String>,
    /// How SYNs are seen; `auto` takes what does no harm to the interface
    #[arg(long, value_name = "HOOK", default_value = "auto")]
    pub syn_hook: SynHook,
    /// Mode of the XDP program
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub xdp_mode: XdpMode,
}

/// Options of the output.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputOptions {
    /// Text for people, or JSON Lines for programs
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// Full-screen live view: hosts, floods, latencies, stuck and ended connections; ? shows the
    /// keys
    #[arg(long)]
    pub top: bool,
    /// Append to this file instead of writing to stdout; SIGHUP reopens it
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write one HTML page about the whole run into this file, at its end
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Colour: on a terminal unless NO_COLOR is set, always, or never
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Run this program without privileges at every flood or notice, its JSON on standard input
    #[arg(long, value_name = "PROGRAM", value_parser = values::program)]
    pub on_alert: Option<PathBuf>,
    /// Write a sample alert, give it to the --on-alert program as well, and end; needs no root
    #[arg(long)]
    pub test_alert: bool,
    /// How much tracer says about itself, on stderr
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log_level: LogLevel,
}

/// Options of the figures for a monitoring system.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Metrics")]
pub struct MetricsOptions {
    /// Serve OpenMetrics for Prometheus at http://ADDR:PORT/metrics; without ADDR on 127.0.0.1
    #[arg(long = "metrics", value_name = "[ADDR:]PORT", value_parser = values::listen_address)]
    pub listen: Option<SocketAddr>,
    /// How many local ports have figures of their own, besides those that --port or --local-port
    /// name one by one; the others share the port `other`
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = |text: &str| values::whole(text, 0..=1000_u16))]
    pub metrics_ports: u16,
    /// Have the kernel count and time the runs of its BPF programs: of every one on the host, each
    /// run of which takes longer for it
    #[arg(long)]
    pub hook_stats: bool,
}

impl MetricsOptions {
    /// What bounds the number of series.
    #[must_use]
    pub fn config(&self, filters: &FilterOptions) -> metrics::Config {
        let ranges = filters.local_ports.iter().chain(&filters.ports);
        let named = ranges.filter(|range| range.first() == range.last()).map(|port| port.first());
        metrics::Config { named_ports: named.collect(), ports: self.metrics_ports.into() }
    }
}

/// Options that bound memory and time.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Bytes of the ring buffers between kernel and tracer; K, M and G may follow; rounded up to a
    /// power of two
    #[arg(long, value_name = "BYTES", default_value = "8M", value_parser = values::ring_size)]
    pub ring_size: u64,
    /// Connections followed at the same time
    #[arg(long, value_name = "N", default_value_t = 262_144,
          value_parser = |text: &str| values::whole(text, 1..=u32::MAX))]
    pub max_connections: u32,
    /// Remote hosts with figures of their own
    #[arg(long, value_name = "N", default_value_t = 8192,
          value_parser = |text: &str| values::whole(text, 1..=u32::MAX))]
    pub max_hosts: u32,
    /// SYNs per second that lead to no connection, below which nothing is called a flood
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = |text: &str| values::whole(text, 1..=u32::MAX))]
    pub flood_min_rate: u32,
    /// How long a flood must have been over to be called over, in seconds
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = values::seconds)]
    pub flood_clear: Duration,
    /// Report a connection that sits in such a state for longer; STATE=off or `off` for never; may
    /// be repeated
    #[arg(long, value_name = "STATE=SECS", value_delimiter = ',', help = format!(
        "Report a connection that sits in such a state for longer; STATE=off or `off` for never; \
         may be repeated [default: {}]", values::STUCK_DEFAULTS.replace(',', " ")))]
    pub stuck_after: Vec<StuckAfter>,
}

/// `--iface`, decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Interfaces {
    /// All that are up, and those that come up later.
    All,
    /// None: no SYN hook.
    None,
    /// These.
    Named(Vec<String>),
}

impl Options {
    /// Reads the command line, the program's name first.
    ///
    /// # Errors
    /// `--help` and `--version`, and everything the user got wrong; `exit()` of the error prints it
    /// and ends the process with the right status (0 and 2).
    pub fn from_args<I, T>(args: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let command = Self::command().mut_args(values::take_negative_numbers);
        let matches = command.try_get_matches_from(args)?;
        let options = Self::from_arg_matches(&matches)?;
        match options.contradiction(&matches) {
            None => Ok(options),
            Some(message) => Err(Self::command().error(ErrorKind::ArgumentConflict, message)),
        }
    }

    /// What no single option can know.
    fn contradiction(&self, matches: &ArgMatches) -> Option<String> {
        let SynOptions { ifaces, syn_hook, xdp_mode } = &self.syn;
        if ifaces.len() > 1 && ifaces.iter().any(|name| name == "none") {
            return Some("`--iface none` can't be combined with another --iface".to_owned());
        }
        if *xdp_mode != XdpMode::Auto && matches!(syn_hook, SynHook::Tcx | SynHook::Off) {
            return Some("--xdp-mode needs --syn-hook xdp or auto".to_owned());
        }
        let contradictions = || {
            let instead = self.instead.contradiction(self);
            instead.or_else(|| self.read.contradiction(self, matches))
        };
        if let Some(message) = contradictions() {
            return Some(message);
        }
        let contradiction = self.top_contradiction().or_else(|| self.write.contradiction(self));
        if let Some(message) = contradiction {
            return Some(message.to_owned());
        }
        let OutputOptions { on_alert, test_alert, .. } = &self.output;
        if on_alert.is_some() && !test_alert && self.syn.interfaces() == Interfaces::None {
            return Some(
                "--on-alert needs the SYN hook, which --iface none and --syn-hook off leave out: \
                 no flood would ever be seen"
                    .to_owned(),
            );
        }
        if *test_alert && (self.show.duration.is_some() || self.show.count.is_some()) {
            return Some(
                "--test-alert traces nothing: it can't be combined with --duration or --count"
                    .to_owned(),
            );
        }
        if *test_alert && self.output.report.is_some() {
            return Some("--test-alert traces nothing: there is nothing to --report".to_owned());
        }
        if *test_alert && self.otlp.otlp.is_some() {
            return Some("--test-alert sends nothing by --otlp".to_owned());
        }
        None
    }

    /// What `--top` can't be combined with.
    fn top_contradiction(&self) -> Option<&'static str> {
        let OutputOptions { top, format, output, test_alert, .. } = &self.output;
        let beside_a_file = *top && output.is_none();
        match () {
            () if *top && *test_alert => {
                Some("--test-alert traces nothing: there is nothing for --top to show")
            }
            () if *top && self.instead.check => {
                Some("--check traces nothing: there is nothing for --top to show")
            }
            () if beside_a_file && *format == Format::Json => Some(
                "--top shows a screen on stdout where --format json would write: give --output \
                 FILE for the records, or leave one of them out",
            ),
            () if beside_a_file && self.show.interval.is_some() => Some(
                "--interval needs --output FILE beside --top, which shows the last second and the \
                 last 10 s by itself",
            ),
            () if beside_a_file && self.show.states => {
                Some("--states needs --output FILE beside --top, which does not show transitions")
            }
            () => None,
        }
    }

    /// Every filter in force, for the `start` record.
    #[must_use]
    pub fn describe_filters(&self) -> Described {
        let FilterOptions {
            ports,
            local_ports,
            remote_ports,
            hosts,
            ipv4,
            ipv6,
            role,
            pids,
            comms,
            cgroups,
            netns,
        } = &self.filters;
        let mut all = Described::default();
        all.values("port", ports);
        all.values("local-port", local_ports);
        all.values("remote-port", remote_ports);
        all.values("host", hosts);
        all.flag("ipv4", *ipv4);
        all.flag("ipv6", *ipv6);
        all.values(
            "role",
            role.and_then(|role| role.to_possible_value()).map(|v| v.get_name().to_owned()),
        );
        all.values("pid", pids);
        all.values("comm", comms.iter().map(|comm| String::from_utf8_lossy(comm.as_bytes())));
        all.values("cgroup", cgroups);
        all.values("netns", netns);
        let ShowOptions {
            failed,
            outcomes,
            slower_than,
            exclude_ports,
            exclude_hosts,
            states: _,
            interval: _,
            top_hosts: _,
            duration: _,
            count: _,
        } = &self.show;
        all.flag("failed", *failed);
        all.values("outcome", outcomes.iter().map(|outcome| outcome.name()));
        all.values("slower-than", slower_than.map(|limit| limit.as_secs_f64() * 1e3));
        all.values("exclude-port", exclude_ports);
        all.values("exclude-host", exclude_hosts);
        all
    }
}

impl FilterOptions {
    /// What the kernel side decides; `own_netns` is the inode of tracer's own network namespace.
    #[must_use]
    pub fn kernel(&self, own_netns: u32) -> KernelFilters {
        KernelFilters {
            any_port: self.ports.iter().copied().collect(),
            local_port: self.local_ports.iter().copied().collect(),
            remote_port: self.remote_ports.iter().copied().collect(),
            hosts: self.hosts.clone(),
            family: match (self.ipv4, self.ipv6) {
                (true, false) => Some(Family::V4),
                (false, true) => Some(Family::V6),
                _ => None,
            },
            netns: self.netns.map(|netns| match netns {
                Netns::Own => own_netns,
                Netns::Inode(inode) => inode,
            }),
        }
    }
}

impl SynOptions {
    /// Whether the user asked for a SYN hook in so many words: then having none is an error.
    #[must_use]
    pub fn insists(&self) -> bool {
        matches!(self.interfaces(), Interfaces::Named(_))
            || matches!(self.syn_hook, SynHook::Xdp | SynHook::Tcx)
    }

    /// Which interfaces get the SYN hook.
    #[must_use]
    pub fn interfaces(&self) -> Interfaces {
        match self.ifaces.as_slice() {
            _ if self.syn_hook == SynHook::Off => Interfaces::None,
            [] => Interfaces::All,
            [name] if name == "none" => Interfaces::None,
            names => Interfaces::Named(names.to_vec()),
        }
    }
}

impl LimitOptions {
    /// The ring's size as the kernel takes it, and a sentence for the user if that is not what was
    /// asked for. `page_size` in bytes, a power of two.
    #[must_use]
    pub fn ring(&self, page_size: u64) -> (u64, Option<String>) {
        let size = values::usable_ring_size(self.ring_size, page_size);
        let note = (size != self.ring_size).then(|| {
            format!(
                "--ring-size {} rounded up to {size}: the kernel wants a power of two that is a \
                 multiple of its page size ({page_size})",
                self.ring_size
            )
        });
        (size, note)
    }
}

#[cfg(test)]
impl Options {
    /// Parses words behind the program's name.
    pub(crate) fn of(args: &[&str]) -> Result<Self, clap::Error> {
        Self::from_args(["tracer"].iter().chain(args).copied())
    }
}
