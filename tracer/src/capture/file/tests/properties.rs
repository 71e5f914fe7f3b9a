//! Whatever the bytes: no panic, an end, and nothing that came before the damage is lost.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A capture with 30 segments, and where each ends in it.
fn capture(kind: usize) -> (Vec<u8>, Vec<usize>) {
    let order = Order { big: kind & 1 != 0 };
    let frame = |seq: u32| Tcp { payload: seq as usize * 7 % 50, ..nth(seq) }.frame();
    let mut ends = Vec::new();
    let mut bytes;
    if kind & 2 == 0 {
        bytes = samples::pcap(order, 0xa1b2_c3d4, 65_535, 1);
        for seq in 0..30 {
            bytes.extend(record(order, (seq, 1), &frame(seq), usize::MAX));
            ends.push(bytes.len());
        }
    } else {
        bytes = section(order);
        bytes.extend(interface(order, 1, 65_535, &[(2, b"eth0"), (9, &[6])]));
        for seq in 0..30 {
            bytes.extend(packet(
                order,
                0,
                seq.into(),
                &frame(seq),
                &[(1, b"who"), (2, &order.u32(1))],
            ));
            ends.push(bytes.len());
        }
    }
    (bytes, ends)
}

/// An end is reached, and every frame has been counted once.
fn ends(bytes: &[u8]) -> Vec<Captured> {
    let (segments, counts, _) = all(bytes);
    let Counts { frames, tcp, not_tcp, unparsed, other_link, untimed, dropped: _ } = counts;
    assert_eq!(frames, tcp + not_tcp + unparsed + other_link + untimed);
    assert_eq!(tcp, segments.len() as u64);
    segments
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes(magic in 0..6_usize, mut bytes in vec(any::<u8>(), 0..3000)) {
        let begin = match magic {
            0 => Vec::new(),
            1 => samples::pcap(LITTLE, 0xa1b2_c3d4, 0, 1),
            2 => samples::pcap(BIG, 0xa1b2_3c4d, 0, 113),
            3 => section(LITTLE),
            4 => [section(BIG), interface(BIG, 276, 0, &[])].concat(),
            _ => vec![0x28, 0xb5, 0x2f, 0xfd],
        };
        bytes.splice(0..0, begin);
        ends(&bytes);
        let mut packed = gzip(&bytes);
        ends(&packed);
        let middle = packed.len() / 2;
        packed[middle] ^= 0x10;
        ends(&packed);
    }

    #[test]
    fn damaged_captures(
        kind in 0..4_usize,
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let (mut bytes, positions) = capture(kind);
        let whole = seqs(&all(&bytes).0);
        prop_assert_eq!(whole.len(), 30);
        let mut first = bytes.len();
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
            first = first.min(at);
        }
        let cut = cut.index(bytes.len() * 3);
        if cut < bytes.len() {
            bytes.truncate(cut);
            first = first.min(cut);
        }
        let segments = ends(&bytes);
        let intact = positions.iter().filter(|end| **end <= first).count();
        prop_assert!(segments.len() >= intact);
        prop_assert_eq!(&seqs(&segments)[..intact], &whole[..intact]);
    }

    #[test]
    fn lengths_of_every_size(
        kind in 0..4_usize,
        word in any::<proptest::sample::Index>(),
        value in prop_oneof![
            Just(0), Just(u32::MAX), Just(0xffff_fff0), Just(0x7fff_ffff), any::<u32>(), 0..200_u32,
        ],
    ) {
        let (mut bytes, _) = capture(kind);
        let order = Order { big: kind & 1 != 0 };
        let at = word.index(bytes.len() / 4 - 1) * 4;
        bytes[at..at + 4].copy_from_slice(&order.u32(value));
        ends(&bytes);
    }
}
