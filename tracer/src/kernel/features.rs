//! What the running kernel offers, told from its type information: no privileges, nothing loaded.

use std::path::Path;

use btf_rs::{Btf, Type};

use super::{layout, tracefs};

/// The tracepoints that tracer's programs are attached to, the one nothing works without first.
pub const TRACEPOINTS: [&str; 4] =
    ["inet_sock_set_state", "tcp_receive_reset", "tcp_send_reset", "tcp_retransmit_synack"];

/// System calls' tracepoints that take the place of fexit.
pub const ACCEPT_TRACEPOINTS: [&str; 2] = ["sys_exit_accept4", "sys_exit_accept"];

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Features {
    /// Those of [`TRACEPOINTS`] that the kernel has.
    pub tracepoints: Vec<&'static str>,
    /// Ring buffers between kernel and programs (5.8).
    pub ring_buffer: bool,
    /// `inet_csk_accept()` is there for fexit. Whether the kernel lets it be hooked, only trying
    /// tells.
    pub accept_function: bool,
    /// [`ACCEPT_TRACEPOINTS`]; `None`: tracefs can't be read, which takes root.
    pub accept_tracepoints: Option<bool>,
    /// tc hooks that are attached by a BPF link (6.6).
    pub tcx: bool,
    /// XDP programs for packets in several buffers (5.18).
    pub xdp_frags: bool,
}

impl Features {
    /// Looks.
    ///
    /// # Errors
    /// The kernel shows no type information: then nothing is known of the rest, either.
    pub fn find() -> anyhow::Result<Self> {
        let btf = layout::open()?;
        let tracepoint = |name: &&str| is_there(&btf, &format!("btf_trace_{name}"));
        Ok(Self {
            tracepoints: TRACEPOINTS.into_iter().filter(tracepoint).collect(),
            ring_buffer: has_variant(&btf, "bpf_map_type", "BPF_MAP_TYPE_RINGBUF"),
            accept_function: is_there(&btf, "inet_csk_accept"),
            accept_tracepoints: accept_tracepoints(),
            tcx: has_variant(&btf, "bpf_attach_type", "BPF_TCX_INGRESS"),
            xdp_frags: has_member(&btf, "bpf_prog_aux", "xdp_has_frags"),
        })
    }
}

fn is_there(btf: &Btf, name: &str) -> bool {
    btf.resolve_types_by_name(name).is_ok_and(|found| !found.is_empty())
}

fn has_variant(btf: &Btf, name: &str, variant: &str) -> bool {
    btf.resolve_types_by_name(name).into_iter().flatten().any(|found| match found {
        Type::Enum(found) => {
            found.members.iter().any(|member| btf.resolve_name(member).is_ok_and(|n| n == variant))
        }
        _ => false,
    })
}

fn has_member(btf: &Btf, name: &str, member: &str) -> bool {
    btf.resolve_types_by_name(name).into_iter().flatten().any(|found| match found {
        Type::Struct(found) => {
            found.members.iter().any(|own| btf.resolve_name(own).is_ok_and(|n| n == member))
        }
        _ => false,
    })
}

/// Looks into tracefs.
fn accept_tracepoints() -> Option<bool> {
    tracefs::with_tracefs(|| {
        let events = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"];
        let events = events.into_iter().map(Path::new).find(|path| path.read_dir().is_ok())?;
        let syscalls = events.join("syscalls");
        Some(ACCEPT_TRACEPOINTS.iter().all(|name| syscalls.join(name).exists()))
    })
    .ok()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::host::{Kernel, KernelVersion};

    #[test]
    fn this_kernel_has_what_its_version_promises() {
        let features = Features::find().unwrap();
        let version = Kernel::running().unwrap().version;
        assert_eq!(features.tracepoints, TRACEPOINTS);
        assert!(features.ring_buffer);
        assert!(features.accept_function);
        let root = nix::unistd::geteuid().is_root();
        assert!(!root || features.accept_tracepoints.is_some());
        if version < KernelVersion::TCX {
            assert!(!features.tcx);
        }
        assert_eq!(features.xdp_frags, version >= KernelVersion::new(5, 18));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let btf = layout::open().unwrap();
        assert!(!is_there(&btf, "btf_trace_no_such_tracepoint"));
        assert!(!has_variant(&btf, "bpf_map_type", "BPF_MAP_TYPE_NO_SUCH"));
        assert!(!has_member(&btf, "bpf_prog_aux", "no_such_member"));
        assert!(!has_member(&btf, "no_such_struct", "no_such_member"));
    }
}
