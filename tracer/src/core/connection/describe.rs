//! From what is held of a connection to the record of it.

use std::sync::Arc;

use tracer_common::state::TcpState;

use super::Conn;
use crate::core::event::{CgroupName, MonoNs};
use crate::core::payload::payload;
use crate::core::record::{Connection, OpenConnection, Outcome, Phases, Role};

impl Conn {
    /// The record of the connection: as it ended, or as it is at `now`.
    pub(in crate::core) fn describe(
        &self,
        now: MonoNs,
        cgroup: Option<Arc<CgroupName>>,
    ) -> Connection {
        let ending = self.end;
        let end = ending.and_then(|ending| ending.end);
        let end_at = ending.map_or(now.max(self.since), |ending| ending.at);
        let tcp_at_end = self.tcp.filter(|_| ending.is_some_and(|ending| ending.has_tcp));
        let (bytes_sent, bytes_received) = match (tcp_at_end, end) {
            (Some(tcp), Some(end)) => payload(&tcp, self.role, end.fin_acked(), end.fin_received),
            _ => (None, None),
        };
        let mut connection = Connection {
            cookie: self.cookie,
            start: self.start,
            end: end_at,
            role: self.role,
            local: self.local,
            remote: self.remote,
            netns: self.netns,
            owner: self.owner,
            cgroup,
            handshake: self.handshake.took.get(),
            handshake_source: self.handshake.source,
            synack_rtt: self.handshake.synack_rtt.get(),
            path_rtt: None,
            syn_retransmits: self.syn_retransmits(),
            synack_retransmits: self.handshake.synack_retransmits,
            accept_wait: self.accept_wait(),
            close_initiator: self.close_initiator,
            close: end.and(self.closing_at.get()).map(|closing| end_at.since(MonoNs(closing))),
            phases: self.phases(end_at),
            time_wait: end.and_then(|end| end.time_wait()),
            outcome: ending.map(|_| end.map_or(Outcome::Unknown, |end| end.outcome())),
            bytes_sent,
            bytes_received,
            retransmits: tcp_at_end
                .zip(self.retrans_before)
                .map(|(tcp, before)| tcp.total_retrans.saturating_sub(before)),
            rtt: self
                .tcp
                .and_then(|tcp| tcp.srtt_us)
                .filter(|srtt| self.handshake.doubted_rtt != Some(*srtt))
                .map(|srtt| u64::from(srtt) * 1000),
            observed_from: self.observed_from,
            events_lost: self.events_lost,
        };
        if let Some(capture) = &self.capture {
            capture.describe(&mut connection);
        }
        connection
    }

    /// The record of a connection that is open.
    pub(in crate::core) fn describe_open(
        &self,
        now: MonoNs,
        cgroup: Option<Arc<CgroupName>>,
    ) -> OpenConnection {
        OpenConnection {
            connection: self.describe(now, cgroup),
            state: self.state,
            in_state: now.since(self.since),
        }
    }

    fn syn_retransmits(&self) -> Option<u32> {
        match self.role? {
            Role::Server => self.syn.map(|syn| syn.repeats),
            Role::Client => self.retrans_before.or_else(|| {
                let ending = self.end.filter(|ending| ending.has_tcp)?;
                ending.end.filter(|end| end.from == TcpState::SynSent)?;
                self.tcp.map(|tcp| tcp.total_retrans)
            }),
        }
    }

    /// The phases; of an open connection the running one as far as it has got.
    fn phases(&self, now: MonoNs) -> Phases {
        let get = |state| {
            let running = (self.end.is_none() && self.since_known && state == self.state)
                .then(|| now.since(self.since));
            match (self.phases.get(state), running) {
                (Some(before), Some(running)) => Some(before.saturating_add(running)),
                (before, running) => before.or(running),
            }
        };
        Phases {
            syn_sent: get(TcpState::SynSent),
            syn_recv: get(TcpState::SynRecv),
            established: get(TcpState::Established),
            fin_wait1: get(TcpState::FinWait1),
            fin_wait2: get(TcpState::FinWait2),
            close_wait: get(TcpState::CloseWait),
            closing: get(TcpState::Closing),
            last_ack: get(TcpState::LastAck),
        }
    }
}
