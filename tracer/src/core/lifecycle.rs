//! From events to connections: which one an event belongs to, whether it begins one, and what was
//! missed in between.

use std::net::SocketAddr;

use tracer_common::state::TcpState;

use super::Core;
use super::connection::{Conn, Known, leads_to};
use super::event::{MonoNs, SocketEvent};
use super::record::{Record, Role, StateChange};
use super::table::Id;

/// How a transition begins a connection.
enum Opening {
    /// connect() at that moment.
    Client(MonoNs),
    /// A SYN, or its final ACK, made a child of a listener at that moment.
    Child(MonoNs),
}

impl Opening {
    fn of(event: &SocketEvent) -> Option<Self> {
        match (event.old, event.new, event.old_since) {
            (TcpState::Close, TcpState::SynSent, _) => Some(Self::Client(event.at)),
            (TcpState::Listen, TcpState::SynRecv, _) => Some(Self::Child(event.at)),
            (TcpState::SynSent, _, Some(began)) => Some(Self::Client(began.min(event.at))),
            (TcpState::SynRecv, _, Some(began)) => Some(Self::Child(began.min(event.at))),
            _ => None,
        }
    }

    fn at(&self) -> MonoNs {
        match *self {
            Self::Client(at) | Self::Child(at) => at,
        }
    }

    /// The transition that was folded into the event, if any.
    fn folded(&self, event: &SocketEvent) -> Option<StateChange> {
        let (at, old, new) = match *self {
            Self::Client(at) => (at, TcpState::Close, TcpState::SynSent),
            Self::Child(at) => (at, TcpState::Listen, TcpState::SynRecv),
        };
        (event.old == new).then(|| StateChange { at, old, new, ..change(event) })
    }
}

impl Core {
    pub(super) fn transition(&mut self, event: &SocketEvent, out: &mut Vec<Record>) {
        if event.new == TcpState::Listen || (event.old, event.new) == LISTEN_CLOSE {
            self.listening(event, out);
            return;
        }
        let opening = Opening::of(event);
        let nameless = event.cookie == 0;
        if nameless || goes_nowhere(event) {
            self.totals.events_untracked += u64::from(nameless);
            if self.config.states && self.config.selection.is_everything() {
                let folded = opening.and_then(|opening| opening.folded(event));
                out.extend(folded.into_iter().chain([change(event)]).map(Record::State));
            }
            return;
        }
        if event.old == TcpState::SynRecv && (event.new != TcpState::Close || event.sk_err != 0) {
            self.requests.over(event.netns, event.local, event.remote);
        }
        let folded = opening
            .as_ref()
            .filter(|_| self.config.states)
            .and_then(|opening| opening.folded(event));
        let id = self.place_of(event, opening, out);
        let Some(conn) = self.table.get_mut(id) else {
            return;
        };
        if event.old == conn.state {
            conn.step(event);
        }
        let state = conn.state;
        if self.config.states {
            self.tell_states(id, folded, change(event), out);
        }
        if state == TcpState::Close {
            self.note_end(event.cookie);
            self.end(id);
        } else {
            self.table.touch(id);
            // A state entered twice goes on ageing.
            if event.old != event.new {
                self.watch(id);
            }
        }
    }

    /// The connection a transition belongs to, in the state that the transition leaves (or, for one
    /// that just began with it, enters).
    fn place_of(
        &mut self,
        event: &SocketEvent,
        opening: Option<Opening>,
        out: &mut Vec<Record>,
    ) -> Id {
        if let Some(id) = self.table.find(event.cookie)
            && !self.is_over_for(id, event, opening.as_ref(), out)
        {
            return id;
        }
        let conn = match opening {
            Some(Opening::Client(began)) => Conn::client(event, began),
            Some(Opening::Child(began)) => Conn::child(event, began),
            None => {
                let role = self.listeners.role(event.netns, event.local, event.remote);
                let mut conn = Conn::stranger(event, role);
                // Open before tracing began, and over before its turn in the list came.
                if event.at <= self.listed_at && self.lost_at.is_none() {
                    conn.was_open_before();
                }
                conn
            }
        };
        self.insert(conn, out)
    }

    /// Fits the connection known by the event's cookie to the event. Returns true if it can't be
    /// the event's: then it is over, and has been let go.
    fn is_over_for(
        &mut self,
        id: Id,
        event: &SocketEvent,
        opening: Option<&Opening>,
        out: &mut Vec<Record>,
    ) -> bool {
        let Some(conn) = self.table.get_mut(id) else {
            return true;
        };
        if conn.ended_at().is_some() {
            // The same socket connects again; nothing more can come of what it was.
            self.release(id, out);
            return true;
        }
        match (conn.known, opening) {
            (Known::Accept, Some(Opening::Child(began))) if conn.has_tuple_of(event) => {
                conn.begin_after_accept(event, Some(*began));
                return false;
            }
            (Known::Accept, None) if event.old == TcpState::SynRecv && conn.has_tuple_of(event) => {
                conn.begin_after_accept(event, None);
                return false;
            }
            (Known::List(listed), Some(opening)) if opening.at() <= listed => {
                // The list was ahead: this connection began after tracing did.
                self.take(id);
                return true;
            }
            _ => {}
        }
        if conn.has_tuple_of(event) && event.old != TcpState::Close {
            if conn.state == event.old {
                return false;
            }
            if matches!(conn.known, Known::List(_))
                && (conn.state == event.new || leads_to(event.new, conn.state))
            {
                conn.rewind(event);
                self.watch(id);
                return false;
            }
            if opening.is_none() && leads_to(conn.state, event.old) {
                conn.skip_to(event.old, event.at);
                self.watch(id);
                return false;
            }
        }
        // Another connection of the same socket: the end of this one was lost.
        self.lose(id, event.at, out);
        true
    }

    /// A connection is over, nobody saw how: at `at` it was.
    pub(super) fn lose(&mut self, id: Id, at: MonoNs, out: &mut Vec<Record>) {
        if let Some(conn) = self.table.get_mut(id) {
            conn.lose_end(at);
            self.release(id, out);
        }
    }

    /// Puts a new connection in; makes room if there is none.
    pub(super) fn insert(&mut self, conn: Conn, out: &mut Vec<Record>) -> Id {
        if self.table.len() >= self.config.max_connections.max(1) {
            if self.table.first_ended().is_some() {
                self.release_first(out);
            } else if let Some(id) = self.table.stalest() {
                self.take(id);
                self.totals.evicted += 1;
            }
        }
        let id = self.table.insert(conn);
        self.watch(id);
        id
    }

    fn end(&mut self, id: Id) {
        self.unwatch(id);
        self.table.end(id);
    }

    /// A socket that has ended may be in the list that is being made.
    fn note_end(&mut self, cookie: u64) {
        if self.list_is_due && self.ended_since_loss.len() < self.config.max_connections {
            self.ended_since_loss.insert(cookie);
        }
    }

    /// Takes a connection out of the table.
    pub(super) fn take(&mut self, id: Id) {
        self.unwatch(id);
        self.table.remove(id);
    }

    pub(super) fn accepted(&mut self, event: &SocketEvent, out: &mut Vec<Record>) {
        if event.cookie == 0 {
            self.totals.events_untracked += 1;
            return;
        }
        let id = match self.table.find(event.cookie) {
            Some(id) => id,
            // Reset while it waited, and its record is out: there is nothing to add to.
            None if event.new == TcpState::Close => return,
            // Accepts are told of a moment earlier than transitions. If it is open still, the list of
            // sockets has it; if not, nobody would ever say so.
            None if event.at <= self.config.started => return,
            None => self.insert(Conn::accepted(event), out),
        };
        let Some(conn) = self.table.get_mut(id) else {
            return;
        };
        conn.accept(event);
        if conn.ended_at().is_none() {
            self.table.touch(id);
        }
        if self.config.states {
            self.tell_held_back(id, out);
        }
    }

    /// A socket that begins or ends to listen is no connection.
    fn listening(&mut self, event: &SocketEvent, out: &mut Vec<Record>) {
        if event.new == TcpState::Listen {
            self.listeners.opened(event);
        } else {
            self.note_end(event.cookie);
            self.listeners.closed(event);
        }
        if let Some(id) = self.table.find(event.cookie) {
            match self.table.get(id).and_then(Conn::ended_at) {
                Some(_) => self.release(id, out),
                None => self.lose(id, event.at, out),
            }
        }
        if self.config.states {
            let cgroup = self.cgroups.name(event.cgroup);
            let role = Some(Role::Server);
            let selection = &self.config.selection;
            if selection.matches(role, event.owner.as_ref(), cgroup.as_deref()) {
                out.push(Record::State(change(event)));
            }
        }
    }

    /// Tells of transitions of a connection, or holds them back until it is known whether the
    /// connection is asked for.
    fn tell_states(
        &mut self,
        id: Id,
        folded: Option<StateChange>,
        change: StateChange,
        out: &mut Vec<Record>,
    ) {
        /// More than any life has; a socket that is never asked for must not pile up.
        const MOST: usize = 16;
        let told = self.tell_held_back(id, out);
        let changes = folded.into_iter().chain([change]);
        if told {
            out.extend(changes.map(Record::State));
        } else if let Some(conn) = self.table.get_mut(id)
            && conn.held_back.len() < MOST
        {
            conn.held_back.extend(changes);
        }
    }

    /// Tells of the transitions held back if the connection is asked for; returns whether it is.
    fn tell_held_back(&mut self, id: Id, out: &mut Vec<Record>) -> bool {
        let selected = self.table.get(id).is_some_and(|conn| self.selected(conn));
        if selected && let Some(conn) = self.table.get_mut(id) {
            out.extend(std::mem::take(&mut conn.held_back).into_iter().map(Record::State));
        }
        selected
    }

    /// A request died; it is counted for whoever it came from, if its listener is asked for.
    pub(super) fn handshake_failed(&mut self, netns: u32, local: SocketAddr, remote: SocketAddr) {
        let selection = &self.config.selection;
        if !selection.is_everything() {
            let listener = self.listeners.find(netns, local);
            let owner = listener.and_then(|listener| listener.owner);
            let cgroup = listener.and_then(|listener| self.cgroups.name(listener.cgroup));
            if !selection.matches(Some(Role::Server), owner.as_ref(), cgroup.as_deref()) {
                return;
            }
        }
        self.totals.handshakes_failed += 1;
        self.run.handshake_failed(remote.ip());
        if let Some(interval) = &mut self.interval {
            interval.handshake_failed(remote.ip());
        }
    }
}

/// A transition that is none of a connection: the kernel sets sockets to CLOSE that are there
/// already, and full sockets never enter TIME_WAIT.
fn goes_nowhere(event: &SocketEvent) -> bool {
    let (old, new) = (event.old, event.new);
    old == TcpState::TimeWait
        || new == TcpState::TimeWait
        || (old == TcpState::Close && new == TcpState::Close)
}

const LISTEN_CLOSE: (TcpState, TcpState) = (TcpState::Listen, TcpState::Close);

fn change(event: &SocketEvent) -> StateChange {
    StateChange {
        at: event.at,
        old: event.old,
        new: event.new,
        local: event.local,
        remote: event.remote,
        netns: event.netns,
        cookie: event.cookie,
    }
}
