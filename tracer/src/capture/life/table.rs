//! Where conversations are kept: found by addresses and ports, in bounded memory.
//!
//! What comes from a capture may have been made to hurt: the keys are hashed with a seed of this
//! run, and a flood of SYNs takes the place of other half-open connections first.

use std::collections::HashMap;

use foldhash::quality::RandomState;

use crate::core::event::MonoNs;

use super::conversation::{Class, Conversation};
use super::key::Key;

const CHUNK: usize = 256;
/// Places looked at to find the one to give up; they lie side by side, and each is a cache miss.
const LOOKED_AT: u32 = 12;

/// Names a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot(u32);

/// The conversations.
pub(super) struct Table {
    index: HashMap<Key, Slot, RandomState>,
    /// Places never move: a table that doubles would copy hundreds of megabytes.
    chunks: Vec<Vec<Option<Conversation>>>,
    free: Vec<Slot>,
    hand: u32,
    places: u32,
    /// How many of them are [`Class::Open`].
    open: usize,
    most: usize,
    /// Packets come in trains: the last one found.
    last: Option<(Key, Slot)>,
}

/// The worth of a conversation: what is given up first, first. Of two the one that has been silent
/// for longer goes.
fn worth(conversation: &Conversation) -> (Class, MonoNs) {
    (conversation.class, conversation.last)
}

impl Table {
    pub(super) fn new(most: usize) -> Self {
        Self {
            index: HashMap::default(),
            chunks: Vec::new(),
            free: Vec::new(),
            hand: 0,
            places: 0,
            open: 0,
            most: most.max(1),
            last: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn find(&mut self, key: &Key) -> Option<Slot> {
        if let Some((last, slot)) = self.last
            && last == *key
        {
            return Some(slot);
        }
        let slot = *self.index.get(key)?;
        self.last = Some((*key, slot));
        Some(slot)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Conversation> {
        self.place(slot)?.as_mut()
    }

    fn get(&self, slot: Slot) -> Option<&Conversation> {
        let at = slot.0 as usize;
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)?.as_ref()
    }

    fn place(&mut self, slot: Slot) -> Option<&mut Option<Conversation>> {
        let at = slot.0 as usize;
        self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)
    }

    /// The conversation to give up before another one is put in; `None` while there is room.
    pub(super) fn victim(&mut self) -> Option<Slot> {
        if self.index.len() < self.most {
            return None;
        }
        // A run of open connections is passed over as long as there is enough that is worth less.
        let spare = self.index.len().saturating_sub(self.open) * 8 > self.index.len();
        let mut found: Option<(Slot, (Class, MonoNs))> = None;
        let mut looked = 0;
        for _ in 0..self.places {
            self.hand = (self.hand + 1) % self.places;
            let slot = Slot(self.hand);
            let Some(conversation) = self.get(slot) else {
                continue;
            };
            let worth = worth(conversation);
            if found.is_none_or(|(_, least)| worth < least) {
                found = Some((slot, worth));
            }
            looked += 1;
            let enough = found.is_some_and(|(_, (class, _))| !spare || class < Class::Open);
            if looked >= LOOKED_AT && enough {
                break;
            }
        }
        found.map(|(slot, _)| slot)
    }

    /// A connection has become worth more or less.
    pub(super) fn reclassified(&mut self, was: Class, is: Class) {
        self.open += usize::from(is == Class::Open);
        self.open -= usize::from(was == Class::Open);
    }

    pub(super) fn insert(&mut self, conversation: Conversation) -> Slot {
        let key = conversation.key;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
                    self.chunks.push(Vec::with_capacity(CHUNK));
                }
                if let Some(chunk) = self.chunks.last_mut() {
                    chunk.push(None);
                }
                self.places += 1;
                Slot(self.places - 1)
            }
        };
        if let Some(place) = self.place(slot) {
            *place = Some(conversation);
        }
        self.index.insert(key, slot);
        self.last = Some((key, slot));
        slot
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        let Some(place) = self.place(slot) else { return };
        // Not taken out: it is large.
        let Some(Conversation { key, class, .. }) = &*place else { return };
        let (key, class) = (*key, *class);
        *place = None;
        self.index.remove(&key);
        self.open -= usize::from(class == Class::Open);
        self.free.push(slot);
        self.last = None;
    }

    /// All of them, in no order to rely on.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Conversation> {
        self.chunks.iter_mut().flatten().flatten()
    }
}
