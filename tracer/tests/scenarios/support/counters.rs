//! The kernel's own counters of a namespace: /proc/net/snmp and /proc/net/netstat.

use std::collections::BTreeMap;

use super::netns::Netns;

/// A reading of both files; names as in `nstat` (`TcpActiveOpens`, `TcpExtEmbryonicRsts`).
pub(crate) struct Counters(BTreeMap<String, i64>);

impl Counters {
    /// Reads them now.
    pub(crate) fn read(ns: &Netns) -> Self {
        let text = ns.run(|| {
            ["snmp", "netstat"]
                .map(|file| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")))
                .map(|read| read.expect("the namespace's counters"))
                .concat()
        });
        let mut counters = BTreeMap::new();
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.chunks_exact(2) {
            let (names, values) = (pair[0], pair[1]);
            let Some((group, names)) = names.split_once(':') else { continue };
            let values = values.split_whitespace().skip(1);
            for (name, value) in names.split_whitespace().zip(values) {
                counters.insert(format!("{group}{name}"), value.parse().unwrap_or(0));
            }
        }
        Self(counters)
    }

    /// One of them.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> i64 {
        *self.0.get(name).unwrap_or_else(|| panic!("this kernel has no counter {name}"))
    }
}
