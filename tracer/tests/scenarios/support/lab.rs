//! Two hosts joined by a cable: two namespaces and a veth pair, with addresses no other test has.

use super::netns::Netns;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// MAC address of `va`, host `a`'s end of the cable.
pub(crate) const MAC_A: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
/// MAC address of `vb`, host `b`'s end of the cable.
pub(crate) const MAC_B: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];

/// Host `a` (usually the client), host `b` (usually the server, where the tracer runs), and the
/// cable `va`—`vb` between them.
pub(crate) struct Lab {
    /// Host a.
    pub(crate) a: Netns,
    /// Host b.
    pub(crate) b: Netns,
    /// The first three bytes of its IPv4 addresses.
    net: [u8; 3],
}

impl Lab {
    /// Makes the lab. One process makes one: its addresses come from its pid.
    pub(crate) fn new() -> Self {
        let pid = std::process::id();
        let byte = |n: u32| u8::try_from(n).unwrap_or(0);
        Self::in_net([10, 64 + byte(pid / 256 % 128), byte(pid % 256)])
    }

    /// A lab with addresses for documentation (RFC 5737), always the same: whoever runs the tracer
    /// in it asks for this namespace alone.
    pub(crate) fn of_documentation() -> Self {
        Self::in_net([192, 0, 2])
    }

    fn in_net(net: [u8; 3]) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make network namespaces and load BPF programs: run them as root \
             (`cargo xtask test` does)"
        );
        let lab = Self { a: Netns::new(), b: Netns::new(), net };
        lab.cable();
        lab
    }

    fn cable(&self) {
        self.a.sh(&format!(
            "ip link add va address {} type veth peer name vb address {} netns {}",
            mac(MAC_A),
            mac(MAC_B),
            self.b.path()
        ));
        for (ns, dev, v4, v6) in
            [(&self.a, "va", self.a4(), self.a6()), (&self.b, "vb", self.b4(), self.b6())]
        {
            ns.sysctl("ipv4/ip_forward", 0);
            ns.sh(&format!("ip addr add {v4}/24 dev {dev}"));
            ns.sh(&format!("ip addr add {v6}/64 dev {dev} nodad"));
            ns.sh(&format!("ip link set {dev} up"));
        }
        // Finding the neighbour is no part of a handshake, and may take a second here: IPv6 waits
        // for its own address to be found free.
        for (ns, dev, theirs, at) in [
            (&self.a, "va", [self.b4(), self.b6()], MAC_B),
            (&self.b, "vb", [self.a4(), self.a6()], MAC_A),
        ] {
            for addr in theirs {
                let mac = mac(at);
                ns.sh(&format!("ip neigh replace {addr} lladdr {mac} dev {dev} nud permanent"));
            }
        }
    }

    fn host4(&self, host: u8) -> Ipv4Addr {
        let [x, y, z] = self.net;
        Ipv4Addr::new(x, y, z, host)
    }

    fn host6(&self, host: u16) -> Ipv6Addr {
        let (x, y) = (u16::from(self.net[1]), u16::from(self.net[2]));
        Ipv6Addr::new(0xfd00, x, y, 0, 0, 0, 0, host)
    }

    /// IPv4 address of host a.
    pub(crate) fn a4(&self) -> IpAddr {
        self.host4(1).into()
    }

    /// IPv4 address of host b.
    pub(crate) fn b4(&self) -> IpAddr {
        self.host4(2).into()
    }

    /// An IPv4 address on a's side that no kernel answers for: the raw peer's.
    pub(crate) fn raw4(&self) -> Ipv4Addr {
        self.host4(9)
    }

    /// A further address of this subnet.
    pub(crate) fn other4(&self, host: u8) -> Ipv4Addr {
        self.host4(host)
    }

    /// An IPv4 address of a network behind host b.
    pub(crate) fn inner4(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.net[1].wrapping_sub(64), self.net[2], host)
    }

    /// Gives host a so many addresses more (100 at most), for a crowd.
    pub(crate) fn more_addresses(&self, n: u8) -> Vec<IpAddr> {
        let addrs: Vec<IpAddr> = (100..100 + n.min(100)).map(|n| self.host4(n).into()).collect();
        for addr in &addrs {
            self.a.sh(&format!("ip addr add {addr}/24 dev va"));
            let mac = mac(MAC_A);
            self.b.sh(&format!("ip neigh replace {addr} lladdr {mac} dev vb nud permanent"));
        }
        addrs
    }

    /// IPv6 address of host a.
    pub(crate) fn a6(&self) -> IpAddr {
        self.host6(1).into()
    }

    /// IPv6 address of host b.
    pub(crate) fn b6(&self) -> IpAddr {
        self.host6(2).into()
    }

    /// Prefix of this lab's IPv4 addresses.
    pub(crate) fn prefix4(&self) -> String {
        format!("{}/24", self.host4(0))
    }

    /// Prefix of this lab's IPv6 addresses.
    pub(crate) fn prefix6(&self) -> String {
        format!("{}/64", self.host6(0))
    }

    /// Address and port of host b, IPv4.
    pub(crate) fn b4_port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.b4(), port)
    }

    /// Address and port of the raw peer.
    pub(crate) fn raw4_port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.raw4().into(), port)
    }
}

/// A MAC address as `ip` writes it.
pub(crate) fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
