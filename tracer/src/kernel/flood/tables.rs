//! Who listens where, and which addresses are local: told to the SYN hook.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use aya::Pod;
use aya::maps::lpm_trie::{Key as LpmKey, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError};
use rustc_hash::{FxHashMap, FxHashSet};
use tracer_common::addr::Addr;
use tracer_common::flood::{LISTENER_ENTRIES, LOCAL_ENTRIES, ListenerKey, PORT_WORDS, SLOTS, slot};

use super::Controls;
use crate::core::flood::tick::Target;

/// [`ListenerKey`] for the map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct PodKey(ListenerKey);
// SAFETY: repr(C), integers only, no padding.
unsafe impl Pod for PodKey {}

/// The maps that tell the SYN hook of the listeners and addresses of the namespace whose interfaces
/// carry it. Changes take effect with [`Self::commit`].
pub struct FloodTables {
    maps: Option<Maps>,
    listeners: Listeners,
    locals: FxHashSet<(IpAddr, u8)>,
    /// What the maps hold.
    written: FxHashMap<ListenerKey, u32>,
    written_ports: Ports,
    written_locals: FxHashSet<(IpAddr, u8)>,
    generation: u32,
    /// Whether it was said that there is no room.
    full: bool,
}

pub(super) struct Maps {
    pub(super) listeners: HashMap<MapData, PodKey, u32>,
    pub(super) ports: Array<MapData, u64>,
    pub(super) locals: LpmTrie<MapData, [u64; 2], u8>,
    pub(super) control: Controls,
}

impl FloodTables {
    pub(super) fn new(maps: Maps) -> Self {
        Self { maps: Some(maps), ..Self::detached() }
    }

    /// Without a kernel side to tell.
    fn detached() -> Self {
        Self {
            maps: None,
            listeners: Listeners::default(),
            locals: FxHashSet::default(),
            written: FxHashMap::default(),
            written_ports: Ports::default(),
            written_locals: FxHashSet::default(),
            generation: 0,
            full: false,
        }
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self::detached()
    }

    /// A socket of the namespace listens. `cookie` names it; saying so again changes nothing.
    pub fn listening(&mut self, cookie: u64, local: SocketAddr, v6only: bool) {
        self.listeners.listening(cookie, local, v6only);
    }

    /// A socket listens no more. Cookies that are not known are no listeners here.
    pub fn closed(&mut self, cookie: u64) {
        self.listeners.closed(cookie);
    }

    /// All listeners there are, as (cookie, address, `IPV6_V6ONLY`): what was known and is not among
    /// them is closed.
    pub fn replace_listeners(&mut self, all: impl Iterator<Item = (u64, SocketAddr, bool)>) {
        let mut gone: FxHashSet<u64> = self.listeners.sockets.keys().copied().collect();
        for (cookie, local, v6only) in all {
            gone.remove(&cookie);
            self.listeners.listening(cookie, local, v6only);
        }
        for cookie in gone {
            self.listeners.closed(cookie);
        }
    }

    /// All local addresses and prefixes, with their prefix lengths.
    pub fn set_locals(&mut self, all: &[(IpAddr, u8)]) {
        self.locals = all.iter().copied().collect();
    }

    /// Whose slot it is. A listener's that was closed stays its for the tick in which it was.
    #[must_use]
    pub(super) fn target(&self, slot: u32) -> Target {
        match slot {
            slot::OVERFLOW => Target::Overflow,
            slot::CLOSED | slot::SYN_ACKS => Target::Closed,
            slot::FOREIGN => Target::Foreign,
            // A packet on its way while the slot was given back.
            _ => self.listeners.owner(slot).map_or(Target::Closed, Target::Listener),
        }
    }

    /// A tick has been read: slots of listeners closed before it are free.
    pub(super) fn ticked(&self) {
        self.listeners.ticks.set(self.listeners.ticks.get().wrapping_add(1));
    }

    /// Writes what has changed to the maps and makes the SYN hook forget what it has looked up.
    ///
    /// # Errors
    /// The kernel refuses; the next call tries again what was not written.
    pub fn commit(&mut self) -> Result<()> {
        let wanted = self.listeners.keys(LISTENER_ENTRIES as usize);
        let room = LOCAL_ENTRIES as usize;
        let full = wanted.1 || self.locals.len() > room;
        if full && !self.full {
            log::warn!(
                "more listeners than {LISTENER_ENTRIES} or local addresses than {LOCAL_ENTRIES}: \
                 floods of the others are not recognised"
            );
        }
        self.full = full;
        let wanted = wanted.0;
        if wanted == self.written && self.locals == self.written_locals {
            return Ok(());
        }
        let Some(maps) = &mut self.maps else {
            self.written = wanted;
            self.written_locals = self.locals.clone();
            return Ok(());
        };
        let written = (|| -> Result<()> {
            // A port is in the set as long as a listener on it is in the map.
            let mut ports = Ports::of(self.written.keys().chain(wanted.keys()));
            self.written_ports.write(&ports, maps)?;
            let gone: Vec<_> =
                self.written.keys().filter(|key| !wanted.contains_key(key)).copied().collect();
            for key in gone {
                forgiving(maps.listeners.remove(&PodKey(key)))
                    .context("cannot take a listener off the kernel side's list")?;
                self.written.remove(&key);
            }
            for (key, slot) in wanted {
                if self.written.get(&key) != Some(&slot) {
                    maps.listeners
                        .insert(PodKey(key), slot, 0)
                        .context("cannot tell the kernel side of a listener")?;
                    self.written.insert(key, slot);
                }
            }
            ports = Ports::of(self.written.keys());
            self.written_ports.write(&ports, maps)?;
            let gone: Vec<_> = self.written_locals.difference(&self.locals).copied().collect();
            for local in gone {
                forgiving(maps.locals.remove(&lpm_key(local)))
                    .context("cannot take an address off the kernel side's list")?;
                self.written_locals.remove(&local);
            }
            let new: Vec<_> = self.locals.difference(&self.written_locals).copied().collect();
            for local in new {
                if self.written_locals.len() >= room {
                    break;
                }
                maps.locals
                    .insert(&lpm_key(local), 1, 0)
                    .context("cannot tell the kernel side of a local address")?;
                self.written_locals.insert(local);
            }
            Ok(())
        })();
        // Also after a failure: part of it is there.
        self.generation = self.generation.wrapping_add(1);
        maps.control.set_generation(self.generation);
        written
    }
}

/// A set of ports, as the map has it.
#[derive(PartialEq, Eq, Debug)]
struct Ports(Box<[u64]>);

impl Default for Ports {
    fn default() -> Self {
        Self(vec![0; PORT_WORDS as usize].into())
    }
}

impl Ports {
    fn of<'a>(keys: impl Iterator<Item = &'a ListenerKey>) -> Self {
        let mut ports = Self::default();
        for ListenerKey { port, .. } in keys {
            if let Some(word) = ports.0.get_mut(*port as usize / 64) {
                *word |= 1 << (port % 64);
            }
        }
        ports
    }

    /// Makes the map, which holds `self`, hold `wanted`.
    fn write(&mut self, wanted: &Self, maps: &mut Maps) -> Result<()> {
        for (index, (written, wanted)) in self.0.iter_mut().zip(&wanted.0).enumerate() {
            if written != wanted {
                maps.ports
                    .set(index as u32, *wanted, 0)
                    .context("cannot tell the kernel side on which ports somebody listens")?;
                *written = *wanted;
            }
        }
        Ok(())
    }
}

/// What is gone already need not be removed.
fn forgiving(result: std::result::Result<(), MapError>) -> std::result::Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        result => result,
    }
}

fn lpm_key((ip, len): (IpAddr, u8)) -> LpmKey<[u64; 2]> {
    let len = match ip {
        IpAddr::V4(_) => 96 + u32::from(len.min(32)),
        IpAddr::V6(_) => u32::from(len.min(128)),
    };
    LpmKey::new(len, Addr::from(ip).0)
}

/// Listeners and their slots.
#[derive(Default)]
struct Listeners {
    sockets: FxHashMap<u64, (SocketAddr, bool)>,
    by_addr: FxHashMap<SocketAddr, Listener>,
    /// Whose each slot is or was last, with the tick in which it was closed.
    slots: Vec<Slot>,
    /// Ticks read so far. A cell, because the reader only looks at the tables.
    ticks: Cell<u32>,
}

/// All sockets on one address and port.
struct Listener {
    slot: u32,
    sockets: u32,
    /// Of them, those that take IPv4 as well.
    dual: u32,
}

struct Slot {
    owner: SocketAddr,
    /// `None`: in use.
    closed: Option<u32>,
}

impl Listeners {
    fn listening(&mut self, cookie: u64, local: SocketAddr, v6only: bool) {
        // Without a port there is nothing that a packet could be compared with.
        if local.port() == 0 || self.sockets.get(&cookie) == Some(&(local, v6only)) {
            return;
        }
        self.closed(cookie);
        self.sockets.insert(cookie, (local, v6only));
        let slot = match self.by_addr.get(&local) {
            Some(known) => known.slot,
            None => self.take_slot(local),
        };
        let listener = self.by_addr.entry(local).or_insert(Listener { slot, sockets: 0, dual: 0 });
        listener.sockets += 1;
        listener.dual += u32::from(is_dual(local, v6only));
    }

    fn closed(&mut self, cookie: u64) {
        let Some((local, v6only)) = self.sockets.remove(&cookie) else { return };
        let Some(listener) = self.by_addr.get_mut(&local) else { return };
        listener.sockets -= 1;
        listener.dual -= u32::from(is_dual(local, v6only));
        if listener.sockets == 0 {
            let slot = listener.slot;
            self.by_addr.remove(&local);
            let now = self.ticks.get();
            if let Some(slot) = self.slot_mut(slot) {
                slot.closed = Some(now);
            }
        }
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        let index = slot.checked_sub(slot::FIRST_LISTENER)?;
        self.slots.get_mut(index as usize)
    }

    /// Whose slot it is, or was until the tick before.
    fn owner(&self, slot: u32) -> Option<SocketAddr> {
        let index = slot.checked_sub(slot::FIRST_LISTENER)?;
        let slot = self.slots.get(index as usize)?;
        let ticks = self.ticks.get();
        slot.closed.is_none_or(|closed| ticks.wrapping_sub(closed) <= LINGER).then_some(slot.owner)
    }

    /// The slot this address had last, else one never used, else the one closed longest ago; the
    /// overflow slot if there is none.
    fn take_slot(&mut self, owner: SocketAddr) -> u32 {
        let ticks = self.ticks.get();
        let its_own =
            self.slots.iter().position(|slot| slot.closed.is_some() && slot.owner == owner);
        let unused = (self.slots.len() < (SLOTS - slot::FIRST_LISTENER) as usize)
            .then_some(self.slots.len());
        let oldest = || {
            let free = self.slots.iter().enumerate().filter_map(|(index, slot)| {
                let age = ticks.wrapping_sub(slot.closed?);
                (age > LINGER).then_some((age, index))
            });
            free.max_by_key(|(age, _)| *age).map(|(_, index)| index)
        };
        let Some(index) = its_own.or(unused).or_else(oldest) else { return slot::OVERFLOW };
        let slot = Slot { owner, closed: None };
        match self.slots.get_mut(index) {
            Some(used) => *used = slot,
            None => self.slots.push(slot),
        }
        slot::FIRST_LISTENER + index as u32
    }

    /// What the map is to hold, at most so many entries, and whether that is too few. A listener on
    /// `[::]` takes IPv4 connections where no socket on `0.0.0.0` does (`inet_lookup_listener()`
    /// prefers the socket of the packet's own family, `compute_score()`).
    fn keys(&self, room: usize) -> (FxHashMap<ListenerKey, u32>, bool) {
        let mut keys = FxHashMap::default();
        let mut full = false;
        let mut add = |ip, port: u16, slot| {
            if keys.len() < room {
                keys.insert(key(ip, port), slot);
            } else {
                full = true;
            }
        };
        for (local, listener) in &self.by_addr {
            add(local.ip(), local.port(), listener.slot);
            let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), local.port());
            if listener.dual != 0 && !self.by_addr.contains_key(&any) {
                add(any.ip(), any.port(), listener.slot);
            }
        }
        (keys, full)
    }
}

/// Ticks for which a closed listener's slot stays its own: what came in before it was closed is read
/// by the next one, and a packet that was on its way then by the one after.
const LINGER: u32 = 1;

fn is_dual(local: SocketAddr, v6only: bool) -> bool {
    local.is_ipv6() && local.ip().is_unspecified() && !v6only
}

fn key(ip: IpAddr, port: u16) -> ListenerKey {
    ListenerKey { addr: Addr::from(ip).0, port: port.into(), reserved: 0 }
}

#[cfg(test)]
mod tests;
