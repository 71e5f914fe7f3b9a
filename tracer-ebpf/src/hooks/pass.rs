//! The yardstick of `cargo xtask bench`: what a packet costs that is only let through. Never
//! attached by tracer itself.

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

#[xdp(frags)]
pub(crate) fn tracer_pass_xdp(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}
