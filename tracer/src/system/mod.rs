//! What tracer asks the running system: its sockets, processes, namespaces, cgroups, interfaces,
//! kernel and privileges.
//!
//! Everything here reads; nothing attaches, and only [`privileges`] changes anything: of tracer's
//! own process. What a question needs and what its answer leaves out stands with each.

pub mod cgroup;
pub mod cpus;
pub mod hook_policy;
pub mod host;
pub mod interfaces;
pub mod local_addresses;
mod mounts;
mod netlink;
pub mod netns;
pub mod netstat;
pub mod owners;
pub mod packet_socket;
pub mod privileges;
pub mod queues;
pub mod sock_diag;
