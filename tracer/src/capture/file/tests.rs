//! Captures of every form, whole and damaged.

use std::io::{self, Cursor, Read, Write as _};
use std::net::IpAddr;

use super::*;
use crate::capture::samples::{self, Order, Tcp, block, interface, packet, record, section, syn};
use crate::capture::segment::Direction;

mod damage;
mod properties;

const LITTLE: Order = Order { big: false };
const BIG: Order = Order { big: true };

fn open(bytes: &[u8]) -> Result<Reader, CaptureError> {
    Reader::new(Box::new(Cursor::new(bytes.to_vec())), false)
}

/// All there is, and what ended it.
fn all(bytes: &[u8]) -> (Vec<Captured>, Counts, Option<CaptureError>) {
    let mut reader = match open(bytes) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Counts::default(), Some(error)),
    };
    let mut segments = Vec::new();
    loop {
        match reader.next_segment() {
            Ok(Some(segment)) => segments.push(segment),
            Ok(None) => return (segments, reader.counts(), None),
            Err(error) => {
                assert!(reader.next_segment().unwrap().is_none(), "there is an end to it");
                return (segments, reader.counts(), Some(error));
            }
        }
    }
}

fn good(bytes: &[u8]) -> (Vec<Captured>, Counts) {
    let (segments, counts, error) = all(bytes);
    assert!(error.is_none(), "{}", error.unwrap());
    (segments, counts)
}

/// SYNs numbered by their sequence numbers.
fn nth(seq: u32) -> Tcp {
    Tcp { seq, ..syn() }
}

fn seqs(segments: &[Captured]) -> Vec<u32> {
    segments.iter().map(|captured| captured.segment.seq).collect()
}

fn pcap(order: Order, magic: u32, link: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = samples::pcap(order, magic, 262_144, link);
    for (packet, second) in packets.iter().zip(1_700_000_000..) {
        bytes.extend(record(order, (second, 5), packet, usize::MAX));
    }
    bytes
}

#[test]
fn pcap_in_both_byte_orders_and_units() {
    for order in [LITTLE, BIG] {
        for (magic, nanoseconds) in [(0xa1b2_c3d4, 5_000), (0xa1b2_3c4d, 5)] {
            let (segments, counts) =
                good(&pcap(order, magic, 1, &[nth(1).frame(), nth(2).frame()]));
            assert_eq!(seqs(&segments), [1, 2]);
            assert_eq!(segments[0].at, MonoNs(1_700_000_000_000_000_000 + nanoseconds));
            assert_eq!((segments[0].number, segments[1].number), (1, 2));
            assert_eq!((counts.frames, counts.tcp), (2, 2));
        }
    }
}

#[test]
fn the_variant_with_longer_records() {
    let mut bytes = samples::pcap(LITTLE, 0xa1b2_cd34, 65_535, 1);
    for seq in [7, 8] {
        let mut record = record(LITTLE, (1, 2), &nth(seq).frame(), usize::MAX);
        record.splice(16..16, [9; 8]);
        bytes.extend(record);
    }
    assert_eq!(seqs(&good(&bytes).0), [7, 8]);
}

#[test]
fn the_frame_check_sequence_in_the_link_type_is_passed_over() {
    let bytes = pcap(LITTLE, 0xa1b2_c3d4, 0x1400_0001, &[nth(3).frame()]);
    assert_eq!(seqs(&good(&bytes).0), [3]);
}

#[test]
fn what_a_snap_length_cut_off_is_payload_all_the_same() {
    let mut bytes = samples::pcap(LITTLE, 0xa1b2_c3d4, 96, 1);
    bytes.extend(record(LITTLE, (1, 0), &Tcp { payload: 1000, flags: 0x18, ..syn() }.frame(), 96));
    // The headers themselves are cut.
    bytes.extend(record(LITTLE, (1, 0), &syn().frame(), 50));
    let (segments, counts) = good(&bytes);
    assert_eq!(segments[0].payload_len, 1000);
    assert_eq!((segments.len(), counts.tcp, counts.unparsed), (1, 1, 1));
}

#[test]
fn frames_are_counted_by_what_they_are() {
    let other = samples::ethernet(&[], &samples::ip(syn().src, syn().dst, 17, &[0; 20]));
    let mut fragment = nth(1).frame();
    fragment[14 + 6] = 0x20;
    let bytes = pcap(LITTLE, 0xa1b2_c3d4, 1, &[other, fragment, vec![0; 5], nth(9).frame()]);
    let (segments, counts) = good(&bytes);
    assert_eq!(segments[0].number, 4);
    let expected = Counts { frames: 4, tcp: 1, not_tcp: 2, unparsed: 1, ..Counts::default() };
    assert_eq!(counts, expected);
}

#[test]
fn every_link_type() {
    let packet = syn().ip();
    let behind = |header: &[u8]| [header, &packet].concat();
    let cooked = |kind: u8| behind(&[0, kind, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0, 8, 0]);
    let cooked2 =
        |kind: u8| behind(&[8, 0, 0, 0, 0, 0, 0, 5, 0, 1, kind, 6, 2, 2, 2, 2, 2, 2, 0, 0]);
    for (link, frame, direction) in [
        (1, syn().frame(), None),
        (101, packet.clone(), None),
        (12, packet.clone(), None),
        (14, packet.clone(), None),
        (228, packet.clone(), None),
        (0, behind(&[2, 0, 0, 0]), None),
        (0, behind(&[0, 0, 0, 2]), None),
        (108, behind(&[0, 0, 0, 2]), None),
        (113, cooked(0), Some(Direction::In)),
        (113, cooked(4), Some(Direction::Out)),
        (113, cooked(3), None),
        (276, cooked2(0), Some(Direction::In)),
        (276, cooked2(4), Some(Direction::Out)),
        (276, cooked2(3), None),
    ] {
        let (segments, _) = good(&pcap(LITTLE, 0xa1b2_c3d4, link, &[frame]));
        assert_eq!(segments.len(), 1, "link type {link}");
        assert_eq!(segments[0].segment.dst_port, 80, "link type {link}");
        assert_eq!(segments[0].direction, direction, "link type {link}");
    }
    let v6 = Tcp {
        src: "[fd00::1]:40000".parse().unwrap(),
        dst: "[fd00::2]:80".parse().unwrap(),
        ..syn()
    };
    let mut frames = vec![(229, v6.ip()), (101, v6.ip())];
    for family in [10, 23, 24, 28, 30] {
        frames.push((0, [&[family, 0, 0, 0], &v6.ip()[..]].concat()));
        frames.push((108, [&[0, 0, 0, family], &v6.ip()[..]].concat()));
    }
    for (link, frame) in frames {
        assert_eq!(good(&pcap(LITTLE, 0xa1b2_c3d4, link, &[frame])).0.len(), 1, "link type {link}");
    }
}

#[test]
fn a_vlan_tag_behind_a_cooked_header() {
    let mut frame = vec![0, 0, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0, 0x81, 0, 0, 7, 8, 0];
    frame.extend(syn().ip());
    assert_eq!(good(&pcap(LITTLE, 0xa1b2_c3d4, 113, &[frame])).0.len(), 1);
}

#[test]
fn devices_of_a_capture_on_any_are_interfaces_of_their_own() {
    let on = |ifindex: u8| {
        let mut frame = vec![8, 0, 0, 0, 0, 0, 0, ifindex, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0];
        frame.extend(syn().ip());
        frame
    };
    let mut reader = open(&pcap(LITTLE, 0xa1b2_c3d4, 276, &[on(2), on(3), on(2)])).unwrap();
    let mut seen = Vec::new();
    while let Some(captured) = reader.next_segment().unwrap() {
        seen.push(reader.interfaces()[captured.interface as usize].ifindex);
    }
    assert_eq!(seen, [Some(2), Some(3), Some(2)]);
    assert_eq!(reader.interfaces().len(), 3);
}

#[test]
fn pcapng_with_sections_interfaces_and_units_of_their_own() {
    let mut bytes = Vec::new();
    for order in [LITTLE, BIG] {
        bytes.extend(section(order));
        // Something unknown, names, statistics.
        bytes.extend(block(order, 0x0bad, &[1; 40]));
        bytes.extend(interface(order, 1, 0, &[(2, b"eth7"), (9, &[9])]));
        bytes.extend(interface(
            order,
            101,
            65_535,
            &[
                (4, &[10, 0, 0, 2, 255, 255, 255, 0]),
                (5, &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 64]),
                (14, &order.u64(100)),
            ],
        ));
        bytes.extend(interface(order, 1, 0, &[(9, &[0x80 | 10])]));
        bytes.extend(packet(order, 0, 1_000_000_000, &nth(1).frame(), &[(2, &order.u32(1))]));
        bytes.extend(packet(
            order,
            1,
            1_000_000,
            &nth(2).ip(),
            &[(1, b"a comment"), (2, &order.u32(2))],
        ));
        bytes.extend(packet(order, 2, 3 * 1024 + 512, &nth(3).frame(), &[]));
        let mut statistics = order.u32(1).to_vec();
        statistics.extend([0; 8]);
        statistics.extend(samples::options(order, &[(5, &order.u64(7))]));
        bytes.extend(block(order, 5, &statistics));
    }
    let mut reader = open(&bytes).unwrap();
    let mut segments = Vec::new();
    while let Some(captured) = reader.next_segment().unwrap() {
        segments.push(captured);
    }
    assert_eq!(seqs(&segments), [1, 2, 3, 1, 2, 3]);
    assert_eq!(reader.counts().dropped, 14);
    // The sections describe the same interfaces.
    assert_eq!(reader.interfaces().len(), 3);
    assert_eq!(reader.interfaces()[0].name.as_deref(), Some("eth7"));
    let addresses: [IpAddr; 2] = ["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
    assert_eq!(reader.interfaces()[1].addresses, addresses);
    for three in segments.chunks(3) {
        let at = three.iter().map(|captured| captured.at.0).collect::<Vec<_>>();
        assert_eq!(at, [1_000_000_000, 101_000_000_000, 3_500_000_000]);
        let directions: Vec<_> = three.iter().map(|captured| captured.direction).collect();
        assert_eq!(directions, [Some(Direction::In), Some(Direction::Out), None]);
        let interfaces: Vec<_> = three.iter().map(|captured| captured.interface).collect();
        assert_eq!(interfaces, [0, 1, 2]);
    }
}

#[test]
fn older_packet_blocks_and_simple_ones() {
    let mut bytes = [section(LITTLE), interface(LITTLE, 1, 0, &[])].concat();
    let frame = nth(4).frame();
    let mut body = vec![0, 0, 3, 0];
    for word in [0, 1_000_000, frame.len() as u32, frame.len() as u32] {
        body.extend(LITTLE.u32(word));
    }
    body.extend(&frame);
    bytes.extend(block(LITTLE, 2, &body));
    let mut simple = LITTLE.u32(frame.len() as u32).to_vec();
    simple.extend(&frame);
    bytes.extend(block(LITTLE, 3, &simple));
    let (segments, counts) = good(&bytes);
    assert_eq!((segments.len(), segments[0].at.0, segments[0].number), (1, 1_000_000_000, 1));
    assert_eq!(counts, Counts { frames: 2, tcp: 1, untimed: 1, ..Counts::default() });
}

#[test]
fn times_that_do_not_fit_are_the_latest_or_the_first() {
    for (resolution, offset, time, expected) in [
        (0, 0, u64::MAX, i64::MAX as u64),
        (12, 0, 5_000, 5),
        (127, 0, u64::MAX, 0),
        (0xff, 0, u64::MAX, 0),
        (6, i64::MIN, 1, 0),
        (6, i64::MAX, 1, i64::MAX as u64),
        (6, -1, 3_000_000, 2_000_000_000),
    ] {
        let mut bytes = section(BIG);
        let offset = offset.to_be_bytes();
        bytes.extend(interface(BIG, 1, 0, &[(9, &[resolution]), (14, &offset)]));
        bytes.extend(packet(BIG, 0, time, &syn().frame(), &[]));
        assert_eq!(good(&bytes).0[0].at.0, expected, "{resolution}");
    }
}

#[test]
fn packets_of_link_types_that_are_not_read_are_counted() {
    let mut bytes = [section(LITTLE), interface(LITTLE, 105, 0, &[])].concat();
    bytes.extend(packet(LITTLE, 0, 1, &[0; 40], &[]));
    let (.., error) = all(&bytes);
    assert!(matches!(error.unwrap().problem, Problem::LinkType(105)));
    bytes.extend(interface(LITTLE, 1, 0, &[]));
    bytes.extend(packet(LITTLE, 1, 1, &syn().frame(), &[]));
    let (_, counts) = good(&bytes);
    assert_eq!((counts.other_link, counts.tcp), (1, 1));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn packed_captures_and_several_behind_one_another() {
    let plain = pcap(LITTLE, 0xa1b2_c3d4, 1, &[nth(1).frame(), nth(2).frame()]);
    let other = [section(BIG), interface(BIG, 101, 0, &[]), packet(BIG, 0, 1, &nth(3).ip(), &[])];
    let other = other.concat();
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    // A frame to be skipped, as parallel compressors write it.
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    for (name, file) in [
        ("plain", [&plain[..], &other, &plain, &plain].concat()),
        ("gzip", [gzip(&plain), gzip(&other), gzip(&plain), gzip(&plain)].concat()),
        (
            "cut anywhere",
            [gzip(&plain[..30]), gzip(&plain[30..]), gzip(&[&other[..], &plain, &plain].concat())]
                .concat(),
        ),
        (
            "zstd",
            [&skipped[..], &zstd(&plain), &zstd(&other), &skipped, &zstd(&plain), &zstd(&plain)]
                .concat(),
        ),
    ] {
        let (segments, counts) = good(&file);
        assert_eq!(seqs(&segments), [1, 2, 3, 1, 2, 1, 2], "{name}");
        assert_eq!(segments.last().unwrap().number, 7, "{name}");
        assert_eq!(counts.frames, 7, "{name}");
    }
}

#[test]
fn a_pipe_is_not_waited_for_longer_than_needed() {
    /// Hands out one record after the other, and would fail if asked for more.
    struct Pipe(std::collections::VecDeque<Vec<u8>>);
    impl Read for Pipe {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut piece = self.0.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
            let now = piece.len().min(buffer.len());
            buffer[..now].copy_from_slice(&piece[..now]);
            let rest = piece.split_off(now);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
            Ok(now)
        }
    }
    let pieces = [
        samples::pcap(LITTLE, 0xa1b2_c3d4, 0, 1),
        record(LITTLE, (1, 1), &nth(1).frame(), usize::MAX),
        record(LITTLE, (1, 2), &nth(2).frame(), usize::MAX),
    ];
    let mut reader = Reader::new(Box::new(Pipe(pieces.into())), false).unwrap();
    assert_eq!(reader.next_segment().unwrap().unwrap().segment.seq, 1);
    assert_eq!(reader.next_segment().unwrap().unwrap().segment.seq, 2);
    assert!(reader.next_segment().is_err());
}

#[test]
fn long_frames_and_blocks_are_passed_over() {
    let long = Tcp { payload: 60_000, flags: 0x10, ..nth(1) }.frame();
    let mut bytes = [section(LITTLE), interface(LITTLE, 1, 0, &[])].concat();
    for _ in 0..20 {
        bytes.extend(packet(LITTLE, 0, 1, &long, &[(2, &LITTLE.u32(1))]));
        bytes.extend(block(LITTLE, 10, &vec![7; 700_000]));
    }
    bytes.extend(packet(LITTLE, 0, 1, &nth(2).frame(), &[]));
    let (segments, _) = good(&bytes);
    assert_eq!(segments.len(), 21);
    assert_eq!(segments[0].direction, Some(Direction::In));
    assert_eq!(segments[20].segment.seq, 2);
}
