//! A container behind host b, as container runtimes make them: a namespace, a cable, addresses
//! translated on the way in.

use std::net::SocketAddr;

use super::lab::Lab;
use super::netns::Netns;

/// The namespace and where it listens.
pub(crate) struct Container {
    /// Its namespace.
    pub(crate) ns: Netns,
    /// Its own address, port 80.
    pub(crate) addr: SocketAddr,
}

impl Container {
    /// Makes one, reached from host a through host b, which forwards.
    pub(crate) fn new(lab: &Lab) -> Self {
        let ns = Netns::new();
        let (gateway, addr) = (lab.inner4(1), lab.inner4(2));
        lab.b.sh(&format!("ip link add cb type veth peer name eth0 netns {}", ns.path()));
        lab.b.sh(&format!("ip addr add {gateway}/24 dev cb"));
        lab.b.sh("ip link set cb up");
        ns.sh(&format!("ip addr add {addr}/24 dev eth0"));
        ns.sh("ip link set eth0 up");
        ns.sh(&format!("ip route add default via {gateway}"));
        lab.b.sysctl("ipv4/ip_forward", 1);
        lab.a.sh(&format!("ip route add {}/24 via {}", lab.inner4(0), lab.b4()));
        Self { ns, addr: SocketAddr::new(addr.into(), 80) }
    }

    /// What comes to port 8080 of host b goes to the container (DNAT).
    pub(crate) fn publish(&self, lab: &Lab) {
        lab.b.nft(&format!(
            "table ip nat {{\nchain prerouting {{\ntype nat hook prerouting priority dstnat\n\
             tcp dport 8080 dnat to {}\n}}\n}}\n",
            self.addr
        ));
    }
}
