//! The network interfaces of tracer's own network namespace: what they are, and how they change.

mod driver;
mod message;
mod watch;

use std::fmt;

use anyhow::Context as _;
use netlink_sys::protocols::NETLINK_ROUTE;
use tracer_common::packet::Link;

use super::netlink::dump;
use message::{LinkAnswer, LinkRequest};
pub use watch::{Change, Watch};

/// How often a listing that the kernel calls inconsistent is tried again.
const ATTEMPTS: usize = 4;

/// A network interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Index: names the interface as long as it exists in this namespace.
    pub index: u32,
    /// Name. May change; bytes that are no UTF-8 have been replaced.
    pub name: String,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    /// `IFF_LOOPBACK`.
    pub loopback: bool,
    /// `IFF_POINTOPOINT`.
    pub point_to_point: bool,
    /// Kind of a virtual interface (`IFLA_INFO_KIND`): `veth`, `bridge`, `vlan`, `bond`, `tun`,
    /// `wireguard`, …; `None` for a device with a driver of its own, and for `lo`.
    pub kind: Option<String>,
    /// `ARPHRD_…` code of `linux/if_arp.h`.
    pub arphrd: u16,
    /// Name of the driver, as ethtool says it; `None` where there is none.
    pub driver: Option<String>,
    /// Maximum transmission unit, bytes.
    pub mtu: u32,
    /// The XDP program that is attached, whoever attached it.
    pub xdp: Option<AttachedXdp>,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttachedXdp {
    /// How it is attached.
    pub mode: AttachedMode,
    /// Id of the program, as in `bpftool prog`; `None` when several are attached.
    pub program: Option<u32>,
}

/// `XDP_ATTACHED_…` of `linux/if_link.h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
    /// In the device.
    Offloaded,
    /// In several of these.
    Several,
}

impl fmt::Display for AttachedMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
            Self::Several => "several modes",
        })
    }
}

/// `ARPHRD_…` codes of `linux/if_arp.h`.
mod arphrd {
    pub(super) const ETHER: u16 = 1;
    pub(super) const INFINIBAND: u16 = 32;
    pub(super) const CAN: u16 = 280;
    pub(super) const PPP: u16 = 512;
    pub(super) const RAWIP: u16 = 519;
    pub(super) const TUNNEL: u16 = 768;
    pub(super) const TUNNEL6: u16 = 769;
    pub(super) const LOOPBACK: u16 = 772;
    pub(super) const SIT: u16 = 776;
    pub(super) const IPGRE: u16 = 778;
    pub(super) const IP6GRE: u16 = 823;
    pub(super) const NETLINK: u16 = 824;
    pub(super) const NONE: u16 = 65534;
}

impl Interface {
    /// What the packets that a hook on the interface sees begin with.
    ///
    /// Layer-3 devices hand packets up with the MAC header reset to the IP header: PPP and tun
    /// always did, the tunnels (ipip, sit, GRE, ip6tnl, ip6gre) since 5.14
    /// (commits 7ad136fd288c, 730eed2772e7, aab1e898c26c, da5a2e49f064).
    ///
    /// # Errors
    /// Why tracer can't read the packets there.
    pub fn link(&self) -> Result<Link, String> {
        match self.arphrd {
            arphrd::ETHER | arphrd::LOOPBACK => Ok(Link::Ethernet),
            // ipgre_header_ops is set for a GRE device without a fixed peer, and for these
            // __ipgre_rcv() leaves the MAC header at the outer IP header (net/ipv4/ip_gre.c).
            arphrd::IPGRE if !self.point_to_point => {
                Err("GRE without a fixed remote address: packets begin with the outer IP header"
                    .into())
            }
            arphrd::NONE
            | arphrd::PPP
            | arphrd::RAWIP
            | arphrd::TUNNEL
            | arphrd::TUNNEL6
            | arphrd::SIT
            | arphrd::IPGRE
            | arphrd::IP6GRE => Ok(Link::RawIp),
            arphrd::INFINIBAND => Err("InfiniBand's link layer is not supported".into()),
            arphrd::CAN => Err("CAN carries no IP".into()),
            arphrd::NETLINK => Err("it carries netlink messages, no IP".into()),
            other => Err(format!("link type {other} (ARPHRD) is not supported")),
        }
    }
}

/// Lists the interfaces of the calling thread's network namespace, sorted by index.
///
/// # Errors
/// When the kernel can't be asked.
pub fn list() -> anyhow::Result<Vec<Interface>> {
    let mut interfaces = Vec::new();
    for _ in 0..ATTEMPTS {
        interfaces.clear();
        let dumped = dump(NETLINK_ROUTE, LinkRequest, &mut |answer: LinkAnswer| {
            if let LinkAnswer::Link(interface) = answer {
                interfaces.push(interface);
            }
        })
        .context("can't list the network interfaces")?;
        if dumped.undecodable > 0 {
            log::warn!("{} network interfaces can't be understood", dumped.undecodable);
        }
        // An interrupted listing is tried again; the last one is good enough for a watch, to which
        // the change that interrupted it is told as well.
        if !dumped.interrupted {
            break;
        }
    }
    interfaces.sort_unstable_by_key(|interface| interface.index);
    interfaces.dedup_by_key(|interface| interface.index);
    driver::add(&mut interfaces);
    Ok(interfaces)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An interface that is up and an Ethernet device without anything special.
    pub(crate) fn ethernet(index: u32, name: &str) -> Interface {
        Interface {
            index,
            name: name.into(),
            up: true,
            loopback: false,
            point_to_point: false,
            kind: None,
            arphrd: arphrd::ETHER,
            driver: None,
            mtu: 1500,
            xdp: None,
        }
    }

    #[test]
    fn the_link_type_decides_the_parser() {
        for (name, arphrd, point_to_point, expected) in [
            ("eth0", 1, false, Some(Link::Ethernet)),
            ("lo", 772, false, Some(Link::Ethernet)),
            ("tun0", 65534, true, Some(Link::RawIp)),
            ("wg0", 65534, false, Some(Link::RawIp)),
            ("ppp0", 512, true, Some(Link::RawIp)),
            ("wwan0", 519, true, Some(Link::RawIp)),
            ("ipip", 768, true, Some(Link::RawIp)),
            ("ip6tnl", 769, true, Some(Link::RawIp)),
            ("sit0", 776, false, Some(Link::RawIp)),
            ("gre1", 778, true, Some(Link::RawIp)),
            ("gre0", 778, false, None),
            ("ip6gre1", 823, true, Some(Link::RawIp)),
            ("ib0", 32, false, None),
            ("can0", 280, false, None),
            ("nlmon0", 824, false, None),
            ("wlan0mon", 803, false, None),
        ] {
            let mut interface = ethernet(1, name);
            interface.arphrd = arphrd;
            interface.point_to_point = point_to_point;
            assert_eq!(interface.link().ok(), expected, "{name}");
        }
    }

    #[test]
    fn lo_is_listed() {
        let interfaces = list().unwrap();
        let lo = interfaces.iter().find(|interface| interface.name == "lo").unwrap();
        assert!(lo.loopback && lo.index > 0 && lo.mtu > 0);
        assert_eq!(lo.link(), Ok(Link::Ethernet));
        assert_eq!((lo.kind.as_deref(), lo.driver.as_deref()), (None, None));
    }
}
