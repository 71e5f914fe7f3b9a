//! The packet filter of `--write`: which packets the packet socket gets. Loaded only with it.
//!
//! It runs for every packet of the network namespace, twice on `lo`. So what most packets are, data
//! and their ACKs, costs no more than their headers and one look into a table.

use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, generated::bpf_skb_load_bytes},
    macros::{map, socket_filter},
    maps::{LruHashMap, PerCpuArray},
    programs::SkBuffContext,
};
use tracer_common::{
    control::{self, Awaited, Flow, KEPT_PER_SECOND, Kept, SNAP_LEN, Table},
    packet::{self, Header, Link, Located, Packet, Reject, Segment, tcp_flags},
};

use crate::filter::{Subject, Verdict, verdict};

/// What has yet to be answered. The user side gives it its size where it is needed.
#[map]
static AWAITED: LruHashMap<Flow, Awaited> = LruHashMap::with_max_entries(1, 0);

#[map]
static KEPT: PerCpuArray<Kept> = PerCpuArray::with_max_entries(1, 0);

/// `LOOPBACK_IFINDEX`: `lo` of every network namespace.
const LOOPBACK: u32 = 1;
/// `PACKET_OTHERHOST` and `PACKET_OUTGOING` of `linux/if_packet.h`.
const OTHERHOST: u32 = 3;
const OUTGOING: u32 = 4;

const DROP: i64 = 0;
const KEEP: i64 = SNAP_LEN as i64;
const SECOND_NS: u64 = 1_000_000_000;

/// The first bytes of the packet that this CPU looks at: one call for all of them, where a socket's
/// filter may not read the packet itself.
#[map]
static HEAD: PerCpuArray<Head> = PerCpuArray::with_max_entries(1, 0);

#[repr(C, align(8))]
struct Head([u8; HEAD_LEN]);

/// Room for an Ethernet header with tags, an IP header with options or some extensions, and a TCP header.
const HEAD_LEN: usize = 192;
/// An IPv4 and a TCP header: in less there is no segment.
const LEAST_LEN: usize = 40;

/// The packet as far as it has been copied.
struct Copied {
    head: *const u8,
    len: usize,
}

impl Copied {
    #[inline(always)]
    fn of(ctx: &SkBuffContext) -> Option<Self> {
        let head = HEAD.get_ptr_mut(0)?.cast::<u8>();
        let len = ctx.len() as usize;
        // Told by less-than: from a comparison with 0 the verifiers of 6.1 and older do not see that
        // something is left to copy.
        if len < LEAST_LEN {
            return None;
        }
        let len = if len < HEAD_LEN { len } else { HEAD_LEN };
        // SAFETY: this CPU's map value, which is as long.
        let result = unsafe {
            bpf_skb_load_bytes(ctx.skb.skb.cast_const().cast(), 0, head.cast(), len as u32)
        };
        (result == 0).then_some(Self { head, len })
    }
}

impl Packet for Copied {
    #[inline(always)]
    fn read<T: Header>(&self, offset: usize) -> Option<T> {
        // The compiler must not know where it comes from: it would compare what the offset was made of,
        // and the verifiers of 6.1 and older do not see that the offset itself is bounded by that.
        let offset = core::hint::black_box(offset);
        if offset > HEAD_LEN - size_of::<T>() || offset + size_of::<T>() > self.len {
            return None;
        }
        // SAFETY: within the map value, as the verifier can see.
        Some(unsafe { self.head.add(offset).cast::<T>().read_unaligned() })
    }
}

struct Answers;

impl Table for Answers {
    #[inline(always)]
    fn get(&mut self, flow: &Flow) -> Option<Awaited> {
        // SAFETY: copied at once. Another CPU may change it meanwhile; an answer is missed then.
        unsafe { AWAITED.get(flow) }.copied()
    }

    #[inline(always)]
    fn set(&mut self, flow: &Flow, awaited: &Awaited) {
        let _ = AWAITED.insert(flow, awaited, 0);
    }
}

#[socket_filter]
pub(crate) fn tracer_keep(ctx: SkBuffContext) -> i64 {
    // SAFETY: the context is valid while the program runs.
    let (kind, ifindex) = unsafe { ((*ctx.skb.skb).pkt_type, (*ctx.skb.skb).ifindex) };
    // What is not for this host, and on `lo`, where each packet passes twice, what comes in again.
    if kind == OTHERHOST || kind == OUTGOING && ifindex == LOOPBACK {
        return DROP;
    }
    let Some(packet) = Copied::of(&ctx) else { return DROP };
    let found = match packet::locate(&packet, Link::Ethernet) {
        Ok(at) => look(&packet, at, kind, ifindex),
        // No Ethernet header, or no TCP behind it.
        Err(_) => match packet::locate(&packet, Link::RawIp) {
            Ok(at) => look(&packet, at, kind, ifindex),
            Err(reject) => Err(reject),
        },
    };
    if matches!(found, Ok(true)) { KEEP } else { DROP }
}

#[inline(never)]
fn look(packet: &Copied, at: Located, kind: u32, ifindex: u32) -> Result<bool, Reject> {
    let segment = packet::segment(packet, at)?;
    if segment.flags & (tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST | tcp_flags::ACK) == 0 {
        return Ok(false);
    }
    let payload_len = control::payload_len(packet, at).ok_or(Reject::Unparsed)?;
    if !control::is_control(segment.flags) {
        return Ok(control::answers(&segment, payload_len, ifindex, &mut Answers));
    }
    let outgoing = kind == OUTGOING;
    // On `lo` both ends are local.
    if !matches(&segment, outgoing) && (ifindex != LOOPBACK || !matches(&segment, true)) {
        return Ok(false);
    }
    if !affordable(segment.flags & tcp_flags::SYN != 0) {
        return Ok(false);
    }
    control::control(&segment, payload_len, ifindex, &mut Answers);
    Ok(true)
}

/// Whether the filters are for the connection, of which the sender is the local end or the receiver.
#[inline(always)]
fn matches(segment: &Segment, sent: bool) -> bool {
    let received = Subject::received(segment);
    let subject = if sent { received.reversed() } else { received };
    verdict(&subject) == Verdict::Match
}

/// Whether this CPU may let through one more this second.
#[inline(always)]
fn affordable(syn: bool) -> bool {
    let Some(kept) = KEPT.get_ptr_mut(0) else { return false };
    // SAFETY: takes no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: this CPU's map value. An interrupt between two of these may cost a count.
    let kept = unsafe { &mut *kept };
    if now.wrapping_sub(kept.since_ns) >= SECOND_NS {
        kept.since_ns = now;
        kept.spent = [0, 0];
    }
    let spent = if syn { &mut kept.spent[0] } else { &mut kept.spent[1] };
    if *spent >= KEPT_PER_SECOND {
        kept.left_out += 1;
        return false;
    }
    *spent += 1;
    true
}
