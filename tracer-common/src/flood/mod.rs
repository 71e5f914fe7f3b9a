//! How SYNs are counted in the kernel: the arrays that both sides know, all of fixed size whatever
//! the number of sources.
//!
//! - [`cpu`]: what a CPU's SYN hook counts in, the exact totals and the heavy hitters among it;
//! - [`counts`]: exact totals per CPU and destination, monotone; nothing is ever reset.
//! - [`cohort`]: by when their SYNs came they are counted.
//! - [`sources`]: who sends most, per source and per prefix, in sets of few ways.
//! - [`destination`]: what was found out about a destination, kept for its next SYN;
//! - [`distinct`]: how many different sources, a HyperLogLog sketch per destination, double-buffered
//!   by epoch: the user side empties the half that the kernel side is not writing.
//!
//! The user side draws the epochs ([`Control`]): it turns to the next one several times a second,
//! and if it is late nothing is lost, the epoch is longer.

pub mod cohort;
pub mod counts;
pub mod cpu;
pub mod destination;
pub mod distinct;
pub mod sources;

/// Destinations that are counted apart, the special ones of [`slot`] included.
pub const SLOTS: u32 = 256;

/// Numbers of destinations that are no listener of their own.
pub mod slot {
    /// A local address and a port where somebody listens, but there are too many listeners to have
    /// a slot each.
    pub const OVERFLOW: u32 = 0;
    /// A local address and a port where nobody listens.
    pub const CLOSED: u32 = 1;
    /// An address that is not this namespace's own: forwarded, bridged, or stray.
    pub const FOREIGN: u32 = 2;
    /// The first slot of a listener.
    pub const FIRST_LISTENER: u32 = 3;
    /// In [`super::sources`] only: the sources of SYN-ACKs to this namespace's own addresses.
    pub const SYN_ACKS: u32 = super::SLOTS;

    /// 1 for [`CLOSED`] and [`FOREIGN`], 0 for every other: without a branch.
    #[inline(always)]
    #[must_use]
    pub const fn is_stranger(slot: u32) -> u64 {
        (slot.wrapping_sub(CLOSED) as u64).wrapping_sub((FIRST_LISTENER - CLOSED) as u64) >> 63
    }
}

/// Words of the set of ports on which somebody listens, at whatever address: a port's bit is `port % 64`
/// of word `port / 64`. Most ports that packets come to are a client's, and need no look at the map of
/// listeners.
pub const PORT_WORDS: u32 = 1024;

/// Entries of the map of listeners; what is beyond counts as [`slot::CLOSED`].
pub const LISTENER_ENTRIES: u32 = 4096;
/// Entries of the map of local addresses and prefixes; what is beyond counts as [`slot::FOREIGN`].
pub const LOCAL_ENTRIES: u32 = 16384;

/// What the user side tells the kernel side while it runs, in each CPU's element.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Number of the epoch; its lowest bit chooses the half of double-buffered arrays.
    pub epoch: u32,
    /// Changes whenever listeners or local addresses do: what was looked up before is void.
    pub generation: u32,
}

/// Key of the map of listeners; its value is the slot (`u32`). The kernel side looks for the exact
/// destination first, then for the unspecified address of the packet's family
/// (`Addr::v4(0)`, `Addr([0, 0])`): precedence and dual-stack sockets are resolved by the user side.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    /// Local address.
    pub addr: [u64; 2],
    /// Local port, host order.
    pub port: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = {
    assert!(size_of::<Control>() == 8);
    assert!(size_of::<ListenerKey>() == 24);
};
