//! Who takes a connection off the accept queue, and when.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, generated::bpf_get_current_task_btf},
    macros::{fexit, tracepoint},
    programs::{FExitContext, TracePointContext},
};
use tracer_common::{
    record::{RecordKind, SocketRecord},
    state::TcpState,
};

use crate::{
    config::offset,
    counters::Program,
    filter::{Verdict, verdict},
    kernel::{Block, Copied, Direct, Probe, Ptr, Reader},
    owner, ring,
    socket::{self, Tuple},
};

const CLOSE: u8 = TcpState::Close as u8;

/// Words of `struct sock_common`, as far as something is read.
const COMMON: usize = 16;
/// Words of `struct socket`, likewise.
const SOCKET: usize = 8;

/// `inet_csk_accept(sk, arg)`, since 6.10: the third value is what it returns.
#[fexit(function = "inet_csk_accept")]
pub(crate) fn tracer_accept2(ctx: FExitContext) -> i32 {
    accepted(ctx.arg::<*const c_void>(2))
}

/// `inet_csk_accept(sk, flags, err, kern)`, before 6.10.
#[fexit(function = "inet_csk_accept")]
pub(crate) fn tracer_accept4(ctx: FExitContext) -> i32 {
    accepted(ctx.arg::<*const c_void>(4))
}

#[inline(always)]
fn accepted(sk: Ptr) -> i32 {
    if sk.is_null() {
        return 0;
    }
    // SAFETY: inet_csk_accept returns a struct sock or null.
    unsafe {
        let Some(mut tuple) = Tuple::read_tcp(sk) else {
            return 0;
        };
        tuple.recall_port::<Probe>(sk);
        if verdict(&tuple.subject) != Verdict::Match {
            return 0;
        }
        let now = bpf_ktime_get_ns();
        let Some(mut room) = ring::reserve::<SocketRecord>(Program::Accept) else {
            return 0;
        };
        let record = room.as_mut_ptr();
        socket::fill(record, sk, &tuple);
        (*record).cookie = socket::cookie(sk);
        finish(record, Direct::read(sk, offset!(skc_state)), now);
        ring::submit(room);
    }
    0
}

/// Exit of accept() and accept4(): the socket behind the new file descriptor.
#[tracepoint(name = "sys_exit_accept4", category = "syscalls")]
pub(crate) fn tracer_accept_tp(ctx: TracePointContext) -> u32 {
    // struct { common 8; int nr; pad 4; long ret; } as in the tracepoint's format file.
    // SAFETY: within the tracepoint's record.
    let Ok(fd) = (unsafe { ctx.read_at::<i64>(16) }) else {
        return 0;
    };
    if fd < 0 {
        return 0;
    }
    // SAFETY: the verifier knows the task's pointers; all others go through bpf_probe_read_kernel.
    unsafe {
        let Some(sk) = socket_of(fd as u64) else {
            return 0;
        };
        if !socket::is_tcp::<Probe>(sk) {
            return 0;
        }
        let mut common = Block::<COMMON>::new();
        let Some(common) = common.copy(sk) else {
            return 0;
        };
        let Some(mut tuple) = Tuple::read::<Copied<COMMON>>(common) else {
            return 0;
        };
        tuple.recall_port::<Probe>(sk);
        if verdict(&tuple.subject) != Verdict::Match {
            return 0;
        }
        // Without a cookie nobody has traced this socket before.
        let cookie: u64 = Copied::<COMMON>::read(common, offset!(skc_cookie));
        if cookie == 0 {
            return 0;
        }
        let now = bpf_ktime_get_ns();
        let Some(mut room) = ring::reserve::<SocketRecord>(Program::Accept) else {
            return 0;
        };
        let record = room.as_mut_ptr();
        socket::fill_tuple(record, &tuple);
        (*record).cookie = cookie;
        let state: u8 = Copied::<COMMON>::read(common, offset!(skc_state));
        // Of what says how it is, only what the user side asks an accepted socket for: a load is a
        // call here. It has an error only if it has ended while it waited, and its transitions tell its
        // cgroup.
        (*record).sk_err = if state == CLOSE { Probe::read(sk, offset!(sk_err)) } else { 0 };
        (*record).cgroup_id = 0;
        (*record).flags = 0;
        finish(record, state, now);
        ring::submit(room);
    }
    0
}

#[inline(always)]
unsafe fn finish(record: *mut SocketRecord, state: u8, now: u64) {
    // SAFETY: a reserved record.
    unsafe {
        (*record).kind = RecordKind::Accepted as u8;
        (*record).old_state = state;
        (*record).new_state = state;
        (*record).ts_ns = now;
        socket::fill_nothing_before(record);
        socket::fill_no_tcp(record);
        owner::fill(record, 1);
    }
}

/// The TCP socket behind a file descriptor of the current task.
#[inline(always)]
unsafe fn socket_of(fd: u64) -> Option<Ptr> {
    // SAFETY: see above.
    unsafe {
        let task = bpf_get_current_task_btf() as Ptr;
        let files = Direct::read::<usize>(task, offset!(task_files)) as Ptr;
        let table = Direct::read::<usize>(files, offset!(files_fdt)) as Ptr;
        if fd >= u64::from(Direct::read::<u32>(table, offset!(fdtable_max_fds))) {
            return None;
        }
        let array = Direct::read::<usize>(table, offset!(fdtable_fd));
        let file = Probe::read::<usize>(array.wrapping_add(fd as usize * 8) as Ptr, 0);
        let socket = Probe::read::<usize>(file as Ptr, offset!(file_private_data)) as Ptr;
        let mut copy = Block::<SOCKET>::new();
        let copy = copy.copy(socket)?;
        // Another thread may have put another file there; a socket knows its own.
        if file == 0 || Copied::<SOCKET>::read::<usize>(copy, offset!(socket_file)) != file {
            return None;
        }
        let sk = Copied::<SOCKET>::read::<usize>(copy, offset!(socket_sk)) as Ptr;
        (!sk.is_null()).then_some(sk)
    }
}
