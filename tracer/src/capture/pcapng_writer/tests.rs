use std::io::Cursor;

use super::*;

fn file() -> (Vec<u8>, Vec<usize>) {
    let mut out = Vec::new();
    let mut ends = vec![];
    section("0.1.0", &mut out);
    ends.push(out.len());
    interface("eth0", 256, &mut out);
    ends.push(out.len());
    for (comment, direction) in
        [(Some("from curl/12 to nginx/7"), Direction::Out), (None, Direction::In)]
    {
        let frame: Vec<u8> = (0..61).collect();
        packet(
            &Packet {
                interface: 0,
                at: 0x0102_0304_0506_0708,
                frame: &frame,
                original_len: 1514,
                direction,
                comment,
            },
            &mut out,
        );
        ends.push(out.len());
    }
    (out, ends)
}

#[test]
fn blocks_are_laid_out_as_the_draft_says() {
    let (bytes, ends) = file();
    let expected: &[u8] = &[
        0x0a, 0x0d, 0x0d, 0x0a, 48, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 4, 0, 12, 0, b't', b'r', b'a', b'c', b'e', b'r', b' ', b'0',
        b'.', b'1', b'.', b'0', 0, 0, 0, 0, 48, 0, 0, 0,
    ];
    assert_eq!(&bytes[..ends[0]], expected);
    let expected: &[u8] = &[
        1, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 2, 0, 4, 0, b'e', b't', b'h', b'0', 9, 0,
        1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0,
    ];
    assert_eq!(&bytes[ends[0]..ends[1]], expected);
    let packet = &bytes[ends[1]..ends[2]];
    assert_eq!(packet[..4], [6, 0, 0, 0]);
    assert_eq!(packet[8..28], [0, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5, 61, 0, 0, 0, 0xea, 5, 0, 0]);
    assert_eq!(packet[88..92], [60, 0, 0, 0], "padded");
    assert_eq!(packet[92..104], [2, 0, 4, 0, 2, 0, 0, 0, 1, 0, 23, 0]);
    assert_eq!(&packet[104..127], b"from curl/12 to nginx/7");
    assert_eq!(packet.len() % 4, 0);
}

#[test]
fn what_was_cut_off_is_found() {
    let (bytes, ends) = file();
    for len in 0..=bytes.len() {
        let whole = whole_blocks(&mut Cursor::new(&bytes[..len])).expect("memory can be read");
        let expected = ends.iter().rfind(|end| **end <= len).copied().unwrap_or(0);
        assert_eq!(whole, expected as u64, "of {len}");
    }
}

#[test]
fn other_files_are_not_taken_for_ours() {
    let (bytes, _) = file();
    assert!(is_ours(&bytes));
    let mut other = bytes.clone();
    other[28] = b'T';
    for other in [&other[..], b"", b"#!/bin/sh\n", &bytes[..20], &[0; 64]] {
        assert!(!is_ours(other));
    }
}

#[test]
fn nothing_is_read_that_is_no_block() {
    let (mut bytes, ends) = file();
    // Lengths that lead nowhere, backwards, or beyond the end.
    for wrong in [0_u32, 4, 11, 13, 0xffff_fffc] {
        bytes[ends[1] + 4..ends[1] + 8].copy_from_slice(&wrong.to_le_bytes());
        assert_eq!(whole_blocks(&mut Cursor::new(&bytes)).expect("read"), ends[1] as u64);
    }
}
