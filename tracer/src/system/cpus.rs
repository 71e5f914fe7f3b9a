//! How many CPUs there are, and how many there may be.

/// More than the `NR_CPUS` of any distribution's kernel.
const MOST: u32 = 8192;

/// One more than the highest number of a CPU that is online now.
#[must_use]
pub fn online() -> u32 {
    of("online")
}

/// One more than the highest number of a CPU that may ever come up: the kernel has made room for it.
#[must_use]
pub fn possible() -> u32 {
    of("possible")
}

fn of(which: &str) -> u32 {
    let path = format!("/sys/devices/system/cpu/{which}");
    let list = std::fs::read_to_string(path).unwrap_or_default();
    highest(&list).map_or(1, |highest| highest.saturating_add(1)).clamp(1, MOST)
}

/// The highest number of a list such as `0-3,8`.
fn highest(list: &str) -> Option<u32> {
    list.trim().rsplit([',', '-']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_cpu_of_a_list() {
        assert_eq!(highest("0\n"), Some(0));
        assert_eq!(highest("0-1\n"), Some(1));
        assert_eq!(highest("0-3\n"), Some(3));
        assert_eq!(highest("0-3,8-11\n"), Some(11));
        assert_eq!(highest("0,2,7\n"), Some(7));
        assert_eq!(highest("0-3,8,10-11\n"), Some(11));
        assert_eq!(highest(""), None);
        assert!((1..=possible()).contains(&online()));
    }
}
