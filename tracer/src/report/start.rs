//! The `start` record: what is attached, how, and what can't be had on this machine.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use tracer_common::state::TcpState;

use crate::core::event::MonoNs;
use crate::filter::Described;

/// Said once, when everything is attached, or a capture has been opened; what came before it was not
/// traced.
#[derive(Clone, Debug)]
pub struct Start {
    /// When the last hook was attached; with a capture, the time of its first segment.
    pub time: MonoNs,
    /// tracer's version.
    pub version: &'static str,
    /// The kernel's release, as `uname -r` says it; `None` with a capture, which may be of another
    /// machine.
    pub kernel: Option<String>,
    /// Every hook that was tried, the SYN hook once an interface.
    pub hooks: Vec<Hook>,
    /// The filters in force.
    pub filters: Described,
    /// Size of the buffers between kernel and tracer together, bytes; `None` with a capture.
    pub ring_size: Option<u64>,
    /// Operating limits.
    pub limits: Limits,
    /// What can't be had here, each a sentence without a full stop that says what the user
    /// misses, and why.
    pub cannot: Vec<String>,
    /// Where metrics are served (`--metrics`), with the port that was got for port 0.
    pub metrics: Option<SocketAddr>,
    /// What is read instead of traced.
    pub capture: Option<Capture>,
}

/// Where metrics are to be scraped from.
#[must_use]
pub fn metrics_url(addr: SocketAddr) -> String {
    format!("http://{addr}/metrics")
}

/// A capture that is read, as far as it is known at its first frame.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Capture {
    /// Name of the file as the user gave it, `-` for stdin.
    pub file: String,
    /// What the interfaces' packets begin with, each kind once.
    pub link_types: Vec<String>,
    /// Names of the interfaces, where the capture has them.
    pub interfaces: Vec<String>,
    /// Tunnels are looked into (`--decap`).
    pub decap: bool,
    /// Addresses that the user says are the local ends (`--local`).
    pub local: Vec<String>,
    /// The segments are shown as well (`--segments`).
    pub segments: bool,
}

/// One hook and what became of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Hook {
    /// What it is for: `state`, `syn`, `accept`, ...
    pub name: String,
    /// How it is attached: `tp_btf`, `fexit`, `xdp native`, `tcx`, ...
    pub mode: Option<String>,
    /// Interface, of a SYN hook.
    pub interface: Option<String>,
    /// Whether it is in place.
    pub attached: bool,
    /// Why this mode was chosen, or why the hook is not attached.
    pub reason: Option<String>,
}

/// Operating limits in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Limits {
    /// Connections followed at the same time.
    pub max_connections: u32,
    /// Remote hosts with figures of their own.
    pub max_hosts: u32,
    /// After how long in a state a connection is called stuck; `None`: never.
    #[serde(rename = "stuck_after_s", serialize_with = "seconds_by_state")]
    pub stuck_after: Vec<(TcpState, Option<Duration>)>,
}

fn seconds_by_state<S: Serializer>(
    thresholds: &[(TcpState, Option<Duration>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(thresholds.len()))?;
    for (state, after) in thresholds {
        map.serialize_entry(state.name(), &after.map(|after| after.as_secs_f64()))?;
    }
    map.end()
}
