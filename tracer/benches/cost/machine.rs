//! Where and how it was measured.

use std::fs;

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// A field of `/proc/cpuinfo`, of the first CPU.
fn cpuinfo(field: &str) -> String {
    let text = read("/proc/cpuinfo");
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == field).then(|| value.trim().to_owned())
    });
    value.unwrap_or_else(|| "unknown".to_owned())
}

/// One line, in italics; `how` often something was measured.
pub(crate) fn describe(how: &str) -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let virtual_ = cpuinfo("flags").split(' ').any(|flag| flag == "hypervisor");
    let memory: u64 = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0);
    let autogroup = match read("/proc/sys/kernel/sched_autogroup_enabled").as_str() {
        "" => "not there".to_owned(),
        value => value.to_owned(),
    };
    format!(
        "_{model} (family {family}, model {number}), {cpus} CPUs{virtual_}, {memory} GiB, Linux \
         {kernel}, kernel.sched_autogroup_enabled {autogroup}; {how}; medians, in brackets least and most._",
        model = cpuinfo("model name"),
        family = cpuinfo("cpu family"),
        number = cpuinfo("model"),
        virtual_ = if virtual_ { " of a virtual machine" } else { "" },
        memory = memory.div_ceil(1 << 20),
        kernel = read("/proc/sys/kernel/osrelease"),
    )
}
