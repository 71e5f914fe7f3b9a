//! Packets built by hand, byte by byte.

extern crate std;

use std::vec::Vec;

use super::*;

fn tcp(flags: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(40000_u16.to_be_bytes());
    bytes.extend(80_u16.to_be_bytes());
    bytes.extend(0x0102_0304_u32.to_be_bytes());
    bytes.extend(0_u32.to_be_bytes());
    bytes.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes
}

fn ipv4(options: &[u8], fragment: u16, payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let mut bytes = std::vec![0x40 | (header_len / 4) as u8, 0];
    bytes.extend(((header_len + payload.len()) as u16).to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend(options);
    bytes.extend(payload);
    bytes
}

fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = std::vec![0x60, 0, 0, 0];
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend([next_header, 64]);
    bytes.extend([0xfd; 15]);
    bytes.push(1);
    bytes.extend([0xfd; 15]);
    bytes.push(2);
    bytes.extend(payload);
    bytes
}

fn ethernet(tags: &[u16], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = std::vec![0; 12];
    for tag in tags {
        bytes.extend(tag.to_be_bytes());
        bytes.extend([0, 7]);
    }
    bytes.extend(ether_type.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn parse(bytes: &[u8], link: Link) -> Result<Segment, Reject> {
    locate(&bytes, link).and_then(|at| segment(&bytes, at))
}

fn expect_syn(bytes: &[u8], link: Link) -> Segment {
    let segment = parse(bytes, link).expect("a TCP segment");
    assert_eq!((segment.src_port, segment.dst_port), (40000, 80));
    assert_eq!((segment.seq, segment.flags), (0x0102_0304, tcp_flags::SYN));
    segment
}

#[test]
fn plain_ipv4_and_ipv6() {
    let segment = expect_syn(&ethernet(&[], ETH_P_IP, &ipv4(&[], 0x4000, &tcp(2))), Link::Ethernet);
    assert_eq!(segment.src, Addr::v4(u32::from_ne_bytes([10, 0, 0, 1])));
    assert_eq!(segment.dst, Addr::v4(u32::from_ne_bytes([10, 0, 0, 2])));
    let segment = expect_syn(&ethernet(&[], ETH_P_IPV6, &ipv6(6, &tcp(2))), Link::Ethernet);
    assert_eq!((segment.src.to_bytes()[15], segment.dst.to_bytes()[15]), (1, 2));
}

#[test]
fn raw_ip_devices_have_no_link_header() {
    expect_syn(&ipv4(&[], 0, &tcp(2)), Link::RawIp);
    expect_syn(&ipv6(6, &tcp(2)), Link::RawIp);
    assert_eq!(parse(&[0x00; 60], Link::RawIp), Err(Reject::NotTcp));
}

#[test]
fn up_to_two_vlan_tags() {
    let ip = ipv4(&[], 0, &tcp(2));
    expect_syn(&ethernet(&[ETH_P_8021Q], ETH_P_IP, &ip), Link::Ethernet);
    expect_syn(&ethernet(&[ETH_P_8021AD, ETH_P_8021Q], ETH_P_IP, &ip), Link::Ethernet);
    let three = ethernet(&[ETH_P_8021AD, ETH_P_8021Q, ETH_P_8021Q], ETH_P_IP, &ip);
    assert_eq!(parse(&three, Link::Ethernet), Err(Reject::NotTcp));
}

#[test]
fn ipv4_options_and_ipv6_extension_headers_are_skipped() {
    expect_syn(&ipv4(&[1; 40], 0, &tcp(2)), Link::RawIp);
    let mut hop_by_hop_and_routing = std::vec![43, 0, 0, 0, 0, 0, 0, 0];
    hop_by_hop_and_routing.extend([6, 1]);
    hop_by_hop_and_routing.extend([0; 14]);
    hop_by_hop_and_routing.extend(tcp(2));
    expect_syn(&ipv6(0, &hop_by_hop_and_routing), Link::RawIp);
    let mut authentication = std::vec![6, 4];
    authentication.extend([0; 22]);
    authentication.extend(tcp(2));
    expect_syn(&ipv6(51, &authentication), Link::RawIp);
}

#[test]
fn fragments_are_not_guessed_at() {
    assert_eq!(parse(&ipv4(&[], 0x2000, &tcp(2)), Link::RawIp), Err(Reject::Unparsed));
    assert_eq!(parse(&ipv4(&[], 0x0001, &tcp(2)), Link::RawIp), Err(Reject::Unparsed));
    let mut fragment = std::vec![6, 0, 0, 0, 0, 0, 0, 0];
    fragment.extend(tcp(2));
    assert_eq!(parse(&ipv6(44, &fragment), Link::RawIp), Err(Reject::Unparsed));
}

#[test]
fn malformed_headers_are_not_guessed_at() {
    let mut short_header = ipv4(&[], 0, &tcp(2));
    short_header[0] = 0x44;
    assert_eq!(parse(&short_header, Link::RawIp), Err(Reject::Unparsed));
    let mut short_total = ipv4(&[], 0, &tcp(2));
    short_total[3] = 30;
    assert_eq!(parse(&short_total, Link::RawIp), Err(Reject::Unparsed));
    let mut short_tcp = ipv4(&[], 0, &tcp(2));
    short_tcp[32] = 4 << 4;
    assert_eq!(parse(&short_tcp, Link::RawIp), Err(Reject::Unparsed));
}

#[test]
fn a_header_that_ends_behind_its_packet_is_not_believed() {
    let mut long_offset = ipv4(&[], 0, &tcp(2));
    long_offset[32] = 15 << 4;
    assert_eq!(parse(&long_offset, Link::RawIp), Err(Reject::Unparsed));
    let mut short_payload = ipv6(6, &tcp(2));
    short_payload[5] = 19;
    assert_eq!(parse(&short_payload, Link::RawIp), Err(Reject::Unparsed));
}

#[test]
fn every_truncation_is_rejected_without_a_panic() {
    for whole in [
        ethernet(&[ETH_P_8021AD, ETH_P_8021Q], ETH_P_IP, &ipv4(&[1; 8], 0, &tcp(2))),
        ethernet(&[], ETH_P_IPV6, &ipv6(6, &tcp(2))),
    ] {
        for len in 0..=whole.len() {
            let parsed = parse(&whole[..len], Link::Ethernet);
            assert_eq!(parsed.is_ok(), len == whole.len(), "{len}");
        }
    }
}

#[test]
fn other_protocols_are_no_concern() {
    let mut udp = ipv4(&[], 0, &tcp(2));
    udp[9] = 17;
    assert_eq!(parse(&udp, Link::RawIp), Err(Reject::NotTcp));
    assert_eq!(parse(&ipv6(58, &tcp(2)), Link::RawIp), Err(Reject::NotTcp));
    assert_eq!(parse(&ethernet(&[], 0x0806, &[0; 40]), Link::Ethernet), Err(Reject::NotTcp));
}
