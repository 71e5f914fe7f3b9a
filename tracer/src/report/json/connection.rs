//! `connection`, `open` and `stuck`: the fields in the documented order.

use std::fmt::Write as _;

use serde_json::Result;

use super::object::{Object, key};
use crate::core::event::MonoNs;
use crate::core::record::{
    CloseInitiator, Connection, HandshakeSource, OpenConnection, Outcome, PathRtt, Phases, Role,
};
use crate::report::clock::{SameSecond, WallClock};
use crate::report::units::{inode, micros};

/// The times of lines, which are mostly of the same second.
#[derive(Debug)]
pub(super) struct Times(SameSecond);

impl Times {
    pub(super) const fn new() -> Self {
        Self(SameSecond::new())
    }

    fn utc(&mut self, clock: &WallClock, at: MonoNs) -> &str {
        self.0.text(clock, at, |out| {
            // A String takes everything.
            let _ = write!(out, "{}", clock.utc(at));
        })
    }
}

/// Appends one that ended to `line`.
pub(super) fn ended(
    connection: &Connection,
    (clock, times): (&WallClock, &mut Times),
    line: &mut Vec<u8>,
) -> Result<()> {
    let mut object = Object::begin("connection", line);
    fields(connection, (clock, times), &mut object)?;
    object.end();
    Ok(())
}

/// Appends one that is open to `line`.
pub(super) fn open(
    kind: &'static str,
    open: &OpenConnection,
    (clock, times): (&WallClock, &mut Times),
    line: &mut Vec<u8>,
) -> Result<()> {
    let OpenConnection { connection, state, in_state } = open;
    let mut object = Object::begin(kind, line);
    object.name(key!("time"), Some(times.utc(clock, connection.end)));
    fields(connection, (clock, times), &mut object)?;
    object.name(key!("state"), Some(state.name()));
    object.number(key!("state_us"), Some(micros(*in_state)));
    object.end();
    Ok(())
}

fn fields(
    connection: &Connection,
    (clock, times): (&WallClock, &mut Times),
    object: &mut Object<'_>,
) -> Result<()> {
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
    object.name(key!("time_start"), Some(times.utc(clock, *start)));
    // An open connection has no end yet.
    object.name(key!("time_end"), outcome.is_some().then(|| times.utc(clock, *end)));
    object.name(key!("role"), role.map(Role::name));
    object.field(key!("local_addr"), &local.ip())?;
    object.number(key!("local_port"), Some(local.port()));
    object.field(key!("remote_addr"), &remote.ip())?;
    object.number(key!("remote_port"), Some(remote.port()));
    object.number(key!("netns"), inode(*netns));
    object.number(key!("pid"), owner.as_ref().map(|owner| owner.pid));
    let comm = owner.as_ref().map(|owner| String::from_utf8_lossy(owner.comm.as_bytes()));
    object.field(key!("comm"), &comm)?;
    object.field(key!("cgroup"), &cgroup.as_ref().map(|cgroup| &cgroup.path))?;
    object
        .field(key!("container"), &cgroup.as_ref().and_then(|cgroup| cgroup.container.as_ref()))?;
    object.number(key!("handshake_us"), handshake.map(micros));
    object.name(key!("handshake_source"), handshake_source.map(HandshakeSource::name));
    object.number(key!("synack_rtt_us"), synack_rtt.map(micros));
    match path_rtt {
        Some(PathRtt { syn_to_synack, synack_to_ack }) => {
            object.within(key!("path_rtt_us"), |halves| {
                halves.number(key!("syn_to_synack"), syn_to_synack.map(micros));
                halves.number(key!("synack_to_ack"), synack_to_ack.map(micros));
            });
        }
        None => object.name(key!("path_rtt_us"), None),
    }
    object.number(key!("syn_retransmits"), *syn_retransmits);
    object.number(key!("synack_retransmits"), *synack_retransmits);
    object.number(key!("accept_wait_us"), accept_wait.map(micros));
    object.number(key!("established_us"), phases.established.map(micros));
    object.name(key!("close_initiator"), close_initiator.map(CloseInitiator::name));
    object.number(key!("close_us"), close.map(micros));
    object.within(key!("phases_us"), |object| in_phases(phases, object));
    object.field(key!("time_wait"), time_wait)?;
    object.name(key!("outcome"), outcome.map(Outcome::name));
    object.number(key!("bytes_sent"), *bytes_sent);
    object.number(key!("bytes_received"), *bytes_received);
    object.number(key!("retransmits"), *retransmits);
    object.number(key!("rtt_us"), rtt.map(micros));
    object.name(key!("observed_from"), Some(observed_from.name()));
    object.field(key!("events_lost"), events_lost)
}

fn in_phases(phases: &Phases, object: &mut Object<'_>) {
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
    object.number(key!("syn_sent"), syn_sent.map(micros));
    object.number(key!("syn_recv"), syn_recv.map(micros));
    object.number(key!("established"), established.map(micros));
    object.number(key!("fin_wait1"), fin_wait1.map(micros));
    object.number(key!("fin_wait2"), fin_wait2.map(micros));
    object.number(key!("close_wait"), close_wait.map(micros));
    object.number(key!("closing"), closing.map(micros));
    object.number(key!("last_ack"), last_ack.map(micros));
}
