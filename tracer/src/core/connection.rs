//! One connection: what its events have told so far.
//!
//! The socket's state machine is the kernel's; this follows it. A connection knows when it missed
//! something (an event that leaves a state it was not in) and then gives up exactly what depended
//! on what it missed.

mod describe;

use std::net::SocketAddr;

use tracer_common::state::TcpState;

use super::event::{CaptureFacts, ExistingSocket, MonoNs, Owner, SocketEvent, SynSeen, TcpFields};
use super::handshake::{Handshake, is_fast_open, is_first_syn};
use super::maybe::MaybeNs;
use super::outcome::End;
use super::record::{CloseInitiator, ObservedFrom, Role, StateChange};
use super::stuck::NEVER;

/// A RST sent at most this long before →CLOSE was the reason for it: the kernel sends it and then
/// closes, without letting the socket go (`tcp_keepalive_timer()`, `tcp_out_of_resources()`).
const RESET_BEFORE_CLOSE_NS: u64 = 1_000_000;

/// Where a connection's current state is known from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// A transition.
    Transition,
    /// Only the accept(): the transitions before it are still on their way, or lost.
    Accept,
    /// A list of sockets made at that moment; transitions before it may still be on their way.
    List(MonoNs),
}

/// What is held for every live connection; see the size assertion below.
pub(super) struct Conn {
    pub(super) cookie: u64,
    pub(super) netns: u32,
    pub(super) state: TcpState,
    pub(super) role: Option<Role>,
    pub(super) observed_from: ObservedFrom,
    pub(super) events_lost: bool,
    pub(super) known: Known,
    fastopen_connect: bool,
    /// When `state` was entered, or the earliest moment it is known for.
    pub(super) since: MonoNs,
    /// `since` is when the state was entered.
    pub(super) since_known: bool,
    /// `start` is when the connection began.
    start_known: bool,
    start: MonoNs,
    /// Newest moment `state` is known to be right at.
    pub(super) confirmed: MonoNs,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) owner: Option<Owner>,
    pub(super) cgroup: u64,
    syn: Option<SynSeen>,
    handshake: Handshake,
    phases: PhaseTimes,
    /// When SYN_RECV was entered.
    syn_recv_at: MaybeNs,
    established_at: MaybeNs,
    /// `total_retrans` at →ESTABLISHED.
    retrans_before: Option<u32>,
    fast_open: bool,
    accepted_at: MaybeNs,
    close_initiator: Option<CloseInitiator>,
    closing_at: MaybeNs,
    tcp: Option<TcpFields>,
    reset_sent_at: MaybeNs,
    end: Option<Ending>,
    /// When to say (again) that it is stuck.
    pub(super) stuck_due: MonoNs,
    /// Transitions that go out once it is known whether this connection is asked for.
    pub(super) held_back: Vec<StateChange>,
    /// What a capture told of it.
    pub(super) capture: Option<Box<CaptureFacts>>,
}

// A host with a million connections is a host that is traced: 500 MB are the most it may take.
const _: () = assert!(size_of::<Conn>() <= 432);

/// The end of a connection.
#[derive(Clone, Copy)]
struct Ending {
    at: MonoNs,
    /// `None`: the end was lost.
    end: Option<End>,
    /// The socket's fields are those at →CLOSE.
    has_tcp: bool,
}

/// Time spent in each state that a phase is named after.
#[derive(Clone, Copy)]
struct PhaseTimes([MaybeNs; 8]);

impl PhaseTimes {
    const fn index(state: TcpState) -> Option<usize> {
        Some(match state {
            TcpState::SynSent => 0,
            TcpState::SynRecv => 1,
            TcpState::Established => 2,
            TcpState::FinWait1 => 3,
            TcpState::FinWait2 => 4,
            TcpState::CloseWait => 5,
            TcpState::Closing => 6,
            TcpState::LastAck => 7,
            TcpState::TimeWait | TcpState::Close | TcpState::Listen => return None,
        })
    }

    fn get(&self, state: TcpState) -> Option<u64> {
        self.0.get(Self::index(state)?)?.get()
    }

    fn add(&mut self, state: TcpState, ns: u64) {
        if let Some(time) = Self::index(state).and_then(|index| self.0.get_mut(index)) {
            time.add(ns);
        }
    }
}

impl Conn {
    fn new(event: &SocketEvent, state: TcpState, role: Option<Role>) -> Self {
        Self {
            cookie: event.cookie,
            netns: event.netns,
            state,
            role,
            observed_from: ObservedFrom::Start,
            events_lost: false,
            known: Known::Transition,
            fastopen_connect: false,
            since: event.at,
            since_known: false,
            start_known: false,
            start: event.at,
            confirmed: event.at,
            local: event.local,
            remote: event.remote,
            owner: None,
            cgroup: 0,
            syn: None,
            handshake: Handshake::NONE,
            phases: PhaseTimes([MaybeNs::NONE; 8]),
            syn_recv_at: MaybeNs::NONE,
            established_at: MaybeNs::NONE,
            retrans_before: None,
            fast_open: false,
            accepted_at: MaybeNs::NONE,
            close_initiator: None,
            closing_at: MaybeNs::NONE,
            tcp: None,
            reset_sent_at: MaybeNs::NONE,
            end: None,
            stuck_due: NEVER,
            held_back: Vec::new(),
            capture: None,
        }
    }

    /// A client whose SYN_SENT began at `began`.
    pub(super) fn client(event: &SocketEvent, began: MonoNs) -> Self {
        let mut conn = Self::new(event, TcpState::SynSent, Some(Role::Client));
        conn.begin(began);
        conn.learn(event);
        conn
    }

    /// A server's child whose SYN_RECV began at `began`.
    pub(super) fn child(event: &SocketEvent, began: MonoNs) -> Self {
        let mut conn = Self::new(event, TcpState::SynRecv, Some(Role::Server));
        conn.begin(began);
        conn.syn_recv_at = MaybeNs::some(began.0);
        conn.learn(event);
        conn
    }

    /// A socket met in the middle of its life: what came before was lost.
    pub(super) fn stranger(event: &SocketEvent, role: Option<Role>) -> Self {
        // Only connect() leads into SYN_SENT.
        let role = if event.old == TcpState::SynSent { Some(Role::Client) } else { role };
        // LISTEN→SYN_RECV never comes by itself: a child whose time was overwritten on its way (the
        // kernel side keeps it in a small table) has missed nothing, only that time is not known.
        let child =
            event.old == TcpState::SynRecv && (event.syn.is_some() || role == Some(Role::Server));
        let role = if child { Some(Role::Server) } else { role };
        let mut conn = Self::new(event, event.old, role);
        conn.events_lost = !child;
        conn.note_closing(event.old, None);
        conn.learn(event);
        conn
    }

    /// What was missed of it was before tracing began: nothing of that was lost.
    pub(super) fn was_open_before(&mut self) {
        if self.events_lost {
            self.observed_from = ObservedFrom::Middle;
            self.events_lost = false;
        }
    }

    /// A socket met at its accept().
    pub(super) fn accepted(event: &SocketEvent) -> Self {
        let mut conn = Self::new(event, event.new, Some(Role::Server));
        conn.known = Known::Accept;
        // In SYN_RECV nothing can have been missed: the child's first transition carries that one.
        conn.events_lost = event.new != TcpState::SynRecv;
        conn.note_closing(event.new, None);
        conn
    }

    /// A socket found in a list made at `listed`; its state is known for `since` on.
    pub(super) fn listed(
        socket: &ExistingSocket,
        listed: MonoNs,
        since: MonoNs,
        role: Option<Role>,
        observed_from: ObservedFrom,
    ) -> Self {
        let event = SocketEvent {
            at: since,
            cookie: socket.cookie,
            netns: socket.netns,
            local: socket.local,
            remote: socket.remote,
            old: socket.state,
            new: socket.state,
            old_since: None,
            syn: None,
            owner: socket.owner,
            cgroup: socket.cgroup,
            tcp: None,
            sk_err: 0,
            fin_received: false,
            reset_received: false,
            fastopen_connect: false,
            orphaned: false,
            send_shutdown: false,
            v6only: false,
        };
        let role = if socket.state == TcpState::SynSent { Some(Role::Client) } else { role };
        let mut conn = Self::new(&event, socket.state, role);
        conn.known = Known::List(listed);
        conn.observed_from = observed_from;
        conn.events_lost = observed_from == ObservedFrom::Start;
        conn.confirmed = listed;
        conn.note_closing(socket.state, None);
        conn.learn(&event);
        conn
    }

    fn begin(&mut self, began: MonoNs) {
        self.start = self.syn.map_or(began, |syn| syn.first.min(began));
        self.start_known = true;
        self.since = began;
        self.since_known = true;
    }

    /// Takes over what every event says about the socket.
    fn learn(&mut self, event: &SocketEvent) {
        self.confirmed = self.confirmed.max(event.at);
        // tcp_abort() works under the lock of a socket that is not its own: `ss -K` is no owner.
        if event.owner.is_some() && event.sk_err != libc::ECONNABORTED {
            self.owner = event.owner;
        }
        if event.cgroup != 0 {
            self.cgroup = event.cgroup;
        }
        if event.local.port() != 0 {
            self.local = event.local;
        }
        self.fastopen_connect |= event.fastopen_connect;
        if self.syn.is_none() && self.role != Some(Role::Client) {
            self.syn = event.syn.filter(|syn| syn.first <= self.since && is_first_syn(*syn, event));
            if let Some(syn) = self.syn {
                // But for a simultaneous open, and that one began as a client.
                self.role = Some(Role::Server);
                // The connection began when its SYN came.
                self.start = self.start.min(syn.first);
                self.start_known = true;
            }
        }
        if event.tcp.is_some() {
            self.tcp = event.tcp;
        }
    }

    /// Whether the event can be of this connection: a socket that connects again keeps its cookie
    /// but not its remote end.
    pub(super) fn has_tuple_of(&self, event: &SocketEvent) -> bool {
        let same_end = event.remote.port() == 0
            || self.remote.port() == 0
            || (event.remote.port() == self.remote.port() && event.remote.ip() == self.remote.ip());
        let same_port = event.local.port() == 0
            || self.local.port() == 0
            || event.local.port() == self.local.port();
        same_end && same_port
    }

    /// Follows a transition out of the current state (`event.old`).
    pub(super) fn step(&mut self, event: &SocketEvent) {
        self.learn(event);
        self.known = Known::Transition;
        // The hooks fire more than once for FIN_WAIT1 and FIN_WAIT2: still one phase.
        if event.old == event.new {
            return;
        }
        let at = event.at.max(self.since);
        if self.since_known {
            self.phases.add(event.old, at.since(self.since));
        }
        self.state = event.new;
        self.since = at;
        self.since_known = true;
        match event.new {
            TcpState::SynRecv => self.syn_recv_at = MaybeNs::some(at.0),
            TcpState::Established => self.establish(event, at),
            TcpState::Close => self.finish(event, at),
            _ => self.note_closing(event.new, Some(at)),
        }
    }

    fn establish(&mut self, event: &SocketEvent, at: MonoNs) {
        self.established_at = MaybeNs::some(at.0);
        self.retrans_before = event.tcp.map(|tcp| tcp.total_retrans);
        let began = self.start_known && self.observed_from == ObservedFrom::Start;
        match self.role {
            Some(Role::Client) => {
                let began = began && !self.fastopen_connect;
                self.handshake = Handshake::of_client(event, at, began.then_some(self.start));
            }
            Some(Role::Server) => {
                let syn_recv = self.syn_recv_at.get().map(MonoNs);
                let accepted = self.accepted_at.get().map(MonoNs);
                self.fast_open = syn_recv.is_some_and(|syn_recv| {
                    is_fast_open(self.syn, syn_recv, at, accepted, event.tcp)
                });
                let fast_open = syn_recv.filter(|_| self.fast_open);
                self.handshake = Handshake::of_server(event, at, self.syn, fast_open);
            }
            None => {}
        }
    }

    /// The first FIN decides who closed; CLOSING says that both did.
    fn note_closing(&mut self, state: TcpState, at: Option<MonoNs>) {
        let (by, begins) = match state {
            TcpState::FinWait1 => (CloseInitiator::Local, true),
            TcpState::FinWait2 => (CloseInitiator::Local, false),
            TcpState::CloseWait => (CloseInitiator::Remote, true),
            TcpState::LastAck => (CloseInitiator::Remote, false),
            TcpState::Closing => (CloseInitiator::Both, false),
            _ => return,
        };
        if self.close_initiator.is_none() {
            self.close_initiator = Some(by);
            self.closing_at = at.filter(|_| begins).map(|at| at.0).into();
        } else if by == CloseInitiator::Both {
            self.close_initiator = Some(by);
        }
    }

    fn finish(&mut self, event: &SocketEvent, at: MonoNs) {
        let reset_sent_before = self
            .reset_sent_at
            .get()
            .is_some_and(|sent| at.since(MonoNs(sent)) <= RESET_BEFORE_CLOSE_NS);
        self.end = Some(Ending {
            at,
            end: Some(End {
                from: event.old,
                err: event.sk_err,
                fin_received: event.fin_received,
                reset_sent_before,
                reset_sent_after: false,
            }),
            has_tcp: event.tcp.is_some(),
        });
    }

    /// Its end was not seen; at `at` it was over.
    pub(super) fn lose_end(&mut self, at: MonoNs) {
        self.events_lost = true;
        self.state = TcpState::Close;
        self.end = Some(Ending { at: at.max(self.since), end: None, has_tcp: false });
    }

    /// Events are missing: it left its state unseen and is known to be in `state` at `at`.
    pub(super) fn skip_to(&mut self, state: TcpState, at: MonoNs) {
        self.events_lost = true;
        self.note_closing(state, None);
        self.state = state;
        self.since = self.since.max(at);
        self.since_known = false;
    }

    /// The list (or the accept) this connection is known from was ahead of the events: goes back
    /// to the state in which the events find it.
    pub(super) fn rewind(&mut self, event: &SocketEvent) {
        self.known = Known::Transition;
        self.since = self.since.min(event.at);
        self.start = self.start.min(self.since);
        self.close_initiator = None;
        self.state = event.old;
        self.note_closing(event.old, None);
    }

    /// A process took it off the accept queue.
    pub(super) fn accept(&mut self, event: &SocketEvent) {
        self.learn(event);
        if self.role.is_none() {
            self.role = Some(Role::Server);
        }
        if self.accepted_at == MaybeNs::NONE {
            self.accepted_at = MaybeNs::some(event.at.0);
        }
    }

    /// The child's first transition has come after its accept(): it began at `began`.
    pub(super) fn begin_after_accept(&mut self, event: &SocketEvent, began: Option<MonoNs>) {
        self.known = Known::Transition;
        self.close_initiator = None;
        self.state = TcpState::SynRecv;
        match began {
            Some(began) => {
                self.events_lost = false;
                self.begin(began);
                self.syn_recv_at = MaybeNs::some(began.0);
            }
            // As for a stranger: only the time is not known.
            None => {
                self.events_lost = false;
                self.since = self.since.min(event.at);
                self.start = self.start.min(self.since);
            }
        }
    }

    /// A RST was sent on its behalf.
    pub(super) fn reset_sent(&mut self, event: &SocketEvent) {
        self.reset_sent_at = MaybeNs::some(event.at.0);
        match &mut self.end {
            Some(Ending { end: Some(end), .. }) => end.reset_sent_after = true,
            Some(_) => {}
            // tcp_abort() sends its RST before it says why: the process at work may be `ss`.
            None => self.confirmed = self.confirmed.max(event.at),
        }
    }

    /// A child that lost the race for its connection, or could not be put on the accept queue: it
    /// goes from SYN_RECV to CLOSE without an error and nobody ever gets to see it.
    pub(super) fn never_was(&self) -> bool {
        self.role != Some(Role::Client)
            && self.accepted_at == MaybeNs::NONE
            && matches!(
                self.end,
                Some(Ending { end: Some(End { from: TcpState::SynRecv, err: 0, .. }), .. })
            )
    }

    /// When it began.
    pub(super) fn began(&self) -> MonoNs {
        self.start
    }

    /// When it ended.
    pub(super) fn ended_at(&self) -> Option<MonoNs> {
        self.end.map(|ending| ending.at)
    }

    /// From ready to be accepted to accepted.
    fn accept_wait(&self) -> Option<u64> {
        let accepted = MonoNs(self.accepted_at.get()?);
        let ready = match (self.established_at.get(), self.syn_recv_at.get()) {
            (Some(established), _) if !self.fast_open => established,
            (Some(_), Some(syn_recv)) => syn_recv,
            // It left SYN_RECV without its final ACK: only a Fast Open child can do so.
            (None, Some(syn_recv)) if self.state != TcpState::SynRecv && !self.events_lost => {
                syn_recv
            }
            _ => return None,
        };
        Some(accepted.since(MonoNs(ready)))
    }
}

/// Whether the kernel leads a connection from one state to the other, through others or not.
pub(super) const fn leads_to(from: TcpState, to: TcpState) -> bool {
    use TcpState::{
        CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, SynRecv, SynSent,
    };
    match from {
        SynSent => matches!(to, SynRecv) || leads_to(SynRecv, to),
        SynRecv => matches!(to, Established) || leads_to(Established, to),
        Established => matches!(to, FinWait1 | FinWait2 | Closing | CloseWait | LastAck),
        FinWait1 => matches!(to, FinWait2 | Closing),
        CloseWait => matches!(to, LastAck),
        _ => false,
    }
}
