//! Where connections are kept: found by cookie, ordered by time.
//!
//! Connections lie in chunks that never move (a table that doubles would copy a hundred megabytes
//! in the middle of a burst). Each is on one of two lists: the live ones, the one that has not
//! changed for the longest time in front (that one is given up when the table is full: what
//! changes is what is traced), and those that have ended and wait for their grace to pass, in the
//! order of their ends.

use rustc_hash::FxHashMap;

use super::connection::Conn;
use super::event::MonoNs;

const CHUNK: usize = 256;
const NOBODY: u32 = u32::MAX;

/// Names a place in the table while it is occupied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Id(u32);

struct Place {
    conn: Conn,
    before: u32,
    after: u32,
    ended: bool,
}

#[derive(Clone, Copy)]
struct List {
    front: u32,
    back: u32,
    len: usize,
}

impl List {
    const EMPTY: Self = Self { front: NOBODY, back: NOBODY, len: 0 };
}

/// Every connection that is remembered.
#[derive(Default)]
pub(super) struct Table {
    by_cookie: FxHashMap<u64, u32>,
    chunks: Vec<Vec<Option<Place>>>,
    free: Vec<u32>,
    live: List,
    ended: List,
    /// When the first one of `ended` did: asked for after every event.
    first_end: Option<MonoNs>,
}

impl Default for List {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Table {
    /// Connections held, ended ones included.
    pub(super) fn len(&self) -> usize {
        self.by_cookie.len()
    }

    /// Live connections.
    pub(super) fn live(&self) -> usize {
        self.live.len
    }

    pub(super) fn find(&self, cookie: u64) -> Option<Id> {
        self.by_cookie.get(&cookie).copied().map(Id)
    }

    pub(super) fn get(&self, id: Id) -> Option<&Conn> {
        self.place(id.0).map(|place| &place.conn)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Conn> {
        self.place_mut(id.0).map(|place| &mut place.conn)
    }

    /// Puts a live connection in; the caller has taken out any other of the same cookie.
    pub(super) fn insert(&mut self, conn: Conn) -> Id {
        let cookie = conn.cookie;
        let id = self.vacant();
        if let Some(entry) = self.entry_mut(id) {
            *entry = Some(Place { conn, before: NOBODY, after: NOBODY, ended: false });
        }
        self.by_cookie.insert(cookie, id);
        self.push_back(id, false);
        Id(id)
    }

    /// Lets a connection go; its cookie. It is dropped where it is, since it is large.
    pub(super) fn remove(&mut self, id: Id) -> Option<u64> {
        let cookie = self.get(id)?.cookie;
        self.unlink(id.0);
        *self.entry_mut(id.0)? = None;
        self.free.push(id.0);
        self.by_cookie.remove(&cookie);
        Some(cookie)
    }

    /// A live connection has changed: it goes to the back of the live ones.
    pub(super) fn touch(&mut self, id: Id) {
        if self.live.back != id.0 {
            self.unlink(id.0);
            self.push_back(id.0, false);
        }
    }

    /// A live connection has ended: it waits behind those that ended before.
    pub(super) fn end(&mut self, id: Id) {
        self.unlink(id.0);
        self.push_back(id.0, true);
        if self.ended.front == id.0 {
            self.note_first_end();
        }
    }

    /// The live connection that has not changed for the longest time.
    pub(super) fn stalest(&self) -> Option<Id> {
        (self.live.front != NOBODY).then_some(Id(self.live.front))
    }

    /// The connection that ended first.
    pub(super) fn first_ended(&self) -> Option<Id> {
        (self.ended.front != NOBODY).then_some(Id(self.ended.front))
    }

    /// When it did.
    pub(super) const fn first_end(&self) -> Option<MonoNs> {
        self.first_end
    }

    fn note_first_end(&mut self) {
        self.first_end = self.place(self.ended.front).and_then(|place| place.conn.ended_at());
    }

    /// Live connections, in no order to rely on.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.places().filter(|(_, place)| !place.ended).map(|(_, place)| &place.conn)
    }

    /// Places of the live connections that satisfy `wanted`.
    pub(super) fn select(&self, mut wanted: impl FnMut(&Conn) -> bool) -> Vec<Id> {
        self.places()
            .filter(|(_, place)| !place.ended && wanted(&place.conn))
            .map(|(id, _)| id)
            .collect()
    }

    fn places(&self) -> impl Iterator<Item = (Id, &Place)> {
        (0..)
            .map(Id)
            .zip(self.chunks.iter().flatten())
            .filter_map(|(id, place)| place.as_ref().map(|place| (id, place)))
    }

    fn entry_mut(&mut self, id: u32) -> Option<&mut Option<Place>> {
        let id = id as usize;
        self.chunks.get_mut(id / CHUNK)?.get_mut(id % CHUNK)
    }

    fn place(&self, id: u32) -> Option<&Place> {
        let id = id as usize;
        self.chunks.get(id / CHUNK)?.get(id % CHUNK)?.as_ref()
    }

    fn place_mut(&mut self, id: u32) -> Option<&mut Place> {
        self.entry_mut(id)?.as_mut()
    }

    /// A place that nobody has.
    fn vacant(&mut self) -> u32 {
        if let Some(id) = self.free.pop() {
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let Some(chunk) = self.chunks.last_mut() else {
            return NOBODY;
        };
        chunk.push(None);
        u32::try_from(before + chunk.len() - 1).unwrap_or(NOBODY)
    }

    fn push_back(&mut self, id: u32, ended: bool) {
        let list = if ended { &mut self.ended } else { &mut self.live };
        let before = list.back;
        list.back = id;
        list.len += 1;
        if before == NOBODY {
            list.front = id;
        }
        if let Some(place) = self.place_mut(before) {
            place.after = id;
        }
        if let Some(place) = self.place_mut(id) {
            place.before = before;
            place.after = NOBODY;
            place.ended = ended;
        }
    }

    fn unlink(&mut self, id: u32) {
        let Some(place) = self.place(id) else {
            return;
        };
        let (before, after, ended) = (place.before, place.after, place.ended);
        if let Some(place) = self.place_mut(before) {
            place.after = after;
        }
        if let Some(place) = self.place_mut(after) {
            place.before = before;
        }
        let list = if ended { &mut self.ended } else { &mut self.live };
        if list.front == id {
            list.front = after;
        }
        if list.back == id {
            list.back = before;
        }
        list.len -= 1;
        if ended && before == NOBODY {
            self.note_first_end();
        }
    }
}

#[cfg(test)]
mod tests;
