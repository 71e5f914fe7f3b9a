//! Connections that were found by asking the kernel: at start, and after events were lost.

use rustc_hash::FxHashMap;
use tracer_common::state::TcpState;

use super::Core;
use super::connection::Conn;
use super::event::{ExistingSocket, MonoNs};
use super::record::{ObservedFrom, Record};

impl Core {
    /// Takes in the sockets that are open when tracing begins: every socket of the namespaces that
    /// are traced and that the filters of the kernel side let through, listeners included. `at` is
    /// the moment the list was complete. Call it before the first event; transitions that the list
    /// was ahead of are recognized when they come.
    pub fn snapshot(&mut self, at: MonoNs, sockets: &[ExistingSocket]) {
        self.listed_at = at;
        sockets.iter().filter(|socket| is_listener(socket)).for_each(|s| self.listeners.listed(s));
        let mut none = Vec::new();
        for socket in sockets.iter().filter(|socket| is_connection(socket)) {
            if self.table.find(socket.cookie).is_none() {
                let role = self.listeners.role(socket.netns, socket.local, socket.remote);
                let since = self.config.started;
                let conn = Conn::listed(socket, at, since, role, ObservedFrom::Middle);
                self.insert(conn, &mut none);
            }
        }
    }

    /// Events up to `at` have been lost: any connection may have changed unseen. Until
    /// [`Core::reconcile`] has looked at a connection, or an event has told of it, it is not called
    /// stuck.
    pub fn events_were_lost(&mut self, at: MonoNs) {
        self.lost_at = Some(self.lost_at.map_or(at, |lost| lost.max(at)));
        self.list_is_due = true;
    }

    /// After events were lost: `sockets` is what the kernel listed, when it was asked at
    /// `asked_at`, of the namespaces `netns_complete` (filtered like a snapshot), and all events
    /// from before the list was complete have been handled.
    ///
    /// - A connection of these namespaces that is not in the list, and of which nothing was heard
    ///   since `asked_at`, is over; its end was lost.
    /// - One whose state is another one than the list says missed events.
    /// - One that is only in the list began unseen.
    pub fn reconcile(
        &mut self,
        asked_at: MonoNs,
        netns_complete: &[u32],
        sockets: &[ExistingSocket],
        out: &mut Vec<Record>,
    ) {
        let mut listed: FxHashMap<u64, &ExistingSocket> = sockets
            .iter()
            .filter(|socket| netns_complete.contains(&socket.netns))
            .map(|socket| (socket.cookie, socket))
            .collect();
        let ended = &self.ended_since_loss;
        let listeners = sockets.iter().filter(|s| is_listener(s) && !ended.contains(&s.cookie));
        self.listeners.relist(netns_complete, asked_at, listeners);
        let doubtful = self
            .table
            .select(|conn| netns_complete.contains(&conn.netns) && conn.confirmed < asked_at);
        for id in doubtful {
            let Some(conn) = self.table.get_mut(id) else {
                continue;
            };
            match listed.remove(&conn.cookie) {
                Some(socket) if is_connection(socket) => {
                    conn.confirmed = asked_at;
                    if conn.owner.is_none() {
                        conn.owner = socket.owner;
                    }
                    if conn.state != socket.state {
                        conn.skip_to(socket.state, asked_at);
                        self.watch(id);
                    }
                }
                _ => self.lose(id, asked_at, out),
            }
        }
        for socket in listed.into_values().filter(|socket| is_connection(socket)) {
            self.requests.over(socket.netns, socket.local, socket.remote);
            if self.table.find(socket.cookie).is_none()
                && !self.ended_since_loss.contains(&socket.cookie)
            {
                let role = self.listeners.role(socket.netns, socket.local, socket.remote);
                let conn = Conn::listed(socket, asked_at, asked_at, role, ObservedFrom::Start);
                self.insert(conn, out);
            }
        }
        // Loss after the question makes another one necessary; its list is still to come.
        if self.lost_at.is_none_or(|lost| lost <= asked_at) {
            self.list_is_due = false;
            self.ended_since_loss.clear();
        }
    }
}

fn is_listener(socket: &ExistingSocket) -> bool {
    socket.state == TcpState::Listen
}

fn is_connection(socket: &ExistingSocket) -> bool {
    socket.cookie != 0
        && !matches!(socket.state, TcpState::Listen | TcpState::Close | TcpState::TimeWait)
}
