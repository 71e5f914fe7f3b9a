//! Load-time settings and kernel layout: frozen `.rodata`, constants to the verifier.

use tracer_common::{offsets::Offsets, settings::Settings};

/// Set by the user side before loading.
#[unsafe(no_mangle)]
pub(crate) static SETTINGS: Settings = Settings {
    secret0: 0,
    secret1: 0,
    wakeup_watermark: 0,
    filters: 0,
    netns: 0,
    hook_netns: 0,
    cpus: 0,
};

/// Set by the user side before loading.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets = Offsets::UNKNOWN;

/// Reads a field of [`SETTINGS`].
macro_rules! setting {
    ($field:ident) => {
        $crate::config::load(&$crate::config::SETTINGS.$field)
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
