//! One parser, two places: what the SYN hook makes of a packet in the kernel (BPF_PROG_TEST_RUN) is
//! what `--read` makes of it, for thousands of packets, whole, cut and changed.

use std::cell::RefCell;
use std::io::Cursor;

use etherparse::PacketBuilder;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use tracer::capture::file::{Counts, Reader};
use tracer::capture::segment::{Captured, Segment};
use tracer::core::event::MonoNs;
use tracer::kernel::measure::SYN_HOOK;
use tracer::kernel::{FloodReader, FloodTables, Kernel, LoadConfig};
use tracer_common::packet::{self, Link, tcp_flags};
use tracer_common::settings::Settings;

const RAW: &str = "tracer_syn_xdpl3";
const CASES: u32 = 3000;

/// The SYN hook, and what it has counted.
struct Hook {
    kernel: Kernel,
    reader: FloodReader,
    tables: FloodTables,
    runs: u32,
}

/// What it counted of a packet or some.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Counted {
    syns: u64,
    repeated: u64,
    unparsed: u64,
    syn_acks: u64,
    resets: u64,
    requests_reset: u64,
}

impl Hook {
    fn load() -> Self {
        let config = LoadConfig {
            ring_size: 1 << 20,
            settings: Settings::default(),
            ports: Vec::new(),
            hosts: Vec::new(),
            syn_hooks: Vec::new(),
            keeps_packets: false,
            log_level: 0,
        };
        let mut kernel = Kernel::load(&config).expect("the kernel side loads");
        let (reader, tables) = kernel.flood().expect("the flood arrays");
        Self { kernel, reader, tables, runs: 0 }
    }

    /// Runs packets through the hook, and counts.
    fn run(&mut self, program: &str, packets: &[&[u8]]) -> Counted {
        let (before, _) = self.kernel.totals().expect("counters");
        for packet in packets {
            self.kernel.test_run(program, packet, 1).expect("BPF_PROG_TEST_RUN");
        }
        // A CPU's last SYN is looked up when the next one comes.
        self.runs += 1;
        let settler = syn([192, 0, 2, 1], 1, [192, 0, 2, 2], 2, self.runs);
        self.kernel.test_run(SYN_HOOK, &settler, 1).expect("BPF_PROG_TEST_RUN");
        let (after, _) = self.kernel.totals().expect("counters");
        let tick = self.reader.tick(MonoNs(self.runs.into()), &self.tables).unwrap_or_default();
        let sum = |of: fn(&tracer::core::flood::tick::Counts) -> u64| {
            tick.targets.iter().map(|target| of(&target.counts)).sum()
        };
        Counted {
            syns: after.syns - before.syns - 1,
            repeated: after.syns_repeated - before.syns_repeated,
            unparsed: after.syns_unparsed - before.syns_unparsed,
            syn_acks: sum(|counts| counts.syn_acks),
            resets: sum(|counts| counts.resets),
            requests_reset: after.requests_reset - before.requests_reset,
        }
    }
}

fn syn(src: [u8; 4], src_port: u16, dst: [u8; 4], dst_port: u16, seq: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(src, dst, 64)
        .tcp(src_port, dst_port, seq, 1024)
        .syn()
        .write(&mut bytes, &[])
        .expect("a packet");
    bytes
}

/// A plain SYN with the ends and the number of another segment.
fn plain_syn(segment: &Segment, seq: u32) -> Vec<u8> {
    let (src, dst) = (segment.src.to_bytes(), segment.dst.to_bytes());
    let (from, to) = (segment.src_port, segment.dst_port);
    if segment.src.is_v4() && segment.dst.is_v4() {
        let last = |bytes: [u8; 16]| [bytes[12], bytes[13], bytes[14], bytes[15]];
        return syn(last(src), from, last(dst), to, seq);
    }
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv6(src, dst, 64)
        .tcp(from, to, seq, 1024)
        .syn()
        .write(&mut bytes, &[])
        .expect("a packet");
    bytes
}

/// What `--read` makes of a packet.
fn read(link: Link, packet: &[u8]) -> (Option<Captured>, Counts) {
    let number: u32 = if link == Link::Ethernet { 1 } else { 101 };
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0];
    file.extend(number.to_le_bytes());
    file.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    file.extend([(packet.len() as u32).to_le_bytes(); 2].concat());
    file.extend(packet);
    let mut reader = Reader::new(Box::new(Cursor::new(file)), false).expect("a capture");
    let captured = reader.next_segment().expect("a whole file");
    (captured, reader.counts())
}

#[derive(Clone, Debug)]
struct Made {
    link: Link,
    bytes: Vec<u8>,
}

fn tcp_header() -> impl Strategy<Value = Vec<u8>> {
    let flags = prop_oneof![
        4 => Just(tcp_flags::SYN),
        1 => Just(tcp_flags::SYN | 0xc0),
        2 => Just(tcp_flags::SYN | tcp_flags::ACK),
        2 => Just(tcp_flags::RST),
        1 => Just(tcp_flags::RST | tcp_flags::ACK),
        1 => Just(tcp_flags::ACK),
        1 => any::<u8>(),
    ];
    (any::<(u16, u16, u32, u32, u16)>(), flags, 0..=10_usize, 0..40_usize).prop_map(
        |((from, to, seq, ack, window), flags, words, payload)| {
            let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
            bytes.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
            bytes.extend([(5 + words as u8) << 4, flags]);
            bytes.extend(window.to_be_bytes());
            bytes.resize(20 + words * 4 + payload, 1);
            bytes
        },
    )
}

/// An IP packet around a TCP segment: with options, or with extension headers.
fn ip() -> impl Strategy<Value = Vec<u8>> {
    let v4 = (any::<[u8; 8]>(), 0..=10_usize, tcp_header()).prop_map(|(ends, words, tcp)| {
        let mut bytes = vec![0x45 + words as u8, 0];
        bytes.extend((20 + words as u16 * 4 + tcp.len() as u16).to_be_bytes());
        bytes.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
        bytes.extend(ends);
        bytes.resize(20 + words * 4, 1);
        bytes.extend(tcp);
        bytes
    });
    let kinds =
        prop_oneof![Just(0_u8), Just(43), Just(60), Just(51), Just(135), Just(44), Just(50)];
    let v6 = (any::<[[u8; 16]; 2]>(), vec((kinds, 0..4_u8), 0..4), tcp_header()).prop_map(
        |(ends, extensions, tcp)| {
            let mut next: Vec<u8> = extensions.iter().map(|(kind, _)| *kind).collect();
            next.push(6);
            let mut body = Vec::new();
            for ((kind, len), next) in extensions.iter().zip(&next[1..]) {
                let begin = body.len();
                body.extend([*next, *len]);
                let unit = if *kind == 51 { 4 } else { 8 };
                body.resize(begin + 8 + usize::from(*len) * unit, 0);
            }
            body.extend(tcp);
            let mut bytes = vec![0x60, 0, 0, 0];
            bytes.extend((body.len() as u16).to_be_bytes());
            bytes.extend([next[0], 64]);
            bytes.extend(ends.concat());
            bytes.extend(body);
            bytes
        },
    );
    prop_oneof![v4, v6]
}

fn packets() -> impl Strategy<Value = Made> {
    let tags = vec(prop_oneof![Just([0x81_u8, 0]), Just([0x88, 0xa8])], 0..=3);
    let ethernet = (ip(), prop_oneof![3 => Just(Vec::new()), 1 => tags]).prop_map(|(ip, tags)| {
        let mut bytes = vec![2; 12];
        for tag in tags {
            bytes.extend([tag, [0, 7]].concat());
        }
        bytes.extend(if ip[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
        bytes.extend(ip);
        Made { link: Link::Ethernet, bytes }
    });
    let raw = ip().prop_map(|bytes| Made { link: Link::RawIp, bytes });
    let changes = prop_oneof![
        3 => Just(Vec::new()),
        2 => vec((any::<Index>(), any::<u8>()), 1..4),
    ];
    // The headers are where it matters.
    let cut = prop_oneof![3 => Just(None), 1 => any::<Index>().prop_map(Some)];
    (prop_oneof![3 => ethernet, 1 => raw], changes, cut).prop_map(|(mut made, changes, cut)| {
        let headers = made.bytes.len().min(110);
        for (at, byte) in changes {
            made.bytes[at.index(headers)] = byte;
        }
        if let Some(cut) = cut {
            // The kernel takes no shorter ones.
            made.bytes.truncate(14.max(cut.index(made.bytes.len())));
        }
        made
    })
}

fn check(hook: &mut Hook, made: &Made, seen: &mut [u64; 6]) -> Result<(), TestCaseError> {
    let Made { link, bytes } = made;
    let program = if *link == Link::Ethernet { SYN_HOOK } else { RAW };
    let counted = hook.run(program, &[bytes]);
    let (captured, counts) = read(*link, bytes);
    let nothing = Counted::default();
    let Some(Captured { segment, .. }) = captured else {
        // What neither opens nor resets a connection the hook does not look at any further.
        let packet = &bytes[..];
        let control = packet::locate(&packet, *link).map(|at| packet::flags(&packet, at));
        let passed = matches!(control, Ok(Some(flags)) if {
            let kind = flags & (tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST);
            kind & !tcp_flags::FIN != tcp_flags::RST && kind != tcp_flags::SYN
        });
        let unparsed = if passed { 0 } else { counts.unparsed };
        seen[usize::from(counts.unparsed == 0)] += 1;
        prop_assert_eq!(counted, Counted { unparsed, ..nothing });
        return Ok(());
    };
    let flags = segment.flags;
    let kind = flags & (tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST);
    if kind == tcp_flags::SYN && flags & tcp_flags::ACK == 0 {
        prop_assert_eq!(Counted { repeated: 0, ..counted }, Counted { syns: 1, ..nothing });
        // The same SYN without anything that makes it hard to read is that SYN again; one with
        // another number is not.
        let same = hook.run(SYN_HOOK, &[&plain_syn(&segment, segment.seq)]);
        prop_assert_eq!(same, Counted { syns: 1, repeated: 1, ..nothing });
        let other = hook.run(SYN_HOOK, &[&plain_syn(&segment, !segment.seq)]);
        prop_assert_eq!(other, Counted { syns: 1, ..nothing });
        seen[2] += 1;
    } else if kind == tcp_flags::SYN {
        prop_assert_eq!(counted, Counted { syn_acks: 1, ..nothing });
        seen[3] += 1;
    } else if kind & !tcp_flags::FIN == tcp_flags::RST {
        prop_assert_eq!(counted, Counted { resets: 1, ..nothing });
        // The RST of the SYN before it.
        let before = plain_syn(&segment, segment.seq.wrapping_sub(1));
        let opened = hook.run(SYN_HOOK, &[&before]);
        prop_assert_eq!(opened.syns, 1);
        let hit = hook.run(program, &[bytes]);
        prop_assert_eq!(hit, Counted { resets: 1, requests_reset: 1, ..nothing });
        seen[4] += 1;
    } else {
        prop_assert_eq!(counted, nothing);
        seen[5] += 1;
    }
    Ok(())
}

#[test]
fn the_hook_and_the_reader_agree() {
    // What waits for the next SYN waits for one on the same CPU.
    let mut cpus = CpuSet::new();
    cpus.set(0).expect("CPU 0");
    sched_setaffinity(Pid::from_raw(0), &cpus).expect("a thread of one CPU");
    let hook = RefCell::new(Hook::load());
    let seen = RefCell::new([0; 6]);
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config)
        .run(&packets(), |made| check(&mut hook.borrow_mut(), &made, &mut seen.borrow_mut()));
    if let Err(error) = result {
        panic!("{error}");
    }
    let seen = seen.into_inner();
    println!("unparsed, no TCP, SYN, SYN-ACK, RST, others: {seen:?}");
    assert!(seen.iter().all(|count| *count >= 50), "too few of a kind: {seen:?}");
}
