//! The TCP sockets of one network namespace, from the kernel's `sock_diag`.
//!
//! A dump is not one moment: it walks the hash tables bucket by bucket, and where a bucket does not
//! fit in one message it goes on by position, so that a socket can be missed when one before it
//! leaves the chain just then (`inet_diag_dump_icsk()` in `net/ipv4/inet_diag.c`). A socket that is
//! missing from *one* listing is therefore no proof that it is gone; from two in a row it is, for
//! all practical purposes.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use anyhow::Context as _;
use netlink_packet_core::{Nla as _, parse_u64};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use tracer_common::state::TcpState;

use super::netlink::dump;

/// `INET_DIAG_CGROUP_ID` of `linux/inet_diag.h`: u64, the socket's cgroup v2 id. Since 5.9, on
/// kernels with `CONFIG_SOCK_CGROUP_DATA`.
const INET_DIAG_CGROUP_ID: u16 = 21;

/// How often a listing that the kernel calls inconsistent is tried again.
const ATTEMPTS: usize = 4;

/// A TCP socket as `sock_diag` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiagSocket {
    /// The kernel's socket cookie, the same that `SO_COOKIE` and `bpf_get_socket_cookie()` give.
    pub cookie: u64,
    /// Local address (IPv4-mapped as IPv4) and port.
    pub local: SocketAddr,
    /// Remote address and port; port 0 for a listener.
    pub remote: SocketAddr,
    /// State.
    pub state: TcpState,
    /// Inode of the socket, the number in `/proc/PID/fd`'s `socket:[…]`; 0 when no process holds
    /// it.
    pub inode: u32,
    /// cgroup v2 id; 0 unknown.
    pub cgroup: u64,
}

/// The sockets of a namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// Each cookie once, in no order.
    pub sockets: Vec<DiagSocket>,
    /// Why sockets may be missing; `None` when the kernel knows of no reason.
    pub incomplete: Option<String>,
}

/// Lists the TCP sockets, IPv4 and IPv6, of the calling thread's network namespace: all states that
/// a full socket can have except CLOSE. Requests (a SYN waiting for its ACK) and timewait sockets
/// are left out, also a timewait socket that stands in for FIN_WAIT2.
///
/// 100,000 sockets are about 15 MB to read: some tenths of a second.
///
/// # Errors
/// When there is no netlink socket to be had or the kernel does not know `sock_diag` for TCP.
pub fn list() -> anyhow::Result<Listing> {
    let mut problem = None;
    for _ in 0..ATTEMPTS {
        let mut sockets = HashMap::new();
        let mut interrupted = false;
        let mut undecodable = 0_usize;
        for family in [AF_INET, AF_INET6] {
            let dumped = dump(NETLINK_SOCK_DIAG, request(family), &mut |answer| {
                if let SockDiagMessage::InetResponse(response) = answer
                    && let Some(socket) = decode(&response)
                {
                    sockets.insert(socket.cookie, socket);
                }
            })
            .map_err(explain)
            .context("can't list the TCP sockets that are already open")?;
            interrupted |= dumped.interrupted;
            undecodable = undecodable.saturating_add(dumped.undecodable);
        }
        let incomplete = (undecodable > 0)
            .then(|| format!("{undecodable} sockets were described in a way tracer can't read"));
        if !interrupted {
            return Ok(Listing { sockets: sockets.into_values().collect(), incomplete });
        }
        problem = Some((sockets, incomplete));
    }
    let (sockets, undecodable) = problem.unwrap_or_default();
    Ok(Listing {
        sockets: sockets.into_values().collect(),
        incomplete: Some(undecodable.unwrap_or_else(|| {
            format!(
                "the sockets changed too fast to list them: {ATTEMPTS} attempts were interrupted"
            )
        })),
    })
}

fn request(family: u8) -> SockDiagMessage {
    SockDiagMessage::InetRequest(InetRequest {
        family,
        // Sockets of MPTCP are not listed under TCP; their subflows, which are TCP sockets, are.
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all() - StateFlags::TIME_WAIT - StateFlags::CLOSE,
        socket_id: if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() },
    })
}

/// What of an answer is a full socket.
fn decode(response: &InetResponse) -> Option<DiagSocket> {
    // Asking for SYN_RECV brings the requests too, and asking for FIN_WAIT2 the timewait sockets
    // with that substate. Only a full socket has an INET_DIAG_SHUTDOWN: inet_diag_msg_attrs_fill()
    // puts it always, inet_req_diag_fill() and inet_twsk_diag_fill() never (net/ipv4/inet_diag.c).
    let full = |nla: &Nla| matches!(nla, Nla::Shutdown(_));
    if !response.nlas.iter().any(full) {
        return None;
    }
    let header = &response.header;
    let id = &header.socket_id;
    Some(DiagSocket {
        cookie: cookie(id.cookie),
        local: SocketAddr::new(id.source_address.to_canonical(), id.source_port),
        remote: SocketAddr::new(id.destination_address.to_canonical(), id.destination_port),
        state: TcpState::try_from(header.state).ok()?,
        inode: header.inode,
        cgroup: response.nlas.iter().find_map(cgroup).unwrap_or(0),
    })
}

/// `sock_diag_save_cookie()` stores the low half first, each half in host order.
pub(super) fn cookie(bytes: [u8; 8]) -> u64 {
    let [a, b, c, d, e, f, g, h] = bytes;
    let low = u64::from(u32::from_ne_bytes([a, b, c, d]));
    let high = u64::from(u32::from_ne_bytes([e, f, g, h]));
    high << 32 | low
}

fn cgroup(nla: &Nla) -> Option<u64> {
    let Nla::Other(other) = nla else { return None };
    if other.kind() != INET_DIAG_CGROUP_ID || other.value_len() != size_of::<u64>() {
        return None;
    }
    let mut value = [0; size_of::<u64>()];
    other.emit_value(&mut value);
    parse_u64(&value).ok()
}

fn explain(error: io::Error) -> anyhow::Error {
    let hint = match error.raw_os_error() {
        Some(libc::ENOENT | libc::EPROTONOSUPPORT | libc::EINVAL) => {
            ": the kernel has no sock_diag for TCP (CONFIG_INET_TCP_DIAG; module tcp_diag)"
        }
        Some(libc::EAGAIN) => ": the kernel did not answer in time",
        _ => "",
    };
    anyhow::anyhow!("{error}{hint}")
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DefaultNla, Parseable as _};
    use netlink_packet_sock_diag::inet::InetResponseHeader;

    use super::*;

    fn response(family: u8, state: u8, nlas: &[Nla]) -> InetResponse {
        let mut socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
        socket_id.source_port = 8080;
        socket_id.destination_port = 40000;
        socket_id.cookie = [1, 0, 0, 0, 2, 0, 0, 0];
        if family == AF_INET6 {
            socket_id.source_address = "::ffff:192.0.2.1".parse().unwrap();
            socket_id.destination_address = "2001:db8::1".parse().unwrap();
        }
        InetResponse {
            header: InetResponseHeader {
                family,
                state,
                timer: None,
                socket_id,
                recv_queue: 0,
                send_queue: 0,
                uid: 0,
                inode: 77,
            },
            nlas: nlas.iter().cloned().collect(),
        }
    }

    #[test]
    fn a_full_socket_is_decoded() {
        let id = 0x1_0000_002a_u64;
        let nlas = [
            Nla::Shutdown(0),
            Nla::Other(DefaultNla::new(INET_DIAG_CGROUP_ID, id.to_ne_bytes().to_vec())),
        ];
        let socket = decode(&response(AF_INET6, 1, &nlas)).unwrap();
        assert_eq!(socket.cookie, 0x2_0000_0001);
        assert_eq!(socket.local, "192.0.2.1:8080".parse().unwrap());
        assert_eq!(socket.remote, "[2001:db8::1]:40000".parse().unwrap());
        assert_eq!(socket.state, TcpState::Established);
        assert_eq!((socket.inode, socket.cgroup), (77, id));
    }

    #[test]
    fn what_is_no_full_socket_is_left_out() {
        // A request and a timewait socket in substate FIN_WAIT2 carry no INET_DIAG_SHUTDOWN.
        assert_eq!(decode(&response(AF_INET, 3, &[Nla::Mark(0)])), None);
        assert_eq!(decode(&response(AF_INET, 5, &[])), None);
        assert!(decode(&response(AF_INET, 3, &[Nla::Shutdown(0)])).is_some());
        // TCP_BOUND_INACTIVE, the pseudo-state of 6.8.
        assert_eq!(decode(&response(AF_INET, 13, &[Nla::Shutdown(0)])), None);
    }

    #[test]
    fn a_cgroup_id_of_the_wrong_size_is_unknown() {
        let short = Nla::Other(DefaultNla::new(INET_DIAG_CGROUP_ID, vec![1; 4]));
        let socket = decode(&response(AF_INET, 10, &[Nla::Shutdown(0), short])).unwrap();
        assert_eq!(socket.cgroup, 0);
    }

    #[test]
    fn the_request_asks_for_neither_timewait_nor_closed_sockets() {
        let SockDiagMessage::InetRequest(request) = request(AF_INET) else {
            panic!("no request");
        };
        assert_eq!(request.states.bits(), 0b1111_0011_1110);
        // struct inet_diag_req_v2 is 56 bytes.
        assert_eq!(
            InetRequest::parse(&{
                use netlink_packet_core::Emitable as _;
                let mut bytes = vec![0; request.buffer_len()];
                request.emit(&mut bytes);
                assert_eq!(bytes.len(), 56);
                bytes
            })
            .unwrap(),
            request
        );
    }
}
