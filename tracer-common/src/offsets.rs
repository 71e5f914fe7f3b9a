//! Where the running kernel keeps the fields the programs read.
//!
//! rustc emits no CO-RE relocations, so the user side looks the offsets up in the kernel's BTF and
//! passes them as frozen `.rodata`, which the verifier treats as constants.

/// The kernel does not have this field.
pub const ABSENT: u32 = u32::MAX;

macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident: $structure:literal, $path:literal;)*) => {
        /// Byte offsets of kernel struct members; [`ABSENT`] where the kernel lacks one.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Offsets {
            $($(#[$doc])* pub $field: u32,)*
        }

        impl Offsets {
            /// No field known.
            pub const UNKNOWN: Self = Self { $($field: ABSENT,)* };

            /// Fills every field from a look-up of (struct, member path), e.g.
            /// `("sock", "__sk_common.skc_dport")`, that answers in bytes.
            pub fn resolve(mut find: impl FnMut(&'static str, &'static str) -> Option<u32>) -> Self {
                Self { $($field: find($structure, $path).unwrap_or(ABSENT),)* }
            }

            /// The members the look-up did not find, as (field, struct, member path).
            pub fn missing(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
                [$((self.$field, stringify!($field), $structure, $path),)*]
                    .into_iter()
                    .filter(|(offset, ..)| *offset == ABSENT)
                    .map(|(_, field, structure, path)| (field, structure, path))
            }
        }
    };
}

offsets! {
    /// Remote IPv4 address, network order.
    skc_daddr: "sock_common", "skc_daddr";
    /// Local IPv4 address, network order.
    skc_rcv_saddr: "sock_common", "skc_rcv_saddr";
    /// Remote port, network order.
    skc_dport: "sock_common", "skc_dport";
    /// Local port, host order; 0 after the port was given back.
    skc_num: "sock_common", "skc_num";
    /// Address family.
    skc_family: "sock_common", "skc_family";
    /// State.
    skc_state: "sock_common", "skc_state";
    /// `IPV6_V6ONLY`: bit offset.
    skc_ipv6only_bit: "sock_common", "skc_ipv6only#bit";
    /// `struct net *`.
    skc_net: "sock_common", "skc_net.net";
    /// Remote IPv6 address.
    skc_v6_daddr: "sock_common", "skc_v6_daddr";
    /// Local IPv6 address.
    skc_v6_rcv_saddr: "sock_common", "skc_v6_rcv_saddr";
    /// Socket cookie; 0 before anybody asked.
    skc_cookie: "sock_common", "skc_cookie";
    /// `SOCK_DONE`, `SOCK_DEAD`, ….
    skc_flags: "sock_common", "skc_flags";
    /// Inode of the network namespace.
    net_inum: "net", "ns.inum";
    /// Protocol: u16 since 5.6.
    sk_protocol: "sock", "sk_protocol";
    /// Pending error.
    sk_err: "sock", "sk_err";
    /// `RCV_SHUTDOWN`, `SEND_SHUTDOWN`.
    sk_shutdown: "sock", "sk_shutdown";
    /// Non-zero while a process holds the socket lock.
    sk_lock_owned: "sock", "sk_lock.owned";
    /// `struct cgroup *` of the socket.
    sk_cgroup: "sock", "sk_cgrp_data.cgroup";
    /// `struct kernfs_node *` of a cgroup.
    cgroup_kn: "cgroup", "kn";
    /// cgroup id.
    kernfs_id: "kernfs_node", "id";
    /// Local port, network order; outlives `skc_num`.
    inet_sport: "inet_sock", "inet_sport";
    /// Smoothed round-trip time, 8 × µs.
    tcp_srtt_us: "tcp_sock", "srtt_us";
    /// Segments sent again.
    tcp_total_retrans: "tcp_sock", "total_retrans";
    /// Bytes acknowledged.
    tcp_bytes_acked: "tcp_sock", "bytes_acked";
    /// Bytes received.
    tcp_bytes_received: "tcp_sock", "bytes_received";
    /// `ktime_get_ns()` when the socket last asked what time it is (`tcp_mstamp_refresh()`).
    tcp_clock_cache: "tcp_sock", "tcp_clock_cache";
    /// Next sequence number expected.
    tcp_rcv_nxt: "tcp_sock", "rcv_nxt";
    /// Bit offset of `fastopen_connect`.
    tcp_fastopen_connect_bit: "tcp_sock", "fastopen_connect#bit";
    /// `request_sock.num_timeout` shares a byte with the `syncookie` bit: bit offset.
    req_num_timeout_bit: "request_sock", "num_timeout#bit";
    /// The peer's initial sequence number, host order.
    treq_rcv_isn: "tcp_request_sock", "rcv_isn";
    /// Thread group id.
    task_tgid: "task_struct", "tgid";
    /// `PF_KTHREAD`, ….
    task_flags: "task_struct", "flags";
    /// `struct task_struct *` of the process.
    task_group_leader: "task_struct", "group_leader";
    /// Name.
    task_comm: "task_struct", "comm";
    /// `struct files_struct *`.
    task_files: "task_struct", "files";
    /// `struct fdtable *`.
    files_fdt: "files_struct", "fdt";
    /// `struct file **`.
    fdtable_fd: "fdtable", "fd";
    /// Size of the fd array.
    fdtable_max_fds: "fdtable", "max_fds";
    /// `struct socket *` of a socket's file.
    file_private_data: "file", "private_data";
    /// `struct sock *`.
    socket_sk: "socket", "sk";
    /// `struct file *` back.
    socket_file: "socket", "file";
}
