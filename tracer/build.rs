//! Builds the kernel side (`tracer-ebpf`) for the BPF target and hands it to the crate as
//! `OUT_DIR/tracer-ebpf`.
//!
//! Which toolchain builds it is decided by `cargo xtask` (see `xtask/src/toolchain`), which passes
//! its choice in the environment:
//!
//! - `TRACER_BPF_TOOLCHAIN`: the rustup toolchain that can build for `bpfel-unknown-none`
//!   (default `nightly`, which needs the `rust-src` component);
//! - `RUSTC_BOOTSTRAP`: `aya_ebpf` where that toolchain ships a prebuilt `core` for the target.

use aya_build::{Package, Toolchain};

fn main() -> anyhow::Result<()> {
    // aya-build does not watch what chooses and shapes the kernel side's build.
    for name in ["TRACER_BPF_TOOLCHAIN", "RUSTC_BOOTSTRAP", "TRACER_BPF_LINKER_VERSION"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let toolchain = std::env::var("TRACER_BPF_TOOLCHAIN").ok();
    let toolchain = toolchain.as_deref().map_or(Toolchain::Nightly, Toolchain::Custom);
    let root_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../tracer-ebpf");
    // The records are shared: a changed layout must rebuild both sides.
    println!("cargo:rerun-if-changed={}/../tracer-common/src", env!("CARGO_MANIFEST_DIR"));
    aya_build::build_ebpf(
        [Package { name: "tracer-ebpf", root_dir, ..Default::default() }],
        toolchain,
    )
}
