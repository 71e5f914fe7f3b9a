//! To whom: a listener of its own slot, a closed port, or an address that is somebody else's.

use core::hint::cold_path;

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
};
use tracer_common::{
    addr::Addr,
    flood::{
        LISTENER_ENTRIES, LOCAL_ENTRIES, ListenerKey, PORT_WORDS,
        destination::{ENTRIES, Entry, index},
        slot,
    },
};

use super::Here;
use crate::config::key;
use crate::filter::Subject;

/// Written by the user side only.
#[map]
static LISTENERS: HashMap<ListenerKey, u32> = HashMap::with_max_entries(LISTENER_ENTRIES, 0);

/// Ports of [`LISTENERS`]; written by the user side only.
#[map]
static LISTENED_PORTS: Array<u64> = Array::with_max_entries(PORT_WORDS, 0);

/// Local addresses and prefixes, IPv4 as IPv4-mapped IPv6; written by the user side only.
#[map]
static LOCALS: LpmTrie<[u64; 2], u8> = LpmTrie::with_max_entries(LOCAL_ENTRIES, 1);

/// Whose part of the cache: a packet interrupts a process.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Cache {
    State = 0,
    Rescue = 1,
    Syn = 2,
}

#[map]
static DESTINATIONS: PerCpuArray<Entry> = PerCpuArray::with_max_entries(3 * ENTRIES, 0);

/// The slot of a SYN's destination. `last`: the last SYN's; a flood goes to the same for a long time.
#[inline(always)]
pub(super) fn of_syn(here: &Here, last: &mut Entry, subject: &Subject) -> u32 {
    let (addr, port) = (subject.local_addr, subject.local_port);
    if let Some(slot) = last.slot_of(addr, port, here.generation) {
        return slot;
    }
    cold_path();
    let slot = look_up_apart(here.generation, addr.0[0], addr.0[1], port);
    *last = Entry::new(addr, port, slot, here.generation);
    slot
}

/// The slot of a SYN's destination, or of a connection's local side.
#[inline(always)]
pub(super) fn slot(here: &Here, cache: Cache, subject: &Subject) -> u32 {
    look_up(here.generation, cache, subject.local_addr, subject.local_port)
}

#[inline(never)]
fn look_up_apart(generation: u32, first: u64, second: u64, port: u16) -> u32 {
    look_up(generation, Cache::Syn, Addr([first, second]), port)
}

#[inline(always)]
fn look_up(generation: u32, cache: Cache, addr: Addr, port: u16) -> u32 {
    // All ports of an address where nobody listens are one: of a client's ports each is another.
    // Calculated: a branch would have the verifier look at all that follows once more.
    let Some(ports) = LISTENED_PORTS.get(port as u32 / 64) else { return slot::FOREIGN };
    let port = port & 0_u16.wrapping_sub((ports >> (port % 64) & 1) as u16);
    let at = cache as u32 * ENTRIES + index(key(), addr, port);
    let Some(entry) = DESTINATIONS.get_ptr_mut(at) else { return slot::FOREIGN };
    // SAFETY: this CPU's map value.
    let entry = unsafe { &mut *entry };
    if let Some(slot) = entry.slot_of(addr, port, generation) {
        return slot;
    }
    cold_path();
    let slot = find(addr, port);
    // The generation was read before the maps: if they have changed since, it has, too.
    *entry = Entry::new(addr, port, slot, generation);
    slot
}

#[inline(always)]
fn listener(addr: Addr, port: u16) -> Option<u32> {
    let key = ListenerKey { addr: addr.0, port: port as u32, reserved: 0 };
    // SAFETY: copied out at once; an entry replaced meanwhile is another's slot for one packet.
    unsafe { LISTENERS.get(key).copied() }
}

#[inline(always)]
fn find(addr: Addr, port: u16) -> u32 {
    if let Some(slot) = listener(addr, port) {
        return slot;
    }
    if LOCALS.get(Key::new(128, addr.0)).is_none() {
        return slot::FOREIGN;
    }
    let any = if addr.is_v4() { Addr::v4(0) } else { Addr([0, 0]) };
    listener(any, port).unwrap_or(slot::CLOSED)
}
