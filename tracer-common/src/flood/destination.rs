//! What was found out about a destination, kept for its next SYN.
//!
//! Asking the maps of listeners and of local addresses costs more than all the rest of a SYN; a
//! flood's destinations are few. A direct-mapped cache per CPU and writer: an entry is the
//! destination with its slot, good as long as the user side has changed nothing.

use super::sources::mix;
use crate::addr::Addr;
use crate::hash::Key;

/// Entries a CPU and writer has.
pub const ENTRIES: u32 = 256;

/// An entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Destination address.
    pub addr: [u64; 2],
    /// Destination port; 0 for all on which nobody listens.
    pub port: u32,
    /// Its slot.
    pub slot: u32,
    /// `Control::generation` when it was looked up.
    pub generation: u32,
    /// Not 0 once the entry is in use.
    pub used: u32,
}

/// Entry of a destination.
#[inline(always)]
#[must_use]
pub const fn index(key: &Key, addr: Addr, port: u16) -> u32 {
    let hash = mix(key, addr.0[0] ^ addr.0[1].rotate_left(7), port as u32);
    (hash >> (64 - ENTRIES.trailing_zeros())) as u32
}

impl Entry {
    /// An entry in use.
    #[inline(always)]
    #[must_use]
    pub const fn new(addr: Addr, port: u16, slot: u32, generation: u32) -> Self {
        Self { addr: addr.0, port: port as u32, slot, generation, used: 1 }
    }

    /// The slot, if the entry is this destination's and up to date.
    #[inline(always)]
    #[must_use]
    pub const fn slot_of(&self, addr: Addr, port: u16, generation: u32) -> Option<u32> {
        if self.addr[1] == addr.0[1]
            && self.addr[0] == addr.0[0]
            && self.port == port as u32
            && self.generation == generation
            && self.used != 0
        {
            Some(self.slot)
        } else {
            None
        }
    }
}

const _: () = assert!(ENTRIES.is_power_of_two() && size_of::<Entry>() == 32);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::tests::key;

    #[test]
    fn an_entry_serves_its_destination_while_nothing_changes() {
        let addr = Addr::v4(u32::from_ne_bytes([10, 0, 0, 1]));
        let entry = Entry::new(addr, 80, 7, 3);
        assert_eq!(entry.slot_of(addr, 80, 3), Some(7));
        assert_eq!(entry.slot_of(addr, 81, 3), None);
        assert_eq!(entry.slot_of(addr, 80, 4), None);
        assert_eq!(entry.slot_of(Addr([0, 0]), 80, 3), None);
        assert_eq!(Entry::default().slot_of(Addr([0, 0]), 0, 0), None);
    }

    #[test]
    fn neighbours_spread() {
        let mut used = [false; ENTRIES as usize];
        for port in 0..1024u16 {
            let addr = Addr::v4(u32::from_ne_bytes([10, 0, 0, 1]));
            used[index(&key(1), addr, port) as usize] = true;
        }
        // 256 (1 - e^-4) = 251 are expected.
        assert!(used.iter().filter(|used| **used).count() > 230);
    }
}
