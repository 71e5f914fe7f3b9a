//! The process at work, when it can be trusted to be the socket's.

use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use tracer_common::record::{SocketRecord, flags};

use crate::{
    config::offset,
    kernel::{Direct, Ptr, Reader},
};

/// `include/linux/sched.h`: a kernel thread. Such a thread works for somebody else.
const PF_KTHREAD: u32 = 0x0020_0000;

/// The thread group id of the current process, 0 for a kernel thread, and the name of its group
/// leader (a thread may have renamed itself).
#[inline(always)]
pub(crate) unsafe fn current() -> (u32, [u64; 2]) {
    // SAFETY: the helpers take no pointers; the offsets are of task_struct.
    unsafe {
        let task = bpf_get_current_task_btf() as Ptr;
        if Direct::read::<u32>(task, offset!(task_flags)) & PF_KTHREAD != 0 {
            return (0, [0; 2]);
        }
        let leader = Direct::read::<usize>(task, offset!(task_group_leader)) as Ptr;
        let comm = Direct::copy16(leader, offset!(task_comm));
        (Direct::read(task, offset!(task_tgid)), comm)
    }
}

/// Fills in the owner if a process is working on the socket under its lock. In softirq context the
/// current task is whoever was interrupted: `sk_lock.owned` is 0 then.
#[inline(always)]
pub(crate) unsafe fn fill(record: *mut SocketRecord, lock_owned: u32) {
    // SAFETY: the caller passes a reserved record.
    unsafe {
        let (pid, comm) = if lock_owned == 0 { (0, [0; 2]) } else { current() };
        (*record).pid = pid;
        (&raw mut (*record).comm).write_volatile(comm);
        if pid != 0 {
            (*record).flags |= flags::OWNER;
        }
    }
}
