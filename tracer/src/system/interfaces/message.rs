//! rtnetlink's link messages, as far as tracer needs them.
//!
//! Read here rather than by a crate that decodes every attribute: one attribute that a new kernel
//! changed would otherwise cost the whole interface.

use std::io;

use netlink_packet_core::{
    DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlasIterator, parse_u32,
};

use super::{AttachedMode, AttachedXdp, Interface};

pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;

/// `struct ifinfomsg`: u8 family, u8 padding, u16 type, i32 index, u32 flags, u32 change.
const IFINFOMSG: usize = 16;

// linux/if.h
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 1 << 3;
const IFF_POINTOPOINT: u32 = 1 << 4;

// linux/if_link.h
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const XDP_ATTACHED_DRV: u8 = 1;
const XDP_ATTACHED_SKB: u8 = 2;
const XDP_ATTACHED_HW: u8 = 3;
const XDP_ATTACHED_MULTI: u8 = 4;

/// Asks for all links.
pub(super) struct LinkRequest;

impl NetlinkSerializable for LinkRequest {
    fn message_type(&self) -> u16 {
        RTM_GETLINK
    }

    fn buffer_len(&self) -> usize {
        IFINFOMSG
    }

    fn serialize(&self, buffer: &mut [u8]) {
        // AF_UNSPEC, and nothing else is asked for.
        buffer.fill(0);
    }
}

/// What the kernel says about links.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum LinkAnswer {
    /// It exists, with these properties. The driver is not part of the message.
    Link(Interface),
    /// The link with this index is gone.
    Gone(u32),
    /// Not about a link itself.
    Other,
}

impl NetlinkDeserializable for LinkAnswer {
    type Error = io::Error;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> io::Result<Self> {
        let invalid = |error: DecodeError| io::Error::new(io::ErrorKind::InvalidData, error);
        parse(header.message_type, payload).map_err(invalid)
    }
}

/// Parses the payload of a message.
pub(super) fn parse(message_type: u16, payload: &[u8]) -> Result<LinkAnswer, DecodeError> {
    if !matches!(message_type, RTM_NEWLINK | RTM_DELLINK) {
        return Ok(LinkAnswer::Other);
    }
    let (Some(fixed), Some(attributes)) = (payload.first_chunk(), payload.get(IFINFOMSG..)) else {
        return Err(DecodeError::buffer_too_small(payload.len(), IFINFOMSG));
    };
    let &[family, _, t0, t1, i0, i1, i2, i3, f0, f1, f2, f3, ..]: &[u8; IFINFOMSG] = fixed;
    // A bridge tells about its ports with messages of family AF_BRIDGE: leaving a bridge is
    // RTM_DELLINK there, and the interface still exists.
    if i32::from(family) != libc::AF_UNSPEC {
        return Ok(LinkAnswer::Other);
    }
    let index = u32::from_ne_bytes([i0, i1, i2, i3]);
    if message_type == RTM_DELLINK {
        return Ok(LinkAnswer::Gone(index));
    }
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let mut interface = Interface {
        index,
        name: String::new(),
        up: flags & IFF_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        point_to_point: flags & IFF_POINTOPOINT != 0,
        kind: None,
        arphrd: u16::from_ne_bytes([t0, t1]),
        driver: None,
        mtu: 0,
        xdp: None,
    };
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        match attribute.kind() {
            IFLA_IFNAME => interface.name = text(attribute.value()),
            IFLA_MTU => interface.mtu = parse_u32(attribute.value())?,
            IFLA_LINKINFO => interface.kind = kind(attribute.value())?,
            IFLA_XDP => interface.xdp = xdp(attribute.value())?,
            _ => {}
        }
    }
    Ok(LinkAnswer::Link(interface))
}

fn kind(attributes: &[u8]) -> Result<Option<String>, DecodeError> {
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        if attribute.kind() == IFLA_INFO_KIND {
            return Ok(Some(text(attribute.value())));
        }
    }
    Ok(None)
}

fn xdp(attributes: &[u8]) -> Result<Option<AttachedXdp>, DecodeError> {
    let mut mode = None;
    let mut program = None;
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        match attribute.kind() {
            IFLA_XDP_ATTACHED => {
                mode = match attribute.value().first() {
                    Some(&XDP_ATTACHED_DRV) => Some(AttachedMode::Native),
                    Some(&XDP_ATTACHED_SKB) => Some(AttachedMode::Generic),
                    Some(&XDP_ATTACHED_HW) => Some(AttachedMode::Offloaded),
                    Some(&XDP_ATTACHED_MULTI) => Some(AttachedMode::Several),
                    _ => None,
                }
            }
            IFLA_XDP_PROG_ID => program = Some(parse_u32(attribute.value())?),
            _ => {}
        }
    }
    Ok(mode.map(|mode| AttachedXdp { mode, program }))
}

/// A NUL-terminated string.
fn text(value: &[u8]) -> String {
    let bytes = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn link(family: u8, arphrd: u16, index: u32, flags: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![family, 0];
        bytes.extend(arphrd.to_ne_bytes());
        bytes.extend(index.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(attributes.concat());
        bytes
    }

    #[test]
    fn a_link_with_an_xdp_program() {
        // IFLA_INFO_DATA comes after the kind and is none of our business; the nested flag is set
        // by new kernels.
        let info = [attribute(IFLA_INFO_KIND, b"veth\0"), attribute(2, &[1, 2, 3])].concat();
        let xdp = [
            attribute(IFLA_XDP_ATTACHED, &[2]),
            attribute(IFLA_XDP_PROG_ID, &77_u32.to_ne_bytes()),
        ];
        let bytes = link(
            0,
            1,
            7,
            IFF_UP | 1 << 12,
            &[
                attribute(IFLA_IFNAME, b"veth0\0"),
                attribute(IFLA_MTU, &1400_u32.to_ne_bytes()),
                attribute(IFLA_LINKINFO | 0x8000, &info),
                attribute(IFLA_XDP, &xdp.concat()),
                attribute(250, &[0; 9]),
            ],
        );
        let mut expected = super::super::tests::ethernet(7, "veth0");
        expected.mtu = 1400;
        expected.kind = Some("veth".into());
        expected.xdp = Some(AttachedXdp { mode: AttachedMode::Generic, program: Some(77) });
        assert_eq!(parse(RTM_NEWLINK, &bytes).unwrap(), LinkAnswer::Link(expected));
        assert_eq!(parse(RTM_DELLINK, &bytes).unwrap(), LinkAnswer::Gone(7));
    }

    #[test]
    fn what_is_not_about_the_link_itself_is_ignored() {
        let port = link(u8::try_from(libc::AF_BRIDGE).unwrap(), 1, 7, 0, &[]);
        for message_type in [RTM_NEWLINK, RTM_DELLINK] {
            assert_eq!(parse(message_type, &port).unwrap(), LinkAnswer::Other);
        }
        assert_eq!(parse(24, &[]).unwrap(), LinkAnswer::Other);
    }

    #[test]
    fn no_program_attached_is_none() {
        let none = attribute(IFLA_XDP, &attribute(IFLA_XDP_ATTACHED, &[0]));
        let LinkAnswer::Link(found) = parse(RTM_NEWLINK, &link(0, 1, 7, 0, &[none])).unwrap()
        else {
            panic!("no link");
        };
        assert_eq!((found.xdp, found.up), (None, false));
    }

    #[test]
    fn a_message_cut_short_anywhere_is_an_error_or_whole() {
        let whole =
            link(0, 1, 7, 0, &[attribute(IFLA_IFNAME, b"eth0\0"), attribute(IFLA_MTU, &[1; 4])]);
        for len in 0..whole.len() {
            // Never a panic. At the end of an attribute there is nothing that tells.
            let parsed = parse(RTM_NEWLINK, &whole[..len]);
            assert!(len >= IFINFOMSG || parsed.is_err(), "{len} bytes: {parsed:?}");
        }
    }
}
