//! Tunnels: what is inside VXLAN, Geneve, GRE, IPIP, 6in4 and 4in6.

use tracer_common::packet::Reject;

use super::link::{Inside, array};

/// Most tunnels within one another.
pub(super) const MOST: usize = 8;

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const VLAN: [u16; 2] = [0x8100, 0x88a8];
/// Transparent Ethernet bridging (RFC 1701, RFC 8926).
const ETH_P_TEB: u16 = 0x6558;

const IPPROTO_IPIP: u8 = 4;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_IPV6: u8 = 41;
const IPPROTO_GRE: u8 = 47;

/// VXLAN's port (RFC 7348), and the one that Linux used before it had a number.
const VXLAN: [u16; 2] = [4789, 8472];
/// Geneve's port (RFC 8926).
const GENEVE: u16 = 6081;

/// What the tunnel that a packet is carries, and where that begins.
///
/// # Errors
/// [`Reject::NotTcp`] where it is no tunnel, [`Reject::Unparsed`] where it is one that can't be read: a
/// fragment, or cut short.
pub(super) fn inner(inside: Inside, packet: &[u8]) -> Result<(usize, Inside), Reject> {
    let ip = network(inside, packet).ok_or(Reject::NotTcp)?;
    let Transport { protocol, at, fragment } = transport(packet, ip)?;
    let inner = match protocol {
        IPPROTO_UDP if fragment != Fragment::Later => udp(packet, at)?,
        IPPROTO_GRE => gre(packet, at)?,
        IPPROTO_IPIP | IPPROTO_IPV6 => (at, Inside::Ip),
        _ => return Err(Reject::NotTcp),
    };
    // What is inside a fragment is not all there.
    if fragment == Fragment::No { Ok(inner) } else { Err(Reject::Unparsed) }
}

/// Where the IP header begins.
fn network(inside: Inside, packet: &[u8]) -> Option<usize> {
    let (mut at, mut kind) = match inside {
        Inside::Ip => return Some(0),
        Inside::Frame => (14, u16::from_be_bytes(array(packet, 12)?)),
        Inside::EtherType(kind) => (0, kind),
    };
    for _ in 0..2 {
        if !VLAN.contains(&kind) {
            break;
        }
        kind = u16::from_be_bytes(array(packet, at + 2)?);
        at += 4;
    }
    matches!(kind, ETH_P_IP | ETH_P_IPV6).then_some(at)
}

#[derive(PartialEq, Eq)]
enum Fragment {
    No,
    First,
    Later,
}

struct Transport {
    protocol: u8,
    /// Where its header begins.
    at: usize,
    fragment: Fragment,
}

fn transport(packet: &[u8], ip: usize) -> Result<Transport, Reject> {
    let [first] = array(packet, ip).ok_or(Reject::NotTcp)?;
    match first >> 4 {
        4 => {
            let header: [u8; 20] = array(packet, ip).ok_or(Reject::NotTcp)?;
            let [_, _, _, _, _, _, high, low, _, protocol, ..] = header;
            let fragment = match u16::from_be_bytes([high, low]) {
                word if word & 0x1fff != 0 => Fragment::Later,
                word if word & 0x2000 != 0 => Fragment::First,
                _ => Fragment::No,
            };
            Ok(Transport { protocol, at: ip + (first & 0xf) as usize * 4, fragment })
        }
        6 => {
            let [mut protocol] = array(packet, ip + 6).ok_or(Reject::NotTcp)?;
            let mut at = ip + 40;
            // The same headers as on the way to a TCP header; a fragment has been rejected there.
            for _ in 0..6 {
                let unit = match protocol {
                    0 | 43 | 60 | 135 | 139 | 140 => 8,
                    51 => 4,
                    _ => break,
                };
                let [next, len] = array(packet, at).ok_or(Reject::Unparsed)?;
                at += 8 + len as usize * unit;
                protocol = next;
            }
            Ok(Transport { protocol, at, fragment: Fragment::No })
        }
        _ => Err(Reject::NotTcp),
    }
}

fn udp(packet: &[u8], at: usize) -> Result<(usize, Inside), Reject> {
    let port = u16::from_be_bytes(array(packet, at + 2).ok_or(Reject::NotTcp)?);
    let at = at + 8;
    if VXLAN.contains(&port) {
        let [flags, ..]: [u8; 8] = array(packet, at).ok_or(Reject::Unparsed)?;
        // The network identifier must be there.
        return if flags & 0x08 != 0 { Ok((at + 8, Inside::Frame)) } else { Err(Reject::NotTcp) };
    }
    if port == GENEVE {
        let [version_len, _, high, low, ..]: [u8; 8] = array(packet, at).ok_or(Reject::Unparsed)?;
        if version_len >> 6 != 0 {
            return Err(Reject::NotTcp);
        }
        let at = at + 8 + (version_len & 0x3f) as usize * 4;
        return Ok((at, carried(u16::from_be_bytes([high, low]))));
    }
    Err(Reject::NotTcp)
}

fn gre(packet: &[u8], at: usize) -> Result<(usize, Inside), Reject> {
    let [flags, version, high, low] = array(packet, at).ok_or(Reject::Unparsed)?;
    if version & 7 != 0 {
        // 1 is PPTP's, which carries PPP.
        return Err(Reject::NotTcp);
    }
    if flags & 0x40 != 0 {
        // Routing (RFC 1701): nobody sends it, and its length is not known beforehand.
        return Err(Reject::Unparsed);
    }
    // Checksum, key (RFC 2890), sequence number.
    let options = (flags & 0xb0).count_ones() as usize;
    Ok((at + 4 + options * 4, carried(u16::from_be_bytes([high, low]))))
}

const fn carried(protocol: u16) -> Inside {
    if protocol == ETH_P_TEB { Inside::Frame } else { Inside::EtherType(protocol) }
}

#[cfg(test)]
mod tests;
