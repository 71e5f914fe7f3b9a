//! Damaged captures: what came before is there, and the place is told.

use super::*;

fn offset_and_text(bytes: &[u8], before: &[u32]) -> (u64, String) {
    let (segments, _, error) = all(bytes);
    assert_eq!(seqs(&segments), before);
    let error = error.expect("an error");
    (error.offset, error.to_string())
}

#[test]
fn a_file_that_was_cut_is_read_up_to_there() {
    let first = pcap(LITTLE, 0xa1b2_c3d4, 1, &[nth(1).frame()]);
    let whole = pcap(LITTLE, 0xa1b2_c3d4, 1, &[nth(1).frame(), nth(2).frame()]);
    for len in 0..whole.len() {
        let (segments, _, error) = all(&whole[..len]);
        assert_eq!(segments.len(), usize::from(len >= first.len()), "{len}");
        match len {
            0 => assert!(matches!(error.unwrap().problem, Problem::Empty)),
            1..4 => assert!(matches!(error.unwrap().problem, Problem::NoCapture(_))),
            24 => assert!(error.is_none(), "a capture without packets"),
            _ if len == first.len() => assert!(error.is_none()),
            _ => {
                let error = error.unwrap();
                let begin = if len < 24 {
                    0
                } else if len < first.len() {
                    24
                } else {
                    first.len()
                };
                assert_eq!(error.offset, begin as u64, "{len}");
                assert!(matches!(error.problem, Problem::CutOff { .. }), "{len}: {error}");
            }
        }
    }
}

#[test]
fn a_pcapng_that_was_cut_is_read_up_to_there() {
    let head = [section(BIG), interface(BIG, 1, 0, &[])].concat();
    let one = packet(BIG, 0, 1, &nth(1).frame(), &[(2, &BIG.u32(1))]);
    let whole = [&head[..], &one, &one].concat();
    let bounds = [0, section(BIG).len(), head.len(), head.len() + one.len(), whole.len()];
    for len in 4..whole.len() {
        let (segments, _, error) = all(&whole[..len]);
        assert_eq!(segments.len(), usize::from(len >= bounds[3]), "{len}");
        if bounds.contains(&len) {
            assert!(error.is_none(), "{len}");
            continue;
        }
        let error = error.unwrap();
        let begin = bounds.iter().rev().find(|bound| **bound < len).unwrap();
        assert_eq!(error.offset, *begin as u64, "{len}: {error}");
        let Problem::CutOff { needs, has, .. } = error.problem else { panic!("{len}: {error}") };
        assert_eq!(has, (len - begin) as u64, "{len}");
        assert!(needs > has, "{len}");
    }
}

#[test]
fn impossible_lengths_are_told_with_their_place() {
    let mut bytes = pcap(LITTLE, 0xa1b2_c3d4, 1, &[nth(1).frame()]);
    let at = bytes.len() as u64;
    bytes.extend(record(LITTLE, (1, 1), &nth(2).frame(), usize::MAX));
    bytes[at as usize + 8..][..4].copy_from_slice(&LITTLE.u32(262_145));
    let (offset, text) = offset_and_text(&bytes, &[1]);
    assert_eq!(offset, at);
    assert!(text.contains("claims to have 262145 bytes"), "{text}");

    let head = [section(LITTLE), interface(LITTLE, 1, 0, &[])].concat();
    let one = packet(LITTLE, 0, 1, &nth(1).frame(), &[]);
    let at = (head.len() + one.len()) as u64;
    for (place, word, expected) in [
        (4, 11, "can't be"),
        (4, 24, "can't be"),
        (8, 1, "interface 1, of 1"),
        (20, 0xffff_ff00, "can't be"),
        (one.len() - 4, 12, "behind it"),
        (4, 0xffff_fff0, "bytes are there"),
    ] {
        let mut bytes = [&head[..], &one, &one].concat();
        bytes[at as usize + place..][..4].copy_from_slice(&LITTLE.u32(word));
        let (offset, text) = offset_and_text(&bytes, &[1]);
        assert_eq!(offset, at, "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn what_is_no_capture_is_said_to_be_none() {
    for (bytes, expected) in [
        (&b""[..], "there is nothing in it"),
        (b"GET / HTTP/1.1", "it is no pcap or pcapng capture: at byte 0 it has 47455420"),
        (b"\xfd7zXZ\0", "xz -dc FILE | tracer --read -"),
        (b"BZh91AY", "bzip2 -dc"),
        (b"\x04\x22\x4d\x18aa", "lz4 -dc"),
        (&samples::pcap(LITTLE, 0xa1b2_c3d4, 0, 105), "its link type is 105"),
        (&section(LITTLE)[..20], "it ends within a block that begins at byte 0: 20 of 28"),
    ] {
        let (.., error) = all(bytes);
        let text = error.expect("an error").to_string();
        assert!(text.contains(expected), "{text}");
    }
    let mut version = samples::pcap(LITTLE, 0xa1b2_c3d4, 0, 1);
    version[4] = 3;
    let (.., error) = all(&version);
    assert!(error.unwrap().to_string().contains("pcap 3.4"));
    let mut mark = section(LITTLE);
    mark[8] = 0;
    let (.., error) = all(&mark);
    assert!(error.unwrap().to_string().contains("byte order mark 0x1a2b3c00"));
}

#[test]
fn damage_of_the_packing_is_told_by_the_place_in_what_was_packed() {
    // What does not repeat is not packed into one piece.
    let other = |seq: u32| seq.wrapping_mul(0x9e37_79b9).rotate_left(seq % 32) ^ (seq * seq);
    let frames: Vec<_> = (0..5000).map(|seq| Tcp { ack: other(seq), ..nth(seq) }.frame()).collect();
    let plain = pcap(LITTLE, 0xa1b2_c3d4, 1, &frames);
    let zstd = zstd::encode_all(&plain[..], 3).unwrap();
    for packed in [gzip(&plain), zstd] {
        let cut = &packed[..packed.len() / 2];
        let (segments, _, error) = all(cut);
        let error = error.unwrap();
        assert!(matches!(error.problem, Problem::Io(_)), "{error}");
        assert!(segments.len() > 100, "{}", segments.len());
        assert_eq!(seqs(&segments), (0..segments.len() as u32).collect::<Vec<_>>());
        let record = 16 + frames[0].len() as u64;
        assert_eq!(error.offset, 24 + segments.len() as u64 * record, "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("cannot read on at byte {}", error.offset)), "{text}");
    }
}

#[test]
fn interfaces_are_bounded() {
    let mut bytes = section(LITTLE);
    for number in 0..10_000_u32 {
        bytes.extend(interface(LITTLE, 1, number, &[]));
    }
    let (.., error) = all(&bytes);
    assert!(matches!(error.unwrap().problem, Problem::TooManyInterfaces(4096)));
}

#[test]
fn more_devices_than_there_is_room_for_are_one() {
    let frames: Vec<_> = (0..6000_u32)
        .map(|ifindex| {
            let mut frame = vec![8, 0, 0, 0];
            frame.extend(ifindex.to_be_bytes());
            frame.extend([0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0]);
            frame.extend(syn().ip());
            frame
        })
        .collect();
    let (segments, _) = good(&pcap(LITTLE, 0xa1b2_c3d4, 276, &frames));
    assert_eq!(segments[10].interface, 11);
    assert_eq!(segments[5999].interface, 0);
}

#[test]
fn lengths_that_are_claimed_are_skipped_and_not_held() {
    /// Zeros without end, as far as they are asked for in small pieces.
    struct Zeros;
    impl Read for Zeros {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            assert!(buffer.len() <= 256 << 10, "{} bytes at once", buffer.len());
            buffer.fill(0);
            Ok(buffer.len())
        }
    }
    let head = [section(LITTLE), interface(LITTLE, 1, 0, &[])].concat();
    let claimed = 200 << 20;
    let claims = |kind, words: &[u32]| {
        let mut bytes = [&head[..], &LITTLE.u32(kind), &LITTLE.u32(claimed)].concat();
        bytes.extend(words.iter().flat_map(|word| LITTLE.u32(*word)));
        bytes
    };
    for bytes in [
        claims(0x0bad, &[]),
        claims(1, &[1, 0]),
        claims(5, &[0]),
        claims(6, &[0, 0, 1, claimed - 32, claimed]),
        claims(6, &[0, 0, 1, 60, 60]),
        claims(2, &[0, 0, 1, claimed - 32, claimed]),
        claims(3, &[claimed]),
    ] {
        let mut reader = Reader::new(Box::new(Cursor::new(bytes).chain(Zeros)), false).unwrap();
        let error = reader.next_segment().unwrap_err();
        assert!(matches!(error.problem, Problem::BlockEnds { behind: 0, .. }), "{error}");
        assert_eq!(error.offset, head.len() as u64);
        assert!(reader.offset() >= u64::from(claimed));
    }
}
