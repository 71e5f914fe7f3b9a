#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tracer_common::addr::Addr;
use tracer_common::packet::Segment;
use tracer_common::packet::tcp_flags::FIN;

use super::*;
use crate::core::event::Comm;

const NETNS: u32 = 7;
const S: u64 = 1_000_000_000;

fn hold() -> Hold {
    Hold::new(Shown::default(), false, NETNS)
}

/// A segment from or to the server 10.0.0.2:80; `seq` tells it from others.
fn frame(at: u64, interface: u32, direction: Direction, flags: u8, seq: u32) -> Frame {
    let [client, server] = [1, 2].map(|n| Addr::v4(u32::from_ne_bytes([10, 0, 0, n])));
    let (src, dst, src_port, dst_port) = match direction {
        Direction::In => (client, server, 40_000, 80),
        Direction::Out => (server, client, 80, 40_000),
    };
    let segment = Segment { src, dst, src_port, dst_port, seq, ack: 0, flags };
    let bytes = vec![interface as u8; 54];
    Frame { at, interface, direction, segment, payload_len: 0, bytes, original_len: 54 }
}

fn syn(at: u64) -> Frame {
    frame(at, 2, Direction::In, SYN, 1)
}

fn whose(pid: u32) -> Whose {
    Whose {
        local: "10.0.0.2:80".parse().unwrap(),
        remote: "10.0.0.1:40000".parse().unwrap(),
        netns: NETNS,
        owner: Some(Owner { pid, comm: Comm::from_bytes(b"nginx") }),
        selected: true,
        ended: None,
    }
}

/// What comes out: sequence number and interface, and what is said.
fn out(hold: &mut Hold, now: Option<u64>) -> Vec<(u32, u32, String)> {
    let mut all = Vec::new();
    hold.release(now, |frame, comment| {
        all.push((frame.segment.seq, frame.interface, comment.unwrap_or("-").to_owned()));
    });
    all
}

#[test]
fn a_packet_waits_for_its_owner() {
    let mut hold = hold();
    hold.take(syn(S));
    hold.take(frame(S + 1, 2, Direction::Out, SYN | ACK, 2));
    assert_eq!(out(&mut hold, Some(S + 100)), []);
    // Nobody has accepted it yet.
    hold.tell(&Whose { owner: None, ..whose(5) }, |at| at.0);
    assert_eq!(out(&mut hold, Some(S + 200)), []);
    hold.tell(&whose(5), |at| at.0);
    assert_eq!(
        out(&mut hold, Some(S + 300)),
        [(1, 2, "to nginx/5".to_owned()), (2, 2, "from nginx/5".to_owned())]
    );
    // What comes later need not wait.
    hold.take(frame(2 * S, 2, Direction::In, FIN | ACK, 3));
    assert_eq!(out(&mut hold, Some(2 * S)), [(3, 2, "to nginx/5".to_owned())]);
}

#[test]
fn but_not_for_long() {
    let mut hold = hold();
    hold.take(syn(S));
    assert_eq!(out(&mut hold, Some(2 * S - 1)), []);
    assert_eq!(out(&mut hold, Some(2 * S)), [(1, 2, "-".to_owned())]);
    hold.take(frame(3 * S, 2, Direction::In, FIN, 9));
    assert_eq!(out(&mut hold, None), [(9, 2, "-".to_owned())]);
}

#[test]
fn the_order_stays_as_it_was() {
    let mut hold = hold();
    let mut stranger = syn(S);
    stranger.segment.src_port = 1;
    hold.take(stranger);
    hold.take(syn(S + 1));
    hold.tell(&whose(5), |at| at.0);
    assert_eq!(out(&mut hold, Some(S + 2)), []);
    let all = out(&mut hold, Some(2 * S + 1));
    assert_eq!(all.iter().map(|(.., said)| said.as_str()).collect::<Vec<_>>(), ["-", "to nginx/5"]);
}

#[test]
fn on_lo_both_are_named() {
    let mut hold = hold();
    hold.take(frame(S, LOOPBACK, Direction::In, SYN, 1));
    hold.tell(&whose(5), |at| at.0);
    assert_eq!(out(&mut hold, Some(S + 1)), []);
    let server = whose(5);
    let comm = Comm::from_bytes(b"my curl\n");
    hold.tell(
        &Whose {
            local: server.remote,
            remote: server.local,
            owner: Some(Owner { pid: 9, comm }),
            ..server
        },
        |at| at.0,
    );
    let said = "from my curl\\n/9 to nginx/5".to_owned();
    assert_eq!(out(&mut hold, Some(S + 2)), [(1, LOOPBACK, said)]);
}

#[test]
fn a_packet_on_its_way_through_several_interfaces_is_one() {
    let mut hold = hold();
    // In: eth0, bond0, br0. Out: br0, bond0, eth0.
    for (at, interface) in [(0, 2), (100, 3), (200, 4)] {
        hold.take(frame(S + at, interface, Direction::In, SYN, 1));
    }
    for (at, interface) in [(500, 4), (600, 3), (700, 2)] {
        hold.take(frame(S + at, interface, Direction::Out, SYN | ACK, 2));
    }
    let kept = out(&mut hold, None);
    assert_eq!(kept.iter().map(|it| (it.0, it.1)).collect::<Vec<_>>(), [(1, 4), (2, 4)]);
    // One that was handed out already.
    hold.take(frame(S + 800, 3, Direction::In, SYN, 1));
    assert_eq!(out(&mut hold, None), []);
}

#[test]
fn what_is_sent_again_is_kept_again() {
    let mut hold = hold();
    hold.take(frame(S, 2, Direction::In, FIN, 1));
    hold.take(frame(S + 1000, 2, Direction::In, FIN, 1));
    // By another way, later.
    hold.take(frame(S + SAME_NS + 1000, 3, Direction::In, FIN, 1));
    assert_eq!(out(&mut hold, None).len(), 3);
}

#[test]
fn a_connection_that_follows_has_its_own_owner() {
    let mut hold = hold();
    hold.tell(&whose(5), |at| at.0);
    hold.take(frame(S, 2, Direction::In, FIN, 1));
    // Still its own: the SYN was sent again.
    hold.take(syn(S));
    assert_eq!(out(&mut hold, Some(S)).len(), 2);
    hold.tell(&Whose { ended: Some(MonoNs(S + 5)), ..whose(5) }, |at| at.0);
    hold.take(frame(S, 2, Direction::In, FIN, 3));
    assert_eq!(out(&mut hold, Some(S)), [(3, 2, "to nginx/5".to_owned())]);
    // One that ended before its first packet was looked at.
    hold.take(frame(S + 4, 2, Direction::In, SYN, 5));
    assert_eq!(out(&mut hold, Some(S)), [(5, 2, "to nginx/5".to_owned())]);
    hold.take(frame(S + 6, 2, Direction::In, SYN, 4));
    assert_eq!(out(&mut hold, Some(S)), []);
    hold.tell(&whose(6), |at| at.0);
    assert_eq!(out(&mut hold, Some(S)), [(4, 2, "to nginx/6".to_owned())]);
}

#[test]
fn where_some_are_asked_for_the_others_are_not_kept() {
    let mut hold = Hold::new(Shown::default(), true, NETNS);
    hold.take(syn(S));
    hold.tell(&Whose { selected: false, ..whose(5) }, |at| at.0);
    assert_eq!(out(&mut hold, Some(2 * S)), []);
    // Not known to be asked for before its owner is.
    hold.tell(&whose(6), |at| at.0);
    assert_eq!(out(&mut hold, Some(2 * S)), [(1, 2, "to nginx/6".to_owned())]);
    hold.tell(&Whose { selected: false, ..whose(5) }, |at| at.0);
    hold.take(frame(3 * S, 2, Direction::In, FIN, 2));
    assert_eq!(out(&mut hold, Some(8 * S)), []);
    hold.tell(&whose(6), |at| at.0);
    assert_eq!(out(&mut hold, None), []);
}

#[test]
fn what_is_excluded_is_not_kept() {
    let shown = Shown { exclude_ports: vec![80..=80], ..Shown::default() };
    let mut hold = Hold::new(shown, false, NETNS);
    hold.take(syn(S));
    hold.take(frame(S, 2, Direction::Out, SYN | ACK, 1));
    assert_eq!(out(&mut hold, None), []);
}

#[test]
fn the_loopback_of_another_namespace_is_another() {
    let mut hold = hold();
    let mut mine = whose(5);
    mine.netns = NETNS + 1;
    hold.tell(&mine, |at| at.0);
    hold.take(syn(S));
    assert_eq!(out(&mut hold, None), [(1, 2, "to nginx/5".to_owned())]);
    let lo = Whose { local: "127.0.0.1:80".parse().unwrap(), ..mine };
    hold.tell(&lo, |at| at.0);
    assert!(hold.ends.get(&(lo.local, lo.remote)).is_none());
}

#[test]
fn a_flood_is_held_within_bounds() {
    let mut hold = hold();
    for n in 0..3 * MOST as u32 {
        hold.take(frame(S, 2, Direction::In, SYN, n));
    }
    let mut released = 0;
    hold.release(Some(S), |_, _| released += 1);
    assert_eq!(released, 2 * MOST);
    for n in 0..5 * REMEMBERED as u32 {
        let remote = SocketAddr::new([10, 0, 0, 1].into(), (n % 65_536) as u16);
        let local = SocketAddr::new([10, 0, 1, 1].into(), (n >> 16) as u16);
        hold.tell(&Whose { local, remote, ..whose(1) }, |at| at.0);
    }
    assert!(hold.ends.young.len() + hold.ends.old.len() <= 2 * REMEMBERED);
}
