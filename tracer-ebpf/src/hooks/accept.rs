//! Who takes a connection off the accept queue, and when.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, generated::bpf_get_current_task},
    macros::{fexit, tracepoint},
    programs::{FExitContext, TracePointContext},
};
use tracer_common::record::{RecordKind, SocketRecord};

use crate::{
    config::offset,
    counters::Program,
    filter::{Verdict, verdict},
    kernel::{Direct, Probe, Ptr, Reader},
    owner, ring,
    socket::{self, Tuple},
};

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
        let Some(tuple) = Tuple::read_tcp::<Direct>(sk, false) else {
            return 0;
        };
        if verdict(&tuple.subject) != Verdict::Match {
            return 0;
        }
        let Some(mut entry) = ring::reserve::<SocketRecord>(Program::Accept) else {
            return 0;
        };
        let record = entry.as_mut_ptr();
        socket::fill::<Direct>(record, sk, &tuple);
        (*record).cookie = socket::cookie(sk);
        finish(record, Direct::read(sk, offset!(skc_state)));
        ring::submit(Program::Accept, entry);
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
    // SAFETY: every address goes through bpf_probe_read_kernel.
    unsafe {
        let Some(sk) = socket_of(fd as u64) else {
            return 0;
        };
        let Some(tuple) = Tuple::read_tcp::<Probe>(sk, false) else {
            return 0;
        };
        if verdict(&tuple.subject) != Verdict::Match {
            return 0;
        }
        // Without a cookie nobody has traced this socket before.
        let cookie: u64 = Probe::read(sk, offset!(skc_cookie));
        if cookie == 0 {
            return 0;
        }
        let Some(mut entry) = ring::reserve::<SocketRecord>(Program::Accept) else {
            return 0;
        };
        let record = entry.as_mut_ptr();
        socket::fill::<Probe>(record, sk, &tuple);
        (*record).cookie = cookie;
        finish(record, Probe::read(sk, offset!(skc_state)));
        ring::submit(Program::Accept, entry);
    }
    0
}

#[inline(always)]
unsafe fn finish(record: *mut SocketRecord, state: u8) {
    // SAFETY: a reserved record.
    unsafe {
        (*record).kind = RecordKind::Accepted as u8;
        (*record).old_state = state;
        (*record).new_state = state;
        (*record).ts_ns = bpf_ktime_get_ns();
        owner::fill(record, 1);
    }
}

/// The TCP socket behind a file descriptor of the current task.
#[inline(always)]
unsafe fn socket_of(fd: u64) -> Option<Ptr> {
    // SAFETY: see above.
    unsafe {
        let task = bpf_get_current_task() as Ptr;
        let files = Probe::read::<usize>(task, offset!(task_files)) as Ptr;
        let table = Probe::read::<usize>(files, offset!(files_fdt)) as Ptr;
        if fd >= u64::from(Probe::read::<u32>(table, offset!(fdtable_max_fds))) {
            return None;
        }
        let array = Probe::read::<usize>(table, offset!(fdtable_fd));
        let file = Probe::read::<usize>(array.wrapping_add(fd as usize * 8) as Ptr, 0);
        let socket = Probe::read::<usize>(file as Ptr, offset!(file_private_data)) as Ptr;
        // Another thread may have put another file there; a socket knows its own.
        if file == 0 || Probe::read::<usize>(socket, offset!(socket_file)) != file {
            return None;
        }
        let sk = Probe::read::<usize>(socket, offset!(socket_sk)) as Ptr;
        (!sk.is_null()).then_some(sk)
    }
}
