//! Floods of raw TCP packets from spoofed sources, between namespaces that the test made.
//!
//! What is sent is a function of the seed and the packet's number: the same flood described twice
//! is the same packets, so that one can answer for the half-opens of another. Sources are private
//! addresses (10/8, fd00::/8), and neither count nor rate can pass [`MAX_COUNT`] and [`MAX_RATE`].

mod frame;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use super::lab::{Lab, MAC_A, MAC_B};
use super::netns::Netns;
use super::wire::Wire;
pub(crate) use frame::{Cut, Kind, SERVICE_VLAN, Shape, VLAN};

/// Most packets of one flood.
pub(crate) const MAX_COUNT: u32 = 2_000_000;
/// Most packets a second.
pub(crate) const MAX_RATE: u32 = 100_000;

/// Packets handed to the kernel at a time.
const BATCH: usize = 64;

/// Where packets pretend to come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sources {
    /// One address; every packet from another port, in turn.
    One(IpAddr),
    /// So many addresses from this one on, in turn.
    Few(IpAddr, u32),
    /// So many addresses from this one on, so far from each other, in turn.
    Apart(IpAddr, u32, u32),
    /// IPv6: one address in each of so many /64, beginning with this one's, in turn.
    Networks(IpAddr, u32),
    /// All of the prefix, at random.
    RandomIn(IpAddr, u8),
}

/// Initial sequence numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Isn {
    /// Always this one.
    Fixed(u32),
    /// Any.
    Random,
}

/// Packets sent again, the same to the last bit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Again {
    /// Each so many times in a row.
    AtOnce(u32),
    /// All of them, then all of them again, so many times in all.
    InRounds(u32),
}

/// What is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Flood {
    to: IpAddr,
    ports: Vec<u16>,
    count: u32,
    rate: u32,
    sources: Sources,
    isn: Isn,
    again: Again,
    kind: Kind,
    shape: Shape,
    seed: u64,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Packets that the kernel took. What the device dropped afterwards is in its own counters.
    pub(crate) packets: u64,
    /// From the first packet to the last.
    pub(crate) took: Duration,
}

/// One packet's variable fields.
struct Packet {
    source: IpAddr,
    source_port: u16,
    port: u16,
    isn: u32,
}

impl Flood {
    /// `count` different SYNs to one port, `rate` a second at most, from random sources that no
    /// lab has as its own.
    ///
    /// # Panics
    /// Beyond [`MAX_COUNT`] or [`MAX_RATE`].
    #[track_caller]
    pub(crate) fn new(to: SocketAddr, count: u32, rate: u32) -> Self {
        let sources = if to.is_ipv4() {
            Sources::RandomIn([10, 192, 0, 0].into(), 10)
        } else {
            Sources::RandomIn([0xfdc0, 0, 0, 0, 0, 0, 0, 0].into(), 16)
        };
        let flood = Self {
            to: to.ip(),
            ports: vec![to.port()],
            count,
            rate,
            sources,
            isn: Isn::Random,
            again: Again::AtOnce(1),
            kind: Kind::Syn,
            shape: Shape::default(),
            seed: 1,
        };
        flood.bounded()
    }

    #[track_caller]
    fn bounded(self) -> Self {
        assert!((1..=MAX_RATE).contains(&self.rate), "{} packets a second", self.rate);
        assert!(self.total() <= u64::from(MAX_COUNT), "{} packets", self.total());
        self
    }

    /// From elsewhere.
    ///
    /// # Panics
    /// If an address is not private or of the other family.
    #[track_caller]
    pub(crate) fn from(mut self, sources: Sources) -> Self {
        let (first, last) = range(sources);
        for addr in [first, last] {
            let private = match addr {
                IpAddr::V4(addr) => addr.octets()[0] == 10,
                IpAddr::V6(addr) => addr.octets()[0] == 0xfd,
            };
            assert!(private, "{addr} is not in 10.0.0.0/8 or fd00::/8");
            assert_eq!(addr.is_ipv4(), self.to.is_ipv4(), "{addr} to {}", self.to);
        }
        self.sources = sources;
        self
    }

    /// To these ports in turn.
    pub(crate) fn ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.ports = ports.into_iter().collect();
        assert!(!self.ports.is_empty(), "no port");
        self
    }

    /// Other sequence numbers.
    pub(crate) fn isn(mut self, isn: Isn) -> Self {
        self.isn = isn;
        self
    }

    /// Packets sent more than once.
    #[track_caller]
    pub(crate) fn again(mut self, again: Again) -> Self {
        self.again = again;
        self.bounded()
    }

    /// Something else than SYNs.
    pub(crate) fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Packets of a less usual form.
    pub(crate) fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Another flood of the same kind.
    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Another rate.
    #[track_caller]
    pub(crate) fn rate(mut self, rate: u32) -> Self {
        self.rate = rate;
        self.bounded()
    }

    /// How many packets it is.
    pub(crate) fn total(&self) -> u64 {
        let (Again::AtOnce(times) | Again::InRounds(times)) = self.again;
        u64::from(self.count) * u64::from(times)
    }

    /// The `n`th packet to go out, counted from 0.
    fn packet(&self, n: u64) -> Packet {
        let i = match self.again {
            Again::AtOnce(times) => n / u64::from(times),
            Again::InRounds(_) => n % u64::from(self.count),
        };
        let random = mix(self.seed.wrapping_mul(0x1_0000_0001).wrapping_add(2 * i));
        let more = mix(random ^ i);
        let (first, last) = range(self.sources);
        let (source, port) = match self.sources {
            Sources::RandomIn(..) => {
                let room = bits(last) - bits(first);
                let wide = u128::from(random) << 64 | u128::from(more);
                (bits(first) | (wide & room), more >> 32)
            }
            Sources::One(_) => (bits(first), i),
            Sources::Few(_, n) => (bits(first) + u128::from(i % u64::from(n)), i / u64::from(n)),
            Sources::Apart(_, n, step) => {
                let (place, turn) = (i % u64::from(n), i / u64::from(n));
                (bits(first) + u128::from(place * u64::from(step)), turn)
            }
            Sources::Networks(_, n) => {
                (bits(first) + (u128::from(i % u64::from(n)) << 64), i / u64::from(n))
            }
        };
        let place = usize::try_from(i).expect("a number") % self.ports.len();
        Packet {
            source: address(source, self.to.is_ipv4()),
            // 1024 to 65,535.
            source_port: u16::try_from(1024 + port % 64_512).expect("a port"),
            port: self.ports[place],
            isn: match self.isn {
                Isn::Fixed(isn) => isn,
                Isn::Random => more as u32,
            },
        }
    }

    /// Sends it all from host a to host b over their cable, and says how much that was.
    #[track_caller]
    pub(crate) fn run(&self, lab: &Lab) -> Sent {
        self.run_on(&lab.a, c"va", (MAC_A, MAC_B))
    }

    /// Sends it all out of a device, with these Ethernet addresses (sender, receiver).
    #[track_caller]
    pub(crate) fn run_on(
        &self,
        ns: &Netns,
        device: &std::ffi::CStr,
        macs: ([u8; 6], [u8; 6]),
    ) -> Sent {
        ns.run(|| {
            // One sender on one CPU: a packet never overtakes the one before it.
            let mut cpu = CpuSet::new();
            cpu.set(sched_getcpu().expect("getcpu()")).expect("a CPU");
            sched_setaffinity(Pid::from_raw(0), &cpu).expect("sched_setaffinity()");
            let socket = open(device);
            self.paced(macs, |frames| send_all(&socket, frames))
        })
    }

    /// Sends it all as IP packets into a wire without Ethernet headers.
    #[track_caller]
    pub(crate) fn run_into(&self, wire: &dyn Wire) -> Sent {
        assert!(self.shape.tags.is_empty(), "tags belong to Ethernet");
        self.paced((MAC_A, MAC_B), |frames| {
            frames.iter().for_each(|frame| wire.send(&frame[14..]));
        })
    }

    fn paced(&self, macs: ([u8; 6], [u8; 6]), mut send: impl FnMut(&[Vec<u8>])) -> Sent {
        let start = Instant::now();
        // What time lost by a busy machine may be made good for: 50 ms.
        let burst = (u64::from(self.rate) / 20).max(1);
        let (mut sent, mut credit_from, mut since) = (0, 0, start);
        while sent < self.total() {
            let mut due =
                since.elapsed().as_micros() as u64 * u64::from(self.rate) / 1_000_000 + credit_from;
            if due > sent + burst {
                due = sent + burst;
                (since, credit_from) = (Instant::now(), due);
            }
            let next = due.min(sent + BATCH as u64).min(self.total());
            if next <= sent {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            send(&self.frames(sent..next, macs));
            sent = next;
        }
        Sent { packets: sent, took: start.elapsed() }
    }

    /// Some of its frames by their numbers, with these Ethernet addresses (sender, receiver).
    pub(crate) fn frames(&self, which: Range<u64>, macs: ([u8; 6], [u8; 6])) -> Vec<Vec<u8>> {
        which.map(|n| frame::build(self, &self.packet(n), macs)).collect()
    }

    /// How many different sources it has, counted.
    pub(crate) fn different_sources(&self) -> usize {
        let sources: HashSet<IpAddr> = (0..self.total()).map(|n| self.packet(n).source).collect();
        sources.len()
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
pub(crate) fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => addr.to_bits().into(),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

fn address(bits: u128, v4: bool) -> IpAddr {
    if v4 { IpAddr::V4((bits as u32).into()) } else { IpAddr::V6(bits.into()) }
}

/// First and last address.
fn range(sources: Sources) -> (IpAddr, IpAddr) {
    match sources {
        Sources::One(addr) => (addr, addr),
        Sources::Few(addr, n) => (addr, address(bits(addr) + u128::from(n - 1), addr.is_ipv4())),
        Sources::Apart(addr, n, step) => {
            let last = bits(addr) + u128::from(n - 1) * u128::from(step);
            (addr, address(last, addr.is_ipv4()))
        }
        Sources::Networks(addr, n) => {
            (addr, address(bits(addr) + (u128::from(n - 1) << 64), addr.is_ipv4()))
        }
        Sources::RandomIn(addr, len) => {
            let width = if addr.is_ipv4() { 32 } else { 128 };
            let room = (1_u128 << (width - u32::from(len))) - 1;
            let first = bits(addr) & !room;
            (address(first, addr.is_ipv4()), address(first | room, addr.is_ipv4()))
        }
    }
}

/// An AF_PACKET socket that sends whole frames out of a device of this thread's namespace and
/// receives nothing.
pub(crate) fn open(device: &std::ffi::CStr) -> OwnedFd {
    packet_socket(device, 0)
}

/// One that also receives the IPv4 packets that come in there.
pub(super) fn receive_ipv4(device: &std::ffi::CStr) -> OwnedFd {
    let socket = packet_socket(device, (libc::ETH_P_IP as u16).to_be());
    // Room for what comes while the receiver does other things.
    super::sock::set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 16 << 20);
    socket
}

fn packet_socket(device: &std::ffi::CStr, protocol: u16) -> OwnedFd {
    // SAFETY: plain system calls; the name is NUL-terminated; all zeroes is a valid sockaddr_ll,
    // which outlives the call.
    unsafe {
        let raw =
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol.into());
        assert!(raw >= 0, "AF_PACKET: {}", std::io::Error::last_os_error());
        let socket = OwnedFd::from_raw_fd(raw);
        let ifindex = libc::if_nametoindex(device.as_ptr());
        assert_ne!(ifindex, 0, "no device {}", device.to_string_lossy());
        let mut addr: libc::sockaddr_ll = std::mem::zeroed();
        addr.sll_family = libc::AF_PACKET as u16;
        addr.sll_protocol = protocol;
        addr.sll_ifindex = i32::try_from(ifindex).expect("an index");
        let len = size_of_val(&addr) as libc::socklen_t;
        let rc = libc::bind(socket.as_raw_fd(), (&raw const addr).cast(), len);
        assert_eq!(rc, 0, "bind: {}", std::io::Error::last_os_error());
        socket
    }
}

/// Sends every frame exactly once.
pub(crate) fn send_all(socket: &OwnedFd, frames: &[Vec<u8>]) {
    let mut parts: Vec<libc::iovec> = frames
        .iter()
        .map(|frame| libc::iovec {
            iov_base: frame.as_ptr().cast_mut().cast(),
            iov_len: frame.len(),
        })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = parts
        .iter_mut()
        .map(|part| {
            // SAFETY: all zeroes is a valid mmsghdr.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    let (mut done, mut refused) = (0, 0);
    while done < messages.len() {
        let rest = &mut messages[done..];
        let len = u32::try_from(rest.len()).expect("a batch");
        // SAFETY: the messages and the frames they point to outlive the call.
        let n = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), len, 0) };
        if let Ok(n) = usize::try_from(n) {
            done += n;
            continue;
        }
        let error = std::io::Error::last_os_error();
        // The send buffer is full for a moment: the frame was not taken.
        refused += 1;
        let again = matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EINTR));
        assert!(again && refused < 1_000, "sendmmsg: {error}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Gives host b a way back to all spoofed sources: a second cable, where nobody has the address
/// that the answers go to. So nothing that a flood provokes reaches host a's end of the first one,
/// and b's table of neighbours does not fill.
pub(crate) fn swallow_answers(lab: &Lab) {
    lab.b.sh(&format!("ip link add sink type veth peer name drain netns {}", lab.a.path()));
    lab.a.sh("ip link set drain up");
    lab.b.sh("ip link set sink up");
    for (family, prefix, gateway) in
        [("-4", "10.0.0.0/8", "10.255.255.1"), ("-6", "fd00::/8", "fdff::1")]
    {
        lab.b.sh(&format!(
            "ip neigh replace {gateway} lladdr 02:00:00:00:00:ff dev sink nud permanent"
        ));
        lab.b.sh(&format!("ip {family} route add {prefix} via {gateway} dev sink onlink"));
    }
    // Sources are not reached through the cable they come from.
    for device in ["all", "default", "vb"] {
        lab.b.sysctl(&format!("ipv4/conf/{device}/rp_filter"), 0);
    }
}

/// Packets that a device dropped instead of sending them (`/proc/net/dev`).
#[track_caller]
pub(crate) fn dropped_by(ns: &Netns, device: &str) -> u64 {
    let text = ns.run(|| std::fs::read_to_string("/proc/thread-self/net/dev")).expect("net/dev");
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(&format!("{device}:")));
    let line = line.unwrap_or_else(|| panic!("no {device} in {text}"));
    // Receive: bytes packets errs drop fifo frame compressed multicast; then the same of transmit.
    line.split_whitespace().nth(8 + 3).and_then(|n| n.parse().ok()).expect("a count")
}
