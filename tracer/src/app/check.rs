//! `--check`: the steps of a start, each tried and told of, and undone at once.

use anyhow::{Context as _, Result, bail};

use super::devices::Devices;
use super::pipeline::now;
use super::{setup, start};
use crate::cli::instead::VERSION;
use crate::cli::{Interfaces, Options};
use crate::filter::KernelFilters;
use crate::kernel::features::{ACCEPT_TRACEPOINTS, Features, TRACEPOINTS};
use crate::kernel::{HookStatus, Kernel, layout};
use crate::report::check::{Check, Finding, Group, Verdict};
use crate::report::units::Bytes;
use crate::system::cgroup::Cgroups;
use crate::system::netns::Snapshot;
use crate::system::{host, interfaces, local_addresses, netns, netstat, privileges, queues};

/// Where the kernel says what even root may not do (kernel_lockdown(7)).
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// What can't be told without the privileges that the check has found missing.
const UNTOLD: &str = "can't be told without the privileges above";

/// The answer, and what a terminal or file that it goes to is like.
pub(super) fn check(options: &Options) -> Result<Check> {
    let running = host::Kernel::running()?;
    let own_netns = netns::own_inode().context("cannot tell tracer's own network namespace")?;
    let filters = options.filters.kernel(own_netns);
    let mut findings = Findings(Vec::new());
    let privileged = findings.privileges()?;
    findings.packets(options, &filters, own_netns);
    let usable = findings.kernel(&running);
    let ring_size = findings.ring(options, &running);
    let mut kernel = match (privileged && usable, ring_size) {
        (true, Some(ring_size)) => {
            let config = setup::load_config(options, &filters, ring_size, own_netns);
            findings.load(|| Kernel::load(&config))
        }
        _ => {
            findings.untried_hooks();
            None
        }
    };
    let mut hooks = kernel.as_ref().map(|kernel| kernel.hooks().to_vec()).unwrap_or_default();
    hooks.extend(findings.syn_hook(options, &filters, own_netns, &running, &mut kernel));
    if let Some(kernel) = &mut kernel {
        if options.write.file.is_some() {
            findings.told(Group::Hooks, "packet filter", Verdict::Fails, || {
                kernel
                    .packet_filter()
                    .map(|_| "socket: loaded, on no socket for a check".to_owned())
            });
        }
        findings.told(Group::System, "flood counters", Verdict::Missing, || {
            kernel.flood().map(|_| "the kernel side's tables can be read".to_owned())
        });
    }
    // Nothing stays attached from here on.
    let loaded = kernel.take().is_some();
    let snapshot = findings.system(&filters);
    let cannot = match loaded {
        true => start::cannot(&hooks, &snapshot, options),
        false => snapshot.problems,
    };
    let Findings(findings) = findings;
    Ok(Check { time: now(), version: VERSION, kernel: running.release, findings, cannot })
}

/// An error that names what is in the way, if anything is.
pub(super) fn verdict(check: &Check) -> Result<()> {
    let failures: Vec<_> = check.failures().map(|finding| finding.name.as_str()).collect();
    if failures.is_empty() {
        return Ok(());
    }
    bail!("tracing does not work here: {}", failures.join(", "))
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, group: Group, name: &str, verdict: Verdict, detail: impl Into<String>) {
        self.0.push(Finding { group, name: name.to_owned(), verdict, detail: detail.into() });
    }

    /// Adds what `work` finds; `otherwise` where it fails.
    fn told(
        &mut self,
        group: Group,
        name: &str,
        otherwise: Verdict,
        work: impl FnOnce() -> Result<String>,
    ) -> bool {
        match work() {
            Ok(detail) => self.add(group, name, Verdict::Works, detail),
            Err(error) => {
                self.add(group, name, otherwise, format!("{error:#}"));
                return false;
            }
        }
        true
    }

    /// Whether those are there that nothing works without.
    fn privileges(&mut self) -> Result<bool> {
        let missing = privileges::missing()?;
        for need in privileges::NEEDS {
            let verdict = match (missing.contains(need), need.required) {
                (false, _) => Verdict::Works,
                (true, true) => Verdict::Fails,
                (true, false) => Verdict::Missing,
            };
            let name = need.capability.to_string();
            self.add(Group::Privileges, &name, verdict, format!("to {}", need.purpose));
        }
        if let Ok(state) = std::fs::read_to_string(LOCKDOWN) {
            let (verdict, detail) = match state.split(['[', ']']).nth(1) {
                Some("none") => (Verdict::Works, "none: the kernel forbids nothing of this"),
                Some("integrity") => (Verdict::Works, "integrity: forbids nothing of this"),
                _ => (Verdict::Fails, "confidentiality: programs may not read kernel memory"),
            };
            self.add(Group::Privileges, "lockdown", verdict, detail);
        }
        self.told(Group::Privileges, "giving the rest up", Verdict::Fails, || {
            privileges::try_dropping(&privileges::needed_later())
                .map(|()| "all that is not needed later is dropped after the start".to_owned())
        });
        Ok(privileges::check_required(&missing).is_ok())
    }

    /// What `--write` takes, where it is asked for.
    fn packets(&mut self, options: &Options, filters: &KernelFilters, own_netns: u32) {
        if options.write.file.is_none() {
            return;
        }
        let need = privileges::FOR_PACKETS;
        let name = need.capability.to_string();
        self.told(Group::Privileges, &name, Verdict::Fails, || {
            setup::check_packets(options, filters, own_netns)?;
            Ok(format!("to {}", need.purpose))
        });
    }

    /// Whether it is one that programs can be made for.
    fn kernel(&mut self, running: &host::Kernel) -> bool {
        let group = Group::Kernel;
        let recent = self.told(group, "version", Verdict::Fails, || {
            setup::check_kernel(running)?;
            Ok(match running.version >= host::KernelVersion::OLDEST {
                true => format!("{}, {} or newer", running.version, host::KernelVersion::OLDEST),
                false => format!(
                    "{}, older than {}, the oldest that tracer is made for",
                    running.version,
                    host::KernelVersion::OLDEST
                ),
            })
        });
        let btf = self.told(group, "type information (BTF)", Verdict::Fails, || {
            let layout = layout::read()?;
            let missing: Vec<_> = layout
                .offsets
                .missing()
                .map(|(_, structure, member)| format!("{structure}.{member}"))
                .collect();
            Ok(match missing.is_empty() {
                true => "every field that is read has been found".to_owned(),
                false => format!("found, without {}", missing.join(", ")),
            })
        });
        recent && btf
    }

    /// The ring's size as it would be.
    fn ring(&mut self, options: &Options, running: &host::Kernel) -> Option<u32> {
        let (size, note) = options.limits.ring(host::page_size());
        let mut usable = None;
        self.told(Group::Kernel, "ring buffer", Verdict::Fails, || {
            let size = u32::try_from(size).context("--ring-size: at most 2 GiB")?;
            host::raise_memlock(running.version)?;
            usable = Some(size);
            let charged = match running.version >= host::KernelVersion::MEMCG_ACCOUNTING {
                true => "charged to the memory cgroup",
                false => "the limit on locked memory could be raised",
            };
            let note = note.map(|note| format!("; {note}")).unwrap_or_default();
            Ok(format!("{}, {charged}{note}", Bytes(size.into())))
        });
        usable
    }

    /// Loads and attaches as a start does; what became of each hook.
    fn load(&mut self, load: impl FnOnce() -> Result<Kernel>) -> Option<Kernel> {
        match load() {
            Ok(kernel) => {
                for hook in kernel.hooks() {
                    let reason = hook.reason.as_deref();
                    let (verdict, detail) = match hook.attached {
                        true => (Verdict::Works, reason.unwrap_or("loaded, attached and detached")),
                        false => (Verdict::Missing, reason.unwrap_or("refused")),
                    };
                    let detail = format!("{}: {detail}", hook.mode);
                    self.add(Group::Hooks, hook.name, verdict, detail);
                }
                Some(kernel)
            }
            Err(error) => {
                self.add(Group::Hooks, TRACEPOINTS[0], Verdict::Fails, format!("{error:#}"));
                None
            }
        }
    }

    /// Where they can't be tried, what the kernel has is known all the same.
    fn untried_hooks(&mut self) {
        let Ok(features) = Features::find() else { return };
        let has = |there| if there { "the kernel has it" } else { "the kernel does not have it" };
        for name in TRACEPOINTS {
            let there = features.tracepoints.contains(&name);
            let required = name == TRACEPOINTS[0];
            let verdict = match (there, required) {
                (true, _) => Verdict::Unknown,
                (false, true) => Verdict::Fails,
                (false, false) => Verdict::Missing,
            };
            self.add(Group::Hooks, name, verdict, format!("tp_btf: {}; {UNTOLD}", has(there)));
        }
        for (name, mode, there) in [
            ("inet_csk_accept", "fexit", Some(features.accept_function)),
            (ACCEPT_TRACEPOINTS[0], "tracepoint", features.accept_tracepoints),
        ] {
            let detail = there.map(|there| format!("{}; ", has(there))).unwrap_or_default();
            let verdict = if there == Some(false) { Verdict::Missing } else { Verdict::Unknown };
            self.add(Group::Hooks, name, verdict, format!("{mode}: {detail}{UNTOLD}"));
        }
    }

    /// The SYN hook of every interface that would get it.
    fn syn_hook(
        &mut self,
        options: &Options,
        filters: &KernelFilters,
        own_netns: u32,
        running: &host::Kernel,
        kernel: &mut Option<Kernel>,
    ) -> Vec<HookStatus> {
        const GROUP: Group = Group::SynHook;
        let found = setup::interfaces(options, filters, own_netns)
            .and_then(|wanted| Ok((wanted, interfaces::list()?)));
        let (wanted, interfaces) = match found {
            Ok(found) => found,
            Err(error) => {
                self.add(GROUP, "interfaces", Verdict::Fails, format!("{error:#}"));
                return Vec::new();
            }
        };
        if wanted == Interfaces::None {
            self.add(GROUP, "none", Verdict::Missing, "--iface none, --syn-hook off, or --netns");
        }
        let devices = Devices::new(wanted, setup::policy(options, running));
        for name in devices.unknown(&interfaces) {
            let detail = "there is no such interface in this network namespace";
            self.add(GROUP, &name, Verdict::Fails, detail);
        }
        let tried = kernel.is_some();
        let hooks = devices.probe_all(kernel.as_mut(), &interfaces);
        let works = hooks.iter().any(|hook| hook.attached);
        for hook in &hooks {
            let mode = hook.mode;
            let reason = hook.reason.as_deref().unwrap_or("refused");
            let (verdict, detail) = match (hook.attached, tried) {
                (true, false) => (Verdict::Unknown, format!("{mode}: {reason}; {UNTOLD}")),
                (true, true) if mode == "tcx" => (Verdict::Works, format!("{mode}: {reason}")),
                (true, true) => {
                    (Verdict::Works, format!("{mode}: {reason}; loaded, not attached for a check"))
                }
                (false, _) if options.syn.insists() && !works => {
                    (Verdict::Fails, reason.to_owned())
                }
                (false, _) => (Verdict::Missing, reason.to_owned()),
            };
            self.add(GROUP, hook.interface.as_deref().unwrap_or_default(), verdict, detail);
        }
        hooks
    }

    /// What a start reads beside.
    fn system(&mut self, filters: &KernelFilters) -> Snapshot {
        let group = Group::System;
        let snapshot = netns::snapshot_all(filters.netns);
        let number = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let listed = format!(
            "{} in {} (sock_diag)",
            number(snapshot.sockets.len(), "TCP socket"),
            number(snapshot.complete.len(), "network namespace")
        );
        let (verdict, detail) = match snapshot.problems.len() {
            0 => (Verdict::Works, listed),
            n => (Verdict::Partly, format!("{listed}; {}, see below", number(n, "problem"))),
        };
        self.add(group, "open connections", verdict, detail);
        self.told(group, "cgroup names", Verdict::Missing, || match Cgroups::new().problem() {
            Some(problem) => bail!("{problem}"),
            None => Ok("cgroup v2 is mounted".to_owned()),
        });
        self.told(group, "listen queues", Verdict::Missing, || {
            queues::queues()?;
            Ok("their lengths can be asked for (sock_diag)".to_owned())
        });
        self.told(group, "local addresses", Verdict::Missing, || {
            Ok(format!("{} prefixes in the local routing table", local_addresses::list()?.len()))
        });
        self.told(group, "flood evidence", Verdict::Missing, || {
            netstat::counters()?;
            Ok(format!(
                "the kernel's counters can be read; net.ipv4.tcp_syncookies is {}",
                netstat::syncookies()
            ))
        });
        self.told(group, "clock", Verdict::Fails, || {
            let offset = host::ClockOffset::read()?;
            Ok(format!("wall-clock times are right to {} ns", offset.uncertainty_ns))
        });
        snapshot
    }
}
