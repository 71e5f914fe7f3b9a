//! The listening sockets of the calling thread's network namespace with their two queues, and the
//! half-open connections, from `sock_diag`.
//!
//! A listener's answer carries its accept queue only (`sk_ack_backlog`, `sk_max_ack_backlog`:
//! `inet_diag_msg_attrs_fill()`, `tcp_diag_get_info()`). The SYN queue has no figure there: it is
//! the requests that are listed beside it, counted. Both are dumps that walk the hash tables, so
//! this is for once a second at most, and only while there is a reason to look.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;
use netlink_packet_core::{Nla as _, parse_u32};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use tracer_common::state::TcpState;

use super::netlink::dump;
use super::sock_diag::cookie;
use crate::core::flood::sample::{ListenerQueues, Queues};

/// `INET_DIAG_SKMEMINFO` of `linux/inet_diag.h`: u32s, `SK_MEMINFO_*` of `linux/sock_diag.h`.
const INET_DIAG_SKMEMINFO: u16 = 7;
/// `SK_MEMINFO_DROPS`: `sk_drops`.
const SK_MEMINFO_DROPS: usize = 8;
/// `INET_DIAG_SKV6ONLY`: u8, of IPv6 sockets.
const INET_DIAG_SKV6ONLY: u16 = 11;

/// A listening socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListenSocket {
    /// The kernel's socket cookie.
    pub cookie: u64,
    /// Where it listens.
    pub local: SocketAddr,
    /// An IPv6 socket that takes no IPv4 connections.
    pub v6only: bool,
    /// Connections waiting for accept().
    pub accept_queue: u64,
    /// Limit of that queue and of the SYN queue.
    pub limit: u64,
    /// What it dropped so far; `None` where the kernel does not tell.
    pub drops: Option<u64>,
}

/// A half-open connection: a SYN that waits for its final ACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Request {
    local: SocketAddr,
    remote: IpAddr,
}

/// The listening sockets.
///
/// # Errors
/// When the kernel can't be asked.
pub fn listeners() -> anyhow::Result<Vec<ListenSocket>> {
    Ok(list(StateFlags::LISTEN)?.0)
}

/// Both queues of every listener, and who is half-open with it.
///
/// # Errors
/// When the kernel can't be asked.
pub fn queues() -> anyhow::Result<Queues> {
    let (listeners, requests) = list(StateFlags::LISTEN | StateFlags::SYN_RECV)?;
    Ok(assign(&listeners, &requests))
}

fn list(states: StateFlags) -> anyhow::Result<(Vec<ListenSocket>, Vec<Request>)> {
    let mut listeners = HashMap::new();
    let mut requests = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let request = SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::SKMEMINFO,
            states: states.clone(),
            socket_id: if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() },
        });
        dump(NETLINK_SOCK_DIAG, request, &mut |answer| {
            if let SockDiagMessage::InetResponse(response) = answer {
                match TcpState::try_from(response.header.state) {
                    Ok(TcpState::Listen) => {
                        let socket = listener(&response);
                        listeners.insert(socket.cookie, socket);
                    }
                    Ok(TcpState::SynRecv) => requests.push(request_of(&response)),
                    _ => {}
                }
            }
        })
        .map_err(|error: io::Error| anyhow::anyhow!("{error}"))
        .context("can't list the listening sockets")?;
    }
    Ok((listeners.into_values().collect(), requests))
}

fn listener(response: &InetResponse) -> ListenSocket {
    let header = &response.header;
    let id = &header.socket_id;
    let other = |kind| response.nlas.iter().find_map(move |nla| value(nla, kind));
    ListenSocket {
        cookie: cookie(id.cookie),
        local: SocketAddr::new(id.source_address.to_canonical(), id.source_port),
        v6only: other(INET_DIAG_SKV6ONLY).and_then(|bytes| bytes.first().copied()) == Some(1),
        accept_queue: header.recv_queue.into(),
        limit: header.send_queue.into(),
        drops: other(INET_DIAG_SKMEMINFO).and_then(|bytes| {
            let at = SK_MEMINFO_DROPS * size_of::<u32>();
            bytes
                .get(at..at + size_of::<u32>())
                .and_then(|word| parse_u32(word).ok())
                .map(u64::from)
        }),
    }
}

/// The bytes of an attribute.
fn value(nla: &Nla, kind: u16) -> Option<Vec<u8>> {
    if nla.kind() != kind {
        return None;
    }
    let mut bytes = vec![0; nla.value_len()];
    nla.emit_value(&mut bytes);
    Some(bytes)
}

fn request_of(response: &InetResponse) -> Request {
    let id = &response.header.socket_id;
    Request {
        local: SocketAddr::new(id.source_address.to_canonical(), id.source_port),
        remote: id.destination_address.to_canonical(),
    }
}

/// Gives each request to its listener: the one on that very address, else the one on any of its
/// family, else the one on `[::]` that takes IPv4 as well. Sockets that share an address and port
/// (SO_REUSEPORT) become one.
fn assign(sockets: &[ListenSocket], requests: &[Request]) -> Queues {
    let mut groups: HashMap<SocketAddr, (ListenerQueues, bool)> = HashMap::new();
    for socket in sockets {
        let (group, v6only) = groups.entry(socket.local).or_insert((
            ListenerQueues {
                local: socket.local,
                syn_queue: 0,
                accept_queue: 0,
                limit: 0,
                drops: Some(0),
            },
            socket.v6only,
        ));
        group.accept_queue += socket.accept_queue;
        group.limit += socket.limit;
        group.drops = group.drops.zip(socket.drops).map(|(a, b)| a + b);
        *v6only &= socket.v6only;
    }
    let mut half_open: HashMap<(IpAddr, SocketAddr), u64> = HashMap::new();
    for request in requests {
        let port = request.local.port();
        let any_v4 = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), port);
        let any_v6 = SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), port);
        let candidates = if request.local.is_ipv4() {
            [Some(request.local), Some(any_v4), Some(any_v6)]
        } else {
            [Some(request.local), Some(any_v6), None]
        };
        let found = candidates.into_iter().flatten().find(|at| {
            groups.get(at).is_some_and(|(group, v6only)| {
                !(*v6only && request.local.is_ipv4() && group.local.is_ipv6())
            })
        });
        if let Some(at) = found
            && let Some((group, _)) = groups.get_mut(&at)
        {
            group.syn_queue += 1;
            *half_open.entry((request.remote, at)).or_default() += 1;
        }
    }
    Queues {
        listeners: groups.into_values().map(|(group, _)| group).collect(),
        half_open: half_open.into_iter().map(|((host, at), count)| (host, at, count)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(local: &str, v6only: bool, cookie: u64) -> ListenSocket {
        ListenSocket {
            cookie,
            local: local.parse().unwrap(),
            v6only,
            accept_queue: 1,
            limit: 16,
            drops: Some(2),
        }
    }

    fn request(local: &str, remote: &str) -> Request {
        Request { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    fn of<'a>(queues: &'a Queues, local: &str) -> &'a ListenerQueues {
        let local = local.parse().unwrap();
        queues.listeners.iter().find(|queues| queues.local == local).unwrap()
    }

    #[test]
    fn a_request_belongs_to_the_most_specific_listener() {
        let sockets = [socket("10.0.0.1:80", false, 1), socket("0.0.0.0:80", false, 2)];
        let requests = [
            request("10.0.0.1:80", "10.9.0.1"),
            request("10.0.0.2:80", "10.9.0.1"),
            request("10.0.0.2:80", "10.9.0.1"),
            request("10.0.0.2:81", "10.9.0.1"),
        ];
        let queues = assign(&sockets, &requests);
        assert_eq!(of(&queues, "10.0.0.1:80").syn_queue, 1);
        assert_eq!(of(&queues, "0.0.0.0:80").syn_queue, 2);
        let mut hosts = queues.half_open;
        hosts.sort_unstable();
        let host = "10.9.0.1".parse().unwrap();
        assert_eq!(
            hosts,
            [(host, "0.0.0.0:80".parse().unwrap(), 2), (host, "10.0.0.1:80".parse().unwrap(), 1)]
        );
    }

    #[test]
    fn a_dual_stack_listener_takes_ipv4_unless_it_must_not() {
        let requests = [request("10.0.0.1:80", "10.9.0.1"), request("[fd00::1]:80", "fd00::9")];
        let dual = assign(&[socket("[::]:80", false, 1)], &requests);
        assert_eq!(of(&dual, "[::]:80").syn_queue, 2);
        let only = assign(&[socket("[::]:80", true, 1)], &requests);
        assert_eq!(of(&only, "[::]:80").syn_queue, 1);
    }

    #[test]
    fn sockets_of_one_group_are_summed() {
        let sockets = [socket("0.0.0.0:80", false, 1), socket("0.0.0.0:80", false, 2)];
        let queues = assign(&sockets, &[]);
        let group = of(&queues, "0.0.0.0:80");
        assert_eq!((group.accept_queue, group.limit, group.drops), (2, 32, Some(4)));
    }

    #[test]
    fn this_process_finds_its_own_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let waiting = std::net::TcpStream::connect(local).unwrap();
        let found = listeners().unwrap().into_iter().find(|socket| socket.local == local).unwrap();
        assert_eq!(found.accept_queue, 1);
        assert!(found.limit > 0 && found.drops == Some(0), "{found:?}");
        drop(waiting);
        assert!(queues().unwrap().listeners.iter().any(|queues| queues.local == local));
    }
}
