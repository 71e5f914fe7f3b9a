//! CPU time of the whole machine.

use std::time::{Duration, Instant};

/// From here on, what all CPUs do is counted.
pub(crate) struct Busy {
    began: Instant,
    idle: Duration,
}

impl Busy {
    pub(crate) fn from_now() -> Self {
        let (idle, _) = idle();
        Self { began: Instant::now(), idle }
    }

    /// Time all CPUs have spent since then on anything but idling, or were taken away for.
    ///
    /// By what is left of the time that has passed: with `CONFIG_NO_HZ` the kernel clocks how long
    /// a CPU idles (`get_cpu_idle_time_us()`), while what it is busy with is told from where the
    /// timer interrupt finds it, and a load that goes by timers itself is always or never found.
    pub(crate) fn so_far(&self) -> Duration {
        let (idle, cpus) = idle();
        (self.began.elapsed() * cpus).saturating_sub(idle - self.idle)
    }
}

/// Time all CPUs have idled or were taken away since boot (`/proc/stat`, in 10 ms), and how many
/// there are.
fn idle() -> (Duration, u32) {
    let stat = std::fs::read_to_string("/proc/stat").expect("/proc/stat");
    let all = stat.lines().next().expect("a line");
    let ticks: Vec<u64> =
        all.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal.
    let idle: u64 = [3, 4, 7].iter().filter_map(|at| ticks.get(*at)).sum();
    let cpus = stat.lines().skip(1).take_while(|line| line.starts_with("cpu")).count();
    (Duration::from_millis(idle * 10), u32::try_from(cpus).expect("few CPUs"))
}
