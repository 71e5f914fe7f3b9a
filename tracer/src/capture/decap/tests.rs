//! Tunnels by the RFCs' pictures.

use std::net::SocketAddr;

use tracer_common::packet::Reject;

use crate::capture::link::LinkType;
use crate::capture::parse::{Seen, look};
use crate::capture::samples::{Tcp, ether_type, ethernet, ip, syn, udp};

fn outer() -> (SocketAddr, SocketAddr) {
    (([192, 0, 2, 1], 0).into(), ([192, 0, 2, 2], 0).into())
}

fn outer6() -> (SocketAddr, SocketAddr) {
    ("[2001:db8::1]:0".parse().unwrap(), "[2001:db8::2]:0".parse().unwrap())
}

fn see(frame: &[u8], decap: bool) -> Result<Seen, Reject> {
    look(LinkType::Ethernet, frame, frame.len() as u32, decap)
}

/// Frames of every kind of tunnel around a packet.
fn tunnels(inner: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let frame = ethernet(&[], inner);
    let kind = ether_type(inner).to_be_bytes();
    let vxlan = [&[8, 0, 0, 0, 0, 0, 42, 0], &frame[..]].concat();
    let geneve = [&[2, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 3, 4, 5, 6, 7, 8], &frame[..]].concat();
    let geneve_ip = [&[0, 0, kind[0], kind[1], 0, 0, 42, 0], inner].concat();
    let gre = [&[0, 0, kind[0], kind[1]], inner].concat();
    let gre_all = [&[0xb0, 0, kind[0], kind[1]], &[9; 12][..], inner].concat();
    let gre_teb = [&[0x20, 0, 0x65, 0x58], &[9; 4][..], &frame].concat();
    let version = if inner[0] >> 4 == 4 { 4 } else { 41 };
    let bodies = [
        ("VXLAN", 17, udp(4789, &vxlan)),
        ("Linux's VXLAN", 17, udp(8472, &vxlan)),
        ("Geneve", 17, udp(6081, &geneve)),
        ("Geneve without Ethernet", 17, udp(6081, &geneve_ip)),
        ("GRE", 47, gre),
        ("GRE with checksum, key and sequence", 47, gre_all),
        ("GRE with Ethernet", 47, gre_teb),
        ("IP in IP", version, inner.to_vec()),
    ];
    let mut all = Vec::new();
    for (name, protocol, body) in bodies {
        for (src, dst) in [outer(), outer6()] {
            all.push((name, ethernet(&[], &ip(src, dst, protocol, &body))));
        }
    }
    all
}

#[test]
fn the_outer_packet_is_looked_at_unless_asked_otherwise() {
    let v6 = Tcp {
        src: "[fd00::1]:40000".parse().unwrap(),
        dst: "[fd00::2]:80".parse().unwrap(),
        ..syn()
    };
    for inner in [syn(), v6] {
        for (name, frame) in tunnels(&Tcp { payload: 3, ..inner }.ip()) {
            assert_eq!(see(&frame, false), Err(Reject::NotTcp), "{name}");
            let seen = see(&frame, true).unwrap_or_else(|reject| panic!("{name}: {reject:?}"));
            assert_eq!((seen.segment.dst_port, seen.detail.payload_len), (80, 3), "{name}");
        }
    }
}

#[test]
fn the_innermost_of_several() {
    let (src, dst) = outer();
    let mut packet = syn().ip();
    for _ in 0..8 {
        packet = ip(src, dst, 4, &packet);
    }
    assert!(see(&ethernet(&[0x8100], &packet), true).is_ok());
    packet = ip(src, dst, 4, &packet);
    assert_eq!(see(&ethernet(&[], &packet), true), Err(Reject::NotTcp));
    let vxlan = [&[8, 0, 0, 0, 0, 0, 42, 0], &ethernet(&[0x8100], &syn().ip())[..]].concat();
    let gre = [&[0, 0, 8, 0], &ip(src, dst, 17, &udp(4789, &vxlan))[..]].concat();
    assert!(see(&ethernet(&[0x88a8, 0x8100], &ip(src, dst, 47, &gre)), true).is_ok());
}

#[test]
fn fragments_and_cut_tunnels_are_not_guessed_at() {
    for (name, frame) in tunnels(&syn().ip()) {
        if frame[12] == 8 {
            let mut fragment = frame.clone();
            fragment[14 + 6] = 0x20;
            assert_eq!(see(&fragment, true), Err(Reject::Unparsed), "{name}");
        }
        for len in 0..frame.len() {
            let seen = look(LinkType::Ethernet, &frame[..len], frame.len() as u32, true);
            assert!(seen.is_err(), "{name} {len}");
        }
    }
}

#[test]
fn what_is_no_tunnel_is_none() {
    let (src, dst) = outer();
    let frame = |protocol, body: &[u8]| ethernet(&[], &ip(src, dst, protocol, body));
    let inner = syn().ip();
    let without_identifier = [&[0; 8], &ethernet(&[], &inner)[..]].concat();
    let pptp = [&[0x30, 1, 0x88, 0x0b], &inner[..]].concat();
    let routed = [&[0x40, 0, 8, 0], &inner[..]].concat();
    assert_eq!(see(&frame(17, &udp(53, &inner)), true), Err(Reject::NotTcp));
    assert_eq!(see(&frame(17, &udp(4789, &without_identifier)), true), Err(Reject::NotTcp));
    assert_eq!(see(&frame(47, &pptp), true), Err(Reject::NotTcp));
    assert_eq!(see(&frame(47, &routed), true), Err(Reject::Unparsed));
    assert_eq!(see(&frame(1, &inner), true), Err(Reject::NotTcp));
}
