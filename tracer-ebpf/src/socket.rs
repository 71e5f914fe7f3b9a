//! Filling a [`SocketRecord`] from a `struct sock`.

use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_skc_to_tcp_sock};
use tracer_common::{
    addr::Addr,
    record::{SocketRecord, flags},
};

use crate::{
    config::offset,
    filter::Subject,
    kernel::{Direct, Probe, Ptr, Reader, copy16},
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
/// `enum sock_flags` in `include/net/sock.h`.
const SOCK_DEAD: u64 = 1 << 0;
const SOCK_DONE: u64 = 1 << 1;
const SEND_SHUTDOWN: u8 = 2;

/// Addresses, ports and namespace of a socket.
pub(crate) struct Tuple {
    pub family: u8,
    pub subject: Subject,
}

impl Tuple {
    /// Reads what `struct sock_common` holds: full sockets and request sockets. `None` for what is
    /// neither IPv4 nor IPv6.
    #[inline(always)]
    pub(crate) unsafe fn read<R: Reader>(common: Ptr) -> Option<Self> {
        // SAFETY: offsets of sock_common.
        unsafe {
            let family: u16 = R::read(common, offset!(skc_family));
            if family != AF_INET && family != AF_INET6 {
                return None;
            }
            let net = R::read::<usize>(common, offset!(skc_net)) as Ptr;
            let (local_addr, remote_addr) = if family == AF_INET {
                (
                    Addr::v4(R::read(common, offset!(skc_rcv_saddr))),
                    Addr::v4(R::read(common, offset!(skc_daddr))),
                )
            } else {
                (
                    Addr(copy16(common, offset!(skc_v6_rcv_saddr))),
                    Addr(copy16(common, offset!(skc_v6_daddr))),
                )
            };
            Some(Self {
                family: family as u8,
                subject: Subject {
                    local_addr,
                    remote_addr,
                    local_port: R::read(common, offset!(skc_num)),
                    remote_port: u16::from_be(R::read(common, offset!(skc_dport))),
                    netns: R::read(net, offset!(net_inum)),
                },
            })
        }
    }

    /// Reads a full TCP socket's. The local port is taken from `inet_sport` where `skc_num` has
    /// been given back already, as at →CLOSE. `inet_sport` is not cleared then: at →SYN_SENT
    /// (`connecting`) it is that of the socket's connect() before, and the port is not chosen yet.
    #[inline(always)]
    pub(crate) unsafe fn read_tcp<R: Reader>(sk: Ptr, connecting: bool) -> Option<Self> {
        // SAFETY: offsets of sock and inet_sock.
        unsafe {
            // MPTCP (262) and SCTP fire the same tracepoint.
            if R::read::<u16>(sk, offset!(sk_protocol)) != IPPROTO_TCP {
                return None;
            }
            let mut tuple = Self::read::<R>(sk)?;
            if tuple.subject.local_port == 0 && !connecting {
                // Beyond `struct sock`, which is all the verifier knows this to be.
                tuple.subject.local_port = u16::from_be(Probe::read(sk, offset!(inet_sport)));
            }
            Some(tuple)
        }
    }
}

/// Fills everything that can be read off the socket itself; states, times, owner and SYN are the
/// hook's to fill in.
#[inline(always)]
pub(crate) unsafe fn fill<R: Reader>(record: *mut SocketRecord, sk: Ptr, tuple: &Tuple) {
    // SAFETY: the caller passes a reserved record and a full socket.
    unsafe {
        (*record).family = tuple.family;
        (*record).local_addr = tuple.subject.local_addr;
        (*record).remote_addr = tuple.subject.remote_addr;
        (*record).local_port = tuple.subject.local_port;
        (*record).remote_port = tuple.subject.remote_port;
        (*record).netns = tuple.subject.netns;
        (*record).prev_ts_ns = 0;
        (*record).syn_ts_ns = 0;
        (*record).syn_repeats = 0;
        (*record).reserved = 0;
        (*record).sk_err = R::read(sk, offset!(sk_err));
        (*record).cgroup_id = cgroup::<R>(sk);
        let mut bits = 0;
        let sock_flags: u64 = R::read(sk, offset!(skc_flags));
        if sock_flags & SOCK_DEAD != 0 {
            bits |= flags::ORPHANED;
        }
        if sock_flags & SOCK_DONE != 0 {
            bits |= flags::FIN_RECEIVED;
        }
        if R::read::<u8>(sk, offset!(sk_shutdown)) & SEND_SHUTDOWN != 0 {
            bits |= flags::SEND_SHUTDOWN;
        }
        let bit = offset!(skc_ipv6only_bit);
        if tuple.family == AF_INET6 as u8
            && bit != tracer_common::offsets::ABSENT
            && R::read::<u8>(sk, bit / 8) >> (bit % 8) & 1 != 0
        {
            bits |= flags::V6ONLY;
        }
        (*record).flags = bits;
        (*record).srtt_us = 0;
        (*record).total_retrans = 0;
        (*record).bytes_acked = 0;
        (*record).bytes_received = 0;
    }
}

/// Fills the `tcp_sock` fields. Only where the verifier knows the socket's type.
#[inline(always)]
pub(crate) unsafe fn fill_tcp<R: Reader>(record: *mut SocketRecord, tcp: Ptr) {
    // SAFETY: the caller passes a reserved record and what `tcp_sock` returned.
    unsafe {
        (*record).srtt_us = R::read::<u32>(tcp, offset!(tcp_srtt_us)) >> 3;
        (*record).total_retrans = R::read(tcp, offset!(tcp_total_retrans));
        (*record).bytes_acked = R::read(tcp, offset!(tcp_bytes_acked));
        (*record).bytes_received = R::read(tcp, offset!(tcp_bytes_received));
        (*record).flags |= flags::TCP_FIELDS;
        let bit = offset!(tcp_fastopen_connect_bit);
        if bit != tracer_common::offsets::ABSENT
            && R::read::<u8>(tcp, bit / 8) >> (bit % 8) & 1 != 0
        {
            (*record).flags |= flags::FASTOPEN_CONNECT;
        }
    }
}

/// The socket as `struct tcp_sock`, as far as the verifier agrees.
#[inline(always)]
pub(crate) unsafe fn tcp_sock(sk: Ptr) -> Ptr {
    // SAFETY: the helper checks what it is given.
    unsafe { bpf_skc_to_tcp_sock(sk.cast_mut()).cast_const().cast() }
}

/// The socket's cookie; it gets one if nobody asked before. The helper is only called then: a call and
/// its guarded return cost more than the load.
#[inline(always)]
pub(crate) unsafe fn cookie(sk: Ptr) -> u64 {
    // SAFETY: the caller passes a struct sock.
    unsafe {
        let cookie: u64 = Direct::read(sk, offset!(skc_cookie));
        if cookie != 0 { cookie } else { bpf_get_socket_cookie(sk.cast_mut()) }
    }
}

/// cgroup v2 id of the socket; 0 unknown.
#[inline(always)]
unsafe fn cgroup<R: Reader>(sk: Ptr) -> u64 {
    // SAFETY: a chain of typed pointers; a null one reads as zero.
    unsafe {
        let cgroup = R::read::<usize>(sk, offset!(sk_cgroup)) as Ptr;
        let node = R::read::<usize>(cgroup, offset!(cgroup_kn)) as Ptr;
        R::read(node, offset!(kernfs_id))
    }
}
