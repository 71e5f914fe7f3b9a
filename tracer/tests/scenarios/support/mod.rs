//! What every scenario stands on: namespaces, sockets, a peer made of raw packets, the tracer as a
//! child process, and the checks of its records.

pub(crate) mod alert;
pub(crate) mod browser;
pub(crate) mod capture;
pub(crate) mod cgroup;
pub(crate) mod child;
pub(crate) mod container;
pub(crate) mod counters;
pub(crate) mod crowd;
pub(crate) mod expect;
pub(crate) mod flood;
pub(crate) mod hostile;
pub(crate) mod isolate;
pub(crate) mod lab;
pub(crate) mod load;
pub(crate) mod netns;
#[cfg(feature = "otlp")]
pub(crate) mod otlp;
pub(crate) mod page;
pub(crate) mod patient;
pub(crate) mod raw;
pub(crate) mod scrape;
pub(crate) mod sock;
pub(crate) mod terminal;
pub(crate) mod tmux;
pub(crate) mod tracer;
pub(crate) mod wire;
pub(crate) mod withheld;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) use capture::Capture;
pub(crate) use cgroup::Cgroup;
pub(crate) use child::Child;
pub(crate) use expect::Check;
pub(crate) use isolate::{alone, documented, scenario};
pub(crate) use lab::Lab;
pub(crate) use netns::Netns;
pub(crate) use page::Shown;
pub(crate) use raw::{Raw, RawConn};
pub(crate) use serde_json::Value;
pub(crate) use tracer::{Run, Tracer};

/// Milliseconds.
pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Whether this runs in the VM that tries older kernels: emulated, so many times slower.
pub(crate) fn in_vm() -> bool {
    std::env::var_os("TRACER_TEST_VM").is_some()
}

/// A name that no other test uses at the same time.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A limit on waiting for something that should happen soon.
pub(crate) fn patience(limit: Duration) -> Duration {
    if in_vm() { limit * 20 } else { limit }
}

/// Sleeps; for times that a scenario measures.
pub(crate) fn pause(millis: u64) {
    std::thread::sleep(ms(millis));
}

/// Waits until `done` says so.
///
/// # Panics
/// If it takes longer than `limit` (stretched in the VM).
#[track_caller]
pub(crate) fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience(limit);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(ms(5));
    }
}
