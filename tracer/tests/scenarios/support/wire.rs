//! Ways for the raw peer to put IP packets on a device and to take them off.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::lab::{Lab, MAC_B};
use super::netns::Netns;

/// Where IP packets go out and come in.
pub(crate) trait Wire: Send + Sync {
    /// Sends one IP packet.
    fn send(&self, packet: &[u8]);
    /// Takes one IP packet if one comes in time.
    fn recv(&self, limit: Duration) -> Option<Vec<u8>>;
}

fn readable(fd: i32, limit: Duration) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let limit = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX).max(1);
    // SAFETY: one pollfd, which outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, limit) == 1 }
}

/// Host a's end of the cable, beside the kernel of host a (AF_PACKET).
pub(crate) struct Cable {
    fd: OwnedFd,
    ifindex: i32,
}

impl Cable {
    /// Opens it.
    pub(crate) fn open(lab: &Lab) -> Self {
        let protocol = (libc::ETH_P_IP as u16).to_be();
        lab.a.run(|| {
            // SAFETY: plain system calls; the name is NUL-terminated.
            let (raw, ifindex) = unsafe {
                (
                    libc::socket(
                        libc::AF_PACKET,
                        libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
                        protocol.into(),
                    ),
                    libc::if_nametoindex(c"va".as_ptr()),
                )
            };
            assert!(raw >= 0, "AF_PACKET: {}", std::io::Error::last_os_error());
            // SAFETY: just opened, owned by nobody else.
            let fd = unsafe { OwnedFd::from_raw_fd(raw) };
            let cable = Self { fd, ifindex: i32::try_from(ifindex).expect("an index") };
            let addr = cable.address();
            // SAFETY: `addr` outlives the call and its size is passed along.
            let rc = unsafe {
                libc::bind(
                    cable.fd.as_raw_fd(),
                    (&raw const addr).cast(),
                    size_of_val(&addr) as libc::socklen_t,
                )
            };
            assert_eq!(rc, 0, "bind: {}", std::io::Error::last_os_error());
            cable
        })
    }

    fn address(&self) -> libc::sockaddr_ll {
        // SAFETY: all zeroes is a valid sockaddr_ll.
        let mut addr: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        addr.sll_family = libc::AF_PACKET as u16;
        addr.sll_protocol = (libc::ETH_P_IP as u16).to_be();
        addr.sll_ifindex = self.ifindex;
        addr.sll_halen = 6;
        addr.sll_addr[..6].copy_from_slice(&MAC_B);
        addr
    }
}

impl Wire for Cable {
    fn send(&self, packet: &[u8]) {
        let addr = self.address();
        // SAFETY: buffer and address outlive the call, their sizes are passed along.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const addr).cast(),
                size_of_val(&addr) as libc::socklen_t,
            )
        };
        assert_eq!(
            usize::try_from(sent).ok(),
            Some(packet.len()),
            "sendto: {}",
            std::io::Error::last_os_error()
        );
    }

    fn recv(&self, limit: Duration) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        if !readable(self.fd.as_raw_fd(), limit) {
            return None;
        }
        // SAFETY: the buffer outlives the call and its size is passed along.
        let n = unsafe {
            libc::recv(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        };
        buffer.truncate(usize::try_from(n).ok()?);
        Some(buffer)
    }
}

/// A tun device: a link without Ethernet headers, whose other end this is.
pub(crate) struct Tun {
    file: Arc<File>,
}

impl Tun {
    /// Makes a device called `name` in a namespace.
    pub(crate) fn open(ns: &Netns, name: &str) -> Self {
        let file = ns.run(|| {
            let file = File::options()
                .read(true)
                .write(true)
                .open("/dev/net/tun")
                .expect("open /dev/net/tun");
            // SAFETY: all zeroes is a valid ifreq.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            for (to, from) in request.ifr_name.iter_mut().take(15).zip(name.bytes()) {
                *to = from as libc::c_char;
            }
            request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
            // SAFETY: TUNSETIFF reads and writes one ifreq, which outlives the call.
            let rc = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
            assert_eq!(rc, 0, "TUNSETIFF: {}", std::io::Error::last_os_error());
            file
        });
        Self { file: Arc::new(file) }
    }
}

impl Wire for Tun {
    fn send(&self, packet: &[u8]) {
        (&*self.file).write_all(packet).expect("write to the tun device");
    }

    fn recv(&self, limit: Duration) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        if !readable(self.file.as_raw_fd(), limit) {
            return None;
        }
        let n = (&*self.file).read(&mut buffer).ok()?;
        buffer.truncate(n);
        Some(buffer)
    }
}
