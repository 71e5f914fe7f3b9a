//! tracefs for those hooks that need it.
//!
//! The classic tracepoints' ids are read from tracefs, which may not be mounted and which
//! `ip netns exec` hides by mounting /sys anew. tracer changes no mount of the host: it mounts
//! tracefs in a mount namespace of one thread, for as long as the look-up takes.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const TRACEFS: &str = "/sys/kernel/tracing";

/// Runs `work` where tracefs can be read.
///
/// # Errors
/// tracefs can't be mounted.
pub(super) fn with_tracefs<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R> {
    let mounted = [TRACEFS, "/sys/kernel/debug/tracing"]
        .iter()
        .any(|path| Path::new(path).join("events").exists());
    if mounted {
        return Ok(work());
    }
    std::thread::scope(|scope| {
        scope
            .spawn(|| -> Result<R> {
                let none = None::<&str>;
                unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
                mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
                    .context("cannot make the mounts private")?;
                mount(Some("tracefs"), TRACEFS, Some("tracefs"), MsFlags::empty(), none)
                    .context("cannot mount tracefs")?;
                Ok(work())
            })
            .join()
            .map_err(|_| anyhow!("the thread that reads tracefs has died"))?
    })
}
