//! IP addresses as the records and the tables carry them.

use core::net::{IpAddr, SocketAddr};

/// An address as the 16 bytes of an IPv6 address in network order, IPv4 as IPv4-mapped IPv6
/// (RFC 4291, 2.5.5.2). Two aligned words, so that neither side copies it byte by byte.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable)
)]
pub struct Addr(pub [u64; 2]);

/// Words of the IPv4-mapped prefix `::ffff:0:0/96`.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Addr {
    /// From an IPv4 address as it stands in a header (network order in memory).
    #[inline(always)]
    #[must_use]
    pub const fn v4(in_network_order: u32) -> Self {
        Self([0, join(MAPPED, in_network_order)])
    }

    /// From an IPv6 address as it stands in a header, word by word.
    #[inline(always)]
    #[must_use]
    pub const fn v6(words: [u32; 4]) -> Self {
        let [a, b, c, d] = words;
        Self([join(a, b), join(c, d)])
    }

    /// From 16 bytes in network order.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self([
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        ])
    }

    /// The 16 bytes in network order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h] = self.0[0].to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = self.0[1].to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// The end of a connection that has this address and a port in host order; IPv4 where it stands
    /// for one.
    #[must_use]
    pub fn at(self, port: u16) -> SocketAddr {
        let bytes = self.to_bytes();
        if self.is_v4() {
            let [.., a, b, c, d] = bytes;
            return SocketAddr::from(([a, b, c, d], port));
        }
        SocketAddr::from((bytes, port))
    }

    /// Whether it stands for an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && self.prefix_word() == MAPPED
    }

    /// All ones if it stands for an IPv4 address, else zero: for what is to go without a branch.
    #[inline(always)]
    #[must_use]
    pub const fn v4_mask(self) -> u64 {
        let first = self.0[0];
        let other = (first as u32 | (first >> 32) as u32 | (self.prefix_word() ^ MAPPED)) as u64;
        // Only 0 has a highest bit after 1 was taken away.
        (other.wrapping_sub(1).cast_signed() >> 63).cast_unsigned()
    }

    /// The third of the four 32-bit words.
    #[inline(always)]
    const fn prefix_word(self) -> u32 {
        if cfg!(target_endian = "little") { self.0[1] as u32 } else { (self.0[1] >> 32) as u32 }
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::v4(u32::from_ne_bytes(ip.octets())),
            IpAddr::V6(ip) => Self::from_bytes(ip.octets()),
        }
    }
}

/// IPv4 where it stands for one.
impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        addr.at(0).ip()
    }
}

/// Two words that follow one another in memory, as one.
#[inline(always)]
const fn join(first: u32, second: u32) -> u64 {
    if cfg!(target_endian = "little") {
        first as u64 | (second as u64) << 32
    } else {
        (first as u64) << 32 | second as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_bytes_agree() {
        let v4 = Addr::v4(u32::from_ne_bytes([10, 0, 0, 1]));
        assert_eq!(v4.to_bytes(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1]);
        assert!(v4.is_v4());
        assert_eq!(v4.v4_mask(), u64::MAX);
        let bytes = [0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        let v6 = Addr::from_bytes(bytes);
        assert_eq!(v6.to_bytes(), bytes);
        assert!(!v6.is_v4());
        assert_eq!(v6.v4_mask(), 0);
        assert_eq!((Addr([0, 0]).v4_mask(), Addr([1 << 32, v4.0[1]]).v4_mask()), (0, 0));
        let words = [[0xfd, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]];
        assert_eq!(Addr::v6(words.map(u32::from_ne_bytes)), v6);
    }

    #[test]
    fn what_stands_for_ipv4_is_ipv4() {
        let v4 = IpAddr::from([10, 0, 0, 1]);
        let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]);
        for ip in [v4, v6] {
            assert_eq!(IpAddr::from(Addr::from(ip)), ip);
            assert_eq!(Addr::from(ip).at(80), SocketAddr::new(ip, 80));
        }
        let mapped = IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0x0a00, 1]);
        assert_eq!(Addr::from(mapped), Addr::from(v4));
    }
}
