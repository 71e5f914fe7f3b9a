//! Capabilities: what tracer needs, what is missing, and giving up the rest.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use caps::{CapSet, Capability, CapsHashSet};

/// Something tracer does that takes a capability.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Need {
    /// The capability.
    pub capability: Capability,
    /// Another one that does as well.
    pub or: Option<Capability>,
    /// What it is for; what is lost without it.
    pub purpose: &'static str,
    /// Nothing works without it.
    pub required: bool,
    /// It is needed after the start as well.
    pub later: bool,
}

/// Everything tracer does that takes a capability, on kernels from 5.8 on, where CAP_BPF and
/// CAP_PERFMON were split from CAP_SYS_ADMIN (`bpf_capable()`, `perfmon_capable()` in
/// `include/linux/capability.h` take either).
pub const NEEDS: &[Need] = &[
    Need {
        capability: Capability::CAP_BPF,
        or: Some(Capability::CAP_SYS_ADMIN),
        purpose: "load the kernel programs and their maps",
        required: true,
        later: true,
    },
    Need {
        capability: Capability::CAP_PERFMON,
        or: Some(Capability::CAP_SYS_ADMIN),
        purpose: "read the kernel's sockets from a tracing program",
        required: true,
        later: true,
    },
    Need {
        capability: Capability::CAP_NET_ADMIN,
        or: None,
        purpose: "hook network interfaces",
        required: true,
        later: true,
    },
    Need {
        capability: Capability::CAP_SYS_ADMIN,
        or: None,
        purpose: "list the connections already open in other network namespaces",
        required: false,
        later: true,
    },
    Need {
        capability: Capability::CAP_SYS_PTRACE,
        or: None,
        purpose: "find the processes that own connections already open",
        required: false,
        later: true,
    },
    Need {
        capability: Capability::CAP_DAC_READ_SEARCH,
        or: None,
        purpose: "read other users' entries in /proc and name cgroups by their id",
        required: false,
        later: true,
    },
];

/// What `--write` takes besides, at the start.
pub const FOR_PACKETS: Need = Need {
    capability: Capability::CAP_NET_RAW,
    or: None,
    purpose: "open a packet socket for --write",
    required: true,
    later: false,
};

/// Whether the calling thread can meet a need.
///
/// # Errors
/// When the kernel does not tell the thread's capabilities.
pub fn has(need: &Need) -> anyhow::Result<bool> {
    let has = |capability| {
        caps::has_cap(None, CapSet::Effective, capability)
            .map_err(|error| anyhow::anyhow!("can't read the process's capabilities: {error}"))
    };
    Ok(has(need.capability)? || need.or.map(has).transpose()? == Some(true))
}

/// The needs that the calling thread can't meet.
///
/// # Errors
/// When the kernel does not tell the thread's capabilities.
pub fn missing() -> anyhow::Result<Vec<Need>> {
    let effective = caps::read(None, CapSet::Effective)
        .map_err(|error| anyhow::anyhow!("can't read the process's capabilities: {error}"))?;
    Ok(unmet(&effective))
}

fn unmet(effective: &CapsHashSet) -> Vec<Need> {
    let has = |capability| effective.contains(&capability);
    NEEDS
        .iter()
        .filter(|need| !has(need.capability) && !need.or.is_some_and(has))
        .copied()
        .collect()
}

/// An error if something required is missing, saying what and what to do.
///
/// # Errors
/// When one of `missing` is required.
pub fn check_required(missing: &[Need]) -> anyhow::Result<()> {
    let mut text = String::new();
    let mut names = Vec::new();
    for need in missing.iter().filter(|need| need.required) {
        let _ = write!(text, "\n  {} to {}", need.capability, need.purpose);
        names.push(need.capability.to_string().to_lowercase());
    }
    if names.is_empty() {
        return Ok(());
    }
    bail!(
        "missing privileges:{text}\nRun tracer as root (`sudo tracer …`), or give the file what it \
         needs: `sudo setcap {}+ep $(command -v tracer)`",
        all_names()
    )
}

fn all_names() -> String {
    let names: Vec<_> =
        NEEDS.iter().map(|need| need.capability.to_string().to_lowercase()).collect();
    names.join(",")
}

/// The capabilities that are needed after the start: to hook interfaces that come up, to load and
/// attach to them, and to look again at sockets and their owners after events were lost.
#[must_use]
pub fn needed_later() -> CapsHashSet {
    NEEDS.iter().filter(|need| need.later).map(|need| need.capability).collect()
}

/// Puts tracer before the host's ordinary work in the queue for a CPU. It needs little of it, but at
/// the right time: a reader that waits behind a busy host's other processes loses events just when
/// they matter. Without CAP_SYS_NICE it stays where it is, and loss is counted as ever.
pub fn raise_priority() {
    const NICE: libc::c_int = -10;
    // SAFETY: takes plain numbers; who 0 is the calling process.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    if result != 0 {
        log::debug!("cannot raise the priority: {}", std::io::Error::last_os_error());
    }
}

/// Gives up every capability not in `keep`, in all five sets, for good: `PR_SET_NO_NEW_PRIVS` is
/// set, so that no program started later gets any back. In order: no_new_privs, bounding set,
/// ambient set, inheritable set, effective set, permitted set; then what is left is read back.
///
/// Capabilities and no_new_privs belong to a thread. This must be called while the process has one
/// thread only: before an async runtime starts workers or blocking threads, and before any thread
/// of one's own; those started later inherit what is left. It refuses otherwise.
///
/// A process of uid 0 keeps what file permissions give to root.
///
/// # Errors
/// When there are other threads, or the kernel refuses; then some may have been given up already.
pub fn drop_privileges(keep: &CapsHashSet) -> anyhow::Result<()> {
    // A thread that has been joined may still be listed for a moment: join() returns before the
    // kernel has taken it out of /proc.
    let mut threads = count_threads()?;
    for _ in 0..PATIENCE_MS {
        if threads == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
        threads = count_threads()?;
    }
    if threads != 1 {
        bail!("privileges can't be given up: the process has {threads} threads already");
    }
    drop_in_this_thread(keep)
}

/// Whether [`drop_privileges`] would do: tried on a thread that ends with the try.
///
/// # Errors
/// The kernel refuses, or no thread can be started.
pub fn try_dropping(keep: &CapsHashSet) -> anyhow::Result<()> {
    let keep = keep.clone();
    let trial = std::thread::Builder::new()
        .name("privileges".into())
        .spawn(move || drop_in_this_thread(&keep))
        .context("can't start a thread")?;
    trial.join().unwrap_or_else(|_| bail!("the thread that tried it has died"))
}

/// How long to wait for threads that are ending.
const PATIENCE_MS: u32 = 500;

fn count_threads() -> anyhow::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task").context("can't count the process's threads")?.count())
}

/// For a thread that does nothing but talk to strangers: gives up every capability it has, and the
/// priority that [`raise_priority`] gave. The process's other threads keep theirs.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_all_in_this_thread() -> anyhow::Result<()> {
    keep_in_this_thread(&CapsHashSet::new())
}

/// As [`drop_all_in_this_thread`], but for the capabilities in `keep`.
///
/// # Errors
/// When the kernel refuses.
pub fn keep_in_this_thread(keep: &CapsHashSet) -> anyhow::Result<()> {
    // SAFETY: takes plain numbers; on Linux who 0 is the calling thread (setpriority(2), notes).
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
    if result != 0 {
        log::debug!("cannot lower the priority: {}", std::io::Error::last_os_error());
    }
    drop_in_this_thread(keep)
}

fn drop_in_this_thread(keep: &CapsHashSet) -> anyhow::Result<()> {
    nix::sys::prctl::set_no_new_privs().context("can't set no_new_privs")?;
    let what =
        |error: caps::errors::CapsError| anyhow::anyhow!("can't give up privileges: {error}");
    // Only with CAP_SETPCAP. Without it nothing is lost: the bounding set limits what exec() may
    // gain, and no_new_privs lets it gain nothing.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(what)? {
        for capability in caps::read(None, CapSet::Bounding).map_err(what)?.difference(keep) {
            caps::drop(None, CapSet::Bounding, *capability).map_err(what)?;
        }
    }
    caps::clear(None, CapSet::Ambient).map_err(what)?;
    caps::clear(None, CapSet::Inheritable).map_err(what)?;
    let permitted = caps::read(None, CapSet::Permitted).map_err(what)?;
    let left: CapsHashSet = permitted.intersection(keep).copied().collect();
    // The permitted set may not be smaller than the effective one.
    caps::set(None, CapSet::Effective, &left).map_err(what)?;
    caps::set(None, CapSet::Permitted, &left).map_err(what)?;
    for set in [CapSet::Effective, CapSet::Permitted] {
        if caps::read(None, set).map_err(what)? != left {
            bail!("the kernel did not give up the privileges that it was asked to ({set:?})");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(capabilities: &[Capability]) -> CapsHashSet {
        capabilities.iter().copied().collect()
    }

    #[test]
    fn what_is_missing_and_whether_it_matters() {
        use Capability as C;
        let all = caps::all();
        let fine = [C::CAP_BPF, C::CAP_PERFMON, C::CAP_NET_ADMIN];
        let old = [C::CAP_SYS_ADMIN, C::CAP_NET_ADMIN];
        for (effective, missing, works) in [
            (all, vec![], true),
            (set(&fine), vec![C::CAP_SYS_ADMIN, C::CAP_SYS_PTRACE, C::CAP_DAC_READ_SEARCH], true),
            (set(&old), vec![C::CAP_SYS_PTRACE, C::CAP_DAC_READ_SEARCH], true),
            (
                set(&[C::CAP_SYS_ADMIN]),
                vec![C::CAP_NET_ADMIN, C::CAP_SYS_PTRACE, C::CAP_DAC_READ_SEARCH],
                false,
            ),
            (set(&[]), NEEDS.iter().map(|need| need.capability).collect(), false),
        ] {
            let unmet = unmet(&effective);
            let names: Vec<_> = unmet.iter().map(|need| need.capability).collect();
            assert_eq!(names, missing, "with {effective:?}");
            assert_eq!(check_required(&unmet).is_ok(), works, "with {effective:?}");
        }
    }

    #[test]
    fn the_error_names_what_is_missing_and_what_to_do() {
        let text = format!("{:#}", check_required(NEEDS).unwrap_err());
        for part in
            ["CAP_BPF to load", "CAP_PERFMON", "CAP_NET_ADMIN to hook", "sudo", "setcap cap_bpf,"]
        {
            assert!(text.contains(part), "{part} in: {text}");
        }
        // Not an error by itself.
        assert!(!text.contains("CAP_SYS_PTRACE to"), "{text}");
    }

    #[test]
    fn what_is_given_up_is_gone_from_every_set_of_the_thread() {
        let keep = needed_later();
        std::thread::spawn(move || {
            let before = caps::read(None, CapSet::Permitted).unwrap();
            let setpcap = before.contains(&Capability::CAP_SETPCAP);
            drop_in_this_thread(&keep).unwrap();
            for set in [CapSet::Effective, CapSet::Permitted] {
                let left = caps::read(None, set).unwrap();
                assert_eq!(left, before.intersection(&keep).copied().collect(), "{set:?}");
            }
            for set in [CapSet::Ambient, CapSet::Inheritable] {
                assert!(caps::read(None, set).unwrap().is_empty(), "{set:?}");
            }
            if setpcap {
                assert!(caps::read(None, CapSet::Bounding).unwrap().is_subset(&keep));
            }
            assert!(nix::sys::prctl::get_no_new_privs().unwrap());
            // Nothing comes back, and a second time changes nothing.
            assert!(caps::raise(None, CapSet::Effective, Capability::CAP_CHOWN).is_err());
            drop_in_this_thread(&keep).unwrap();
        })
        .join()
        .unwrap();
    }

    #[test]
    fn with_other_threads_around_it_refuses() {
        // The test harness has at least two.
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || held.recv());
        let before = caps::read(None, CapSet::Permitted).unwrap();
        let error = drop_privileges(&CapsHashSet::new()).unwrap_err();
        assert!(format!("{error:#}").contains("threads"), "{error:#}");
        assert_eq!(caps::read(None, CapSet::Permitted).unwrap(), before);
        drop(hold);
        let _ = other.join();
    }
}
