//! CPU time of the whole machine.

use std::time::Duration;

/// Time all CPUs have spent on anything but idling since boot (`/proc/stat`, which counts in ticks
/// of 10 ms).
pub(crate) fn busy() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").expect("/proc/stat");
    let line = stat.lines().next().expect("a line");
    let ticks: Vec<u64> =
        line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; the guests' are part of user's.
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum();
    Duration::from_millis(busy * 10)
}
