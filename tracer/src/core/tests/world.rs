//! A host in simulated time: sockets that change their states when the story says so.

use std::net::SocketAddr;

use tracer_common::state::TcpState;

use crate::core::event::{
    Comm, Event, ExistingSocket, MonoNs, Owner, RequestEvent, SocketEvent, SynSeen, TcpFields,
};
use crate::core::record::{Connection, OpenConnection, Record, StateChange};
use crate::core::{Config, Core};

pub(super) use tracer_common::state::TcpState::*;

pub(super) const US: u64 = 1_000;
pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const NETNS: u32 = 4_026_531_840;
/// When tracing begins in every story.
pub(super) const STARTED: MonoNs = MonoNs(1000 * SECOND);

/// A socket of the story.
#[derive(Clone, Debug)]
pub(super) struct Sock {
    pub(super) cookie: u64,
    pub(super) netns: u32,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) state: TcpState,
}

/// An address; IPv6 in brackets.
pub(super) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

impl Sock {
    pub(super) fn new(cookie: u64, local: &str, remote: &str, state: TcpState) -> Self {
        Self { cookie, netns: NETNS, local: addr(local), remote: addr(remote), state }
    }

    /// A socket about to connect to 10.0.0.2:80.
    pub(super) fn client() -> Self {
        Self::new(1, "10.0.0.1:40000", "10.0.0.2:80", Close)
    }

    /// A child of a listener on 10.0.0.1:8080, about to leave SYN_RECV.
    pub(super) fn child() -> Self {
        Self::new(2, "10.0.0.1:8080", "10.0.0.2:50000", SynRecv)
    }

    /// As sock_diag lists it.
    pub(super) fn listed(&self) -> ExistingSocket {
        ExistingSocket {
            cookie: self.cookie,
            netns: self.netns,
            local: self.local,
            remote: self.remote,
            state: self.state,
            owner: None,
            cgroup: 0,
        }
    }

    fn event(&self, at: MonoNs, old: TcpState, new: TcpState) -> SocketEvent {
        SocketEvent {
            at,
            cookie: self.cookie,
            netns: self.netns,
            local: self.local,
            remote: self.remote,
            old,
            new,
            old_since: None,
            syn: None,
            owner: None,
            cgroup: 0,
            tcp: Some(TcpFields::default()),
            sk_err: 0,
            fin_received: false,
            reset_received: false,
            fastopen_connect: false,
            orphaned: false,
            send_shutdown: false,
            v6only: false,
        }
    }
}

pub(super) fn process(pid: u32, name: &str) -> Option<Owner> {
    Some(Owner { pid, comm: Comm::from_bytes(name.as_bytes()) })
}

/// Socket fields: µs, count, bytes.
pub(super) fn tcp(srtt_us: u32, retrans: u32, acked: u64, received: u64) -> Option<TcpFields> {
    Some(TcpFields {
        srtt_us: (srtt_us != 0).then_some(srtt_us),
        total_retrans: retrans,
        bytes_acked: acked,
        bytes_received: received,
    })
}

pub(super) struct World {
    pub(super) core: Core,
    pub(super) out: Vec<Record>,
    now: MonoNs,
}

/// `after` nanoseconds from the start of tracing.
pub(super) fn time(after: u64) -> MonoNs {
    MonoNs(STARTED.0 + after)
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { started: STARTED, ..Config::default() };
        change(&mut config);
        Self { core: Core::new(config), out: Vec::new(), now: STARTED }
    }

    /// It is `after` nanoseconds after the start of tracing.
    pub(super) fn at(&mut self, after: u64) -> &mut Self {
        self.now = time(after);
        self
    }

    pub(super) fn now(&self) -> MonoNs {
        self.now
    }

    /// The socket enters a state.
    pub(super) fn go(&mut self, sock: &mut Sock, new: TcpState) -> &mut Self {
        self.go_with(sock, new, |_| {})
    }

    /// The same, with more to the event.
    pub(super) fn go_with(
        &mut self,
        sock: &mut Sock,
        new: TcpState,
        change: impl FnOnce(&mut SocketEvent),
    ) -> &mut Self {
        let mut event = sock.event(self.now, sock.state, new);
        change(&mut event);
        self.core.handle(&Event::Transition(event), &mut self.out);
        sock.state = new;
        self
    }

    /// The socket enters a state and the event is lost.
    pub(super) fn lost(&mut self, sock: &mut Sock, new: TcpState) -> &mut Self {
        sock.state = new;
        self
    }

    /// A child becomes ESTABLISHED: its SYN came `handshake` ago, its SYN_RECV 6 µs ago.
    pub(super) fn establish(&mut self, sock: &mut Sock, handshake: u64) -> &mut Self {
        let now = self.now;
        self.go_with(sock, Established, |event| {
            event.old_since = Some(MonoNs(now.0 - 6 * US));
            event.syn = Some(SynSeen { first: MonoNs(now.0 - handshake), repeats: 0 });
            event.tcp = tcp(437, 0, 0, 0);
        })
    }

    /// A process takes the socket off the accept queue.
    pub(super) fn accept(&mut self, sock: &Sock, pid: u32, name: &str) -> &mut Self {
        let mut event = sock.event(self.now, sock.state, sock.state);
        event.owner = process(pid, name);
        self.core.handle(&Event::Accepted(event), &mut self.out);
        self
    }

    /// A RST is sent on behalf of the socket.
    pub(super) fn reset_sent(&mut self, sock: &Sock) -> &mut Self {
        self.reset_sent_with(sock, |_| {})
    }

    /// The same, with more to the event.
    pub(super) fn reset_sent_with(
        &mut self,
        sock: &Sock,
        change: impl FnOnce(&mut SocketEvent),
    ) -> &mut Self {
        let mut event = sock.event(self.now, sock.state, sock.state);
        change(&mut event);
        self.core.handle(&Event::ResetSent(event), &mut self.out);
        self
    }

    pub(super) fn request(&self, remote: &str, retransmits: u16, isn: u32) -> RequestEvent {
        RequestEvent {
            at: self.now,
            netns: NETNS,
            local: addr("10.0.0.1:8080"),
            remote: addr(remote),
            retransmits,
            isn,
            syn_at: None,
        }
    }

    pub(super) fn synack_again(&mut self, remote: &str, retransmits: u16, isn: u32) -> &mut Self {
        let event = self.request(remote, retransmits, isn);
        self.core.handle(&Event::SynAckRetransmit(event), &mut self.out);
        self
    }

    pub(super) fn request_reset(&mut self, remote: &str) -> &mut Self {
        let event = self.request(remote, 0, 0);
        self.core.handle(&Event::RequestReset(event), &mut self.out);
        self
    }

    /// What falls due by now happens.
    pub(super) fn tick(&mut self) -> &mut Self {
        self.core.handle_timeout(self.now, &mut self.out);
        self
    }

    /// All connection records so far.
    pub(super) fn connections(&mut self) -> Vec<Connection> {
        self.core.finish(&mut self.out);
        self.out.iter().filter_map(Record::connection).cloned().collect()
    }

    /// The one connection record of the story.
    pub(super) fn connection(&mut self) -> Connection {
        let mut all = self.connections();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    pub(super) fn stuck(&mut self) -> Vec<OpenConnection> {
        self.tick();
        let stuck = self
            .out
            .iter()
            .filter_map(|record| match record {
                Record::Stuck(stuck) => Some((**stuck).clone()),
                _ => None,
            })
            .collect();
        self.out.retain(|record| !matches!(record, Record::Stuck(_)));
        stuck
    }

    pub(super) fn states(&self) -> Vec<StateChange> {
        self.out
            .iter()
            .filter_map(|record| match record {
                Record::State(change) => Some(change.clone()),
                _ => None,
            })
            .collect()
    }
}
