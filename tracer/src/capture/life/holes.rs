//! What is missing in the sequence space of an end: few holes, in fixed memory.

use crate::core::event::MonoNs;

use super::end::Position;

const MOST: usize = 3;

#[derive(Clone, Copy, Debug)]
struct Hole {
    from: Position,
    to: Position,
    since: MonoNs,
}

impl Hole {
    const NONE: Self = Self { from: 0, to: 0, since: MonoNs(0) };

    const fn is_there(&self) -> bool {
        self.from < self.to
    }
}

/// Stretches that were not seen although what follows them was.
///
/// There is room for a few. With more of them two become one, and what lies between counts as
/// missing: then a segment sent again may pass for a late one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holes([Hole; MOST]);

impl Holes {
    pub(super) const NONE: Self = Self([Hole::NONE; MOST]);

    /// Since when something of this stretch is missing.
    pub(super) fn since(&self, from: Position, to: Position) -> Option<MonoNs> {
        self.0
            .iter()
            .find(|hole| hole.is_there() && hole.from < to && from < hole.to)
            .map(|hole| hole.since)
    }

    /// Whether anything before `position` is missing.
    pub(super) fn any_before(&self, position: Position) -> bool {
        self.any_between(Position::MIN, position)
    }

    /// Whether anything from `from` up to `to` is missing.
    pub(super) fn any_between(&self, from: Position, to: Position) -> bool {
        self.0.iter().any(|hole| hole.is_there() && hole.to > from && hole.from < to)
    }

    /// A hole behind all others. Returns whether one was given up for it that will not be filled any
    /// more: all before `acked` has been acknowledged.
    pub(super) fn add(
        &mut self,
        from: Position,
        to: Position,
        since: MonoNs,
        acked: Position,
    ) -> bool {
        let new = Hole { from, to, since };
        if let Some(touching) = self.0.iter_mut().find(|hole| hole.is_there() && hole.to == from) {
            touching.to = to;
            // What is young may only be late.
            touching.since = since;
            return false;
        }
        if let Some(free) = self.0.iter_mut().find(|hole| !hole.is_there()) {
            *free = new;
            return false;
        }
        if let Some(over) = self.0.iter_mut().find(|hole| hole.to <= acked) {
            *over = new;
            return true;
        }
        if let Some(last) = self.0.iter_mut().max_by_key(|hole| hole.to) {
            last.to = to;
        }
        false
    }

    /// This stretch is there now.
    pub(super) fn fill(&mut self, from: Position, to: Position) {
        let mut rest = Hole::NONE;
        for hole in &mut self.0 {
            if !hole.is_there() || to <= hole.from || hole.to <= from {
                continue;
            }
            let behind = Hole { from: to.max(hole.from), ..*hole };
            hole.to = from.min(hole.to);
            if !hole.is_there() {
                *hole = behind;
            } else if behind.is_there() {
                rest = behind;
            }
        }
        // Without room for it the rest is forgotten, and comes as a repetition if it comes.
        if rest.is_there()
            && let Some(free) = self.0.iter_mut().find(|hole| !hole.is_there())
        {
            *free = rest;
        }
    }
}
