//! Filling a [`SocketRecord`] from a `struct sock`.

use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_skc_to_tcp_sock};
use tracer_common::{
    addr::Addr,
    record::{SocketRecord, flags},
};

use crate::{
    config::offset,
    filter::Subject,
    kernel::{Direct, Ptr, Reader},
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
                    Addr(R::copy16(common, offset!(skc_v6_rcv_saddr))),
                    Addr(R::copy16(common, offset!(skc_v6_daddr))),
                )
            };
            Some(Self {
                family: family as u8,
                subject: Subject {
                    local_addr,
                    remote_addr,
                    local_port: R::read(common, offset!(skc_num)),
                    remote_port: u16::from_be(R::read(common, offset!(skc_dport))),
                    netns: R::follow(net, offset!(net_inum)),
                },
            })
        }
    }

    /// Reads a full TCP socket's.
    #[inline(always)]
    pub(crate) unsafe fn read_tcp(sk: Ptr) -> Option<Self> {
        // SAFETY: the caller passes a full socket.
        unsafe { if is_tcp::<Direct>(sk) { Self::read::<Direct>(sk) } else { None } }
    }

    /// Whether the local port is not known: not chosen yet, or given back already, as at →CLOSE.
    #[inline(always)]
    pub(crate) fn lacks_port(&self) -> bool {
        self.subject.local_port == 0
    }

    /// Takes a local port that is not known from `inet_sport`, which is beyond `struct sock`. It is not
    /// cleared when the port is given back: at →SYN_SENT it is that of the socket's connect() before.
    #[inline(always)]
    pub(crate) unsafe fn recall_port<R: Reader>(&mut self, inet: Ptr) {
        if self.lacks_port() {
            // SAFETY: offset of inet_sock.
            self.subject.local_port = u16::from_be(unsafe { R::read(inet, offset!(inet_sport)) });
        }
    }
}

/// MPTCP (262) and SCTP have sockets of the same states, which are accepted the same way.
#[inline(always)]
pub(crate) unsafe fn is_tcp<R: Reader>(sk: Ptr) -> bool {
    // SAFETY: offset of sock.
    unsafe { R::read::<u16>(sk, offset!(sk_protocol)) == IPPROTO_TCP }
}

/// Fills in addresses, ports and namespace.
#[inline(always)]
pub(crate) unsafe fn fill_tuple(record: *mut SocketRecord, tuple: &Tuple) {
    // SAFETY: the caller passes a reserved record.
    unsafe {
        (*record).family = tuple.family;
        (*record).local_addr = tuple.subject.local_addr;
        (*record).remote_addr = tuple.subject.remote_addr;
        (*record).local_port = tuple.subject.local_port;
        (*record).remote_port = tuple.subject.remote_port;
        (*record).netns = tuple.subject.netns;
        (*record).reserved = 0;
    }
}

/// Fills everything that can be read off the socket itself but `tcp_sock`'s fields; states, times,
/// owner and SYN are the hook's to fill in.
#[inline(always)]
pub(crate) unsafe fn fill(record: *mut SocketRecord, sk: Ptr, tuple: &Tuple) {
    // SAFETY: the caller passes a reserved record and a full socket.
    unsafe {
        fill_tuple(record, tuple);
        (*record).sk_err = Direct::read(sk, offset!(sk_err));
        (*record).cgroup_id = cgroup::<Direct>(sk);
        let mut bits = 0;
        let sock_flags: u64 = Direct::read(sk, offset!(skc_flags));
        if sock_flags & SOCK_DEAD != 0 {
            bits |= flags::ORPHANED;
        }
        if sock_flags & SOCK_DONE != 0 {
            bits |= flags::FIN_RECEIVED;
        }
        if Direct::read::<u8>(sk, offset!(sk_shutdown)) & SEND_SHUTDOWN != 0 {
            bits |= flags::SEND_SHUTDOWN;
        }
        let bit = offset!(skc_ipv6only_bit);
        if tuple.family == AF_INET6 as u8
            && bit != tracer_common::offsets::ABSENT
            && Direct::read::<u8>(sk, bit / 8) >> (bit % 8) & 1 != 0
        {
            bits |= flags::V6ONLY;
        }
        (*record).flags = bits;
    }
}

/// For a record that says nothing of what came before: no SYN, and since when it was in its state.
#[inline(always)]
pub(crate) unsafe fn fill_nothing_before(record: *mut SocketRecord) {
    // SAFETY: the caller passes a reserved record.
    unsafe {
        zero(&raw mut (*record).prev_ts_ns);
        zero(&raw mut (*record).syn_ts_ns);
        (*record).syn_repeats = 0;
    }
}

/// For a record without `tcp_sock`'s fields.
#[inline(always)]
pub(crate) unsafe fn fill_no_tcp(record: *mut SocketRecord) {
    // SAFETY: the caller passes a reserved record.
    unsafe {
        (*record).srtt_us = 0;
        (*record).total_retrans = 0;
        zero(&raw mut (*record).bytes_acked);
        zero(&raw mut (*record).bytes_received);
    }
}

/// Volatile: for two neighbours that are zeroed the compiler calls its `memset`, which goes byte by
/// byte.
#[inline(always)]
unsafe fn zero(word: *mut u64) {
    // SAFETY: the caller passes a word of a reserved record.
    unsafe { word.write_volatile(0) };
}

/// Fills the `tcp_sock` fields.
#[inline(always)]
pub(crate) unsafe fn fill_tcp(record: *mut SocketRecord, tcp: Ptr) {
    // SAFETY: the caller passes a reserved record and what `tcp_sock` returned.
    unsafe {
        (*record).srtt_us = Direct::read::<u32>(tcp, offset!(tcp_srtt_us)) >> 3;
        (*record).total_retrans = Direct::read(tcp, offset!(tcp_total_retrans));
        (*record).bytes_acked = Direct::read(tcp, offset!(tcp_bytes_acked));
        (*record).bytes_received = Direct::read(tcp, offset!(tcp_bytes_received));
        (*record).flags |= flags::TCP_FIELDS;
        let bit = offset!(tcp_fastopen_connect_bit);
        if bit != tracer_common::offsets::ABSENT
            && Direct::read::<u8>(tcp, bit / 8) >> (bit % 8) & 1 != 0
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
pub(crate) unsafe fn cgroup<R: Reader>(sk: Ptr) -> u64 {
    // SAFETY: a chain of typed pointers; a null one reads as zero.
    unsafe {
        let cgroup = R::read::<usize>(sk, offset!(sk_cgroup)) as Ptr;
        let node = R::read::<usize>(cgroup, offset!(cgroup_kn)) as Ptr;
        R::read(node, offset!(kernfs_id))
    }
}
