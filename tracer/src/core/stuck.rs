//! Connections that stay too long in a state that should pass.

use tracer_common::state::TcpState;

use super::Core;
use super::config::StuckAfter;
use super::connection::Conn;
use super::event::MonoNs;
use super::record::{OpenConnection, Record};
use super::table::Id;

const SECOND: u64 = 1_000_000_000;
/// No time to wait for.
pub(super) const NEVER: MonoNs = MonoNs(u64::MAX);

/// When to look for stuck connections next.
pub(super) struct Stuck {
    /// Nothing is due before.
    next: MonoNs,
    looked: MonoNs,
    /// Connections in a state in which one can get stuck.
    watched: usize,
}

impl Default for Stuck {
    fn default() -> Self {
        Self { next: NEVER, looked: MonoNs(0), watched: 0 }
    }
}

impl Stuck {
    /// When something may be due; looking goes through the whole table, so at most once a second.
    pub(super) fn next(&self) -> Option<MonoNs> {
        (self.watched != 0).then(|| self.next.max(MonoNs(self.looked.0.saturating_add(SECOND))))
    }
}

impl Core {
    /// A connection has entered a state: notes when to call it stuck.
    pub(super) fn watch(&mut self, id: Id) {
        self.unwatch(id);
        if let Some(conn) = self.table.get_mut(id)
            && let Some(threshold) = self.config.stuck_after.of(conn.state)
        {
            conn.stuck_due = MonoNs(conn.since.0.saturating_add(threshold.max(1)));
            self.stuck.next = self.stuck.next.min(conn.stuck_due);
            self.stuck.watched += 1;
        }
    }

    /// A connection has left its state, or is about to leave the table.
    pub(super) fn unwatch(&mut self, id: Id) {
        if let Some(conn) = self.table.get_mut(id)
            && conn.stuck_due != NEVER
        {
            conn.stuck_due = NEVER;
            self.stuck.watched -= 1;
            if self.stuck.watched == 0 {
                self.stuck.next = NEVER;
            }
        }
    }

    /// Reports those that are stuck, once, and again each time their age has doubled. One whose
    /// state may have changed unseen is left alone until the next event or list of sockets tells.
    pub(super) fn report_stuck(&mut self, now: MonoNs, out: &mut Vec<Record>) {
        if self.stuck.next().is_none_or(|next| now < next) {
            return;
        }
        self.stuck.looked = now;
        let mut next = NEVER;
        let due = self.table.select(|conn| {
            let due = conn.stuck_due <= now;
            if !due {
                next = next.min(conn.stuck_due);
            }
            due
        });
        for id in due {
            let Some(conn) = self.table.get_mut(id) else {
                continue;
            };
            if self.lost_at.is_some_and(|lost| conn.confirmed < lost) {
                next = next.min(conn.stuck_due);
                continue;
            }
            conn.stuck_due = doubled(conn, now);
            next = next.min(conn.stuck_due);
            let Some(conn) = self.table.get(id) else {
                continue;
            };
            if self.selected(conn) {
                let stuck = conn.describe_open(now, self.cgroups.name(conn.cgroup));
                out.push(Record::Stuck(Box::new(stuck)));
            }
        }
        self.stuck.next = next;
    }
}

impl Core {
    /// How many connections have been in each state in which one can get stuck for longer than its
    /// threshold; states without a threshold are left out. Goes through the whole table if any
    /// connection is in such a state.
    #[must_use]
    pub fn stuck_by_state(&self, now: MonoNs) -> Vec<(TcpState, u64)> {
        let thresholds = &self.config.stuck_after;
        let states = StuckAfter::STATES.into_iter().filter(|state| thresholds.of(*state).is_some());
        let mut counts: Vec<_> = states.map(|state| (state, 0)).collect();
        for conn in self.all_stuck(now) {
            if let Some((_, count)) = counts.iter_mut().find(|(state, _)| *state == conn.state) {
                *count += 1;
            }
        }
        counts
    }

    /// The connections that have been in such a state for longer than its threshold: the `most`
    /// that have been there longest, these first, and how many there are in all. Goes through the
    /// whole table if any connection is in such a state.
    #[must_use]
    pub fn stuck_now(&self, now: MonoNs, most: usize) -> (Vec<OpenConnection>, usize) {
        let mut stuck: Vec<_> = self.all_stuck(now).collect();
        let count = stuck.len();
        stuck.sort_unstable_by_key(|conn| (conn.since, conn.cookie));
        stuck.truncate(most);
        let described = |conn: &Conn| conn.describe_open(now, self.cgroups.name(conn.cgroup));
        (stuck.into_iter().map(described).collect(), count)
    }

    fn all_stuck(&self, now: MonoNs) -> impl Iterator<Item = &Conn> {
        let thresholds = &self.config.stuck_after;
        let any = self.stuck.watched != 0;
        any.then(|| self.table.iter()).into_iter().flatten().filter(move |conn| {
            thresholds.of(conn.state).is_some_and(|after| now.since(conn.since) >= after)
                && !self.is_doubtful(conn)
                && self.selected(conn)
        })
    }

    /// Whether its state may have changed unseen.
    fn is_doubtful(&self, conn: &Conn) -> bool {
        self.lost_at.is_some_and(|lost| conn.confirmed < lost)
    }
}

/// The next moment at which the age of its state is the threshold times a power of two.
fn doubled(conn: &Conn, now: MonoNs) -> MonoNs {
    let mut age = conn.stuck_due.since(conn.since).max(1);
    while conn.since.0.saturating_add(age) <= now.0 && age < u64::MAX {
        age = age.saturating_mul(2);
    }
    MonoNs(conn.since.0.saturating_add(age))
}
