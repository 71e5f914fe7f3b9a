//! The interfaces that a capture was taken on.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use crate::capture::link::LinkType;

/// An interface of the capturing host, as far as the capture describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Interface {
    /// Its name, where the capture has one. Chosen by whoever wrote the file: untrusted.
    pub name: Option<String>,
    /// The kernel's number of it, in captures on `any` (Linux cooked v2).
    pub ifindex: Option<u32>,
    /// What its packets begin with.
    pub link: LinkType,
    /// Most bytes captured of a packet; 0 without limit.
    pub snaplen: u32,
    /// Its addresses, where the capture has them; at most [`MOST_ADDRESSES`].
    pub addresses: Vec<IpAddr>,
}

/// Most addresses of an interface that are kept.
pub const MOST_ADDRESSES: usize = 64;
/// Most interfaces: of a section, and in the table. A hostile file could name millions.
pub(super) const MOST_INTERFACES: usize = 4096;

/// Every interface once, whichever section describes it.
#[derive(Default)]
pub(super) struct Interfaces {
    all: Vec<Interface>,
    /// The devices of a capture on `any`: (interface, number) to interface.
    devices: FxHashMap<(u32, u32), u32>,
    /// The device of the packet before.
    last: Option<((u32, u32), u32)>,
}

impl Interfaces {
    pub(super) fn all(&self) -> &[Interface] {
        &self.all
    }

    /// The number of an interface in the table; `None` if the table is full.
    pub(super) fn add(&mut self, interface: Interface) -> Option<u32> {
        let at = self.all.iter().position(|known| *known == interface);
        let at = match at {
            Some(at) => at,
            None if self.all.len() < MOST_INTERFACES => {
                self.all.push(interface);
                self.all.len() - 1
            }
            None => return None,
        };
        u32::try_from(at).ok()
    }

    /// The device on which a capture on `any` saw a packet, as an interface of its own; `interface`
    /// itself once the table is full.
    #[inline]
    pub(super) fn device(&mut self, interface: u32, ifindex: u32) -> u32 {
        match self.last {
            Some((key, device)) if key == (interface, ifindex) => device,
            _ => self.find_device(interface, ifindex),
        }
    }

    fn find_device(&mut self, interface: u32, ifindex: u32) -> u32 {
        let key = (interface, ifindex);
        let device = match self.devices.get(&key) {
            Some(device) => *device,
            None => {
                let Some(any) = self.all.get(interface as usize) else {
                    return interface;
                };
                let Some(device) = self.add(Interface { ifindex: Some(ifindex), ..any.clone() })
                else {
                    return interface;
                };
                self.devices.insert(key, device);
                device
            }
        };
        self.last = Some((key, device));
        device
    }
}
