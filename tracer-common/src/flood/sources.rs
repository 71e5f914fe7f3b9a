//! Who sends most: heavy hitters in sets of few ways.
//!
//! Each CPU has its own sets. A key (destination slot and address) belongs to one set by its keyed
//! hash. A key that holds a way is counted exactly from the moment it took it; a newcomer wears down
//! the weakest way's `strength` and takes it when that is used up, or at once where a way is empty or
//! has been silent for [`STALE_EPOCHS`].

/// Ways of a set.
pub const WAYS: usize = 4;
/// Sets a CPU has for sources, and for sources that complete.
pub const SOURCE_SETS: u32 = 512;
/// Sets a CPU has for prefixes.
pub const PREFIX_SETS: u32 = 256;
/// A way not hit for so many epochs is free to take.
pub const STALE_EPOCHS: u32 = 64;

/// One key and what was counted for it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The source, or the first address of the prefix (/24 of IPv4, /64 of IPv6).
    pub addr: [u64; 2],
    /// Destination slot.
    pub slot: u32,
    /// SYNs, repeated ones included; among the completers: connections.
    pub syns: u32,
    /// SYNs not seen before.
    pub firsts: u32,
    /// RSTs that hit one of its half-open connections.
    pub resets: u32,
    /// What newcomers wear down.
    pub strength: u32,
    /// Epoch of the last hit.
    pub epoch: u32,
    /// Grows when another key takes this way; odd while that is being done.
    pub generation: u32,
    /// SYNs that the set had lost sight of when this key took the way (`Set::evicted` then): the
    /// most by which `syns` may be too low. 0: exact.
    pub bound: u32,
}

/// Where a key is looked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Epoch of the last change.
    pub epoch: u32,
    /// SYNs of keys that were driven out while they were not stale, and of newcomers that got no
    /// way.
    pub evicted: u32,
    /// The ways.
    pub ways: [Bucket; WAYS],
}

const _: () = {
    assert!(size_of::<Bucket>() == 48);
    assert!(size_of::<Set>() == 200);
};
