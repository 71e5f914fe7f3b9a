//! Which addresses are the calling thread's network namespace's own: what its `local` routing table
//! says, which is what the kernel asks when a packet comes in (`ip_route_input_slow()`,
//! `ip6_route_input()`). It holds every address of every interface, 127.0.0.0/8, and whole prefixes
//! that somebody made local (`ip route add local 10.0.0.0/8 dev lo`).

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context as _;
use netlink_packet_core::{
    DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlasIterator,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket as _, SocketAddr, TokioSocket};

use super::netlink::{RECEIVE_BUFFER, dump};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
/// `struct rtmsg`: u8 family, dst_len, src_len, tos, table, protocol, scope, type; u32 flags.
const RTMSG: usize = 12;
const RT_TABLE_LOCAL: u8 = 255;
const RTN_LOCAL: u8 = 2;
const RTA_DST: u16 = 1;
/// `RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR` of `linux/rtnetlink.h`.
const ADDRESS_GROUPS: u32 = 0x10 | 0x100;

/// A prefix that is local: first address and length.
pub type LocalPrefix = (IpAddr, u8);

/// Lists them, sorted.
///
/// # Errors
/// When the kernel can't be asked.
pub fn list() -> anyhow::Result<Vec<LocalPrefix>> {
    let mut prefixes = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        // An interrupted listing is good enough: the change that interrupted it is told as well.
        let listed = dump(NETLINK_ROUTE, Request(family as u8), &mut |answer: Answer| {
            prefixes.extend(answer.0);
        });
        match listed {
            // The table is made with the first address, and `lo` gets that when it comes up.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            listed => _ = listed.context("can't list the local addresses")?,
        }
    }
    prefixes.sort_unstable();
    prefixes.dedup();
    Ok(prefixes)
}

/// Asks for the local routes of a family.
struct Request(u8);

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        RTM_GETROUTE
    }

    fn buffer_len(&self) -> usize {
        RTMSG
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.fill(0);
        let wanted = [(0, self.0), (4, RT_TABLE_LOCAL), (7, RTN_LOCAL)];
        for (at, value) in wanted {
            if let Some(byte) = buffer.get_mut(at) {
                *byte = value;
            }
        }
    }
}

/// A route, if it is a local one.
struct Answer(Option<LocalPrefix>);

impl NetlinkDeserializable for Answer {
    type Error = io::Error;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> io::Result<Self> {
        if header.message_type != RTM_NEWROUTE {
            return Ok(Self(None));
        }
        parse(payload).map(Self).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

fn parse(payload: &[u8]) -> Result<Option<LocalPrefix>, DecodeError> {
    let (Some(fixed), Some(attributes)) = (payload.first_chunk(), payload.get(RTMSG..)) else {
        return Err(DecodeError::buffer_too_small(payload.len(), RTMSG));
    };
    let &[family, len, _, _, table, _, _, kind, ..]: &[u8; RTMSG] = fixed;
    // Kernels that know no strict requests send all there is.
    if table != RT_TABLE_LOCAL || kind != RTN_LOCAL {
        return Ok(None);
    }
    let v4 = i32::from(family) == libc::AF_INET;
    // A default route has no destination.
    let mut addr =
        if v4 { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        if attribute.kind() != RTA_DST {
            continue;
        }
        if v4 && let Ok(bytes) = <[u8; 4]>::try_from(attribute.value()) {
            addr = IpAddr::V4(bytes.into());
        } else if let Ok(bytes) = <[u8; 16]>::try_from(attribute.value()) {
            addr = IpAddr::V6(bytes.into());
        }
    }
    Ok(Some((addr, len)))
}

/// Tells when addresses come and go in the namespace it was started in. Local routes that somebody
/// adds by hand are not told: list again now and then.
pub struct AddressWatch {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl AddressWatch {
    /// Starts to watch. List afterwards: then nothing is missed.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn start() -> anyhow::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)
            .context("can't open a netlink socket to watch the addresses")?;
        socket
            .socket_mut()
            .bind(&SocketAddr::new(0, ADDRESS_GROUPS))
            .context("can't subscribe to changes of the addresses")?;
        Ok(Self { socket, buffer: Vec::with_capacity(RECEIVE_BUFFER) })
    }

    /// Waits until an address has come or gone. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// When the kernel can't be asked any more.
    pub async fn changed(&mut self) -> anyhow::Result<()> {
        loop {
            self.buffer.clear();
            match poll_fn(|cx| self.socket.poll_recv(cx, &mut self.buffer)).await {
                Ok(()) => return Ok(()),
                // Messages were dropped: something has changed.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("can't read changes of the addresses"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(family: i32, len: u8, table: u8, kind: u8, dst: Option<&[u8]>) -> Vec<u8> {
        let mut bytes = vec![family as u8, len, 0, 0, table, 2, 254, kind, 0, 0, 0, 0];
        if let Some(dst) = dst {
            bytes.extend(u16::try_from(4 + dst.len()).unwrap().to_ne_bytes());
            bytes.extend(RTA_DST.to_ne_bytes());
            bytes.extend(dst);
        }
        bytes
    }

    #[test]
    fn local_routes_are_found_and_others_left_out() {
        let own = route(libc::AF_INET, 32, RT_TABLE_LOCAL, RTN_LOCAL, Some(&[10, 0, 0, 1]));
        assert_eq!(parse(&own).unwrap(), Some(("10.0.0.1".parse().unwrap(), 32)));
        let v6 = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let own = route(libc::AF_INET6, 128, RT_TABLE_LOCAL, RTN_LOCAL, Some(&v6));
        assert_eq!(parse(&own).unwrap(), Some(("fd00::1".parse().unwrap(), 128)));
        // Broadcast, and the main table.
        let broadcast = route(libc::AF_INET, 32, RT_TABLE_LOCAL, 3, Some(&[10, 0, 0, 255]));
        assert_eq!(parse(&broadcast).unwrap(), None);
        assert_eq!(parse(&route(libc::AF_INET, 24, 254, 1, Some(&[10, 0, 0, 0]))).unwrap(), None);
        assert!(parse(&own[..8]).is_err());
    }

    #[test]
    fn everything_may_be_local() {
        let all = route(libc::AF_INET, 0, RT_TABLE_LOCAL, RTN_LOCAL, None);
        assert_eq!(parse(&all).unwrap(), Some(("0.0.0.0".parse().unwrap(), 0)));
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        let prefixes = list().unwrap();
        assert!(prefixes.contains(&("127.0.0.0".parse().unwrap(), 8)), "{prefixes:?}");
    }
}
