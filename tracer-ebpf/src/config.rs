//! Load-time settings and kernel layout: frozen `.rodata`, constants to the verifier.

use tracer_common::{
    hash::{KEY_WORDS, Key},
    lane::Sizes,
    offsets::Offsets,
    settings::Settings,
};

/// Set by the user side before loading.
#[unsafe(no_mangle)]
pub(crate) static SETTINGS: Settings = Settings {
    key: Key::new([0; KEY_WORDS]),
    wakeup_watermark: 0,
    filters: 0,
    netns: 0,
    hook_netns: 0,
    lanes: Sizes { spares: 0, cpus: 0, records: 0 },
};

/// Set by the user side before loading.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets = Offsets::UNKNOWN;

/// Reads a field of [`SETTINGS`].
macro_rules! setting {
    ($($field:ident).+) => {
        $crate::config::load(&$crate::config::SETTINGS.$($field).+)
    };
}

/// Reads a field of [`OFFSETS`].
macro_rules! offset {
    ($field:ident) => {
        $crate::config::load(&$crate::config::OFFSETS.$field)
    };
}

pub(crate) use {offset, setting};

/// Reads what the loader has put there, not the initial value the compiler knows.
#[inline(always)]
pub(crate) fn load<T: Copy>(value: &'static T) -> T {
    // SAFETY: a reference is valid to read.
    unsafe { core::ptr::from_ref(value).read_volatile() }
}

/// Key of the tables' hashes.
#[inline(always)]
pub(crate) fn key() -> &'static Key {
    // SAFETY: volatile, or the compiler would take the words for the zeros it knows.
    unsafe { &*core::hint::black_box(&raw const SETTINGS.key) }
}

/// How large the lanes' arrays are, field by field: read as a whole it would lie on the stack.
#[inline(always)]
pub(crate) fn lanes() -> Sizes {
    Sizes {
        spares: setting!(lanes.spares),
        cpus: setting!(lanes.cpus),
        records: setting!(lanes.records),
    }
}
