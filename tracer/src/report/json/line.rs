//! The objects, field by field in the documented order.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Serialize;

use crate::core::record::{
    CloseInitiator, Connection, Frames, HandshakeSource, Outcome, PathRtt, Phases, Quantiles, Role,
};
use crate::filter::Described;
use crate::report::clock::{Utc, WallClock};
use crate::report::start::{Capture, Hook, Limits};
use crate::report::units::{inode, micros};

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

/// `connection`, `open` and `stuck`.
#[derive(Serialize)]
pub(super) struct ConnectionLine<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// Of one that is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<Utc>,
    pub(super) time_start: Utc,
    pub(super) time_end: Option<Utc>,
    pub(super) role: Option<&'static str>,
    pub(super) local_addr: IpAddr,
    pub(super) local_port: u16,
    pub(super) remote_addr: IpAddr,
    pub(super) remote_port: u16,
    pub(super) netns: Option<u32>,
    pub(super) pid: Option<u32>,
    pub(super) comm: Option<Cow<'a, str>>,
    pub(super) cgroup: Option<&'a str>,
    pub(super) container: Option<&'a str>,
    pub(super) handshake_us: Option<u64>,
    pub(super) handshake_source: Option<&'static str>,
    pub(super) synack_rtt_us: Option<u64>,
    pub(super) path_rtt_us: Option<PathRttLine>,
    pub(super) syn_retransmits: Option<u32>,
    pub(super) synack_retransmits: Option<u32>,
    pub(super) accept_wait_us: Option<u64>,
    pub(super) established_us: Option<u64>,
    pub(super) close_initiator: Option<&'static str>,
    pub(super) close_us: Option<u64>,
    pub(super) phases_us: PhasesLine,
    pub(super) time_wait: Option<bool>,
    pub(super) outcome: Option<&'static str>,
    pub(super) bytes_sent: Option<u64>,
    pub(super) bytes_received: Option<u64>,
    pub(super) retransmits: Option<u32>,
    pub(super) rtt_us: Option<u64>,
    pub(super) observed_from: &'static str,
    pub(super) events_lost: bool,
    /// Of one that is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<&'static str>,
    /// Of one that is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state_us: Option<u64>,
}

impl<'a> ConnectionLine<'a> {
    /// Of one that ended, or what is the same for one that is open.
    pub(super) fn new(kind: &'static str, connection: &'a Connection, clock: &WallClock) -> Self {
        let Connection {
            cookie: _,
            start,
            end,
            role,
            local,
            remote,
            netns,
            owner,
            cgroup,
            handshake,
            handshake_source,
            synack_rtt,
            path_rtt,
            syn_retransmits,
            synack_retransmits,
            accept_wait,
            close_initiator,
            close,
            phases,
            time_wait,
            outcome,
            bytes_sent,
            bytes_received,
            retransmits,
            rtt,
            observed_from,
            events_lost,
        } = connection;
        Self {
            kind,
            time: None,
            time_start: clock.utc(*start),
            // An open connection has no end yet.
            time_end: outcome.is_some().then(|| clock.utc(*end)),
            role: role.map(Role::name),
            local_addr: local.ip(),
            local_port: local.port(),
            remote_addr: remote.ip(),
            remote_port: remote.port(),
            netns: inode(*netns),
            pid: owner.map(|owner| owner.pid),
            comm: owner.as_ref().map(|owner| String::from_utf8_lossy(owner.comm.as_bytes())),
            cgroup: cgroup.as_ref().map(|cgroup| cgroup.path.as_str()),
            container: cgroup.as_ref().and_then(|cgroup| cgroup.container.as_deref()),
            handshake_us: handshake.map(micros),
            handshake_source: handshake_source.map(HandshakeSource::name),
            synack_rtt_us: synack_rtt.map(micros),
            path_rtt_us: path_rtt.map(Into::into),
            syn_retransmits: *syn_retransmits,
            synack_retransmits: *synack_retransmits,
            accept_wait_us: accept_wait.map(micros),
            established_us: phases.established.map(micros),
            close_initiator: close_initiator.map(CloseInitiator::name),
            close_us: close.map(micros),
            phases_us: PhasesLine::from(phases),
            time_wait: *time_wait,
            outcome: outcome.map(Outcome::name),
            bytes_sent: *bytes_sent,
            bytes_received: *bytes_received,
            retransmits: *retransmits,
            rtt_us: rtt.map(micros),
            observed_from: observed_from.name(),
            events_lost: *events_lost,
            state: None,
            state_us: None,
        }
    }
}

#[derive(Serialize)]
pub(super) struct PathRttLine {
    pub(super) syn_to_synack: Option<u64>,
    pub(super) synack_to_ack: Option<u64>,
}

impl From<PathRtt> for PathRttLine {
    fn from(path: PathRtt) -> Self {
        let PathRtt { syn_to_synack, synack_to_ack } = path;
        Self { syn_to_synack: syn_to_synack.map(micros), synack_to_ack: synack_to_ack.map(micros) }
    }
}

#[derive(Serialize)]
pub(super) struct PhasesLine {
    pub(super) syn_sent: Option<u64>,
    pub(super) syn_recv: Option<u64>,
    pub(super) established: Option<u64>,
    pub(super) fin_wait1: Option<u64>,
    pub(super) fin_wait2: Option<u64>,
    pub(super) close_wait: Option<u64>,
    pub(super) closing: Option<u64>,
    pub(super) last_ack: Option<u64>,
}

impl From<&Phases> for PhasesLine {
    fn from(phases: &Phases) -> Self {
        let Phases {
            syn_sent,
            syn_recv,
            established,
            fin_wait1,
            fin_wait2,
            close_wait,
            closing,
            last_ack,
        } = phases;
        Self {
            syn_sent: syn_sent.map(micros),
            syn_recv: syn_recv.map(micros),
            established: established.map(micros),
            fin_wait1: fin_wait1.map(micros),
            fin_wait2: fin_wait2.map(micros),
            close_wait: close_wait.map(micros),
            closing: closing.map(micros),
            last_ack: last_ack.map(micros),
        }
    }
}

#[derive(Serialize)]
pub(super) struct HostLine {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
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
