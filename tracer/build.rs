//! Builds the kernel side (`tracer-ebpf`) for the BPF target and hands it to the crate as
//! `OUT_DIR/tracer-ebpf`.
//!
//! Which toolchain builds it is decided by `cargo xtask` (see `xtask/src/toolchain`), which leaves
//! its choice in `target/bpf-toolchain`, so that a plain `cargo build` later does the same. The
//! environment overrides it:
//!
//! - `TRACER_BPF_TOOLCHAIN`: the rustup toolchain that can build for `bpfel-unknown-none`
//!   (default `nightly`, which needs the `rust-src` component);
//! - `RUSTC_BOOTSTRAP`: set here for toolchains that are not nightly, where nobody set it. Setting
//!   it for all of cargo would rebuild every crate whose build script watches it;
//! - `TRACER_COMMIT`: what `tracer --version` calls the commit (see `commit.rs`).

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aya_build::{Package, Toolchain};

mod commit;
mod strip;

fn main() -> anyhow::Result<()> {
    let commit = commit::find(Path::new(env!("CARGO_MANIFEST_DIR")));
    println!("cargo:rustc-env=TRACER_COMMIT={commit}");
    // aya-build does not watch what chooses and shapes the kernel side's build.
    for name in ["TRACER_BPF_TOOLCHAIN", "RUSTC_BOOTSTRAP"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let root_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../tracer-ebpf");
    // The records are shared: a changed layout must rebuild both sides.
    println!("cargo:rerun-if-changed={}/../tracer-common/src", env!("CARGO_MANIFEST_DIR"));

    let out_dir = PathBuf::from(std::env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    let choice = Choice::find(&out_dir)?;
    // SAFETY: this process has one thread; nothing reads the environment meanwhile.
    unsafe { choice.apply()? };
    let toolchain = match choice.toolchain.as_str() {
        "nightly" => Toolchain::Nightly,
        name => Toolchain::Custom(name),
    };
    aya_build::build_ebpf(
        [Package { name: "tracer-ebpf", root_dir, ..Default::default() }],
        toolchain,
    )
    .context("cannot build the kernel side; `cargo xtask build` sets up its toolchain")?;
    strip::strip(&out_dir.join("tracer-ebpf"))
}

struct Choice {
    toolchain: String,
    linker: Option<PathBuf>,
}

impl Choice {
    fn find(out_dir: &Path) -> anyhow::Result<Self> {
        let (mut toolchain, mut linker) = ("nightly".to_owned(), None);
        // OUT_DIR is target/[TRIPLE/]PROFILE/build/PACKAGE/out.
        let file =
            out_dir.ancestors().map(|dir| dir.join("bpf-toolchain")).find(|file| file.exists());
        if let Some(file) = file {
            println!("cargo:rerun-if-changed={}", file.display());
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
                match key {
                    "toolchain" => toolchain = value.to_owned(),
                    "linker" => linker = Some(PathBuf::from(value)),
                    // The rest is there to change the file when a tool changes.
                    _ => {}
                }
            }
        }
        if let Ok(name) = std::env::var("TRACER_BPF_TOOLCHAIN") {
            toolchain = name;
        }
        Ok(Self { toolchain, linker })
    }

    /// Puts the choice into the environment that the compiler for the BPF target inherits.
    ///
    /// # Safety
    ///
    /// No other thread may read or write the environment.
    unsafe fn apply(&self) -> anyhow::Result<()> {
        if !self.toolchain.starts_with("nightly") && std::env::var_os("RUSTC_BOOTSTRAP").is_none() {
            // Its prebuilt `core` is used as it is; only aya-ebpf needs unstable features.
            // SAFETY: the caller's promise.
            unsafe { std::env::set_var("RUSTC_BOOTSTRAP", "aya_ebpf") };
        }
        // aya-build shows all the inner cargo says as warnings: only real ones should be.
        // SAFETY: the caller's promise.
        unsafe { std::env::set_var("CARGO_TERM_QUIET", "true") };
        if let Some(dir) = self.linker.as_deref().and_then(Path::parent) {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let dirs = std::iter::once(dir.to_owned()).chain(std::env::split_paths(&path));
            let path = std::env::join_paths(dirs).context("cannot put bpf-linker on PATH")?;
            // SAFETY: the caller's promise.
            unsafe { std::env::set_var("PATH", path) };
        }
        Ok(())
    }
}
