//! Raw clients by the hundred that answer SYN-ACKs after a time of their own: a long way, a slow
//! phone. What the kernel sends them comes back to it as they got it, SYN cookies included.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;

use super::flood::{mix, open, receive_ipv4};
use super::lab::{Lab, MAC_A, MAC_B};
use super::raw::{ACK, SYN, Segment};

/// How their SYNs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As usual.
    Plain,
    /// With data that no cookie allows: the server acknowledges the SYN alone (RFC 7413, 4.1.2).
    Data,
    /// Asking for ECN (RFC 3168, 6.1.1): ECE and CWR are set.
    Ecn,
    /// Sent twice, some microseconds apart.
    Twice,
}

/// Such clients.
#[derive(Clone, Debug)]
pub(crate) struct Patient {
    to: SocketAddr,
    rate: u32,
    count: u32,
    sources: u32,
    delay: (Duration, Duration),
    form: Form,
    seed: u64,
}

/// What they did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// SYNs sent, each packet counted.
    pub(crate) syns: u64,
    /// Clients that got a SYN-ACK.
    pub(crate) answered: u64,
    /// Clients that sent the last ACK.
    pub(crate) completed: u64,
}

enum Action {
    Acknowledge(u32),
    Reset(u32),
}

impl Patient {
    /// `count` connections, `rate` a second, that complete after between `delay.0` and `delay.1`,
    /// from 250 addresses.
    pub(crate) fn new(to: SocketAddr, count: u32, rate: u32, delay: (Duration, Duration)) -> Self {
        Self { to, rate, count, sources: 250, delay, form: Form::Plain, seed: 1 }
    }

    /// SYNs of another form.
    pub(crate) fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    /// So many addresses.
    pub(crate) fn sources(mut self, n: u32) -> Self {
        self.sources = n;
        self
    }

    /// Other draws.
    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    fn source(&self, n: u32) -> (Ipv4Addr, u16) {
        let addr = Ipv4Addr::from_bits(FIRST.to_bits() + n % self.sources);
        (addr, 1024 + u16::try_from(n / self.sources % 64_000).expect("a port"))
    }

    fn isn(&self, n: u32) -> u32 {
        mix(self.seed << 32 | u64::from(n)) as u32
    }

    fn pause(&self, n: u32) -> Duration {
        let (from, to) = self.delay;
        let part = (mix(self.seed ^ u64::from(n) << 20) >> 40) as f64 / (1_u64 << 24) as f64;
        from + (to - from).mul_f64(part)
    }

    fn frame(&self, n: u32, seq: u32, flags: u8, ack: u32, data: &[u8]) -> Vec<u8> {
        const RST: u8 = 4;
        let (source, port) = self.source(n);
        let std::net::IpAddr::V4(to) = self.to.ip() else { panic!("these speak IPv4") };
        let mut tcp = PacketBuilder::ethernet2(MAC_A, MAC_B)
            .ipv4(source.octets(), to.octets(), 64)
            .tcp(port, self.to.port(), seq, 64_240);
        if flags & SYN != 0 {
            tcp = tcp.syn();
            if self.form == Form::Ecn {
                tcp = tcp.ece().cwr();
            }
        }
        if flags & RST != 0 {
            tcp = tcp.rst();
        }
        if flags & ACK != 0 {
            tcp = tcp.ack(ack);
        }
        let mut frame = Vec::new();
        tcp.write(&mut frame, data).expect("build a packet");
        frame
    }

    /// Does it, at host a's end of the cable, until all are through or nothing comes any more.
    pub(crate) fn run(&self, lab: &Lab) -> Done {
        way_back(lab);
        lab.a.run(|| self.run_here())
    }

    fn run_here(&self) -> Done {
        const RST: u8 = 4;
        let (out, back) = (open(c"va"), receive_ipv4(c"va"));
        let send = |frame: Vec<u8>| super::flood::send_all(&out, &[frame]);
        let mut done = Done::default();
        let by_source: HashMap<(Ipv4Addr, u16), u32> =
            (0..self.count).map(|n| (self.source(n), n)).collect();
        let mut waiting: BTreeMap<(Instant, u32), Action> = BTreeMap::new();
        let mut acknowledged = vec![None; self.count as usize];
        let (start, mut next) = (Instant::now(), 0);
        let all_sent = Duration::from_secs_f64(f64::from(self.count) / f64::from(self.rate));
        let limit = start + all_sent + self.delay.1 + Duration::from_millis(1_500);
        while Instant::now() < limit && (next < self.count || done.completed < self.count.into()) {
            let due = (start.elapsed().as_secs_f64() * f64::from(self.rate)) as u32;
            while next < due.min(self.count) {
                let data: &[u8] = if self.form == Form::Data { b"early" } else { b"" };
                for _ in 0..if self.form == Form::Twice { 2 } else { 1 } {
                    send(self.frame(next, self.isn(next), SYN, 0, data));
                    done.syns += 1;
                }
                next += 1;
            }
            while let Some(packet) = receive(&back) {
                let Some(segment) = Segment::parse(&packet) else { continue };
                let std::net::IpAddr::V4(to) = segment.to.ip() else { continue };
                let Some(&n) = by_source.get(&(to, segment.to.port())) else { continue };
                let known = &mut acknowledged[n as usize];
                if segment.is(SYN | ACK) && known.is_none() {
                    *known = Some(segment.seq);
                    done.answered += 1;
                    let at = Instant::now() + self.pause(n);
                    waiting.insert((at, n), Action::Acknowledge(segment.seq.wrapping_add(1)));
                }
            }
            while let Some(entry) = waiting.first_entry() {
                let &(at, n) = entry.key();
                if at > Instant::now() {
                    break;
                }
                let seq = self.isn(n).wrapping_add(1);
                match entry.remove() {
                    Action::Acknowledge(ack) => {
                        send(self.frame(n, seq, ACK, ack, b""));
                        done.completed += 1;
                        waiting.insert((at + Duration::from_millis(60), n), Action::Reset(ack));
                    }
                    Action::Reset(ack) => send(self.frame(n, seq, RST | ACK, ack, b"")),
                }
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        for ((_, n), action) in waiting {
            let (Action::Acknowledge(ack) | Action::Reset(ack)) = action;
            send(self.frame(n, self.isn(n).wrapping_add(1), RST | ACK, ack, b""));
        }
        done
    }
}

/// The first of their addresses.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 191, 0, 1);

/// Answers to these clients go back over the cable; host a's kernel has no use for them.
fn way_back(lab: &Lab) {
    let gateway = "10.255.255.2";
    let mac = super::lab::mac(MAC_A);
    lab.b.sh(&format!("ip neigh replace {gateway} lladdr {mac} dev vb nud permanent"));
    lab.b.sh(&format!("ip route replace 10.191.0.0/16 via {gateway} dev vb onlink"));
}

fn receive(socket: &std::os::fd::OwnedFd) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 2_048];
    // SAFETY: the buffer outlives the call and its size is passed along.
    let n = unsafe {
        libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
    };
    buffer.truncate(usize::try_from(n).ok()?);
    // Behind the Ethernet header.
    (buffer.len() > 14).then(|| buffer.split_off(14))
}
