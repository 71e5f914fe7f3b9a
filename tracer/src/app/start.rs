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
        metrics: None,
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

/// Why a hook of the whole host is not there.
fn why_not(hooks: &[HookStatus], name: &str) -> String {
    let hook = hooks.iter().find(|hook| hook.name == name);
    let reason = hook.and_then(|hook| hook.reason.as_deref()).unwrap_or("it was not tried");
    // Tracing programs were let in, so that it is no privilege that is missing.
    if name == "inet_csk_accept" && reason.contains("Operation not permitted") {
        return "this kernel was built or booted so that its functions can't be traced".to_owned();
    }
    reason.to_owned()
}

/// What can't be had here, in words.
pub(super) fn cannot(hooks: &[HookStatus], snapshot: &Snapshot, options: &Options) -> Vec<String> {
    let mut cannot = Vec::new();
    let attached = |name: &str| hooks.iter().any(|hook| hook.name == name && hook.attached);
    if !attached("inet_csk_accept") {
        let fexit = format!("fexit on inet_csk_accept ({})", why_not(hooks, "inet_csk_accept"));
        if attached("sys_exit_accept4") && attached("sys_exit_accept") {
            cannot.push(format!(
                "{fexit}: accepted connections get their owner from the accept and accept4 system \
                 calls, those accepted through io_uring when their owner first acts on them"
            ));
        } else {
            let tracepoints = ["sys_exit_accept4", "sys_exit_accept"]
                .map(|name| format!("{name}: {}", why_not(hooks, name)))
                .join("; ");
            cannot.push(format!(
                "{fexit}, nor the tracepoints of accept ({tracepoints}): accepted connections have \
                 no owner before that first acts on them, and no accept_wait_us"
            ));
        }
    }
    for (name, lost) in [
        ("tcp_send_reset", "a RST sent because data came after close() is taken for one received"),
        ("tcp_retransmit_synack", "requests that expire are not counted as failed handshakes"),
    ] {
        if !attached(name) {
            let why = why_not(hooks, name);
            cannot.push(format!("{lost}: this kernel does not let {name} be hooked ({why})"));
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
