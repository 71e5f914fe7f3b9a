//! The `start` record: what is attached, what is filtered, and what can't be had here.

use super::setup;
use crate::cli::Options;
use crate::core::event::MonoNs;
use crate::kernel::HookStatus;
use crate::report::{Hook, Start};
use crate::system::netns::Snapshot;

/// The record.
pub(super) fn start_record(
    options: &Options,
    release: &str,
    hooks: &[HookStatus],
    cannot: Vec<String>,
    ring_size: u32,
    started: MonoNs,
) -> Start {
    Start {
        time: started,
        version: env!("CARGO_PKG_VERSION"),
        kernel: Some(release.to_owned()),
        hooks: hooks.iter().map(described).collect(),
        filters: options.describe_filters(),
        ring_size: Some(u64::from(ring_size)),
        limits: setup::limits(options),
        cannot,
        capture: None,
    }
}

/// A hook, for the reports.
pub(super) fn described(hook: &HookStatus) -> Hook {
    Hook {
        name: hook.name.to_owned(),
        mode: Some(hook.mode.to_owned()),
        interface: hook.interface.clone(),
        attached: hook.attached,
        reason: hook.reason.clone(),
    }
}

/// What can't be had here, in words.
pub(super) fn cannot(hooks: &[HookStatus], snapshot: &Snapshot, options: &Options) -> Vec<String> {
    let mut cannot = Vec::new();
    let attached = |name: &str| hooks.iter().any(|hook| hook.name == name && hook.attached);
    if !attached("inet_csk_accept") {
        if attached("sys_exit_accept4") && attached("sys_exit_accept") {
            cannot.push(
                "no fexit here: accepted connections get their owner from the accept and accept4 \
                 system calls, those accepted through io_uring when their owner first acts on them"
                    .to_owned(),
            );
        } else {
            cannot.push(
                "accepted connections have no owner before that first acts on them, and no \
                 accept_wait_us: neither fexit nor the accept tracepoints can be had"
                    .to_owned(),
            );
        }
    }
    for (name, lost) in [
        ("tcp_send_reset", "a RST sent because data came after close() is taken for one received"),
        ("tcp_retransmit_synack", "requests that expire are not counted as failed handshakes"),
    ] {
        if !attached(name) {
            cannot.push(format!("{lost}: this kernel does not let {name} be hooked"));
        }
    }
    if !attached("syn") {
        cannot.push(
            "no interface has the SYN hook: server handshakes are measured from the SYN-ACK (srtt)"
                .to_owned(),
        );
    } else if options.filters.netns.is_none() {
        cannot.push(
            "only this network namespace's interfaces have the SYN hook: server handshakes in \
             others are measured from the SYN-ACK (srtt), and floods there are not seen"
                .to_owned(),
        );
    }
    cannot.extend(snapshot.problems.iter().cloned());
    cannot
}
