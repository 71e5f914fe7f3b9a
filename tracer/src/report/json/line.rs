//! The objects, field by field in the documented order.

use std::net::IpAddr;

use serde::Serialize;

use crate::core::record::{Frames, Quantiles};
use crate::filter::Described;
use crate::report::clock::Utc;
use crate::report::start::{Capture, Hook, Limits};
use crate::report::units::micros;

#[derive(Serialize)]
pub(super) struct StartLine<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) time: Utc,
    pub(super) version: &'a str,
    pub(super) kernel: Option<&'a str>,
    pub(super) hooks: &'a [Hook],
    pub(super) filters: &'a Described,
    pub(super) ring_size: Option<u64>,
    pub(super) limits: &'a Limits,
    pub(super) cannot: &'a [String],
    /// Left out where none are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metrics: Option<String>,
    /// Left out where nothing is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) capture: Option<&'a Capture>,
}

#[derive(Serialize)]
pub(super) struct StateLine {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) time: Utc,
    pub(super) old_state: &'static str,
    pub(super) new_state: &'static str,
    pub(super) local_addr: IpAddr,
    pub(super) local_port: u16,
    pub(super) remote_addr: IpAddr,
    pub(super) remote_port: u16,
    pub(super) netns: Option<u32>,
    pub(super) cookie: u64,
}

#[derive(Serialize)]
pub(super) struct HostLine {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) time: Utc,
    pub(super) scope: &'static str,
    pub(super) host: HostName,
    pub(super) interval_us: u64,
    pub(super) connections: u64,
    pub(super) failed: u64,
    pub(super) resets: u64,
    pub(super) timeouts: u64,
    pub(super) handshakes_failed: u64,
    pub(super) handshake_us: Option<QuantilesLine>,
    pub(super) close_us: Option<QuantilesLine>,
    pub(super) syn_count: Option<u64>,
    pub(super) half_open: Option<u64>,
    pub(super) half_open_peak: Option<u64>,
    pub(super) exact: bool,
}

/// An address, or `others`.
pub(super) struct HostName(pub(super) Option<IpAddr>);

impl Serialize for HostName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(addr) => addr.serialize(serializer),
            None => serializer.serialize_str("others"),
        }
    }
}

#[derive(Serialize)]
pub(super) struct QuantilesLine {
    pub(super) count: u64,
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) max: u64,
}

impl From<Quantiles> for QuantilesLine {
    fn from(quantiles: Quantiles) -> Self {
        let Quantiles { count, p50, p90, p99, max } = quantiles;
        Self { count, p50: micros(p50), p90: micros(p90), p99: micros(p99), max: micros(max) }
    }
}

#[derive(Serialize)]
pub(super) struct ProgramRunsLine<'a> {
    pub(super) program: &'a str,
    pub(super) runs: u64,
    pub(super) took_us: u64,
}

#[derive(Serialize)]
pub(super) struct EndLine<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) time: Utc,
    pub(super) connections: u64,
    pub(super) open: u64,
    pub(super) events: u64,
    pub(super) events_lost: u64,
    pub(super) syns: Option<u64>,
    pub(super) syns_repeated: Option<u64>,
    pub(super) syns_unparsed: Option<u64>,
    pub(super) handshakes_failed: u64,
    pub(super) connections_evicted: u64,
    pub(super) output_dropped: u64,
    /// Left out where nobody asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) program_runs: Option<Vec<ProgramRunsLine<'a>>>,
    /// Left out where nothing was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) frames: Option<FramesLine>,
    pub(super) duration_us: u64,
}

#[derive(Serialize)]
pub(super) struct FramesLine {
    read: u64,
    tcp: u64,
    not_tcp: u64,
    unparsed: u64,
    other_link: u64,
    untimed: u64,
    dropped: u64,
}

impl From<Frames> for FramesLine {
    fn from(frames: Frames) -> Self {
        let Frames { read, tcp, not_tcp, unparsed, other_link, untimed, dropped } = frames;
        Self { read, tcp, not_tcp, unparsed, other_link, untimed, dropped }
    }
}
