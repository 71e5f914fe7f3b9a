//! tracer's own use of the machine, under the names that every exporter has for it.

use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

/// `None`: not known.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Process {
    /// CPU time, user and system, seconds.
    pub(super) cpu: Option<f64>,
    /// Resident memory, bytes.
    pub(super) resident: Option<u64>,
    /// Start, seconds since 1970.
    pub(super) started: Option<f64>,
}

impl Process {
    /// As it is now. Reads two small files of /proc.
    pub(super) fn now(started: Option<f64>) -> Self {
        Self { cpu: cpu(), resident: resident(), started }
    }
}

fn cpu() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Some(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// The second number of /proc/self/statm, in pages (proc(5)).
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
    Some(pages * page)
}

/// When the process was started, seconds since 1970: the 22nd field of /proc/self/stat, in clock
/// ticks since boot (proc(5)).
pub(super) fn started() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program may hold spaces and parentheses.
    let fields = text.rsplit_once(") ")?.1;
    let ticks: f64 = fields.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    let per_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    let seconds = |clock| {
        clock_gettime(clock).ok().map(|time| time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
    };
    let booted = seconds(ClockId::CLOCK_REALTIME)? - seconds(ClockId::CLOCK_BOOTTIME)?;
    Some(booted + ticks / per_second as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_started_a_while_ago_and_uses_memory() {
        let now = Process::now(started());
        let clock = clock_gettime(ClockId::CLOCK_REALTIME).unwrap().tv_sec() as f64;
        let age = clock - now.started.unwrap();
        assert!((-2.0..3600.0).contains(&age), "{age}");
        assert!(now.resident.unwrap() > 500_000);
        assert!(now.cpu.unwrap() > 0.0);
    }
}
