//! `cargo xtask build` and `run`: built as the user, run as root.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

use crate::{Consent, shell, toolchain, workspace};

/// Builds the release binary and says where it is.
pub(crate) fn build(consent: Consent) -> anyhow::Result<PathBuf> {
    if shell::is_root() && std::env::var_os("SUDO_USER").is_some() {
        shell::say("note: no sudo is needed; xtask builds as the user and runs tracer with sudo");
    }
    toolchain::ensure(consent, &[])?;
    release()
}

/// Builds the release binary with a toolchain that is already set up.
pub(crate) fn release() -> anyhow::Result<PathBuf> {
    let binary = workspace::tracer_binary();
    if !binary.exists() {
        shell::say("first build: a few minutes");
    }
    let status = cargo()
        .args(["build", "--release", "--package", "tracer", "--bin", "tracer"])
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the build failed (cargo's {status}); its reason is above");
    }
    Ok(binary)
}

/// Builds, then becomes tracer: Ctrl-C reaches it, and its exit status is ours.
pub(crate) fn run(consent: Consent, args: &[OsString]) -> anyhow::Result<ExitCode> {
    let binary = build(consent)?;
    let mut command = shell::as_root(&binary)?;
    command.args(args);
    shell::say(&shell::line(&command));
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {}", shell::line(&command)))
}

/// Cargo in the workspace, without what `cargo run` set for xtask itself: some build scripts
/// watch those variables, and would run again each time a plain `cargo build` follows.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(workspace::root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Another toolchain's cargo, through rustup as aya-build calls it.
pub(crate) fn cargo_of(toolchain: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain, "cargo"]).current_dir(workspace::root());
    for name in ["RUSTC", "RUSTC_WORKSPACE_WRAPPER", "CARGO"] {
        command.env_remove(name);
    }
    command
}
