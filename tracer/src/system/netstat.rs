//! The TCP counters and settings of the calling thread's network namespace, from /proc.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;

use crate::core::flood::sample::StackCounters;

/// `TCP_SYNACK_RETRIES`, what `net.ipv4.tcp_synack_retries` is unless changed.
const DEFAULT_SYNACK_RETRIES: u32 = 5;
const SECOND_NS: u64 = 1_000_000_000;
/// `TCP_RTO_MAX`.
const LONGEST_WAIT_S: u64 = 120;

/// Reads the counters.
///
/// # Errors
/// When /proc/thread-self/net can't be read.
pub fn counters() -> anyhow::Result<StackCounters> {
    let read = |name: &str| {
        let path = Path::new("/proc/thread-self/net").join(name);
        std::fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))
    };
    Ok(parse(&[&read("netstat")?, &read("snmp")?]))
}

/// Both files are pairs of lines, `Group: name …` and `Group: value …`.
fn parse(files: &[&str]) -> StackCounters {
    let mut values: HashMap<(&str, &str), u64> = HashMap::new();
    for text in files {
        let mut lines = text.lines();
        while let (Some(names), Some(numbers)) = (lines.next(), lines.next()) {
            let mut names = names.split_whitespace();
            let group = names.next().unwrap_or_default();
            for (name, number) in names.zip(numbers.split_whitespace().skip(1)) {
                // Some other counters are signed: -1 for "none" (`MaxConn`).
                if let Ok(number) = number.parse() {
                    values.insert((group, name), number);
                }
            }
        }
    }
    let of = |group, name| values.get(&(group, name)).copied().unwrap_or(0);
    let ext = |name| of("TcpExt:", name);
    StackCounters {
        syncookies_sent: ext("SyncookiesSent"),
        syncookies_recv: ext("SyncookiesRecv"),
        syncookies_failed: ext("SyncookiesFailed"),
        listen_overflows: ext("ListenOverflows"),
        listen_drops: ext("ListenDrops"),
        tcp_req_q_full_drop: ext("TCPReqQFullDrop"),
        tcp_req_q_full_do_cookies: ext("TCPReqQFullDoCookies"),
        tcp_syn_retrans: ext("TCPSynRetrans"),
        ip_reverse_path_filter: ext("IPReversePathFilter"),
        active_opens: of("Tcp:", "ActiveOpens"),
        out_rsts: of("Tcp:", "OutRsts"),
    }
}

/// `net.ipv4.tcp_syncookies` of the namespace; 0 on a kernel without them.
#[must_use]
pub fn syncookies() -> u8 {
    sysctl("tcp_syncookies").and_then(|value| u8::try_from(value).ok()).unwrap_or(0)
}

/// How long a request waits for its final ACK, nanoseconds: its SYN-ACK is sent again
/// `tcp_synack_retries` times, first after 1 s and then after twice the time before
/// (`reqsk_timer_handler()` in `net/ipv4/inet_connection_sock.c`). Sockets may have limits of their
/// own (`TCP_SYNCNT`, `TCP_DEFER_ACCEPT`), and a queue that is half full gives up earlier.
#[must_use]
pub fn request_lifetime_ns() -> u64 {
    lifetime_ns(sysctl("tcp_synack_retries").unwrap_or(DEFAULT_SYNACK_RETRIES))
}

fn lifetime_ns(retries: u32) -> u64 {
    let wait = |nth: u32| 1_u64.checked_shl(nth).unwrap_or(u64::MAX).min(LONGEST_WAIT_S);
    (0..=retries.min(255)).map(wait).sum::<u64>() * SECOND_NS
}

fn sysctl(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string(Path::new("/proc/sys/net/ipv4").join(name)).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_names() {
        let netstat = "TcpExt: SyncookiesSent SyncookiesRecv Unknown ListenDrops\n\
                       TcpExt: 7 5 99 3\n\
                       IpExt: SyncookiesSent\nIpExt: 1000\n";
        let snmp = "Ip: ActiveOpens\nIp: 1000\nTcp: MaxConn ActiveOpens OutRsts\nTcp: -1 11 4\n";
        let counters = parse(&[netstat, snmp]);
        assert_eq!((counters.syncookies_sent, counters.syncookies_recv), (7, 5));
        assert_eq!(counters.listen_drops, 3);
        assert_eq!((counters.active_opens, counters.out_rsts), (11, 4));
        assert_eq!(counters.tcp_req_q_full_drop, 0);
    }

    #[test]
    fn this_machine_has_them() {
        let counters = counters().unwrap();
        // The test process itself has connected to nothing, but the sum over a namespace's life
        // never falls.
        assert!(super::counters().unwrap().active_opens >= counters.active_opens);
        assert!(syncookies() <= 2);
    }

    #[test]
    fn a_request_lives_as_long_as_its_syn_acks_are_repeated() {
        assert_eq!(lifetime_ns(0), SECOND_NS);
        assert_eq!(lifetime_ns(1), 3 * SECOND_NS);
        assert_eq!(lifetime_ns(5), 63 * SECOND_NS);
        assert_eq!(lifetime_ns(8), (127 + 2 * 120) * SECOND_NS);
    }
}
