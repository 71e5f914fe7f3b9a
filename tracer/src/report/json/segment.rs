//! `segment`: a control segment of a capture.

use std::net::IpAddr;

use serde::Serialize;

use crate::core::record::{Oddity, SegmentRow, Sender};
use crate::report::WallClock;
use crate::report::clock::Utc;
use crate::report::units::flag_names;

#[derive(Serialize)]
pub(super) struct SegmentLine {
    #[serde(rename = "type")]
    kind: &'static str,
    time: Utc,
    frame: u64,
    connection: u64,
    client_addr: IpAddr,
    client_port: u16,
    server_addr: IpAddr,
    server_port: u16,
    roles_known: bool,
    from: &'static str,
    flags: Vec<&'static str>,
    seq: u64,
    ack: Option<u64>,
    length: u32,
    window: Option<u32>,
    client_state: Option<&'static str>,
    server_state: Option<&'static str>,
    step: Option<String>,
    odd: Vec<&'static str>,
}

impl SegmentLine {
    pub(super) fn new(row: &SegmentRow, clock: &WallClock) -> Self {
        let SegmentRow {
            at,
            number,
            connection,
            client,
            server,
            roles_known,
            from,
            flags,
            seq,
            ack,
            payload,
            window,
            client_state,
            server_state,
            step,
            oddities,
        } = *row;
        Self {
            kind: "segment",
            time: clock.utc(at),
            frame: number,
            connection,
            client_addr: client.ip(),
            client_port: client.port(),
            server_addr: server.ip(),
            server_port: server.port(),
            roles_known,
            from: Sender::name(from),
            flags: flag_names(flags).collect(),
            seq,
            ack,
            length: payload,
            window,
            client_state: client_state.map(|state| state.name()),
            server_state: server_state.map(|state| state.name()),
            step: step.map(|step| step.to_string()),
            odd: oddities.iter().map(Oddity::name).collect(),
        }
    }
}
