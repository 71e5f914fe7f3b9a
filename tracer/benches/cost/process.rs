//! What a process has used, as the kernel tells (proc(5)).

use std::time::Duration;

/// CPU time of a process and its threads, in ticks of 10 ms.
pub(crate) fn cpu(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in brackets may hold anything.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// Memory in use.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// Resident set, MiB.
    pub(crate) rss: f64,
    /// Of it what is neither a file nor shared (the ring is), MiB.
    pub(crate) anonymous: f64,
    /// The largest it has been, MiB.
    pub(crate) peak: f64,
}

pub(crate) fn memory(pid: u32) -> Memory {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = value.and_then(|value| value.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) / 1024.0
    };
    Memory { rss: field("VmRSS:"), anonymous: field("RssAnon:"), peak: field("VmHWM:") }
}

/// BPF programs that a process holds, by id.
pub(crate) fn programs(pid: u32) -> Vec<u32> {
    let mut ids: Vec<u32> = fdinfo(pid).iter().filter_map(|text| field(text, "prog_id:")).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Whether a process has attached a BPF program.
pub(crate) fn has_attached(pid: u32) -> bool {
    fdinfo(pid).iter().any(|text| text.contains("link_id:"))
}

fn field(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn fdinfo(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fdinfo"));
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    paths.filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}
