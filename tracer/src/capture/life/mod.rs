//! Both ends' states out of captured segments: what passed the capture point in, what the sockets of
//! both ends would have told out. Sans-IO: the time is that of the segments.
//!
//! The way of a segment: its connection is found ([`table`]) or begins; the segment's facts are noted
//! ([`conversation`]: [`opening`], [`closing`], [`reset`], and the numbers of each end in [`end`]);
//! the states follow from the facts ([`states`]); what is sure of a local end ([`view`]) is told
//! ([`tell`], [`settle`]). `docs/capture.md` says what can be known from a capture and what not.

mod closing;
mod conversation;
mod end;
mod holes;
mod key;
mod opening;
mod reset;
mod row;
mod settle;
mod states;
mod table;
mod tell;
mod twice;
mod view;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;

use tracer_common::packet::tcp_flags::{ACK, RST, SYN};

use crate::capture::segment::Captured;
use crate::core::Prefix;
use crate::core::event::{Event, MonoNs};
use crate::core::record::{Oddity, SegmentRow};

use self::conversation::{Class, Conversation, Next, Seen, Sides};
use self::end::Established;
use self::key::{Key, Side};
use self::settle::SETTLED_AFTER_NS;
use self::table::{Id, Slot, Table};
use self::tell::Told;
use self::view::View;

/// How long the addresses and ports of an ended connection are remembered: what comes late is not
/// taken for a connection met in its middle. TIME_WAIT takes as long (`TCP_TIMEWAIT_LEN`).
const REMEMBERED_NS: u64 = 60_000_000_000;
/// Most ended connections remembered: a second of 16,000 a second. With more, the places they leave
/// have fallen out of every cache when the next one comes.
const MOST_ENDED: usize = 16_384;

/// What the derivation is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Ends in these are local, and no others where one of them is (`--local`).
    pub local: Vec<Prefix>,
    /// Whether rows are made of control segments (`--segments`).
    pub rows: bool,
    /// Most connections followed at a time; at least 1. What is given up is counted.
    pub max_connections: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { local: Vec::new(), rows: false, max_connections: 262_144 }
    }
}

/// What came of a segment; the caller empties both lists.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// For the core, in this order.
    pub events: Vec<Event>,
    /// Rows of `--segments`.
    pub rows: Vec<SegmentRow>,
}

/// The connections of a capture.
pub struct Lives {
    table: Table,
    view: View,
    rows: bool,
    number: u64,
    now: MonoNs,
    /// Connections that wait for time to pass.
    unsettled: VecDeque<(MonoNs, Id)>,
    /// Connections that are over, the first one in front.
    ended: VecDeque<(MonoNs, Id)>,
    evicted: u64,
}

impl Lives {
    /// Of a capture that begins.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            table: Table::new(config.max_connections),
            view: View::new(config.local),
            rows: config.rows,
            number: 0,
            now: MonoNs(0),
            unsettled: VecDeque::new(),
            ended: VecDeque::new(),
            evicted: 0,
        }
    }

    /// An interface of the capture has this address (pcapng lists them): it is a local one.
    pub fn interface_has(&mut self, addr: IpAddr) {
        self.view.interface_has(addr);
    }

    /// Which ends of a segment are local, source and destination, where that is known before anything
    /// is known of its connection.
    #[must_use]
    pub fn local_ends(&self, captured: &Captured) -> Option<(bool, bool)> {
        let (key, from) = Key::of(&captured.segment)?;
        let sides = self.view.of(&key, from, captured).sides?;
        Some((sides.has(from), sides.has(from.peer())))
    }

    /// Connections that were given up before their end for want of memory. Those that the core had
    /// been told of are among its own count, too.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Connections followed now, with those that have just ended.
    #[must_use]
    pub fn followed(&self) -> usize {
        self.table.len()
    }

    /// Entries that wait for time to pass.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.unsettled.len() + self.ended.len()
    }

    /// Takes in a segment; what it leads to is appended to `out`.
    pub fn take(&mut self, captured: &Captured, out: &mut Taken) {
        self.now = self.now.max(captured.at);
        self.pass_time(out);
        let Some((key, from)) = Key::of(&captured.segment) else {
            return;
        };
        let slot = match self.table.find(&key) {
            Some(slot) => slot,
            None => match self.begin(key, from, captured, out) {
                Some(slot) => slot,
                None => return,
            },
        };
        let Some(conversation) = self.table.get_mut(slot) else {
            return;
        };
        let mut seen = Seen::default();
        if let Next::Renew = conversation.take(captured, from, &mut seen) {
            self.renew(slot, captured, from, &mut seen, out);
        }
        // What most segments come to: nothing to tell.
        if seen.news || seen.row || seen.synack_again {
            self.tell(slot, captured, from, &seen, out);
        }
    }

    /// The capture is over: everything that has passed counts as received. What is open stays so.
    pub fn finish(&mut self, out: &mut Taken) {
        let now = self.now;
        let view = &self.view;
        for conversation in self.table.iter_mut() {
            conversation.settle(now, true);
            view.decide(conversation);
            if conversation.local.is_none()
                && let Some(client) = conversation.client
                && (conversation.ends.of(client).syn_again > 0
                    || !view.is_listening(conversation.key.raw(client.peer())))
            {
                // A SYN that nobody has answered; no request of a flood.
                conversation.local = Some(Sides::one(client));
            }
            for side in Side::BOTH {
                if conversation.local.is_some_and(|local| local.has(side)) {
                    conversation.tell(side, &mut out.events);
                    if let Some(at) = conversation.ended_in_doubt() {
                        conversation.end_unseen(side, at, &mut out.events);
                    }
                }
            }
        }
    }

    /// A connection begins with this segment, or is met by it; `None` if it tells of none.
    fn begin(
        &mut self,
        key: Key,
        from: Side,
        captured: &Captured,
        out: &mut Taken,
    ) -> Option<Slot> {
        let flags = captured.segment.flags;
        if flags & RST != 0 || flags & (SYN | ACK) == 0 {
            return None;
        }
        self.make_room(out);
        let conversation = self.new_conversation(key, from, captured);
        Some(self.table.insert(conversation))
    }

    fn new_conversation(&mut self, key: Key, from: Side, captured: &Captured) -> Conversation {
        self.number += 1;
        let mut conversation = Conversation::new(self.number, key, captured.at);
        let local = self.view.of(&key, from, captured);
        conversation.local = local.sides;
        conversation.near = local.near;
        if captured.segment.flags & SYN == 0 {
            conversation.meet(captured.at);
        }
        conversation
    }

    /// Another connection takes the place of one whose end may not have been seen.
    fn renew(
        &mut self,
        slot: Slot,
        captured: &Captured,
        from: Side,
        seen: &mut Seen,
        out: &mut Taken,
    ) {
        let Some(old) = self.table.get_mut(slot) else {
            return;
        };
        let rival = old.rival.take();
        let over = old.over.is_some();
        let nothing = old.middle && !old.plausible;
        let key = old.key;
        let at = rival.as_ref().map_or(captured.at, |rival| rival.syn.at);
        old.settle(at, false);
        for side in Side::BOTH {
            if old.local.is_some_and(|local| local.has(side)) {
                old.tell(side, &mut out.events);
                old.end_unseen(side, at, &mut out.events);
            }
        }
        let mut new = self.new_conversation(key, from, captured);
        *seen = Seen::default();
        if let Some(rival) = &rival {
            let local = self.view.of(&key, rival.side, &rival.syn);
            (new.local, new.near) = (local.sides, local.near);
            new.unmeet();
            new.begin_with(rival, seen);
        }
        // A connection that has just begun is not renewed again.
        new.take(captured, from, seen);
        if !nothing {
            seen.odd(if over { Oddity::TimeWaitReused } else { Oddity::PortReused });
        }
        self.table.replace(slot, new);
    }

    fn tell(&mut self, slot: Slot, captured: &Captured, from: Side, seen: &Seen, out: &mut Taken) {
        let id = self.table.id(slot);
        let Some(conversation) = self.table.get_mut(slot) else {
            return;
        };
        let was = conversation.class;
        let mut done = false;
        if seen.news || seen.synack_again {
            if conversation.ends.of(from).synack.is_some() && captured.segment.flags & SYN != 0 {
                self.view.listens(conversation.key.raw(from));
            }
            self.view.decide(conversation);
            let local = conversation.local.unwrap_or(Sides::NONE);
            if seen.synack_again && local.has(from) {
                let request = conversation.request(from, captured.at);
                out.events.push(Event::SynAckRetransmit(request));
            }
            for side in Side::BOTH {
                if local.has(side) {
                    conversation.tell(side, &mut out.events);
                }
            }
            if conversation.over.is_none() && conversation.is_over() {
                conversation.over = Some(captured.at);
                self.ended.push_back((captured.at, id));
            }
            conversation.classify();
            if !conversation.settling && conversation.is_unsettled() {
                conversation.settling = true;
                self.unsettled.push_back((captured.at, id));
            }
            done = conversation.is_told();
        }
        if self.rows && seen.row {
            let server = self.view.server(&conversation.key);
            out.rows.push(conversation.row(captured, from, seen, server));
        }
        let is = conversation.class;
        self.table.reclassified(was, is);
        // A row of one that is over may still depend on time.
        if done && !self.rows {
            self.table.done(slot);
        }
    }

    /// What is due when time passes: connections that ended long ago are forgotten, others settle.
    fn pass_time(&mut self, out: &mut Taken) {
        while let Some(&(at, id)) = self.ended.front()
            && (self.ended.len() > MOST_ENDED || self.now.since(at) >= REMEMBERED_NS)
        {
            self.ended.pop_front();
            if let Some(slot) = self.table.slot(id) {
                self.forget(slot, out);
            }
        }
        // In a capture without times all of them could wait at once.
        let most = self.table.len().saturating_mul(2).max(MOST_ENDED);
        while let Some(&(at, id)) = self.unsettled.front()
            && (self.unsettled.len() > most || self.now.since(at) >= SETTLED_AFTER_NS)
        {
            self.unsettled.pop_front();
            let now = self.now;
            let slot = self.table.slot(id).filter(|slot| !self.table.is_done(*slot));
            let Some(slot) = slot else { continue };
            let Some(conversation) = self.table.get_mut(slot) else { continue };
            let was = conversation.class;
            conversation.settle(now, false);
            conversation.classify();
            conversation.settling = conversation.is_unsettled();
            for side in Side::BOTH {
                if conversation.local.is_some_and(|local| local.has(side)) {
                    conversation.tell(side, &mut out.events);
                }
            }
            if conversation.settling {
                self.unsettled.push_back((now, id));
            }
            let is = conversation.class;
            self.table.reclassified(was, is);
        }
    }

    fn make_room(&mut self, out: &mut Taken) {
        while let Some(slot) = self.table.victim() {
            self.forget(slot, out);
        }
    }

    fn forget(&mut self, slot: Slot, out: &mut Taken) {
        if !self.table.is_done(slot)
            && let Some(conversation) = self.table.get_mut(slot)
        {
            if conversation.over.is_none() {
                self.evicted += 1;
            }
            for side in Side::BOTH {
                conversation.forget(side, &mut out.events);
            }
        }
        self.table.remove(slot);
    }
}

impl Conversation {
    /// It is met in its middle: ESTABLISHED, until its segments say otherwise.
    fn meet(&mut self, at: MonoNs) {
        self.middle = true;
        for side in Side::BOTH {
            self.ends.of_mut(side).established = Established::Sure(at);
        }
    }

    fn unmeet(&mut self) {
        self.middle = false;
        for side in Side::BOTH {
            self.ends.of_mut(side).established = Established::No;
        }
    }

    /// What it is worth as it is now.
    fn classify(&mut self) {
        let sure = |side| matches!(self.ends.of(side).established, Established::Sure(_));
        let open = if self.middle { self.plausible } else { sure(Side::Low) && sure(Side::High) };
        self.class = match (self.over.is_some(), open) {
            (true, _) => Class::Over,
            (false, true) => Class::Open,
            (false, false) => Class::Tentative,
        };
    }

    /// It is over, and nothing is left to tell of it.
    fn is_told(&self) -> bool {
        let local = self.local.unwrap_or(Sides::NONE);
        let told = |side| !local.has(side) || *self.told.of(side) == Told::Over;
        self.over.is_some() && Side::BOTH.into_iter().all(told)
    }

    /// At the end of the capture: it may be over or not, and the capture does not show it.
    fn ended_in_doubt(&self) -> Option<MonoNs> {
        if self.over.is_some() {
            return None;
        }
        let closing = Side::BOTH.into_iter().any(|side| self.ends.of(side).fin.is_some());
        let in_doubt = closing && self.first_to_close().is_none();
        in_doubt.then_some(self.last).or(self.doubtful_reset)
    }
}

// With the most connections that are followed by default: 200 MB.
const _: () = assert!(size_of::<Conversation>() <= 768);
