//! What the user side tells the kernel side at load time (frozen `.rodata`).

use crate::hash::Key;
use crate::lane;

/// Bits of [`Settings::filters`]: which filters are on. Filters of different kinds must all match.
pub mod filter {
    /// Local or remote port in the `ANY` port set.
    pub const PORT: u32 = 1 << 0;
    /// Local port in the `LOCAL` port set.
    pub const LOCAL_PORT: u32 = 1 << 1;
    /// Remote port in the `REMOTE` port set.
    pub const REMOTE_PORT: u32 = 1 << 2;
    /// Local or remote address in the prefix set.
    pub const HOST: u32 = 1 << 3;
    /// Only IPv4 addresses (IPv4-mapped ones included).
    pub const V4: u32 = 1 << 4;
    /// Only IPv6 addresses.
    pub const V6: u32 = 1 << 5;
    /// Only [`super::Settings::netns`].
    pub const NETNS: u32 = 1 << 6;
}

/// Index of a port set's first 64-bit word in the port map; a port's bit is
/// `port % 64` of word `set + port / 64`.
pub mod port_set {
    /// Words per set: 65,536 ports.
    pub const WORDS: u32 = 1024;
    /// Ports that match on either side.
    pub const ANY: u32 = 0;
    /// Ports that match on the local side.
    pub const LOCAL: u32 = WORDS;
    /// Ports that match on the remote side.
    pub const REMOTE: u32 = 2 * WORDS;
    /// Words in the map.
    pub const TOTAL: u32 = 3 * WORDS;
}

/// Load-time settings of every program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Key of the tables' hashes, drawn at start.
    pub key: Key,
    /// Bytes waiting in the ring at which the reader is woken at once.
    pub wakeup_watermark: u64,
    /// See [`filter`].
    pub filters: u32,
    /// Network namespace (inode) to trace; with [`filter::NETNS`].
    pub netns: u32,
    /// Network namespace (inode) whose devices carry the SYN hook.
    pub hook_netns: u32,
    /// How large the lanes' arrays are.
    pub lanes: lane::Sizes,
}

const _: () = assert!(size_of::<Settings>() == 160);
