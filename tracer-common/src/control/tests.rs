//! Conversations, and what of them is kept.

extern crate std;

use std::collections::HashMap;
use std::vec::Vec;

use super::tcp_flags::{ACK, FIN, PSH, RST, SYN};
use super::*;

#[derive(Default)]
struct Memory(HashMap<Flow, Awaited>);

impl Table for Memory {
    fn get(&mut self, flow: &Flow) -> Option<Awaited> {
        self.0.get(flow).copied()
    }
    fn set(&mut self, flow: &Flow, awaited: &Awaited) {
        self.0.insert(*flow, *awaited);
    }
}

/// Direction, flags, sequence and acknowledgement number, bytes of payload; whether it is kept.
type Step = (char, u8, u32, u32, u32, bool);

fn segment((from, flags, seq, ack, ..): Step) -> Segment {
    let [a, b] = [1, 2].map(|n| Addr::v4(u32::from_ne_bytes([10, 0, 0, n])));
    let (src, dst, src_port, dst_port) =
        if from == 'a' { (a, b, 40_000, 80) } else { (b, a, 80, 40_000) };
    Segment { src, dst, src_port, dst_port, seq, ack, flags }
}

#[track_caller]
fn play(steps: &[Step]) -> Memory {
    let mut table = Memory::default();
    for (at, step) in steps.iter().enumerate() {
        let segment = segment(*step);
        let kept = if is_control(segment.flags) {
            control(&segment, step.4, 2, &mut table);
            true
        } else {
            answers(&segment, step.4, 2, &mut table)
        };
        assert_eq!(kept, step.5, "step {at}: {step:?}");
    }
    table
}

#[test]
fn of_a_connection_the_handshake_and_the_close_are_kept() {
    let table = play(&[
        ('a', SYN, 100, 0, 0, true),
        ('b', SYN | ACK, 500, 101, 0, true),
        ('a', ACK, 101, 501, 0, true),
        ('a', ACK | PSH, 101, 501, 10, false),
        ('b', ACK, 501, 111, 0, false),
        ('b', ACK | PSH, 501, 111, 1000, false),
        ('a', ACK, 111, 1501, 0, false),
        ('a', FIN | ACK, 111, 1501, 0, true),
        ('b', ACK, 1501, 112, 0, true),
        ('b', ACK | PSH, 1501, 112, 7, false),
        ('a', ACK, 112, 1508, 0, false),
        ('b', FIN | ACK, 1508, 112, 0, true),
        ('a', ACK, 112, 1509, 0, true),
    ]);
    assert!(table.0.values().all(|it| it.what == awaited::ANSWERED), "{:?}", table.0);
}

#[test]
fn an_answer_is_seen_on_every_interface_that_it_passes() {
    let mut table = play(&[('b', SYN | ACK, 500, 101, 0, true), ('a', ACK, 101, 501, 0, true)]);
    let ack = segment(('a', ACK, 101, 501, 0, true));
    assert!(answers(&ack, 0, 3, &mut table) && answers(&ack, 0, 4, &mut table));
    assert!(!answers(&ack, 0, 2, &mut table), "sent again");
    // Data that follows has the same numbers.
    assert!(!answers(&ack, 10, 3, &mut table));
    let next = segment(('a', ACK, 101, 502, 0, true));
    assert!(!answers(&next, 0, 3, &mut table));
}

#[test]
fn a_close_in_three_segments_has_one_ack() {
    play(&[
        ('a', FIN | ACK | PSH, 111, 1501, 20, true),
        // Acknowledges the data and not the FIN.
        ('b', ACK, 1501, 131, 0, false),
        ('b', FIN | ACK, 1501, 132, 0, true),
        ('b', ACK, 1502, 132, 0, false),
        ('a', ACK, 132, 1502, 0, true),
        ('a', ACK, 132, 1502, 0, false),
    ]);
}

#[test]
fn an_answer_may_carry_data() {
    play(&[
        ('b', SYN | ACK, 500, 101, 0, true),
        ('a', ACK | PSH, 101, 501, 300, true),
        ('a', ACK | PSH, 401, 501, 300, false),
    ]);
}

#[test]
fn what_is_repeated_is_answered_again() {
    play(&[
        ('b', SYN | ACK, 500, 101, 0, true),
        ('a', ACK, 101, 501, 0, true),
        ('b', SYN | ACK, 500, 101, 0, true),
        ('a', ACK, 101, 501, 0, true),
        ('a', ACK, 101, 501, 0, false),
        ('a', FIN | ACK, 101, 501, 0, true),
        ('a', FIN | ACK, 101, 501, 0, true),
        ('b', ACK, 501, 102, 0, true),
        ('b', ACK, 501, 102, 0, false),
    ]);
}

#[test]
fn numbers_wrap() {
    play(&[
        ('b', SYN | ACK, u32::MAX, 101, 0, true),
        ('a', ACK, 101, u32::MAX, 0, false),
        ('a', ACK, 101, 0, 0, true),
        ('b', FIN | ACK, u32::MAX - 1, 101, 5, true),
        ('a', ACK, 101, 3, 0, false),
        ('a', ACK, 101, 4, 0, true),
    ]);
}

#[test]
fn a_close_at_once_hides_no_handshake() {
    // The FIN overtakes the ACK of the handshake where the segments were reordered.
    play(&[
        ('b', SYN | ACK, 500, 101, 0, true),
        ('b', FIN | ACK, 501, 101, 0, true),
        ('a', ACK, 101, 501, 0, true),
        ('a', ACK, 101, 502, 0, true),
    ]);
}

#[test]
fn a_challenge_is_an_answer() {
    play(&[
        // A SYN on a connection that is open.
        ('a', SYN, 9_000, 0, 0, true),
        ('b', ACK | PSH, 501, 112, 50, false),
        ('b', ACK, 501, 112, 0, true),
        ('b', ACK, 501, 112, 0, false),
        // And a RST with a number that does not fit.
        ('a', RST, 9_000, 0, 0, true),
        ('b', ACK, 501, 112, 0, true),
        ('b', ACK, 501, 112, 0, false),
    ]);
}

#[test]
fn a_new_connection_awaits_nothing_of_the_one_before() {
    play(&[
        ('a', FIN | ACK, 111, 1501, 0, true),
        ('a', SYN, 7_000, 0, 0, true),
        ('b', SYN | ACK, 90, 7_001, 0, true),
        ('a', ACK, 7_001, 91, 0, true),
        ('b', ACK, 91, 7_001, 0, false),
    ]);
    // Refused.
    play(&[('a', SYN, 100, 0, 0, true), ('b', RST | ACK, 0, 101, 0, true)]);
}

#[test]
fn lengths_are_read_from_the_headers() {
    let tcp = |options: usize| {
        let mut bytes = Vec::from([0; 12]);
        bytes.extend([(((20 + options) / 4) << 4) as u8, ACK, 0, 0, 0, 0, 0, 0]);
        bytes.resize(20 + options, 0);
        bytes
    };
    let mut v4 = Vec::from([0x45, 0, 0, 67, 0, 0, 0, 0, 64, 6, 0, 0]);
    v4.extend([0; 8]);
    v4.extend(tcp(12));
    let packet: &[u8] = &v4;
    let at = Located { ip: 0, tcp: 20, v6: false };
    assert_eq!((header_end(&packet, at), payload_len(&packet, at)), (Some(52), Some(15)));
    let mut v6 = Vec::from([0x60, 0xff, 0xff, 0xff, 1, 0, 6, 64]);
    v6.extend([0; 32]);
    v6.extend(tcp(0));
    let packet: &[u8] = &v6;
    let at = Located { ip: 0, tcp: 40, v6: true };
    assert_eq!((header_end(&packet, at), payload_len(&packet, at)), (Some(60), Some(236)));
    // Shorter than its own header.
    assert_eq!(payload_len(&packet, Located { ip: 0, tcp: 300, v6: true }), None);
}
