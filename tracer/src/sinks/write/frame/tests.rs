#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use etherparse::PacketBuilder;

use super::*;

const SAID: &[u8] = b"a secret";

/// IPv4, TCP with options and data.
fn packet() -> Vec<u8> {
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(40_000, 80, 7, 1024)
        .ack(9)
        .fin()
        .options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2])
        .unwrap();
    let mut bytes = Vec::new();
    builder.write(&mut bytes, SAID).unwrap();
    bytes
}

fn ethernet(between: &[u8]) -> Vec<u8> {
    [&[1; 6], &[2; 6], between, &[8, 0], &packet()].concat()
}

fn received(bytes: &[u8], arphrd: u16, network: usize) -> Received<'_> {
    Received {
        at: 5,
        interface: 3,
        arphrd,
        outgoing: true,
        protocol: 0x0800,
        vlan: None,
        bytes,
        network,
        len: bytes.len() as u32,
    }
}

#[test]
fn headers_are_kept_and_what_was_said_is_not() {
    let bytes = ethernet(&[]);
    let frame = Frame::of(&received(&bytes, 1, 14)).unwrap();
    assert_eq!(frame.bytes, bytes[..bytes.len() - SAID.len()]);
    assert_eq!(frame.original_len as usize, bytes.len());
    assert_eq!(frame.payload_len as usize, SAID.len());
    assert_eq!(frame.src(), "10.0.0.1:40000".parse().unwrap());
    assert_eq!(frame.dst(), "10.0.0.2:80".parse().unwrap());
    assert_eq!((frame.at, frame.interface, frame.direction), (5, 3, Direction::Out));
}

#[test]
fn tags_are_put_back() {
    let bytes = ethernet(&[]);
    let tagged = Received { vlan: Some((0x8100, 0x2064)), ..received(&bytes, 1, 14) };
    let frame = Frame::of(&tagged).unwrap();
    let expected = ethernet(&[0x81, 0, 0x20, 0x64]);
    assert_eq!(frame.bytes, expected[..expected.len() - SAID.len()]);
    assert_eq!(frame.original_len as usize, expected.len());
    // The outer one of two.
    let inner = ethernet(&[0x81, 0, 0, 7]);
    let tagged = Received { vlan: Some((0x88a8, 5)), ..received(&inner, 1, 18) };
    let frame = Frame::of(&tagged).unwrap();
    let expected = ethernet(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 7]);
    assert_eq!(frame.bytes, expected[..expected.len() - SAID.len()]);
}

#[test]
fn interfaces_without_ethernet_get_a_header() {
    // ARPHRD_NONE, as of tun and WireGuard, and one with 4 bytes of its own before the packet.
    for (arphrd, network) in [(65_534, 0), (512, 4)] {
        let bytes = [vec![0xff; network], packet()].concat();
        let frame = Frame::of(&received(&bytes, arphrd, network)).unwrap();
        assert_eq!(frame.bytes[..14], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]);
        assert_eq!(frame.bytes[14..], packet()[..packet().len() - SAID.len()]);
        assert_eq!(frame.original_len as usize, packet().len() + 14);
    }
}

#[test]
fn ipv6_is_told_from_ipv4_in_it() {
    let mut bytes = vec![0; 12];
    bytes.extend([0x86, 0xdd]);
    PacketBuilder::ipv6([0xfd; 16], [0xfe; 16], 64)
        .tcp(1, 2, 7, 1024)
        .syn()
        .write(&mut bytes, &[])
        .unwrap();
    let frame = Frame::of(&received(&bytes, 772, 14)).unwrap();
    assert!(frame.src().is_ipv6() && frame.bytes == bytes);
}

#[test]
fn what_is_cut_short_is_no_segment() {
    let bytes = ethernet(&[]);
    let headers = bytes.len() - SAID.len();
    for len in 0..headers {
        assert_eq!(Frame::of(&received(&bytes[..len], 1, 14)), None, "{len} bytes");
    }
    assert!(Frame::of(&received(&bytes[..headers], 1, 14)).is_some());
    // The kernel would not say so, but nothing must break.
    assert_eq!(Frame::of(&received(&bytes, 65_534, 500)), None);
}
