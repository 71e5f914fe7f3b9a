//! Where conversations are kept: found by addresses and ports, in bounded memory.
//!
//! What comes from a capture may have been made to hurt: the keys are hashed with a seed of this
//! run, and a flood of SYNs takes the place of other half-open connections first.

use std::hash::BuildHasher as _;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use crate::core::event::MonoNs;

use super::conversation::{Class, Conversation};
use super::key::Key;

const CHUNK: usize = 256;
/// Places looked at to find the one to give up; they lie side by side, and each is a cache miss.
const LOOKED_AT: u32 = 12;

/// Names a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot(u32);

/// Names a conversation for as long as it is followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Id {
    slot: Slot,
    /// The lower half of its number.
    number: u32,
}

/// What is known of a place without looking at the conversation in it, which is large and mostly in no
/// cache any more.
#[derive(Clone, Copy)]
struct Note {
    /// The lower half of the conversation's number.
    number: u32,
    hash: u32,
    state: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// What lies there has been forgotten.
    Free,
    Taken,
    /// The conversation is over and everything has been told of it.
    Done,
}

/// The conversations.
pub(super) struct Table {
    index: HashTable<Slot>,
    hasher: RandomState,
    notes: Vec<Note>,
    /// Places never move: a table that doubles would copy hundreds of megabytes.
    chunks: Vec<Vec<Conversation>>,
    free: Vec<Slot>,
    hand: u32,
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
            index: HashTable::new(),
            hasher: RandomState::default(),
            notes: Vec::new(),
            chunks: Vec::new(),
            free: Vec::new(),
            hand: 0,
            open: 0,
            most: most.max(1),
            last: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    fn hash(&self, key: &Key) -> u32 {
        self.hasher.hash_one(key) as u32
    }

    pub(super) fn find(&mut self, key: &Key) -> Option<Slot> {
        if let Some((last, slot)) = self.last
            && last == *key
        {
            return Some(slot);
        }
        let hash = self.hash(key);
        let is = |slot: &Slot| {
            let note = self.notes.get(slot.0 as usize);
            note.is_some_and(|note| note.hash == hash)
                && self.get(*slot).is_some_and(|conversation| conversation.key == *key)
        };
        let slot = *self.index.find(spread(hash), is)?;
        self.last = Some((*key, slot));
        Some(slot)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Conversation> {
        self.notes.get(slot.0 as usize).filter(|note| note.state != Place::Free)?;
        self.place(slot)
    }

    /// Whatever lies there.
    fn place(&mut self, slot: Slot) -> Option<&mut Conversation> {
        let at = slot.0 as usize;
        self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)
    }

    fn get(&self, slot: Slot) -> Option<&Conversation> {
        let at = slot.0 as usize;
        self.notes.get(at).filter(|note| note.state != Place::Free)?;
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    /// Names the conversation in this place.
    pub(super) fn id(&self, slot: Slot) -> Id {
        let number = self.notes.get(slot.0 as usize).map_or(0, |note| note.number);
        Id { slot, number }
    }

    /// Where a conversation is, if it is still followed.
    pub(super) fn slot(&self, id: Id) -> Option<Slot> {
        let note = self.notes.get(id.slot.0 as usize)?;
        (note.state != Place::Free && note.number == id.number).then_some(id.slot)
    }

    /// Everything has been told of the conversation in this place, and nothing more will be.
    pub(super) fn done(&mut self, slot: Slot) {
        if let Some(note) = self.notes.get_mut(slot.0 as usize) {
            note.state = Place::Done;
        }
    }

    pub(super) fn is_done(&self, slot: Slot) -> bool {
        self.notes.get(slot.0 as usize).is_some_and(|note| note.state == Place::Done)
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
        let places = u32::try_from(self.notes.len()).unwrap_or(u32::MAX);
        for _ in 0..places {
            self.hand = (self.hand + 1) % places;
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
        let hash = self.hash(&key);
        let note = Note { number: conversation.number as u32, hash, state: Place::Taken };
        let slot = match self.free.pop() {
            Some(slot) => {
                if let Some(place) = self.place(slot) {
                    *place = conversation;
                }
                if let Some(noted) = self.notes.get_mut(slot.0 as usize) {
                    *noted = note;
                }
                slot
            }
            None => {
                if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
                    self.chunks.push(Vec::with_capacity(CHUNK));
                }
                if let Some(chunk) = self.chunks.last_mut() {
                    chunk.push(conversation);
                }
                self.notes.push(note);
                Slot(u32::try_from(self.notes.len() - 1).unwrap_or(u32::MAX))
            }
        };
        let notes = &self.notes;
        let hash_of = |slot: &Slot| notes.get(slot.0 as usize).map_or(0, |note| spread(note.hash));
        self.index.insert_unique(spread(hash), slot, hash_of);
        self.last = Some((key, slot));
        slot
    }

    /// Another conversation of the same addresses and ports takes the place of the one there.
    pub(super) fn replace(&mut self, slot: Slot, new: Conversation) {
        let number = new.number as u32;
        let Some(place) = self.get_mut(slot) else { return };
        let (was, is) = (place.class, new.class);
        *place = new;
        if let Some(note) = self.notes.get_mut(slot.0 as usize) {
            note.number = number;
            note.state = Place::Taken;
        }
        self.reclassified(was, is);
    }

    /// Forgets a conversation. It stays where it lies until another one comes.
    pub(super) fn remove(&mut self, slot: Slot) {
        if !self.is_done(slot) {
            // One that is done is over, so not open.
            let Some(conversation) = self.get(slot) else { return };
            self.open -= usize::from(conversation.class == Class::Open);
        }
        let Some(note) = self.notes.get_mut(slot.0 as usize) else { return };
        note.state = Place::Free;
        let hash = spread(note.hash);
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
        self.free.push(slot);
        self.last = None;
    }

    /// All of them, in no order to rely on.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Conversation> {
        let taken = self.notes.iter().map(|note| note.state != Place::Free);
        let all = self.chunks.iter_mut().flatten();
        all.zip(taken).filter_map(|(conversation, taken)| taken.then_some(conversation))
    }
}

/// The index looks at the highest and the lowest bits of a hash.
const fn spread(hash: u32) -> u64 {
    (hash as u64) << 32 | hash as u64
}
