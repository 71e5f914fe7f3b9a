//! Transitions that this machine's kernel keeps from every BPF program.
//!
//! A kernel may protect its init and run no tracing program while one of init's threads is the
//! current task; nor does it count them as missed (`recursion_misses`). A timer or a packet is
//! handled on top of whatever runs, so that a transition that has nothing to do with init is lost
//! where it interrupts it. Measured on such a kernel (6.18): of 11,100 connections that a timer
//! ended, 39 were ended on top of init, none of which a program was run for, and for all others one
//! was. What a scenario says of tracer does not hold for a run in which that happened.

use std::ffi::c_ulong;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::process::Command;

/// `PERF_TYPE_TRACEPOINT`.
const TRACEPOINT: u32 = 2;
/// `PERF_EVENT_IOC_SET_FILTER`.
const SET_FILTER: c_ulong = 0x4008_2406;

/// `struct perf_event_attr` as it was first (`PERF_ATTR_SIZE_VER0`): the kernel takes that.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    rest: [u64; 6],
}

/// Counts the transitions of all TCP sockets on top of init's threads.
pub(crate) struct Withheld {
    /// A counter of the kernel's for each CPU.
    counters: Vec<File>,
}

impl Withheld {
    /// Begins to count. `None` where the kernel does not protect its init.
    pub(crate) fn watch() -> Option<Self> {
        let protected = std::fs::read_link("/proc/1/ns/net")
            .is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
        protected.then(Self::of_init)
    }

    fn of_init() -> Self {
        let threads = std::fs::read_dir("/proc/1/task").expect("/proc/1/task");
        let threads: Vec<_> = threads
            .map(|entry| entry.expect("a thread").file_name().into_string().expect("a number"))
            .map(|thread| format!("common_pid == {thread}"))
            .collect();
        let filter = threads.join(" || ");
        let cpus = std::thread::available_parallelism().expect("CPUs").get();
        Self { counters: (0..cpus).map(|cpu| counter(cpu, &filter)).collect() }
    }

    /// How many there were up to now.
    pub(crate) fn count(&self) -> u64 {
        let read = |mut counter: &File| {
            let mut count = [0; 8];
            counter.read_exact(&mut count).expect("read a counter");
            u64::from_ne_bytes(count)
        };
        self.counters.iter().map(read).sum()
    }
}

/// Counts on one CPU what passes the filter.
fn counter(cpu: usize, filter: &str) -> File {
    let attributes = Attributes {
        kind: TRACEPOINT,
        size: size_of::<Attributes>().try_into().expect("a size"),
        config: tracepoint(),
        ..Attributes::default()
    };
    let filter = std::ffi::CString::new(filter).expect("no NUL");
    // SAFETY: the attributes outlive the call, which says how large they are; the descriptor is
    // owned by nobody else; the filter outlives the call and ends with NUL.
    unsafe {
        let cpu = libc::c_int::try_from(cpu).expect("a CPU");
        let fd = libc::syscall(libc::SYS_perf_event_open, &raw const attributes, -1, cpu, -1, 0);
        let fd = libc::c_int::try_from(fd).expect("a descriptor");
        assert!(fd >= 0, "perf_event_open: {}", std::io::Error::last_os_error());
        let counter = File::from_raw_fd(fd);
        let rc = libc::ioctl(counter.as_raw_fd(), SET_FILTER, filter.as_ptr());
        assert_eq!(rc, 0, "{filter:?}: {}", std::io::Error::last_os_error());
        counter
    }
}

/// The number of `sock:inet_sock_set_state`.
fn tracepoint() -> u64 {
    let event = "events/sock/inet_sock_set_state/id";
    // In a mount namespace of its own, so that nothing is mounted on the machine.
    let script = format!("mount -t tracefs tracefs /mnt && cat /mnt/{event}");
    let out = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output();
    let out = out.expect("start unshare (util-linux)");
    let text = String::from_utf8_lossy(&out.stdout);
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("{event}: {}", String::from_utf8_lossy(&out.stderr)))
}
