//! What is found in packets, whole and not.

use proptest::collection::vec;
use proptest::prelude::*;
use tracer_common::packet::{FastOpen, Timestamps};

use super::*;
use crate::capture::samples::{Tcp, ethernet, syn};

fn see(packet: &[u8]) -> Result<Seen, Reject> {
    look(LinkType::Ethernet, packet, packet.len() as u32, false)
}

#[test]
fn everything_that_stands_in_the_headers() {
    let tcp = Tcp {
        options: vec![
            2, 4, 0x05, 0xb4, 1, 3, 3, 7, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 4, 34, 2, 0, 0,
        ],
        payload: 11,
        ..syn()
    };
    let Seen { segment, detail, direction, ifindex } = see(&tcp.frame()).unwrap();
    assert_eq!((segment.seq, segment.src_port, segment.flags), (0x0102_0304, 40_000, 2));
    assert_eq!((detail.payload_len, detail.window, detail.ttl), (11, 64_240, 63));
    let options = detail.options;
    assert_eq!(
        (options.mss, options.window_scale, options.sack_permitted),
        (Some(1460), Some(7), true)
    );
    assert_eq!(options.timestamps, Some(Timestamps { value: 9, echo: 4 }));
    assert_eq!(options.fast_open, Some(FastOpen::Request));
    assert_eq!((direction, ifindex), (None, None));
}

#[test]
fn what_fills_an_ethernet_frame_up_is_no_payload() {
    let mut frame = Tcp { flags: 0x10, ..syn() }.frame();
    frame.resize(60, 0);
    assert_eq!(see(&frame).unwrap().detail.payload_len, 0);
}

#[test]
fn a_length_that_offloading_left_out_is_that_of_the_link() {
    let v6 =
        Tcp { src: "[fd00::1]:1".parse().unwrap(), dst: "[fd00::2]:2".parse().unwrap(), ..syn() };
    for (tcp, field) in [(syn(), 2), (v6, 4)] {
        let zeroed = |tcp: Tcp| {
            let mut ip = tcp.ip();
            ip[field..field + 2].fill(0);
            ethernet(&[], &ip)
        };
        let data = zeroed(Tcp { flags: 0x10, payload: 3000, ..tcp.clone() });
        assert_eq!(see(&data).unwrap().detail.payload_len, 3000);
        // Of a longer one less was captured.
        let overhead = data.len() as u32 - 3000;
        let long = look(LinkType::Ethernet, &data, overhead + 180_000, false).unwrap();
        assert_eq!((long.detail.payload_len, long.segment.seq), (180_000, 0x0102_0304));
        let opening = zeroed(Tcp { payload: 3000, ..tcp.clone() });
        assert_eq!(see(&opening), Err(Reject::Unparsed));
        let short = zeroed(Tcp { flags: 0x10, ..tcp });
        if field == 2 {
            assert_eq!(see(&short), Err(Reject::Unparsed));
        }
    }
}

#[test]
fn options_that_a_snap_length_cut_off_are_not_made_up() {
    let options = vec![2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];
    let frame = Tcp { options, payload: 9, ..syn() }.frame();
    let cut = |len| look(LinkType::Ethernet, &frame[..len], frame.len() as u32, false);
    // What tcpdump once captured if not told otherwise.
    let Seen { segment, detail, .. } = cut(68).unwrap();
    assert_eq!((segment.dst_port, segment.flags, detail.payload_len), (80, 2, 9));
    let options = detail.options;
    assert_eq!((options.mss, options.sack_permitted, options.cut), (Some(1460), true, true));
    assert_eq!((options.window_scale, options.timestamps), (None, None));
    assert!(cut(54).unwrap().detail.options.cut);
    assert!(!cut(74).unwrap().detail.options.cut);
    assert_eq!(cut(53), Err(Reject::Unparsed));
    // On the wire it would have been cut short, too.
    let sent = look(LinkType::Ethernet, &frame[..68], 68, false);
    assert_eq!(sent, Err(Reject::Unparsed));
}

fn options(bytes: Vec<u8>) -> Options {
    see(&Tcp { options: bytes, ..syn() }.frame()).unwrap().detail.options
}

#[test]
fn options_that_are_malformed_end_the_list() {
    let none = Options::default();
    assert_eq!(options(vec![2, 0, 5, 0xb4]), none);
    assert_eq!(options(vec![2, 1, 5, 0xb4]), none);
    assert_eq!(options(vec![2, 5, 5, 0xb4]), none);
    assert_eq!(options(vec![0, 2, 4, 5]), none);
    assert_eq!(options(vec![3, 3, 200, 0]).window_scale, Some(14));
    assert_eq!(options(vec![1, 1, 1, 2]), none);
    assert_eq!(options(vec![34, 6, 1, 2, 3, 4, 0, 0]).fast_open, Some(FastOpen::Cookie));
    assert_eq!(options(vec![254, 4, 0xf9, 0x89]).fast_open, Some(FastOpen::Request));
    assert_eq!(options(vec![34, 5, 1, 2, 3, 0, 0, 0]), none);
}

#[test]
fn the_usual_timestamps_are_read_as_any_others() {
    let expected = Some(Timestamps { value: 0x0102_0304, echo: 5 });
    let usual = vec![1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 5];
    let other = vec![8, 10, 1, 2, 3, 4, 0, 0, 0, 5, 1, 1];
    assert_eq!(options(usual).timestamps, expected);
    assert_eq!(options(other).timestamps, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_no_reason_to_panic(
        bytes in vec(any::<u8>(), 0..200),
        link in prop_oneof![Just(0), Just(1), Just(101), Just(113), Just(276), Just(108)],
        original in any::<u32>(),
        decap in any::<bool>(),
    ) {
        let _ = look(LinkType::from_number(link), &bytes, original, decap);
    }

    #[test]
    fn a_changed_packet_is_no_reason_to_panic(
        payload in 0..100_usize,
        options in vec(any::<u8>(), 0..10),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<proptest::sample::Index>(),
        original in any::<u32>(),
    ) {
        let options = options.into_iter().flat_map(|byte| [byte, 3, byte, 1]).collect();
        let mut frame = Tcp { options, payload, ..syn() }.frame();
        for (at, byte) in changes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        frame.truncate(cut.index(frame.len() * 2));
        if let Ok(seen) = look(LinkType::Ethernet, &frame, original, true) {
            prop_assert!(u64::from(seen.detail.payload_len) <= u64::from(original).max(65_535));
        }
    }
}
