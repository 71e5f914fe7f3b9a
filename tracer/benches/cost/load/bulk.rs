//! Traffic that is no business of tracer's: bulk transfer, packets, requests and answers.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::support::Netns;
use crate::support::sock::{accept, connect_here, listen_here, set_option};

const PORT: u16 = 9000;

/// From one namespace to another, or to itself.
pub(crate) struct Path<'a> {
    pub(crate) from: &'a Netns,
    pub(crate) to: &'a Netns,
    /// The receiver's address.
    pub(crate) addr: IpAddr,
    /// The receiver's device.
    pub(crate) device: &'static str,
}

/// Puts the calling thread on a CPU: where the scheduler happens to put sender and receiver would
/// decide more than what is measured.
pub(super) fn stay_on(cpu: usize) {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mut set = CpuSet::new();
    set.set(cpu % cpus).expect("a CPU");
    sched_setaffinity(Pid::from_raw(0), &set).expect("sched_setaffinity()");
}

/// A connection over the path: the sender's end and the receiver's.
fn connected(path: &Path<'_>) -> (TcpStream, TcpStream) {
    let at = SocketAddr::new(path.addr, PORT);
    let listener = path.to.run(|| listen_here(at, 1, |_| ()));
    let sender = path.from.run(|| connect_here(at, |_| ()).expect("connect()"));
    let receiver = accept(&listener);
    for end in [&sender, &receiver] {
        end.set_nodelay(true).expect("TCP_NODELAY");
    }
    (sender, receiver)
}

/// One connection, as much as goes: Gbit/s.
pub(crate) fn bulk(path: &Path<'_>, time: Duration) -> f64 {
    let (mut sender, mut receiver) = connected(path);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            stay_on(0);
            let block = vec![0_u8; 128 << 10];
            let began = Instant::now();
            while began.elapsed() < time && sender.write_all(&block).is_ok() {}
        });
        let received = scope.spawn(move || {
            stay_on(1);
            let mut block = vec![0_u8; 256 << 10];
            let (began, mut bytes) = (Instant::now(), 0_u64);
            while let Ok(n @ 1..) = receiver.read(&mut block) {
                bytes += n as u64;
            }
            bytes as f64 * 8.0 / 1e9 / began.elapsed().as_secs_f64()
        });
        received.join().expect("the receiver")
    })
}

/// One connection, a byte there and a byte back: so many times a second.
pub(crate) fn transactions(path: &Path<'_>, time: Duration) -> f64 {
    let (mut sender, mut receiver) = connected(path);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            stay_on(1);
            let mut byte = [0];
            while let Ok(1) = receiver.read(&mut byte) {
                if receiver.write_all(&byte).is_err() {
                    break;
                }
            }
        });
        let done = scope.spawn(move || {
            stay_on(0);
            let (began, mut n, mut byte) = (Instant::now(), 0_u64, [0]);
            while began.elapsed() < time {
                sender.write_all(&byte).expect("send()");
                sender.read_exact(&mut byte).expect("recv()");
                n += 1;
            }
            n as f64 / began.elapsed().as_secs_f64()
        });
        done.join().expect("the sender")
    })
}

/// UDP, 64 bytes each, to a socket that nobody reads: packets a second that the device took in.
pub(crate) fn packets(path: &Path<'_>, time: Duration) -> f64 {
    let at = SocketAddr::new(path.addr, PORT);
    // It fills at once: what comes then is dropped behind all that is measured.
    let sink = path.to.run(|| UdpSocket::bind(at).expect("bind()"));
    set_option(&sink, libc::SOL_SOCKET, libc::SO_RCVBUF, 1);
    path.from.run(|| {
        stay_on(0);
        let socket = UdpSocket::bind((path.addr_of_any(), 0)).expect("bind()");
        socket.connect(at).expect("connect()");
        let (before, _) = counted(path.to, path.device);
        let began = Instant::now();
        let mut batch = Batch::new();
        while began.elapsed() < time {
            batch.send(&socket);
        }
        let took = began.elapsed().as_secs_f64();
        (counted(path.to, path.device).0 - before) as f64 / took
    })
}

impl Path<'_> {
    fn addr_of_any(&self) -> IpAddr {
        if self.addr.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() }
    }
}

/// Packets that a device has taken in so far, and those it has sent (`/proc/net/dev`).
pub(crate) fn counted(ns: &Netns, device: &str) -> (u64, u64) {
    let text = ns.run(|| std::fs::read_to_string("/proc/thread-self/net/dev")).expect("net/dev");
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{device}:")));
    let fields: Vec<&str> = line.expect("the device").split_whitespace().collect();
    // Receive: bytes packets errs drop fifo frame compressed multicast; then the same of transmit.
    let number = |n: usize| fields[n].parse().expect("a count");
    (number(1), number(9))
}

/// Datagrams handed to the kernel in one call.
struct Batch {
    messages: Vec<libc::mmsghdr>,
    // What the messages point to.
    _part: Box<libc::iovec>,
    _payload: Box<[u8; 64]>,
}

impl Batch {
    fn new() -> Self {
        let mut payload = Box::new([0; 64]);
        let mut part =
            Box::new(libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() });
        // SAFETY: all zeroes is a valid mmsghdr.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = &raw mut *part;
        message.msg_hdr.msg_iovlen = 1;
        Self { messages: vec![message; 64], _part: part, _payload: payload }
    }

    fn send(&mut self, socket: &UdpSocket) {
        let len = u32::try_from(self.messages.len()).expect("a batch");
        // SAFETY: the messages and what they point to live as long as `self`.
        unsafe { libc::sendmmsg(socket.as_raw_fd(), self.messages.as_mut_ptr(), len, 0) };
    }
}
