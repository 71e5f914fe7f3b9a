//! The kernel's release, its clocks, and the limit on locked memory.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::OnceLock;

use anyhow::Context as _;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::time::TimeSpec;
use nix::sys::utsname::uname;
use nix::time::{ClockId, clock_gettime};

/// Major and minor version of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KernelVersion {
    /// The 6 of 6.12.
    pub major: u32,
    /// The 12 of 6.12.
    pub minor: u32,
}

impl KernelVersion {
    /// tcx, the tc hook that is attached by a BPF link.
    pub const TCX: Self = Self::new(6, 6);
    /// BPF memory is charged to the memory cgroup instead of RLIMIT_MEMLOCK.
    pub const MEMCG_ACCOUNTING: Self = Self::new(5, 11);
    /// The oldest kernel that tracer claims to work on.
    pub const OLDEST: Self = Self::new(5, 15);

    /// A version.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for KernelVersion {
    type Err = anyhow::Error;

    /// From a release such as `6.1.0-18-cloud-amd64` or `5.15.167+`.
    fn from_str(release: &str) -> anyhow::Result<Self> {
        let number = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            text.get(..end)?.parse().ok()
        };
        let parsed = release.split_once('.').and_then(|(major, rest)| {
            // Nothing but digits may come before the first dot.
            Some(Self::new(major.parse().ok()?, number(rest)?))
        });
        parsed.with_context(|| {
            format!("kernel release \"{}\" has no version", release.escape_debug())
        })
    }
}

/// The running kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// As `uname -r` says.
    pub release: String,
    /// Its version. Distributions backport: a feature that matters is probed where it can be.
    pub version: KernelVersion,
}

impl Kernel {
    /// Asks uname(2).
    ///
    /// # Errors
    /// When the release is not a version.
    pub fn running() -> anyhow::Result<Self> {
        let name = uname().context("can't ask for the kernel's release")?;
        let release = name.release().to_string_lossy().into_owned();
        let version = release.parse()?;
        Ok(Self { release, version })
    }
}

/// Bytes of a page of memory.
#[must_use]
pub fn page_size() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .map_or(4096, |size| size as u64)
}

/// What `bpf_ktime_get_ns()` says now: CLOCK_MONOTONIC of the host, which a time namespace may have
/// shifted for this process.
///
/// # Errors
/// The clock can't be read.
pub fn monotonic_ns() -> nix::Result<i64> {
    static SHIFT_NS: OnceLock<i64> = OnceLock::new();
    let shift = SHIFT_NS.get_or_init(|| {
        // Since Linux 5.6, where the kernel has such namespaces. What it shows is the children's, whose
        // namespace may be another one: `unshare --time` without a fork, where exec() does not switch.
        let link = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).ok();
        if link("time") != link("time_for_children") {
            return 0;
        }
        let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        monotonic_shift(&offsets)
    });
    Ok(nanoseconds(clock_gettime(ClockId::CLOCK_MONOTONIC)?).saturating_sub(*shift))
}

/// By how many nanoseconds `/proc/PID/timens_offsets` says that CLOCK_MONOTONIC is ahead of the host's.
fn monotonic_shift(offsets: &str) -> i64 {
    let line = offsets.lines().find_map(|line| line.strip_prefix("monotonic"));
    let mut numbers = line.unwrap_or_default().split_whitespace().map_while(|n| n.parse().ok());
    let mut next = || numbers.next().unwrap_or(0_i64);
    next().saturating_mul(1_000_000_000).saturating_add(next())
}

/// Nanoseconds since 1970 fit until 2262.
fn nanoseconds(time: TimeSpec) -> i64 {
    time.tv_sec().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec())
}

/// What turns a moment of CLOCK_MONOTONIC into wall-clock time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockOffset {
    /// Nanoseconds from CLOCK_MONOTONIC to CLOCK_REALTIME at the time of reading. NTP and people
    /// move it: read it again now and then.
    pub realtime_ns: i64,
    /// Nanoseconds by which it may be wrong.
    pub uncertainty_ns: u64,
}

impl ClockOffset {
    /// Reads the two clocks several times and keeps the reading that was least disturbed.
    ///
    /// # Errors
    /// When the clocks can't be read.
    pub fn read() -> anyhow::Result<Self> {
        const READINGS: usize = 16;
        let realtime = || clock_gettime(ClockId::CLOCK_REALTIME).map(nanoseconds);
        let mut best: Option<Self> = None;
        for _ in 0..READINGS {
            let before = monotonic_ns().context("can't read the clock")?;
            let realtime = realtime().context("can't read the clock")?;
            let after = monotonic_ns().context("can't read the clock")?;
            let span = after.saturating_sub(before);
            let reading = Self {
                realtime_ns: realtime.saturating_sub(before.saturating_add(span / 2)),
                uncertainty_ns: u64::try_from(span / 2).unwrap_or(0),
            };
            if best.is_none_or(|best| reading.uncertainty_ns < best.uncertainty_ns) {
                best = Some(reading);
            }
        }
        best.context("the clock was not read")
    }

    /// Nanoseconds since 1970 of a moment of CLOCK_MONOTONIC.
    #[must_use]
    pub fn realtime_ns(self, monotonic_ns: u64) -> i64 {
        i64::try_from(monotonic_ns).unwrap_or(i64::MAX).saturating_add(self.realtime_ns)
    }
}

/// Lifts the limit on locked memory, which kernels before 5.11 charge BPF maps to.
///
/// # Errors
/// Where it can't be lifted and the kernel charges to it: with what to do. On kernels from 5.11 on
/// nothing depends on it, and a refusal is no error.
pub fn raise_memlock(version: KernelVersion) -> anyhow::Result<()> {
    if version >= KernelVersion::MEMCG_ACCOUNTING {
        // Cheap, and helps where a distribution has turned the accounting by cgroup off.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).map_err(|errno| {
        let limit = getrlimit(Resource::RLIMIT_MEMLOCK)
            .map_or_else(|_| "unknown".to_owned(), |(soft, _)| format!("{} KiB", soft / 1024));
        anyhow::anyhow!(
            "can't raise the limit on locked memory ({limit}): {}. Kernel {version} charges BPF maps \
             to it: run with CAP_SYS_RESOURCE or `ulimit -l unlimited`",
            io::Error::from(errno)
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn releases_have_versions() {
        for (release, major, minor) in [
            ("6.18.44-fc-v595", 6, 18),
            ("6.1.0-18-cloud-amd64", 6, 1),
            ("5.15.167.4-microsoft-standard-WSL2", 5, 15),
            ("6.12", 6, 12),
            ("6.12-rc3+", 6, 12),
            ("4.18.0-553.el8_10.x86_64", 4, 18),
        ] {
            assert_eq!(release.parse::<KernelVersion>().unwrap(), KernelVersion::new(major, minor));
        }
        for bad in ["", "6", "6.", "x.6", "6.x", "v6.1", " 6.1", "99999999999.1"] {
            assert!(bad.parse::<KernelVersion>().is_err(), "{bad}");
        }
        assert!(KernelVersion::new(6, 12) > KernelVersion::TCX);
        assert!(KernelVersion::new(5, 19) < KernelVersion::TCX);
    }

    #[test]
    fn the_running_kernel_is_known() {
        let kernel = Kernel::running().unwrap();
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(kernel.release, release.trim_end());
        assert!(kernel.version > KernelVersion::new(3, 0));
    }

    #[test]
    fn the_offset_turns_monotonic_time_into_wall_clock_time() {
        let offset = ClockOffset::read().unwrap();
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let monotonic = u64::try_from(monotonic.tv_sec()).unwrap() * 1_000_000_000
            + u64::try_from(monotonic.tv_nsec()).unwrap();
        let error = offset.realtime_ns(monotonic).abs_diff(i64::try_from(wall.as_nanos()).unwrap());
        // Two clock readings apart, on a machine that may be busy.
        assert!(error < 100_000_000, "{error} ns");
        assert!(offset.uncertainty_ns < 100_000_000);
    }

    #[test]
    fn a_refused_memlock_is_no_error_where_nothing_depends_on_it() {
        raise_memlock(KernelVersion::MEMCG_ACCOUNTING).unwrap();
        raise_memlock(KernelVersion::new(6, 18)).unwrap();
    }

    #[test]
    fn a_time_namespaces_shift_is_read() {
        assert_eq!(monotonic_shift("monotonic           0         0\nboottime   0   0\n"), 0);
        assert_eq!(
            monotonic_shift("monotonic   -86400  500\nboottime  7  0\n"),
            -86_399_999_999_500
        );
        assert_eq!(monotonic_shift("boottime  7  0\n"), 0);
        assert_eq!(monotonic_shift(""), 0);
    }
}
