//! What the kernel has counted of BPF programs (`BPF_ENABLE_STATS`).

use std::collections::BTreeMap;
use std::time::Duration;

use aya::programs::loaded_programs;

use crate::process;

/// Runs of the programs of one process, by name; a name that is loaded twice is added up.
pub(crate) type Runs = BTreeMap<String, (u64, Duration)>;

/// What the programs that a process holds have run so far.
pub(crate) fn of(pid: u32) -> Runs {
    let ids = process::programs(pid);
    let mut runs = Runs::new();
    for info in loaded_programs().filter_map(Result::ok).filter(|info| ids.contains(&info.id())) {
        let name = info.name_as_str().unwrap_or_default().to_owned();
        let (count, took) = runs.entry(name).or_default();
        *count += info.run_count();
        *took += info.run_time();
    }
    runs
}

/// What came since `before`; programs that never ran are left out.
pub(crate) fn since(after: &Runs, before: &Runs) -> Runs {
    let difference = after.iter().map(|(name, (count, took))| {
        let (had, had_taken) = before.get(name).copied().unwrap_or_default();
        (name.clone(), (count.saturating_sub(had), took.saturating_sub(had_taken)))
    });
    difference.filter(|(_, (count, _))| *count > 0).collect()
}
