//! `sock:inet_sock_set_state`: every transition of a TCP socket, just before it is stored.

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    btf_maps::SkStorage,
    helpers::{
        bpf_ktime_get_ns,
        generated::{bpf_get_socket_cookie, bpf_sk_storage_get},
    },
    macros::{btf_map, btf_tracepoint, map},
    maps::Array,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use tracer_common::{
    record::{RecordKind, flags},
    settings::filter,
    state::{TcpState, not_of_a_segment},
    syn_table::Arrival,
};

use crate::{
    address,
    config::{offset, setting},
    counters::{Program, count},
    filter::{Verdict, listens, verdict},
    flood,
    kernel::{Direct, Ptr, Reader},
    lane, owner,
    ring::{Place, Sender},
    socket::{self, Tuple},
    syn_table,
};

const SYN_SENT: u8 = TcpState::SynSent as u8;
const SYN_RECV: u8 = TcpState::SynRecv as u8;
const CLOSE: u8 = TcpState::Close as u8;
const LISTEN: u8 = TcpState::Listen as u8;

/// When a child socket began (LISTEN→SYN_RECV). Its cookie must not be asked for then (before
/// 6.15 the kernel overwrites it right after) and its addresses are not there yet, so the time
/// waits here for the transition that follows, usually microseconds later on the same CPU.
#[repr(C)]
#[derive(Clone, Copy)]
struct Child {
    /// Address of the socket XOR `ts_ns`: a slot torn between two writers belongs to nobody.
    check: u64,
    ts_ns: u64,
}

/// A child is here for microseconds, one of TCP Fast Open for a round trip. Small enough to stay in
/// the processor's cache.
const CHILD_SLOTS: u32 = 1 << 12;

#[map]
static CHILDREN: Array<Child> = Array::with_max_entries(CHILD_SLOTS, 0);

/// A SYN_SENT that the filters can't judge before the kernel has chosen the local port.
#[repr(C)]
#[derive(Clone, Copy)]
struct Withheld {
    /// 0: nothing is withheld.
    ts_ns: u64,
    flags: u32,
    pid: u32,
    comm: [u64; 2],
}

#[btf_map]
static WITHHELD: SkStorage<Withheld> = SkStorage::new();

#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn tracer_state(ctx: BtfTracePointContext) -> i32 {
    let sk: Ptr = ctx.arg::<*const core::ffi::c_void>(0);
    let old = ctx.arg::<i32>(1) as u8;
    let new = ctx.arg::<i32>(2) as u8;
    // SAFETY: the tracepoint passes a struct sock.
    unsafe {
        let Some(mut writer) = lane::open(new) else {
            // Left to the second program.
            count(Program::State, |counters| counters.declined += 1);
            return 0;
        };
        super::rescue::mark(writer.here, sk, old, new);
        transition(&ctx, Program::State, &mut writer, sk, old, new);
        writer.close();
    }
    0
}

/// Handles a transition on behalf of `program`, whose records go `to` the user side this way.
#[inline(always)]
pub(super) unsafe fn transition<S: Sender>(
    ctx: &BtfTracePointContext,
    program: Program,
    to: &mut S,
    sk: Ptr,
    old: u8,
    new: u8,
) {
    // SAFETY: `sk` is a struct sock for as long as the program runs.
    unsafe {
        if old == LISTEN && new == SYN_RECV {
            remember_child(address::of(sk, program), bpf_ktime_get_ns());
            // Where the child has its addresses already (6.15), its cookie stays, too. With TCP
            // Fast Open it is accepted long before its next transition, and known by its cookie.
            if Direct::read::<u16>(sk, offset!(skc_dport)) != 0 {
                bpf_get_socket_cookie(sk.cast_mut());
            }
            return;
        }
        let Some(mut tuple) = Tuple::read_tcp(sk) else {
            return;
        };
        let mut tcp: Ptr = core::ptr::null();
        if tuple.lacks_port() && new != SYN_SENT {
            tcp = socket::tcp_sock(sk);
            if !tcp.is_null() {
                tuple.recall_port::<Direct>(tcp);
            }
        }
        let child_since = if old == SYN_RECV { take_child(address::of(sk, program)) } else { 0 };
        // Whether or not the connection is to be traced: the address will be another socket's.
        let reset = new == CLOSE && address::take_reset(sk, program);
        if new == SYN_SENT {
            forget_withheld(sk);
        }
        let verdict = if new == LISTEN || (old == LISTEN && new == CLOSE) {
            if listens(&tuple.subject) { Verdict::Match } else { Verdict::NoMatch }
        } else {
            verdict(&tuple.subject)
        };
        match verdict {
            Verdict::Match => {}
            // What is not traced costs no look at the clock.
            Verdict::NoMatch => return,
            Verdict::NeedsLocalPort => {
                if new == SYN_SENT {
                    withhold(ctx, program, sk, bpf_ktime_get_ns());
                }
                return;
            }
        }
        if tcp.is_null() {
            tcp = socket::tcp_sock(sk);
        }
        let now = when(sk, tcp, old, new);
        if old == SYN_SENT {
            release_withheld(program, to, sk, &tuple);
        }
        // Asked for even if the record is lost: it is by their cookie that accepted sockets are known
        // to be traced.
        let cookie = socket::cookie(sk);
        // Also even then: a SYN left in the table would make a request of this connection when a RST
        // ends it.
        let syn = if old == SYN_RECV { take_syn(tcp, &tuple, now) } else { None };
        // Numbers, 0 for none: of an `Option` kept across a call parts may never have been written.
        let (syn_ts_ns, syn_repeats, stranger) =
            syn.map_or((0, 0, 0), |syn| (syn.ts_ns, syn.repeats, syn.stranger));
        // Also even then. A simultaneous open is no child of a listener's.
        if child_since != 0 && new != CLOSE && tuple.subject.netns == setting!(hook_netns) {
            // One with a listener that was not known yet is taken off no listener's SYNs.
            let held = if stranger == 0 { syn_ts_ns } else { 0 };
            flood::completion(program, &tuple.subject, now, held);
        }
        let Some(mut room) = to.reserve() else {
            count(program, |counters| counters.transitions_lost += 1);
            return;
        };
        let record = room.as_mut_ptr();
        socket::fill(record, sk, &tuple);
        (*record).kind = RecordKind::Transition as u8;
        (*record).old_state = old;
        (*record).new_state = new;
        (*record).ts_ns = now;
        (*record).prev_ts_ns = child_since;
        (*record).syn_ts_ns = syn_ts_ns;
        (*record).syn_repeats = syn_repeats;
        if syn_ts_ns != 0 {
            (*record).flags |= flags::SYN_SEEN;
        }
        (*record).cookie = cookie;
        owner::fill(record, Direct::read(sk, offset!(sk_lock_owned)));
        if reset {
            (*record).flags |= flags::RESET_RECEIVED;
        }
        if tcp.is_null() {
            socket::fill_no_tcp(record);
        } else {
            socket::fill_tcp(record, tcp);
        }
        room.submit();
    }
}

/// When the transition happens.
///
/// What only a received segment can bring about happens when TCP has taken it up, and each time it
/// takes up one it looks at the clock first (`tcp_mstamp_refresh()` in `tcp_rcv_established()` and
/// `tcp_rcv_state_process()`): to look again would cost a third of what the transition costs. Not
/// where a process has the lock: it may have come here by other ways (`TCP_REPAIR`).
#[inline(always)]
unsafe fn when(sk: Ptr, tcp: Ptr, old: u8, new: u8) -> u64 {
    // SAFETY: the caller passes a struct sock, and what `tcp_sock` returned for it.
    unsafe {
        let owned: u32 = Direct::read(sk, offset!(sk_lock_owned));
        let mut when: u64 = 0;
        if (not_of_a_segment(old, new) | owned as u64) == 0 && !tcp.is_null() {
            when = Direct::read(tcp, offset!(tcp_clock_cache));
        }
        if when == 0 {
            when = bpf_ktime_get_ns();
        }
        when
    }
}

/// The SYN that began this connection, out of the SYN table.
#[inline(always)]
unsafe fn take_syn(tcp: Ptr, tuple: &Tuple, now: u64) -> Option<Arrival> {
    if tcp.is_null() || tuple.subject.netns != setting!(hook_netns) {
        return None;
    }
    // SAFETY: the caller passes what `tcp_sock` returned.
    let (next, received) = unsafe {
        let next: u32 = Direct::read(tcp, offset!(tcp_rcv_nxt));
        let received: u64 = Direct::read(tcp, offset!(tcp_bytes_received));
        (next, received)
    };
    // The peer's first byte follows its SYN; data that came with the SYN (TCP Fast Open) is
    // counted as received.
    let fits = |isn: u32| u64::from(next.wrapping_sub(isn).wrapping_sub(1)) <= received;
    syn_table::take(&tuple.subject, now, fits)
}

#[inline(always)]
fn child_slot(sk: u64) -> Option<*mut Child> {
    // Socket addresses are not chosen by anybody outside. Sockets are at least 64 bytes apart.
    let hash = (sk >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    CHILDREN.get_ptr_mut((hash >> 40) as u32 & (CHILD_SLOTS - 1))
}

#[inline(always)]
fn remember_child(sk: u64, now: u64) {
    if let Some(slot) = child_slot(sk) {
        // SAFETY: a map value; readers detect a torn one.
        unsafe { slot.write_volatile(Child { check: sk ^ now, ts_ns: now }) };
    }
}

/// When this child began; 0 if its slot was overwritten.
#[inline(always)]
fn take_child(sk: u64) -> u64 {
    let Some(slot) = child_slot(sk) else { return 0 };
    // SAFETY: a map value.
    unsafe {
        let child = slot.read_volatile();
        if child.ts_ns == 0 || child.check ^ child.ts_ns != sk {
            return 0;
        }
        // The address will be another socket's one day.
        (&raw mut (*slot).ts_ns).write_volatile(0);
        child.ts_ns
    }
}

#[inline(always)]
unsafe fn storage(sk: Ptr, flags: u64) -> *mut Withheld {
    // SAFETY: the verifier checks the map's and the socket's types.
    unsafe {
        bpf_sk_storage_get(
            (&raw const WITHHELD).cast_mut().cast(),
            sk.cast_mut().cast::<bpf_sock>().cast(),
            core::ptr::null_mut(),
            flags,
        )
        .cast()
    }
}

#[inline(always)]
unsafe fn withhold(ctx: &BtfTracePointContext, program: Program, sk: Ptr, now: u64) {
    // SAFETY: `sk` is a full socket.
    unsafe {
        let withheld = storage(sk, BPF_SK_STORAGE_GET_F_CREATE.into());
        if withheld.is_null() {
            count(program, |counters| counters.withheld_lost += 1);
            debug!(ctx, "no memory to withhold a SYN_SENT");
            return;
        }
        (*withheld).ts_ns = now;
        let (pid, comm) = owner::current();
        (*withheld).pid = pid;
        (*withheld).comm = comm;
        (*withheld).flags = if pid == 0 { 0 } else { flags::OWNER };
    }
}

/// Forgets what an earlier connect() of this socket left: it failed and was not to be traced.
#[inline(always)]
unsafe fn forget_withheld(sk: Ptr) {
    // SAFETY: `sk` is a full socket.
    unsafe {
        if !withholds() {
            return;
        }
        let withheld = storage(sk, 0);
        if !withheld.is_null() {
            (*withheld).ts_ns = 0;
        }
    }
}

/// Whether a filter hangs on the local port.
#[inline(always)]
fn withholds() -> bool {
    setting!(filters) & (filter::PORT | filter::LOCAL_PORT) != 0
}

/// Sends the SYN_SENT that had to wait for its local port, now that the filters have let the
/// connection pass.
#[inline(always)]
unsafe fn release_withheld<S: Sender>(program: Program, to: &mut S, sk: Ptr, tuple: &Tuple) {
    // SAFETY: `sk` is a full socket.
    unsafe {
        if !withholds() {
            return;
        }
        let withheld = storage(sk, 0);
        if withheld.is_null() || (*withheld).ts_ns == 0 {
            return;
        }
        let since = (*withheld).ts_ns;
        (*withheld).ts_ns = 0;
        let Some(mut room) = to.reserve() else {
            count(program, |counters| counters.transitions_lost += 1);
            return;
        };
        let record = room.as_mut_ptr();
        socket::fill(record, sk, tuple);
        (*record).kind = RecordKind::Transition as u8;
        (*record).old_state = CLOSE;
        (*record).new_state = SYN_SENT;
        (*record).ts_ns = since;
        socket::fill_nothing_before(record);
        socket::fill_no_tcp(record);
        (*record).cookie = socket::cookie(sk);
        (*record).sk_err = 0;
        (*record).pid = (*withheld).pid;
        (*record).comm = (*withheld).comm;
        (*record).flags = (*withheld).flags;
        room.submit();
    }
}
