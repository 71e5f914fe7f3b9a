//! What `--write` kept, as tshark reads it; and what of a capture should have been kept.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use crate::support::capture::Seen;
use crate::support::raw::{ACK, FIN, RST, SYN, Segment};

/// What of a segment is compared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Headers {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) flags: u8,
    pub(super) seq: u32,
    pub(super) ack: u32,
    /// Bytes of payload, by the headers.
    pub(super) len: u32,
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, flags, seq, ack, len } = self;
        write!(f, "\n{from} > {to} flags {flags:#04x} seq {seq} ack {ack} len {len}")
    }
}

impl Headers {
    fn of(segment: &Segment) -> Self {
        Self {
            from: segment.from,
            to: segment.to,
            flags: segment.flags,
            seq: segment.seq,
            ack: segment.ack,
            len: u32::try_from(segment.data.len()).expect("a length"),
        }
    }
}

/// A packet of the file.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) headers: Headers,
    /// Nanoseconds since the epoch.
    pub(super) at: u64,
    pub(super) interface: String,
    /// 1 in, 2 out.
    pub(super) direction: u32,
    pub(super) comment: String,
    /// Ids of its VLAN tags, outer first.
    pub(super) vlans: String,
    /// Bytes in the file, and of the whole packet.
    pub(super) bytes: (u32, u32),
}

const FIELDS: [&str; 18] = [
    "frame.time_epoch",
    "frame.interface_name",
    "frame.packet_flags_direction",
    "frame.comment",
    "vlan.id",
    "ip.src",
    "ipv6.src",
    "ip.dst",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.flags",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.len",
    "frame.cap_len",
    "frame.len",
    "ieee8021ad.id",
];

/// Reads a file by tshark, which must not complain.
#[track_caller]
pub(super) fn read(path: &Path) -> Vec<Kept> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(path).args(["-T", "fields", "-E", "separator=|"]);
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let out = command.output().expect("tshark (package tshark) is needed");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "tshark: {said}");
    assert!(!said.contains("cut short") && !said.contains("damaged"), "tshark: {said}");
    String::from_utf8_lossy(&out.stdout).lines().map(parse).collect()
}

#[track_caller]
fn parse(line: &str) -> Kept {
    let fields: Vec<&str> = line.split('|').collect();
    assert_eq!(fields.len(), FIELDS.len(), "{line}");
    let number = |at: usize| -> u32 {
        let text: &str = fields[at];
        match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => text.parse(),
        }
        .unwrap_or_else(|error| panic!("{}: {error}: {line}", FIELDS[at]))
    };
    let addr = |at: usize| -> IpAddr {
        let text = if fields[at].is_empty() { fields[at + 1] } else { fields[at] };
        text.parse().unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let port = |at: usize| u16::try_from(number(at)).expect("a port");
    let (seconds, nanos) = fields[0].split_once('.').expect("nanoseconds");
    let whole = |text: &str| text.parse::<u64>().expect("a number");
    Kept {
        headers: Headers {
            from: SocketAddr::new(addr(5), port(9)),
            to: SocketAddr::new(addr(7), port(10)),
            flags: u8::try_from(number(11) & u32::from(FIN | SYN | RST | ACK)).expect("flags"),
            seq: number(12),
            ack: number(13),
            len: number(14),
        },
        at: whole(seconds) * 1_000_000_000 + whole(nanos),
        interface: fields[1].to_owned(),
        direction: number(2),
        comment: fields[3].to_owned(),
        vlans: [fields[17], fields[4]]
            .into_iter()
            .filter(|ids| !ids.is_empty())
            .collect::<Vec<_>>()
            .join(","),
        bytes: (number(15), number(16)),
    }
}

/// What should be kept of all that tcpdump saw: control segments, and for each SYN-ACK and FIN the
/// first later segment the other way that acknowledges it.
pub(super) fn expected(seen: &[Seen], matches: impl Fn(&Segment) -> bool) -> Vec<(u64, Headers)> {
    let all: Vec<&Seen> = seen.iter().filter(|seen| matches(&seen.segment)).collect();
    let mut wanted = BTreeMap::new();
    for (at, seen) in all.iter().enumerate() {
        let segment = &seen.segment;
        if segment.flags & (SYN | FIN | RST) == 0 {
            continue;
        }
        wanted.insert(at, ());
        let asks = match segment.flags & (SYN | FIN | RST) {
            SYN if segment.flags & ACK != 0 => segment.seq.wrapping_add(1),
            FIN => {
                let len = u32::try_from(segment.data.len()).expect("a length");
                segment.seq.wrapping_add(len).wrapping_add(1)
            }
            _ => continue,
        };
        let answer = (at + 1..all.len()).find(|later| {
            let later = &all[*later].segment;
            (later.from, later.to) == (segment.to, segment.from)
                && later.flags & ACK != 0
                && later.ack.wrapping_sub(asks) < 1 << 31
        });
        if let Some(answer) = answer {
            wanted.insert(answer, ());
        }
    }
    wanted.keys().map(|at| (all[*at].at, Headers::of(&all[*at].segment))).collect()
}

/// Checks that just these are there, each once, in the order of their times, which are tcpdump's.
#[track_caller]
pub(super) fn same(kept: &[Kept], expected: &[(u64, Headers)]) {
    let sorted = |mut all: Vec<Headers>| {
        all.sort();
        all
    };
    let have = sorted(kept.iter().map(|kept| kept.headers.clone()).collect());
    let want = sorted(expected.iter().map(|(_, headers)| headers.clone()).collect());
    let missing: Vec<_> = want.iter().filter(|it| !have.contains(it)).collect();
    let added: Vec<_> = have.iter().filter(|it| !want.contains(it)).collect();
    assert!(missing.is_empty() && added.is_empty(), "missing: {missing:?}\ntoo many: {added:?}");
    assert_eq!(have, want, "not each once");
    assert!(kept.is_sorted_by_key(|kept| kept.at), "not in order");
    for kept in kept {
        let times = expected.iter().filter(|(_, it)| *it == kept.headers).map(|(at, _)| *at);
        let apart = times.map(|at| at.abs_diff(kept.at)).min().expect("compared above");
        assert!(apart < 1_000_000, "{apart} ns off: {kept:?}");
    }
}
