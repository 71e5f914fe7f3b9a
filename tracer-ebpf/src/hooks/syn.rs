//! SYNs as they arrive: one parser, one table and one set of counters for XDP and tcx.
//!
//! Constant cost a packet: a SYN is hashed, stored in one line of the table and counted; no record leaves
//! for it, only a few a second for all of them.

use core::hint::cold_path;

use aya_ebpf::{
    bindings::{TC_ACT_UNSPEC, xdp_action},
    helpers::bpf_ktime_get_ns,
    macros::{classifier, map, xdp},
    maps::PerCpuArray,
    programs::{TcContext, XdpContext},
};
use tracer_common::{
    flood::slot,
    hash,
    packet::{self, Header, Link, Located, Packet, Reject, tcp_flags},
    record::{RecordKind, RequestRecord},
    syn_table::{LastSyn, Seen, Tag},
};

use crate::{
    config::key,
    counters::{Program, count},
    filter::{Subject, Verdict, verdict},
    flood, ring,
    syn_table::{self, Met},
};

/// The packet between two pointers that the verifier knows.
struct Window {
    start: usize,
    end: usize,
}

impl Packet for Window {
    #[inline(always)]
    fn read<T: Header>(&self, offset: usize) -> Option<T> {
        let at = self.start + offset;
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: within the packet.
        Some(unsafe { (at as *const T).read() })
    }
}

#[xdp(frags)]
#[inline(always)]
pub(crate) fn tracer_syn_xdp(ctx: XdpContext) -> u32 {
    from_xdp(&ctx, Link::Ethernet)
}

#[xdp(frags)]
#[inline(always)]
pub(crate) fn tracer_syn_xdpl3(ctx: XdpContext) -> u32 {
    from_xdp(&ctx, Link::RawIp)
}

/// For kernels before 5.18, which refuse to load a program that says it bears multi-buffer packets.
#[xdp]
#[inline(always)]
pub(crate) fn tracer_syn_xdp1(ctx: XdpContext) -> u32 {
    from_xdp(&ctx, Link::Ethernet)
}

/// As [`tracer_syn_xdp1`].
#[xdp]
#[inline(always)]
pub(crate) fn tracer_syn_xdp1l3(ctx: XdpContext) -> u32 {
    from_xdp(&ctx, Link::RawIp)
}

#[classifier]
#[inline(always)]
pub(crate) fn tracer_syn_tcx(ctx: TcContext) -> i32 {
    from_tcx(&ctx, Link::Ethernet)
}

#[classifier]
#[inline(always)]
pub(crate) fn tracer_syn_tcxl3(ctx: TcContext) -> i32 {
    from_tcx(&ctx, Link::RawIp)
}

#[inline(always)]
fn from_xdp(ctx: &XdpContext, link: Link) -> u32 {
    // SAFETY: the context is valid while the program runs.
    let ifindex = unsafe { (*ctx.ctx).ingress_ifindex };
    let _ = look(&Window { start: ctx.data(), end: ctx.data_end() }, link, ifindex, false);
    xdp_action::XDP_PASS
}

#[inline(always)]
fn from_tcx(ctx: &TcContext, link: Link) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    let window = Window { start: ctx.data(), end: ctx.data_end() };
    let linear = window.end.wrapping_sub(window.start);
    let more = (ctx.len() as usize) > linear;
    if look(&window, link, ifindex, more) == Look::NeedsMore {
        // The headers are not all in the linear part: have them pulled there, and look again.
        if ctx.pull_data(HEADERS.min(ctx.len())).is_ok() {
            let window = Window { start: ctx.data(), end: ctx.data_end() };
            look(&window, link, ifindex, false);
        } else {
            unparsed();
        }
    }
    // On to the next program.
    TC_ACT_UNSPEC
}

/// Room for an Ethernet header with two tags, an IPv6 header with extensions and a TCP header.
const HEADERS: u32 = 256;

#[derive(PartialEq, Eq)]
enum Look {
    Done,
    NeedsMore,
}

/// What of a packet matters: that it is a SYN, a SYN-ACK or a RST. `more`: the packet goes on beyond the
/// window.
#[inline(always)]
fn look(window: &Window, link: Link, ifindex: u32, more: bool) -> Look {
    let looked = match packet::locate(window, link) {
        // Apart, so that what is the same for all addresses of a family is calculated by the compiler.
        Ok(at) if !at.v6 => control(window, Located { v6: false, ..at }, ifindex),
        Ok(at) => {
            cold_path();
            control(window, Located { v6: true, ..at }, ifindex)
        }
        Err(reject) => Err(reject),
    };
    match looked {
        Ok(()) | Err(Reject::NotTcp) => Look::Done,
        Err(Reject::Unparsed) if more => {
            cold_path();
            Look::NeedsMore
        }
        Err(Reject::Unparsed) => {
            cold_path();
            unparsed();
            Look::Done
        }
    }
}

/// Apart, as all that is rare: what a flood runs through should be in few cache lines.
#[inline(never)]
fn unparsed() {
    count(Program::Syn, |counters| counters.syns_unparsed += 1);
}

/// Sees to a segment that opens, answers or resets a connection; most do none and cost no more than this.
#[inline(always)]
fn control(window: &Window, at: Located, ifindex: u32) -> Result<(), Reject> {
    let flags = packet::flags(window, at).ok_or(Reject::Unparsed)?;
    // Linux drops SYN with FIN or RST (tcp_rcv_state_process, TCP_LISTEN). With ACK or without.
    let syn = flags & (tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST) == tcp_flags::SYN;
    let rst = flags & (tcp_flags::SYN | tcp_flags::RST) == tcp_flags::RST;
    if !syn && !rst {
        return Ok(());
    }
    let segment = packet::segment(window, at)?;
    handle(&segment, ifindex);
    Ok(())
}

#[inline(always)]
fn handle(segment: &packet::Segment, ifindex: u32) {
    let subject = Subject::received(segment);
    if verdict(&subject) != Verdict::Match {
        return;
    }
    if segment.flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN {
        return opening(segment, &subject, ifindex);
    }
    cold_path();
    if segment.flags & tcp_flags::SYN != 0 {
        answering(segment.seq, &subject, ifindex);
    } else {
        resetting(segment.seq, &subject);
    }
}

/// A RST.
#[inline(always)]
fn resetting(seq: u32, subject: &Subject) {
    // The RST that answers a SYN-ACK carries the number the SYN-ACK asked for (RFC 9293,
    // 3.10.7.1). A SYN still in the table has not become a connection.
    // SAFETY: takes no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // 0: none. An `Option` kept across a call may be stored half empty, which the verifier
    // takes for the reading of a register that was never written.
    let (syn_ts_ns, stranger) = syn_table::take(subject, now, |isn| isn.wrapping_add(1) == seq)
        .map_or((0, 0), |syn| (syn.ts_ns, syn.stranger));
    flood::reset(subject, now, if stranger == 0 { syn_ts_ns } else { 0 });
    if syn_ts_ns != 0 {
        request_reset(seq, subject, now, syn_ts_ns);
    }
}

/// A SYN-ACK. One that passes two devices (bond, bridge, VLAN) is one.
#[inline(always)]
fn answering(seq: u32, subject: &Subject, ifindex: u32) {
    // In a place where no RST can take it for the SYN of a request.
    let apart = Subject { netns: !subject.netns, ..*subject };
    let Some(place) = syn_table::place(key(), &apart) else { return };
    // SAFETY: takes no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    if place.store(now, seq, ifindex, slot::FOREIGN) != Seen::OtherDevice {
        flood::syn_ack(subject);
    }
}

#[inline(always)]
fn opening(segment: &packet::Segment, subject: &Subject, ifindex: u32) {
    // Asked for once, so that what the hashes have in common is calculated once.
    let key = key();
    // All that is asked of the maps first: what is calculated would not fit into the registers across it.
    let Some(table) = syn_table::table() else { return };
    let share = hash::share(key, subject.remote_addr);
    let tag = syn_table::tag(key, share, subject);
    let Some(to) = flood::destination(subject) else {
        cold_path();
        return uncounted(tag, segment.seq, ifindex);
    };
    let place = syn_table::Place::of(table, tag);
    let places = flood::places(to, key, share, subject);
    places.fetch();
    // SAFETY: takes no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let behind = places.behind();
    behind.settle(&place, now, amend);
    let source = subject.remote_addr;
    let seen = match behind.meet(&place, now, segment.seq, ifindex, places.slot, source) {
        Met::Certain(Seen::OtherDevice) => return,
        Met::Certain(seen) => {
            if seen == Seen::Repeated {
                late(seen);
            }
            seen
        }
        Met::Presumed => Seen::First,
    };
    places.syn(subject, seen, now);
}

/// A SYN that was counted as a first one was none.
#[inline(never)]
fn amend(last: &LastSyn, seen: Seen) {
    late(seen);
    flood::amend(last, seen);
}

/// Counts what a SYN is that was, or is about to be, counted as one.
#[inline(never)]
fn late(seen: Seen) {
    count(Program::Syn, |counters| match seen {
        Seen::First => {}
        Seen::Repeated => counters.syns_repeated += 1,
        Seen::OtherDevice => counters.syns_other_device += 1,
    });
}

/// A SYN on a CPU that has no elements to count in: one that came up after tracer.
#[inline(never)]
fn uncounted(tag: Tag, isn: u32, ifindex: u32) {
    let Some(table) = syn_table::table() else { return };
    let place = syn_table::Place::of(table, tag);
    // SAFETY: takes no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // Nor held against a listener.
    let seen = place.store(now, isn, ifindex, slot::FOREIGN);
    if seen != Seen::OtherDevice {
        count(Program::Syn, |counters| counters.syns += 1);
        late(seen);
    }
}

/// Strangers decide how many of these there are: so many records a CPU and interval, the rest is
/// counted.
const RESET_RECORDS: u32 = 64;
const RESET_INTERVAL_NS: u64 = 100_000_000;

#[repr(C)]
#[derive(Clone, Copy)]
struct Budget {
    since_ns: u64,
    spent: u32,
    reserved: u32,
}

#[map]
static RESET_BUDGET: PerCpuArray<Budget> = PerCpuArray::with_max_entries(1, 0);

#[inline(always)]
fn request_reset(seq: u32, subject: &Subject, now: u64, syn_ts_ns: u64) {
    let affordable = RESET_BUDGET.get_ptr_mut(0).is_some_and(|budget| {
        // SAFETY: this CPU's map value.
        let budget = unsafe { &mut *budget };
        if now.wrapping_sub(budget.since_ns) >= RESET_INTERVAL_NS {
            *budget = Budget { since_ns: now, spent: 0, reserved: 0 };
        }
        budget.spent += 1;
        budget.spent <= RESET_RECORDS
    });
    count(Program::Syn, |counters| {
        counters.requests_reset += 1;
        if !affordable {
            counters.requests_reset_unrecorded += 1;
        }
    });
    if !affordable {
        return;
    }
    let Some(mut room) = ring::reserve::<RequestRecord>(Program::Syn) else {
        count(Program::Syn, |counters| counters.requests_reset_unrecorded += 1);
        return;
    };
    let record = room.as_mut_ptr();
    // SAFETY: a reserved record.
    unsafe {
        (*record).kind = RecordKind::RequestReset as u8;
        (*record).family = 0;
        (*record).retransmits = 0;
        (*record).netns = subject.netns;
        (*record).ts_ns = now;
        (*record).syn_ts_ns = syn_ts_ns;
        (*record).local_addr = subject.local_addr;
        (*record).remote_addr = subject.remote_addr;
        (*record).local_port = subject.local_port;
        (*record).remote_port = subject.remote_port;
        (*record).isn = seq.wrapping_sub(1);
    }
    ring::submit(room);
}
