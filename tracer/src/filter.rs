//! What is traced: ports, addresses, family and network namespace, as plain types that both the
//! command line and the kernel side's maps are filled from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::ser::{Serialize, SerializeMap, Serializer};
use tracer_common::addr::Addr;
use tracer_common::settings::{filter, port_set};

#[cfg(test)]
mod tests;

/// A port or a range of ports, both ends included. Never contains port 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// `None` for an empty range and for one that contains port 0.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first == 0 || last < first {
            return None;
        }
        Some(Self { first, last })
    }

    /// Lowest port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// Highest port.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = match text.split_once('-') {
            Some((first, last)) if !first.is_empty() => (port(first)?, port(last)?),
            _ => {
                let port = port(text)?;
                (port, port)
            }
        };
        Self::new(first, last).ok_or_else(|| format!("the range is reversed; write {last}-{first}"))
    }
}

fn port(text: &str) -> Result<u16, String> {
    match text.trim().parse::<u32>() {
        Ok(port @ 1..=65_535) => Ok(port as u16),
        Ok(_) => Err(format!("`{}` is no port; ports are 1 to 65535", text.trim())),
        Err(_) => Err(format!(
            "`{}` is no port; give a number from 1 to 65535, a range 8000-8100 or a list 80,443",
            text.trim()
        )),
    }
}

/// A set of ports.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortSet {
    /// Sorted, neither overlapping nor touching.
    ranges: Vec<PortRange>,
}

impl PortSet {
    /// No port at all: the filter is off.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether `port` is in the set.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        let after = self.ranges.partition_point(|range| range.first <= port);
        after
            .checked_sub(1)
            .and_then(|at| self.ranges.get(at))
            .is_some_and(|range| port <= range.last)
    }

    /// The ranges, sorted, none touching the next.
    #[must_use]
    pub fn ranges(&self) -> &[PortRange] {
        &self.ranges
    }

    /// The set as [`port_set::WORDS`] words of 64 ports: a port's bit is `port % 64` of word
    /// `port / 64`.
    #[must_use]
    pub fn words(&self) -> Box<[u64]> {
        let mut words = vec![0_u64; port_set::WORDS as usize].into_boxed_slice();
        for port in self.ranges.iter().flat_map(|r| r.first..=r.last) {
            if let Some(word) = words.get_mut(usize::from(port / 64)) {
                *word |= 1 << (port % 64);
            }
        }
        words
    }
}

impl FromIterator<PortRange> for PortSet {
    fn from_iter<I: IntoIterator<Item = PortRange>>(ranges: I) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<PortRange> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match merged.last_mut() {
                Some(before) if range.first <= before.last.saturating_add(1) => {
                    before.last = before.last.max(range.last);
                }
                _ => merged.push(range),
            }
        }
        Self { ranges: merged }
    }
}

/// An address prefix. Bits behind its length are zero; one that lies inside `::ffff:0:0/96` is
/// IPv4.
///
/// IPv4 is compared in the IPv4-mapped space, as the kernel side does: an IPv6 prefix that spans
/// `::ffff:0:0/96`, such as `::/0`, contains every IPv4 address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Prefix {
    addr: IpAddr,
    len: u8,
}

impl Prefix {
    /// `addr/len` with the bits behind `len` cleared; `None` when `len` is longer than an address.
    #[must_use]
    pub fn new(addr: IpAddr, len: u8) -> Option<Self> {
        match addr {
            IpAddr::V4(v4) => {
                let mask = match len {
                    0 => 0,
                    1..=32 => u32::MAX << (32 - len),
                    _ => return None,
                };
                Some(Self { addr: Ipv4Addr::from_bits(v4.to_bits() & mask).into(), len })
            }
            IpAddr::V6(v6) => match (v6.to_ipv4_mapped(), len) {
                (Some(v4), 96..=128) => Self::new(v4.into(), len - 96),
                (_, 0..=128) => {
                    let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                    Some(Self { addr: Ipv6Addr::from_bits(v6.to_bits() & mask).into(), len })
                }
                _ => None,
            },
        }
    }

    /// First address.
    #[must_use]
    pub const fn addr(self) -> IpAddr {
        self.addr
    }

    /// Length in bits, of an IPv4 or IPv6 address as [`Self::addr`] is.
    #[must_use]
    pub const fn prefix_len(self) -> u8 {
        self.len
    }

    /// Whether `addr` lies in the prefix.
    #[must_use]
    pub fn contains(self, addr: IpAddr) -> bool {
        let (len, key) = self.lpm_key();
        let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
        (u128::from_be_bytes(Addr::from(addr).to_bytes()) ^ u128::from_be_bytes(key)) & mask == 0
    }

    /// Key of the kernel's longest-prefix-match map: length in bits in the IPv4-mapped IPv6
    /// space, and 16 bytes in network order.
    #[must_use]
    pub fn lpm_key(self) -> (u32, [u8; 16]) {
        let offset = if self.addr.is_ipv4() { 96 } else { 0 };
        (u32::from(self.len) + offset, Addr::from(self.addr).to_bytes())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let full = if self.addr.is_ipv4() { 32 } else { 128 };
        if self.len == full {
            write!(f, "{}", self.addr)
        } else {
            write!(f, "{}/{}", self.addr, self.len)
        }
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (addr, len) = match text.split_once('/') {
            Some((addr, len)) => (addr, Some(len)),
            None => (text, None),
        };
        let bare = addr.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(addr);
        let addr: IpAddr = bare.parse().map_err(|_| {
            format!(
                "`{addr}` is no IP address; names are not looked up, give 10.0.0.1, 10.0.0.0/8, \
                 2001:db8::1 or 2001:db8::/32"
            )
        })?;
        let full = if addr.is_ipv4() { 32 } else { 128 };
        let len = match len {
            Some(len) => len.parse::<u8>().ok().filter(|len| *len <= full).ok_or_else(|| {
                let family = if addr.is_ipv4() { "IPv4" } else { "IPv6" };
                format!("`/{len}` is no {family} prefix length; it is 0 to {full}")
            })?,
            None => full,
        };
        Self::new(addr, len).ok_or_else(|| format!("`/{len}` is too long"))
    }
}

/// Address family, by the addresses shown: an IPv4-mapped peer is IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The filters that the kernel side decides. Filters of different kinds must all match, within
/// one kind one match is enough; an empty filter lets everything through.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KernelFilters {
    /// Local or remote port.
    pub any_port: PortSet,
    /// Local port.
    pub local_port: PortSet,
    /// Remote port.
    pub remote_port: PortSet,
    /// Local or remote address.
    pub hosts: Vec<Prefix>,
    /// Address family.
    pub family: Option<Family>,
    /// Inode of the network namespace.
    pub netns: Option<u32>,
}

impl KernelFilters {
    /// The bits of [`tracer_common::settings::Settings::filters`].
    #[must_use]
    pub fn bits(&self) -> u32 {
        let Self { any_port, local_port, remote_port, hosts, family, netns } = self;
        [
            (!any_port.is_empty(), filter::PORT),
            (!local_port.is_empty(), filter::LOCAL_PORT),
            (!remote_port.is_empty(), filter::REMOTE_PORT),
            (!hosts.is_empty(), filter::HOST),
            (*family == Some(Family::V4), filter::V4),
            (*family == Some(Family::V6), filter::V6),
            (netns.is_some(), filter::NETNS),
        ]
        .into_iter()
        .filter_map(|(on, bit)| on.then_some(bit))
        .fold(0, |bits, bit| bits | bit)
    }

    /// Whether they let a socket through whose ports are known: what the kernel side decides
    /// (`tracer-ebpf/src/filter.rs`), for sockets that were found by asking.
    #[must_use]
    pub fn matches(&self, local: SocketAddr, remote: SocketAddr, netns: u32) -> bool {
        let Self { any_port, local_port, remote_port, hosts, family, netns: wanted } = self;
        let port = |set: &PortSet, port| set.is_empty() || set.contains(port);
        let in_hosts = |addr: SocketAddr| hosts.iter().any(|prefix| prefix.contains(addr.ip()));
        wanted.is_none_or(|wanted| wanted == netns)
            && (any_port.is_empty()
                || any_port.contains(local.port())
                || any_port.contains(remote.port()))
            && port(local_port, local.port())
            && port(remote_port, remote.port())
            && (hosts.is_empty() || in_hosts(local) || in_hosts(remote))
            && family.is_none_or(|family| (family == Family::V4) == local.is_ipv4())
    }

    /// The port map's words that are not zero: `(index, word)`, indices as in
    /// [`tracer_common::settings::port_set`].
    pub fn port_words(&self) -> impl Iterator<Item = (u32, u64)> {
        [
            (port_set::ANY, &self.any_port),
            (port_set::LOCAL, &self.local_port),
            (port_set::REMOTE, &self.remote_port),
        ]
        .into_iter()
        .flat_map(|(base, set)| (base..).zip(set.words()))
        .filter(|(_, word)| *word != 0)
    }
}

/// Every filter of the run as the user gave it, for the `start` record: names of the options with
/// their values; an option that takes none has an empty list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Described {
    entries: Vec<(&'static str, Vec<String>)>,
}

impl Described {
    /// Adds an option and its values, unless there are none.
    pub fn values<T: ToString>(&mut self, name: &'static str, values: impl IntoIterator<Item = T>) {
        let values: Vec<_> = values.into_iter().map(|value| value.to_string()).collect();
        if !values.is_empty() {
            self.entries.push((name, values));
        }
    }

    /// Adds an option that takes no value, if it is on.
    pub fn flag(&mut self, name: &'static str, on: bool) {
        if on {
            self.entries.push((name, Vec::new()));
        }
    }

    /// No filter at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Options (without their dashes) and values, in the order of the help.
    #[must_use]
    pub fn entries(&self) -> &[(&'static str, Vec<String>)] {
        &self.entries
    }
}

/// As options: `--port 80,443 --failed`.
impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, values)) in self.entries.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            write!(f, "{gap}--{name}")?;
            if !values.is_empty() {
                write!(f, " {}", values.join(","))?;
            }
        }
        Ok(())
    }
}

/// As a map from option to its values, or `true`.
impl Serialize for Described {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (name, values) in &self.entries {
            map.serialize_key(&name.replace('-', "_"))?;
            if values.is_empty() {
                map.serialize_value(&true)?;
            } else {
                map.serialize_value(values)?;
            }
        }
        map.end()
    }
}
