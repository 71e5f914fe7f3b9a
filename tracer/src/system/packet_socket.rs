//! Packet sockets (packet(7)): copies of what passes the interfaces of tracer's own network namespace,
//! as far as a filter lets it through.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;

use anyhow::{Context as _, Result, anyhow};
use tracer_common::control::SNAP_LEN;

/// Packets taken from a socket in one call.
const BATCH: usize = 64;
/// Bytes of packets that may wait in a socket, with what the kernel adds to each: some thousand of
/// them. SO_RCVBUF counts double (socket(7)).
const WAITING: libc::c_int = 4 << 20;
/// Room for a time stamp and the auxiliary data, as 64-bit words.
const CONTROL_WORDS: usize = 16;
/// IEEE 802.1Q, where the kernel does not say the tag's protocol.
const ETH_P_8021Q: u16 = 0x8100;

/// A packet as it passed an interface.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// When, nanoseconds since the Unix epoch.
    pub at: u64,
    /// Index of the interface.
    pub interface: u32,
    /// `ARPHRD_…` code of the interface (`linux/if_arp.h`).
    pub arphrd: u16,
    /// The host sent it.
    pub outgoing: bool,
    /// EtherType, of what comes after the tag if one was taken off.
    pub protocol: u16,
    /// The VLAN tag that was taken off: protocol and tag control information.
    pub vlan: Option<(u16, u16)>,
    /// Its first bytes, from the link-layer header on.
    pub bytes: &'a [u8],
    /// Where its network header begins in these.
    pub network: usize,
    /// Bytes of the whole packet.
    pub len: u32,
}

/// A packet socket.
pub struct PacketSocket {
    fd: OwnedFd,
    /// The interface it listens to: name, and index that it was last bound to.
    interface: Option<(CString, u32)>,
    buffers: Box<Buffers>,
    dropped: u64,
}

struct Buffers {
    bytes: [[u8; SNAP_LEN as usize]; BATCH],
    control: [[u64; CONTROL_WORDS]; BATCH],
    from: [libc::sockaddr_ll; BATCH],
}

impl PacketSocket {
    /// Opens one with a filter, on one interface or on all, those to come included.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or the kernel refuses.
    pub fn open(filter: BorrowedFd<'_>, interface: Option<&str>) -> Result<Self> {
        // Protocol 0: nothing comes in before it is bound, that is before the filter is in place.
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes plain numbers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(refused(&io::Error::last_os_error()));
        }
        // SAFETY: just opened, and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let set = |level, name, value: libc::c_int| set(&fd, level, name, value);
        set(libc::SOL_SOCKET, libc::SO_ATTACH_BPF, filter.as_raw_fd())
            .context("cannot put the filter on the packet socket")?;
        set(libc::SOL_SOCKET, libc::SO_LOCK_FILTER, 1).context("cannot lock the packet filter")?;
        set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1).context("cannot have packets stamped")?;
        set(libc::SOL_PACKET, libc::PACKET_AUXDATA, 1).context("cannot have packets described")?;
        // Beyond net.core.rmem_max with CAP_NET_ADMIN only.
        if set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, WAITING).is_err() {
            set(libc::SOL_SOCKET, libc::SO_RCVBUF, WAITING)
                .context("cannot size the packet socket's buffer")?;
        }
        let name = interface.map(CString::new).transpose().context("no name of an interface")?;
        let what = || match interface {
            Some(name) => format!("cannot listen to {name}"),
            None => "cannot listen to the interfaces".to_owned(),
        };
        let index = match &name {
            Some(name) => index_of(name).ok_or_else(io::Error::last_os_error).with_context(what)?,
            None => 0,
        };
        // SAFETY: integers and arrays of them, for which all zeros are valid.
        let buffers = Box::new(unsafe { zeroed() });
        let interface = name.map(|name| (name, index));
        let mut socket = Self { fd, interface, buffers, dropped: 0 };
        socket.bind(index).with_context(what)?;
        Ok(socket)
    }

    fn bind(&mut self, index: u32) -> io::Result<()> {
        // SAFETY: integers, for which all zeros are valid.
        let mut at: libc::sockaddr_ll = unsafe { zeroed() };
        at.sll_family = libc::AF_PACKET as u16;
        at.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        at.sll_ifindex = index.cast_signed();
        let len = size_of_val(&at) as libc::socklen_t;
        // SAFETY: an address of that length.
        let result = unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const at).cast(), len) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        if let Some((_, bound)) = &mut self.interface {
            *bound = index;
        }
        Ok(())
    }

    /// Goes on with an interface that went away and has come back: a new one of the same name.
    pub fn follow(&mut self) {
        let Some((name, bound)) = &self.interface else { return };
        if let Some(index) = index_of(name)
            && index != *bound
            && let Err(error) = self.bind(index)
        {
            log::debug!("cannot listen to interface {index}: {error}");
        }
    }

    /// Hands out packets that wait, oldest first, a few dozen at most; whether there may be more.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn receive(&mut self, mut each: impl FnMut(&Received<'_>)) -> io::Result<bool> {
        let Buffers { bytes, control, from } = &mut *self.buffers;
        let mut vectors = bytes
            .each_mut()
            .map(|bytes| libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() });
        // SAFETY: integers and pointers, for which all zeros are valid.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for (((message, vector), control), from) in
            messages.iter_mut().zip(&mut vectors).zip(control.iter_mut()).zip(from.iter_mut())
        {
            message.msg_hdr.msg_name = ptr::from_mut(from).cast();
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = control.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = size_of_val(control) as _;
        }
        // SAFETY: every header points to buffers of the lengths it says, which outlive the call.
        let got = unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        if got < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                // Nothing there, or the interface went away.
                Some(libc::EAGAIN | libc::EINTR | libc::ENETDOWN) => Ok(false),
                _ => Err(error),
            };
        }
        let got = got.unsigned_abs() as usize;
        for ((message, bytes), from) in messages.iter().zip(bytes.iter()).zip(from.iter()).take(got)
        {
            let bytes = bytes.get(..message.msg_len as usize).unwrap_or(bytes);
            let said = Said::of(&message.msg_hdr);
            each(&Received {
                at: said.at,
                interface: from.sll_ifindex.cast_unsigned(),
                arphrd: from.sll_hatype,
                outgoing: from.sll_pkttype == libc::PACKET_OUTGOING,
                protocol: u16::from_be(from.sll_protocol),
                vlan: said.vlan,
                bytes,
                network: said.network,
                len: said.len.max(message.msg_len),
            });
        }
        Ok(got == BATCH)
    }

    /// Packets so far that found no room in the socket.
    pub fn dropped(&mut self) -> u64 {
        // SAFETY: integers, for which all zeros are valid.
        let mut stats: libc::tpacket_stats = unsafe { zeroed() };
        let mut len = size_of_val(&stats) as libc::socklen_t;
        // SAFETY: a buffer of that length.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut len,
            )
        };
        if result == 0 {
            // The kernel counts from zero again each time it is asked.
            self.dropped += u64::from(stats.tp_drops);
        }
        self.dropped
    }
}

/// What the kernel says of a packet beside it.
#[derive(Default)]
struct Said {
    at: u64,
    network: usize,
    len: u32,
    vlan: Option<(u16, u16)>,
}

impl Said {
    fn of(header: &libc::msghdr) -> Self {
        let mut said = Self::default();
        // SAFETY: the kernel has filled the control buffer, which is alive and aligned.
        let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
        while !at.is_null() {
            // SAFETY: not null, so a whole header of the control buffer.
            let (level, kind, data) =
                unsafe { ((*at).cmsg_level, (*at).cmsg_type, libc::CMSG_DATA(at)) };
            if level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPNS {
                // SAFETY: what a message of that kind carries; it may not be aligned.
                let time = unsafe { data.cast::<libc::timespec>().read_unaligned() };
                said.at = (time.tv_sec as u64)
                    .wrapping_mul(1_000_000_000)
                    .wrapping_add(time.tv_nsec as u64);
            } else if level == libc::SOL_PACKET && kind == libc::PACKET_AUXDATA {
                // SAFETY: as above.
                let aux = unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
                said.network = aux.tp_net.into();
                said.len = aux.tp_len;
                if aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                    let known = aux.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
                    let protocol = if known { aux.tp_vlan_tpid } else { ETH_P_8021Q };
                    said.vlan = Some((protocol, aux.tp_vlan_tci));
                }
            }
            // SAFETY: as for the first.
            at = unsafe { libc::CMSG_NXTHDR(header, at) };
        }
        said
    }
}

fn set(fd: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: a value of that length.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn index_of(name: &CStr) -> Option<u32> {
    // SAFETY: a string that ends with NUL.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// The name of an interface of tracer's own network namespace; `None` if there is none any more.
#[must_use]
pub fn interface_name(index: u32) -> Option<String> {
    let mut name = [0_u8; libc::IF_NAMESIZE];
    // SAFETY: a buffer as long as the longest name.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    let name = CStr::from_bytes_until_nul(&name).ok()?;
    Some(name.to_string_lossy().into_owned())
}

fn refused(error: &io::Error) -> anyhow::Error {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => anyhow!(
            "it takes CAP_NET_RAW to open a packet socket: run tracer as root (`sudo tracer …`), or \
             give it that capability as well (docs/capture.md)"
        ),
        Some(libc::EAFNOSUPPORT) => anyhow!(
            "packet sockets can't be had here: the kernel has none (CONFIG_PACKET), or a service \
             manager forbids them (RestrictAddressFamilies= without AF_PACKET)"
        ),
        _ => anyhow!("cannot open a packet socket: {error}"),
    }
}
